//! The pull of identities: each peer's signed identity message spreads to all peers allowed to know it.

use super::pull::{PullConfig, PullEngine, PullSend, PullStep};
use crate::crypto::PkiId;
use crate::message::{self, Content, Envelope, PullMsgType, SignedMessage};
use crate::random::Random;
use bytes::Bytes;
use std::time::Instant;

const KIND: PullMsgType = PullMsgType::IDENTITY_MSG;

/// Maximum size of an identity message that is kept, in bytes of the serialized envelope.
const MAX_IDENTITY: usize = 256 << 10;

/// The identity messages that we hold and offer, and the exchanges about them. Ours is included from the start.
///
/// Incoming messages must already have passed the tag check. Each outgoing message is for one peer.
#[derive(Debug)]
pub struct CertStore {
    engine: PullEngine<Envelope>,
}

impl CertStore {
    /// Returns an empty store.
    pub fn new(config: PullConfig) -> Self {
        CertStore { engine: PullEngine::new(config) }
    }

    /// Stores a valid identity message and offers it from now on. Returns `false` if there is no room, or the message
    /// is not an identity message.
    pub fn add(&mut self, message: &SignedMessage) -> bool {
        match message.content() {
            Some(Content::PeerIdentity(identity)) => {
                self.engine.add(identity.pki_id.clone(), message.envelope().clone())
            }
            _ => false,
        }
    }

    /// Removes an identity and stops offering it. It will be requested again from a peer that offers it.
    pub fn remove(&mut self, pki_id: &PkiId) {
        self.engine.remove(pki_id.as_bytes());
    }

    /// Returns the PKI-IDs of the offered identities, in order of arrival.
    pub fn pki_ids(&self) -> impl Iterator<Item = PkiId> + '_ {
        self.engine.digests().cloned().map(PkiId::new)
    }

    /// Starts a round: sends a hello to each of these peers.
    pub fn start_round(
        &mut self,
        peers: Vec<PkiId>,
        now: Instant,
        random: &mut dyn Random,
    ) -> Vec<(PkiId, SignedMessage)> {
        envelopes(self.engine.start_round(peers, now, random))
    }

    /// Handles a message of an exchange. Returns the answer, if there is one, and the identity messages to verify and,
    /// if they are valid, to [add](Self::add). An unusable entry of an update does not affect the others.
    ///
    /// `may_have` returns whether the peer may get an identity, by PKI-ID.
    pub fn handle(
        &mut self,
        from: &PkiId,
        message: &SignedMessage,
        now: Instant,
        may_have: impl Fn(&Bytes) -> bool,
    ) -> (Option<(PkiId, SignedMessage)>, Vec<SignedMessage>) {
        let answer = match message.content() {
            Some(Content::Hello(hello)) => self.engine.on_hello(from, hello.nonce, now, may_have),
            Some(Content::DataReq(request)) => {
                self.engine.on_request(from, request.nonce, &request.digests, now, may_have)
            }
            Some(Content::DataDig(digest)) => {
                self.engine.on_digest(from, digest.nonce, &digest.digests, |digest| !digest.is_empty());
                None
            }
            Some(Content::DataUpdate(update)) => {
                let items = update.data.iter().filter_map(|envelope| {
                    let item = SignedMessage::from_envelope(Some(Envelope::from(envelope.clone()))).ok()?;
                    let Some(Content::PeerIdentity(identity)) = item.content() else { return None };
                    let digest = identity.pki_id.clone();
                    // Detached, so that an item does not keep the whole large message in memory.
                    let kept = || if message.is_decoded() { item.detached() } else { item.clone() };
                    (item.wire_len() <= MAX_IDENTITY).then(|| (digest, kept()))
                });
                let accepted = self.engine.on_response(from, update.nonce, items);
                return (None, accepted.into_iter().map(|(_, item)| item).collect());
            }
            _ => None,
        };
        (answer.and_then(envelope), Vec::new())
    }

    /// Advances to the next step when it is due. Returns the requests.
    pub fn poll(&mut self, now: Instant, random: &mut dyn Random) -> Vec<(PkiId, SignedMessage)> {
        envelopes(self.engine.poll(now, random))
    }

    /// Returns when [`poll`](Self::poll) must be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.engine.next_deadline()
    }

    /// Ends the round in progress.
    pub fn stop(&mut self) {
        self.engine.stop();
    }
}

fn envelopes(sends: Vec<PullSend<Envelope>>) -> Vec<(PkiId, SignedMessage)> {
    sends.into_iter().filter_map(envelope).collect()
}

/// Returns `None` only for a message larger than 2 GiB.
fn envelope(send: PullSend<Envelope>) -> Option<(PkiId, SignedMessage)> {
    let message = match send.step {
        PullStep::Hello => message::hello(send.nonce, KIND),
        PullStep::Digest(digests) => message::data_digest(send.nonce, KIND, digests),
        PullStep::Request(digests) => message::data_request(send.nonce, KIND, digests),
        PullStep::Response(items) => message::data_update(send.nonce, KIND, &items),
    };
    Some((send.to, SignedMessage::noop_sign(message).ok()?))
}
