//! The pull of identities: what each peer says and signed about its identity spreads to all that may know it.

use super::pull::{PullConfig, PullEngine, PullSend, PullStep};
use crate::crypto::PkiId;
use crate::message::{self, Content, Envelope, PullMsgType, SignedMessage};
use crate::random::Random;
use bytes::Bytes;
use std::time::Instant;

const KIND: PullMsgType = PullMsgType::IDENTITY_MSG;

/// The largest identity message that is kept, as serialized envelope.
const MAX_IDENTITY: usize = 256 << 10;

/// The identity messages that we hold and offer, and the exchanges about them. Ours is among them from the start.
///
/// Messages that come in were tag-checked; those that go out are for one peer each.
#[derive(Debug)]
pub struct CertStore {
    engine: PullEngine<Envelope>,
}

impl CertStore {
    /// An empty store.
    pub fn new(config: PullConfig) -> Self {
        CertStore { engine: PullEngine::new(config) }
    }

    /// Keeps an identity message that was found valid, and offers it from now on. `false` if there is no room, or it is
    /// no identity message.
    pub fn add(&mut self, message: &SignedMessage) -> bool {
        match message.content() {
            Some(Content::PeerIdentity(identity)) => {
                self.engine.add(identity.pki_id.clone(), message.envelope().clone())
            }
            _ => false,
        }
    }

    /// Neither keeps nor offers an identity any more; a peer that offers it will be asked for it.
    pub fn remove(&mut self, pki_id: &PkiId) {
        self.engine.remove(pki_id.as_bytes());
    }

    /// The PKI-IDs of the identities that are offered, in the order in which they came.
    pub fn pki_ids(&self) -> impl Iterator<Item = PkiId> + '_ {
        self.engine.digests().cloned().map(PkiId::new)
    }

    /// Begins a round with these peers: a hello to each.
    pub fn start_round(
        &mut self,
        peers: Vec<PkiId>,
        now: Instant,
        random: &mut dyn Random,
    ) -> Vec<(PkiId, SignedMessage)> {
        envelopes(self.engine.start_round(peers, now, random))
    }

    /// Takes a message of an exchange. Returns the answer, if there is one, and the identity messages that are to be
    /// verified, and [added](Self::add) if they are valid. Of an update one entry that cannot be used does not keep
    /// the others out.
    ///
    /// `may_have` tells which identities, by PKI-ID, the peer may get.
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
                    // What comes in a large message must not keep all of that in memory.
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

    /// Goes on to the next step when its time has come. Returns the requests.
    pub fn poll(&mut self, now: Instant, random: &mut dyn Random) -> Vec<(PkiId, SignedMessage)> {
        envelopes(self.engine.poll(now, random))
    }

    /// When [`poll`](Self::poll) has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.engine.next_deadline()
    }

    /// Ends what is under way.
    pub fn stop(&mut self) {
        self.engine.stop();
    }
}

fn envelopes(sends: Vec<PullSend<Envelope>>) -> Vec<(PkiId, SignedMessage)> {
    sends.into_iter().filter_map(envelope).collect()
}

/// `None` only for a message beyond 2 GiB.
fn envelope(send: PullSend<Envelope>) -> Option<(PkiId, SignedMessage)> {
    let message = match send.step {
        PullStep::Hello => message::hello(send.nonce, KIND),
        PullStep::Digest(digests) => message::data_digest(send.nonce, KIND, digests),
        PullStep::Request(digests) => message::data_request(send.nonce, KIND, digests),
        PullStep::Response(items) => message::data_update(send.nonce, KIND, &items),
    };
    Some((send.to, SignedMessage::noop_sign(message).ok()?))
}
