//! The MSP of one organisation: parses and validates its identities.

use super::algorithm::{HashFamily, KeyAlgorithm};
use super::chain::{Authorities, Chain};
use super::config::{config_error, MspConfig, MspVersion};
use super::identity::Identity;
use super::key::canonical_form;
use super::ou::{OrganizationalUnit, OuRules};
use super::serialized::SerializedIdentity;
use super::x509::{attribute, Certificate, RevocationList};
use super::{context, invalid, pem};
use crate::crypto::PeerIdentity;
use crate::error::{Error, Result};
use openssl::hash::MessageDigest;
use std::collections::HashSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// The hash that identifies certificates and chains: `IdentityIdentifierHashFunction` of an MSP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentifierHash {
    /// SHA-256.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA3-256.
    Sha3_256,
    /// SHA3-384.
    Sha3_384,
}

impl IdentifierHash {
    pub(super) fn hash(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let digest = match self {
            IdentifierHash::Sha256 => MessageDigest::sha256(),
            IdentifierHash::Sha384 => MessageDigest::sha384(),
            IdentifierHash::Sha3_256 => MessageDigest::sha3_256(),
            IdentifierHash::Sha3_384 => MessageDigest::sha3_384(),
        };
        let hash = openssl::hash::hash(digest, bytes);
        hash.map(|h| h.to_vec()).map_err(|e| invalid("could not compute a hash").with_source(e))
    }
}

/// A membership service provider for one organisation. Immutable; cheap to share in an `Arc`.
pub struct Msp {
    pub(super) mspid: String,
    pub(super) version: MspVersion,
    pub(super) hash_family: HashFamily,
    pub(super) identifier_hash: IdentifierHash,
    pub(super) authorities: Authorities,
    /// Authorities that have others below them (whole DER); identities that they issue are not valid.
    pub(super) inner_authorities: HashSet<Vec<u8>>,
    pub(super) revocation_lists: Vec<RevocationList>,
    pub(super) ou_rules: OuRules,
    pub(super) tls_certs: Vec<String>,
    /// Names of authority files of which only the first certificate is read, for error messages.
    pub(super) unread_authorities: Option<String>,
}

impl Msp {
    /// Creates an MSP and checks everything in it. An error names the file and the rule that it breaks.
    pub fn new(config: MspConfig) -> Result<Msp> {
        Self::set_up(config).map_err(|e| config_error(e.message()).with_source(e))
    }

    /// Creates an MSP from its folder, see [`MspConfig::load`].
    pub fn load(dir: impl AsRef<Path>, mspid: impl Into<String>) -> Result<Msp> {
        Self::new(MspConfig::load(dir, mspid)?)
    }

    /// Returns the MSP id.
    pub fn id(&self) -> &str {
        &self.mspid
    }

    /// Returns the authorities for TLS, each as PEM: all certificates in the files of `tlscacerts/`, then those of
    /// `tlsintermediatecerts/`. A TLS client of Fabric trusts each of them as a root.
    pub fn tls_certs(&self) -> &[String] {
        &self.tls_certs
    }

    /// Parses an identity of this organisation. Does not validate it.
    ///
    /// Fails if the MSP id differs, or the identity contains no certificate; for a certificate with an ECDSA signature
    /// also if there is not exactly one chain to a root.
    pub fn deserialize(&self, identity: &PeerIdentity) -> Result<Identity> {
        let parsed = SerializedIdentity::parse(identity.as_bytes())
            .map_err(context("could not deserialize a SerializedIdentity"))?;
        if parsed.mspid != self.mspid {
            return Err(invalid(format!("expected MSP ID {}, received {}", self.mspid, parsed.mspid)));
        }
        self.identity_from_pem(&parsed.id_bytes)
    }

    pub(super) fn identity_from_pem(&self, id_bytes: &[u8]) -> Result<Identity> {
        let block = pem::decode(id_bytes).ok_or_else(|| invalid("could not decode the PEM structure"))?;
        let certificate = Certificate::parse(&block.bytes).map_err(invalid);
        let certificate = Arc::new(certificate.map_err(context("parseCertificate failed"))?);
        if certificate.public_key.algorithm() == KeyAlgorithm::Unknown {
            return Err(invalid("failed to import certificate's public key"));
        }
        let certificate = self.sanitize(certificate)?;
        Ok(Identity::new(self.mspid.clone(), certificate, self.hash_family))
    }

    /// Checks that the identity has the only allowed form: no data after the PEM block, the right block type, a
    /// canonical signature. Does not check whose identity it is.
    #[doc(hidden)]
    pub fn check_well_formed(&self, identity: &PeerIdentity) -> Result<()> {
        check_well_formed(&SerializedIdentity::parse(identity.as_bytes())?)
    }

    /// Checks that the identity is a valid member. Expiry is not checked here: the store of identities handles it.
    pub fn validate(&self, identity: &Identity) -> Result<()> {
        let certificate = identity.certificate();
        let algorithm = certificate.public_key.algorithm();
        let supported = match algorithm {
            KeyAlgorithm::Ecdsa => true,
            KeyAlgorithm::Ed25519 => self.version >= MspVersion::V3_0,
            KeyAlgorithm::Rsa | KeyAlgorithm::Unknown => false,
        };
        if !supported {
            let text = format!("could not validate identity's public key algorithm: {algorithm} is not supported");
            return Err(invalid(text));
        }
        let chain = self.certification_chain(certificate).map_err(context("could not obtain certification chain"))?;
        self.check_not_revoked(certificate, &chain)
            .map_err(context("could not validate identity against certification chain"))?;
        let ous = self.ous_under(certificate, &chain)?;
        let checked = self.ou_rules.check(&ous, self.version, &self.mspid);
        checked.map_err(context("could not validate identity's OUs"))
    }

    /// Returns the OUs of an identity; none if no chain certifies them.
    #[doc(hidden)]
    pub fn organizational_units(&self, identity: &Identity) -> Vec<OrganizationalUnit> {
        let certificate = identity.certificate();
        let chain = self.certification_chain(certificate);
        chain.and_then(|chain| self.ous_under(certificate, &chain)).unwrap_or_default()
    }

    /// Returns the identifier of an identity inside its MSP: the hash of its certificate.
    #[doc(hidden)]
    pub fn identity_identifier(&self, identity: &Identity) -> Result<Vec<u8>> {
        self.identifier_hash.hash(&identity.certificate().raw)
    }

    fn ous_under(&self, certificate: &Certificate, chain: &[Arc<Certificate>]) -> Result<Vec<OrganizationalUnit>> {
        let certifiers_identifier = self.chain_identifier(&chain[1..])?;
        let names = certificate.subject.values(attribute::ORGANIZATIONAL_UNIT);
        let ou = |name: &str| OrganizationalUnit {
            name: name.to_owned(),
            certifiers_identifier: certifiers_identifier.clone(),
        };
        Ok(names.into_iter().map(ou).collect())
    }

    pub(super) fn chain_identifier(&self, chain: &[Arc<Certificate>]) -> Result<Vec<u8>> {
        let all: Vec<u8> = chain.iter().flat_map(|c| c.raw.iter().copied()).collect();
        self.identifier_hash.hash(&all)
    }

    /// Returns the chain of a member, which must not be an authority itself and whose issuer must not have an authority
    /// below it.
    fn certification_chain(&self, certificate: &Arc<Certificate>) -> Result<Chain> {
        if certificate.is_ca() {
            return Err(invalid(
                "An X509 certificate with Basic Constraint: Certificate Authority equals true cannot be used as an \
                 identity",
            ));
        }
        self.validation_chain(certificate, 1)
    }

    /// Returns the only chain, in which the certificate at `position` must not have an authority below it.
    pub(super) fn validation_chain(&self, certificate: &Arc<Certificate>, position: usize) -> Result<Chain> {
        let chain = self.authorities.unique_chain(certificate).map_err(context("failed getting validation chain"));
        let chain = chain.map_err(|e| self.with_unread_authorities(e))?;
        if chain.len() < 2 {
            return Err(invalid(format!("expected a chain of length at least 2, got {}", chain.len())));
        }
        if self.inner_authorities.contains(&chain[position].raw) {
            return Err(invalid(
                "invalid validation chain. Parent certificate should be a leaf of the certification tree",
            ));
        }
        Ok(chain)
    }

    /// Adds the names of files with unread certificates to an error about a missing authority.
    fn with_unread_authorities(&self, e: Error) -> Error {
        match &self.unread_authorities {
            Some(unread) => Error::new(e.kind(), format!("{} ({unread})", e.message())).with_source(e),
            None => e,
        }
    }

    /// Checks that no list of the issuer contains the certificate. The date of the revocation and those of the list are
    /// ignored: every certificate on a list is revoked.
    pub(super) fn check_not_revoked(&self, certificate: &Certificate, chain: &[Arc<Certificate>]) -> Result<()> {
        let issuer = &chain[1];
        let Some(key_id) = &issuer.extensions.subject_key_id else {
            return Err(invalid(
                "could not obtain Subject Key Identifier for signer cert: subjectKeyIdentifier not found in certificate",
            ));
        };
        for list in &self.revocation_lists {
            let Some(authority) = &list.authority_key_id else {
                return Err(invalid(
                    "could not obtain Authority Key Identifier for crl: authorityKeyIdentifier not found in certificate",
                ));
            };
            if authority != key_id || !list.lists(certificate) {
                continue;
            }
            match list.check_signature_from(issuer) {
                Ok(()) => return Err(invalid("The certificate has been revoked")),
                Err(e) => log::warn!("ignoring a revocation list of {}: {e}", self.mspid),
            }
        }
        Ok(())
    }

    /// Returns the certificate with low S in its own signature, if that is ECDSA: the form used to compute hashes.
    pub(super) fn sanitize(&self, certificate: Arc<Certificate>) -> Result<Arc<Certificate>> {
        if !certificate.signature_algorithm.is_ecdsa() {
            return Ok(certificate);
        }
        let sanitized = |certificate: &Arc<Certificate>, parent: &Certificate| {
            let low = certificate.sanitized(parent).map_err(invalid)?;
            Ok(low.map_or_else(|| certificate.clone(), Arc::new))
        };
        if certificate.is_ca() && certificate.check_signature_from(&certificate).is_ok() {
            let root = sanitized(&certificate, &certificate)?;
            self.authorities.with_root(root.clone()).unique_chain(&root)?;
            return Ok(root);
        }
        let chain = self.authorities.unique_chain(&certificate).map_err(|e| self.with_unread_authorities(e))?;
        let Some(parent) = chain.get(1) else {
            return Err(invalid(format!(
                "failed to traverse certificate verification chain for leaf or intermediate certificate, with subject {}",
                certificate.subject
            )));
        };
        sanitized(&certificate, parent)
    }
}

/// Shows the id and the version.
impl fmt::Debug for Msp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Msp({}, {:?})", self.mspid, self.version)
    }
}

pub(super) fn check_well_formed(identity: &SerializedIdentity) -> Result<()> {
    let named = |what: &str| {
        let text = String::from_utf8_lossy(&identity.id_bytes);
        invalid(format!("identity {text} for MSP {} {what}", identity.mspid))
    };
    let block = pem::decode(&identity.id_bytes).ok_or_else(|| invalid("PEM decoding resulted in an empty block"))?;
    if !block.rest.is_empty() {
        return Err(named("has trailing bytes"));
    }
    if !matches!(block.label, b"" | b"CERTIFICATE") {
        let label = String::from_utf8_lossy(block.label);
        return Err(invalid(format!("pem type is {label}, should be 'CERTIFICATE' or missing")));
    }
    let certificate = Certificate::parse(&block.bytes).map_err(invalid)?;
    if certificate.signature_algorithm.is_ecdsa()
        && canonical_form(&certificate.signature).map_err(invalid)? != certificate.signature
    {
        return Err(named("has a non canonical signature"));
    }
    Ok(())
}
