//! The envelope: a serialized message, its signature, and a secret part for the sender's own organisation.

use super::Verifier;
use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::{self, gossip, put_bytes, put_tag, put_varint, varint_len, Reader, LEN};
use bytes::{BufMut, Bytes};
use std::fmt;
use std::ops::Range;

/// A `gossip.Envelope`. Absent and empty fields are equivalent. Clones share the bytes.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The serialized `GossipMessage`, which the signature covers.
    pub payload: Bytes,
    /// The signature over the payload.
    pub signature: Bytes,
    /// The part that only peers of the own organisation may see.
    pub secret: Option<SecretEnvelope>,
}

/// Positions of the parts of an encoded envelope without a secret part; an empty range for an absent one.
#[derive(Clone, Default)]
pub(super) struct Layout {
    pub(super) payload: Range<usize>,
    pub(super) signature: Range<usize>,
}

/// A `gossip.SecretEnvelope`. The outer signature does not cover it, so that it can be removed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretEnvelope {
    /// The serialized `Secret`.
    pub payload: Bytes,
    /// The signature over this payload, with the same key as the envelope's.
    pub signature: Bytes,
}

// Field numbers, shared by both messages where both have the field.
const PAYLOAD: u32 = 1;
const SIGNATURE: u32 = 2;
const SECRET: u32 = 3;

impl Envelope {
    /// Decodes a `gossip.Envelope`. The parts are slices of `wire`, not copies; unknown fields are skipped.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if it is malformed.
    pub fn decode(wire: &Bytes) -> Result<Self> {
        let mut envelope = Envelope::default();
        let mut reader = Reader::new(wire);
        while let Some((number, wire_type)) = reader.tag()? {
            match (number, wire_type) {
                (PAYLOAD, LEN) => envelope.payload = wire.slice_ref(reader.bytes()?),
                (SIGNATURE, LEN) => envelope.signature = wire.slice_ref(reader.bytes()?),
                (SECRET, LEN) => {
                    let value = wire.slice_ref(reader.bytes()?);
                    envelope.secret.get_or_insert_default().merge(&value)?;
                }
                _ => drop(reader.skip(number, wire_type)?),
            }
        }
        Ok(envelope)
    }

    /// Returns the positions of payload and signature in an encoded `gossip.Envelope`; `None` if it has a secret part.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    pub(super) fn locate(wire: &[u8]) -> Result<Option<Layout>> {
        let mut layout = Layout::default();
        let mut reader = Reader::new(wire);
        while let Some((number, wire_type)) = reader.tag()? {
            match (number, wire_type) {
                (PAYLOAD, LEN) => layout.payload = reader.range()?,
                (SIGNATURE, LEN) => layout.signature = reader.range()?,
                (SECRET, LEN) => return Ok(None),
                _ => drop(reader.skip(number, wire_type)?),
            }
        }
        Ok(Some(layout))
    }

    /// Returns the envelope whose parts are at these positions of `wire`.
    pub(super) fn at(wire: &Bytes, layout: &Layout) -> Self {
        let part = |range: &Range<usize>| wire.get(range.clone()).map_or_else(Bytes::new, |part| wire.slice_ref(part));
        Envelope { payload: part(&layout.payload), signature: part(&layout.signature), secret: None }
    }

    /// Encodes it as a `gossip.Envelope`.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.encoded_len());
        if !self.payload.is_empty() {
            put_bytes(&mut out, PAYLOAD, &self.payload);
        }
        self.put_tail(&mut out);
        out.into()
    }

    /// Returns the number of bytes that [`encode`](Self::encode) returns.
    #[doc(hidden)]
    pub fn encoded_len(&self) -> usize {
        let secret = self.secret.as_ref().map_or(0, |secret| 1 + len_len(secret.encoded_len()) + secret.encoded_len());
        field_len(self.payload.len()) + field_len(self.signature.len()) + secret
    }

    /// Appends the fields after the payload.
    pub(super) fn put_tail(&self, out: &mut impl BufMut) {
        put_signature(out, &self.signature);
        if let Some(secret) = &self.secret {
            put_header(out, SECRET, secret.encoded_len());
            if !secret.payload.is_empty() {
                put_bytes(out, PAYLOAD, &secret.payload);
            }
            put_signature(out, &secret.signature);
        }
    }

    /// Returns whether payload and signature are both present. Does not check the signature.
    pub fn is_signed(&self) -> bool {
        !self.payload.is_empty() && !self.signature.is_empty()
    }

    /// Verifies the signature over the payload, then, if there is a secret envelope, the signature over that.
    ///
    /// # Errors
    /// [`ErrorKind::Signature`] with Fabric's text if a payload (`Empty payload`) or signature (`Empty signature`) is
    /// missing; the verifier's error if it rejects the signature.
    pub fn verify(&self, identity: &PeerIdentity, mut verifier: impl Verifier) -> Result<()> {
        let mut check = |payload: &[u8], signature: &[u8]| {
            let missing = |what| Err(Error::new(ErrorKind::Signature, what));
            match (payload, signature) {
                (b"", _) => missing("Empty payload"),
                (_, b"") => missing("Empty signature"),
                _ => verifier(identity, signature, payload),
            }
        };
        check(&self.payload, &self.signature)?;
        self.secret.as_ref().map_or(Ok(()), |secret| check(&secret.payload, &secret.signature))
    }
}

/// Verifies an envelope that may be absent, as nested ones may. See [`Envelope::verify`].
///
/// # Errors
/// `Missing envelope`, or as [`Envelope::verify`].
pub fn verify(envelope: Option<&Envelope>, identity: &PeerIdentity, verifier: impl Verifier) -> Result<()> {
    let missing = || Error::new(ErrorKind::Signature, "Missing envelope");
    envelope.ok_or_else(missing)?.verify(identity, verifier)
}

impl SecretEnvelope {
    /// Returns a `Secret` with this peer's endpoint for its own organisation, signed by `signer`.
    ///
    /// # Errors
    /// The signer's error.
    pub fn sign(internal_endpoint: &str, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        // The endpoint is a member of a oneof, so it is written even if empty.
        let mut payload = Vec::with_capacity(field_len(internal_endpoint.len()) + 2);
        put_bytes(&mut payload, 1, internal_endpoint.as_bytes());
        let signature = signer(&payload)?.into();
        Ok(SecretEnvelope { payload: payload.into(), signature })
    }

    /// Returns the internal endpoint; empty if there is none or it cannot be decoded. Does not verify the signature.
    pub fn internal_endpoint(&self) -> String {
        match proto::decode::<gossip::Secret>(&self.payload).map(|secret| secret.content) {
            Ok(Some(gossip::secret::Content::InternalEndpoint(endpoint))) => endpoint,
            _ => String::new(),
        }
    }

    fn encoded_len(&self) -> usize {
        field_len(self.payload.len()) + field_len(self.signature.len())
    }

    fn merge(&mut self, wire: &Bytes) -> Result<()> {
        let mut reader = Reader::new(wire);
        while let Some((number, wire_type)) = reader.tag()? {
            match (number, wire_type) {
                (PAYLOAD, LEN) => self.payload = wire.slice_ref(reader.bytes()?),
                (SIGNATURE, LEN) => self.signature = wire.slice_ref(reader.bytes()?),
                _ => drop(reader.skip(number, wire_type)?),
            }
        }
        Ok(())
    }
}

/// Writes tag and length of a bytes field.
fn put_header(out: &mut impl BufMut, number: u32, len: usize) {
    put_tag(out, number, LEN);
    put_varint(out, len as u64);
}

/// Writes the start of an envelope, up to a payload of this length.
pub(super) fn put_payload_header(out: &mut impl BufMut, payload_len: usize) {
    put_header(out, PAYLOAD, payload_len);
}

/// Writes the signature after the payload; an empty one is omitted.
pub(super) fn put_signature(out: &mut impl BufMut, signature: &[u8]) {
    if !signature.is_empty() {
        put_bytes(out, SIGNATURE, signature);
    }
}

fn len_len(len: usize) -> usize {
    varint_len(len as u64)
}

/// Returns the encoded length of a bytes field; empty fields are omitted.
pub(super) fn field_len(len: usize) -> usize {
    if len == 0 {
        0
    } else {
        1 + len_len(len) + len
    }
}

impl From<gossip::Envelope> for Envelope {
    fn from(envelope: gossip::Envelope) -> Self {
        let secret = envelope.secret_envelope.0.map(|s| SecretEnvelope { payload: s.payload, signature: s.signature });
        Envelope { payload: envelope.payload, signature: envelope.signature, secret }
    }
}

impl From<&Envelope> for gossip::Envelope {
    fn from(envelope: &Envelope) -> Self {
        let secret = envelope.secret.as_ref().map(|secret| gossip::SecretEnvelope {
            payload: secret.payload.clone(),
            signature: secret.signature.clone(),
            ..Default::default()
        });
        gossip::Envelope {
            payload: envelope.payload.clone(),
            signature: envelope.signature.clone(),
            secret_envelope: secret.into(),
            ..Default::default()
        }
    }
}

/// Shows only sizes, never contents.
impl fmt::Display for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes, Signature: {} bytes", self.payload.len(), self.signature.len())?;
        if let Some(SecretEnvelope { payload, signature }) = &self.secret {
            write!(f, " Secret payload: {} bytes, Secret Signature: {} bytes", payload.len(), signature.len())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Envelope({self})")
    }
}

impl fmt::Debug for SecretEnvelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretEnvelope({} bytes, Signature: {} bytes)", self.payload.len(), self.signature.len())
    }
}
