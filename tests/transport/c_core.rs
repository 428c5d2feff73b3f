//! The tests over gRPC's C core.

pub use fabric_gossip::transport::c_core::CoreTransport as Net;
use fabric_gossip::transport::c_core::Options;
use fabric_gossip::transport::{Limits, Tls};

/// Whether this is the C core, whose texts differ in places.
pub const C_CORE: bool = true;

pub fn make(tls: Option<Tls>, limits: Limits) -> fabric_gossip::Result<Net> {
    Net::new(tls, limits, Options::default())
}

#[path = "compression.rs"]
mod compression;
#[path = "dialling.rs"]
mod dialling;
#[path = "ends.rs"]
mod ends;
#[path = "footprint.rs"]
mod footprint;
#[path = "frozen.rs"]
mod frozen;
#[path = "messages.rs"]
mod messages;
#[path = "net.rs"]
mod net;
#[path = "process.rs"]
mod process;
#[path = "serving.rs"]
mod serving;
#[path = "tls.rs"]
mod tls;
