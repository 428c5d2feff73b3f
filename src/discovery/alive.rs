//! An alive message that has everything the membership needs.

use super::{NetworkMember, Timestamp};
use crate::crypto::PkiId;
use crate::message::{Content, Envelope, SignedMessage};
use crate::proto::gossip::Member;
use bytes::Bytes;
use protobuf::Message;

/// An alive message with membership, PKI-ID, time, payload and signature. Says nothing about its authenticity.
pub(super) struct Alive {
    pub message: SignedMessage,
    pub pki_id: PkiId,
    pub time: Timestamp,
}

impl Alive {
    /// `None` if it is no alive message, lacks something, or is larger than `max_size`.
    pub fn of(message: SignedMessage, max_size: usize) -> Option<Self> {
        let Some(Content::AliveMsg(alive)) = message.content() else { return None };
        let (member, time) = (alive.membership.as_ref()?, alive.timestamp.as_ref()?);
        if member.pki_id.is_empty() || !message.is_signed() || message.wire_len() > max_size {
            return None;
        }
        let (pki_id, time) = (PkiId::new(member.pki_id.clone()), time.into());
        Some(Alive { message, pki_id, time })
    }

    /// One that came inside another message.
    pub fn nested(envelope: Envelope, max_size: usize) -> Option<Self> {
        Self::of(SignedMessage::from_envelope(Some(envelope)).ok()?, max_size)
    }

    /// The same, fit to be kept: in memory of its own if it would keep the message that it came in otherwise. The PKI-ID
    /// outlives even this message, all of which a slice would hold.
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

    /// The member as this message describes it.
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

    /// Whether it describes the member as it is known, as far as it describes it.
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

    /// Whether `verified`, of the same peer, being authentic, this is too: nothing in it is new, at most its secret
    /// envelope was taken off.
    pub fn is_part_of(&self, verified: &Envelope) -> bool {
        let ours = self.message.envelope();
        ours.payload == verified.payload
            && ours.signature == verified.signature
            && (ours.secret.is_none() || ours.secret == verified.secret)
    }
}
