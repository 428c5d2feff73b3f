//! The node: a peer of the network, with its membership, the identities of others, and channels.
//!
//! [`Node`] is the interface, [`NodeBuilder`] makes one. What a node decides it decides in a [`NodeCore`], without
//! threads, clock, network or keys; a driver around it carries that out over a [`Comm`]. What the core is made of can be
//! used by itself, and a simulation drives thousands of cores on a virtual clock.

mod builder;
mod cert_store;
pub mod channel;
pub mod config;
pub mod core;
pub mod disclosure;
mod driver;
pub mod emitter;
mod expiry;
mod fair_queue;
pub mod filter;
mod forward;
pub mod identities;
mod inbox;
mod metrics;
pub mod peers;
pub mod pull;
mod renewal;
mod workers;

pub use self::core::{Criteria, NodeCore, SeedRole};
pub use crate::discovery::Notice;
pub use builder::NodeBuilder;
pub use channel::{AnchorPeer, ChannelConfig, ChannelOrgs};
pub use config::NodeConfig;
pub use driver::Gossiped;
pub use identities::Identities;
pub use metrics::NodeSnapshot;
pub use workers::BlockVerifier;

use crate::comm::threads::StopOnce;
use crate::comm::{Comm, Demux, RemotePeer, SendError, Subscription};
use crate::config::{SubscriptionOptions, WhenFull};
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::discovery::{Members, NetworkMember, Seed};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{IdentityMapper, PeerIdentitySet};
use crate::message::{GossipMessage, SignedMessage};
use crate::sync::channel::select;
use crate::sync::entering_user_code;
use bytes::Bytes;
use driver::NodeState;
use std::sync::Arc;
use std::time::Duration;

/// The context of a call to [`NodeCore`].
pub type Context<'a> = crate::discovery::Context<'a, dyn Identities + 'a>;

/// A peer of the network. Clones are the same; dropping the last one stops it. Every method can be called from any
/// thread, and none but those that say so blocks.
#[derive(Clone)]
pub struct Node(Arc<Handle>);

struct Handle {
    shared: Arc<NodeState>,
    mapper: IdentityMapper,
    stop: StopOnce,
}

/// Whom [`Node::send_by_criteria`] sends to, and what counts as success. Fabric's `SendCriteria`.
#[derive(Clone, Debug, Default)]
pub struct SendCriteria {
    /// How long to wait for acknowledgements; must not be zero.
    pub timeout: Duration,
    /// So many peers have to acknowledge.
    pub min_ack: usize,
    /// To so many peers it is sent at most; 0 sends to nobody, which is no error.
    pub max_peers: usize,
    /// Only to peers of this channel.
    pub channel: Option<Bytes>,
}

impl Node {
    /// Starts to put one together: our own identity, and the services that know what it means.
    pub fn builder(
        identity: PeerIdentity,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
    ) -> NodeBuilder {
        NodeBuilder::new(identity, crypto, advisor)
    }

    fn new(shared: Arc<NodeState>, mapper: IdentityMapper, stop: StopOnce) -> Node {
        Node(Arc::new(Handle { shared, mapper, stop }))
    }

    /// The communication layer under it: connections, their events, acknowledged sends, every message that comes in.
    pub fn comm(&self) -> &Comm {
        &self.shared().comm
    }

    /// Ourselves, as others see us. Fabric's `SelfMembershipInfo`.
    pub fn self_member(&self) -> NetworkMember {
        self.shared().core.lock().discovery().self_member()
    }

    /// The members that are alive, without ourselves. Fabric's `Peers`.
    pub fn peers(&self) -> Members {
        self.shared().core.lock().peers()
    }

    /// The members that died and are remembered.
    pub fn dead(&self) -> Members {
        self.shared().core.lock().discovery().dead()
    }

    /// A member, alive or dead, or ourselves, by its PKI-ID.
    pub fn lookup(&self, pki_id: &PkiId) -> Option<NetworkMember> {
        self.shared().core.lock().discovery().lookup(pki_id)
    }

    /// The peers that are alive and in a channel; `None` for a channel that we were never in. Fabric's
    /// `PeersOfChannel`.
    pub fn channel_peers(&self, channel: &[u8]) -> Option<Members> {
        self.shared().core.lock().channel_peers(channel)
    }

    /// The bootstrap and anchor peers and what else was to be [connected](Self::connect) to, each with its last error and
    /// its next attempt. None is ever given up.
    pub fn seeds(&self) -> Vec<Seed> {
        self.shared().core.lock().discovery().seeds()
    }

    /// Contacts an endpoint until a peer that may be there in this role has answered, and from then on keeps it known.
    /// Fabric's `Connect`, whose `identify` the role stands for.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Full`] if there are too many seeds;
    /// [`ErrorKind::Stopped`].
    pub fn connect(&self, endpoint: &str, role: SeedRole) -> Result<()> {
        self.shared().call(|core, cx| core.connect(endpoint, role, cx))
    }

    /// Asks up to `count` random members for theirs, now.
    pub fn initiate_sync(&self, count: usize) {
        self.shared().call(|core, cx| core.sync(count, cx));
    }

    /// Says something else about ourselves, from the next alive message on (within
    /// [`alive_time_interval`](crate::discovery::DiscoveryConfig::alive_time_interval)).
    pub fn update_metadata(&self, metadata: impl Into<Bytes>) {
        self.shared().call(|core, _| core.update_metadata(metadata));
    }

    /// Changes our external endpoint, from the next alive message on; empty if other organisations shall not reach us.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`.
    pub fn update_endpoint(&self, endpoint: &str) -> Result<()> {
        self.shared().call(|core, _| core.update_endpoint(endpoint))
    }

    /// Validates those identities anew that the predicate picks; who is no longer valid is forgotten, and its connection
    /// closed. Blocks while it validates. To be called when a revocation list or the organisations change.
    pub fn suspect_peers(&self, predicate: impl Fn(&PeerIdentity) -> bool) {
        self.0.mapper.suspect_peers(predicate);
    }

    /// Every identity that is known, our own included.
    pub fn identity_info(&self) -> PeerIdentitySet {
        self.0.mapper.identity_info()
    }

    /// Joins a channel, or takes note of its new organisations and anchor peers. Members of its organisations learn that
    /// we are in it, and the anchor peers are contacted: those of other organisations only if we have an external
    /// endpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] for too many channels; [`ErrorKind::Stopped`].
    pub fn join_channel(&self, channel: impl Into<Bytes>, orgs: ChannelOrgs) -> Result<()> {
        self.shared().call(|core, cx| core.join_channel(channel, orgs, cx))
    }

    /// Leaves a channel: its members are told, its messages not taken any more.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in.
    pub fn leave_channel(&self, channel: &[u8]) -> Result<()> {
        self.shared().call(|core, cx| core.leave_channel(channel, cx))
    }

    /// Tells the members of a channel how many blocks we have.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in.
    pub fn update_ledger_height(&self, channel: &[u8], height: u64) -> Result<()> {
        self.shared().call(|core, cx| core.update_ledger_height(channel, height, cx))
    }

    /// Spreads a data message of a channel to its members in our organisation; each that gets it passes it on. Unsigned, as
    /// blocks are in Fabric: they bring their own signatures. Fabric's `Gossip`.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the tag does not fit the content or nobody would get such a message;
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::TooLarge`]; [`ErrorKind::Stopped`].
    pub fn gossip(&self, message: GossipMessage) -> Result<()> {
        let message = SignedMessage::noop_sign(message)?;
        self.shared().call(|core, cx| core.gossip(message, cx))
    }

    /// Sends a message to these peers. Fabric's `Send`; see [`Comm::send`] for what becomes of it.
    ///
    /// # Errors
    /// The peers whose queues did not take it.
    pub fn send(&self, message: &SignedMessage, peers: &[RemotePeer]) -> Result<(), SendError> {
        self.comm().send(message, peers)
    }

    /// Sends a message to some of the members that fulfil the criteria and for which `eligible` holds, and waits until
    /// enough of them have acknowledged it. Fabric's `SendByCriteria`. Blocks for at most the criteria's timeout.
    ///
    /// `eligible` is called on this thread, for members in random order until there are enough.
    ///
    /// # Errors
    /// With Fabric's texts: no timeout, no such channel, fewer suitable members than have to acknowledge; or what became
    /// of the messages, if fewer than [`min_ack`](SendCriteria::min_ack) were acknowledged.
    pub fn send_by_criteria(
        &self,
        message: GossipMessage,
        criteria: &SendCriteria,
        eligible: impl FnMut(&NetworkMember) -> bool,
    ) -> Result<()> {
        if criteria.max_peers == 0 {
            return Ok(());
        }
        if criteria.timeout.is_zero() {
            return Err(Error::new(ErrorKind::Config, "Timeout should be specified"));
        }
        let choice =
            Criteria { channel: criteria.channel.as_deref(), max_peers: criteria.max_peers, min_ack: criteria.min_ack };
        let candidates = self.shared().call(|core, cx| core.candidates(choice, cx))?;
        entering_user_code();
        let peers = choice.choose(candidates, eligible)?;
        let peers: Vec<_> =
            peers.iter().map(|peer| RemotePeer::with_id(peer.preferred_endpoint(), peer.pki_id.clone())).collect();
        let results = self.comm().send_with_ack(message, criteria.timeout, criteria.min_ack, &peers);
        match results.ack_count() >= criteria.min_ack {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Nack, results.to_string()).step("send by criteria")),
        }
    }

    /// Subscribes to the messages that are gossiped to us and for which `predicate` is true: the blocks of our channels,
    /// each once. Fabric's `Accept`. (Whatever else comes in, [`comm()`](Self::comm) has.)
    ///
    /// The predicate runs on the node's own thread and must not block. A subscription that is not read misses what has no
    /// room in it, and [counts](Subscription::missed) that: nothing waits for it.
    pub fn accept(&self, predicate: impl Fn(&Gossiped) -> bool + Send + Sync + 'static) -> Subscription<Gossiped> {
        self.accept_with(SubscriptionOptions::default(), predicate)
    }

    /// As [`accept`](Self::accept), with other bounds. The policy is always to drop what has no room.
    pub fn accept_with(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&Gossiped) -> bool + Send + Sync + 'static,
    ) -> Subscription<Gossiped> {
        self.shared().messages.subscribe(options.when_full(WhenFull::Drop), predicate)
    }

    /// What happens in the network, from now on: who comes, changes, dies and is forgotten, seeds that cannot be had,
    /// identities that are replaced or expire. What is not received in time is dropped and counted.
    pub fn notices(&self) -> Subscription<Notice> {
        subscribe(&self.shared().notices)
    }

    /// Waits until at least `count` other members are alive. Blocks for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] says how many there are, and what keeps the seeds; [`ErrorKind::Stopped`].
    pub fn wait_for_members(&self, count: usize, timeout: Duration) -> Result<()> {
        let shared = self.shared();
        let timer = shared.clock.after(timeout);
        let changes = shared.notices.subscribe(SubscriptionOptions::default().when_full(WhenFull::Drop), |notice| {
            matches!(notice, Notice::Membership(_))
        });
        loop {
            if shared.stopping.is_cancelled() {
                return Err(stopped());
            }
            // Whatever was missed is in this.
            while changes.try_recv().map_err(|_| stopped())?.is_some() {}
            let found = shared.core.lock().alive_count();
            if found >= count {
                return Ok(());
            }
            select! {
                recv(changes.signal()) -> _ => {}
                recv(timer) -> _ => return Err(self.too_few(found, count)),
            }
        }
    }

    /// The counters and gauges at this moment.
    pub fn metrics(&self) -> NodeSnapshot {
        NodeSnapshot::take(self.shared())
    }

    /// Stops: nothing is sent any more, subscriptions end once they are read empty, connections end so that what was
    /// written arrives, and every thread is joined. A further call waits for the first. Called on one of the library's own
    /// threads (in a predicate, a block verifier or a crypto service) it returns at once, and another thread does the work.
    ///
    /// Blocks as long as [`Comm::stop`] does, and for the verifications that are under way.
    pub fn stop(&self) {
        self.0.stop();
    }

    fn shared(&self) -> &Arc<NodeState> {
        &self.0.shared
    }

    fn too_few(&self, found: usize, count: usize) -> Error {
        let mut text = format!("{found} of {count} members in time");
        for seed in self.seeds().iter().filter(|seed| !seed.connected) {
            text += &format!("; {}: {}", seed.endpoint, seed.last_error.as_deref().unwrap_or("no answer yet"));
        }
        Error::new(ErrorKind::Timeout, text).step("wait for members")
    }
}

/// Notices that wait for one reader.
const NOTICES: usize = 16_384;

fn subscribe(notices: &Demux<Notice>) -> Subscription<Notice> {
    let options = SubscriptionOptions::default().capacity(NOTICES);
    notices.subscribe(options.when_full(WhenFull::Drop), |_| true)
}

fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "the node is stopped")
}

impl Handle {
    fn stop(&self) {
        let (shared, mapper) = (self.shared.clone(), self.mapper.clone());
        self.stop.run(move || {
            shared.stopping.cancel();
            shared.core.lock().stop();
            shared.messages.close();
            shared.notices.close();
            shared.threads.join();
            shared.comm.stop();
            mapper.stop();
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
