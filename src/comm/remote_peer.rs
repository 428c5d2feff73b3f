//! The address of a remote peer.

use crate::crypto::PkiId;
use std::fmt;

/// A remote peer, as a caller addresses it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemotePeer {
    /// The address to dial, `host:port` (IPv6 in brackets). Ignored while the peer is connected.
    pub endpoint: String,
    /// The PKI-ID, if known. If another peer of the same organisation answers at the endpoint, it is accepted and
    /// reported as an identity switch; a peer of another organisation is rejected.
    pub pki_id: Option<PkiId>,
}

impl RemotePeer {
    /// Addresses any peer that answers at `endpoint`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        RemotePeer { endpoint: endpoint.into(), pki_id: None }
    }

    /// Addresses the peer with this PKI-ID at `endpoint`.
    pub fn with_id(endpoint: impl Into<String>, pki_id: PkiId) -> Self {
        RemotePeer { endpoint: endpoint.into(), pki_id: Some(pki_id) }
    }
}

/// Formats as `endpoint (first bytes of the PKI-ID)`.
impl fmt::Display for RemotePeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.endpoint.is_empty() { "?" } else { &self.endpoint })?;
        match &self.pki_id {
            Some(id) => write!(f, " ({:.12})", id.to_string()),
            None => Ok(()),
        }
    }
}
