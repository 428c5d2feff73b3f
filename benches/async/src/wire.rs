//! The data on the wire: the generated types, the codec, and messages with their envelopes.

use crate::bounded::Weigh;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use prost::Message;
use std::marker::PhantomData;
use tonic::codec::{BufferSettings, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::Status;

/// Generated from `proto/`.
#[allow(missing_docs, clippy::all)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto.rs"));
}

pub use proto::gossip::gossip_message::{Content, Tag};
pub use proto::gossip::{Acknowledgement, ConnEstablish, DataMessage, Empty, Envelope, GossipMessage, Payload};

/// Initial size of a stream's buffers, and the step by which they grow, in bytes. Each stream has one for each
/// direction for as long as it lives.
const BUFFER: usize = 8 << 10;

/// Waiting messages are encoded into one buffer until it holds this many bytes: that many go to HTTP/2 together.
const BATCH: usize = 32 << 10;

/// Prost as tonic's own codec has it, with our buffers, and with room for a large message allocated in one step.
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// One direction of a [`Codec`].
pub struct Half<T>(PhantomData<T>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Codec(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Half<T>;
    type Decoder = Half<U>;

    fn encoder(&mut self) -> Half<T> {
        Half(PhantomData)
    }

    fn decoder(&mut self) -> Half<U> {
        Half(PhantomData)
    }
}

impl<T: Message> Encoder for Half<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, item: T, buffer: &mut EncodeBuf<'_>) -> std::result::Result<(), Status> {
        let length = item.encoded_len();
        if length > BUFFER {
            buffer.reserve(length);
        }
        item.encode(buffer).map_err(|e| Status::internal(e.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, BATCH)
    }
}

impl<U: Message + Default> Decoder for Half<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> std::result::Result<Option<U>, Status> {
        U::decode(buffer).map(Some).map_err(|e| Status::internal(e.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(BUFFER, BATCH)
    }
}

/// A message with the envelope that it travels in. Clones share the bytes.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    envelope: Envelope,
    message: GossipMessage,
}

impl SignedMessage {
    /// Encodes the message, once for all peers it goes to, and signs the bytes.
    pub fn sign(message: GossipMessage, signer: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<SignedMessage> {
        let payload = Bytes::from(message.encode_to_vec());
        let signature = signer(&payload)?.into();
        Ok(SignedMessage { envelope: Envelope { payload, signature, secret_envelope: None }, message })
    }

    /// Without a signature: for messages that go from one peer to another, and no further.
    pub fn unsigned(message: GossipMessage) -> SignedMessage {
        let payload = message.encode_to_vec().into();
        SignedMessage { envelope: Envelope { payload, ..Envelope::default() }, message }
    }

    /// Decodes a received message. The envelope stays unchanged.
    pub fn decode(envelope: Envelope) -> Result<SignedMessage> {
        let message = GossipMessage::decode(envelope.payload.clone()).map_err(|e| {
            let text = format!("Failed unmarshalling GossipMessage from envelope: {e}");
            Error::new(ErrorKind::Protocol, text)
        })?;
        Ok(SignedMessage { envelope, message })
    }

    /// Checks that there is a signature and that `verify`, given signature and signed bytes, accepts it.
    pub fn verify(&self, verify: impl Fn(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        let check = |payload: &[u8], signature: &[u8]| {
            let missing = |what| Err(Error::new(ErrorKind::Protocol, what));
            match (payload.is_empty(), signature.is_empty()) {
                (true, _) => missing("Empty payload"),
                (_, true) => missing("Empty signature"),
                _ => verify(signature, payload),
            }
        };
        check(&self.envelope.payload, &self.envelope.signature)?;
        self.envelope.secret_envelope.as_ref().map_or(Ok(()), |secret| check(&secret.payload, &secret.signature))
    }

    /// The message.
    pub fn message(&self) -> &GossipMessage {
        &self.message
    }

    /// The content of the message.
    pub fn content(&self) -> Option<&Content> {
        self.message.content.as_ref()
    }

    /// The envelope, as it goes or came over the wire.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// The envelope's size when serialized, in bytes.
    pub fn wire_len(&self) -> usize {
        self.envelope.encoded_len()
    }
}

impl Weigh for SignedMessage {
    fn weight(&self) -> usize {
        self.wire_len()
    }
}

fn message(nonce: u64, channel: Bytes, tag: Tag, content: Content) -> GossipMessage {
    GossipMessage { nonce, channel, tag: tag as i32, content: Some(content) }
}

/// The first message of a stream.
pub(crate) fn conn(pki_id: &PkiId, identity: &Bytes, tls_cert_hash: Bytes, probe: bool) -> GossipMessage {
    let conn = ConnEstablish { pki_id: pki_id.0.clone(), identity: identity.clone(), tls_cert_hash, probe };
    message(0, Bytes::new(), Tag::Empty, Content::Conn(conn))
}

/// Acknowledges the message with this nonce; an empty `error` means success. Without a tag, as in Fabric.
pub fn ack(nonce: u64, error: impl Into<String>) -> GossipMessage {
    message(nonce, Bytes::new(), Tag::Undefined, Content::Ack(Acknowledgement { error: error.into() }))
}

/// A block of a channel.
pub fn data(nonce: u64, channel: impl Into<Bytes>, seq_num: u64, data: impl Into<Bytes>) -> GossipMessage {
    let payload = Payload { seq_num, data: data.into(), private_data: Vec::new() };
    message(nonce, channel.into(), Tag::ChanAndOrg, Content::DataMsg(DataMessage { payload: Some(payload) }))
}

/// A message without content.
pub fn empty(nonce: u64) -> GossipMessage {
    message(nonce, Bytes::new(), Tag::Empty, Content::Empty(Empty {}))
}
