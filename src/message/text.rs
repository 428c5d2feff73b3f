//! Messages as text, for logs: counts and sizes, never the bytes of a payload, a signature or an identity.

use super::tag::pull_type_name;
use super::{Content, Envelope, GossipMessage, SignedMessage};
use crate::proto::gossip::{self, AliveMessage, PeerTime, PullMsgType};
use protobuf::{Enum, EnumOrUnknown, MessageField};
use std::fmt::{self, Display, Formatter};

/// Formats bytes as lower-case hex.
struct Hex<'a>(&'a [u8]);

impl Display for Hex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Fabric's text form, in one line.
impl Display for SignedMessage {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "GossipMessage: {}, Envelope: {}", of_message(self.message()), self.envelope())
    }
}

/// Formats a message without its envelope.
pub(super) fn of_message(message: &GossipMessage) -> impl Display + '_ {
    Text(message)
}

struct Text<'a>(&'a GossipMessage);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let channel = String::from_utf8_lossy(&self.0.channel);
        write!(f, "Channel: {channel}, nonce: {}, tag: {} ", self.0.nonce, EnumText(self.0.tag))?;
        match &self.0.content {
            None => f.write_str("no content"),
            Some(content) => write_content(f, content),
        }
    }
}

/// The name of an enum value, or its number if it has no name.
struct EnumText<E: Enum>(EnumOrUnknown<E>);

impl<E: Enum + fmt::Debug> Display for EnumText<E> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.enum_value() {
            Ok(value) => write!(f, "{value:?}"),
            Err(number) => write!(f, "{number}"),
        }
    }
}

/// The logical time of a message, where it has one.
struct Time<'a>(&'a MessageField<PeerTime>);

impl Display for Time<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_ref() {
            Some(time) => write!(f, "({}, {})", time.inc_num, time.seq_num),
            None => f.write_str("none"),
        }
    }
}

fn write_content(f: &mut Formatter<'_>, content: &Content) -> fmt::Result {
    match content {
        // Fabric's wording.
        Content::StateResponse(m) => write!(f, "StateResponse with {} items", m.payloads.len()),
        Content::StateSnapshot(m) => write!(f, "StateInfoSnapshot with {} items", m.elements.len()),
        Content::MemRes(m) => write!(f, "MembershipResponse with Alive: {}, Dead: {}", m.alive.len(), m.dead.len()),
        Content::StateInfoPullReq(m) => write!(f, "state_info_pull_req: Channel MAC:{}", Hex(&m.channel_MAC)),
        Content::DataMsg(m) => match m.payload.as_ref() {
            Some(block) => write!(f, "Block message: {{Data: {} bytes, seq: {}}}", block.data.len(), block.seq_num),
            None => f.write_str("Block message without payload"),
        },
        Content::DataUpdate(m) => {
            let kind = pull_type_name(m.msg_type.value());
            write!(f, "DataUpdate: Type: {kind}, items: {}, nonce: {}", m.data.len(), m.nonce)
        }
        Content::DataDig(m) => {
            write!(f, "data_dig: nonce: {} , ", m.nonce)?;
            write_digests(f, m.msg_type, &m.digests)
        }
        Content::DataReq(m) => {
            write!(f, "data request: nonce: {} , ", m.nonce)?;
            write_digests(f, m.msg_type, &m.digests)
        }
        Content::AliveMsg(m) => write_alive(f, m),
        Content::MemReq(m) => write_mem_req(f, m),
        // Our own wording.
        Content::StateInfo(m) => {
            let (height, left) = m.properties.as_ref().map_or((0, false), |p| (p.ledger_height, p.left_channel));
            write!(
                f,
                "StateInfo of {} at {}, Channel MAC:{}",
                Hex(&m.pki_id),
                Time(&m.timestamp),
                Hex(&m.channel_MAC)
            )?;
            write!(f, ", ledger height: {height}{}", if left { ", left the channel" } else { "" })
        }
        Content::LeadershipMsg(m) => {
            let what = if m.is_declaration { "declaration" } else { "proposal" };
            write!(f, "Leadership {what} of {} at {}", Hex(&m.pki_id), Time(&m.timestamp))
        }
        Content::PeerIdentity(m) => write!(f, "Identity of {}, {} bytes", Hex(&m.pki_id), m.cert.len()),
        Content::Conn(m) => write!(f, "ConnEstablish of {}, probe: {}", Hex(&m.pki_id), m.probe),
        Content::Hello(m) => write!(f, "Hello: nonce: {}, Msg_type: {}", m.nonce, EnumText(m.msg_type)),
        Content::Ack(m) if m.error.is_empty() => f.write_str("Acknowledgement"),
        Content::Ack(m) => write!(f, "Acknowledgement with error: {}", m.error),
        Content::StateRequest(m) => write!(f, "StateRequest for {} to {}", m.start_seq_num, m.end_seq_num),
        Content::PrivateReq(m) => write!(f, "Private data request with {} digests", m.digests.len()),
        Content::PrivateRes(m) => write!(f, "Private data response with {} elements", m.elements.len()),
        Content::PrivateData(m) => match m.payload.as_ref() {
            Some(p) => {
                write!(f, "Private data: {} bytes of {}/{}", p.private_rwset.len(), p.namespace, p.collection_name)
            }
            None => f.write_str("Private data without payload"),
        },
        Content::Empty(_) => f.write_str("Empty"),
    }
}

/// Blocks are shown by their number in decimal, identities by their PKI-ID.
fn write_digests(f: &mut Formatter<'_>, kind: EnumOrUnknown<PullMsgType>, digests: &[bytes::Bytes]) -> fmt::Result {
    write!(f, "Msg_type: {}, digests: [", pull_type_name(kind.value()))?;
    let write = |f: &mut Formatter<'_>, digest: &[u8]| match kind.enum_value() {
        Ok(PullMsgType::BLOCK_MSG) => f.write_str(&String::from_utf8_lossy(digest)),
        _ => write!(f, "{}", Hex(digest)),
    };
    if matches!(kind.enum_value(), Ok(PullMsgType::BLOCK_MSG | PullMsgType::IDENTITY_MSG)) {
        for (i, digest) in digests.iter().enumerate() {
            f.write_str(if i == 0 { "" } else { " " })?;
            write(f, digest)?;
        }
    }
    f.write_str("]")
}

fn write_alive(f: &mut Formatter<'_>, alive: &AliveMessage) -> fmt::Result {
    let Some(member) = alive.membership.as_ref() else {
        return f.write_str("nil Membership");
    };
    let (endpoint, metadata, identity) = (&member.endpoint, member.metadata.len(), alive.identity.len());
    write!(f, "Alive Message: {endpoint} {}, Metadata: {metadata} bytes, ", Hex(&member.pki_id))?;
    write!(f, "Identity: {identity} bytes, Timestamp: {}", Time(&alive.timestamp))
}

/// Writes the PKI-ID of the requesting peer; nothing if it cannot be decoded.
fn write_mem_req(f: &mut Formatter<'_>, request: &gossip::MembershipRequest) -> fmt::Result {
    let own = request.self_information.as_ref().cloned().map(Envelope::from);
    let Ok(own) = SignedMessage::from_envelope(own) else { return Ok(()) };
    write!(f, "Membership Request with self information of ")?;
    match own.content() {
        Some(Content::AliveMsg(alive)) => write_alive(f, alive)?,
        _ => f.write_str("no alive message")?,
    }
    write!(f, ", known: {}", request.known.len())
}
