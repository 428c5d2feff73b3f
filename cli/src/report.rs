//! Printing of received messages, and of connections that open and close.

use crate::failure::Result;
use crate::identity::Described;
use crate::order::Order;
use crate::output::{printable, Output};
use crate::reload::Reloaded;
use crate::terminal::Tone;
use crate::values::{brief, counted, hex};
use crate::Context;
use clap::ValueEnum;
use fabric_gossip::comm::{ConnectionInfo, ReceivedMessage};
use fabric_gossip::crypto::PkiId;
use fabric_gossip::message::{Content, GossipMessage, SignedMessage};
use serde_json::json;

/// Number of messages that are printed one by one; later only every thousandth is.
const PRINTED: u64 = 20;
const THEN_EVERY: u64 = 1000;

/// Number of bytes of data that are shown of each message.
const SHOWN_BYTES: usize = 4096;

/// How the data of messages is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Payload {
    /// As UTF-8, with control characters escaped
    Text,
    Hex,
}

impl Payload {
    /// Returns the data, cut after a number of bytes.
    fn show(self, data: &[u8]) -> String {
        let data = data.get(..SHOWN_BYTES).unwrap_or(data);
        match self {
            Payload::Text => String::from_utf8_lossy(data).into_owned(),
            Payload::Hex => hex(data),
        }
    }
}

/// Messages received since the start.
#[derive(Default)]
pub struct Tally {
    /// How to show the data of the messages that are printed; `None` hides it.
    payload: Option<Payload>,
    count: u64,
    bytes: u64,
    order: Order,
    /// Whether messages were received since the last summary.
    fresh: bool,
}

impl Tally {
    pub fn new(payload: Option<Payload>) -> Tally {
        Tally { payload, ..Tally::default() }
    }

    pub fn add(&mut self, message: &ReceivedMessage, out: &Output) {
        let seen = Seen::new(message.message(), &message.connection_info().id);
        self.count += 1;
        self.bytes += seen.len as u64;
        self.fresh = true;
        if let Some(seq) = seen.seq {
            self.order.saw(&message.connection_info().id, seq);
        }
        if self.count <= PRINTED || self.count % THEN_EVERY == 0 {
            seen.print(out, self.payload);
        }
    }

    /// Returns whether a summary would contain anything new.
    pub fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Prints a summary, unless no message was received since the last one.
    pub fn summarize(&mut self, out: &Output) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        let (count, bytes, in_order) = (self.count, self.bytes, self.order.kept());
        out.line(
            || json!({"event": "received", "count": count, "bytes": bytes, "in_order": in_order}),
            || {
                let order = if in_order { "in order" } else { "NOT in order" };
                format!("received {}, {}, {order}", counted(count, "message"), counted(bytes, "byte"))
            },
        );
    }
}

/// Prints a message received by gossip.
pub fn gossiped(out: &Output, message: &SignedMessage, from: &PkiId) {
    Seen::new(message, from).print(out, None);
}

pub fn connected(context: &Context, info: &ConnectionInfo) {
    let described = Described::new(&info.identity);
    let (pki_id, mspid) = (info.id.to_string(), described.mspid.clone().unwrap_or_default());
    context.out.toned(
        Tone::Good,
        || {
            json!({"event": "connected", "pki_id": pki_id, "endpoint": info.endpoint, "reason": null, "mspid": mspid,
                   "transport": context.transport.name()})
        },
        || {
            let name = described.common_name();
            format!("connected: {} of {}, at {}", printable(&name), printable(&mspid), info.endpoint)
        },
    );
}

pub fn disconnected(context: &Context, info: &ConnectionInfo, reason: &str) {
    let pki_id = info.id.to_string();
    context.out.toned(
        Tone::Warning,
        || {
            json!({"event": "disconnected", "pki_id": pki_id, "endpoint": info.endpoint, "reason": reason,
                   "transport": context.transport.name()})
        },
        || {
            let name = Described::new(&info.identity).common_name();
            format!("disconnected: {}, at {}: {}", printable(&name), info.endpoint, printable(reason))
        },
    );
}

/// Prints the result of a reload.
pub fn reloaded(context: &Context, result: &Result<Reloaded>) {
    let nothing = Reloaded::default();
    let (done, error) = match result {
        Ok(done) => (done, None),
        Err(failure) => (&nothing, Some(failure.text().unwrap_or("stopped"))),
    };
    let tone = if error.is_some() || !done.restart.is_empty() { Tone::Warning } else { Tone::Plain };
    context.out.toned(
        tone,
        || {
            let removed: Vec<_> = done.removed.iter().map(PkiId::to_string).collect();
            json!({"event": "reload", "ok": error.is_none(), "error": error, "changed": done.changed,
                   "restart": done.restart, "removed": removed})
        },
        || {
            if let Some(error) = error {
                return format!("reload failed, nothing has changed: {}", printable(error));
            }
            let changed = if done.changed.is_empty() { "nothing".to_owned() } else { done.changed.join(", ") };
            let removed: Vec<_> = done.removed.iter().map(brief).collect();
            let removed = match removed.is_empty() {
                true => String::new(),
                false => format!("; no longer valid: {}", removed.join(", ")),
            };
            let restart = if done.restart.is_empty() { "" } else { "; restart to use our new identity" };
            format!("reloaded, changed: {changed}{removed}{restart}")
        },
    );
}

/// The printed properties of a message.
struct Seen<'a> {
    message: &'a SignedMessage,
    from: &'a PkiId,
    /// Its sequence number, if it is a data message.
    seq: Option<u64>,
    data: &'a [u8],
    /// Length of the data in bytes; for messages other than data messages, of the whole message.
    len: usize,
}

impl<'a> Seen<'a> {
    fn new(message: &'a SignedMessage, from: &'a PkiId) -> Self {
        let payload = match message.content() {
            Some(Content::DataMsg(data)) => data.payload.as_ref(),
            _ => None,
        };
        let len = payload.map_or_else(|| message.envelope().payload.len(), |p| p.data.len());
        Seen { message, from, seq: payload.map(|p| p.seq_num), data: payload.map_or(&[], |p| &p.data), len }
    }

    fn print(&self, out: &Output, form: Option<Payload>) {
        let message = self.message.message();
        let from = self.from.to_string();
        let channel = String::from_utf8_lossy(&message.channel);
        let kind = kind(message);
        let data = form.map(|form| form.show(self.data));
        out.line(
            || {
                let mut line = json!({"event": "message", "from": from, "kind": kind, "channel": channel,
                                      "nonce": message.nonce, "seq": self.seq, "len": self.len});
                if let Some(data) = &data {
                    line["payload"] = json!(data);
                }
                line
            },
            || {
                let number = self.seq.map(|seq| format!(" {seq}")).unwrap_or_default();
                let on = if channel.is_empty() { String::new() } else { format!(" on {}", printable(&channel)) };
                let data = data.as_ref().map(|data| format!(": {}", printable(data))).unwrap_or_default();
                format!("{kind}{number}{on} from {}: {}{data}", brief(&from), counted(self.len as u64, "byte"))
            },
        );
    }
}

/// Returns the name of the message's content, as in the protocol.
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
