//! The effects that [`Discovery`](super::Discovery) and [`NodeCore`](crate::node::NodeCore) ask for, and the context of a
//! call.

use super::{DisclosurePolicy, NetworkMember, Token};
use crate::crypto::PkiId;
use crate::message::{GossipMessage, SignedMessage};
use crate::random::Random;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is to be done. None of it waits for another.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Judge an alive message, an identity or state information, as [`verify`](crate::node::identities::verify) does; or a
    /// data message, as whoever understands the blocks of the channel does. Answered by
    /// [`Event::Verified`](super::Event::Verified).
    ///
    /// An alive message: if it brings an identity, that has to fit its PKI-ID and be valid, else the identity must be
    /// known; then the signature and that of the secret envelope. That it has membership, PKI-ID, time, payload and
    /// signature is checked already.
    Verify {
        /// To be named in the answer.
        token: Token,
        /// The message.
        message: SignedMessage,
        /// The peer that brought it, so that what one peer brings need not keep what others do from being verified.
        from: PkiId,
    },
    /// Sign a message of our own. Answered by [`Event::Signed`](super::Event::Signed).
    Sign {
        /// To be named in the answer.
        token: Token,
        /// What to sign.
        message: GossipMessage,
        /// What goes into the secret envelope, signed likewise; without one if it is empty.
        internal_endpoint: String,
    },
    /// Send a message to one peer, without waiting. What has no room is dropped. What may not be disclosed to the peer is
    /// not in it.
    Send {
        /// Who it is for.
        to: PkiId,
        /// Where it is, as far as we know; may be empty, and then only an open connection reaches it.
        endpoint: Arc<str>,
        /// The message, complete.
        message: SignedMessage,
    },
    /// Find out whether a dead peer can be reached. Answered by [`Event::Pinged`](super::Event::Pinged).
    Ping {
        /// To be named in the answer.
        token: Token,
        /// Who should be there.
        pki_id: PkiId,
        /// Where it was.
        endpoint: String,
    },
    /// Find out who is at an endpoint, by a handshake without an expected PKI-ID. Answered by
    /// [`Event::Handshaken`](super::Event::Handshaken).
    Handshake {
        /// To be named in the answer.
        token: Token,
        /// The endpoint.
        endpoint: String,
    },
    /// Close the connection to a peer.
    Close(PkiId),
    /// Spread an alive message to some of the members. A [`NodeCore`](crate::node::NodeCore) chooses them itself and asks
    /// for [`Send`](Self::Send) instead.
    Gossip {
        /// The message, as it was signed or received.
        message: SignedMessage,
        /// The peer that it came from, who need not get it back; `None` for our own.
        from: Option<PkiId>,
    },
    /// Hand a data message to the subscribers. Each comes once. A [`Discovery`](super::Discovery) alone never asks for it.
    Deliver {
        /// The message.
        message: SignedMessage,
        /// The PKI-ID of the peer that we had it from.
        from: PkiId,
    },
    /// Notify the program around it.
    Notify(Notice),
}

/// Something that the program around a node may want to know. A [`Discovery`](super::Discovery) alone gives only
/// [`Membership`](Self::Membership).
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

/// How the membership changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A peer is there: new, or back again.
    Alive(NetworkMember),
    /// A peer that is there has another endpoint or other metadata.
    Updated(NetworkMember),
    /// A peer is not there any more, or was not when we heard of it first.
    Dead(NetworkMember),
    /// A peer that was known is so no more.
    Forgotten(NetworkMember),
}

/// What a state machine does not own: time, chance, what is known of the peers, and where its effects go.
pub struct Context<'a, K: ?Sized = dyn DisclosurePolicy + 'a> {
    /// The present; never before that of an earlier call.
    pub now: Instant,
    /// For nonces, and for choosing peers and waits.
    pub random: &'a mut dyn Random,
    /// What is known of the peers: a [`DisclosurePolicy`] for a [`Discovery`](super::Discovery),
    /// [`Identities`](crate::node::Identities) for a [`NodeCore`](crate::node::NodeCore).
    pub peers: &'a K,
    /// Effects are appended here, to be carried out in their order.
    pub effects: &'a mut Vec<Effect>,
}
