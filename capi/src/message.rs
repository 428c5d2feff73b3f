//! Messages.

use super::crypto::gossip_crypto;
use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::text::{gossip_bytes, gossip_str, Text};
use bytes::Bytes;
use gossip::crypto::PeerIdentity;
use gossip::error::{Error, ErrorKind};
use gossip::message::{self, Content, Envelope, SignedMessage};
use std::ffi::c_char;
use std::sync::OnceLock;

/// A gossip message in its envelope. Immutable; every function that reads it is thread-safe and does not block.
pub struct gossip_message {
    pub(super) message: SignedMessage,
    text: OnceLock<Text>,
}

impl Owned for gossip_message {}

impl From<SignedMessage> for gossip_message {
    fn from(message: SignedMessage) -> Self {
        gossip_message { message, text: OnceLock::new() }
    }
}

/// Content type of a message: the field number in Fabric's `GossipMessage`.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_content {
    /// No content, or an unknown one.
    GOSSIP_CONTENT_NONE = 0,
    /// An alive message of a member.
    GOSSIP_CONTENT_ALIVE = 5,
    /// Requests the membership.
    GOSSIP_CONTENT_MEMBERSHIP_REQUEST = 6,
    /// The membership.
    GOSSIP_CONTENT_MEMBERSHIP_RESPONSE = 7,
    /// A block.
    GOSSIP_CONTENT_DATA = 8,
    /// Pull: hello.
    GOSSIP_CONTENT_HELLO = 9,
    /// Pull: digests of the available items.
    GOSSIP_CONTENT_DATA_DIGEST = 10,
    /// Pull: requests items.
    GOSSIP_CONTENT_DATA_REQUEST = 11,
    /// Pull: the requested items.
    GOSSIP_CONTENT_DATA_UPDATE = 12,
    /// An empty message.
    GOSSIP_CONTENT_EMPTY = 13,
    /// Authenticates a connection.
    GOSSIP_CONTENT_CONN = 14,
    /// State of a channel at one peer.
    GOSSIP_CONTENT_STATE_INFO = 15,
    /// A list of state messages.
    GOSSIP_CONTENT_STATE_SNAPSHOT = 16,
    /// Requests state messages.
    GOSSIP_CONTENT_STATE_INFO_PULL_REQUEST = 17,
    /// Requests blocks.
    GOSSIP_CONTENT_STATE_REQUEST = 18,
    /// The requested blocks.
    GOSSIP_CONTENT_STATE_RESPONSE = 19,
    /// Election of a leader.
    GOSSIP_CONTENT_LEADERSHIP = 20,
    /// An identity.
    GOSSIP_CONTENT_PEER_IDENTITY = 21,
    /// An acknowledgement.
    GOSSIP_CONTENT_ACK = 22,
    /// Requests private data.
    GOSSIP_CONTENT_PRIVATE_REQUEST = 23,
    /// The requested private data.
    GOSSIP_CONTENT_PRIVATE_RESPONSE = 24,
    /// Private data.
    GOSSIP_CONTENT_PRIVATE_DATA = 25,
}

fn content(message: &SignedMessage) -> gossip_content {
    use gossip_content::*;
    match message.content() {
        Some(Content::AliveMsg(_)) => GOSSIP_CONTENT_ALIVE,
        Some(Content::MemReq(_)) => GOSSIP_CONTENT_MEMBERSHIP_REQUEST,
        Some(Content::MemRes(_)) => GOSSIP_CONTENT_MEMBERSHIP_RESPONSE,
        Some(Content::DataMsg(_)) => GOSSIP_CONTENT_DATA,
        Some(Content::Hello(_)) => GOSSIP_CONTENT_HELLO,
        Some(Content::DataDig(_)) => GOSSIP_CONTENT_DATA_DIGEST,
        Some(Content::DataReq(_)) => GOSSIP_CONTENT_DATA_REQUEST,
        Some(Content::DataUpdate(_)) => GOSSIP_CONTENT_DATA_UPDATE,
        Some(Content::Empty(_)) => GOSSIP_CONTENT_EMPTY,
        Some(Content::Conn(_)) => GOSSIP_CONTENT_CONN,
        Some(Content::StateInfo(_)) => GOSSIP_CONTENT_STATE_INFO,
        Some(Content::StateSnapshot(_)) => GOSSIP_CONTENT_STATE_SNAPSHOT,
        Some(Content::StateInfoPullReq(_)) => GOSSIP_CONTENT_STATE_INFO_PULL_REQUEST,
        Some(Content::StateRequest(_)) => GOSSIP_CONTENT_STATE_REQUEST,
        Some(Content::StateResponse(_)) => GOSSIP_CONTENT_STATE_RESPONSE,
        Some(Content::LeadershipMsg(_)) => GOSSIP_CONTENT_LEADERSHIP,
        Some(Content::PeerIdentity(_)) => GOSSIP_CONTENT_PEER_IDENTITY,
        Some(Content::Ack(_)) => GOSSIP_CONTENT_ACK,
        Some(Content::PrivateReq(_)) => GOSSIP_CONTENT_PRIVATE_REQUEST,
        Some(Content::PrivateRes(_)) => GOSSIP_CONTENT_PRIVATE_RESPONSE,
        Some(Content::PrivateData(_)) => GOSSIP_CONTENT_PRIVATE_DATA,
        // No content. An unknown one, which the compiler requires, does not occur: tests/variants.rs checks that.
        _ => GOSSIP_CONTENT_NONE,
    }
}

/// Largest message, in bytes; a larger one is not copied.
const LARGEST: usize = i32::MAX as usize;

unsafe fn copied(data: *const u8, len: usize) -> Outcome<Bytes> {
    if len > LARGEST {
        return Err(Error::new(ErrorKind::TooLarge, format!("message of {len} bytes")).into());
    }
    Ok(Bytes::copy_from_slice(handle::array(data, len, "data")?))
}

/// Creates a block message of a channel, for peers of the channel and the organisation; unsigned, as blocks are in
/// Fabric. `data` is copied. Free it with gossip_message_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_new_data(
    channel: *const c_char,
    seq_num: u64,
    data: *const u8,
    len: usize,
    message: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let message = Out::new(message, "message")?;
        let channel = handle::text(channel, "channel")?.to_owned();
        let data = message::data(0, channel, seq_num, copied(data, len)?);
        message.give(SignedMessage::noop_sign(data)?.into())
    })
}

/// Creates a message without content. Free it with gossip_message_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_new_empty(
    message: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(message, "message")?.give(SignedMessage::noop_sign(message::empty(0))?.into()))
}

/// Creates a message of any content from a serialized `gossip.GossipMessage`; unsigned. `data` is copied.
/// GOSSIP_PROTOCOL: `data` is not a GossipMessage. Free it with gossip_message_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_new_payload(
    data: *const u8,
    len: usize,
    message: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let message = Out::new(message, "message")?;
        let envelope = Envelope { payload: copied(data, len)?, ..Envelope::default() };
        message.give(SignedMessage::from_envelope(Some(envelope))?.into())
    })
}

/// Decodes a message from a serialized `gossip.Envelope`. `data` is copied. GOSSIP_PROTOCOL: `data` is not an Envelope.
/// Does not verify the signature. Free it with gossip_message_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_decode(
    data: *const u8,
    len: usize,
    message: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let message = Out::new(message, "message")?;
        message.give(SignedMessage::decode(copied(data, len)?)?.into())
    })
}

/// Creates a copy of the message with our signature. Free it with gossip_message_free.
///
/// Thread-safe. Blocks as long as a host's callback does.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_sign(
    message: *const gossip_message,
    crypto: *const gossip_crypto,
    signed_message: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let out = Out::new(signed_message, "signed_message")?;
        let (message, crypto) = (handle::get(message, "message")?, handle::get(crypto, "crypto")?);
        out.give(message.message.resign(|payload| crypto.service.sign(payload))?.into())
    })
}

/// Verifies the signatures of a message under the key of `identity`. GOSSIP_SIGNATURE, GOSSIP_IDENTITY: a signature is
/// not accepted.
///
/// Thread-safe. Blocks as long as a host's callback does.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_verify(
    message: *const gossip_message,
    crypto: *const gossip_crypto,
    identity: *const u8,
    identity_len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (message, crypto) = (handle::get(message, "message")?, handle::get(crypto, "crypto")?);
        let identity = PeerIdentity::from(handle::array(identity, identity_len, "identity")?);
        Ok(message
            .message
            .verify(&identity, |identity, signature, payload| crypto.service.verify(identity, signature, payload))?)
    })
}

/// Creates another handle of the same message, for keeping a message that is only lent. Free it with
/// gossip_message_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_clone(
    message: *const gossip_message,
    clone: *mut *mut gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let clone = Out::new(clone, "clone")?;
        clone.give(handle::get(message, "message")?.message.clone().into())
    })
}

/// Returns the content type.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_content(message: *const gossip_message) -> gossip_content {
    super::look(message, gossip_content::GOSSIP_CONTENT_NONE, |message| content(&message.message))
}

/// Returns the nonce: chosen by the sender, repeated by answers and acknowledgements.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_nonce(message: *const gossip_message) -> u64 {
    super::look(message, 0, |message| message.message.nonce())
}

/// Returns the name of the message's channel; empty for messages outside of channels.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_channel(message: *const gossip_message) -> gossip_bytes {
    super::look(message, gossip_bytes::EMPTY, |message| (&message.message.message().channel).into())
}

/// Returns the number of a block; 0 for other messages.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_seq_num(message: *const gossip_message) -> u64 {
    super::look(message, 0, |message| match message.message.content() {
        Some(Content::DataMsg(data)) => data.payload.seq_num,
        _ => 0,
    })
}

/// Returns the content of a block; empty for other messages.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_data(message: *const gossip_message) -> gossip_bytes {
    super::look(message, gossip_bytes::EMPTY, |message| match message.message.content() {
        Some(Content::DataMsg(data)) => data.payload.as_ref().map_or(gossip_bytes::EMPTY, |p| (&p.data).into()),
        _ => gossip_bytes::EMPTY,
    })
}

/// Returns the serialized `gossip.GossipMessage`, over which a signature is computed.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_payload(message: *const gossip_message) -> gossip_bytes {
    super::look(message, gossip_bytes::EMPTY, |message| (&message.message.envelope().payload).into())
}

/// Returns the signature; empty if there is none.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_signature(message: *const gossip_message) -> gossip_bytes {
    super::look(message, gossip_bytes::EMPTY, |message| (&message.message.envelope().signature).into())
}

/// Returns the serialized `gossip.Envelope` as it is sent or was received.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_wire(message: *const gossip_message) -> gossip_bytes {
    // The message keeps the bytes.
    super::look(message, gossip_bytes::EMPTY, |message| (&message.message.wire()).into())
}

/// Returns a human-readable form of the message, as Fabric writes it into its logs.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_text(message: *const gossip_message) -> gossip_str {
    super::look(message, gossip_str::EMPTY, |message| {
        message.text.get_or_init(|| message.message.to_string().into()).as_str()
    })
}

/// Frees the message. A message that is lent must not be freed. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_message_free(message: *mut gossip_message) {
    gossip_message::free(message);
}
