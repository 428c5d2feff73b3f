//! What one peer may see of another.

use super::NetworkMember;

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
