//! Messages created by the communication layer itself.

use super::{Content, GossipMessage, Tag};
use crate::crypto::{PeerIdentity, PkiId};
use crate::proto::gossip::{Acknowledgement, ConnEstablish, DataMessage, Empty, Payload};
use bytes::Bytes;

pub(super) fn message(nonce: u64, channel: Bytes, tag: Tag, content: Content) -> GossipMessage {
    GossipMessage { nonce, channel, tag: tag.into(), content: Some(content), ..Default::default() }
}

/// Returns the first message on a stream, to be signed. `tls_cert_hash` is the SHA-256 of the TLS certificate that we
/// present; empty without TLS. With `probe`, the connection ends after the handshake.
pub fn conn(pki_id: &PkiId, identity: &PeerIdentity, tls_cert_hash: Bytes, probe: bool) -> GossipMessage {
    let conn = ConnEstablish {
        pki_id: pki_id.to_bytes(),
        identity: identity.to_bytes(),
        tls_cert_hash,
        probe,
        ..Default::default()
    };
    message(0, Bytes::new(), Tag::EMPTY, Content::Conn(conn))
}

/// Returns an acknowledgement of the message with this nonce. An empty `error` means success. It has no tag, as in
/// Fabric.
pub fn ack(nonce: u64, error: impl Into<String>) -> GossipMessage {
    let ack = Acknowledgement { error: error.into(), ..Default::default() };
    message(nonce, Bytes::new(), Tag::UNDEFINED, Content::Ack(ack))
}

/// Returns a block of a channel, restricted to peers of the channel and the organisation.
pub fn data(nonce: u64, channel: impl Into<Bytes>, seq_num: u64, data: impl Into<Bytes>) -> GossipMessage {
    let payload = Payload { seq_num, data: data.into(), ..Default::default() };
    let data = DataMessage { payload: Some(payload).into(), ..Default::default() };
    message(nonce, channel.into(), Tag::CHAN_AND_ORG, Content::DataMsg(data))
}

/// Returns a message without content.
pub fn empty(nonce: u64) -> GossipMessage {
    message(nonce, Bytes::new(), Tag::EMPTY, Content::Empty(Empty::default()))
}
