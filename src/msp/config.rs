//! The configuration of an MSP, and its form in a folder.

use super::algorithm::HashFamily;
use super::folder::read_folder;
use super::pem;
use super::provider::IdentifierHash;
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;

/// The version of Fabric's MSP rules. Channels choose it by their capabilities; a local MSP uses the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MspVersion {
    /// No NodeOUs.
    V1_0,
    /// NodeOUs distinguish clients and peers.
    V1_1,
    /// Same as 1.1 for X.509.
    V1_3,
    /// NodeOUs distinguish clients, peers, admins and orderers.
    V1_4_3,
    /// Ed25519 keys are supported too.
    #[default]
    V3_0,
}

/// A file with a PEM block; its name is used in errors.
#[derive(Clone, PartialEq, Eq)]
pub struct PemFile {
    /// Its origin, such as `cacerts/ca.pem`.
    pub name: String,
    /// The text, of which the first block is used.
    pub pem: Vec<u8>,
}

/// An organisational unit, optionally restricted to members of one authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OuIdentifier {
    /// The OU as written in certificates.
    pub organizational_unit_identifier: String,
    /// The root or intermediate authority that must have issued the member's certificate; any if `None`.
    pub certificate: Option<PemFile>,
}

/// Roles by OU: `NodeOUs` of `config.yaml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOus {
    /// Whether members must have exactly one of these OUs.
    pub enable: bool,
    /// The OU of clients.
    pub client: Option<OuIdentifier>,
    /// The OU of peers.
    pub peer: Option<OuIdentifier>,
    /// The OU of administrators.
    pub admin: Option<OuIdentifier>,
    /// The OU of orderers.
    pub orderer: Option<OuIdentifier>,
}

/// The configuration of an MSP. `mspid` and `root_certs` are required, everything else has a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MspConfig {
    /// The organisation's name in the network.
    pub mspid: String,
    /// The rules to follow.
    pub version: MspVersion,
    /// The hash of signed messages.
    pub hash_family: HashFamily,
    /// The hash that identifies certificates and chains.
    pub identifier_hash: IdentifierHash,
    /// Root authorities: `cacerts/`.
    pub root_certs: Vec<PemFile>,
    /// Intermediate authorities: `intermediatecerts/`.
    pub intermediate_certs: Vec<PemFile>,
    /// Root authorities for TLS: `tlscacerts/`.
    pub tls_root_certs: Vec<PemFile>,
    /// Intermediate authorities for TLS: `tlsintermediatecerts/`.
    pub tls_intermediate_certs: Vec<PemFile>,
    /// Certificates of administrators: `admincerts/`.
    pub admins: Vec<PemFile>,
    /// Certificate revocation lists: `crls/`.
    pub revocation_lists: Vec<PemFile>,
    /// If not empty, members must have one of these OUs: `OrganizationalUnitIdentifiers` of `config.yaml`.
    pub ou_identifiers: Vec<OuIdentifier>,
    /// Roles by OU: `NodeOUs` of `config.yaml`.
    pub node_ous: Option<NodeOus>,
}

impl PemFile {
    /// Creates it from its name and text.
    pub fn new(name: impl Into<String>, pem: impl Into<Vec<u8>>) -> Self {
        PemFile { name: name.into(), pem: pem.into() }
    }

    /// Returns the certificate in `signcerts/` that Fabric uses as a local MSP's own: that of the first PEM file.
    /// `None` if there is no such file.
    #[doc(hidden)]
    pub fn signing_certificate(dir: impl AsRef<Path>) -> Result<Option<PemFile>> {
        Ok(read_folder(&dir.as_ref().join("signcerts"))?.into_iter().next())
    }

    /// Returns the content of the first block, whatever its label and headers.
    #[doc(hidden)]
    pub fn first_block(&self) -> Option<Vec<u8>> {
        pem::decode(&self.pem).map(|block| block.bytes)
    }

    /// Returns a hint for an error about a certificate that the file's authority did not issue: Fabric reads only the
    /// first block.
    pub(super) fn more_blocks(&self) -> Option<String> {
        let more = pem::blocks(&self.pem).count().saturating_sub(1);
        let text = || format!("{} holds {} certificates, of which Fabric reads the first only", self.name, more + 1);
        (more > 0).then(text)
    }
}

/// Shows the name only; the content may be a private key.
impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PemFile({})", self.name)
    }
}

impl MspConfig {
    /// Reads an MSP folder as created by cryptogen and fabric-ca-client: `cacerts/`, and if present
    /// `intermediatecerts/`, `tlscacerts/`, `tlsintermediatecerts/`, `admincerts/`, `crls/` and `config.yaml`. Files in
    /// them that are not PEM are skipped with a warning, as in Fabric.
    ///
    /// An error names the file or folder.
    pub fn load(dir: impl AsRef<Path>, mspid: impl Into<String>) -> Result<MspConfig> {
        let dir = dir.as_ref();
        let cacerts = dir.join("cacerts");
        if !cacerts.is_dir() {
            return Err(config_error(format!("no CA: folder {} not found", cacerts.display())));
        }
        let root_certs = read_folder(&cacerts)?;
        if root_certs.is_empty() {
            return Err(config_error(format!("no CA in {}", cacerts.display())));
        }
        let tls_root_certs = read_folder(&dir.join("tlscacerts"))?;
        let tls_intermediates = dir.join("tlsintermediatecerts");
        let tls_intermediate_certs = match tls_root_certs.is_empty() {
            false => read_folder(&tls_intermediates)?,
            true => {
                if tls_intermediates.exists() {
                    let dir = tls_intermediates.display();
                    log::warn!("ignoring {dir}: its certificates are used only together with roots in tlscacerts");
                }
                Vec::new()
            }
        };
        let mut config = MspConfig {
            mspid: mspid.into(),
            root_certs,
            intermediate_certs: read_folder(&dir.join("intermediatecerts"))?,
            tls_root_certs,
            tls_intermediate_certs,
            admins: read_folder(&dir.join("admincerts"))?,
            revocation_lists: read_folder(&dir.join("crls"))?,
            ..MspConfig::default()
        };
        config.read_yaml(dir)?;
        Ok(config)
    }
}

pub(super) fn config_error(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

pub(super) fn unreadable(path: &Path, e: std::io::Error) -> Error {
    config_error(format!("cannot read {}: {e}", path.display())).with_source(e)
}
