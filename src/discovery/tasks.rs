//! Periodic tasks: heartbeat, expiry, reconnecting, sync, and contacting seeds.

use super::requests::{request, Target};
use super::seeds::jitter;
use super::{Context, Disclosure, Discovery, Effect, NetworkMember, Record, Remote, State, Token};
use crate::crypto::PkiId;
use crate::error::Result;
use crate::journal;
use crate::message::SignedMessage;
use crate::random::Random;
use std::time::{Duration, Instant};

/// The schedule of membership requests to random members. A node that has just found the network asks soon, then at
/// doubling intervals up to the usual one, so that nodes that start together learn of each other sooner.
pub(super) struct SyncTimer {
    interval: Option<Duration>,
    step: Duration,
    next: Option<Instant>,
}

/// The first of the doubling intervals is the usual one divided by this.
const HASTE: u32 = 16;

impl SyncTimer {
    pub fn new(interval: Option<Duration>, now: Instant) -> Self {
        SyncTimer { interval, step: interval.unwrap_or_default(), next: interval.map(|_| now) }
    }

    pub fn next(&self) -> Option<Instant> {
        self.next
    }

    /// Shortens the interval after the network has just been found.
    pub fn hasten(&mut self, now: Instant, random: &mut dyn Random) {
        if let Some(interval) = self.interval {
            self.step = interval / HASTE;
            self.next = Some(now + jitter(self.step, random));
        }
    }

    fn done(&mut self, now: Instant, random: &mut dyn Random) {
        let Some(interval) = self.interval else { return };
        self.step = (self.step * 2).min(interval);
        let wait = if self.step < interval { jitter(self.step, random) } else { interval };
        self.next = Some(now + wait);
    }
}

impl Discovery {
    pub(super) fn on_timeout(&mut self, cx: &mut Context<'_>) {
        let now = cx.now;
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(Some(self.next_check)) {
            self.next_check = cx.now + self.config.alive_expiration_check_interval;
            self.check(cx);
        }
        if due(Some(self.next_heartbeat)) {
            self.next_heartbeat = cx.now + self.config.alive_time_interval;
            if !self.table.alive().is_empty() && self.heartbeat.is_none() {
                self.heartbeat = Some(self.sign(cx));
            }
        }
        if due(self.dead_probe.next_round()) {
            self.dead_probe.begin(self.table.dead().iter().map(|record| record.member.pki_id.clone()));
            self.ping(cx);
        }
        if due(self.sync.next()) {
            self.sync.done(cx.now, cx.random);
            self.request_from_alive(self.config.sync_peers, cx);
        }
        self.seeds.time_out(cx.now, cx.random);
        self.contact_seeds(cx);
    }

    /// Declares silent members dead, and forgets members that have been dead for long enough.
    fn check(&mut self, cx: &mut Context<'_>) {
        for member in self.table.bury_silent(self.config.alive_expiration_timeout, cx.now) {
            self.on_dead(member, cx);
        }
        for member in self.table.forget_dead(|member| self.seeds.are_at(member), cx.now) {
            let id = member.pki_id.clone();
            self.on_forgotten(&id, Some(member), cx);
        }
        self.asked.clean(cx.now);
        self.responses.clean(cx.now);
    }

    /// Asks random alive members for their membership.
    pub(super) fn request_from_alive(&mut self, count: usize, cx: &mut Context<'_>) {
        // A peer that may not know us would close the connection instead of answering.
        let answers = |record: &&Record| self.missing_endpoint(&record.member, cx).is_none();
        let alive = self.table.alive().iter().filter(answers).collect::<Vec<_>>();
        let chosen = cx.random.indices(count.min(alive.len()), alive.len());
        let targets: Vec<Target> =
            chosen.into_iter().map(|at| self.target(sync_endpoint(alive[at]), alive[at], cx)).collect();
        targets.into_iter().for_each(|target| self.request(target, cx));
    }

    fn target(&self, endpoint: String, record: &Record, cx: &Context<'_>) -> Target {
        let with_secret = cx.peers.disclose(&record.member, &self.own.member) == Disclosure::Whole;
        Target { pki_id: record.member.pki_id.clone(), endpoint, nonce: 0, with_secret }
    }

    /// Asks one peer for its membership, once our alive message for the request is signed.
    fn request(&mut self, target: Target, cx: &mut Context<'_>) {
        if !self.requests.targets.contains(&target) {
            self.requests.targets.push(target);
        }
        if self.requests.signing.is_none() {
            self.requests.signing = Some(self.sign(cx));
        }
    }

    pub(super) fn on_signed(&mut self, token: Token, result: Result<SignedMessage>, cx: &mut Context<'_>) {
        let token = Some(token);
        if self.heartbeat == token {
            self.heartbeat = None;
            match result {
                Ok(message) => {
                    self.own.latest = Some(message.clone());
                    cx.effects.push(Effect::Gossip { message, from: None });
                }
                // The next heartbeat is sent anyway.
                Err(e) => journal::warning!("cannot sign our alive message: {e}"),
            }
        } else if self.requests.signing == token {
            self.requests.signing = None;
            for target in std::mem::take(&mut self.requests.targets) {
                let request = result.as_ref().map_err(|e| e.to_string());
                match request.and_then(|own| request_to(own, &target)) {
                    Ok(send) => cx.effects.push(send),
                    Err(e) => {
                        journal::warning!("cannot ask {} for its members: {e}", target.endpoint);
                        self.seeds.not_asked(target.nonce, &e, cx.now, cx.random);
                    }
                }
            }
        } else if self.answers.signing == token {
            self.answers.signing = None;
            match result {
                Ok(message) => {
                    self.own.latest.get_or_insert(message);
                    self.answer_waiting(cx);
                }
                Err(e) => {
                    journal::warning!("cannot sign our alive message: {e}");
                    self.answers.waiting.clear();
                }
            }
        }
    }

    fn ping(&mut self, cx: &mut Context<'_>) {
        while let Some(id) = self.dead_probe.next_ping(self.config.max_pings) {
            if let Some((record, State::Dead)) = self.table.get(&id) {
                let endpoint = record.member.preferred_endpoint().to_owned();
                let token = self.next_token();
                cx.effects.push(Effect::Ping { token, pki_id: id.clone(), endpoint });
                self.dead_probe.pinging(token, id);
            }
        }
        self.dead_probe.end_if_done(self.config.reconnect_interval, cx.now);
    }

    pub(super) fn on_pinged(&mut self, token: Token, reachable: bool, cx: &mut Context<'_>) {
        let Some(id) = self.dead_probe.pinged(token) else { return };
        self.ask_dead(reachable, &id, cx);
        self.ping(cx);
    }

    fn ask_dead(&mut self, reachable: bool, id: &PkiId, cx: &mut Context<'_>) {
        let dead = self.table.get(id).filter(|(record, _)| self.missing_endpoint(&record.member, cx).is_none());
        if let (true, Some((record, State::Dead))) = (reachable, dead) {
            let target = self.target(record.member.preferred_endpoint().to_owned(), record, cx);
            self.request(target, cx);
        }
    }

    /// Identifies the peers at the seeds whose attempt is due.
    pub(super) fn contact_seeds(&mut self, cx: &mut Context<'_>) {
        while let Some(endpoint) = self.seeds.due(cx.now) {
            let token = self.next_token();
            self.seeds.identify(&endpoint, token);
            cx.effects.push(Effect::Handshake { token, endpoint });
        }
    }

    pub(super) fn on_handshaken(&mut self, token: Token, result: Result<Remote>, cx: &mut Context<'_>) {
        match result {
            Ok(found) if found.pki_id == self.own.member.pki_id => self.seeds.identified_as_self(token),
            Ok(found) => {
                let same_org = found.org.as_ref() == Some(&self.own.org);
                let deadline = cx.now + self.config.response_timeout;
                if let Some((endpoint, nonce)) = self.seeds.identified(token, &found.pki_id, same_org, deadline) {
                    let target = Target { pki_id: found.pki_id, endpoint, nonce, with_secret: same_org };
                    self.request(target, cx);
                }
            }
            Err(e) => self.seeds.not_identified(token, e.message(), cx.now, cx.random),
        }
    }
}

fn request_to(own: &SignedMessage, target: &Target) -> Result<Effect, String> {
    let message = request(own, target).map_err(|e| e.to_string())?;
    Ok(Effect::Send { to: target.pki_id.clone(), endpoint: (&*target.endpoint).into(), message })
}

/// Returns the recipient endpoint of periodic requests as in Fabric: the internal endpoint only if the newest message
/// still contains it.
fn sync_endpoint(record: &Record) -> String {
    let NetworkMember { endpoint, envelope, .. } = &record.member;
    let secret = envelope.as_ref().and_then(|envelope| envelope.secret.as_ref());
    match secret.map(|secret| secret.internal_endpoint()) {
        Some(internal) if !internal.is_empty() => internal,
        _ => endpoint.clone(),
    }
}
