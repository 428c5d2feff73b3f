//! Membership requests that wait for our signature, which they share.

use super::Token;
use crate::crypto::PkiId;
use crate::error::Result;
use crate::message::{Content, GossipMessage, SignedMessage, Tag};
use crate::proto::gossip::{MembershipRequest, MembershipResponse};

/// A peer to ask for its membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub pki_id: PkiId,
    pub endpoint: String,
    /// Zero unless the answer must be distinguished from others.
    pub nonce: u64,
    /// Whether it may learn our internal endpoint.
    pub with_secret: bool,
}

/// Requests to send as soon as our alive message for them is signed.
#[derive(Default)]
pub(super) struct Requests {
    pub targets: Vec<Target>,
    pub signing: Option<Token>,
}

/// Returns a membership request with this alive message of ours.
pub(super) fn request(own: &SignedMessage, target: &Target) -> Result<SignedMessage> {
    let own = if target.with_secret { own.clone() } else { own.without_secret() };
    let request = MembershipRequest { self_information: Some(own.to_proto()).into(), ..Default::default() };
    build(target.nonce, Content::MemReq(request))
}

/// Returns a membership response.
pub(super) fn response(nonce: u64, response: MembershipResponse) -> Result<SignedMessage> {
    build(nonce, Content::MemRes(response))
}

fn build(nonce: u64, content: Content) -> Result<SignedMessage> {
    let message = GossipMessage { nonce, tag: Tag::EMPTY.into(), content: Some(content), ..Default::default() };
    SignedMessage::noop_sign(message)
}
