//! The node: a peer of the network, with its membership, the identities of others, and channels.
//!
//! [`Node`] is the interface; [`NodeBuilder`] makes one. All decisions are made in a `NodeCore`, which has no
//! threads, clock, network or keys. A driver around it carries out these decisions over a [`Comm`]. The parts of the
//! core can be used separately, and a simulation drives thousands of cores on a virtual clock.

mod builder;
mod cert_store;
mod channel;
mod channel_member;
mod config;
pub(crate) mod core;
mod disclosure;
mod driver;
pub(crate) mod emitter;
mod expiry;
mod fair_queue;
pub(crate) mod filter;
mod forward;
pub(crate) mod identities;
mod inbox;
mod message_store;
mod metrics;
pub(crate) mod peers;
pub(crate) mod pull;
mod renewal;
mod workers;

pub use self::core::SeedRole;
pub use crate::discovery::{Change, DiscoveryConfig, NetworkMember, Notice, Seed, Timestamp};
pub use builder::NodeBuilder;
pub use channel::{AnchorPeer, ChannelConfig, ChannelOrgs};
pub use channel_member::{Chaincode, ChannelMember};
pub use config::NodeConfig;
pub use driver::Gossiped;
pub use emitter::EmitterConfig;
pub use metrics::NodeSnapshot;
pub use pull::PullConfig;
pub use workers::BlockVerifier;

use crate::comm::threads::StopOnce;
use crate::comm::{Comm, Demux, RemotePeer, SendError, Subscription};
use crate::config::{SubscriptionOptions, WhenFull};
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{IdentityMapper, PeerIdentityInfo};
use crate::message::{GossipMessage, SignedMessage};
use crate::sync::channel::select;
use crate::sync::entering_user_code;
use bytes::Bytes;
use driver::NodeState;
use std::sync::Arc;
use std::time::Duration;

/// A peer of the network. Clones refer to the same peer; dropping the last one stops it. Every method can be called
/// from any thread. Only the methods that say so block.
#[derive(Clone)]
pub struct Node(Arc<Handle>);

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("comm", self.comm()).finish_non_exhaustive()
    }
}

struct Handle {
    shared: Arc<NodeState>,
    mapper: IdentityMapper,
    stop: StopOnce,
}

/// The recipients of [`Node::send_by_criteria`] and its condition of success. Fabric's `SendCriteria`.
#[derive(Clone, Debug, Default)]
pub struct SendCriteria {
    /// Maximum wait for acknowledgements; must not be zero.
    pub timeout: Duration,
    /// Number of peers that must acknowledge.
    pub min_ack: usize,
    /// Maximum number of peers to send to; 0 sends to no peer, which is not an error.
    pub max_peers: usize,
    /// Only to peers of this channel.
    pub channel: Option<Bytes>,
}

impl Node {
    /// Returns a builder for a node with this identity, crypto service and security advisor.
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

    /// Returns the underlying communication layer: connections, their events, acknowledged sends, all incoming
    /// messages.
    pub fn comm(&self) -> &Comm {
        &self.shared().comm
    }

    /// Returns this node as other members see it. Fabric's `SelfMembershipInfo`.
    pub fn self_member(&self) -> NetworkMember {
        self.shared().core.lock().discovery().self_member()
    }

    /// Returns the members that are alive, without this node. Fabric's `Peers`.
    pub fn peers(&self) -> Vec<NetworkMember> {
        self.shared().core.lock().peers()
    }

    /// Returns the members that died and are remembered.
    pub fn dead(&self) -> Vec<NetworkMember> {
        self.shared().core.lock().discovery().dead()
    }

    /// Returns the member with this PKI-ID, alive or dead; it may be this node.
    pub fn lookup(&self, pki_id: &PkiId) -> Option<NetworkMember> {
        self.shared().core.lock().discovery().lookup(pki_id)
    }

    /// Returns the peers that are alive and in a channel, without this node; empty after this node left the channel,
    /// `None` if it was never in it. [`peers_of_channel`](Self::peers_of_channel) returns their announcements as well.
    pub fn channel_peers(&self, channel: &[u8]) -> Option<Vec<NetworkMember>> {
        self.shared().core.lock().channel_peers(channel)
    }

    /// Returns the same peers as [`channel_peers`](Self::channel_peers), each with the ledger height and the chaincodes
    /// that it announces, sorted by PKI-ID. Fabric's `PeersOfChannel`: peers that left the channel are not in it, nor
    /// those that are not alive.
    ///
    /// A peer announces a change within its publishing interval, 4 s by default.
    pub fn peers_of_channel(&self, channel: &[u8]) -> Option<Vec<ChannelMember>> {
        // Announcements can be large: their texts are copied without the lock.
        let states = self.shared().core.lock().peers_of_channel(channel)?;
        let mut peers: Vec<_> = states.into_iter().map(|(member, state)| ChannelMember::new(member, &state)).collect();
        peers.sort_by(|a, b| a.member.pki_id.cmp(&b.member.pki_id));
        Some(peers)
    }

    /// Returns the bootstrap peers, the anchor peers and the endpoints passed to [`connect`](Self::connect), each with
    /// its last error and its next attempt. Attempts never stop.
    pub fn seeds(&self) -> Vec<Seed> {
        self.shared().core.lock().discovery().seeds()
    }

    /// Adds an endpoint as a seed and contacts it until a suitable peer answers. Does not wait for the answer. `role`
    /// states which peers are suitable: a peer of our organisation, an anchor peer or any peer. Fabric's `Connect`,
    /// with `role` in place of its `identify` callback.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Full`] if there are too many seeds;
    /// [`ErrorKind::Stopped`].
    pub fn connect(&self, endpoint: &str, role: SeedRole) -> Result<()> {
        self.shared().call(|core, cx| core.connect(endpoint, role, cx))
    }

    /// Asks up to `count` random members for their membership now.
    pub fn initiate_sync(&self, count: usize) {
        self.shared().call(|core, cx| core.sync(count, cx));
    }

    /// Changes this node's metadata, from the next alive message on (within
    /// [`alive_time_interval`](crate::discovery::DiscoveryConfig::alive_time_interval)).
    pub fn update_metadata(&self, metadata: impl Into<Bytes>) {
        self.shared().call(|core, _| core.update_metadata(metadata));
    }

    /// Changes this node's external endpoint, from the next alive message on. An empty endpoint makes it unreachable
    /// for other organisations.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names an endpoint that is not `host:port`; [`ErrorKind::Stopped`].
    pub fn update_endpoint(&self, endpoint: &str) -> Result<()> {
        self.shared().call(|core, _| core.update_endpoint(endpoint))
    }

    /// Revalidates the identities for which the predicate is true. Peers whose identity is no longer valid are
    /// forgotten and their connections closed. Blocks during validation. Call it when a revocation list or the
    /// organisations change.
    pub fn suspect_peers(&self, predicate: impl Fn(&PeerIdentity) -> bool) {
        self.0.mapper.suspect_peers(predicate);
    }

    /// Returns all known identities, including this node's.
    pub fn identity_info(&self) -> Vec<PeerIdentityInfo> {
        self.0.mapper.identity_info()
    }

    /// Joins a channel, or updates its organisations and anchor peers. Members of its organisations learn that this
    /// node is in the channel. The anchor peers are contacted; those of other organisations only if this node has an
    /// external endpoint.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the name is empty, or this node's organisation is not one of the channel's: peers would
    /// ignore the node; [`ErrorKind::Full`] for too many channels; [`ErrorKind::Stopped`].
    pub fn join_channel(&self, channel: impl Into<Bytes>, orgs: ChannelOrgs) -> Result<()> {
        self.shared().call(|core, cx| core.join_channel(channel, orgs, cx))
    }

    /// Leaves a channel: notifies its members and accepts no more of its messages.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::Stopped`].
    pub fn leave_channel(&self, channel: &[u8]) -> Result<()> {
        self.shared().call(|core, cx| core.leave_channel(channel, cx))
    }

    /// Announces this node's ledger height to the members of a channel, within
    /// [`publish_state_info_interval`](ChannelConfig::publish_state_info_interval).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::Stopped`].
    pub fn update_ledger_height(&self, channel: &[u8], height: u64) -> Result<()> {
        self.shared().call(|core, cx| core.update_ledger_height(channel, height, cx))
    }

    /// Announces the chaincodes that this node can execute to the members of a channel, in place of those announced
    /// before, within [`publish_state_info_interval`](ChannelConfig::publish_state_info_interval). Fabric's
    /// `UpdateChaincodes`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::TooLarge`] for more than 252 KiB, which other
    /// nodes of this library would not keep; [`ErrorKind::Stopped`].
    pub fn update_chaincodes(&self, channel: &[u8], chaincodes: Vec<Chaincode>) -> Result<()> {
        self.shared().call(|core, cx| core.update_chaincodes(channel, chaincodes, cx))
    }

    /// Gossips a data message to the members of its channel in this node's organisation; each recipient passes it on.
    /// The message is unsigned, as blocks are in Fabric: they carry their own signatures. Fabric's `Gossip`.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the tag does not fit the content or the message has no possible recipient;
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::TooLarge`]; [`ErrorKind::Stopped`].
    pub fn gossip(&self, message: GossipMessage) -> Result<()> {
        let message = SignedMessage::noop_sign(message)?;
        self.shared().call(|core, cx| core.gossip(message, cx))
    }

    /// Sends a message to these peers. Fabric's `Send`; see [`Comm::send`] for delivery.
    ///
    /// # Errors
    /// Lists the peers whose queues did not accept the message.
    pub fn send(&self, message: &SignedMessage, peers: &[RemotePeer]) -> Result<(), SendError> {
        self.comm().send(message, peers)
    }

    /// Sends a message to members that match the criteria and for which `eligible` returns true, and waits until enough
    /// of them have acknowledged it. Fabric's `SendByCriteria`. Blocks for at most the criteria's timeout.
    ///
    /// `eligible` is called on the calling thread, for members in random order, until enough are found.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with Fabric's text, if the timeout is zero, this node is not in the channel, or fewer
    /// than [`min_ack`](SendCriteria::min_ack) suitable members were found. [`ErrorKind::Nack`] if fewer peers
    /// acknowledged the message: the text is Fabric's JSON with the number of successes and the number of failures for
    /// each reason. [`ErrorKind::Stopped`].
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
        let choice = core::Criteria {
            channel: criteria.channel.as_deref(),
            max_peers: criteria.max_peers,
            min_ack: criteria.min_ack,
        };
        let candidates = self.shared().call(|core, cx| core.candidates(choice, cx))?;
        entering_user_code();
        let peers = choice.choose(candidates, eligible)?;
        let peers: Vec<_> =
            peers.iter().map(|peer| RemotePeer::with_id(peer.preferred_endpoint(), peer.pki_id.clone())).collect();
        let results = self.comm().send_with_ack(message, criteria.timeout, criteria.min_ack, &peers);
        match results.ack_count() >= criteria.min_ack {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Nack, results.to_string()).with_step("send by criteria")),
        }
    }

    /// Subscribes to gossiped messages for which `predicate` is true: the blocks of our channels, each delivered once.
    /// (All other incoming messages are available from [`comm()`](Self::comm).)
    ///
    /// The predicate runs on the node's own thread and must not block. When the subscription is full, further messages
    /// are dropped and [counted](Subscription::missed); the node never waits for a reader.
    pub fn subscribe(&self, predicate: impl Fn(&Gossiped) -> bool + Send + Sync + 'static) -> Subscription<Gossiped> {
        self.subscribe_with(SubscriptionOptions::default(), predicate)
    }

    /// Calls [`subscribe`](Self::subscribe), under the name that Fabric uses.
    pub fn accept(&self, predicate: impl Fn(&Gossiped) -> bool + Send + Sync + 'static) -> Subscription<Gossiped> {
        self.subscribe(predicate)
    }

    /// Like [`subscribe`](Self::subscribe), with other bounds. Messages that do not fit are always dropped.
    pub fn subscribe_with(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&Gossiped) -> bool + Send + Sync + 'static,
    ) -> Subscription<Gossiped> {
        self.shared().messages.subscribe(options.when_full(WhenFull::Drop), predicate)
    }

    /// Subscribes to network events from now on: members that join, change, die or are forgotten; seeds that cannot be
    /// reached; identities that are replaced or expire. Events not received in time are dropped and counted. A notice is
    /// published after its change has taken effect: a reader of the membership may see the change first.
    pub fn notices(&self) -> Subscription<Notice> {
        subscribe(&self.shared().notices)
    }

    /// Waits until at least `count` other members are alive. Blocks for at most `timeout`.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] states the number of alive members and the errors of the seeds; [`ErrorKind::Stopped`].
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
            // The membership read next includes any missed notice.
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

    /// Returns the current counters and gauges.
    pub fn metrics(&self) -> NodeSnapshot {
        NodeSnapshot::take(self.shared())
    }

    /// Stops the node. No more messages are sent, subscriptions end once they are drained, connections flush written
    /// data before they close, and every thread is joined. A further call waits for the first to complete. When called
    /// on one of the library's own threads (in a predicate, a block verifier or a crypto service), it returns
    /// immediately and another thread does the work.
    ///
    /// Blocks for as long as [`Comm::stop`] does, and until verifications in progress complete.
    pub fn stop(&self) {
        self.0.stop();
    }

    fn shared(&self) -> &Arc<NodeState> {
        &self.0.shared
    }

    fn too_few(&self, found: usize, count: usize) -> Error {
        let mut text = format!("timed out: {found} of {count} members");
        for seed in self.seeds().iter().filter(|seed| !seed.connected) {
            text += &format!("; {}: {}", seed.endpoint, seed.last_error.as_deref().unwrap_or("no answer yet"));
        }
        Error::new(ErrorKind::Timeout, text).with_step("wait for members")
    }
}

/// Capacity of a subscription to notices.
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
