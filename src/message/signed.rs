//! A message with its envelope, in decoded and encoded form.

use super::envelope::{field_len, put_payload_header, put_signature, Envelope, Layout, SecretEnvelope};
use super::{chunk, Content, GossipMessage, Verifier};
use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::proto::{self, gossip, put_tag, put_varint, VARINT};
use crate::sync::atomic::{AtomicBool, Ordering};
use bytes::{BufMut, Bytes};
use protobuf::{CodedOutputStream, Message};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// Bytes reserved for a signature. A DER-encoded ECDSA signature over P-384 has at most 104 bytes; a longer one only
/// costs a reallocation.
const SIGNATURE_ROOM: usize = 112;

/// Maximum size of a protobuf message, in bytes.
const MAX_MESSAGE: u64 = i32::MAX as u64;

/// Size in bytes up to which room for a message is filled with zeros before it is encoded: for a longer one, that takes
/// longer than a stream's buffer.
const FILLED: usize = 16 << 10;

/// Field number of a message's nonce.
const NONCE: u32 = 1;

/// Field number of an acknowledgement.
const ACK: u32 = 22;

type Signer = fn(&[u8]) -> Result<Vec<u8>>;
const NO_SIGNER: Option<Signer> = None;

/// Maximum number of received messages that share an allocation.
const TOGETHER: usize = 16;

/// Maximum size in bytes of received messages that share an allocation: 16 KiB. A program that keeps one of them keeps
/// all of them.
const TOGETHER_BYTES: usize = 16 << 10;

/// An immutable gossip message with its envelope. Clones share all data.
///
/// A received message is checked when it arrives and decoded when it is first read, on the reading thread. Small
/// messages that arrive together share memory, up to 16 of them: it is freed with the last one, and
/// [`detached`](Self::detached) copies one out of it.
#[derive(Clone)]
pub struct SignedMessage {
    group: Arc<[Parts]>,
    index: usize,
}

struct Parts {
    message: Part<GossipMessage>,
    /// Whether encoding `message` reproduces all of it; false if it came with unknown fields, which lose their order.
    whole: bool,
    /// Whether it was decoded, so that its parts are slices of the received bytes.
    decoded: bool,
    envelope: Part<Envelope>,
    /// Positions in `wire`, for an envelope that is not given.
    layout: Layout,
    /// The serialized envelope: as received, or as built with the message. Nested envelopes are serialized on demand.
    wire: Part<Bytes>,
    /// Field number of the content; 0 for none.
    content: u32,
    /// Whether the acknowledgement of this received message was sent.
    acknowledged: AtomicBool,
}

impl Parts {
    /// Returns a message that was built here, and of which nothing is lost by encoding it.
    fn of(message: Part<GossipMessage>, envelope: Part<Envelope>, wire: Part<Bytes>) -> Self {
        Parts {
            message,
            whole: true,
            decoded: false,
            envelope,
            layout: Layout::default(),
            wire,
            content: 0,
            acknowledged: AtomicBool::new(false),
        }
    }

    /// See [`SignedMessage::decode`].
    fn decode(wire: Bytes) -> Result<Self> {
        if let Some(layout) = Envelope::locate(&wire)? {
            let checked = proto::check::<GossipMessage>(&wire[layout.payload.clone()]).map_err(in_payload)?;
            if checked.plain {
                let parts = Parts::of(Part::derived(), Part::derived(), Part::Given(wire));
                return Ok(Parts { decoded: true, layout, content: checked.oneof, ..parts });
            }
        }
        let envelope = Envelope::decode(&wire)?;
        let (message, whole) = decode_payload(&envelope)?;
        let parts = Parts::of(Part::Given(message), Part::Given(envelope), Part::Given(wire));
        Ok(Parts { whole, decoded: true, ..parts })
    }
}

impl From<Parts> for SignedMessage {
    fn from(parts: Parts) -> Self {
        SignedMessage { group: Arc::new([parts]), index: 0 }
    }
}

/// A part of a message: given, or derived from another part when it is first needed.
enum Part<T> {
    Given(T),
    Derived(OnceLock<T>),
}

impl<T> Part<T> {
    fn derived() -> Self {
        Part::Derived(OnceLock::new())
    }

    fn given(&self) -> Option<&T> {
        match self {
            Part::Given(part) => Some(part),
            Part::Derived(derived) => derived.get(),
        }
    }

    fn get_or(&self, derive: impl FnOnce() -> T) -> &T {
        match self {
            Part::Given(part) => part,
            Part::Derived(derived) => derived.get_or_init(derive),
        }
    }
}

impl SignedMessage {
    fn parts(&self) -> &Parts {
        &self.group[self.index]
    }

    /// Returns a message with this envelope.
    fn new(message: GossipMessage, whole: bool, decoded: bool, envelope: Envelope) -> Self {
        let parts = Parts::of(Part::Given(message), Part::Given(envelope), Part::derived());
        Parts { whole, decoded, ..parts }.into()
    }

    /// Encodes a message without a signature, as used for messages to a single peer.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond 2 GiB, protobuf's limit.
    pub fn noop_sign(message: GossipMessage) -> Result<Self> {
        Self::build(message, None, None, NO_SIGNER)
    }

    /// Encodes a message and signs it: `signer` gets the serialized message and returns the signature over it.
    ///
    /// # Errors
    /// The signer's error, and as [`noop_sign`](Self::noop_sign).
    pub fn sign(message: GossipMessage, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        Self::build(message, None, None, Some(signer))
    }

    /// Encodes and signs the message again. An existing secret envelope is kept.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn resign(&self, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        let encoded = match self.parts().whole {
            true => None,
            false => Some(proto::reencode::<GossipMessage>(&self.envelope().payload)?),
        };
        Self::build(self.message().clone(), encoded, self.envelope().secret.clone(), Some(signer))
    }

    /// Returns the same message with another nonce, and therefore without a signature.
    ///
    /// # Errors
    /// As [`noop_sign`](Self::noop_sign).
    #[doc(hidden)]
    pub fn with_nonce(&self, nonce: u64) -> Result<Self> {
        let encoded = match self.parts().whole {
            true => None,
            false => {
                // If a field occurs twice, the last one takes effect.
                let mut payload = self.envelope().payload.to_vec();
                put_tag(&mut payload, NONCE, VARINT);
                put_varint(&mut payload, nonce);
                Some(proto::reencode::<GossipMessage>(&payload)?)
            }
        };
        Self::build(GossipMessage { nonce, ..self.message().clone() }, encoded, None, NO_SIGNER)
    }

    /// Encodes directly into the envelope's buffer (unless the message is already `encoded`); payload and signature
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
        let mut wire = chunk::take(field_len(payload_len) + signature_room + envelope.encoded_len());
        if payload_len > 0 {
            put_payload_header(&mut wire, payload_len);
        }
        let start = wire.len();
        let mut layout = Layout { payload: start..start + payload_len, signature: 0..0 };
        match &encoded {
            Some(bytes) => wire.extend_from_slice(bytes),
            None => {
                let mut writer;
                let mut out = if payload_len <= FILLED {
                    wire.resize(start + payload_len, 0);
                    CodedOutputStream::bytes(&mut wire[start..])
                } else {
                    writer = (&mut wire).writer();
                    CodedOutputStream::new(&mut writer)
                };
                message
                    .write_to_with_cached_sizes(&mut out)
                    .and_then(|()| out.flush())
                    .map_err(|e| Error::new(ErrorKind::Internal, "cannot encode the message").with_source(e))?;
            }
        }
        if let Some(signer) = signer {
            let signature = signer(&wire[start..])?;
            put_signature(&mut wire, &signature);
            layout.signature = wire.len() - signature.len()..wire.len();
        }
        envelope.put_tail(&mut wire);
        let wire = chunk::finish(wire);
        let envelope = match envelope.secret.take() {
            Some(secret) => Part::Given(Envelope { secret: Some(secret), ..Envelope::at(&wire, &layout) }),
            None => Part::derived(),
        };
        let parts = Parts::of(Part::Given(message), envelope, Part::Given(wire));
        Ok(Parts { whole: encoded.is_none(), layout, ..parts }.into())
    }

    /// Decodes a received envelope without copying: the parts are slices of `wire`.
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] if the envelope or the message in it is malformed; an absent payload is an empty
    /// message.
    pub fn decode(wire: Bytes) -> Result<Self> {
        Parts::decode(wire).map(Self::from)
    }

    /// Decodes envelopes that were received together and appends the messages to `messages`. Small ones share an
    /// allocation.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), for the first malformed envelope. The messages before it are appended.
    pub(crate) fn decode_together(wires: impl IntoIterator<Item = Bytes>, messages: &mut Vec<Self>) -> Result<()> {
        let mut group = Vec::new();
        let mut bytes = 0;
        let mut share = |group: &mut Vec<Parts>| {
            if group.is_empty() {
                return;
            }
            let group: Arc<[Parts]> = group.drain(..).collect();
            messages.extend((0..group.len()).map(|index| SignedMessage { group: group.clone(), index }));
        };
        for wire in wires {
            if group.len() == TOGETHER || bytes + wire.len() > TOGETHER_BYTES {
                share(&mut group);
                bytes = 0;
            }
            bytes += wire.len();
            match Parts::decode(wire) {
                Ok(parts) => group.push(parts),
                Err(e) => {
                    share(&mut group);
                    return Err(e);
                }
            }
        }
        share(&mut group);
        Ok(())
    }

    /// Decodes the message in a nested envelope, which may be absent.
    ///
    /// # Errors
    /// `nil envelope` for `None`, and as [`decode`](Self::decode).
    pub fn from_envelope(envelope: Option<Envelope>) -> Result<Self> {
        let envelope = envelope.ok_or_else(|| Error::new(ErrorKind::Protocol, "nil envelope"))?;
        let (message, whole) = decode_payload(&envelope)?;
        Ok(Self::new(message, whole, true, envelope))
    }

    /// Returns the message.
    pub fn message(&self) -> &GossipMessage {
        let parts = self.parts();
        parts.message.get_or(|| {
            // It was checked when it arrived, so that decoding does not fail.
            let payload = parts.wire.given().map(|wire| wire.slice(parts.layout.payload.clone())).unwrap_or_default();
            proto::decode_plain(&payload).unwrap_or_else(|e| {
                log::error!("a message that was found well formed cannot be decoded: {e}");
                GossipMessage::default()
            })
        })
    }

    /// Returns whether the content is an acknowledgement. Does not decode the message.
    pub(crate) fn is_ack(&self) -> bool {
        match self.parts().message.given() {
            Some(message) => matches!(message.content, Some(Content::Ack(_))),
            None => self.parts().content == ACK,
        }
    }

    /// Records that this received message was acknowledged, or not after all. Returns what was recorded before.
    pub(crate) fn set_acknowledged(&self, acknowledged: bool) -> bool {
        self.parts().acknowledged.swap(acknowledged, Ordering::SeqCst)
    }

    /// Returns the message's content; the tag may not fit it.
    pub fn content(&self) -> Option<&Content> {
        self.message().content.as_ref()
    }

    /// Returns the message's nonce.
    pub fn nonce(&self) -> u64 {
        self.message().nonce
    }

    /// Returns the envelope.
    pub fn envelope(&self) -> &Envelope {
        let parts = self.parts();
        parts.envelope.get_or(|| parts.wire.given().map(|wire| Envelope::at(wire, &parts.layout)).unwrap_or_default())
    }

    /// Returns the envelope in the form for nesting in another message.
    #[doc(hidden)]
    pub fn to_proto(&self) -> gossip::Envelope {
        self.envelope().into()
    }

    /// Returns the serialized envelope as sent on the stream. It is shared, not copied; for a received message, it is
    /// the received bytes.
    pub fn wire(&self) -> Bytes {
        self.parts().wire.get_or(|| self.envelope().encode()).clone()
    }

    /// Returns the size of the serialized envelope in bytes, without serializing it.
    #[doc(hidden)]
    pub fn wire_len(&self) -> usize {
        self.parts().wire.given().map_or_else(|| self.envelope().encoded_len(), Bytes::len)
    }

    /// Returns whether payload and signature are both present. Does not check the signature.
    pub fn is_signed(&self) -> bool {
        self.envelope().is_signed()
    }

    /// Verifies the signature over the payload as received, and that of the secret envelope, if there is one.
    ///
    /// # Errors
    /// See [`Envelope::verify`].
    pub fn verify(&self, identity: &PeerIdentity, verifier: impl Verifier) -> Result<()> {
        self.envelope().verify(identity, verifier)
    }

    /// Returns the same message with a secret envelope that contains the endpoint for our own organisation. An existing
    /// secret envelope is replaced; the outer signature remains valid.
    ///
    /// # Errors
    /// The signer's error.
    #[doc(hidden)]
    pub fn sign_secret(&self, internal_endpoint: &str, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Self> {
        Ok(self.with_secret(Some(SecretEnvelope::sign(internal_endpoint, signer)?)))
    }

    /// Returns the same message without a secret envelope, for other organisations.
    #[doc(hidden)]
    pub fn without_secret(&self) -> Self {
        match self.envelope().secret {
            Some(_) => self.with_secret(None),
            None => self.clone(),
        }
    }

    fn with_secret(&self, secret: Option<SecretEnvelope>) -> Self {
        let envelope = Envelope { secret, ..self.envelope().clone() };
        Self::new(self.message().clone(), self.parts().whole, self.parts().decoded, envelope)
    }

    /// Returns the endpoint in the secret envelope; empty if there is none. Does not verify its signature.
    pub fn internal_endpoint(&self) -> String {
        self.envelope().secret.as_ref().map(SecretEnvelope::internal_endpoint).unwrap_or_default()
    }

    /// Returns a copy in separate memory, for programs that keep a message for long: a received message keeps those that
    /// arrived together with it, up to 16 KiB, and a nested one keeps the message that it came in.
    pub fn detached(&self) -> Self {
        let wire = Bytes::copy_from_slice(&self.wire());
        Self::decode(wire).unwrap_or_else(|_| self.clone())
    }

    /// Returns the message for keeping: a copy if it shares its allocation with others, otherwise the same.
    pub(crate) fn kept(&self) -> Self {
        match self.group.len() {
            1 => self.clone(),
            _ => self.detached(),
        }
    }

    /// Returns whether the message was decoded, so that keeping a part of it keeps everything that it was received
    /// with. The parts of a message that was built here share no memory with each other.
    pub(crate) fn is_decoded(&self) -> bool {
        self.parts().decoded
    }
}

fn decode_payload(envelope: &Envelope) -> Result<(GossipMessage, bool)> {
    proto::decode_and_judge(&envelope.payload).map_err(in_payload)
}

fn in_payload(error: Error) -> Error {
    let text = format!("Failed unmarshalling GossipMessage from envelope: {}", error.message());
    Error::new(error.kind(), text).with_source(error)
}

impl fmt::Debug for SignedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignedMessage({:?})", self.envelope())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::data;

    fn wire(number: u64, size: usize) -> Bytes {
        SignedMessage::noop_sign(data(0, b"ch".as_slice(), number, vec![7; size])).unwrap().wire()
    }

    /// Returns the numbers of the messages, each with the number of messages in its allocation.
    fn numbers(messages: &[SignedMessage]) -> Vec<(u64, usize)> {
        let number = |message: &SignedMessage| match message.content() {
            Some(Content::DataMsg(data)) => data.payload.as_ref().map_or(0, |payload| payload.seq_num),
            _ => 0,
        };
        messages.iter().map(|message| (number(message), message.group.len())).collect()
    }

    #[test]
    fn small_messages_that_arrive_together_share_an_allocation() {
        let mut messages = Vec::new();
        let small = (1..=18).map(|n| wire(n, 10));
        let large = [wire(19, 20_000), wire(20, 9_000), wire(21, 9_000), wire(22, 10)];
        SignedMessage::decode_together(small.chain(large), &mut messages).unwrap();
        let groups = [16; 16].into_iter().chain([2, 2, 1, 1, 2, 2]);
        assert_eq!(numbers(&messages), (1..=22).zip(groups).collect::<Vec<_>>());
        assert_eq!(messages[21].wire(), wire(22, 10));
        assert_eq!(numbers(&[messages[3].kept()]), [(4, 1)], "a kept message keeps no other");
        assert_eq!(messages[18].kept().wire().as_ptr(), messages[18].wire().as_ptr(), "it is alone already");
    }

    #[test]
    fn messages_of_every_size_are_encoded_alike() {
        for size in [0, 1, 400, 1000, 4000, FILLED - 40, FILLED, FILLED + 40, 70_000, 1 << 20] {
            for number in 0..20 {
                let decoded = SignedMessage::decode(wire(number, size)).unwrap();
                let payload = decoded.envelope().payload.clone();
                assert_eq!(
                    payload,
                    data(0, b"ch".as_slice(), number, vec![7; size]).write_to_bytes().unwrap(),
                    "{size}"
                );
            }
        }
    }

    #[test]
    fn the_messages_before_a_malformed_one_are_decoded() {
        let mut messages = Vec::new();
        let wires = [wire(1, 10), wire(2, 10), Bytes::from_static(b"\xff"), wire(3, 10)];
        let error = SignedMessage::decode_together(wires, &mut messages).unwrap_err();
        assert_eq!((error.kind(), numbers(&messages)), (ErrorKind::Protocol, vec![(1, 2), (2, 2)]));
        SignedMessage::decode_together([], &mut messages).unwrap();
        assert_eq!(messages.len(), 2);
    }
}
