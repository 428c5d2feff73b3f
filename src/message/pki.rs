//! Helpers for PKI-IDs.

use crate::crypto::PkiId;
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Formats a PKI-ID as Fabric logs it: lower-case hex, and `<nil>` if there is none.
pub fn pki_id_text(id: Option<&PkiId>) -> String {
    id.map_or_else(|| "<nil>".into(), PkiId::to_string)
}

/// Returns the channel MAC, which identifies a channel only to peers that know its name: SHA-256 of PKI-ID and channel
/// name.
pub fn channel_mac(id: &PkiId, channel: &[u8]) -> Bytes {
    let mac = Sha256::new().chain_update(id).chain_update(channel).finalize();
    Bytes::copy_from_slice(&mac)
}
