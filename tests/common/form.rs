//! The functions of every form of network.

use super::{id, World};
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, CommBuilder, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::PkiId;
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::message::SignedMessage;
use fabric_gossip::node::NodeBuilder;
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::transport::{Acceptor, Transport};
use std::any::Any;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// The limits of a node that is not asked for others.
pub const LIMIT: Duration = Duration::from_secs(20);

/// How a peer presents itself below the gossip handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// With TLS and a certificate.
    Mutual,
    /// Without TLS.
    Plain,
}

/// One form of network, and a test's peers in it.
pub trait Form: Sync {
    fn new() -> Self
    where
        Self: Sized;

    fn world(&self) -> &World;

    /// Starts a peer from this builder; returns it and its endpoint.
    fn start(&self, name: &str, security: Security, builder: CommBuilder) -> (Comm, String);

    /// Starts a whole node from this builder, at this endpoint if given; returns it and its endpoint.
    fn start_node(&self, name: &str, at: Option<&str>, builder: NodeBuilder) -> (fabric_gossip::Node, String);

    /// Makes the endpoint of this peer unreachable.
    fn leave(&self, endpoint: &str);

    /// A way into the network for a peer that is spoken by hand.
    fn transport(&self, name: &str, security: Security) -> Arc<dyn Transport>;

    /// Opens a stream with TLS but no certificate, and sends one message. It lives as long as the returned value.
    fn intrude(&self, endpoint: &str, message: &SignedMessage) -> Box<dyn Any>;

    /// Serves streams that are spoken by hand; Pings are answered.
    fn serve(&self, name: &str, security: Security, acceptor: Arc<dyn Acceptor>) -> Served;

    /// A peer that never answers a Ping.
    fn serve_without_ping(&self) -> Served;

    /// An endpoint that accepts connections and never sends anything.
    fn mute(&self) -> Served;

    /// An endpoint without a listener.
    fn refused(&self) -> Served;

    /// A way to a peer that can be cut.
    fn link(&self, to: &str) -> Link;

    /// A peer with this name. Its limits of time are such that only a failure reaches them.
    fn node(&self, name: &str) -> Node
    where
        Self: Sized,
    {
        self.node_with(name, |_| {})
    }

    /// A peer with other settings.
    fn node_with(&self, name: &str, adjust: impl FnOnce(&mut CommConfig)) -> Node
    where
        Self: Sized,
    {
        self.node_as(name, Security::Mutual, adjust)
    }

    fn node_as(&self, name: &str, security: Security, adjust: impl FnOnce(&mut CommConfig)) -> Node
    where
        Self: Sized,
    {
        let config = config(adjust);
        let (comm, endpoint) = self.start(name, security, self.builder(name).config(config));
        Node { comm, name: name.into(), endpoint }
    }

    /// A peer whose windows and limits go by this clock. (Its identities, and the limits of gRPC, do not.)
    fn node_at(&self, name: &str, clock: &VirtualClock, adjust: impl FnOnce(&mut CommConfig)) -> Node
    where
        Self: Sized,
    {
        let config = config(adjust);
        let (crypto, world) = (self.world().crypto(name), Arc::new(self.world().clone()));
        let (settings, real, own) = (IdentityConfig::default(), Arc::new(SystemClock), super::identity(name));
        let mapper = IdentityMapper::new(settings, crypto, world, real, own, |_, _| {}).unwrap();
        let builder = self.builder(name).config(config).identity_mapper(mapper).clock(Arc::new(clock.clone()));
        let (comm, endpoint) = self.start(name, Security::Mutual, builder);
        Node { comm, name: name.into(), endpoint }
    }

    fn builder(&self, name: &str) -> CommBuilder {
        Comm::builder(super::identity(name), self.world().crypto(name), Arc::new(self.world().clone()))
    }
}

fn config(adjust: impl FnOnce(&mut CommConfig)) -> CommConfig {
    let mut config = CommConfig::default();
    config.dial_timeout = LIMIT;
    config.conn_timeout = LIMIT;
    adjust(&mut config);
    config
}

/// A running peer. It stops when the last handle on its `comm` is dropped.
pub struct Node {
    pub comm: Comm,
    pub name: String,
    pub endpoint: String,
}

impl Deref for Node {
    type Target = Comm;

    fn deref(&self) -> &Comm {
        &self.comm
    }
}

impl Node {
    pub fn id(&self) -> PkiId {
        id(&self.name)
    }

    /// Returns the peer's address with its PKI-ID.
    pub fn peer(&self) -> RemotePeer {
        RemotePeer::with_id(&self.endpoint, self.id())
    }

    /// Returns the peer's address without its PKI-ID.
    pub fn address(&self) -> RemotePeer {
        RemotePeer::new(&self.endpoint)
    }

    /// Every message that it receives.
    pub fn inbox(&self) -> Subscription<ReceivedMessage> {
        self.subscribe(|_| true)
    }

    /// Stops it for good.
    pub fn leave(&self, network: &impl Form) {
        self.comm.stop();
        network.leave(&self.endpoint);
    }
}

/// Something that listens, until it is dropped.
pub struct Served {
    pub endpoint: String,
    keep: Vec<Box<dyn Any>>,
}

impl Served {
    pub fn new(endpoint: impl Into<String>) -> Self {
        Served { endpoint: endpoint.into(), keep: Vec::new() }
    }

    /// Drops `what` with it, in the order of these calls.
    pub fn keeping(mut self, what: impl Any) -> Self {
        self.keep.push(Box::new(what));
        self
    }
}

/// A connection to a peer, until it is cut.
pub struct Link {
    pub endpoint: String,
    pub cut: Box<dyn Fn() + Send + Sync>,
    pub close: Box<dyn Fn() + Send + Sync>,
}

impl Link {
    /// Loses all connections; new ones can be made.
    pub fn cut(&self) {
        (self.cut)();
    }

    /// Loses all connections, and refuses new ones.
    pub fn close(&self) {
        (self.close)();
    }

    /// The peer behind it.
    pub fn to(&self, node: &Node) -> RemotePeer {
        RemotePeer::with_id(&self.endpoint, node.id())
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.close();
    }
}
