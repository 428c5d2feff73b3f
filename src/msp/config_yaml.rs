//! Reads `config.yaml`, which distinguishes the roles of an MSP's members by their organisational units.

use super::config::{config_error, MspConfig, NodeOus, OuIdentifier, PemFile};
use super::context;
use super::folder::read_file;
use crate::error::Result;
use crate::yaml::{Document, Map, Node};
use std::fs;
use std::path::Path;

impl MspConfig {
    /// Reads `config.yaml` of a folder if there is one.
    ///
    /// A file that exists but cannot be read is an error, whatever its type: without the file, every holder of a
    /// certificate from the authorities would be a member.
    pub(super) fn read_yaml(&mut self, dir: &Path) -> Result<()> {
        let path = dir.join("config.yaml");
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            _ => {}
        }
        let bytes = read_file(&path)?;
        self.take_yaml(&bytes, dir).map_err(context(path.display()))
    }

    /// Applies the content of `config.yaml`; certificates in it are named relative to `dir`.
    fn take_yaml(&mut self, bytes: &[u8], dir: &Path) -> Result<()> {
        let document = Document::parse(bytes)?;
        let Some(root) = mapping("the file", document.root())? else { return Ok(()) };
        if let Some(node) = root.get("OrganizationalUnitIdentifiers") {
            let within = context("OrganizationalUnitIdentifiers");
            for entry in node.list().map_err(within)?.unwrap_or_default() {
                let ou = ou_identifier("OrganizationalUnitIdentifiers", entry)?;
                let ou =
                    ou.ok_or_else(|| entry.error("OrganizationalUnitIdentifiers has an empty entry; remove it"))?;
                let file = dir.join(ou.certificate);
                let pem = read_file(&file).map_err(context(
                    "OrganizationalUnitIdentifiers: every entry needs the file of an authority as its Certificate",
                ))?;
                self.ou_identifiers.push(OuIdentifier {
                    organizational_unit_identifier: ou.name.to_owned(),
                    certificate: Some(PemFile::new(file.display().to_string(), pem)),
                });
            }
        }
        let Some(node_ous) = mapping("NodeOUs", root.get("NodeOUs"))? else { return Ok(()) };
        let enable = node_ous.get("Enable").map(|node| node.boolean()).transpose();
        let enable = enable.map_err(context("NodeOUs.Enable"))?.flatten().unwrap_or(false);
        // The types of all roles are checked, but only the certificates of the roles in use are read.
        let role = |key: &str| -> Result<Option<OuIdentifier>> {
            let Some(ou) = node_ous.get(key).map(|node| ou_identifier(key, node)).transpose()?.flatten() else {
                return Ok(None);
            };
            Ok((enable && !ou.name.is_empty()).then(|| ou.tied(key, dir)))
        };
        let roles = NodeOus {
            enable,
            client: role("ClientOUIdentifier")?,
            peer: role("PeerOUIdentifier")?,
            admin: role("AdminOUIdentifier")?,
            orderer: role("OrdererOUIdentifier")?,
        };
        self.node_ous = enable.then_some(roles);
        Ok(())
    }
}

/// An OU and the file of an authority, as named in `config.yaml`; empty if absent.
struct NamedOu<'a> {
    name: &'a str,
    certificate: &'a str,
}

impl NamedOu<'_> {
    /// Returns the OU with the certificate of its authority. A certificate that cannot be read means no restriction, as
    /// in Fabric.
    fn tied(&self, role: &str, dir: &Path) -> OuIdentifier {
        let file = dir.join(self.certificate);
        let certificate = match read_file(&file) {
            _ if self.certificate.is_empty() => None,
            Ok(pem) => Some(PemFile::new(file.display().to_string(), pem)),
            Err(e) => {
                log::warn!("{role} is not tied to an authority: {}", e.message());
                None
            }
        };
        OuIdentifier { organizational_unit_identifier: self.name.to_owned(), certificate }
    }
}

fn ou_identifier<'a>(what: &str, node: Node<'a>) -> Result<Option<NamedOu<'a>>> {
    let Some(entries) = mapping(what, Some(node))? else { return Ok(None) };
    let text = |key: &str| {
        let text = entries.get(key).map(|node| node.text()).transpose();
        text.map(|text| text.flatten().unwrap_or_default()).map_err(context(format!("{what}.{key}")))
    };
    Ok(Some(NamedOu { name: text("OrganizationalUnitIdentifier")?, certificate: text("Certificate")? }))
}

fn mapping<'a>(what: &str, node: Option<Node<'a>>) -> Result<Option<Map<'a>>> {
    let map = node.map(|node| node.map()).transpose();
    map.map(Option::flatten).map_err(|e| config_error(format!("{what}: {}", e.message())).with_source(e))
}
