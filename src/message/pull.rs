//! The messages of a pull exchange, and the content of the pull of identities. None is signed except [`peer_identity`].

use super::new::message;
use super::{Content, Envelope, GossipMessage, PullMsgType, Tag};
use crate::crypto::{PeerIdentity, PkiId};
use crate::proto::gossip;
use bytes::Bytes;

/// Returns a hello, which opens an exchange and asks for digests. All messages of the exchange echo `nonce`.
pub fn hello(nonce: u64, msg_type: PullMsgType) -> GossipMessage {
    let hello = gossip::GossipHello { nonce, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::Hello(hello))
}

/// Returns the answer to a hello: the offered digests.
pub fn data_digest(nonce: u64, msg_type: PullMsgType, digests: Vec<Bytes>) -> GossipMessage {
    let digest = gossip::DataDigest { nonce, digests, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataDig(digest))
}

/// Returns the answer to a digest: the wanted digests.
pub fn data_request(nonce: u64, msg_type: PullMsgType, digests: Vec<Bytes>) -> GossipMessage {
    let request = gossip::DataRequest { nonce, digests, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataReq(request))
}

/// Returns the answer to a request: the requested items.
pub fn data_update(nonce: u64, msg_type: PullMsgType, items: &[Envelope]) -> GossipMessage {
    let data = items.iter().map(gossip::Envelope::from).collect();
    let update = gossip::DataUpdate { nonce, data, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataUpdate(update))
}

/// Returns a peer's identity message for the pull, to be signed by that peer. Tagged `EMPTY`, as in Fabric.
pub fn peer_identity(pki_id: &PkiId, identity: &PeerIdentity) -> GossipMessage {
    let identity = gossip::PeerIdentity { pki_id: pki_id.to_bytes(), cert: identity.to_bytes(), ..Default::default() };
    message(0, Bytes::new(), Tag::EMPTY, Content::PeerIdentity(identity))
}

/// Pulled identities belong to no channel. For blocks, the caller must set the channel and its tag.
fn untagged(msg_type: PullMsgType, content: Content) -> GossipMessage {
    let tag = if msg_type == PullMsgType::BLOCK_MSG { Tag::CHAN_AND_ORG } else { Tag::EMPTY };
    message(0, Bytes::new(), tag, content)
}
