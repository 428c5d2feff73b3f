//! What an MSP is made from, and how it stands in a folder.

use super::folder::read_folder;
use super::key::HashFamily;
use super::pem;
use super::provider::IdentifierHash;
use crate::error::{Error, ErrorKind, Result};
use std::path::Path;

/// Which of Fabric's rules an MSP follows. Channels choose it by their capabilities; a local MSP has the latest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum MspVersion {
    /// No NodeOUs.
    V1_0,
    /// NodeOUs know clients and peers.
    V1_1,
    /// As 1.1 for X.509.
    V1_3,
    /// NodeOUs know clients, peers, admins and orderers.
    V1_4_3,
    /// Ed25519 keys too.
    #[default]
    V3_0,
}

/// A file with a PEM block; its name is for errors.
#[derive(Clone)]
pub struct PemFile {
    /// Where it is from, such as `cacerts/ca.pem`.
    pub name: String,
    /// The text. Its first block counts.
    pub pem: Vec<u8>,
}

/// An organisational unit, perhaps only where a certain authority vouches for it.
#[derive(Clone, Debug, Default)]
pub struct OuIdentifier {
    /// The OU as it stands in certificates.
    pub organizational_unit_identifier: String,
    /// The root or intermediate authority whose members count; any if there is none.
    pub certificate: Option<PemFile>,
}

/// Roles told apart by OUs: `NodeOUs` of `config.yaml`.
#[derive(Clone, Debug, Default)]
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

/// What an MSP is made from. `mspid` and `root_certs` are needed, everything else has a default.
#[derive(Clone, Debug, Default)]
pub struct MspConfig {
    /// The organisation's name in the network.
    pub mspid: String,
    /// The rules to follow.
    pub version: MspVersion,
    /// The hash that messages are signed over.
    pub hash_family: HashFamily,
    /// The hash that certificates and chains are named by.
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
    /// OUs of which members must have one, if there are any: `OrganizationalUnitIdentifiers` of `config.yaml`.
    pub ou_identifiers: Vec<OuIdentifier>,
    /// Roles by OU: `NodeOUs` of `config.yaml`.
    pub node_ous: Option<NodeOus>,
}

impl PemFile {
    /// From its name and text.
    pub fn new(name: impl Into<String>, pem: impl Into<Vec<u8>>) -> Self {
        PemFile { name: name.into(), pem: pem.into() }
    }

    /// Returns the certificate in `signcerts/` that Fabric takes for a local MSP's own: that of the first PEM file. None
    /// if there is no such file.
    pub fn signing_certificate(dir: impl AsRef<Path>) -> Result<Option<PemFile>> {
        Ok(read_folder(&dir.as_ref().join("signcerts"))?.into_iter().next())
    }

    /// Returns the content of the first block, whatever its label and headers.
    pub fn first_block(&self) -> Option<Vec<u8>> {
        pem::decode(&self.pem).map(|block| block.bytes)
    }

    /// Returns a remark for an error about what the file's authority did not issue: Fabric reads the first block only.
    pub(super) fn more_blocks(&self) -> Option<String> {
        let more = pem::blocks(&self.pem).count().saturating_sub(1);
        let text = || format!("{} holds {} certificates, of which Fabric reads the first only", self.name, more + 1);
        (more > 0).then(text)
    }
}

/// The name; the content may be a private key.
impl std::fmt::Debug for PemFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PemFile({})", self.name)
    }
}

impl MspConfig {
    /// Reads the folder of an MSP, as cryptogen and fabric-ca-client make it: `cacerts/`, and if they are there
    /// `intermediatecerts/`, `tlscacerts/`, `tlsintermediatecerts/`, `admincerts/`, `crls/` and `config.yaml`. What is
    /// no PEM file in them is skipped with a warning, as Fabric does.
    ///
    /// An error names the file or folder.
    pub fn load(dir: impl AsRef<Path>, mspid: impl Into<String>) -> Result<MspConfig> {
        let dir = dir.as_ref();
        let cacerts = dir.join("cacerts");
        if !cacerts.is_dir() {
            return Err(config_error(format!("no CA: there is no folder {}", cacerts.display())));
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
                    log::warn!("ignoring {dir}: its certificates count beside root ones in tlscacerts only");
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
    config_error(format!("cannot read {}: {e}", path.display())).source(e)
}
