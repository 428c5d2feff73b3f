//! An alive message with all fields that the membership needs.

use super::{NetworkMember, Timestamp};
use crate::crypto::PkiId;
use crate::message::{Content, Envelope, SignedMessage};
use crate::proto::gossip::Member;
use bytes::Bytes;
use protobuf::Message;

/// An alive message with membership, PKI-ID, time, payload and signature. Its authenticity is not checked.
pub(super) struct Alive {
    pub message: SignedMessage,
    pub pki_id: PkiId,
    pub time: Timestamp,
}

impl Alive {
    /// Returns `None` if it is not an alive message, lacks a field, or is larger than `max_size`.
    pub fn of(message: SignedMessage, max_size: usize) -> Option<Self> {
        let Some(Content::AliveMsg(alive)) = message.content() else { return None };
        let (member, time) = (alive.membership.as_ref()?, alive.timestamp.as_ref()?);
        if member.pki_id.is_empty() || !message.is_signed() || message.wire_len() > max_size {
            return None;
        }
        let (pki_id, time) = (PkiId::new(member.pki_id.clone()), time.into());
        Some(Alive { message, pki_id, time })
    }

    /// Like [`of`](Self::of), for a message nested in another one.
    pub fn nested(envelope: Envelope, max_size: usize) -> Option<Self> {
        Self::of(SignedMessage::from_envelope(Some(envelope)).ok()?, max_size)
    }

    /// Returns a copy fit for storage: with separate memory if it would otherwise keep its carrier message in memory.
    /// The PKI-ID is always copied, because it outlives even this message.
    pub fn detached(self, carrier: Option<&SignedMessage>) -> Self {
        let own = |id: PkiId| PkiId::from(id.as_bytes());
        match carrier {
            Some(carrier) if carrier.is_decoded() => {
                Alive { message: self.message.detached(), pki_id: own(self.pki_id), ..self }
            }
            None if self.message.is_decoded() => Alive { pki_id: own(self.pki_id), ..self },
            _ => self,
        }
    }

    /// Returns the member as described by this message.
    pub fn member(&self) -> NetworkMember {
        let described = self.described();
        NetworkMember {
            endpoint: described.endpoint.clone(),
            internal_endpoint: self.message.internal_endpoint(),
            metadata: described.metadata.clone(),
            pki_id: self.pki_id.clone(),
            envelope: Some(self.message.envelope().clone()),
        }
    }

    pub fn metadata(&self) -> &Bytes {
        &self.described().metadata
    }

    /// Returns whether its description of the member matches the known one, in the fields that it has.
    pub fn says_the_same_as(&self, member: &NetworkMember) -> bool {
        let described = self.described();
        let secret = |envelope: &Envelope| envelope.secret.as_ref().map(|secret| secret.payload.clone());
        let ours = secret(self.message.envelope());
        let same_secret = ours.is_none() || ours == member.envelope.as_ref().and_then(secret);
        described.endpoint == member.endpoint && described.metadata == member.metadata && same_secret
    }

    fn described(&self) -> &Member {
        match self.message.content() {
            Some(Content::AliveMsg(alive)) => alive.membership.get_or_default(),
            _ => Member::default_instance(),
        }
    }

    /// Returns whether this message is authentic because `verified`, of the same peer, is: it has nothing new; at most
    /// its secret envelope was removed.
    pub fn is_part_of(&self, verified: &Envelope) -> bool {
        let ours = self.message.envelope();
        ours.payload == verified.payload
            && ours.signature == verified.signature
            && (ours.secret.is_none() || ours.secret == verified.secret)
    }
}
