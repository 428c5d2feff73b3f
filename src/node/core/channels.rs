//! Channels: joining and leaving, their members, and their blocks.

use super::effects::{endpoint_of, has_external};
use super::Context;
use super::{NodeCore, Pending, SeedRole};
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{Effect, NetworkMember};
use crate::error::{Error, ErrorKind, Result};
use crate::journal;
use crate::message::{self, Content, Envelope, SignedMessage};
use crate::node::channel::{Channel, ChannelConfig, ChannelOrgs, MAX_STATE};
use crate::node::channel_member::Chaincode;
use crate::node::forward::Gossip;
use crate::node::peers::AlivePeer;
use crate::proto::gossip::{StateInfo, StateInfoPullRequest, StateInfoSnapshot};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Instant;

/// The newest state information of peers of our organisation in channels that we are not in; each is forwarded once.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// By peer and channel MAC: incarnation, sequence and arrival time.
    newest: BTreeMap<(PkiId, Bytes), (u64, u64, Instant)>,
}

impl Outside {
    fn wants(&self, info: &StateInfo, limits: &ChannelConfig) -> bool {
        let (Some((inc, seq)), id) = (time(info), key(info)) else { return false };
        match self.newest.get(&id) {
            Some(&(known_inc, known_seq, _)) => (inc, seq) > (known_inc, known_seq),
            None => self.newest.len() < limits.max_state_infos && self.of_peer(&id.0) < limits.max_channels,
        }
    }

    /// Returns the number of channels that a peer is in.
    fn of_peer(&self, id: &PkiId) -> usize {
        self.newest.range((id.clone(), Bytes::new())..).take_while(|((of, _), _)| of == id).count()
    }

    fn add(&mut self, info: &StateInfo, limits: &ChannelConfig, now: Instant) -> bool {
        let wanted = self.wants(info, limits);
        if let Some((inc, seq)) = time(info).filter(|_| wanted) {
            self.newest.insert(key(info), (inc, seq, now));
        }
        wanted
    }
}

fn time(info: &StateInfo) -> Option<(u64, u64)> {
    info.timestamp.as_ref().map(|time| (time.inc_num, time.seq_num))
}

fn key(info: &StateInfo) -> (PkiId, Bytes) {
    (PkiId::from(&info.pki_id[..]), Bytes::copy_from_slice(&info.channel_MAC))
}

fn no_channel(name: &[u8]) -> Error {
    Error::new(ErrorKind::Config, format!("we are not in channel {}", String::from_utf8_lossy(name)))
}

fn not_ours(name: &[u8], orgs: &ChannelOrgs, own: &OrgId) -> Error {
    let given: Vec<_> = orgs.0.keys().map(OrgId::as_str).collect();
    let (name, given) = (String::from_utf8_lossy(name), given.join(", "));
    let text = format!("our organisation {own} is not among the organisations of channel {name}: [{given}]");
    Error::new(ErrorKind::Config, text)
}

impl NodeCore {
    /// Joins a channel, or updates its organisations. Announces us to its members and contacts the anchor peers; those
    /// of other organisations only if they can reach us as well.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if the name is empty, or our organisation is not one of the channel's; [`ErrorKind::Full`] if
    /// we are in too many channels; [`ErrorKind::Stopped`] after a stop. An anchor peer with an invalid endpoint is
    /// skipped and logged.
    pub fn join_channel(&mut self, name: impl Into<Bytes>, orgs: ChannelOrgs, cx: &mut Context<'_>) -> Result<()> {
        self.check_running()?;
        let name: Bytes = name.into();
        if name.is_empty() {
            return Err(Error::new(ErrorKind::Config, "the name of the channel is empty"));
        }
        if !orgs.0.contains_key(&self.own_org) {
            return Err(not_ours(&name, &orgs, &self.own_org));
        }
        let full = self.channels.len() >= self.config.channel.max_channels;
        match self.channels.get_mut(&name) {
            Some(channel) => channel.rejoin(orgs.clone()),
            None if full => return Err(Error::new(ErrorKind::Full, "too many channels")),
            None => {
                let channel = Channel::new(name.clone(), self.own.clone(), orgs.clone(), &self.config);
                self.channels.insert(name.clone(), channel);
            }
        }
        // Publish and request now; anything not needed immediately waits for its timer.
        (self.timers.publish_state, self.timers.request_state) = (cx.now, cx.now);
        self.sign_own_state(&name, cx);
        self.replace_anchors(&name, &orgs, cx);
        Ok(())
    }

    /// Leaves a channel: notifies its members and accepts no more of its messages.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::Stopped`] after a stop.
    pub fn leave_channel(&mut self, name: &[u8], cx: &mut Context<'_>) -> Result<()> {
        self.check_running()?;
        let channel = self.channels.get_mut(name).filter(|channel| !channel.left()).ok_or_else(|| no_channel(name))?;
        channel.leave();
        let name = channel.name.clone();
        self.timers.publish_state = cx.now;
        self.sign_own_state(&name, cx);
        self.replace_anchors(&name, &ChannelOrgs::default(), cx);
        Ok(())
    }

    /// Announces our ledger height to the members of a channel.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in.
    pub fn update_ledger_height(&mut self, name: &[u8], height: u64, cx: &mut Context<'_>) -> Result<()> {
        self.announce(name, cx, |channel| {
            channel.set_ledger_height(height);
            Ok(())
        })
    }

    /// Announces the chaincodes that we can execute to the members of a channel, in place of those announced before.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a channel that we are not in; [`ErrorKind::TooLarge`] if other nodes would not keep the
    /// announcement.
    pub fn update_chaincodes(&mut self, name: &[u8], chaincodes: Vec<Chaincode>, cx: &mut Context<'_>) -> Result<()> {
        self.announce(name, cx, |channel| channel.set_chaincodes(chaincodes))
    }

    /// Changes what we announce in a channel, and signs it.
    fn announce(
        &mut self,
        name: &[u8],
        cx: &mut Context<'_>,
        change: impl FnOnce(&mut Channel) -> Result<()>,
    ) -> Result<()> {
        self.check_running()?;
        let channel = self.channels.get_mut(name).filter(|channel| !channel.left()).ok_or_else(|| no_channel(name))?;
        change(channel)?;
        let name = channel.name.clone();
        self.sign_own_state(&name, cx);
        Ok(())
    }

    /// Returns the peers that are alive and in a channel, without this node; empty if we have left it. `None` if we
    /// were never in the channel.
    pub fn channel_peers(&self, name: &[u8]) -> Option<Vec<NetworkMember>> {
        let channel = self.channels.get(name)?;
        let peers = self.peers.iter().filter(|peer| !channel.left() && channel.has_peer(peer));
        Some(peers.filter_map(|peer| self.discovery.lookup(&peer.pki_id)).collect())
    }

    /// Returns the channels that we are or were in.
    pub fn channels(&self) -> impl Iterator<Item = &[u8]> + '_ {
        self.channels.keys().map(|name| &name[..])
    }

    /// Returns the [peers of a channel](Self::channel_peers), each with its state information.
    pub fn peers_of_channel(&self, name: &[u8]) -> Option<Vec<(NetworkMember, SignedMessage)>> {
        let channel = self.channels.get(name)?;
        let states = self.peers.iter().filter(|_| !channel.left()).filter_map(|peer| {
            let state = channel.state_of(peer)?.clone();
            Some((self.discovery.lookup(&peer.pki_id)?, state))
        });
        Some(states.collect())
    }

    fn replace_anchors(&mut self, name: &Bytes, orgs: &ChannelOrgs, cx: &mut Context<'_>) {
        let before = self.seeds.drop_anchors(name);
        let channel = String::from_utf8_lossy(name).into_owned();
        let external = !self.discovery.self_member().endpoint.is_empty();
        if !external {
            self.warn_unreachable(&channel, orgs);
        }
        let mut anchors = Vec::new();
        for (org, peers) in &orgs.0 {
            for anchor in peers {
                if anchor.host.is_empty() {
                    journal::warning!("Got empty hostname, skipping connecting to anchor peer {anchor}");
                } else if anchor.port == 0 {
                    journal::warning!("Got invalid port (0), skipping connecting to anchor peer {anchor}");
                } else if *org != self.own_org && !external {
                    journal::info!(
                        "Anchor peer {anchor} of {org} in channel {channel} is not in our organization and we have no \
                         external endpoint, skipping"
                    );
                } else {
                    anchors.push((anchor.endpoint(), SeedRole::Anchor { channel: name.clone(), org: org.clone() }));
                }
            }
        }
        for endpoint in before.iter().filter(|before| !anchors.iter().any(|(endpoint, _)| endpoint == *before)) {
            self.with_discovery(cx, |discovery, _| discovery.remove_seed(endpoint));
        }
        for (endpoint, role) in anchors {
            if let Err(e) = self.connect(&endpoint, role, cx) {
                journal::warning!("anchor peer {endpoint} of channel {channel}: {e}");
            }
        }
    }

    /// Warns once that other organisations of our channels cannot know us, and how to change that.
    fn warn_unreachable(&mut self, channel: &str, orgs: &ChannelOrgs) {
        let others = orgs.0.keys().filter(|org| **org != self.own_org).map(OrgId::as_str).collect::<Vec<_>>();
        if others.is_empty() || std::mem::replace(&mut self.warned_unreachable, true) {
            return;
        }
        journal::warning!(
            "we have no external endpoint: peers of other organisations ({} in channel {channel}) cannot know or reach us, \
             and their anchor peers are not contacted; set peer.gossip.externalEndpoint",
            others.join(", ")
        );
    }

    fn sign_own_state(&mut self, name: &Bytes, cx: &mut Context<'_>) {
        self.state_sequence += 1;
        let Some(channel) = self.channels.get(name) else { return };
        let message = channel.own_state(self.incarnation, self.state_sequence);
        self.sign(message, Pending::OwnState(name.clone()), cx);
    }

    pub(super) fn on_channel_timeout(&mut self, cx: &mut Context<'_>) {
        if self.channels.is_empty() {
            return;
        }
        if self.timers.publish_state <= cx.now {
            self.timers.publish_state = cx.now + self.config.channel.publish_state_info_interval;
            self.publish_states(cx);
        }
        if self.timers.request_state <= cx.now {
            self.timers.request_state = cx.now + self.config.channel.request_state_info_interval;
            self.request_states(cx);
        }
        if self.timers.sweep_states <= cx.now {
            self.timers.sweep_states = cx.now + 5 * self.config.pull_interval;
            let (discovery, expiration) = (&self.discovery, 100 * self.config.channel.publish_state_info_interval);
            let known = |id: &PkiId| discovery.member(id).is_some();
            for channel in self.channels.values_mut() {
                channel.retain_states(known);
                channel.forget_old_requests(cx.now);
            }
            self.outside.newest.retain(|_, (.., at)| cx.now.saturating_duration_since(*at) <= expiration);
        }
    }

    fn publish_states(&mut self, cx: &mut Context<'_>) {
        let unsigned = self.channels.values_mut().filter_map(Channel::take_changed).collect::<Vec<_>>();
        unsigned.iter().for_each(|name| self.sign_own_state(name, cx));
        if self.peers.is_empty() {
            return;
        }
        let states: Vec<_> = self.channels.values_mut().filter_map(Channel::publish).collect();
        for message in states {
            self.emit(Gossip { message, from: None }, cx);
        }
    }

    fn request_states(&mut self, cx: &mut Context<'_>) {
        for channel in self.channels.values().filter(|channel| !channel.left()) {
            let request = message::state_info_pull_request(&self.own, &channel.name);
            let Ok(request) = SignedMessage::noop_sign(request) else { continue };
            let in_channel = |peer: &AlivePeer| channel.has_org(peer.org.as_ref());
            for peer in self.peers.select(self.config.pull_peer_num, cx.random, in_channel) {
                let endpoint = endpoint_of(&self.discovery, &peer.pki_id);
                cx.effects.push(Effect::Send { to: peer.pki_id, endpoint, message: request.clone() });
            }
        }
    }

    /// Handles a message whose tag restricts it to a channel.
    pub(super) fn on_channel_message(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let channel = &message.message().channel;
        let found = match message.content() {
            Some(Content::StateInfo(info)) => {
                let id = PkiId::new(info.pki_id.clone());
                self.channels.values().find(|channel| channel.has_mac(&id, &info.channel_MAC))
            }
            Some(Content::StateInfoPullReq(request)) => {
                self.channels.values().find(|channel| channel.has_mac(&from, &request.channel_MAC))
            }
            _ => self.channels.get(channel),
        };
        let Some(channel) = found else { return self.on_outside_message(message, from, cx) };
        if !channel.has_org(cx.peers.org(&from).as_ref()) {
            return journal::warning!("{from} is not of an organisation of channel {}", name(channel));
        }
        match message.content() {
            Some(Content::StateInfo(info)) => {
                let org = cx.peers.org(&PkiId::new(info.pki_id.clone()));
                if message.wire_len() <= MAX_STATE && channel.has_org(org.as_ref()) && channel.wants(&message) {
                    let channel = channel.name.clone();
                    let pending = Pending::State { channel, message: message.clone(), from: Some(from.clone()) };
                    self.verify(message, &from, pending, cx);
                }
            }
            Some(Content::StateInfoPullReq(request)) => self.answer_state_request(request, from, cx),
            Some(Content::StateSnapshot(snapshot)) => {
                let name = channel.name.clone();
                self.on_snapshot(&name, snapshot, &from, cx);
            }
            Some(Content::DataMsg(data)) => match data.payload.as_ref() {
                Some(payload) if channel.wants_block(payload.seq_num) => {
                    self.verify(message.clone(), &from.clone(), Pending::Block { message, from }, cx);
                }
                Some(_) => {}
                None => journal::warning!("{from} sent a data message without payload"),
            },
            _ => journal::debug!("no handler for {message}"),
        }
    }

    /// Forwards state information of peers of our organisation in channels that we are not in.
    fn on_outside_message(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let Some(Content::StateInfo(info)) = message.content() else { return };
        let ours = cx.peers.org(&PkiId::new(info.pki_id.clone())).as_ref() == Some(&self.own_org);
        if ours && message.wire_len() <= MAX_STATE && self.outside.wants(info, &self.config.channel) {
            self.verify(message.clone(), &from.clone(), Pending::OutsideState { message, from }, cx);
        }
    }

    /// Sends a peer the state of the channel's members. A peer of another organisation does not get those of our
    /// members that it cannot reach.
    fn answer_state_request(&mut self, request: &StateInfoPullRequest, from: PkiId, cx: &mut Context<'_>) {
        let asked = self.channels.values_mut().find(|it| it.has_mac(&from, &request.channel_MAC));
        let Some(channel) = asked else { return };
        if !channel.may_ask(&from, cx.now) {
            return;
        }
        let channel = &*channel;
        let same_org = cx.peers.org(&from).as_ref() == Some(&self.own_org);
        let shown = |id: &PkiId| {
            same_org || cx.peers.org(id).as_ref() != Some(&self.own_org) || has_external(&self.discovery, id)
        };
        match SignedMessage::noop_sign(channel.snapshot(shown)) {
            Ok(answer) => self.send_all([(from, answer)], cx),
            Err(e) => journal::warning!("cannot answer {from}: {e}"),
        }
    }

    /// Handles a snapshot of the members of a channel. An unusable entry does not affect the others.
    fn on_snapshot(&mut self, name: &Bytes, snapshot: &StateInfoSnapshot, from: &PkiId, cx: &mut Context<'_>) {
        if !self.channels.get_mut(name).is_some_and(|channel| channel.may_tell(from, cx.now)) {
            return;
        }
        // A valid snapshot cannot have more.
        for envelope in snapshot.elements.iter().take(self.config.channel.max_state_infos) {
            let Ok(message) = SignedMessage::from_envelope(Some(Envelope::from(envelope.clone()))) else { continue };
            let (Some(Content::StateInfo(info)), Some(channel)) = (message.content(), self.channels.get(name)) else {
                continue;
            };
            let id = PkiId::new(info.pki_id.clone());
            let belongs = channel.has_mac(&id, &info.channel_MAC) && channel.has_org(cx.peers.org(&id).as_ref());
            if belongs
                && message.wire_len() <= MAX_STATE
                && channel.wants(&message)
                && self.discovery.member(&id).is_some()
            {
                let message = message.detached();
                let pending = Pending::State { channel: name.clone(), message: message.clone(), from: None };
                self.verify(message, from, pending, cx);
            }
        }
    }

    pub(super) fn learn_state(
        &mut self,
        channel: &Bytes,
        message: SignedMessage,
        from: Option<PkiId>,
        cx: &mut Context<'_>,
    ) {
        let added = self.channels.get_mut(channel).is_some_and(|channel| channel.add_state(&message));
        if let Some(from) = from.filter(|_| added) {
            self.emit(Gossip { message, from: Some(from) }, cx);
        }
    }

    pub(super) fn learn_outside_state(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let Some(Content::StateInfo(info)) = message.content() else { return };
        if self.outside.add(info, &self.config.channel, cx.now) {
            self.emit(Gossip { message, from: Some(from) }, cx);
        }
    }

    /// Handles a valid block: delivers and forwards it once.
    pub(super) fn learn_block(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let number = block_number(&message);
        let channel = self.channels.get_mut(&message.message().channel).filter(|channel| !channel.left());
        if channel.zip(number).is_some_and(|(channel, number)| channel.add_block(number, cx.now)) {
            cx.effects.push(Effect::Deliver { message: message.clone(), from: from.clone() });
            self.emit(Gossip { message, from: Some(from) }, cx);
        }
    }

    /// Records a block that we gossip ourselves.
    pub(super) fn note_own_block(&mut self, message: &SignedMessage, now: Instant) -> Result<()> {
        let Some(number) = block_number(message) else {
            return Err(Error::new(ErrorKind::Protocol, "only data messages with a payload can be gossiped"));
        };
        let name = &message.message().channel;
        let channel = self.channels.get_mut(name).filter(|channel| !channel.left()).ok_or_else(|| no_channel(name))?;
        channel.add_block(number, now);
        Ok(())
    }
}

fn block_number(message: &SignedMessage) -> Option<u64> {
    match message.content() {
        Some(Content::DataMsg(data)) => Some(data.payload.as_ref()?.seq_num),
        _ => None,
    }
}

fn name(channel: &Channel) -> String {
    String::from_utf8_lossy(&channel.name).into_owned()
}
