//! Incoming alive messages, membership requests and responses, and their verification results.

use super::alive::Alive;
use super::requests::response;
use super::table::Source;
use super::verify::Use;
use super::{Change, Context, Disclosure, Discovery, Effect, NetworkMember, Notice, State, Token};
use crate::crypto::PkiId;
use crate::journal;
use crate::message::{Content, Envelope, SignedMessage};
use crate::proto::gossip::{self, MembershipRequest, MembershipResponse};

/// Maximum number of requests that wait for our first alive message.
const MAX_WAITING_ANSWERS: usize = 1000;

impl Discovery {
    pub(super) fn on_received(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        match message.content() {
            Some(Content::AliveMsg(_)) => self.on_gossip(message, from, cx),
            Some(Content::MemReq(request)) => self.on_request(request, &message, from, cx),
            Some(Content::MemRes(response)) => self.on_response(response, &message, &from, cx),
            _ => journal::debug!("not a membership message: {message}"),
        }
    }

    fn on_gossip(&mut self, message: SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        // Each message is received from several peers; all but the first must be cheap to handle.
        if self.table.was_gossiped(&message.envelope().payload, cx.now) {
            return;
        }
        let Some(alive) = Alive::of(message, self.config.max_alive_size) else {
            return journal::debug!("{from} sent an alive message that is incomplete or too large");
        };
        if !self.is_own(&alive.pki_id) && self.is_fresh_gossip(&alive, cx) {
            self.verify(alive, None, Use::Gossip { from: from.clone() }, from, cx);
        }
    }

    /// Returns whether a gossiped message should be used and forwarded: only once, and not if its member is forgotten
    /// and the message is not newer than that.
    fn is_fresh_gossip(&self, alive: &Alive, cx: &Context<'_>) -> bool {
        let past = matches!(self.table.get(&alive.pki_id), Some((it, State::Forgotten)) if it.time >= alive.time);
        !past && self.table.is_newer_than_gossip(alive, cx.now)
    }

    fn on_request(&mut self, request: &MembershipRequest, message: &SignedMessage, from: PkiId, cx: &mut Context<'_>) {
        let Some(alive) = request.self_information.as_ref().and_then(|own| self.nested(own)) else {
            return journal::debug!("a membership request without a complete alive message");
        };
        if self.is_own(&alive.pki_id) {
            return;
        }
        if !self.asked.admit(&alive.pki_id, cx.now) {
            return journal::debug!("{} asks too often", alive.pki_id);
        }
        self.verify(alive, Some(message), Use::Request { nonce: message.nonce() }, from, cx);
    }

    /// Handles a response. Malformed entries do not affect the others. An unrequested response is used too, as in
    /// Fabric, but within a rate limit.
    fn on_response(
        &mut self,
        response: &MembershipResponse,
        message: &SignedMessage,
        from: &PkiId,
        cx: &mut Context<'_>,
    ) {
        if !self.responses.admit(from, cx.now) {
            return journal::debug!("{from} sends too many membership responses");
        }
        // A valid response cannot have more entries, plus us. The entries are read in reverse, because the sender's own
        // entry comes last and must not be cut off.
        let most = self.config.max_members + 1;
        for envelope in response.alive.iter().rev().take(most) {
            self.on_alive_entry(envelope, message, from, cx);
        }
        for envelope in response.dead.iter().take(most) {
            self.on_dead_entry(envelope, message, from, cx);
        }
    }

    fn on_alive_entry(
        &mut self,
        envelope: &gossip::Envelope,
        carrier: &SignedMessage,
        from: &PkiId,
        cx: &mut Context<'_>,
    ) {
        let nonce = carrier.nonce();
        // Most entries are already known and must be cheap to handle: every node asks others every few seconds.
        if let Some(id) = self.table.owner_of_payload(&envelope.payload) {
            return self.seeds.answered(id, nonce);
        }
        let Some(alive) = self.nested(envelope) else { return };
        let news = match self.is_own(&alive.pki_id) {
            true => self.own.is_behind(alive.time),
            false => self.table.is_news(&alive, Source::Hearsay, cx.now) || self.seeds.is_answer(&alive.pki_id, nonce),
        };
        if news {
            self.verify(alive, Some(carrier), Use::Response { nonce }, from.clone(), cx);
        }
    }

    fn on_dead_entry(
        &mut self,
        envelope: &gossip::Envelope,
        carrier: &SignedMessage,
        from: &PkiId,
        cx: &mut Context<'_>,
    ) {
        if self.table.owner_of_payload(&envelope.payload).is_some() {
            return;
        }
        let Some(alive) = self.nested(envelope) else { return };
        let news = match self.is_own(&alive.pki_id) {
            true => self.own.is_behind(alive.time),
            false => self.member(&alive.pki_id).is_none() && self.table.is_news(&alive, Source::Hearsay, cx.now),
        };
        if news {
            self.verify(alive, Some(carrier), Use::Dead, from.clone(), cx);
        }
    }

    fn nested(&self, envelope: &gossip::Envelope) -> Option<Alive> {
        Alive::nested(Envelope::from(envelope.clone()), self.config.max_alive_size)
    }

    fn is_own(&self, id: &PkiId) -> bool {
        *id == self.own.member.pki_id
    }

    /// Requests the verification of a message, unless the result is known or pending. `carrier` is the message that it
    /// was nested in, if any.
    fn verify(
        &mut self,
        alive: Alive,
        carrier: Option<&SignedMessage>,
        wanted: Use,
        sender: PkiId,
        cx: &mut Context<'_>,
    ) {
        let verified = self.member(&alive.pki_id).and_then(|member| member.envelope.as_ref());
        if verified.is_some_and(|verified| alive.is_part_of(verified)) {
            return self.on_authentic(&alive, wanted, cx);
        }
        if self.verifications.join(&alive, &wanted) {
            return;
        }
        let Some(permit) = self.verifications.try_acquire(&alive, &sender) else {
            return journal::debug!("too many verifications pending: dropped a message of {}", alive.pki_id);
        };
        let alive = alive.detached(carrier);
        let token = self.next_token();
        cx.effects.push(Effect::Verify { token, message: alive.message.clone(), from: sender });
        self.verifications.begin(token, alive, wanted, permit);
    }

    pub(super) fn on_verified(&mut self, token: Token, valid: bool, cx: &mut Context<'_>) {
        let Some((alive, uses)) = self.verifications.take(token) else { return };
        if !valid {
            return journal::debug!("an alive message of {} is not authentic", alive.pki_id);
        }
        for wanted in uses {
            self.on_authentic(&alive, wanted, cx);
        }
    }

    /// Uses an authentic message. Time has passed since it arrived, so its freshness is checked again.
    fn on_authentic(&mut self, alive: &Alive, wanted: Use, cx: &mut Context<'_>) {
        if self.is_own(&alive.pki_id) {
            return self.own.rise_above(alive.time);
        }
        match wanted {
            Use::Gossip { from } => {
                if self.is_fresh_gossip(alive, cx) {
                    self.learn_alive(alive, Source::Hearsay, cx);
                    if self.table.note_gossiped(alive, cx.now) {
                        cx.effects.push(Effect::Gossip { message: alive.message.clone(), from: Some(from) });
                    }
                }
            }
            Use::Request { nonce } => {
                self.learn_alive(alive, Source::Itself, cx);
                // Copied, because the answer may have to wait.
                let pki_id = PkiId::from(alive.pki_id.as_bytes());
                let remote = NetworkMember { pki_id, metadata: Default::default(), envelope: None, ..alive.member() };
                if let Some(reason) = self.missing_endpoint(&remote, cx) {
                    return self.close_concealed(remote, reason, cx);
                }
                self.answer(remote, nonce, cx);
            }
            Use::Response { nonce } => {
                self.learn_alive(alive, Source::Hearsay, cx);
                self.seeds.answered(&alive.pki_id, nonce);
            }
            Use::Dead => {
                if let Some(change) = self.table.learn_dead(alive, cx.now) {
                    cx.effects.push(Effect::Notify(Notice::Membership(change)));
                }
            }
        }
    }

    fn learn_alive(&mut self, alive: &Alive, source: Source, cx: &mut Context<'_>) {
        let Some(change) = self.table.learn_alive(alive, source, cx.now) else { return };
        if matches!(change, Change::Alive(_)) && self.table.alive().len() == 1 {
            self.sync.hasten(cx.now, cx.random);
        }
        cx.effects.push(Effect::Notify(Notice::Membership(change)));
    }

    /// Answers a membership request, or closes the connection if the peer may not know us.
    fn answer(&mut self, remote: NetworkMember, nonce: u64, cx: &mut Context<'_>) {
        let disclosure = cx.peers.disclose(&remote, &self.own.member);
        if disclosure == Disclosure::Nothing {
            journal::debug!("{remote} must not learn our membership: closing its connection");
            return cx.effects.push(Effect::Close(remote.pki_id));
        }
        let Some(own) = &self.own.latest else {
            if self.answers.waiting.len() < MAX_WAITING_ANSWERS {
                self.answers.waiting.push((remote, nonce));
            }
            if self.answers.signing.is_none() {
                self.answers.signing = Some(self.sign(cx));
            }
            return;
        };
        let disclosed = |member: &NetworkMember| {
            let envelope = member.envelope.as_ref()?;
            disclosed(envelope, cx.peers.disclose(&remote, member))
        };
        let mut answer = MembershipResponse {
            alive: self.table.alive().iter().filter_map(|it| disclosed(&it.member)).collect(),
            dead: self.table.dead().iter().filter_map(|it| disclosed(&it.member)).collect(),
            ..Default::default()
        };
        answer.alive.extend(self::disclosed(own.envelope(), disclosure));
        match response(nonce, answer) {
            Ok(message) => {
                let endpoint = remote.preferred_endpoint().into();
                cx.effects.push(Effect::Send { to: remote.pki_id, endpoint, message });
            }
            Err(e) => journal::warning!("cannot answer {remote}: {e}"),
        }
    }

    /// Answers the waiting requests once our first alive message is signed.
    pub(super) fn answer_waiting(&mut self, cx: &mut Context<'_>) {
        for (remote, nonce) in std::mem::take(&mut self.answers.waiting) {
            self.answer(remote, nonce, cx);
        }
    }
}

/// Returns the part of a message that a peer with this disclosure may see.
fn disclosed(envelope: &Envelope, disclosure: Disclosure) -> Option<gossip::Envelope> {
    let mut envelope = gossip::Envelope::from(envelope);
    match disclosure {
        Disclosure::Nothing => return None,
        Disclosure::WithoutSecret => envelope.secret_envelope = None.into(),
        Disclosure::Whole => {}
    }
    Some(envelope)
}
