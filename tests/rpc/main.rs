//! The gRPC form of the transport, end to end over loopback.
#![cfg(feature = "grpc")]

mod certs;
mod dialling;
mod ends;
mod frozen;
mod messages;
mod process;
mod serving;
mod support;
mod tls;
