//! How streams end, as each side sees it.

use super::net::*;
use bytes::Bytes;
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::{Status, StreamEnd};
use std::time::Duration;

#[test]
fn a_long_status_text_arrives_shortened() {
    let server = start(None, &Limits::default(), serve(|_| Status::unknown("\u{fc}".repeat(20_000))));
    match end_of(&open(None, server.local_addr())) {
        StreamEnd::Remote(status) => {
            assert!(status.code == 2 && status.message.starts_with("\u{fc}\u{fc}"), "{status:?}")
        }
        end => panic!("{end:?}"),
    }
}

#[test]
fn a_stopped_server_is_a_lost_connection() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Limits::default(), acceptor);
    let stream = open(None, server.local_addr());
    streams.recv_timeout(SOON).unwrap();
    assert!(server.stop(Duration::ZERO));
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
    assert!(stream.send(Bytes::from_static(b"x")).is_err());
}

#[test]
fn a_closed_connection_is_lost_on_both_sides() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Limits::default(), acceptor);
    let proxy = Proxy::to(server.local_addr());
    let stream = open(None, &proxy.endpoint);
    streams.recv_timeout(SOON).unwrap();
    proxy.cut();
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert!(matches!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Lost(_))));
}
