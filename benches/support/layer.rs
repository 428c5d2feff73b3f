//! The layer: two `Comm`s over mutual TLS, and a subscriber at the second.

use super::crypto::{free_identity, Certificates, Free, SIGNATURE};
use super::PATIENCE;
use bytes::Bytes;
use fabric_gossip::comm::{Comm, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::crypto::{CryptoService, PeerIdentity};
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::transport::c_core::Options;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const CHANNEL: &[u8] = b"mychannel";

pub struct Layer {
    from: Comm,
    /// Dropped after `from`, which ends the connection.
    to: Comm,
    peer: RemotePeer,
    received: Subscription<ReceivedMessage>,
}

/// A `Comm` that only accepts.
pub struct Server(Comm);

impl Layer {
    pub fn new(certificates: &Certificates) -> Layer {
        Layer::with_options(certificates, &super::options())
    }

    pub fn with_options(certificates: &Certificates, options: &Options) -> Layer {
        Layer::with(certificates, options, |name| (free_identity(name), Arc::new(Free)))
    }

    /// With the library's MSP: certificates are validated, and signatures ECDSA over P-256.
    pub fn with_msp(certificates: &Certificates) -> Layer {
        Layer::with(certificates, &super::options(), |name| {
            let member = certificates.org.peer(name).expect("a member");
            let service = certificates.org.crypto_service(&member, &[]).expect("an MSP");
            (member.identity(), service)
        })
    }

    fn with(
        certificates: &Certificates,
        options: &Options,
        member: impl Fn(&str) -> (PeerIdentity, Arc<dyn CryptoService>),
    ) -> Layer {
        let start = |name: &str, listen: bool| {
            let (identity, crypto) = member(name);
            let transport = Arc::new(super::transport_with(certificates.tls(), options.clone()));
            let builder = Comm::builder(identity, crypto, Arc::new(Free)).transport(transport);
            if listen { builder.listen("127.0.0.1:0") } else { builder }.start().expect("a Comm")
        };
        let to = start("to", true);
        let received = to.subscribe(|_| true);
        let peer = RemotePeer::new(to.local_addr().expect("it listens"));
        Layer { from: start("from", false), to, peer, received }
    }

    pub fn server(certificates: &Certificates) -> Server {
        let builder = Comm::builder(free_identity("server"), Arc::new(Free), Arc::new(Free));
        Server(
            builder
                .transport(Arc::new(super::transport(certificates.tls())))
                .listen("127.0.0.1:0")
                .start()
                .expect("a Comm"),
        )
    }

    /// Sends this many messages as fast as it goes. Returns the time until the last one was received, and the size of
    /// their envelopes.
    pub fn stream(&self, size: usize, count: usize) -> (Duration, usize) {
        let payload = Bytes::from(vec![7; size]);
        let peers = std::slice::from_ref(&self.peer);
        let mut envelope = 0;
        // The connection is made, and warm.
        self.from.send_timeout(&data(0, &payload), PATIENCE, peers).expect("connects");
        self.received.recv_timeout(PATIENCE).expect("arrives");
        let started = Instant::now();
        let ended = thread::scope(|scope| {
            let receiver = thread::Builder::new().name("subscriber".into());
            let receiver = receiver.spawn_scoped(scope, || {
                for expected in 0..count as u64 {
                    let received = self.received.recv_timeout(PATIENCE).expect("arrives");
                    assert_eq!(sequence(&received), Some(expected), "in order, and none lost");
                }
                Instant::now()
            });
            for number in 0..count as u64 {
                let message = data(number, &payload);
                envelope = message.wire_len();
                self.from.send_timeout(&message, PATIENCE, peers).expect("sent");
            }
            receiver.expect("a thread").join().expect("all arrived")
        });
        assert_eq!(self.received.missed(), 0);
        (ended - started, envelope)
    }

    /// Acknowledged sends, one after the other: the time of each in microseconds.
    pub fn round_trips(&self, size: usize, count: usize) -> Vec<f64> {
        let payload = Bytes::from(vec![7; size]);
        let peers = std::slice::from_ref(&self.peer);
        thread::scope(|scope| {
            let receiver = thread::Builder::new().name("subscriber".into()).spawn_scoped(scope, || {
                for _ in 0..count {
                    self.received.recv_timeout(PATIENCE).expect("arrives").ack(None).expect("acknowledged");
                }
            });
            receiver.expect("a thread");
            let round_trip = |number| {
                let started = Instant::now();
                let message = message::data(0, CHANNEL, number, payload.clone());
                let result = self.from.send_with_ack(message, PATIENCE, 1, peers);
                assert_eq!(result.ack_count(), 1, "{result}");
                started.elapsed().as_secs_f64() * 1e6
            };
            (0..count as u64).map(round_trip).collect()
        })
    }

    /// One probing handshake: the time in microseconds.
    pub fn handshake(&self) -> f64 {
        let started = Instant::now();
        let handshake = self.from.handshake(&self.peer).expect("authenticates");
        assert!(handshake.confirmed && handshake.info.id == *self.to.pki_id());
        started.elapsed().as_secs_f64() * 1e6
    }
}

fn data(number: u64, payload: &Bytes) -> SignedMessage {
    let message = message::data(0, CHANNEL, number, payload.clone());
    SignedMessage::sign(message, |_| Ok(SIGNATURE.to_vec())).expect("encodes")
}

fn sequence(received: &ReceivedMessage) -> Option<u64> {
    match received.message().content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref().map(|payload| payload.seq_num),
        _ => None,
    }
}

impl Server {
    pub fn endpoint(&self) -> &str {
        self.0.local_addr().expect("it listens")
    }

    pub fn wait_for_connections(&self, count: usize) {
        wait_until(|| self.0.connection_count() == count);
    }
}

pub fn wait_until(condition: impl Fn() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < limit, "in time");
        thread::sleep(Duration::from_millis(5));
    }
}
