//! A channel: its members and the blocks seen.

use super::channel_member::Chaincode;
use super::config::NodeConfig;
use super::message_store::MessageStore;
use super::peers::AlivePeer;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::Limiter;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{self, channel_mac, Content, GossipMessage, InvalidationResult, SignedMessage};
use crate::proto::gossip::{Properties, StateInfo};
use bytes::Bytes;
use protobuf::Message;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// Maximum size of state information that is kept, in bytes of the serialized envelope.
pub(super) const MAX_STATE: usize = 256 << 10;

/// Maximum size of our own properties: leaves room for the rest of our state information.
const MAX_PROPERTIES: usize = MAX_STATE - (4 << 10);

/// Settings of channels.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// Interval at which our state information is published if it has changed: `peer.gossip.publishStateInfoInterval`,
    /// 4 s.
    pub publish_state_info_interval: Duration,
    /// Interval at which some peers are asked for theirs: `peer.gossip.requestStateInfoInterval`, 4 s.
    pub request_state_info_interval: Duration,
    /// Size of the window of block numbers that are accepted: `peer.gossip.maxBlockCountToStore`, 10.
    pub max_block_count_to_store: u64,
    /// Time for which the number of a block is remembered: 400 s, which is Fabric's hundred pull intervals.
    pub block_expiration: Duration,
    /// Maximum number of peers whose state information is kept, for each channel: 20,000.
    pub max_state_infos: usize,
    /// Maximum number of channels: 1,000.
    pub max_channels: usize,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        ChannelConfig {
            publish_state_info_interval: Duration::from_secs(4),
            request_state_info_interval: Duration::from_secs(4),
            max_block_count_to_store: 10,
            block_expiration: Duration::from_secs(400),
            max_state_infos: 20_000,
            max_channels: 1000,
        }
    }
}

/// A peer that an organisation of a channel names for others to contact first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnchorPeer {
    /// Its host name or address.
    pub host: String,
    /// Its port; 0 means none.
    pub port: u16,
}

impl AnchorPeer {
    /// Returns `host:port`, with an IPv6 address in brackets.
    pub fn endpoint(&self) -> String {
        let (host, port) = (&self.host, self.port);
        if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }
}

impl fmt::Display for AnchorPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.endpoint())
    }
}

/// The organisations of a channel, each with its anchor peers, as in the channel's configuration. The caller must have
/// verified that configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelOrgs(pub BTreeMap<OrgId, Vec<AnchorPeer>>);

/// State of a channel that we are or were in.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Bytes,
    pub(super) orgs: ChannelOrgs,
    own: PkiId,
    left: bool,
    properties: Properties,
    /// The newest state information of each peer, ours among them.
    states: MessageStore<PkiId, SignedMessage>,
    /// Whether our state has changed since it was last signed.
    changed: bool,
    /// Whether our state was signed but not yet published.
    unpublished: bool,
    blocks: BlockWindow,
    max_states: usize,
    /// Rate limits for state requests from each peer and for snapshots from each peer.
    asked: Limiter,
    told: Limiter,
}

impl Channel {
    pub(super) fn new(name: Bytes, own: PkiId, orgs: ChannelOrgs, config: &NodeConfig) -> Self {
        let (limits, config) = (&config.discovery, &config.channel);
        let limiter = || Limiter::new(limits.request_interval, limits.request_burst, limits.max_members);
        let blocks = BlockWindow::new(config.max_block_count_to_store, config.block_expiration);
        Channel {
            name,
            orgs,
            own,
            left: false,
            properties: Properties::default(),
            // One extra, for our own.
            states: MessageStore::new(newer_state, config.max_state_infos.saturating_add(1)),
            changed: false,
            unpublished: false,
            blocks,
            max_states: config.max_state_infos,
            asked: limiter(),
            told: limiter(),
        }
    }

    /// Returns whether we have left the channel.
    pub(super) fn left(&self) -> bool {
        self.left
    }

    pub(super) fn rejoin(&mut self, orgs: ChannelOrgs) {
        self.orgs = orgs;
        self.left = false;
    }

    pub(super) fn leave(&mut self) {
        self.left = true;
    }

    pub(super) fn set_ledger_height(&mut self, height: u64) {
        self.properties.ledger_height = height;
    }

    /// Replaces the chaincodes that we announce.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] if nodes would not keep an announcement with them.
    pub(super) fn set_chaincodes(&mut self, chaincodes: Vec<Chaincode>) -> Result<()> {
        let chaincodes = chaincodes.into_iter().map(Chaincode::encoded).collect();
        let properties = Properties { chaincodes, ..self.properties.clone() };
        let size = properties.compute_size();
        if size > MAX_PROPERTIES as u64 {
            let text =
                format!("the chaincodes take {size} bytes; nodes keep announcements of up to {MAX_PROPERTIES} bytes");
            return Err(Error::new(ErrorKind::TooLarge, text));
        }
        self.properties = properties;
        Ok(())
    }

    /// Returns our current state information, to be signed.
    pub(super) fn own_state(&self, incarnation: u64, sequence: u64) -> GossipMessage {
        let properties = Properties { left_channel: self.left, ..self.properties.clone() };
        message::state_info(&self.own, &self.name, incarnation, sequence, properties)
    }

    /// Marks our state information for signing again, after signing failed.
    pub(super) fn state_changed(&mut self) {
        self.changed = true;
    }

    /// Returns the channel's name if our state information must be signed, and clears that mark.
    pub(super) fn take_changed(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.changed).then(|| self.name.clone())
    }

    /// Stores our signed state information for publication.
    pub(super) fn set_own_state(&mut self, message: SignedMessage) {
        self.states.add(self.own.clone(), message);
        self.unpublished = true;
    }

    /// Returns our state information if it must be published, and marks it as published.
    pub(super) fn publish(&mut self) -> Option<SignedMessage> {
        std::mem::take(&mut self.unpublished).then(|| self.states.latest(&self.own).cloned()).flatten()
    }

    /// Returns whether this channel MAC was made by this peer for this channel.
    pub(super) fn has_mac(&self, pki_id: &PkiId, mac: &[u8]) -> bool {
        channel_mac(pki_id, &self.name) == mac
    }

    pub(super) fn has_org(&self, org: Option<&OrgId>) -> bool {
        org.is_some_and(|org| self.orgs.0.contains_key(org))
    }

    /// Returns whether state information is newer than the stored one of its peer, and there is room for it.
    pub(super) fn wants(&self, message: &SignedMessage) -> bool {
        let Some(info) = state_info(message) else { return false };
        let pki_id = PkiId::new(info.pki_id.clone());
        if pki_id == self.own || info.timestamp.is_none() {
            return false;
        }
        match self.states.latest(&pki_id) {
            Some(_) => self.states.check_valid(&pki_id, message),
            None => self.states.len() < self.max_states,
        }
    }

    /// Stores valid state information. Returns `false` if newer information has arrived in the meantime.
    pub(super) fn add_state(&mut self, message: &SignedMessage) -> bool {
        match state_info(message) {
            Some(info) if self.wants(message) => {
                self.states.add(PkiId::new(info.pki_id.clone()), message.clone()).is_some()
            }
            _ => false,
        }
    }

    /// Removes the states of the peers for which `known` returns false.
    pub(super) fn retain_states(&mut self, known: impl Fn(&PkiId) -> bool) {
        let own = &self.own;
        self.states.purge(|message| author(message).is_none_or(|pki_id| pki_id != *own && !known(&pki_id)));
    }

    /// Returns whether a peer is within its rate limit for state requests.
    pub(super) fn may_ask(&mut self, peer: &PkiId, now: Instant) -> bool {
        self.asked.admit(peer, now)
    }

    /// Returns whether a peer is within its rate limit for state snapshots.
    pub(super) fn may_tell(&mut self, peer: &PkiId, now: Instant) -> bool {
        self.told.admit(peer, now)
    }

    pub(super) fn forget_old_requests(&mut self, now: Instant) {
        self.asked.clean(now);
        self.told.clean(now);
    }

    /// Returns a snapshot of the states of the peers, by PKI-ID, for which `shown` returns true.
    pub(super) fn snapshot(&self, shown: impl Fn(&PkiId) -> bool) -> GossipMessage {
        let shown = |message: &&SignedMessage| author(message).is_some_and(|pki_id| shown(&pki_id));
        message::state_info_snapshot(self.name.clone(), self.states.messages().into_iter().filter(shown))
    }

    /// Returns whether a peer has announced that it is in the channel, and its organisation belongs to it.
    pub(super) fn has_peer(&self, peer: &AlivePeer) -> bool {
        self.state_of(peer).is_some()
    }

    /// Returns the state information of a peer that [is in the channel](Self::has_peer).
    pub(super) fn state_of(&self, peer: &AlivePeer) -> Option<&SignedMessage> {
        let state = self.states.latest(&peer.pki_id).filter(|_| self.has_org(peer.org.as_ref()))?;
        state_info(state).is_some_and(|info| !has_left(info)).then_some(state)
    }

    /// Returns whether a block has not been seen yet and its number is inside the window.
    pub(super) fn wants_block(&self, number: u64) -> bool {
        !self.left && self.blocks.wants(number)
    }

    /// Records a block. Returns `false` if it has been seen in the meantime.
    pub(super) fn add_block(&mut self, number: u64, now: Instant) -> bool {
        self.blocks.add(number, now)
    }
}

fn state_info(message: &SignedMessage) -> Option<&StateInfo> {
    match message.content() {
        Some(Content::StateInfo(info)) => Some(info),
        _ => None,
    }
}

/// Returns the PKI-ID of the peer that state information is about.
fn author(message: &SignedMessage) -> Option<PkiId> {
    state_info(message).map(|info| PkiId::new(info.pki_id.clone()))
}

/// Replacement policy of the store: for each peer, the newest state information wins.
fn newer_state(this: &SignedMessage, that: &SignedMessage) -> InvalidationResult {
    message::compare(this.message(), that.message(), 0)
}

fn has_left(info: &StateInfo) -> bool {
    info.properties.as_ref().is_some_and(|properties| properties.left_channel)
}

/// Number of blocks by which the window may move on while a block in it is being verified: verifications run on several
/// threads, so that they end in any order.
const OVERTAKING: u64 = 256;

/// The block numbers seen, within a sliding window; each is remembered for a limited time.
#[derive(Debug)]
struct BlockWindow {
    size: u64,
    expiration: Duration,
    seen: BTreeSet<u64>,
    /// Sorted by time.
    order: Vec<(Instant, u64)>,
}

impl BlockWindow {
    fn new(size: u64, expiration: Duration) -> Self {
        BlockWindow { size, expiration, seen: BTreeSet::new(), order: Vec::new() }
    }

    /// Returns whether an arriving block is new.
    fn wants(&self, number: u64) -> bool {
        self.lacks(number, self.size)
    }

    fn lacks(&self, number: u64, size: u64) -> bool {
        let behind = |last: &u64| last.checked_sub(size).is_some_and(|first| number < first);
        !self.seen.contains(&number) && !self.seen.last().is_some_and(behind)
    }

    /// Records a block that was wanted when it arrived. Returns `false` if it has been seen in the meantime.
    fn add(&mut self, number: u64, now: Instant) -> bool {
        let expired = |at: Instant| now.saturating_duration_since(at) > self.expiration;
        self.order.iter().filter(|(at, _)| expired(*at)).for_each(|(_, number)| {
            self.seen.remove(number);
        });
        let remembered = self.size.saturating_add(OVERTAKING);
        if !self.lacks(number, remembered) {
            return false;
        }
        self.seen.insert(number);
        self.order.push((now, number));
        // Numbers below the window are known to be old, so the window bounds the memory used.
        let first = self.seen.last().map_or(0, |last| last.saturating_sub(remembered));
        self.seen = self.seen.split_off(&first);
        let seen = &self.seen;
        self.order.retain(|(_, number)| seen.contains(number));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_counts_once_and_within_the_window() {
        let start = Instant::now();
        let mut window = BlockWindow::new(10, Duration::from_secs(400));
        assert!(window.add(100, start) && !window.add(100, start));
        assert!(window.add(90, start), "as far behind as the window reaches");
        assert!(!window.wants(89));
        assert!(window.add(105, start));
        assert!(!window.wants(94), "behind by now");
        assert!(!window.wants(105) && window.wants(95));
        assert!(window.add(u64::MAX, start) && !window.add(0, start));
        assert_eq!((window.seen.len(), window.order.len()), (1, 1));
    }

    #[test]
    fn a_block_that_the_window_left_behind_while_it_was_verified_counts_once() {
        let start = Instant::now();
        let mut window = BlockWindow::new(10, Duration::from_secs(400));
        assert!(window.wants(1) && window.add(1 + 10 + OVERTAKING, start));
        assert!(!window.wants(1), "arriving now, it is old");
        assert!(window.add(1, start) && !window.add(1, start));
        assert!(!window.add(0, start), "overtaken by too many");
    }

    #[test]
    fn blocks_are_forgotten_in_the_end() {
        let start = Instant::now();
        let mut window = BlockWindow::new(10, Duration::from_secs(400));
        assert!(window.add(5, start));
        assert!(!window.add(5, start + Duration::from_secs(400)));
        assert!(window.add(5, start + Duration::from_secs(401)));
    }
}
