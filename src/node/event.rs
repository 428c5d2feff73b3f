//! What goes into a [`NodeCore`](super::core::NodeCore) and what comes out of it.

use super::identities::Identities;
use crate::crypto::{OrgId, PkiId};
use crate::discovery::{self, Change};
use crate::error::Result;
use crate::message::{GossipMessage, SignedMessage};
use crate::random::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Joins what was asked by an [`Effect`] with the [`Event`] that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) Asked);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asked {
    ByDiscovery(discovery::Token),
    ByNode(u64),
}

/// What happened. Every effect with a token wants exactly one answer, however late; an answer to what was never asked,
/// or asked already, is ignored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed: due as soon as [`next_timeout`](super::core::NodeCore::next_timeout) is not in the future.
    Timeout,
    /// A message arrived.
    Received {
        /// The message, as it came.
        message: SignedMessage,
        /// The PKI-ID that the connection it came over has proved.
        from: PkiId,
    },
    /// Answers [`Effect::Verify`]. Who has no room to verify answers `false`: what is true comes again.
    Verified {
        /// Which one.
        token: Token,
        /// Whether the message counts.
        valid: bool,
    },
    /// Answers [`Effect::Sign`].
    Signed {
        /// Which one.
        token: Token,
        /// The signed message.
        result: Result<SignedMessage>,
    },
    /// Answers [`Effect::Ping`].
    Pinged {
        /// Which one.
        token: Token,
        /// Whether somebody answered.
        reachable: bool,
    },
    /// Answers [`Effect::Handshake`].
    Handshaken {
        /// Which one.
        token: Token,
        /// Who proved to be there.
        result: Result<Remote>,
    },
    /// A connection that we dialled has authenticated: who is at that endpoint.
    Dialled {
        /// The endpoint that was dialled.
        endpoint: String,
        /// Who is there.
        remote: Remote,
    },
    /// The connection to a peer was lost and could not be had again.
    PresumedDead(PkiId),
    /// At the endpoint of a peer another one of the same organisation has proved to be there, over a connection that we
    /// dialled.
    IdentitySwitch(PkiId),
    /// The identity behind a PKI-ID was removed: it expired, was revoked, or was not used for long.
    IdentityPurged(PkiId),
}

/// A peer that has authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its PKI-ID.
    pub pki_id: PkiId,
    /// Its organisation.
    pub org: Option<OrgId>,
}

/// What is to be done. None of it waits for another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Send a message to one peer, without waiting. What has no room is dropped.
    Send {
        /// Who it is for.
        to: PkiId,
        /// Where it is; may be empty, and then only an open connection reaches it.
        endpoint: Arc<str>,
        /// The message, complete.
        message: SignedMessage,
    },
    /// Judge an alive message, an identity or state information, as [`verify`](super::identities::verify) does; or a
    /// data message, as whoever understands the blocks of the channel does. Answered by [`Event::Verified`].
    Verify {
        /// To be named in the answer.
        token: Token,
        /// The message.
        message: SignedMessage,
        /// Who brought it: what one peer brings is not to keep what others do from being verified.
        from: PkiId,
    },
    /// Sign a message of our own. Answered by [`Event::Signed`].
    Sign {
        /// To be named in the answer.
        token: Token,
        /// What to sign.
        message: GossipMessage,
        /// What goes into the secret envelope, signed likewise; without one if it is empty.
        internal_endpoint: String,
    },
    /// Find out whether somebody serves gossip there. Answered by [`Event::Pinged`].
    Ping {
        /// To be named in the answer.
        token: Token,
        /// Who should be there.
        pki_id: PkiId,
        /// Where.
        endpoint: String,
    },
    /// Find out who is there, by a handshake without an expected PKI-ID. Answered by [`Event::Handshaken`].
    Handshake {
        /// To be named in the answer.
        token: Token,
        /// Where.
        endpoint: String,
    },
    /// Close the connection to a peer.
    Close(PkiId),
    /// Hand a data message to those who want them. Each comes once.
    Deliver {
        /// The message.
        message: SignedMessage,
        /// The PKI-ID of the peer that we had it from.
        from: PkiId,
    },
    /// Tell whoever listens.
    Notify(Notice),
}

/// What the program around the node may want to know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The membership has changed.
    Membership(Change),
    /// A seed could not be had; it will be tried again.
    SeedFailed {
        /// Its endpoint.
        endpoint: String,
        /// Why.
        reason: String,
    },
    /// A PKI-ID is no more: its endpoint proved to be another peer's by now, of the same organisation.
    IdentitySwitched {
        /// Who it was.
        old: PkiId,
        /// Who it is.
        new: Option<PkiId>,
    },
    /// Our own identity expires, or has expired.
    IdentityExpires {
        /// How long it still counts; zero if it does not any more.
        remaining: Duration,
    },
}

/// What a node core has not of its own: time, chance, the identities, and where its effects go.
pub struct Context<'a> {
    /// The present; never before that of an earlier call.
    pub now: Instant,
    /// For nonces, and for choosing peers and waits.
    pub random: &'a mut dyn Random,
    /// Who belongs to which organisation.
    pub identities: &'a dyn Identities,
    /// Effects are appended here, to be carried out in their order.
    pub effects: &'a mut Vec<Effect>,
}
