//! The input events of [`Discovery`](super::Discovery) and `NodeCore`.

use crate::crypto::{OrgId, PkiId};
use crate::error::Result;
use crate::message::SignedMessage;

/// Links a request in an [`Effect`](super::Effect) to the [`Event`] that answers it. Unique within one
/// [`Discovery`](super::Discovery) and the `NodeCore` around it, which share one counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) u64);

/// An input event. Every effect with a token requires exactly one answer, at any later time. Answers to unknown or
/// already answered tokens are ignored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed: send it as soon as `next_timeout` is reached.
    Timeout,
    /// A message arrived. `NodeCore` checks its tag, and that a membership request is from the
    /// peer that it names. A driver of a [`Discovery`](super::Discovery) alone must check both first.
    Received {
        /// The message as received.
        message: SignedMessage,
        /// The PKI-ID authenticated on the connection. The work caused by one peer is limited.
        from: PkiId,
    },
    /// Answers [`Effect::Verify`](super::Effect::Verify). A verifier without capacity answers `false`: an authentic
    /// message will be received again.
    Verified {
        /// The token of the effect.
        token: Token,
        /// Whether the message is valid.
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
    /// The connection to a peer was lost and could not be re-established.
    PresumedDead(PkiId),
    /// Another peer of the same organisation has authenticated at a peer's endpoint, over a connection that we dialled.
    IdentitySwitch(PkiId),
    /// The identity behind a PKI-ID was removed: it expired, was revoked, or was unused for too long.
    IdentityPurged(PkiId),
}

/// An authenticated peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its PKI-ID.
    pub pki_id: PkiId,
    /// Its organisation.
    pub org: Option<OrgId>,
}
