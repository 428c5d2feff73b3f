//! The messages of a pull exchange, and what the pull of identities carries. None is signed but
//! [`peer_identity`].

use super::new::message;
use super::{Content, Envelope, GossipMessage, PullMsgType, Tag};
use crate::crypto::{PeerIdentity, PkiId};
use crate::proto::gossip;
use bytes::Bytes;

/// Opens an exchange: what do you have? `nonce` is echoed through all of it.
pub fn hello(nonce: u64, msg_type: PullMsgType) -> GossipMessage {
    let hello = gossip::GossipHello { nonce, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::Hello(hello))
}

/// Answers a hello: this is what I have.
pub fn data_digest(nonce: u64, msg_type: PullMsgType, digests: Vec<Bytes>) -> GossipMessage {
    let digest = gossip::DataDigest { nonce, digests, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataDig(digest))
}

/// Answers a digest: I want these.
pub fn data_request(nonce: u64, msg_type: PullMsgType, digests: Vec<Bytes>) -> GossipMessage {
    let request = gossip::DataRequest { nonce, digests, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataReq(request))
}

/// Answers a request: here they are.
pub fn data_update(nonce: u64, msg_type: PullMsgType, items: &[Envelope]) -> GossipMessage {
    let data = items.iter().map(gossip::Envelope::from).collect();
    let update = gossip::DataUpdate { nonce, data, msg_type: msg_type.into(), ..Default::default() };
    untagged(msg_type, Content::DataUpdate(update))
}

/// A peer's identity as others pull it, to be signed by that peer. Tagged `EMPTY`, as Fabric does it.
pub fn peer_identity(pki_id: &PkiId, identity: &PeerIdentity) -> GossipMessage {
    let identity = gossip::PeerIdentity { pki_id: pki_id.to_bytes(), cert: identity.to_bytes(), ..Default::default() };
    message(0, Bytes::new(), Tag::EMPTY, Content::PeerIdentity(identity))
}

/// Pulled identities belong to no channel; blocks would carry the channel and its tag, which is the caller's to set.
fn untagged(msg_type: PullMsgType, content: Content) -> GossipMessage {
    let tag = if msg_type == PullMsgType::BLOCK_MSG { Tag::CHAN_AND_ORG } else { Tag::EMPTY };
    message(0, Bytes::new(), tag, content)
}
