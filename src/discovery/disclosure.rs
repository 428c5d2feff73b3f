//! The parts of a peer's alive message that another peer may see.

use super::NetworkMember;

/// The part of a peer's alive message that another peer may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disclosure {
    /// Nothing.
    Nothing,
    /// The message without its secret envelope, which names the internal endpoint.
    WithoutSecret,
    /// The whole message.
    Whole,
}

/// Decides which peers may know of each other (Fabric's `DisclosurePolicy`). Called often: look up and compare, do not
/// compute.
pub trait DisclosurePolicy {
    /// Returns the part of `member`'s alive message that `remote` may see; `member` may be this node.
    fn disclose(&self, remote: &NetworkMember, member: &NetworkMember) -> Disclosure;
}

impl<F: Fn(&NetworkMember, &NetworkMember) -> Disclosure> DisclosurePolicy for F {
    fn disclose(&self, remote: &NetworkMember, member: &NetworkMember) -> Disclosure {
        self(remote, member)
    }
}
