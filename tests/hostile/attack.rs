//! Shared code of the hostile peers.

use super::common::http2::Http2;
use fabric_gossip::crypto::CryptoService;
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::testing::cryptogen::{Member, Org};
use openssl::x509::X509;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::io::{Error, Result};
use std::net::{Shutdown, TcpStream};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// A running attack.
pub struct Attack<'a> {
    pub endpoint: String,
    pub org: &'a Org,
    /// One of the hostile peers, for attacks that do not depend on its identity.
    pub member: Member,
    over: AtomicBool,
    done: AtomicU64,
    names: AtomicU64,
    sockets: Arc<Mutex<HashMap<u64, TcpStream>>>,
}

/// Ends the attack when dropped.
pub struct Until<'a>(&'a Attack<'a>);

impl Drop for Until<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        for socket in self.0.sockets.lock().values() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

/// A connection that ends with the attack.
pub struct Held<T> {
    connection: T,
    number: u64,
    sockets: Arc<Mutex<HashMap<u64, TcpStream>>>,
}

impl<T> Drop for Held<T> {
    fn drop(&mut self) {
        self.sockets.lock().remove(&self.number);
    }
}

impl<T> Deref for Held<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.connection
    }
}

impl<T> DerefMut for Held<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.connection
    }
}

impl<'a> Attack<'a> {
    pub fn new(endpoint: &str, org: &'a Org) -> Self {
        Attack {
            endpoint: endpoint.into(),
            org,
            member: org.peer("hostile").unwrap(),
            over: false.into(),
            done: 0.into(),
            names: 0.into(),
            sockets: Arc::default(),
        }
    }

    /// It is over when the result is dropped.
    pub fn until_dropped(&'a self) -> Until<'a> {
        Until(self)
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// Does nothing until it is over.
    pub fn await_over(&self) {
        while !self.is_over() {
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// That which is counted was done once more.
    pub fn did(&self) {
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    pub fn count(&self) -> u64 {
        self.done.load(Ordering::SeqCst)
    }

    /// Attacks repeatedly. The end of a connection is expected.
    pub fn repeat(&self, attack: fn(&Attack) -> Result<()>) {
        while !self.is_over() {
            if attack(self).is_err() {
                std::thread::yield_now();
            }
        }
    }

    /// Returns a name that was not used yet.
    pub fn name(&self) -> String {
        format!("hostile{}", self.names.fetch_add(1, Ordering::SeqCst))
    }

    /// Ends this connection with the attack.
    pub fn hold<T>(&self, connection: T, socket: impl Fn(&T) -> &TcpStream) -> Result<Held<T>> {
        let number = self.names.fetch_add(1, Ordering::SeqCst);
        let clone = socket(&connection).try_clone()?;
        self.sockets.lock().insert(number, clone);
        let held = Held { connection, number, sockets: self.sockets.clone() };
        if self.is_over() {
            return Err(Error::other("over"));
        }
        Ok(held)
    }

    /// A connection over TLS and HTTP/2, with this member's certificate.
    pub fn connect(&self, member: &Member) -> Result<Held<Http2>> {
        let connection = Http2::connect(&self.endpoint, Some(member))?;
        self.hold(connection, Http2::socket)
    }

    /// The same, and a stream on it that authenticates.
    pub fn authenticate(&self, member: &Member) -> Result<(Held<Http2>, u32)> {
        let mut connection = self.connect(member)?;
        let stream = connection.open()?;
        connection.message(stream, &self.hello(member, |signature| signature))?;
        Ok((connection, stream))
    }

    /// The connection message of a member, with something else for a signature.
    pub fn hello(&self, member: &Member, adjust: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
        let der = X509::from_pem(member.tls_cert.as_bytes()).unwrap().to_der().unwrap();
        let hash = Sha256::digest(der).to_vec().into();
        let crypto = self.org.crypto_service(member, &[]).unwrap();
        let identity = member.identity();
        let pki_id = crypto.pki_id(&identity).unwrap();
        let hello = wire::conn(&pki_id, &identity, hash, false);
        SignedMessage::sign(hello, |bytes| crypto.sign(bytes).map(&adjust)).unwrap().wire().to_vec()
    }
}

/// A data message, as it travels.
pub fn data(channel: &'static str, size: usize) -> Vec<u8> {
    SignedMessage::noop_sign(message::data(1, channel, 1, vec![7; size])).unwrap().wire().to_vec()
}
