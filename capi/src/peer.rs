//! A peer as a C caller names it.

use super::error::Outcome;
use super::handle;
use gossip::comm::RemotePeer;
use gossip::crypto::PkiId;
use std::ffi::c_char;

/// A peer as given by a caller. Only read during the call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_peer {
    /// The endpoint to dial, `host:port` (IPv6 in brackets). May be NULL if the PKI-ID is given and the peer is
    /// connected.
    pub endpoint: *const c_char,
    /// Its PKI-ID; NULL if it is not known.
    pub pki_id: *const u8,
    /// Length of the PKI-ID in bytes; 0 for none.
    pub pki_id_len: usize,
}

/// Upper limit for the number of peers of one call.
const MOST: usize = 1 << 20;

impl gossip_peer {
    unsafe fn read(&self) -> Outcome<RemotePeer> {
        let endpoint = handle::optional_text(self.endpoint, "peer.endpoint")?.unwrap_or_default();
        let pki_id = handle::array(self.pki_id, self.pki_id_len, "peer.pki_id")?;
        let pki_id = (!pki_id.is_empty()).then(|| PkiId::from(pki_id));
        if endpoint.is_empty() && pki_id.is_none() {
            return Err(super::invalid("a peer has neither endpoint nor PKI-ID"));
        }
        Ok(RemotePeer { endpoint: endpoint.to_owned(), pki_id })
    }
}

/// Reads one peer.
pub(super) unsafe fn one(peer: *const gossip_peer) -> Outcome<RemotePeer> {
    handle::get(peer, "peer")?.read()
}

/// Reads an array of peers.
pub(super) unsafe fn several(peers: *const gossip_peer, count: usize) -> Outcome<Vec<RemotePeer>> {
    if count > MOST {
        return Err(super::invalid(format!("{count} peers are too many for one array; the limit is {MOST}")));
    }
    handle::array(peers, count, "peers")?.iter().map(|peer| peer.read()).collect()
}
