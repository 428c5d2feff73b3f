//! A message with its envelope, decoded and encoded at once.

use super::envelope::{field_len, put_payload_header, put_signature, Envelope, SecretEnvelope};
use super::{Content, GossipMessage, Verifier};
use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::{self, gossip, put_tag, put_varint, VARINT};
use bytes::Bytes;
use protobuf::{CodedOutputStream, Message};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Room for a signature: a DER-encoded ECDSA signature over P-384 has at most 104 bytes, and a longer one only costs a
/// reallocation.
const SIGNATURE_ROOM: usize = 112;

/// What protobuf allows at most for one message, in bytes.
const MAX_MESSAGE: u64 = i32::MAX as u64;

/// Field number of a message's nonce.
const NONCE: u32 = 1;

type Signer = fn(&[u8]) -> Result<Vec<u8>>;
const NO_SIGNER: Option<Signer> = None;

/// A gossip message with its envelope, immutable. Clones share everything.
#[derive(Clone)]
pub struct SignedMessage(Arc<Parts>);

struct Parts {
    message: GossipMessage,
    /// Whether encoding `message` gives all of it: not if it came with unknown fields, which lose their order.
    whole: bool,
    /// Whether it was decoded, so that its parts are slices of what arrived.
    decoded: bool,
    envelope: Envelope,
    /// The envelope, serialized: as received, or as made when the message was. Nested ones get theirs when asked.
    wire: OnceLock<Bytes>,
}

impl SignedMessage {
    fn new(message: GossipMessage, whole: bool, decoded: bool, envelope: Envelope, wire: Option<Bytes>) -> Self {
        let wire = wire.map_or_else(OnceLock::new, OnceLock::from);
        SignedMessage(Arc::new(Parts { message, whole, decoded, envelope, wire }))
    }

    /// Encodes a message without a signature, as everything travels that is meant for one peer alone.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond 2 GiB, which is protobuf's own limit.
    pub fn noop_sign(message: GossipMessage) -> Result<Self> {
        Self::build(message, None, None, NO_SIGNER)
    }

    /// Encodes a message and signs it: `signer` gets the serialized message and returns the signature over it.
    ///
    /// # Errors
    /// The signer's, and as [`noop_sign`](Self::noop_sign).
    pub fn sign(message: GossipMessage, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        Self::build(message, None, None, Some(signer))
    }

    /// Encodes and signs the message again. A secret envelope that it has stays.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn resign(&self, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        let encoded = match self.0.whole {
            true => None,
            false => Some(proto::reencode::<GossipMessage>(&self.envelope().payload)?),
        };
        Self::build(self.message().clone(), encoded, self.envelope().secret.clone(), Some(signer))
    }

    /// The same message with another nonce, and hence without a signature.
    ///
    /// # Errors
    /// As [`noop_sign`](Self::noop_sign).
    pub fn with_nonce(&self, nonce: u64) -> Result<Self> {
        let encoded = match self.0.whole {
            true => None,
            false => {
                // Of a field that comes twice, the last one counts.
                let mut payload = self.envelope().payload.to_vec();
                put_tag(&mut payload, NONCE, VARINT);
                put_varint(&mut payload, nonce);
                Some(proto::reencode::<GossipMessage>(&payload)?)
            }
        };
        Self::build(GossipMessage { nonce, ..self.message().clone() }, encoded, None, NO_SIGNER)
    }

    /// Encodes straight into the envelope's buffer (unless the message has been `encoded` already); payload and signature
    /// become slices of it.
    fn build(
        message: GossipMessage,
        encoded: Option<Vec<u8>>,
        secret: Option<SecretEnvelope>,
        signer: Option<impl FnOnce(&[u8]) -> Result<Vec<u8>>>,
    ) -> Result<Self> {
        let payload_len = encoded.as_ref().map_or_else(|| message.compute_size(), |bytes| bytes.len() as u64);
        if payload_len > MAX_MESSAGE {
            return Err(Error::new(ErrorKind::TooLarge, format!("message of {payload_len} bytes")));
        }
        let payload_len = payload_len as usize;
        let mut envelope = Envelope { secret, ..Envelope::default() };
        let signature_room = if signer.is_some() { SIGNATURE_ROOM } else { 0 };
        let mut wire = Vec::with_capacity(field_len(payload_len) + signature_room + envelope.encoded_len());
        if payload_len > 0 {
            put_payload_header(&mut wire, payload_len);
        }
        let start = wire.len();
        let mut signed = 0..0;
        match &encoded {
            Some(bytes) => wire.extend_from_slice(bytes),
            None => {
                let mut out = CodedOutputStream::vec(&mut wire);
                message
                    .write_to_with_cached_sizes(&mut out)
                    .and_then(|()| out.flush())
                    .map_err(|e| Error::new(ErrorKind::Internal, "cannot encode the message").source(e))?;
            }
        }
        if let Some(signer) = signer {
            let signature = signer(&wire[start..])?;
            put_signature(&mut wire, &signature);
            signed = wire.len() - signature.len()..wire.len();
        }
        envelope.put_tail(&mut wire);
        let wire = Bytes::from(wire);
        envelope.payload = wire.slice(start..start + payload_len);
        envelope.signature = wire.slice(signed);
        Ok(Self::new(message, encoded.is_none(), false, envelope, Some(wire)))
    }

    /// Decodes a received envelope. Nothing is copied: the parts are slices of `wire`.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the envelope or the message in it is malformed; an absent payload is an empty
    /// message.
    pub fn decode(wire: Bytes) -> Result<Self> {
        let envelope = Envelope::decode(&wire)?;
        let (message, whole) = decode_payload(&envelope)?;
        Ok(Self::new(message, whole, true, envelope, Some(wire)))
    }

    /// Decodes the message in an envelope that came inside another message, or did not come.
    ///
    /// # Errors
    /// `nil envelope` for `None`, and as [`decode`](Self::decode).
    pub fn from_envelope(envelope: Option<Envelope>) -> Result<Self> {
        let envelope = envelope.ok_or_else(|| Error::new(ErrorKind::Protocol, "nil envelope"))?;
        let (message, whole) = decode_payload(&envelope)?;
        Ok(Self::new(message, whole, true, envelope, None))
    }

    /// The message.
    pub fn message(&self) -> &GossipMessage {
        &self.0.message
    }

    /// The message's content; the tag may not fit it.
    pub fn content(&self) -> Option<&Content> {
        self.0.message.content.as_ref()
    }

    /// The message's nonce.
    pub fn nonce(&self) -> u64 {
        self.0.message.nonce
    }

    /// The envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.0.envelope
    }

    /// The envelope as it goes inside another message.
    pub fn to_proto(&self) -> gossip::Envelope {
        self.envelope().into()
    }

    /// The serialized envelope: what goes on the stream. Shared, not copied; as received if it was.
    pub fn wire(&self) -> Bytes {
        self.0.wire.get_or_init(|| self.0.envelope.encode()).clone()
    }

    /// The size of the serialized envelope in bytes. Costs nothing.
    pub fn wire_len(&self) -> usize {
        self.0.wire.get().map_or_else(|| self.0.envelope.encoded_len(), Bytes::len)
    }

    /// Whether payload and signature are both present. Says nothing about the signature's validity.
    pub fn is_signed(&self) -> bool {
        self.envelope().is_signed()
    }

    /// Checks the signature over the payload as it was received, and that of the secret envelope, if there is one.
    ///
    /// # Errors
    /// See [`Envelope::verify`].
    pub fn verify(&self, identity: &PeerIdentity, verifier: impl Verifier) -> Result<()> {
        self.envelope().verify(identity, verifier)
    }

    /// The same message with a secret envelope that names the endpoint for the own organisation. A secret envelope
    /// that it had is replaced; the outer signature stays valid.
    ///
    /// # Errors
    /// The signer's.
    pub fn sign_secret(&self, internal_endpoint: &str, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        Ok(self.with_secret(Some(SecretEnvelope::sign(internal_endpoint, signer)?)))
    }

    /// The same message without a secret envelope: how it leaves the organisation.
    pub fn without_secret(&self) -> Self {
        match self.envelope().secret {
            Some(_) => self.with_secret(None),
            None => self.clone(),
        }
    }

    fn with_secret(&self, secret: Option<SecretEnvelope>) -> Self {
        let envelope = Envelope { secret, ..self.envelope().clone() };
        Self::new(self.message().clone(), self.0.whole, self.0.decoded, envelope, None)
    }

    /// The endpoint in the secret envelope; empty if there is none. Does not check its signature.
    pub fn internal_endpoint(&self) -> String {
        self.envelope().secret.as_ref().map(SecretEnvelope::internal_endpoint).unwrap_or_default()
    }

    /// The same message in memory of its own: a message that came inside a large one keeps all of that alive otherwise.
    pub fn detached(&self) -> Self {
        let wire = Bytes::copy_from_slice(&self.wire());
        Self::decode(wire).unwrap_or_else(|_| self.clone())
    }

    /// Whether it was decoded: what is kept of its parts keeps all that arrived with it. One that was built here is made
    /// of parts that were there before, and share nothing with it.
    pub(crate) fn is_decoded(&self) -> bool {
        self.0.decoded
    }
}

fn decode_payload(envelope: &Envelope) -> Result<(GossipMessage, bool)> {
    proto::decode_and_judge(&envelope.payload).map_err(|e| {
        let text = format!("Failed unmarshalling GossipMessage from envelope: {}", e.message());
        Error::new(e.kind(), text).source(e)
    })
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedMessage({:?})", self.envelope())
    }
}
