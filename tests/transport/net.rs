//! What the tests of one transport share. Included once for each, which defines `Net` and `make`.

use super::Net;
pub use crate::support::*;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::{Acceptor, Connection, Limits, Server, Tls, Transport};
use std::sync::Arc;
use std::time::Duration;

/// The transport with this TLS.
pub fn core(tls: Option<&Tls>) -> Net {
    core_with(tls, &Limits::default()).unwrap()
}

pub fn core_with(tls: Option<&Tls>, limits: &Limits) -> fabric_gossip::Result<Net> {
    super::make(tls.cloned(), limits.clone())
}

pub fn start(tls: Option<&Tls>, limits: &Limits, acceptor: Arc<dyn Acceptor>) -> Box<dyn Server> {
    core_with(tls, limits).unwrap().listen("127.0.0.1:0", acceptor).unwrap()
}

pub fn dial_with(tls: Option<&Tls>, limits: &Limits, endpoint: &str) -> fabric_gossip::Result<Box<dyn Connection>> {
    core_with(tls, limits)?.dial(endpoint, Duration::from_secs(3), &Cancel::new())
}

pub fn dial(tls: Option<&Tls>, endpoint: &str) -> fabric_gossip::Result<Box<dyn Connection>> {
    dial_with(tls, &Limits::default(), endpoint)
}

/// A stream on a connection of its own.
pub fn open(tls: Option<&Tls>, endpoint: &str) -> Dyn {
    open_with(tls, &Limits::default(), endpoint)
}

pub fn open_with(tls: Option<&Tls>, limits: &Limits, endpoint: &str) -> Dyn {
    let client = dial_with(tls, limits, endpoint).unwrap();
    client.ping(SOON).unwrap();
    client.open(None).unwrap()
}
