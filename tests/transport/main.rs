//! The transports, end to end: `suite` over each of them, the rest over gRPC's C core.
#![cfg(feature = "c-core")]

#[macro_use]
#[path = "../common/own_process.rs"]
mod own_process;

mod certs;
mod dialling;
mod ends;
mod frozen;
mod messages;
mod process;
mod serving;
mod suite;
mod support;
mod tls;
