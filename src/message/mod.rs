//! Gossip messages: signing and verifying, tags, comparison, text form.
//!
//! A [`SignedMessage`] is a decoded message together with its encoded bytes. It is encoded once, for any number of
//! recipients. Received messages are verified and forwarded as received, and never re-encoded.

pub(crate) mod channel;
mod chunk;
pub(crate) mod compare;
pub(crate) mod envelope;
pub(crate) mod new;
pub(crate) mod pki;
pub(crate) mod pull;
mod signed;
mod tag;
mod text;

pub use crate::proto::gossip::gossip_message::{Content, Tag};
pub use crate::proto::gossip::{GossipMessage, PullMsgType};
pub(crate) use channel::{state_info, state_info_pull_request, state_info_snapshot};
pub(crate) use compare::{compare, InvalidationResult};
pub use envelope::{Envelope, SecretEnvelope};
pub(crate) use new::{ack, conn};
pub use new::{data, empty};
pub(crate) use pki::{channel_mac, pki_id_text};
pub(crate) use pull::{data_digest, data_request, data_update, hello, peer_identity};
pub use signed::SignedMessage;

use crate::crypto::PeerIdentity;
use crate::error::Result;

/// Verifies a signature: called with an identity, a signature, and the signed bytes.
pub trait Verifier: FnMut(&PeerIdentity, &[u8], &[u8]) -> Result<()> {}

impl<F: FnMut(&PeerIdentity, &[u8], &[u8]) -> Result<()>> Verifier for F {}
