//! What goes into [`Discovery`](super::Discovery) and what comes out of it.

use super::NetworkMember;
use crate::crypto::PkiId;
use crate::error::Result;
use crate::message::{GossipMessage, SignedMessage};
use crate::random::Random;
use std::time::Instant;

/// Joins what was asked by an [`Effect`] with the [`Event`] that answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) u64);

/// What happened. Every effect with a token wants exactly one answer, however late; an answer to what was never asked,
/// or asked already, is ignored.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed: due as soon as [`next_timeout`](super::Discovery::next_timeout) is not in the future any more.
    Timeout,
    /// A message arrived whose tag fits its content. Whoever hands in a membership request has checked that the
    /// connection's PKI-ID is the one in it, so that nobody can ask, or come back, in another peer's name.
    Received {
        /// The message.
        message: SignedMessage,
        /// The PKI-ID that the connection it came over has proved. What one peer brings has its bounds.
        from: PkiId,
    },
    /// Answers [`Effect::Verify`]. A verifier that has no room answers `false`: what is true comes again.
    Verified {
        /// Which one.
        token: Token,
        /// Whether identity and signatures are valid.
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
        /// Whether the peer answered.
        reachable: bool,
    },
    /// Answers [`Effect::Identify`].
    Identified {
        /// Which one.
        token: Token,
        /// Who is there; or why nobody we want.
        result: Result<Identified>,
    },
    /// The connection to a peer was lost and could not be had again.
    PresumedDead(PkiId),
    /// A PKI-ID is no more: its identity was removed, or its endpoint proved to be somebody else's by now.
    IdentitySwitch(PkiId),
}

/// Who answered at the endpoint of a seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identified {
    /// The PKI-ID that was proved.
    pub pki_id: PkiId,
    /// Whether it belongs to our organisation, and so may learn our internal endpoint.
    pub same_org: bool,
}

/// What is to be done.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Effect {
    /// Check an alive message: if it brings an identity, that has to fit its PKI-ID and be valid, else the identity
    /// must be known; then the signature and that of the secret envelope. Answered by [`Event::Verified`].
    Verify {
        /// To be named in the answer.
        token: Token,
        /// The message; that it has membership, PKI-ID, time, payload and signature is checked already.
        message: SignedMessage,
        /// Who brought it, so that what one peer brings need not keep what others do from being verified.
        from: PkiId,
    },
    /// Sign an alive message of our own. Answered by [`Event::Signed`].
    Sign {
        /// To be named in the answer.
        token: Token,
        /// What to sign.
        message: GossipMessage,
        /// What goes into the secret envelope, signed likewise.
        internal_endpoint: String,
    },
    /// Spread our own alive message.
    Gossip(SignedMessage),
    /// Spread another peer's alive message.
    Forward {
        /// The message as it came.
        message: SignedMessage,
        /// Whom it came from, who need not get it back.
        from: PkiId,
    },
    /// Send a membership request or response to one peer. What may not be disclosed to it is not in it.
    Send {
        /// Who it is for.
        to: PkiId,
        /// Where it is, as far as we know; may be empty, and then only an open connection reaches it.
        endpoint: String,
        /// The message, without signature.
        message: SignedMessage,
    },
    /// Find out whether a dead peer can be reached. Answered by [`Event::Pinged`].
    Ping {
        /// To be named in the answer.
        token: Token,
        /// Who should be there.
        pki_id: PkiId,
        /// Where it was.
        endpoint: String,
    },
    /// Find out who is at the endpoint of a seed, and whether we want it. Answered by [`Event::Identified`].
    Identify {
        /// To be named in the answer.
        token: Token,
        /// The seed's endpoint.
        endpoint: String,
    },
    /// Close the connection to a peer.
    Close(PkiId),
    /// Tell those who watch the membership.
    Changed(Change),
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

/// What one peer may see of another's alive message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// Nothing.
    Nothing,
    /// The message without its secret envelope, which names the internal endpoint.
    WithoutSecret,
    /// All of it.
    Whole,
}

/// Who may know whom (Fabric's `DisclosurePolicy`). Called often, so look up and compare, do not compute.
pub trait DisclosurePolicy {
    /// What `remote` may see of `member`'s alive message; `member` can be ourselves.
    fn disclose(&self, remote: &NetworkMember, member: &NetworkMember) -> Disclosure;
}

impl<F: Fn(&NetworkMember, &NetworkMember) -> Disclosure> DisclosurePolicy for F {
    fn disclose(&self, remote: &NetworkMember, member: &NetworkMember) -> Disclosure {
        self(remote, member)
    }
}

/// What [`Discovery`](super::Discovery) has not of its own: time, chance, the policy, and where its effects go.
pub struct Context<'a> {
    /// The present; never before that of an earlier call.
    pub now: Instant,
    /// For nonces, and for choosing peers and waits.
    pub random: &'a mut dyn Random,
    /// Who may know whom.
    pub policy: &'a dyn DisclosurePolicy,
    /// Effects are appended here, to be carried out in their order.
    pub effects: &'a mut Vec<Effect>,
}
