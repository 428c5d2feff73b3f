//! The transports, end to end: `suite` over each of them, the rest over those that use sockets.
// The files of a transport's tests are included once for each transport.
#![allow(clippy::duplicate_mod)]

#[macro_use]
#[path = "../common/own_process.rs"]
#[cfg(any(feature = "c-core", feature = "http2"))]
mod own_process;

#[cfg(feature = "c-core")]
mod c_core;
#[cfg_attr(not(any(feature = "c-core", feature = "http2")), allow(dead_code))]
mod certs;
#[cfg(feature = "http2")]
mod http2;
mod suite;
#[cfg_attr(not(any(feature = "c-core", feature = "http2")), allow(dead_code))]
mod support;
