//! A client of the C core that compresses its messages.

use super::net::*;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::c_core::{CoreTransport, Options};
use fabric_gossip::transport::{Limits, StreamEnd, Transport};

/// A small message could become one of any size, before anybody has authenticated.
#[test]
fn compressed_messages_are_not_implemented() {
    let server = start(None, &Limits::default(), echo());
    let mut compressing = Options::default();
    for (name, value) in [
        ("grpc.default_compression_algorithm", 2),
        ("grpc.compression_enabled_algorithms_bitset", 7),
        ("grpc.per_message_compression", 1),
    ] {
        compressing.extra.push((name.into(), value));
    }
    let transport = CoreTransport::new(None, Limits::default(), compressing).unwrap();
    let connection = transport.dial(server.local_addr(), SOON, &Cancel::new()).unwrap();
    let stream = connection.open(None).unwrap();
    // It may be over already.
    let _ = stream.send(vec![0; 1 << 20].into());
    match end_of(&stream) {
        StreamEnd::Remote(status) => assert_eq!(status.code, 12, "{status:?}"),
        end => panic!("{end:?}"),
    }
}
