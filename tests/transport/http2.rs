//! The tests over nghttp2 and OpenSSL.

pub use fabric_gossip::transport::http2::Http2Transport as Net;
use fabric_gossip::transport::http2::Options;
use fabric_gossip::transport::{Limits, Tls};

/// Whether this is the C core, whose texts differ in places.
pub const C_CORE: bool = false;

pub fn make(tls: Option<Tls>, limits: Limits) -> fabric_gossip::Result<Net> {
    Net::new(tls, limits, Options::default())
}

#[path = "dialling.rs"]
mod dialling;
#[path = "ends.rs"]
mod ends;
#[path = "footprint.rs"]
mod footprint;
#[path = "frozen.rs"]
mod frozen;
#[path = "listener.rs"]
mod listener;
#[path = "messages.rs"]
mod messages;
#[path = "net.rs"]
mod net;
#[path = "serving.rs"]
mod serving;
#[path = "tls.rs"]
mod tls;
