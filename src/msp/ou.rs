//! Organisational units: those of an identity, and those that an MSP requires.

use super::config::MspVersion;
use super::invalid;
use crate::error::Result;
use std::collections::BTreeMap;
use std::fmt;

/// An OU of an identity, with the authorities that certify it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationalUnit {
    /// The OU as written in the certificate.
    pub name: String,
    /// The hash over the chain of authorities, from the issuer to the root.
    pub certifiers_identifier: Vec<u8>,
}

/// Shows the OU and the beginning of the hash.
impl fmt::Display for OrganizationalUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix: String = self.certifiers_identifier.iter().take(8).map(|b| format!("{b:02X}")).collect();
        write!(f, "{}({prefix})", self.name)
    }
}

/// A role by OU: the OU, and the authorities that must certify it (any if there is no hash).
#[derive(Clone, Debug)]
pub(super) struct RoleOu {
    pub name: String,
    pub certifiers_identifier: Option<Vec<u8>>,
    /// The file of the authority that must certify it.
    pub tied_to: Option<String>,
}

/// The OUs that an MSP requires of its members.
#[derive(Debug, Default)]
pub(super) struct OuRules {
    /// If not empty, members must have one: OU to the authorities that may certify it.
    pub listed: BTreeMap<String, Vec<Vec<u8>>>,
    /// If set, members must have exactly one role.
    pub roles: Option<Roles>,
}

#[derive(Debug, Default)]
pub(super) struct Roles {
    pub client: Option<RoleOu>,
    pub peer: Option<RoleOu>,
    pub admin: Option<RoleOu>,
    pub orderer: Option<RoleOu>,
}

impl OuRules {
    /// Checks that these OUs of an identity meet the MSP's requirements.
    pub fn check(&self, ous: &[OrganizationalUnit], version: MspVersion, mspid: &str) -> Result<()> {
        self.check_listed(ous, mspid)?;
        match &self.roles {
            Some(roles) => roles.check(ous, version, mspid),
            None => Ok(()),
        }
    }

    fn check_listed(&self, ous: &[OrganizationalUnit], mspid: &str) -> Result<()> {
        let allowed = |ou: &OrganizationalUnit| {
            self.listed.get(&ou.name).is_some_and(|by| by.contains(&ou.certifiers_identifier))
        };
        if self.listed.is_empty() || ous.iter().any(allowed) {
            return Ok(());
        }
        Err(invalid(match ous.is_empty() {
            true => "the identity certificate does not contain an Organizational Unit (OU)".into(),
            false => format!("none of the identity's organizational units {} are in MSP {mspid}", list(ous)),
        }))
    }
}

impl Roles {
    fn check(&self, ous: &[OrganizationalUnit], version: MspVersion, mspid: &str) -> Result<()> {
        let early = version < MspVersion::V1_4_3;
        let known = match early {
            true => [&self.client, &self.peer, &None, &None],
            false => [&self.client, &self.peer, &self.admin, &self.orderer],
        };
        let mut count = 0;
        for ou in ous {
            // If two roles share an OU, later versions use the later one, earlier versions the earlier one.
            let mut matching = known.iter().filter_map(|role| role.as_ref()).filter(|role| role.name == ou.name);
            let Some(role) = (if early { matching.next() } else { matching.next_back() }) else { continue };
            if role.certifiers_identifier.as_ref().is_some_and(|by| *by != ou.certifiers_identifier) {
                let (ous, file) = (list(ous), role.tied_to.as_deref().unwrap_or("another authority"));
                return Err(invalid(format!(
                    "certifiersIdentifier does not match: {ous}, MSP: [{mspid}]: config.yaml ties the OU {} to {file}, which \
                     is not the issuer of this certificate; name the issuer as Certificate there, or omit Certificate",
                    role.name
                )));
            }
            count += 1;
            if count > 1 {
                break;
            }
        }
        let wrong = match (count, early) {
            (1, _) => return Ok(()),
            (0, true) => "the identity does not have an OU that resolves to client or peer",
            (0, false) => "the identity does not have an OU that resolves to client, peer, orderer, or admin role",
            (_, true) => "the identity must be a client or a peer identity to be valid, not a combination of them",
            (_, false) => {
                "the identity must have a client, a peer, an orderer, or an admin OU role to be valid, \
                 not a combination of them"
            }
        };
        Err(invalid(format!("{wrong}. OUs: {}, MSP: [{mspid}]", list(ous))))
    }
}

fn list(ous: &[OrganizationalUnit]) -> String {
    let shown: Vec<String> = ous.iter().map(OrganizationalUnit::to_string).collect();
    format!("[{}]", shown.join(" "))
}
