//! The output effects of [`Discovery`](super::Discovery) and `NodeCore`, and the context of a
//! call.

use super::{DisclosurePolicy, NetworkMember, Token};
use crate::crypto::PkiId;
use crate::message::{GossipMessage, SignedMessage};
use crate::random::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An action for the driver to carry out. No effect waits for another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Verify an alive message, an identity or state information, as [`verify`](crate::node::identities::verify) does;
    /// or a data message, with the verifier for the channel's blocks. Answered by
    /// [`Event::Verified`](super::Event::Verified).
    ///
    /// For an alive message: if it contains an identity, that must match its PKI-ID and be valid, otherwise the
    /// identity must be known. Then verify the signature and that of the secret envelope. The presence of membership,
    /// PKI-ID, time, payload and signature has already been checked.
    Verify {
        /// To be repeated in the answer.
        token: Token,
        /// The message.
        message: SignedMessage,
        /// The peer that sent it, so that verification can be shared fairly between senders.
        from: PkiId,
    },
    /// Sign our own message. Answered by [`Event::Signed`](super::Event::Signed).
    Sign {
        /// To be repeated in the answer.
        token: Token,
        /// The message to sign.
        message: GossipMessage,
        /// The content of the secret envelope, also signed; if empty, there is no secret envelope.
        internal_endpoint: String,
    },
    /// Send a message to one peer, without waiting. If there is no room, it is dropped. The message contains only
    /// content that may be disclosed to the peer.
    Send {
        /// The recipient.
        to: PkiId,
        /// Its endpoint, as far as known. If empty, the peer is reachable only over an open connection.
        endpoint: Arc<str>,
        /// The message, complete.
        message: SignedMessage,
    },
    /// Check whether a dead peer is reachable. Answered by [`Event::Pinged`](super::Event::Pinged).
    Ping {
        /// To be repeated in the answer.
        token: Token,
        /// The expected peer.
        pki_id: PkiId,
        /// Its last known endpoint.
        endpoint: String,
    },
    /// Identify the peer at an endpoint, by a handshake without an expected PKI-ID. Answered by
    /// [`Event::Handshaken`](super::Event::Handshaken).
    Handshake {
        /// To be repeated in the answer.
        token: Token,
        /// The endpoint.
        endpoint: String,
    },
    /// Close the connection to a peer.
    Close(PkiId),
    /// Gossip an alive message to some of the members. A `NodeCore` selects them itself and
    /// requests [`Send`](Self::Send) instead.
    Gossip {
        /// The message, as signed or received.
        message: SignedMessage,
        /// The peer that it came from, which need not get it back; `None` for our own.
        from: Option<PkiId>,
    },
    /// Deliver a data message to the subscribers. Each is delivered once. A [`Discovery`](super::Discovery) alone never
    /// requests it.
    Deliver {
        /// The message.
        message: SignedMessage,
        /// The PKI-ID of the peer that sent it to us.
        from: PkiId,
    },
    /// Notify the host program.
    Notify(Notice),
}

/// A notification for the host program. A [`Discovery`](super::Discovery) alone gives only
/// [`Membership`](Self::Membership).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Notice {
    /// The membership has changed.
    Membership(Change),
    /// A seed could not be reached; it will be tried again.
    SeedFailed {
        /// Its endpoint.
        endpoint: String,
        /// The reason.
        reason: String,
    },
    /// A PKI-ID was replaced: another peer of the same organisation has authenticated at its endpoint.
    IdentitySwitched {
        /// The previous PKI-ID.
        old: PkiId,
        /// The new PKI-ID.
        new: Option<PkiId>,
    },
    /// Our own identity expires, or has expired.
    IdentityExpires {
        /// Remaining validity; zero if it has expired.
        remaining: Duration,
    },
}

/// A change of the membership.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A peer is alive: it is new, or back again.
    Alive(NetworkMember),
    /// An alive peer has another endpoint or other metadata.
    Updated(NetworkMember),
    /// A peer is dead, or was already dead when it was first heard of.
    Dead(NetworkMember),
    /// A known peer was forgotten.
    Forgotten(NetworkMember),
}

/// The environment of a state machine: time, randomness, knowledge about peers, and the list of effects.
pub struct Context<'a, K: ?Sized = dyn DisclosurePolicy + 'a> {
    /// The current time; never before that of an earlier call.
    pub now: Instant,
    /// The random source for nonces, peer selection and waits.
    pub random: &'a mut dyn Random,
    /// Knowledge about the peers: a [`DisclosurePolicy`] for a [`Discovery`](super::Discovery),
    /// `Identities` for a `NodeCore`.
    pub peers: &'a K,
    /// Effects are appended here; carry them out in this order.
    pub effects: &'a mut Vec<Effect>,
}

impl<K: ?Sized> std::fmt::Debug for Context<'_, K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("now", &self.now).finish_non_exhaustive()
    }
}
