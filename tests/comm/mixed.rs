//! Peers over different transports, both ways.
#![cfg(all(feature = "c-core", feature = "http2"))]

use crate::common::PATIENCE;
use fabric_gossip::message;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::c_core::{self, CoreTransport};
use fabric_gossip::transport::http2::{self, Http2Transport};
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig, Transport};
use fabric_gossip::{Comm, RemotePeer, SignedMessage};
use std::slice::from_ref;
use std::sync::Arc;

const MESSAGES: u64 = 2_000;

fn start(org: &Org, name: &str, over: fn(Tls) -> Arc<dyn Transport>) -> Comm {
    let member = org.peer(name).unwrap();
    let crypto = org.crypto_service(&member, &[]).unwrap();
    let pem = |name: &str, text: &str| Pem::new(name, text);
    let (cert, key) = (pem("cert", &member.tls_cert), pem("key", &member.tls_key));
    let tls = Tls::new(TlsConfig::new(cert, key, pem("roots", &member.tls_ca_cert))).unwrap();
    let builder = Comm::builder(member.identity(), crypto.clone(), crypto).transport(over(tls));
    builder.listen("127.0.0.1:0").start().unwrap()
}

fn core(tls: Tls) -> Arc<dyn Transport> {
    Arc::new(CoreTransport::new(Some(tls), Limits::default(), c_core::Options::default()).unwrap())
}

fn nghttp2(tls: Tls) -> Arc<dyn Transport> {
    Arc::new(Http2Transport::new(Some(tls), Limits::default(), http2::Options::default()).unwrap())
}

/// Sends from the one to the other: many small messages in order, large ones acknowledged, a refusal with its text.
fn converse(from: &Comm, to: &Comm) {
    let peer = RemotePeer::new(to.local_addr().unwrap());
    assert!(from.handshake(&peer).unwrap().confirmed);
    let inbox = to.subscribe(|_| true);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            for expected in 0..MESSAGES {
                let message = inbox.recv_timeout(PATIENCE).unwrap();
                assert_eq!(message.message().nonce(), expected + 1);
            }
            for _ in 0..3 {
                inbox.recv_timeout(PATIENCE).unwrap().ack(None).unwrap();
            }
            inbox.recv_timeout(PATIENCE).unwrap().ack(Some("not this one")).unwrap();
        });
        for number in 0..MESSAGES {
            let message = SignedMessage::noop_sign(message::data(number + 1, "channel", number, "x"));
            from.send_timeout(&message.unwrap(), PATIENCE, from_ref(&peer)).unwrap();
        }
        for size in [0, 64 << 10, 5 << 20] {
            let result =
                from.send_with_ack(message::data(0, "channel", 1, vec![7; size]), PATIENCE, 1, from_ref(&peer));
            assert_eq!(result.ack_count(), 1, "{size} bytes: {result}");
        }
        let result = from.send_with_ack(message::data(0, "channel", 1, "y"), PATIENCE, 1, from_ref(&peer));
        assert!(result[0].error.as_ref().is_some_and(|e| e.message() == "not this one"), "{result}");
        receiver.join().unwrap();
    });
}

#[test]
fn http2_dials_the_c_core() {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    converse(&start(&org, "dialling", nghttp2), &start(&org, "accepting", core));
}

#[test]
fn the_c_core_dials_http2() {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    converse(&start(&org, "dialling", core), &start(&org, "accepting", nghttp2));
}
