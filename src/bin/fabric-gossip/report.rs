//! What is printed of a received message.

use crate::output::{printable, Output};
use crate::values::{brief, grouped};
use fabric_gossip::comm::ReceivedMessage;
use fabric_gossip::message::{Content, GossipMessage};
use serde_json::json;

/// What there is to say of one message.
pub struct Seen<'a> {
    message: &'a ReceivedMessage,
    /// Its place in its sender's order, if it is a data message.
    pub seq: Option<u64>,
    /// Bytes of data; of other messages than data messages, of the whole message.
    pub len: usize,
}

impl<'a> Seen<'a> {
    pub fn new(message: &'a ReceivedMessage) -> Self {
        let payload = match message.message().content() {
            Some(Content::DataMsg(data)) => data.payload.as_ref(),
            _ => None,
        };
        let len = payload.map_or_else(|| message.message().envelope().payload.len(), |p| p.data.len());
        Seen { message, seq: payload.map(|p| p.seq_num), len }
    }

    pub fn print(&self, out: &Output) {
        let message = self.message.message().message();
        let from = self.message.connection_info().id.to_string();
        let channel = String::from_utf8_lossy(&message.channel);
        let kind = kind(message);
        out.line(
            || {
                json!({"event": "message", "from": from, "kind": kind, "channel": channel, "nonce": message.nonce,
                       "seq": self.seq, "len": self.len})
            },
            || {
                let number = self.seq.map(|seq| format!(" {seq}")).unwrap_or_default();
                let on = if channel.is_empty() { String::new() } else { format!(" on {}", printable(&channel)) };
                format!("{kind}{number}{on} from {}: {} bytes", brief(&from), grouped(self.len as u64))
            },
        );
    }
}

/// The name of the message's content, as in the protocol.
fn kind(message: &GossipMessage) -> &'static str {
    match &message.content {
        None => "none",
        Some(content) => match content {
            Content::AliveMsg(_) => "alive_msg",
            Content::MemReq(_) => "mem_req",
            Content::MemRes(_) => "mem_res",
            Content::DataMsg(_) => "data_msg",
            Content::Hello(_) => "hello",
            Content::DataDig(_) => "data_dig",
            Content::DataReq(_) => "data_req",
            Content::DataUpdate(_) => "data_update",
            Content::Empty(_) => "empty",
            Content::Conn(_) => "conn",
            Content::StateInfo(_) => "state_info",
            Content::StateSnapshot(_) => "state_snapshot",
            Content::StateInfoPullReq(_) => "state_info_pull_req",
            Content::StateRequest(_) => "state_request",
            Content::StateResponse(_) => "state_response",
            Content::LeadershipMsg(_) => "leadership_msg",
            Content::PeerIdentity(_) => "peer_identity",
            Content::Ack(_) => "ack",
            Content::PrivateReq(_) => "privateReq",
            Content::PrivateRes(_) => "privateRes",
            Content::PrivateData(_) => "private_data",
            _ => "unknown",
        },
    }
}
