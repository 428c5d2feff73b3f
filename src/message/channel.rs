//! Messages about the members of a channel.

use super::new::message;
use super::pki::channel_mac;
use super::{Content, GossipMessage, SignedMessage, Tag};
use crate::crypto::PkiId;
use crate::proto::gossip;
use bytes::Bytes;

/// Returns state information of a peer in a channel, to be signed by that peer. It identifies the channel only by its
/// [MAC](channel_mac). Of two, the one with the greater (`incarnation`, `sequence`) is newer.
pub fn state_info(
    pki_id: &PkiId,
    channel: &[u8],
    incarnation: u64,
    sequence: u64,
    properties: gossip::Properties,
) -> GossipMessage {
    let timestamp = gossip::PeerTime { inc_num: incarnation, seq_num: sequence, ..Default::default() };
    let info = gossip::StateInfo {
        timestamp: Some(timestamp).into(),
        pki_id: pki_id.to_bytes(),
        channel_MAC: channel_mac(pki_id, channel),
        properties: Some(properties).into(),
        ..Default::default()
    };
    message(0, Bytes::new(), Tag::CHAN_OR_ORG, Content::StateInfo(info))
}

/// Returns a request for a peer's state information about a channel; `pki_id` is our own.
pub fn state_info_pull_request(pki_id: &PkiId, channel: &[u8]) -> GossipMessage {
    let request = gossip::StateInfoPullRequest { channel_MAC: channel_mac(pki_id, channel), ..Default::default() };
    message(0, Bytes::new(), Tag::CHAN_OR_ORG, Content::StateInfoPullReq(request))
}

/// Returns the answer to such a request.
pub fn state_info_snapshot<'a>(channel: Bytes, elements: impl IntoIterator<Item = &'a SignedMessage>) -> GossipMessage {
    let elements = elements.into_iter().map(SignedMessage::to_proto).collect();
    let snapshot = gossip::StateInfoSnapshot { elements, ..Default::default() };
    message(0, channel, Tag::CHAN_OR_ORG, Content::StateSnapshot(snapshot))
}
