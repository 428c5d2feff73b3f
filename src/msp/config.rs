//! What an MSP is made from, and how it stands in a folder.

use super::context;
use super::key::HashFamily;
use super::pem;
use super::provider::IdentifierHash;
use crate::error::{Error, ErrorKind, Result};
use std::fs;
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

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
        let mut config = MspConfig {
            mspid: mspid.into(),
            root_certs,
            intermediate_certs: read_folder(&dir.join("intermediatecerts"))?,
            tls_root_certs: read_folder(&dir.join("tlscacerts"))?,
            tls_intermediate_certs: read_folder(&dir.join("tlsintermediatecerts"))?,
            admins: read_folder(&dir.join("admincerts"))?,
            revocation_lists: read_folder(&dir.join("crls"))?,
            ..MspConfig::default()
        };
        let yaml = dir.join("config.yaml");
        if yaml.is_file() {
            let text = fs::read_to_string(&yaml).map_err(|e| unreadable(&yaml, e))?;
            config.read_yaml(&text, dir).map_err(context(yaml.display()))?;
        }
        Ok(config)
    }

    /// `config.yaml`; certificates in it are named relative to `dir`.
    fn read_yaml(&mut self, text: &str, dir: &Path) -> Result<()> {
        let documents = YamlLoader::load_from_str(text).map_err(|e| config_error(e.to_string()))?;
        let Some(root) = documents.first() else { return Ok(()) };
        mapping("the file", root)?;
        let list = &root["OrganizationalUnitIdentifiers"];
        if !absent(list) {
            let list = list.as_vec().ok_or_else(|| config_error("OrganizationalUnitIdentifiers is no list"))?;
            for entry in list {
                self.ou_identifiers.push(ou_identifier("OrganizationalUnitIdentifiers", entry, dir, true)?);
            }
        }
        let node_ous = &root["NodeOUs"];
        if absent(node_ous) {
            return Ok(());
        }
        mapping("NodeOUs", node_ous)?;
        // As in Fabric, what is not enabled is not even looked at.
        if !boolean("NodeOUs.Enable", &node_ous["Enable"])? {
            return Ok(());
        }
        let role = |key: &str| match &node_ous[key] {
            entry if absent(entry) => Ok(None),
            entry => ou_identifier(key, entry, dir, false).map(Some),
        };
        self.node_ous = Some(NodeOus {
            enable: true,
            client: role("ClientOUIdentifier")?,
            peer: role("PeerOUIdentifier")?,
            admin: role("AdminOUIdentifier")?,
            orderer: role("OrdererOUIdentifier")?,
        });
        Ok(())
    }
}

/// The PEM files of a folder in the order of their names; none if there is no such folder.
pub(super) fn read_folder(dir: &Path) -> Result<Vec<PemFile>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir).map_err(|e| unreadable(dir, e))?;
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| unreadable(dir, e))?.path());
    }
    paths.sort();
    let mut files = Vec::new();
    for path in paths.into_iter().filter(|p| p.is_file()) {
        let text = fs::read(&path).map_err(|e| unreadable(&path, e))?;
        match pem::decode(&text) {
            Some(_) => files.push(PemFile::new(path.display().to_string(), text)),
            None => log::warn!("skipping {}: no PEM in it", path.display()),
        }
    }
    Ok(files)
}

/// Fabric insists on the certificate of a listed OU; that of a role may be missing, which means no restriction.
fn ou_identifier(what: &str, entry: &Yaml, dir: &Path, insist: bool) -> Result<OuIdentifier> {
    mapping(what, entry)?;
    let organizational_unit_identifier = text(what, &entry["OrganizationalUnitIdentifier"])?.unwrap_or_default();
    let named = text(what, &entry["Certificate"])?.filter(|name| insist || !name.is_empty());
    let path = dir.join(named.unwrap_or_default());
    let certificate = match fs::read(&path) {
        Ok(pem) => Some(PemFile::new(path.display().to_string(), pem)),
        Err(e) if insist => return Err(unreadable(&path, e)),
        Err(_) if path == dir => None,
        Err(e) => {
            log::warn!("{what} is not tied to an authority: cannot read {}: {e}", path.display());
            None
        }
    };
    Ok(OuIdentifier { organizational_unit_identifier, certificate })
}

fn absent(yaml: &Yaml) -> bool {
    matches!(yaml, Yaml::BadValue | Yaml::Null)
}

fn mapping(what: &str, yaml: &Yaml) -> Result<()> {
    match yaml {
        Yaml::Hash(_) | Yaml::Null => Ok(()),
        _ => Err(config_error(format!("{what} is no mapping"))),
    }
}

fn text(what: &str, yaml: &Yaml) -> Result<Option<String>> {
    Ok(Some(match yaml {
        Yaml::String(text) | Yaml::Real(text) => text.clone(),
        Yaml::Integer(number) => number.to_string(),
        Yaml::Boolean(value) => value.to_string(),
        yaml if absent(yaml) => return Ok(None),
        _ => return Err(config_error(format!("{what}: text expected"))),
    }))
}

/// In all the spellings that Fabric's parser knows.
fn boolean(what: &str, yaml: &Yaml) -> Result<bool> {
    match yaml {
        Yaml::Boolean(value) => Ok(*value),
        yaml if absent(yaml) => Ok(false),
        Yaml::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => Ok(true),
            "false" | "no" | "off" | "n" => Ok(false),
            _ => Err(config_error(format!("{what} is neither true nor false"))),
        },
        _ => Err(config_error(format!("{what} is neither true nor false"))),
    }
}

pub(super) fn config_error(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, text)
}

pub(super) fn unreadable(path: &Path, e: std::io::Error) -> Error {
    config_error(format!("cannot read {}: {e}", path.display())).source(e)
}
