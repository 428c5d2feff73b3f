//! The disclosure policy: which parts of a peer's alive message another peer may see.

use super::identities::Identities;
use crate::crypto::OrgId;
use crate::discovery::{Disclosure, DisclosurePolicy, NetworkMember};

/// Fabric's disclosure policy. A peer of an unknown organisation sees nothing. Peers of one organisation see each
/// other. Peers of other organisations see only our own members, and only if both have an external endpoint. The
/// internal endpoint never leaves the organisation.
pub struct OrgDisclosure<'a> {
    /// Our organisation.
    pub own_org: &'a OrgId,
    /// Maps the other peers to their organisations.
    pub identities: &'a dyn Identities,
}

impl DisclosurePolicy for OrgDisclosure<'_> {
    fn disclose(&self, remote: &NetworkMember, member: &NetworkMember) -> Disclosure {
        let (remote_org, org) = (self.identities.org(&remote.pki_id), self.identities.org(&member.pki_id));
        let (Some(remote_org), Some(org)) = (remote_org, org) else { return Disclosure::Nothing };
        let theirs = org == remote_org;
        let visible = theirs || org == *self.own_org && !member.endpoint.is_empty() && !remote.endpoint.is_empty();
        match (visible, remote_org == *self.own_org) {
            (false, _) => Disclosure::Nothing,
            (true, false) => Disclosure::WithoutSecret,
            (true, true) => Disclosure::Whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PkiId;

    /// Named like `a1` for the first of organisation a, in upper case if it has no external endpoint.
    fn member(name: &str) -> NetworkMember {
        let lower = name.to_lowercase();
        let endpoint = if name == lower { format!("{name}:7051") } else { String::new() };
        NetworkMember { pki_id: PkiId::new(lower), endpoint, ..Default::default() }
    }

    #[test]
    fn g19_g20_a_foreign_peer_learns_of_those_with_an_external_endpoint_and_no_third_organisation() {
        let identities = |id: &PkiId| match id.as_bytes()[0] {
            b'x' => None,
            org => Some(OrgId::new((org as char).to_string())),
        };
        let own_org = OrgId::new("a");
        let policy = OrgDisclosure { own_org: &own_org, identities: &identities };
        use Disclosure::{Nothing, Whole, WithoutSecret};
        for (remote, about, expected) in [
            // Our organisation sees its own members, with or without external endpoints. Members of other organisations
            // are learned directly.
            ("a1", "a2", Whole),
            ("A1", "A2", Whole),
            ("a1", "b1", Nothing),
            // Others see their own members, and those of ours that have an external endpoint, if they have one too.
            ("b1", "b2", WithoutSecret),
            ("B1", "B2", WithoutSecret),
            ("b1", "a1", WithoutSecret),
            ("b1", "A1", Nothing),
            ("B1", "a1", Nothing),
            ("b1", "c1", Nothing),
            // The identity is unknown.
            ("x1", "a1", Nothing),
            ("a1", "x1", Nothing),
            ("b1", "x1", Nothing),
        ] {
            assert_eq!(policy.disclose(&member(remote), &member(about)), expected, "{remote} about {about}");
        }
    }
}
