//! Delivers events to nodes, and carries out their effects.

use super::names::{node_at, parts, signature};
use super::{Happening, Node, Simulator};
use crate::crypto::PkiId;
use crate::discovery::{Change, Effect, Event, Notice, Remote};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Content, SignedMessage};
use crate::node::core::{Context, NodeCore};
use std::time::Instant;

impl Simulator {
    pub(super) fn happen(&mut self, to: usize, happening: Happening) {
        let now = self.net.now();
        match happening {
            Happening::Wake => {
                if self.nodes[to].wakes_at == Some(now) {
                    self.nodes[to].wakes_at = None;
                    self.inject(to, Event::Timeout);
                    self.wake(to);
                }
            }
            Happening::Message { message, from, to_epoch } => {
                let from = from as usize;
                if self.nodes[to].core.is_none() || self.nodes[to].epoch != to_epoch {
                    return;
                }
                self.meet(from, to);
                self.note(from, to, &message);
                let from = self.nodes[from].pki_id.clone();
                self.inject(to, Event::Received { message, from });
            }
            Happening::Pinged { token, to: peer, epoch } => {
                let reachable = self.nodes.get(peer as usize).is_some_and(|peer| peer.core.is_some());
                if self.nodes[to].epoch == epoch {
                    self.inject(
                        to,
                        Event::Pinged { token, reachable: reachable && self.net.connects(to as u32, peer) },
                    );
                }
            }
            Happening::Handshake { token, to: peer, epoch } => {
                if self.nodes[to].epoch == epoch {
                    let result = self.handshake(to, peer as usize);
                    self.inject(to, Event::Handshaken { token, result });
                }
            }
            Happening::Refused { peer, epoch } => {
                if self.nodes[to].epoch == epoch {
                    self.inject(to, Event::PresumedDead(peer));
                }
            }
        }
    }

    fn handshake(&mut self, from: usize, to: usize) -> Result<Remote> {
        let up = self.nodes.get(to).is_some_and(|node| node.core.is_some());
        if !up || !self.connect(from, to) {
            return Err(Error::new(ErrorKind::Unreachable, "context deadline exceeded"));
        }
        self.meet(from, to);
        Ok(Remote {
            pki_id: self.nodes[to].pki_id.clone(),
            org: Some(self.orgs[usize::from(self.nodes[to].spec.org)].clone()),
        })
    }

    /// Returns whether two nodes can have a connection.
    fn connect(&self, one: usize, other: usize) -> bool {
        let refused = self.nodes[one].revoked || self.nodes[other].revoked;
        !refused && self.net.connects(one as u32, other as u32)
    }

    /// Exchanges the identities of two nodes that have a connection.
    fn meet(&mut self, one: usize, other: usize) {
        self.nodes[one].known.insert(other);
        self.nodes[other].known.insert(one);
    }

    fn note(&mut self, from: usize, to: usize, message: &SignedMessage) {
        for part in [self.net.now(), from as u64, to as u64, message.wire_len() as u64] {
            self.trace = (self.trace.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
        if let Some(observer) = &mut self.observer {
            observer(from, to, message);
        }
    }

    /// Calls a node, handles immediate answers, and schedules the rest.
    pub(super) fn drive(&mut self, number: usize, call: impl FnOnce(&mut NodeCore, &mut Context<'_>)) {
        let now = self.start + self.elapsed();
        let Some(mut core) = self.nodes[number].core.take() else { return };
        let mut effects = std::mem::take(&mut self.effects);
        let mut answers = std::mem::take(&mut self.answers);
        let mut active = false;
        self.enter(number, now, &mut effects, |cx| call(&mut core, cx));
        loop {
            active |= !effects.is_empty();
            for effect in effects.drain(..) {
                answers.extend(self.carry_out(number, effect));
            }
            let Some(event) = answers.pop_front() else { break };
            self.enter(number, now, &mut effects, |cx| core.handle(event, cx));
        }
        self.nodes[number].core = Some(core);
        (self.effects, self.answers) = (effects, answers);
        // Without an effect, no timer becomes due earlier.
        if active {
            self.wake(number);
        }
    }

    fn enter(&mut self, number: usize, now: Instant, effects: &mut Vec<Effect>, call: impl FnOnce(&mut Context<'_>)) {
        let Node { random, known, .. } = &mut self.nodes[number];
        let orgs = &self.orgs;
        let of = |id: &PkiId| {
            let (_, org) = parts(id).filter(|(number, _)| known.contains(*number))?;
            orgs.get(usize::from(org)).cloned()
        };
        call(&mut Context { now, random, peers: &of, effects });
    }

    /// Schedules the node's next wake-up.
    fn wake(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let Some(at) = node.core.as_deref().and_then(NodeCore::next_timeout) else { return };
        let nanos = at.saturating_duration_since(self.start).as_nanos();
        let at = (nanos.div_ceil(1_000_000) as u64).max(self.net.now() + 1);
        if node.wakes_at.is_none_or(|wakes_at| at < wakes_at) {
            node.wakes_at = Some(at);
            self.net.schedule(at, number as u32, Happening::Wake);
        }
    }

    /// Carries out an effect of a node; returns the answer if it is immediate.
    fn carry_out(&mut self, number: usize, effect: Effect) -> Option<Event> {
        let epoch = self.nodes[number].epoch;
        match effect {
            Effect::Send { to, message, .. } => self.send(number, &to, message),
            Effect::Verify { token, message, .. } => {
                let valid = self.verify(number, &message);
                return Some(Event::Verified { token, valid });
            }
            Effect::Sign { token, message, internal_endpoint } => {
                let sign = |payload: &[u8]| Ok(signature(payload));
                let result = SignedMessage::sign(message, sign).and_then(|message| match internal_endpoint.as_str() {
                    "" => Ok(message),
                    endpoint => message.sign_secret(endpoint, sign),
                });
                return Some(Event::Signed { token, result });
            }
            Effect::Ping { token, pki_id, .. } => {
                let to = self.number_of(&pki_id).unwrap_or(usize::MAX) as u32;
                let at = self.net.now() + self.net.round_trip();
                self.net.schedule(at, number as u32, Happening::Pinged { token, to, epoch });
            }
            Effect::Handshake { token, endpoint } => {
                let to = node_at(&endpoint).unwrap_or(u32::MAX);
                let at = self.net.now() + self.net.round_trip();
                self.net.schedule(at, number as u32, Happening::Handshake { token, to, epoch });
            }
            Effect::Deliver { message, .. } => self.nodes[number].delivered.push(message),
            Effect::Notify(Notice::Membership(Change::Dead(member))) => {
                let peer = self.number_of(&member.pki_id);
                let connected = |it: &usize| self.connect(number, *it);
                let is_up = |it: &usize| self.nodes[*it].pki_id == member.pki_id && self.nodes[*it].core.is_some();
                if peer.is_some_and(|it| is_up(&it) && connected(&it)) {
                    self.report.false_deaths += 1;
                }
            }
            Effect::Close(_) | Effect::Gossip { .. } | Effect::Notify(_) => {}
        }
        None
    }

    fn send(&mut self, number: usize, to: &PkiId, message: SignedMessage) {
        let size = message.wire_len() as u64;
        self.report.count(number, size);
        let Some(to_number) = self.number_of(to).filter(|to| self.connect(number, *to)) else { return };
        let peer = &self.nodes[to_number];
        if peer.core.is_none() || peer.pki_id != *to {
            if peer.refuses {
                let (epoch, at) = (self.nodes[number].epoch, self.net.now() + self.net.round_trip());
                self.net.schedule(at, number as u32, Happening::Refused { peer: to.clone(), epoch });
            }
            return;
        }
        let to_epoch = peer.epoch;
        let copies = self.net.copies(number as u32, to_number as u32);
        for _ in 0..copies {
            let at = self.net.now() + self.net.delay();
            let happening = Happening::Message { message: message.clone(), from: number as u32, to_epoch };
            self.net.schedule(at, to_number as u32, happening);
        }
    }

    /// A message is valid if its sender's identity is known, or is contained in it. Nothing is forged in the
    /// simulation.
    fn verify(&mut self, number: usize, message: &SignedMessage) -> bool {
        let (id, brings) = match message.content() {
            Some(Content::AliveMsg(alive)) => {
                let id = alive.membership.as_ref().map(|member| member.pki_id.clone()).unwrap_or_default();
                (id, !alive.identity.is_empty())
            }
            Some(Content::PeerIdentity(identity)) => (identity.pki_id.clone(), true),
            Some(Content::StateInfo(info)) => (info.pki_id.clone(), false),
            Some(Content::DataMsg(_)) => return true,
            _ => return false,
        };
        let of = self.number_of(&PkiId::new(id)).filter(|of| !self.nodes[*of].revoked);
        let Some(of) = of else { return false };
        let known = &mut self.nodes[number].known;
        if brings {
            known.insert(of);
        }
        known.contains(of)
    }
}
