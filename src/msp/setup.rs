//! Setup of an MSP: every certificate and list in it is checked once, here.

use super::chain::Authorities;
use super::config::{MspConfig, MspVersion, NodeOus, OuIdentifier, PemFile};
use super::identity::Identity;
use super::ou::{OuRules, RoleOu, Roles};
use super::provider::Msp;
use super::x509::{Certificate, RevocationList};
use super::{context, invalid, pem};
use crate::error::Result;
use std::collections::HashSet;
use std::sync::Arc;

impl Msp {
    pub(super) fn set_up(config: MspConfig) -> Result<Msp> {
        if config.root_certs.is_empty() {
            return Err(invalid("expected at least one CA certificate"));
        }
        let roots = config.root_certs.iter().map(certificate).collect::<Result<Vec<_>>>()?;
        let intermediates = config.intermediate_certs.iter().map(certificate).collect::<Result<Vec<_>>>()?;
        let mut msp = Msp {
            mspid: config.mspid,
            version: config.version,
            hash_family: config.hash_family,
            identifier_hash: config.identifier_hash,
            authorities: Authorities::new(roots.clone(), intermediates.clone()),
            inner_authorities: HashSet::new(),
            revocation_lists: Vec::new(),
            ou_rules: OuRules::default(),
            tls_certs: Vec::new(),
            unread_authorities: None,
        };
        let files = config.root_certs.iter().chain(&config.intermediate_certs);
        let unread: Vec<String> = files.filter_map(PemFile::more_blocks).collect();
        if !unread.is_empty() {
            let unread = unread.join("; ");
            log::warn!("{unread}: store each certificate in a separate file");
            msp.unread_authorities = Some(unread);
        }

        // Authorities are first sanitized under each other, and only then used for the certificates that they issued.
        let sanitize = |msp: &Msp, files: &[PemFile], certificates: Vec<Arc<Certificate>>| {
            let pairs = files.iter().zip(certificates);
            pairs.map(|(file, c)| msp.sanitize(c).map_err(context(&file.name))).collect::<Result<Vec<_>>>()
        };
        let roots = sanitize(&msp, &config.root_certs, roots)?;
        let intermediates = sanitize(&msp, &config.intermediate_certs, intermediates)?;
        msp.authorities = Authorities::new(roots.clone(), intermediates.clone());

        for file in &config.revocation_lists {
            let list = revocation_list(file).map_err(context("could not parse RevocationList"));
            msp.revocation_lists.push(list.map_err(context(&file.name))?);
        }
        let early = msp.version < MspVersion::V1_4_3;
        let admins = |msp: &Msp| {
            let admin = |file: &PemFile| msp.identity_from_pem(&file.pem).map_err(context(&file.name));
            config.admins.iter().map(admin).collect::<Result<Vec<_>>>()
        };
        if early {
            admins(&msp)?;
        }

        let files = config.root_certs.iter().chain(&config.intermediate_certs);
        for (file, authority) in files.zip(roots.iter().chain(&intermediates)) {
            msp.check_authority(&msp.authorities, authority).map_err(context(&file.name))?;
        }
        for authority in &intermediates {
            let chain = msp.authorities.unique_chain(authority)?;
            msp.inner_authorities.extend(chain[1..].iter().map(|c| c.raw.clone()));
        }

        msp.set_up_tls(&config.tls_root_certs, &config.tls_intermediate_certs)?;
        for listed in &config.ou_identifiers {
            let name = &listed.organizational_unit_identifier;
            let by = msp.certifiers_identifier(listed).map_err(context(format_args!("listed OU {name}")))?;
            msp.ou_rules.listed.entry(name.clone()).or_default().push(by.unwrap_or_default());
        }
        if let Some(node_ous) = &config.node_ous {
            msp.ou_rules.roles = msp.roles(node_ous)?;
        }

        let admins = admins(&msp)?;
        let admin_role = msp.ou_rules.roles.as_ref().is_some_and(|r| r.admin.is_some());
        if !early && admins.is_empty() && !admin_role {
            return Err(invalid(
                "administrators must be declared when no admin ou classification is set: add config.yaml with NodeOUs, or \
                 the certificate of an administrator in admincerts",
            ));
        }
        for (i, (admin, file)) in admins.iter().zip(&config.admins).enumerate() {
            msp.check_admin(i, admin).map_err(context(&file.name))?;
        }
        Ok(msp)
    }

    /// Checks that a certificate is an authority, has a key identifier, and is trusted and not revoked.
    fn check_authority(&self, trusted: &Authorities, authority: &Arc<Certificate>) -> Result<()> {
        let serial = authority.serial_hex();
        if !authority.is_ca() {
            return Err(invalid(format!("CA Certificate did not have the CA attribute, (SN: {serial})")));
        }
        if authority.extensions.subject_key_id.is_none() {
            return Err(invalid(format!(
                "CA Certificate problem with Subject Key Identifier extension, (SN: {serial}): subjectKeyIdentifier not \
                 found in certificate"
            )));
        }
        let check = || {
            let chain = trusted.unique_chain(authority).map_err(context("could not obtain certification chain"))?;
            match chain.len() {
                1 => Ok(()),
                _ => self.check_not_revoked(authority, &chain),
            }
        };
        check().map_err(context(format_args!("CA Certificate is not valid, (SN: {serial})")))
    }

    fn set_up_tls(&mut self, roots: &[PemFile], intermediates: &[PemFile]) -> Result<()> {
        let root_certs = roots.iter().map(certificate).collect::<Result<Vec<_>>>()?;
        let intermediate_certs = intermediates.iter().map(certificate).collect::<Result<Vec<_>>>()?;
        let trusted = Authorities::new(root_certs.clone(), intermediate_certs.clone());
        let files = roots.iter().chain(intermediates);
        for (file, authority) in files.zip(root_certs.iter().chain(&intermediate_certs)) {
            self.check_authority(&trusted, authority).map_err(context(&file.name))?;
        }
        // Only the first block of a file is checked, but all of them are trusted, as in Fabric's pools of TLS roots.
        for file in roots.iter().chain(intermediates) {
            self.tls_certs.extend(
                pem::blocks(&file.pem)
                    .filter(|b| b.label == b"CERTIFICATE" && !b.has_headers())
                    .filter_map(|b| Certificate::parse(&b.bytes).ok().map(|c| pem::encode("CERTIFICATE", &c.raw))),
            );
        }
        Ok(())
    }

    /// Returns the hash over the chain of the authority that an OU is restricted to.
    fn certifiers_identifier(&self, ou: &OuIdentifier) -> Result<Option<Vec<u8>>> {
        let Some(file) = &ou.certificate else { return Ok(None) };
        let authority = certificate(file)?;
        let authority = self.sanitize(authority).map_err(context(&file.name))?;
        if self.authorities.is_root(&authority) {
            return self.chain_identifier(&[authority]).map(Some);
        }
        if !self.authorities.is_intermediate(&authority) {
            return Err(invalid(format!("{}: Certificate not in root or intermediate certs", file.name)));
        }
        let chain = self.validation_chain(&authority, 0).map_err(context(&file.name))?;
        self.chain_identifier(&chain).map(Some)
    }

    fn roles(&self, config: &NodeOus) -> Result<Option<Roles>> {
        if self.version == MspVersion::V1_0 {
            return Ok(None);
        }
        let role = |ou: &Option<OuIdentifier>| -> Result<Option<RoleOu>> {
            // Without an OU name, the role does not exist.
            let Some(ou) = ou.as_ref().filter(|ou| !ou.organizational_unit_identifier.is_empty()) else {
                return Ok(None);
            };
            let name = ou.organizational_unit_identifier.clone();
            let certifiers_identifier =
                self.certifiers_identifier(ou).map_err(context(format_args!("NodeOU {name}")))?;
            let tied_to = ou.certificate.as_ref().map(|file| file.name.clone());
            Ok(Some(RoleOu { name, certifiers_identifier, tied_to }))
        };
        let mut roles = Roles { client: role(&config.client)?, peer: role(&config.peer)?, ..Roles::default() };
        if self.version < MspVersion::V1_4_3 {
            for (what, role) in [("ClientOU", &roles.client), ("PeerOU", &roles.peer)] {
                if role.as_ref().is_none_or(|r| r.name.is_empty()) {
                    return Err(invalid(format!("Failed setting up NodeOUs. {what} must be different from nil.")));
                }
            }
        } else {
            roles.admin = role(&config.admin)?;
            roles.orderer = role(&config.orderer)?;
        }
        let none = [&roles.client, &roles.peer, &roles.admin, &roles.orderer].iter().all(|r| r.is_none());
        Ok((config.enable && !none).then_some(roles))
    }

    /// Checks that an administrator is a valid member, or, if roles are distinguished by OUs, has the right one.
    fn check_admin(&self, i: usize, admin: &Identity) -> Result<()> {
        let Some(roles) = &self.ou_rules.roles else {
            return self.validate(admin).map_err(context(format_args!("admin {i} is invalid")));
        };
        let ous = self.organizational_units(admin);
        let has = |role: &Option<RoleOu>| role.as_ref().is_some_and(|r| ous.iter().any(|ou| ou.name == r.name));
        if self.version < MspVersion::V1_4_3 {
            self.validate(admin).map_err(context(format_args!("admin {i} is invalid")))?;
            if !has(&roles.client) {
                return Err(invalid(format!("admin {i} is invalid: the identity is not a client of {}", self.mspid)));
            }
        } else if !has(&roles.client) && !has(&roles.admin) {
            let lacks = |ou: &str| format!("The identity does not contain OU [{ou}], MSP: [{}]", self.mspid);
            return Err(invalid(format!("admin {i} is invalid [{},{}]", lacks("CLIENT"), lacks("ADMIN"))));
        }
        Ok(())
    }
}

fn certificate(file: &PemFile) -> Result<Arc<Certificate>> {
    let parse = || {
        let block = pem::decode(&file.pem).ok_or_else(|| invalid("no PEM in it"))?;
        Certificate::parse(&block.bytes).map_err(|e| invalid(format!("failed to parse x509 cert: {e}")))
    };
    parse().map(Arc::new).map_err(context(&file.name))
}

/// Parses PEM of the right type that starts at the first byte, or DER.
fn revocation_list(file: &PemFile) -> Result<RevocationList> {
    let block = match file.pem.starts_with(b"-----BEGIN X509 CRL") {
        true => pem::decode(&file.pem).filter(|block| block.label == b"X509 CRL"),
        false => None,
    };
    let der = block.as_ref().map_or(&file.pem, |block| &block.bytes);
    RevocationList::parse(der).map_err(invalid)
}
