//! The events that [`Discovery`](super::Discovery) and [`NodeCore`](crate::node::NodeCore) take in.

use crate::crypto::{OrgId, PkiId};
use crate::error::Result;
use crate::message::SignedMessage;

/// Joins what was asked by an [`Effect`](super::Effect) with the [`Event`] that answers it. Unique within one
/// [`Discovery`](super::Discovery) and the [`NodeCore`](crate::node::NodeCore) around it, which draw from one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) u64);

/// What happened. Every effect with a token wants exactly one answer, however late; an answer to what was never asked,
/// or asked already, is ignored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed: due as soon as `next_timeout` is not in the future any more.
    Timeout,
    /// A message arrived. [`NodeCore`](crate::node::NodeCore) checks its tag, and that a membership request is from the
    /// peer that it names; whoever drives a [`Discovery`](super::Discovery) alone has checked both.
    Received {
        /// The message, as it came.
        message: SignedMessage,
        /// The PKI-ID that the connection it came over has proved. What one peer brings has its bounds.
        from: PkiId,
    },
    /// Answers [`Effect::Verify`](super::Effect::Verify). A verifier that has no room answers `false`: what is true comes
    /// again.
    Verified {
        /// The token of the effect.
        token: Token,
        /// Whether the message counts.
        valid: bool,
    },
    /// Answers [`Effect::Sign`](super::Effect::Sign).
    Signed {
        /// The token of the effect.
        token: Token,
        /// The signed message.
        result: Result<SignedMessage>,
    },
    /// Answers [`Effect::Ping`](super::Effect::Ping).
    Pinged {
        /// The token of the effect.
        token: Token,
        /// Whether the peer answered.
        reachable: bool,
    },
    /// Answers [`Effect::Handshake`](super::Effect::Handshake).
    Handshaken {
        /// The token of the effect.
        token: Token,
        /// The peer that authenticated, or the reason why none did or why it is not accepted.
        result: Result<Remote>,
    },
    /// A connection that we dialled has authenticated. A [`Discovery`](super::Discovery) alone ignores it.
    Dialled {
        /// The endpoint that was dialled.
        endpoint: String,
        /// The peer there.
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
