//! A channel: who is in it, and which of its blocks have been seen.

use super::config::NodeConfig;
use super::peers::AlivePeer;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::Limiter;
use crate::message::{self, channel_mac, Content, GossipMessage, InvalidationResult, SignedMessage};
use crate::msgstore::MessageStore;
use crate::proto::gossip::{Properties, StateInfo};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// Settings of channels.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// How often our state information is published if it has changed: `peer.gossip.publishStateInfoInterval`, 4 s.
    pub publish_state_info_interval: Duration,
    /// How often some peers are asked for theirs: `peer.gossip.requestStateInfoInterval`, 4 s.
    pub request_state_info_interval: Duration,
    /// A block counts while its number is within this many of others: `peer.gossip.maxBlockCountToStore`, 10.
    pub max_block_count_to_store: u64,
    /// How long the number of a block is remembered, 400 s: Fabric's hundred pull intervals.
    pub block_expiration: Duration,
    /// Peers whose state information is kept, for each channel, 20,000.
    pub max_state_infos: usize,
    /// Channels at most, 1,000.
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
    /// Its port; 0 is none.
    pub port: u16,
}

impl AnchorPeer {
    /// As `host:port`, an IPv6 address in brackets.
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

/// The organisations of a channel, each with its anchor peers, as the channel's configuration has them. Whoever joins
/// with it has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelOrgs(pub BTreeMap<OrgId, Vec<AnchorPeer>>);

/// What we know of a channel that we are in, or were.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) name: Bytes,
    pub(super) orgs: ChannelOrgs,
    own: PkiId,
    left: bool,
    properties: Properties,
    /// The newest state information of each peer, ours among them.
    states: MessageStore<PkiId, SignedMessage>,
    /// Whether ours has changed since it was signed.
    changed: bool,
    /// Whether it was signed since it was published.
    unpublished: bool,
    blocks: BlockWindow,
    max_states: usize,
    /// Who has asked for the states, and who has told theirs, how often lately.
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
            // One more, for ours.
            states: MessageStore::new(newer_state, None, config.max_state_infos.saturating_add(1)),
            changed: false,
            unpublished: false,
            blocks,
            max_states: config.max_state_infos,
            asked: limiter(),
            told: limiter(),
        }
    }

    /// Whether we have left it.
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

    /// Our state information as it is now, to be signed.
    pub(super) fn own_state(&self, incarnation: u64, sequence: u64) -> GossipMessage {
        let properties = Properties { left_channel: self.left, ..self.properties.clone() };
        message::state_info(&self.own, &self.name, incarnation, sequence, properties)
    }

    /// It could not be signed, and has to be later.
    pub(super) fn state_changed(&mut self) {
        self.changed = true;
    }

    /// The channel's name if our state information has to be signed.
    pub(super) fn take_changed(&mut self) -> Option<Bytes> {
        std::mem::take(&mut self.changed).then(|| self.name.clone())
    }

    /// Our signed state information, to be published.
    pub(super) fn set_own_state(&mut self, message: SignedMessage, now: Instant) {
        self.states.add(self.own.clone(), message, now);
        self.unpublished = true;
    }

    /// Our state information, if it has to be published: it counts as published then.
    pub(super) fn publish(&mut self) -> Option<SignedMessage> {
        std::mem::take(&mut self.unpublished).then(|| self.states.latest(&self.own).cloned()).flatten()
    }

    /// Whether a channel MAC that this peer made means this channel.
    pub(super) fn has_mac(&self, pki_id: &PkiId, mac: &[u8]) -> bool {
        channel_mac(pki_id, &self.name) == mac
    }

    pub(super) fn has_org(&self, org: Option<&OrgId>) -> bool {
        org.is_some_and(|org| self.orgs.0.contains_key(org))
    }

    /// Whether state information is newer than what we have of its peer, and there is room for it.
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

    /// Keeps state information that was found valid. `false` if newer has come in the meantime.
    pub(super) fn add_state(&mut self, message: &SignedMessage, now: Instant) -> bool {
        match state_info(message) {
            Some(info) if self.wants(message) => {
                self.states.add(PkiId::new(info.pki_id.clone()), message.clone(), now).is_some()
            }
            _ => false,
        }
    }

    /// Forgets the state of those for whom `known` does not hold.
    pub(super) fn retain_states(&mut self, known: impl Fn(&PkiId) -> bool) {
        let own = &self.own;
        self.states.purge(|message| author(message).is_none_or(|pki_id| pki_id != *own && !known(&pki_id)));
    }

    /// Whether a peer may ask for the states now, or has too often.
    pub(super) fn may_ask(&mut self, peer: &PkiId, now: Instant) -> bool {
        self.asked.admit(peer, now)
    }

    /// Whether a peer may tell us many states now, or has too often.
    pub(super) fn may_tell(&mut self, peer: &PkiId, now: Instant) -> bool {
        self.told.admit(peer, now)
    }

    pub(super) fn forget_old_requests(&mut self, now: Instant) {
        self.asked.clean(now);
        self.told.clean(now);
    }

    /// The state of those that `shown` picks, by their PKI-ID.
    pub(super) fn snapshot(&self, shown: impl Fn(&PkiId) -> bool) -> GossipMessage {
        let shown = |message: &&SignedMessage| author(message).is_some_and(|pki_id| shown(&pki_id));
        message::state_info_snapshot(self.name.clone(), self.states.messages().into_iter().filter(shown))
    }

    /// Whether a peer has told that it is in the channel, and its organisation is.
    pub(super) fn has_peer(&self, peer: &AlivePeer) -> bool {
        let told = self.states.latest(&peer.pki_id).and_then(state_info);
        self.has_org(peer.org.as_ref()) && told.is_some_and(|info| !has_left(info))
    }

    /// What a peer has told about itself.
    pub(super) fn properties_of(&self, pki_id: &PkiId) -> Option<&Properties> {
        self.states.latest(pki_id).and_then(state_info)?.properties.as_ref()
    }

    /// Whether a block has not been seen yet, and its number is not behind the others.
    pub(super) fn wants_block(&self, number: u64) -> bool {
        !self.left && self.blocks.wants(number)
    }

    /// Takes note of a block. `false` if it has been seen in the meantime.
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

/// The policy of the store: of the state information of one peer the newest counts.
fn newer_state(this: &SignedMessage, that: &SignedMessage) -> InvalidationResult {
    message::compare(this.message(), that.message(), 0)
}

fn has_left(info: &StateInfo) -> bool {
    info.properties.as_ref().is_some_and(|properties| properties.left_channel)
}

/// Which blocks have been seen: numbers at most a window apart, each for a while.
#[derive(Debug)]
struct BlockWindow {
    size: u64,
    expiration: Duration,
    seen: BTreeSet<u64>,
    /// In the order of their time.
    order: Vec<(Instant, u64)>,
}

impl BlockWindow {
    fn new(size: u64, expiration: Duration) -> Self {
        BlockWindow { size, expiration, seen: BTreeSet::new(), order: Vec::new() }
    }

    fn wants(&self, number: u64) -> bool {
        let behind = |last: &u64| last.checked_sub(self.size).is_some_and(|first| number < first);
        !self.seen.contains(&number) && !self.seen.last().is_some_and(behind)
    }

    fn add(&mut self, number: u64, now: Instant) -> bool {
        let expired = |at: Instant| now.saturating_duration_since(at) > self.expiration;
        self.order.iter().filter(|(at, _)| expired(*at)).for_each(|(_, number)| {
            self.seen.remove(number);
        });
        if !self.wants(number) {
            return false;
        }
        self.seen.insert(number);
        self.order.push((now, number));
        // What falls out of the window is known to be behind; so the window bounds what is kept.
        let first = self.seen.last().map_or(0, |last| last.saturating_sub(self.size));
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
        assert!(!window.add(89, start));
        assert!(window.add(105, start));
        assert!(!window.add(94, start), "behind by now");
        assert_eq!(window.seen, BTreeSet::from([100, 105]));
        assert!(!window.wants(105) && window.wants(95));
        assert!(window.add(u64::MAX, start) && !window.add(0, start));
        assert_eq!((window.seen.len(), window.order.len()), (1, 1));
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
