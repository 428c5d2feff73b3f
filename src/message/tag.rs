//! Who may get a message: tags, and what kind of message it is.

use super::{Content, GossipMessage, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::gossip::PullMsgType;
use protobuf::EnumOrUnknown;

/// What kind of message it is. Fabric's names, without regard to the tag: for the predicates of subscribers. The library
/// itself matches on the content.
impl GossipMessage {
    /// Whether it tells that a peer is alive.
    pub fn is_alive(&self) -> bool {
        matches!(self.content, Some(Content::AliveMsg(_)))
    }

    /// Whether it asks for the membership.
    pub fn is_mem_req(&self) -> bool {
        matches!(self.content, Some(Content::MemReq(_)))
    }

    /// Whether it answers with the membership.
    pub fn is_mem_res(&self) -> bool {
        matches!(self.content, Some(Content::MemRes(_)))
    }

    /// Whether it carries a block.
    pub fn is_data(&self) -> bool {
        matches!(self.content, Some(Content::DataMsg(_)))
    }

    /// Whether it opens a pull exchange.
    pub fn is_hello(&self) -> bool {
        matches!(self.content, Some(Content::Hello(_)))
    }

    /// Whether it offers items in a pull exchange.
    pub fn is_digest(&self) -> bool {
        matches!(self.content, Some(Content::DataDig(_)))
    }

    /// Whether it asks for items in a pull exchange.
    pub fn is_data_req(&self) -> bool {
        matches!(self.content, Some(Content::DataReq(_)))
    }

    /// Whether it brings items in a pull exchange.
    pub fn is_data_update(&self) -> bool {
        matches!(self.content, Some(Content::DataUpdate(_)))
    }

    /// Whether it is one of the four messages of a pull exchange.
    pub fn is_pull(&self) -> bool {
        self.is_hello() || self.is_digest() || self.is_data_req() || self.is_data_update()
    }

    /// Whether it has the content `empty`.
    pub fn is_empty_message(&self) -> bool {
        matches!(self.content, Some(Content::Empty(_)))
    }

    /// Whether it authenticates a connection.
    pub fn is_conn(&self) -> bool {
        matches!(self.content, Some(Content::Conn(_)))
    }

    /// Whether it acknowledges another message.
    pub fn is_ack(&self) -> bool {
        matches!(self.content, Some(Content::Ack(_)))
    }

    /// Whether it carries an identity.
    pub fn is_identity(&self) -> bool {
        matches!(self.content, Some(Content::PeerIdentity(_)))
    }

    /// Whether it describes the state of a peer in a channel.
    pub fn is_state_info(&self) -> bool {
        matches!(self.content, Some(Content::StateInfo(_)))
    }

    /// Whether it describes the state of several peers in a channel.
    pub fn is_state_info_snapshot(&self) -> bool {
        matches!(self.content, Some(Content::StateSnapshot(_)))
    }

    /// Whether it asks for the state of peers in a channel.
    pub fn is_state_info_pull_request(&self) -> bool {
        matches!(self.content, Some(Content::StateInfoPullReq(_)))
    }

    /// Whether it asks for a range of blocks, or answers that.
    pub fn is_remote_state(&self) -> bool {
        matches!(self.content, Some(Content::StateRequest(_) | Content::StateResponse(_)))
    }

    /// Whether it belongs to the election of a leader.
    pub fn is_leadership(&self) -> bool {
        matches!(self.content, Some(Content::LeadershipMsg(_)))
    }

    /// Whether it is about private data.
    pub fn is_private_data(&self) -> bool {
        matches!(self.content, Some(Content::PrivateReq(_) | Content::PrivateRes(_) | Content::PrivateData(_)))
    }

    /// Returns the pull type of a pull message, with its number if it is not known; `UNDEFINED` for other messages.
    pub fn pull_type(&self) -> EnumOrUnknown<PullMsgType> {
        match &self.content {
            Some(Content::Hello(m)) => m.msg_type,
            Some(Content::DataDig(m)) => m.msg_type,
            Some(Content::DataReq(m)) => m.msg_type,
            Some(Content::DataUpdate(m)) => m.msg_type,
            _ => EnumOrUnknown::default(),
        }
    }

    /// Whether only peers of its channel may get it.
    pub fn is_channel_restricted(&self) -> bool {
        matches!(self.tag.enum_value(), Ok(Tag::CHAN_AND_ORG | Tag::CHAN_ONLY | Tag::CHAN_OR_ORG))
    }

    /// Whether only peers of its organisation may get it.
    pub fn is_org_restricted(&self) -> bool {
        matches!(self.tag.enum_value(), Ok(Tag::CHAN_AND_ORG | Tag::ORG_ONLY))
    }

    /// Whether the tag is the one that its content must have (Fabric's `IsTagLegal`).
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

/// The name of a pull type; empty if it has none.
pub(super) fn pull_type_name(number: i32) -> &'static str {
    match number {
        0 => "UNDEFINED",
        1 => "BLOCK_MSG",
        2 => "IDENTITY_MSG",
        _ => "",
    }
}
