//! The command-line tool, run as its users run it: exit codes, the shape of every line of JSON, and that it ends well.

mod bench;
mod cases;
mod checking;
mod demo;
mod gossipers;
mod handshake;
mod identities;
#[allow(dead_code)]
#[path = "../../../tests/msp/issuer.rs"]
mod issuer;
mod markup;
mod metrics_page;
mod outcome;
mod peers;
mod probing;
mod reloading;
mod sending;
mod settings;
mod support;
mod survey;
mod terminal;
#[cfg(feature = "c-core")]
mod transports;
mod trust;
mod usage;
