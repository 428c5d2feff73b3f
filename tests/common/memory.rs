//! The form in memory.

use super::{Form, Link, Raw, Security, Served, World};
use bytes::Bytes;
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, CommBuilder};
use fabric_gossip::message::SignedMessage;
use fabric_gossip::node::{Node, NodeBuilder};
use fabric_gossip::testing::MemoryNetwork;
use fabric_gossip::transport::{Acceptor, Status, Stream, Transport};
use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

/// Peers in one process, without sockets. The stand-in for a peer's certificate is made from its name.
pub struct Memory {
    pub network: MemoryNetwork,
    world: World,
    next: AtomicU64,
}

impl Memory {
    /// One whose clock is another.
    pub fn with_clock(clock: impl fabric_gossip::clock::Clock + 'static) -> Self {
        Memory { network: MemoryNetwork::new(Arc::new(clock)), world: World::default(), next: AtomicU64::new(1) }
    }

    fn endpoint(&self, name: &str) -> String {
        format!("{name}:{}", self.next.fetch_add(1, Ordering::Relaxed))
    }
}

pub fn cert(name: &str, security: Security) -> Option<Bytes> {
    (security == Security::Mutual).then(|| format!("certificate of {name}").into())
}

impl Form for Memory {
    fn new() -> Self {
        Memory::with_clock(SystemClock)
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn start(&self, name: &str, security: Security, builder: CommBuilder) -> (Comm, String) {
        let comm = builder.transport(self.transport(name, security)).start().unwrap();
        let endpoint = self.endpoint(name);
        self.network.listen(&endpoint, cert(name, security), comm.acceptor());
        (comm, endpoint)
    }

    fn start_node(&self, name: &str, at: Option<&str>, builder: NodeBuilder) -> (Node, String) {
        let endpoint = at.map_or_else(|| self.endpoint(name), str::to_owned);
        let transport = self.transport(name, Security::Mutual);
        let node = builder.endpoint(&endpoint).comm(|comm| comm.transport(transport)).start().unwrap();
        self.network.listen(&endpoint, cert(name, Security::Mutual), node.comm().acceptor());
        (node, endpoint)
    }

    fn leave(&self, endpoint: &str) {
        self.network.unlisten(endpoint);
    }

    fn transport(&self, name: &str, security: Security) -> Arc<dyn Transport> {
        self.network.transport(cert(name, security))
    }

    fn intrude(&self, endpoint: &str, message: &SignedMessage) -> Box<dyn Any> {
        let raw = Raw::dial_as(self, "intruder", Security::Plain, endpoint);
        // It may be over already: nothing is read from one without a certificate.
        let _ = raw.stream.send(message.wire());
        Box::new(raw)
    }

    fn serve(&self, name: &str, security: Security, acceptor: Arc<dyn Acceptor>) -> Served {
        let endpoint = self.endpoint(name);
        self.network.listen(&endpoint, cert(name, security), acceptor);
        Served::new(&endpoint).keeping(Listening(self.network.clone(), endpoint))
    }

    fn serve_without_ping(&self) -> Served {
        self.mute()
    }

    fn mute(&self) -> Served {
        let served = self.serve("mute", Security::Mutual, Arc::new(Nobody));
        self.network.silence_pings(&served.endpoint);
        served
    }

    fn refused(&self) -> Served {
        Served::new(self.endpoint("nobody"))
    }

    fn link(&self, to: &str) -> Link {
        let cut = (self.network.clone(), to.to_owned());
        let close = cut.clone();
        Link {
            endpoint: to.into(),
            cut: Box::new(move || cut.0.cut(&cut.1)),
            close: Box::new(move || close.0.unlisten(&close.1)),
        }
    }
}

struct Listening(MemoryNetwork, String);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.unlisten(&self.1);
    }
}

struct Nobody;

impl Acceptor for Nobody {
    fn gossip_stream(&self, _: Arc<dyn Stream>) -> Status {
        Status::ok()
    }
}
