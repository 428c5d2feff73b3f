//! The node without threads, clock, network or keys: events in, effects out.
//!
//! Membership, identities, channels and the spreading of messages meet here. A thin driver around a [`NodeCore`] owns
//! threads and timers and carries out its effects; a simulation does the same for thousands of them on a virtual clock.

mod channels;

use super::cert_store::CertStore;
use super::channel::Channel;
use super::config::NodeConfig;
use super::disclosure::OrgDisclosure;
use super::emitter::Emitter;
use super::event::{Asked, Context, Effect, Event, Notice, Remote, Token};
use super::expiry::Expiry;
use super::forward::{Gossip, Router, Sends};
use super::peers::{AlivePeers, Peer};
use super::renewal::Renewal;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{self, Change, Discovery, Identified, Members, NetworkMember, Seed, SelfInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{self, Content, GossipMessage, PullMsgType, SignedMessage};
use bytes::Bytes;
use channels::Outside;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

/// Why an endpoint is contacted, and so who has to be there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SeedRole {
    /// A bootstrap peer: one of our organisation.
    Bootstrap,
    /// An anchor peer of a channel: if it is listed under our organisation, it has to belong to it.
    Anchor {
        /// The channel.
        channel: Bytes,
        /// Under which organisation it is listed.
        org: OrgId,
    },
    /// Whoever is there.
    Any,
}

/// What a [`NodeCore::select`] is to go by (the choosing part of Fabric's `SendCriteria`).
#[derive(Clone, Debug, Default)]
pub struct Criteria<'a> {
    /// Only peers of this channel.
    pub channel: Option<&'a [u8]>,
    /// At most so many.
    pub max_peers: usize,
    /// At least so many, else it is an error.
    pub min_ack: usize,
}

/// The node as a state machine. See the [module documentation](self).
pub struct NodeCore {
    config: NodeConfig,
    own: PkiId,
    own_org: OrgId,
    incarnation: u64,
    /// Counts our state informations.
    state_sequence: u64,
    discovery: Discovery,
    certs: CertStore,
    emitter: Emitter<Gossip>,
    peers: AlivePeers,
    channels: BTreeMap<Bytes, Channel>,
    outside: Outside,
    seeds: BTreeMap<String, BTreeSet<SeedRole>>,
    /// Which endpoint a handshake was asked for.
    handshakes: HashMap<Token, String>,
    renewal: Renewal,
    expiry: Option<Expiry>,
    pending: HashMap<u64, Pending>,
    verifications: usize,
    next_token: u64,
    own_identity: OwnIdentity,
    timers: Timers,
    stopped: bool,
    /// Kept for its room.
    scratch: Vec<discovery::Effect>,
}

/// What an answer is for.
enum Pending {
    /// Our own identity message, signed.
    OwnIdentity,
    /// Our own state information in a channel, signed.
    OwnState(Bytes),
    /// An identity message, verified.
    Identity(SignedMessage),
    /// State information of a peer in a channel of ours, verified; to be forwarded if it came by itself.
    State { channel: Bytes, message: SignedMessage, from: Option<PkiId> },
    /// State information of a peer of ours in a channel of others, verified.
    OutsideState { message: SignedMessage, from: PkiId },
    /// A block, verified.
    Block { message: SignedMessage, from: PkiId },
    /// Who is at an endpoint, where this member was known to be.
    Renewal(Box<NetworkMember>),
}

/// Our identity message: others pull it.
enum OwnIdentity {
    Unsigned,
    Asked,
    Offered,
}

struct Timers {
    pull: Instant,
    /// Whether identities have been pulled since we are not alone.
    pulled: bool,
    publish_state: Instant,
    request_state: Instant,
    sweep_states: Instant,
}

impl NodeCore {
    /// A node that is not known to anybody and knows nobody. `incarnation` is the wall clock in nanoseconds since 1970:
    /// a node that restarts must have a greater one than before.
    ///
    /// # Errors
    /// The first setting or endpoint that is wrong.
    pub fn new(config: NodeConfig, own: SelfInfo, own_org: OrgId, incarnation: u64, now: Instant) -> Result<Self> {
        config.validate()?;
        let own_id = own.pki_id.clone();
        let identity = message::peer_identity(&own.pki_id, &own.identity);
        let discovery = Discovery::new(config.discovery.clone(), own, incarnation, now)?;
        let mut core = NodeCore {
            own: own_id,
            own_org,
            incarnation,
            state_sequence: 0,
            discovery,
            certs: CertStore::new(config.pull),
            emitter: Emitter::new(config.emitter),
            peers: AlivePeers::default(),
            channels: BTreeMap::new(),
            outside: Outside::default(),
            seeds: BTreeMap::new(),
            handshakes: HashMap::new(),
            renewal: Renewal::default(),
            expiry: None,
            pending: HashMap::new(),
            verifications: 0,
            next_token: 0,
            own_identity: OwnIdentity::Unsigned,
            timers: Timers {
                pull: now + config.pull_interval,
                pulled: false,
                publish_state: now + config.channel.publish_state_info_interval,
                request_state: now + config.channel.request_state_info_interval,
                sweep_states: now + 5 * config.pull_interval,
            },
            stopped: false,
            scratch: Vec::new(),
            config,
        };
        core.own_message = identity;
        Ok(core)
    }
}
