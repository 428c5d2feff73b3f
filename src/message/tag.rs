//! Message types, and tags, which restrict the recipients of a message.

use super::{Content, GossipMessage, Tag};
use crate::error::{Error, ErrorKind, Result};
use crate::proto::gossip::PullMsgType;
use protobuf::EnumOrUnknown;

/// The type of a pull message, and the tag.
impl GossipMessage {
    /// Returns whether it is one of the four messages of a pull exchange.
    #[doc(hidden)]
    pub fn is_pull(&self) -> bool {
        matches!(
            self.content,
            Some(Content::Hello(_) | Content::DataDig(_) | Content::DataReq(_) | Content::DataUpdate(_))
        )
    }

    /// Returns the pull type of a pull message, with its number if it is unknown; `UNDEFINED` for other messages.
    #[doc(hidden)]
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
    #[doc(hidden)]
    pub fn is_channel_restricted(&self) -> bool {
        matches!(self.tag.enum_value(), Ok(Tag::CHAN_AND_ORG | Tag::CHAN_ONLY | Tag::CHAN_OR_ORG))
    }

    /// Returns whether it is restricted to peers of its organisation.
    #[doc(hidden)]
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
