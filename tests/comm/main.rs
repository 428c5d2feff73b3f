//! Tests of the communication layer, a topic a module, over every transport where it matters.

#[macro_use]
#[path = "../common/mod.rs"]
mod common;
#[macro_use]
#[path = "../common/own_process.rs"]
mod own_process;

mod ack;
mod connect;
mod connections;
mod demux;
mod handshake;
mod host;
mod messages;
mod metrics;
mod mixed;
mod names;
mod queues;
mod refused;
mod stop;
mod threads;
mod tls_off;
mod tracked;
mod weaknesses;
