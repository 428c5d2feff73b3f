//! Members of the network, and the logical time of their messages.

use crate::crypto::PkiId;
use crate::message::{pki_id_text, Envelope};
use crate::proto::gossip::PeerTime;
use bytes::Bytes;
use std::fmt;

/// A peer as the membership knows it (Fabric's `NetworkMember`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkMember {
    /// Its endpoint for other organisations, as `host:port`; empty if it is not reachable for them.
    pub endpoint: String,
    /// Its endpoint for its own organisation; empty if it is not disclosed to us.
    pub internal_endpoint: String,
    /// Its metadata; the library does not interpret it.
    pub metadata: Bytes,
    /// Its PKI-ID.
    pub pki_id: PkiId,
    /// Its newest alive message that we hold, as received.
    pub envelope: Option<Envelope>,
}

impl NetworkMember {
    /// Returns the endpoint to use: the internal one if we know it, else the external one.
    pub fn preferred_endpoint(&self) -> &str {
        match self.internal_endpoint.as_str() {
            "" => &self.endpoint,
            internal => internal,
        }
    }
}

impl fmt::Display for NetworkMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = pki_id_text(Some(&self.pki_id));
        write!(f, "Endpoint: {}, InternalEndpoint: {}, PKI-ID: {id}", self.endpoint, self.internal_endpoint)?;
        write!(f, ", Metadata: {} bytes", self.metadata.len())
    }
}

/// The logical time of a peer: successive incarnations, with the messages of each numbered from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Start time of the peer's process, in nanoseconds since 1970 by its own clock.
    pub incarnation: u64,
    /// Number of its alive message.
    pub sequence: u64,
}

impl From<&PeerTime> for Timestamp {
    fn from(time: &PeerTime) -> Self {
        Timestamp { incarnation: time.inc_num, sequence: time.seq_num }
    }
}

impl From<Timestamp> for PeerTime {
    fn from(time: Timestamp) -> Self {
        PeerTime { inc_num: time.incarnation, seq_num: time.sequence, ..Default::default() }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({}, {})", self.incarnation, self.sequence)
    }
}
