//! A peer that is spoken by hand, so that it can also send messages that a Comm never would.

use super::{id, identity, signature, Form, Security, Served, PATIENCE};
use bytes::Bytes;
use crossbeam_channel::{bounded, unbounded, Receiver, Sender};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::proto::gossip::ConnEstablish;
use fabric_gossip::transport::{Acceptor, Status, Stream, StreamEnd};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// One end of a stream.
pub struct Raw {
    pub name: String,
    pub stream: Arc<dyn Stream>,
}

/// SHA-256 of a certificate; nothing without one.
pub fn hash_of(cert: Option<&Bytes>) -> Bytes {
    cert.map(|der| Bytes::copy_from_slice(&Sha256::digest(der))).unwrap_or_default()
}

impl Raw {
    /// Opens a stream to `endpoint` and says nothing yet.
    pub fn dial(network: &impl Form, name: &str, endpoint: &str) -> Raw {
        Self::dial_as(network, name, Security::Mutual, endpoint)
    }

    pub fn dial_as(network: &impl Form, name: &str, security: Security, endpoint: &str) -> Raw {
        let client = network.transport(name, security).dial(endpoint, PATIENCE, &Cancel::new()).unwrap();
        client.ping(PATIENCE).unwrap();
        Raw { name: name.into(), stream: client.open(None).unwrap() }
    }

    /// Opens a stream to `endpoint` and authenticates there. (Whether the other side agrees is still to be seen.)
    pub fn connect(network: &impl Form, name: &str, endpoint: &str) -> Raw {
        let raw = Self::dial(network, name, endpoint);
        raw.hello();
        conn_of(&raw.recv());
        raw
    }

    /// Sends the connection message that is due.
    pub fn hello(&self) {
        self.hello_with(|_| {});
    }

    /// Sends a connection message with something else in it, signed as it should be.
    pub fn hello_with(&self, adjust: impl FnOnce(&mut ConnEstablish)) {
        self.send(&self.signed(adjust, |signature| signature));
    }

    /// Sends the connection message with something else for a signature.
    pub fn hello_signed(&self, adjust: impl FnOnce(Vec<u8>) -> Vec<u8>) {
        self.send(&self.signed(|_| {}, adjust));
    }

    fn signed(
        &self,
        adjust: impl FnOnce(&mut ConnEstablish),
        adjust_signature: impl FnOnce(Vec<u8>) -> Vec<u8>,
    ) -> SignedMessage {
        let hash = hash_of(self.stream.info().local_cert.as_ref());
        let mut hello = wire::conn(&id(&self.name), &identity(&self.name), hash, false);
        if let Some(Content::Conn(conn)) = &mut hello.content {
            adjust(conn);
        }
        SignedMessage::sign(hello, |bytes| Ok(adjust_signature(signature(self.name.as_bytes(), bytes)))).unwrap()
    }

    pub fn send(&self, message: &SignedMessage) {
        match self.stream.send(message.wire()) {
            // After reading the message, the other side may have ended the stream already.
            Ok(()) | Err(StreamEnd::Lost(_)) => {}
            Err(end) => panic!("{}: cannot send: {end:?}", self.name),
        }
    }

    /// Returns the next message, which must arrive.
    pub fn recv(&self) -> SignedMessage {
        match self.stream.recv(Some(PATIENCE)) {
            Ok(Some(wire)) => SignedMessage::decode(wire).unwrap(),
            other => panic!("{}: no message: {other:?}", self.name),
        }
    }

    /// Reads to the end, which must arrive: returns the nonces of the messages before it, and how it ended.
    pub fn read_to_end(&self) -> (Vec<u64>, StreamEnd) {
        let mut nonces = Vec::new();
        loop {
            match self.stream.recv(Some(PATIENCE)) {
                Ok(Some(wire)) => nonces.push(SignedMessage::decode(wire).unwrap().nonce()),
                Ok(None) => panic!("{}: the stream does not end", self.name),
                Err(end) => return (nonces, end),
            }
        }
    }

    /// How the stream ended.
    pub fn end(&self) -> StreamEnd {
        self.read_to_end().1
    }

    /// The text with which the other side refused.
    pub fn refusal(&self) -> String {
        match self.end() {
            StreamEnd::Remote(status) if status.code != 0 => status.message,
            end => panic!("{}: not refused but: {end:?}", self.name),
        }
    }
}

/// The connection message in a message.
pub fn conn_of(message: &SignedMessage) -> &ConnEstablish {
    match message.content() {
        Some(Content::Conn(conn)) => conn,
        _ => panic!("no connection message: {message}"),
    }
}

/// Accepts streams and leaves the rest to the test.
pub struct RawServer {
    pub name: String,
    pub endpoint: String,
    streams: Receiver<(Arc<dyn Stream>, Sender<Status>)>,
    _served: Served,
}

impl RawServer {
    pub fn new(network: &impl Form, name: &str) -> Self {
        let (accepted, streams) = unbounded();
        let served = network.serve(name, Security::Mutual, Arc::new(Hand { accepted }));
        RawServer { name: name.into(), endpoint: served.endpoint.clone(), streams, _served: served }
    }

    /// Returns the next stream, which must arrive.
    pub fn accept(&self) -> Accepted {
        let (stream, status) = self.streams.recv_timeout(PATIENCE).expect("nobody dials");
        Accepted { raw: Raw { name: self.name.clone(), stream }, status }
    }

    /// The next stream, authenticated. A probing handshake before it is confirmed.
    pub fn welcome(&self) -> Accepted {
        loop {
            let accepted = self.accept();
            accepted.raw.hello();
            if !conn_of(&accepted.raw.recv()).probe {
                return accepted;
            }
            accepted.end_with(Status::ok());
        }
    }

    /// Returns whether there was no dial since.
    pub fn is_idle(&self) -> bool {
        self.streams.is_empty()
    }
}

/// An accepted stream. It ends well when it is dropped.
pub struct Accepted {
    pub raw: Raw,
    status: Sender<Status>,
}

impl std::ops::Deref for Accepted {
    type Target = Raw;

    fn deref(&self) -> &Raw {
        &self.raw
    }
}

impl Accepted {
    /// Ends it with this status.
    pub fn end_with(self, status: Status) {
        let _ = self.status.send(status);
    }
}

struct Hand {
    accepted: Sender<(Arc<dyn Stream>, Sender<Status>)>,
}

impl Acceptor for Hand {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        let (status, ended) = bounded(1);
        if self.accepted.send((stream, status)).is_err() {
            return Status::unknown("the test is over");
        }
        ended.recv().unwrap_or_else(|_| Status::ok())
    }
}
