//! Items of a subscription: received messages and events.

use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::list::{gossip_member, Record};
use super::message::gossip_message;
use super::text::{gossip_bytes, gossip_str, Text};
use gossip::comm::{self, ReceivedMessage};
use gossip::crypto::PkiId;
use gossip::error::Error;
use gossip::node::Change;
use gossip::node::{Gossiped, Notice};
use std::ffi::c_char;
use std::slice::from_ref;
use std::sync::OnceLock;

/// Kind of an event. New kinds may be added: a program must ignore those that it does not know.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gossip_event_kind {
    /// No event: the pointer is NULL.
    GOSSIP_EVENT_NONE = 0,
    /// A message from a connected peer (gossip_comm_accept). Has the message, and the sender's PKI-ID, identity and
    /// socket address. Can be answered with gossip_event_respond and gossip_event_ack.
    GOSSIP_EVENT_MESSAGE = 1,
    /// A block of one of our channels, delivered once (gossip_node_accept). Has the message, and the PKI-ID of the peer
    /// that sent it to us.
    GOSSIP_EVENT_GOSSIPED = 2,
    /// A peer has connected. Has its PKI-ID, identity and socket address. The text is the endpoint that we dialled;
    /// empty if the peer dialled us.
    GOSSIP_EVENT_CONNECTED = 10,
    /// A peer is no longer connected. Has its PKI-ID, identity and socket address. The text is the reason.
    GOSSIP_EVENT_DISCONNECTED = 11,
    /// An authentication failed: we refused an inbound peer (gossip_event_inbound), or a peer refused us afterwards.
    /// Has the endpoint, the error, and the PKI-ID if it was received.
    GOSSIP_EVENT_REFUSED = 12,
    /// Connecting to a peer failed. Has the endpoint and PKI-ID as they were given to us, and the error.
    GOSSIP_EVENT_DIAL_FAILED = 13,
    /// Accepted messages will not be delivered, because they could not be written or because the peer refused us
    /// afterwards. Has the endpoint, PKI-ID, error and messages.
    GOSSIP_EVENT_UNDELIVERED = 14,
    /// A peer authenticated with a different identity of the same organisation than expected. The PKI-ID is the old
    /// one; gossip_event_new_pki_id returns the new one.
    GOSSIP_EVENT_IDENTITY_SWITCH = 15,
    /// A peer could not be reached for a send, or not reached again after its connection was lost. Has the PKI-ID.
    GOSSIP_EVENT_PRESUMED_DEAD = 16,
    /// A connection was closed without confirmation that the peer has read everything that was written to it. Has the
    /// PKI-ID, identity and socket address. The text is the reason, with the number of messages that were written.
    GOSSIP_EVENT_UNCONFIRMED = 17,
    /// A thread could not be started, and the operation that needed it has failed. Has the error.
    GOSSIP_EVENT_OUT_OF_THREADS = 18,
    /// Nodes: a member is alive, either new or back again. Has the member.
    GOSSIP_EVENT_MEMBER_ALIVE = 30,
    /// Nodes: an alive member has changed its endpoint or metadata. Has the member.
    GOSSIP_EVENT_MEMBER_UPDATED = 31,
    /// Nodes: a member is no longer alive. Has the member.
    GOSSIP_EVENT_MEMBER_DEAD = 32,
    /// Nodes: a known member was removed from the membership. Has the member.
    GOSSIP_EVENT_MEMBER_FORGOTTEN = 33,
    /// Nodes: a bootstrap or anchor peer could not be contacted; it will be tried again. Has the endpoint. The text is
    /// the reason.
    GOSSIP_EVENT_SEED_FAILED = 34,
    /// Nodes: our own identity expires soon or has expired. See gossip_event_remaining.
    GOSSIP_EVENT_IDENTITY_EXPIRES = 35,
}

use gossip_event_kind::*;

/// A received message or an event. Immutable; every function that reads it is thread-safe and does not block.
pub struct gossip_event {
    pub(super) kind: gossip_event_kind,
    what: What,
    messages: Messages,
    /// Created on first use: most messages are received without it.
    lent: OnceLock<Box<Lent>>,
}

/// Data that is lent to C, in the form that C reads.
struct Lent {
    text: Text,
    endpoint: Text,
    error: Option<gossip_error>,
    member: Option<Record>,
}

impl Owned for gossip_event {}

#[derive(Clone)]
enum What {
    Message(ReceivedMessage),
    Gossiped(PkiId),
    Comm(comm::Event),
    Notice(Notice),
    PresumedDead(PkiId),
}

enum Messages {
    None,
    One(gossip_message),
    Many(Vec<gossip_message>),
}

impl gossip_event {
    fn new(kind: gossip_event_kind, what: What, messages: Messages) -> gossip_event {
        gossip_event { kind, what, messages, lent: OnceLock::new() }
    }

    fn lent(&self) -> &Lent {
        self.lent.get_or_init(|| {
            Box::new(Lent {
                text: self.text().into(),
                endpoint: self.endpoint().into(),
                error: self.error().map(gossip_error::from),
                member: self.changed().map(|member| Record::new(member.clone())),
            })
        })
    }

    fn pki_id(&self) -> Option<&PkiId> {
        use comm::Event;
        match &self.what {
            What::Message(received) => Some(&received.connection_info().id),
            What::Gossiped(from) => Some(from),
            What::PresumedDead(pki_id) => Some(pki_id),
            What::Comm(
                Event::Connected { info, .. } | Event::Disconnected { info, .. } | Event::Unconfirmed { info, .. },
            ) => Some(&info.id),
            What::Comm(Event::Refused { pki_id, .. }) => pki_id.as_ref(),
            What::Comm(Event::DialFailed { peer, .. } | Event::Undelivered { peer, .. }) => peer.pki_id.as_ref(),
            What::Comm(Event::IdentitySwitch { expected, .. }) => Some(expected),
            What::Comm(Event::PresumedDead { pki_id }) => Some(pki_id),
            What::Comm(_) => None,
            What::Notice(Notice::IdentitySwitched { old, .. }) => Some(old),
            What::Notice(_) => self.changed().map(|member| &member.pki_id),
        }
    }

    fn new_pki_id(&self) -> Option<&PkiId> {
        match &self.what {
            What::Comm(comm::Event::IdentitySwitch { actual, .. }) => Some(actual),
            What::Notice(Notice::IdentitySwitched { new, .. }) => new.as_ref(),
            _ => None,
        }
    }

    fn info(&self) -> Option<&comm::ConnectionInfo> {
        use comm::Event;
        match &self.what {
            What::Message(received) => Some(received.connection_info()),
            What::Comm(
                Event::Connected { info, .. } | Event::Disconnected { info, .. } | Event::Unconfirmed { info, .. },
            ) => Some(info),
            _ => None,
        }
    }

    fn endpoint(&self) -> &str {
        use comm::Event;
        match &self.what {
            What::Comm(Event::Refused { endpoint, .. }) => endpoint,
            What::Comm(Event::DialFailed { peer, .. } | Event::Undelivered { peer, .. }) => &peer.endpoint,
            What::Notice(Notice::SeedFailed { endpoint, .. }) => endpoint,
            _ => self.info().map_or("", |info| &info.endpoint),
        }
    }

    fn error(&self) -> Option<&Error> {
        use comm::Event;
        match &self.what {
            What::Comm(
                Event::Refused { error, .. }
                | Event::DialFailed { error, .. }
                | Event::Undelivered { error, .. }
                | Event::OutOfThreads { error },
            ) => Some(error),
            _ => None,
        }
    }

    fn text(&self) -> String {
        use comm::Event;
        match &self.what {
            What::Comm(Event::Connected { dialled, .. }) => dialled.clone().unwrap_or_default(),
            What::Comm(Event::Disconnected { reason, .. }) => reason.clone(),
            What::Comm(Event::Unconfirmed { reason, messages, .. }) => {
                format!("{reason}; {messages} messages were written, and the last ones may be lost")
            }
            What::Notice(Notice::SeedFailed { reason, .. }) => reason.clone(),
            _ => self.error().map(ToString::to_string).unwrap_or_default(),
        }
    }

    fn changed(&self) -> Option<&gossip::node::NetworkMember> {
        match &self.what {
            What::Notice(Notice::Membership(
                Change::Alive(member) | Change::Updated(member) | Change::Dead(member) | Change::Forgotten(member),
            )) => Some(member),
            _ => None,
        }
    }

    fn messages(&self) -> &[gossip_message] {
        match &self.messages {
            Messages::None => &[],
            Messages::One(message) => from_ref(message),
            Messages::Many(messages) => messages,
        }
    }
}

impl Clone for gossip_event {
    fn clone(&self) -> Self {
        let again = |message: &gossip_message| gossip_message::from(message.message.clone());
        let messages = match &self.messages {
            Messages::None => Messages::None,
            Messages::One(message) => Messages::One(again(message)),
            Messages::Many(messages) => Messages::Many(messages.iter().map(again).collect()),
        };
        gossip_event::new(self.kind, self.what.clone(), messages)
    }
}

impl From<ReceivedMessage> for gossip_event {
    fn from(received: ReceivedMessage) -> Self {
        let message = Messages::One(received.message().clone().into());
        gossip_event::new(GOSSIP_EVENT_MESSAGE, What::Message(received), message)
    }
}

impl From<Gossiped> for gossip_event {
    fn from(gossiped: Gossiped) -> Self {
        let message = Messages::One(gossiped.message.into());
        gossip_event::new(GOSSIP_EVENT_GOSSIPED, What::Gossiped(gossiped.from), message)
    }
}

impl From<PkiId> for gossip_event {
    fn from(pki_id: PkiId) -> Self {
        gossip_event::new(GOSSIP_EVENT_PRESUMED_DEAD, What::PresumedDead(pki_id), Messages::None)
    }
}

impl From<comm::Event> for gossip_event {
    fn from(event: comm::Event) -> Self {
        use comm::Event;
        let mut undelivered = Messages::None;
        let kind = match &event {
            Event::Connected { .. } => GOSSIP_EVENT_CONNECTED,
            Event::Disconnected { .. } => GOSSIP_EVENT_DISCONNECTED,
            Event::Refused { .. } => GOSSIP_EVENT_REFUSED,
            Event::DialFailed { .. } => GOSSIP_EVENT_DIAL_FAILED,
            Event::Undelivered { messages, .. } => {
                undelivered = Messages::Many(messages.iter().map(|message| message.clone().into()).collect());
                GOSSIP_EVENT_UNDELIVERED
            }
            Event::IdentitySwitch { .. } => GOSSIP_EVENT_IDENTITY_SWITCH,
            Event::PresumedDead { .. } => GOSSIP_EVENT_PRESUMED_DEAD,
            Event::Unconfirmed { .. } => GOSSIP_EVENT_UNCONFIRMED,
            Event::OutOfThreads { .. } => GOSSIP_EVENT_OUT_OF_THREADS,
            // Required because the enum is non-exhaustive; tests/variants.rs checks that every event has its kind.
            _ => GOSSIP_EVENT_NONE,
        };
        gossip_event::new(kind, What::Comm(event), undelivered)
    }
}

impl From<Notice> for gossip_event {
    fn from(notice: Notice) -> Self {
        let kind = match &notice {
            Notice::Membership(Change::Alive(_)) => GOSSIP_EVENT_MEMBER_ALIVE,
            Notice::Membership(Change::Updated(_)) => GOSSIP_EVENT_MEMBER_UPDATED,
            Notice::Membership(Change::Dead(_)) => GOSSIP_EVENT_MEMBER_DEAD,
            Notice::Membership(Change::Forgotten(_)) => GOSSIP_EVENT_MEMBER_FORGOTTEN,
            Notice::SeedFailed { .. } => GOSSIP_EVENT_SEED_FAILED,
            Notice::IdentitySwitched { .. } => GOSSIP_EVENT_IDENTITY_SWITCH,
            Notice::IdentityExpires { .. } => GOSSIP_EVENT_IDENTITY_EXPIRES,
            // As above.
            _ => GOSSIP_EVENT_NONE,
        };
        gossip_event::new(kind, What::Notice(notice), Messages::None)
    }
}

fn bytes(of: Option<&PkiId>) -> gossip_bytes {
    of.map_or(gossip_bytes::EMPTY, |id| gossip_bytes::of(id.as_bytes()))
}

/// Returns the kind of the event.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_kind_of(event: *const gossip_event) -> gossip_event_kind {
    super::look(event, GOSSIP_EVENT_NONE, |event| event.kind)
}

/// Returns the first message of the event, lent until the event is freed; NULL if it has none.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_message(event: *const gossip_event) -> *const gossip_message {
    gossip_event_message_at(event, 0)
}

/// Returns the number of messages of the event.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_message_count(event: *const gossip_event) -> usize {
    super::look(event, 0, |event| event.messages().len())
}

/// Returns a message of the event by its index, lent until the event is freed; NULL beyond the last one.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_message_at(event: *const gossip_event, index: usize) -> *const gossip_message {
    super::look(event, std::ptr::null(), |event| {
        event.messages().get(index).map_or(std::ptr::null(), |message| message as *const _)
    })
}

/// Returns the PKI-ID of the peer that the event concerns; empty if none is known.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_pki_id(event: *const gossip_event) -> gossip_bytes {
    super::look(event, gossip_bytes::EMPTY, |event| bytes(event.pki_id()))
}

/// Returns the new PKI-ID of the peer after an identity switch; empty for other events.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_new_pki_id(event: *const gossip_event) -> gossip_bytes {
    super::look(event, gossip_bytes::EMPTY, |event| bytes(event.new_pki_id()))
}

/// Returns the identity that the peer authenticated with; empty if the event does not concern a connection.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_identity(event: *const gossip_event) -> gossip_bytes {
    super::look(event, gossip_bytes::EMPTY, |event| {
        event.info().map_or(gossip_bytes::EMPTY, |info| gossip_bytes::of(info.identity.as_bytes()))
    })
}

/// Returns the address of the peer: the socket address of a connection, or the endpoint that was given for it.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_endpoint(event: *const gossip_event) -> gossip_str {
    super::look(event, gossip_str::EMPTY, |event| event.lent().endpoint.as_str())
}

/// Returns a human-readable text; see the kinds. For an event with an error, the error's whole message.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_text(event: *const gossip_event) -> gossip_str {
    super::look(event, gossip_str::EMPTY, |event| event.lent().text.as_str())
}

/// Returns the error of the event, lent until the event is freed; NULL if it has none.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_error(event: *const gossip_event) -> *const gossip_error {
    super::look(event, std::ptr::null(), |event| {
        event.lent().error.as_ref().map_or(std::ptr::null(), |error| error as *const _)
    })
}

/// Returns, for a refusal, whether we refused an inbound peer.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_inbound(event: *const gossip_event) -> bool {
    super::look(event, false, |event| matches!(&event.what, What::Comm(comm::Event::Refused { inbound: true, .. })))
}

/// Returns how long our identity remains valid, in nanoseconds, for an event about its expiration; 0 if it has expired.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_remaining(event: *const gossip_event) -> super::gossip_duration {
    super::look(event, 0, |event| match &event.what {
        What::Notice(Notice::IdentityExpires { remaining }) => super::nanoseconds(*remaining),
        _ => 0,
    })
}

/// Writes the member of the event to `member`; its parts are lent until the event is freed. Returns false and writes
/// nothing if the event has no member.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_member(event: *const gossip_event, member: *mut gossip_member) -> bool {
    super::look(event, false, |event| match (&event.lent().member, Out::new(member, "member")) {
        (Some(record), Ok(out)) => out.set(record.lend()).is_ok(),
        _ => false,
    })
}

/// Sends a message back to the peer that this message came from, unsigned. GOSSIP_FULL: the queue to the peer is full.
/// GOSSIP_DISCONNECTED: the peer is no longer connected. GOSSIP_INVALID_ARGUMENT: the event is not a message from a
/// connected peer.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_respond(
    event: *const gossip_event,
    message: *const gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let received = received(handle::get(event, "event")?)?;
        Ok(received.respond(handle::get(message, "message")?.message.message().clone())?)
    })
}

/// Acknowledges a message to the sender that waits for it. NULL as `text` means success; otherwise `text` is the error.
/// Fails like gossip_event_respond, and with GOSSIP_ALREADY_ACKNOWLEDGED if the message was acknowledged before. After
/// a failure to send, it can be called again.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_ack(
    event: *const gossip_event,
    text: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let received = received(handle::get(event, "event")?)?;
        Ok(received.ack(handle::optional_text(text, "text")?)?)
    })
}

fn received(event: &gossip_event) -> super::error::Outcome<&ReceivedMessage> {
    match &event.what {
        What::Message(received) => Ok(received),
        _ => Err(super::invalid("only a message from a connected peer can be answered")),
    }
}

/// Creates another handle of the same event, for keeping an event that is only lent. Free it with gossip_event_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_clone(
    event: *const gossip_event,
    clone: *mut *mut gossip_event,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let clone = Out::new(clone, "clone")?;
        clone.give(handle::get(event, "event")?.clone())
    })
}

/// Frees the event. An event that is lent must not be freed. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_event_free(event: *mut gossip_event) {
    gossip_event::free(event);
}
