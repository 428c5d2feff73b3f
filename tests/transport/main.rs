//! The gRPC form of the transport, end to end over loopback.
#![cfg(feature = "grpc")]

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
mod support;
mod tls;
