//! The ends: `Comm`s over mutual TLS, their messages, and the receivers.

use super::{Arguments, Figure, Outcome};
use crate::support::crypto::{free_identity, tls, Free, SIGNATURE};
use crate::support::layer::wait_until;
use crate::support::{Kind, PATIENCE};
use bytes::Bytes;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, SecurityAdvisor};
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::transport::Tls;
use fabric_gossip::{Comm, ErrorKind, ReceivedMessage, RemotePeer, Subscription};
use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Instant, SystemTime};

pub const CHANNEL: &[u8] = b"mychannel";

/// The identities of the two ends, and the TLS pair that both use.
pub struct Members {
    from: PathBuf,
    to: PathBuf,
    tls: Tls,
    kind: Kind,
}

/// An identity and the service that validates it.
pub struct Who {
    identity: PeerIdentity,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
}

impl Members {
    pub fn read(arguments: &Arguments, kind: Kind) -> Members {
        let file = |name: &str| read_to_string(arguments.from.join(name)).expect("a member's folder");
        let tls = tls(&file("tls-cert.pem"), &file("tls-key.pem"), &file("tls-ca.pem"));
        Members { from: arguments.from.clone(), to: arguments.to.clone(), tls, kind }
    }

    /// With the library's MSP: certificates are validated, and signatures ECDSA over P-256.
    pub fn real_from(&self) -> Who {
        real(&self.from)
    }

    pub fn real_to(&self) -> Who {
        real(&self.to)
    }

    pub fn start(&self, who: Who, listen: bool) -> Comm {
        let builder = Comm::builder(who.identity, who.crypto, who.advisor);
        let builder = builder.transport(self.kind.transport(self.tls.clone()));
        if listen { builder.listen("127.0.0.1:0") } else { builder }.start().expect("a Comm")
    }
}

fn real(folder: &Path) -> Who {
    let mspid = read_to_string(folder.join("mspid")).expect("a member's folder");
    let msp = Arc::new(Msp::load(folder.join("msp"), mspid.trim()).expect("an MSP"));
    let signer = SigningIdentity::load(&msp, folder.join("msp"), SystemTime::now()).expect("a signer");
    let identity = signer.serialize();
    let service = Arc::new(MspCryptoService::new(msp, Some(signer)));
    Who { identity, crypto: service.clone(), advisor: service }
}

/// Accepts every peer, and signs with a constant.
pub fn free(name: &str) -> Who {
    Who { identity: free_identity(name), crypto: Arc::new(Free), advisor: Arc::new(Free) }
}

/// Two `Comm`s and a subscriber at the second.
pub struct Pair {
    pub from: Comm,
    /// Dropped after `from`, which ends the connection.
    pub to: Comm,
    pub peer: RemotePeer,
    pub received: Subscription<ReceivedMessage>,
}

impl Pair {
    /// Every identity is accepted and signatures are constant.
    pub fn new(members: &Members) -> Pair {
        Pair::with(members, free("from"), free("to"))
    }

    /// Certificates are validated.
    pub fn real(members: &Members) -> Pair {
        Pair::with(members, members.real_from(), members.real_to())
    }

    fn with(members: &Members, from: Who, to: Who) -> Pair {
        let to = members.start(to, true);
        let (peer, received) = (address(&to), to.subscribe(|_| true));
        Pair { from: members.start(from, false), to, peer, received }
    }

    /// Ends it, if the figures are in.
    pub fn end(&self) {
        self.from.stop();
        self.to.stop();
    }
}

pub fn address(comm: &Comm) -> RemotePeer {
    RemotePeer::new(comm.local_addr().expect("it listens"))
}

/// A fresh message whose signature is a constant: signing is the caller's business.
pub fn data(number: u64, payload: &Bytes) -> SignedMessage {
    let message = message::data(0, CHANNEL, number, payload.clone());
    SignedMessage::sign(message, |_| Ok(SIGNATURE.to_vec())).expect("encodes")
}

pub fn sequence(received: &ReceivedMessage) -> Option<u64> {
    match received.message().content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref().map(|payload| payload.seq_num),
        _ => None,
    }
}

/// Makes the connection, and warms it.
pub fn warm(from: &Comm, peer: &RemotePeer, received: &Subscription<ReceivedMessage>, payload: &Bytes) {
    send_all(from, peer, payload, 1);
    received.recv_timeout(PATIENCE).expect("arrives");
}

/// Sends this many messages as fast as it goes.
pub fn send_all(from: &Comm, peer: &RemotePeer, payload: &Bytes, count: usize) {
    send_to_all(from, std::slice::from_ref(peer), payload, count);
}

/// Sends this many messages to each peer.
pub fn send_to_all(from: &Comm, peers: &[RemotePeer], payload: &Bytes, count: usize) {
    for number in 0..count as u64 {
        from.send_timeout(&data(number, payload), PATIENCE, peers).expect("sent");
    }
}

/// Sends until it is stopped.
pub fn send_on(from: &Comm, peer: &RemotePeer, payload: &Bytes) {
    let peers = std::slice::from_ref(peer);
    let mut number = 0;
    while from.send_timeout(&data(number, payload), PATIENCE, peers).is_ok() {
        number += 1;
    }
}

/// Receives them: when the last one came.
pub fn receive_all(received: &Subscription<ReceivedMessage>, count: usize) -> Instant {
    for expected in 0..count as u64 {
        let message = received.recv_timeout(PATIENCE).expect("arrives");
        assert_eq!(sequence(&message), Some(expected), "in order, and none lost");
    }
    assert_eq!(received.missed(), 0);
    Instant::now()
}

/// Messages that a receiver sends back.
pub struct Back {
    pub comm: Comm,
    pub payload: Bytes,
    pub count: usize,
}

/// Acknowledges messages that ask for it, until the end. When the first other message arrives, `back` is sent to its
/// sender, while receiving continues.
pub fn acknowledge(received: &Subscription<ReceivedMessage>, mut back: Option<Back>) {
    thread::scope(|scope| {
        for message in received.iter() {
            if message.message().nonce() != 0 {
                // The way back may be full for a moment.
                while message.ack(None).is_err_and(|e| e.kind() == ErrorKind::Full) {
                    thread::yield_now();
                }
            } else if let Some(Back { comm, payload, count }) = back.take() {
                let peer = RemotePeer::with_id("", message.connection_info().id.clone());
                scope.spawn(move || send_all(&comm, &peer, &payload, count));
            }
        }
    });
}

/// Acknowledged sends, one after the other: the time of each in microseconds.
pub fn round_trips(from: &Comm, peer: &RemotePeer, size: usize, count: usize) -> Outcome<Vec<f64>> {
    let payload = Bytes::from(vec![7; size]);
    (0..count as u64)
        .map(|number| {
            let started = Instant::now();
            acknowledged(from, std::slice::from_ref(peer), number, &payload)?;
            Ok(started.elapsed().as_secs_f64() * 1e6)
        })
        .collect()
}

/// Sends one message to the peers, and waits until all have acknowledged it.
pub fn acknowledged(from: &Comm, peers: &[RemotePeer], number: u64, payload: &Bytes) -> Outcome {
    let message = message::data(0, CHANNEL, number, payload.clone());
    let result = from.send_with_ack(message, PATIENCE, peers.len(), peers);
    if result.ack_count() == peers.len() {
        Ok(())
    } else {
        Err(result.to_string())
    }
}

/// Number of peers that take turns to connect, so that each one's earlier connection has ended.
pub const VISITORS: usize = 4;

/// Connects, sends an acknowledged message and disconnects, this many times. Returns the rate.
pub fn visits(from: &[Comm], peer: &RemotePeer, count: usize) -> Outcome<Figure> {
    let payload = Bytes::from(vec![7; 100]);
    let started = Instant::now();
    for (comm, number) in from.iter().cycle().zip(0..count as u64) {
        acknowledged(comm, std::slice::from_ref(peer), number, &payload)?;
        comm.close_conn(peer);
    }
    Ok(("rate", "connections/s", count as f64 / started.elapsed().as_secs_f64()))
}

pub fn wait_for_connections(comm: &Comm, count: usize) {
    wait_until(|| comm.connection_count() == count);
}
