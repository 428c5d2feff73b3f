//! Message types, and tags, which restrict the recipients of a message.

use super::{Content, GossipMessage, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::gossip::PullMsgType;
use protobuf::EnumOrUnknown;

/// Tests of the message type under Fabric's names, without regard to the tag, for use in subscription predicates. The
/// library itself matches on the content.
impl GossipMessage {
    /// Returns whether it is an alive message.
    pub fn is_alive(&self) -> bool {
        matches!(self.content, Some(Content::AliveMsg(_)))
    }

    /// Returns whether it is a membership request.
    pub fn is_mem_req(&self) -> bool {
        matches!(self.content, Some(Content::MemReq(_)))
    }

    /// Returns whether it is a membership response.
    pub fn is_mem_res(&self) -> bool {
        matches!(self.content, Some(Content::MemRes(_)))
    }

    /// Returns whether it carries a block.
    pub fn is_data(&self) -> bool {
        matches!(self.content, Some(Content::DataMsg(_)))
    }

    /// Returns whether it opens a pull exchange.
    pub fn is_hello(&self) -> bool {
        matches!(self.content, Some(Content::Hello(_)))
    }

    /// Returns whether it offers items in a pull exchange.
    pub fn is_digest(&self) -> bool {
        matches!(self.content, Some(Content::DataDig(_)))
    }

    /// Returns whether it requests items in a pull exchange.
    pub fn is_data_req(&self) -> bool {
        matches!(self.content, Some(Content::DataReq(_)))
    }

    /// Returns whether it delivers items in a pull exchange.
    pub fn is_data_update(&self) -> bool {
        matches!(self.content, Some(Content::DataUpdate(_)))
    }

    /// Returns whether it is one of the four messages of a pull exchange.
    pub fn is_pull(&self) -> bool {
        self.is_hello() || self.is_digest() || self.is_data_req() || self.is_data_update()
    }

    /// Returns whether it has the content `empty`.
    pub fn is_empty_message(&self) -> bool {
        matches!(self.content, Some(Content::Empty(_)))
    }

    /// Returns whether it authenticates a connection.
    pub fn is_conn(&self) -> bool {
        matches!(self.content, Some(Content::Conn(_)))
    }

    /// Returns whether it acknowledges another message.
    pub fn is_ack(&self) -> bool {
        matches!(self.content, Some(Content::Ack(_)))
    }

    /// Returns whether it carries an identity.
    pub fn is_identity(&self) -> bool {
        matches!(self.content, Some(Content::PeerIdentity(_)))
    }

    /// Returns whether it describes the state of a peer in a channel.
    pub fn is_state_info(&self) -> bool {
        matches!(self.content, Some(Content::StateInfo(_)))
    }

    /// Returns whether it describes the state of several peers in a channel.
    pub fn is_state_info_snapshot(&self) -> bool {
        matches!(self.content, Some(Content::StateSnapshot(_)))
    }

    /// Returns whether it requests the state of peers in a channel.
    pub fn is_state_info_pull_request(&self) -> bool {
        matches!(self.content, Some(Content::StateInfoPullReq(_)))
    }

    /// Returns whether it requests a range of blocks, or answers such a request.
    pub fn is_remote_state(&self) -> bool {
        matches!(self.content, Some(Content::StateRequest(_) | Content::StateResponse(_)))
    }

    /// Returns whether it belongs to leader election.
    pub fn is_leadership(&self) -> bool {
        matches!(self.content, Some(Content::LeadershipMsg(_)))
    }

    /// Returns whether it is about private data.
    pub fn is_private_data(&self) -> bool {
        matches!(self.content, Some(Content::PrivateReq(_) | Content::PrivateRes(_) | Content::PrivateData(_)))
    }

    /// Returns the pull type of a pull message, with its number if it is unknown; `UNDEFINED` for other messages.
    pub fn pull_type(&self) -> EnumOrUnknown<PullMsgType> {
        match &self.content {
            Some(Content::Hello(m)) => m.msg_type,
            Some(Content::DataDig(m)) => m.msg_type,
            Some(Content::DataReq(m)) => m.msg_type,
            Some(Content::DataUpdate(m)) => m.msg_type,
            _ => EnumOrUnknown::default(),
        }
    }

    /// Returns whether it is restricted to peers of its channel.
    pub fn is_channel_restricted(&self) -> bool {
        matches!(self.tag.enum_value(), Ok(Tag::CHAN_AND_ORG | Tag::CHAN_ONLY | Tag::CHAN_OR_ORG))
    }

    /// Returns whether it is restricted to peers of its organisation.
    pub fn is_org_restricted(&self) -> bool {
        matches!(self.tag.enum_value(), Ok(Tag::CHAN_AND_ORG | Tag::ORG_ONLY))
    }

    /// Checks that the tag is the one required for the content (Fabric's `IsTagLegal`).
    ///
    /// # Errors
    /// [`ErrorKind::Protocol`] with Fabric's text.
    pub fn check_tag(&self) -> Result<()> {
        let illegal = |text: String| Err(Error::new(ErrorKind::Protocol, text));
        let tag = self.tag.enum_value();
        if tag == Ok(Tag::UNDEFINED) {
            return illegal("Undefined tag".into());
        }
        let required = match self.content {
            Some(Content::DataMsg(_) | Content::LeadershipMsg(_)) => Tag::CHAN_AND_ORG,
            Some(Content::AliveMsg(_) | Content::MemReq(_) | Content::MemRes(_)) => Tag::EMPTY,
            Some(Content::PeerIdentity(_)) => Tag::ORG_ONLY,
            Some(
                Content::StateInfo(_)
                | Content::StateSnapshot(_)
                | Content::StateInfoPullReq(_)
                | Content::StateRequest(_)
                | Content::StateResponse(_),
            ) => Tag::CHAN_OR_ORG,
            _ if self.is_pull() => match self.pull_type().enum_value() {
                Ok(PullMsgType::BLOCK_MSG) => Tag::CHAN_AND_ORG,
                Ok(PullMsgType::IDENTITY_MSG) => Tag::EMPTY,
                Ok(PullMsgType::UNDEFINED) | Err(_) => {
                    return illegal(format!("Invalid PullMsgType: {}", pull_type_name(self.pull_type().value())))
                }
            },
            _ => return illegal(format!("Unknown message type: {}", super::text::of_message(self))),
        };
        if tag == Ok(required) {
            return Ok(());
        }
        illegal(format!("Tag should be {required:?}"))
    }
}

/// Returns the name of a pull type; empty if it has none.
pub(super) fn pull_type_name(number: i32) -> &'static str {
    match number {
        0 => "UNDEFINED",
        1 => "BLOCK_MSG",
        2 => "IDENTITY_MSG",
        _ => "",
    }
}
