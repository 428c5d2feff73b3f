//! The wire messages, generated from `proto/`, and their decoder.
//!
//! **Exempt from semantic versioning**: a new version of the code generator may change these types.
//!
//! Use only [`decode`] to decode: it accepts, rejects and interprets input exactly as Fabric's decoder does. The
//! generated parsers differ in corner cases, with which a peer could make two readers of one message disagree.

mod shape;
mod wire;

use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use protobuf::MessageFull;
use shape::Shape;
use std::sync::LazyLock;

pub(crate) use wire::{put_bytes, put_tag, put_varint, varint_len, Reader, LEN, VARINT};

#[allow(missing_docs, clippy::all)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/proto/mod.rs"));
}

/// Package `protos`, as far as private data messages use it.
pub use generated::collection;
/// Package `gossip`.
pub use generated::gossip;
/// Package `msp`.
pub use generated::msp;

/// Maximum number of elements (repeated entries, nested messages, unknown fields) of one message. The smallest element
/// takes two bytes on the wire and up to a hundred when decoded, so the size of a message alone would not bound its
/// memory use. Honest messages are far below the limit.
#[doc(hidden)]
pub const MAX_ELEMENTS: usize = 1 << 20;

/// A message that [`decode`] can read: all types that are serialized separately.
pub trait Decode: MessageFull + private::Shaped {}

mod private {
    pub trait Shaped {
        fn shape() -> &'static super::Shape;
    }
}

macro_rules! decodable {
    ($($message:ty),*) => {$(
        impl private::Shaped for $message {
            fn shape() -> &'static Shape {
                static SHAPE: LazyLock<Shape> = LazyLock::new(|| Shape::of(&<$message>::descriptor()));
                &SHAPE
            }
        }

        impl Decode for $message {}
    )*};
}

decodable!(
    gossip::Envelope,
    gossip::GossipMessage,
    gossip::Secret,
    gossip::PvtDataPayload,
    collection::CollectionConfigPackage,
    msp::SerializedIdentity
);

/// Decodes a message. Its bytes fields are slices of `bytes`, not copies.
///
/// As in Fabric: of a field sent twice, the last one takes effect, or both are merged if it is a message; a known
/// number with another wire type is an unknown field; enum values are truncated to 32 bits; strings must be UTF-8.
/// Unknown fields are kept, but groups among them only by [`reencode`].
///
/// # Errors
/// [`ErrorKind::Protocol`] for malformed input, [`ErrorKind::TooLarge`] beyond [`MAX_ELEMENTS`].
pub fn decode<M: Decode>(bytes: &Bytes) -> Result<M> {
    decode_and_judge(bytes).map(|(message, _)| message)
}

/// Result of [`check`].
pub(crate) struct Checked {
    /// Whether [`decode_plain`] decodes it, without loss. Very few messages are not plain.
    pub(crate) plain: bool,
    /// Number of the field that its oneof has; 0 for none.
    pub(crate) oneof: u32,
}

/// Checks a message without decoding it.
///
/// # Errors
/// As [`decode`].
pub(crate) fn check<M: Decode>(bytes: &[u8]) -> Result<Checked> {
    let found = shape::check(M::shape(), bytes)?;
    Ok(Checked { plain: found.alike && !found.unknown, oneof: found.oneof })
}

/// Decodes a message that [`check`] found plain.
///
/// # Errors
/// [`ErrorKind::Protocol`] for another message.
pub(crate) fn decode_plain<M: Decode>(bytes: &Bytes) -> Result<M> {
    M::parse_from_tokio_bytes(bytes).map_err(not_parsed)
}

fn not_parsed(error: protobuf::Error) -> Error {
    Error::new(ErrorKind::Protocol, "cannot be parsed").with_source(error)
}

/// Decodes a message and returns whether encoding it gives the same result as [`reencode`].
pub(crate) fn decode_and_judge<M: Decode>(bytes: &Bytes) -> Result<(M, bool)> {
    let found = shape::check(M::shape(), bytes)?;
    let parsed = if found.alike {
        M::parse_from_tokio_bytes(bytes)
    } else {
        M::parse_from_tokio_bytes(&shape::canonical(M::shape(), bytes, shape::Groups::Drop)?.into())
    };
    let message = parsed.map_err(not_parsed)?;
    Ok((message, !found.unknown))
}

/// Re-encodes a serialized message: known fields by number, then all unknown ones as received.
///
/// # Errors
/// As [`decode`].
#[doc(hidden)]
pub fn reencode<M: Decode>(bytes: &[u8]) -> Result<Vec<u8>> {
    shape::check(M::shape(), bytes)?;
    shape::canonical(M::shape(), bytes, shape::Groups::Keep)
}
