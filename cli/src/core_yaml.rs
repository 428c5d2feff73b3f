//! `core.yaml`: its location, and key lookup like viper's.

use crate::failure::{Failure, Result};
use crate::output::shown;
use fabric_gossip::internals::yaml::{Document, Node};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names that the file can have in a folder.
const NAMES: [&str; 2] = ["core.yaml", "core.yml"];

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 20;

/// Maximum number of nodes visited to list the keys of a section. With aliases, a small file can have a great many.
const MOST_NODES: usize = 10_000;

/// A file with settings.
#[derive(Clone, Debug)]
pub struct CoreYaml {
    path: PathBuf,
    document: Arc<Document>,
}

impl CoreYaml {
    /// Reads the given file, or the one in the folder `FABRIC_CFG_PATH`; `None` if neither is given.
    pub fn load(named: Option<&Path>) -> Result<Option<CoreYaml>> {
        match named {
            Some(path) => Self::read(path).map(Some),
            None => match std::env::var_os("FABRIC_CFG_PATH").filter(|dir| !dir.is_empty()) {
                Some(dir) => Self::read(&in_folder(Path::new(&dir))?).map(Some),
                None => Ok(None),
            },
        }
    }

    fn read(path: &Path) -> Result<CoreYaml> {
        let unreadable = |e: std::io::Error| Failure::file(path, format!("cannot be read: {e}"));
        let metadata = std::fs::metadata(path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Failure::file(path, "is not a file (a container mount of a missing file makes a folder)"));
        }
        if metadata.len() > LARGEST {
            return Err(Failure::file(path, "is larger than 1 MiB: this is not core.yaml"));
        }
        Self::parse(path, &std::fs::read(path).map_err(unreadable)?).map_err(|why| Failure::file(path, why))
    }

    fn parse(path: &Path, text: &[u8]) -> Result<CoreYaml, String> {
        let checked = Document::parse(text).and_then(|document| document.check().map(|()| document));
        let document = checked.map_err(|e| format!("is not valid YAML: {}", e.message()))?;
        match document.root().map(|root| root.map()) {
            Some(Ok(Some(_))) => Ok(CoreYaml { path: path.to_owned(), document: Arc::new(document) }),
            _ => Err("is not core.yaml: it has no keys".into()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Returns the value of a key, unless it is null. As in viper, case does not matter, and one name may span several
    /// dotted parts of the key.
    pub fn find(&self, key: &str) -> Result<Option<Node<'_>>> {
        let Some(root) = self.document.root() else { return Ok(None) };
        find(root, &key.split('.').collect::<Vec<_>>()).map_err(|e| Failure::file(&self.path, e.message()))
    }

    /// Lists the keys below a section that have a value, prefixed with the section's name as given.
    pub fn keys_below(&self, section: &str) -> Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut pending: Vec<(String, Node<'_>)> = Vec::new();
        pending.extend(self.find(section)?.map(|node| (section.to_owned(), node)));
        let mut looked_at = 0;
        while let Some((name, node)) = pending.pop() {
            looked_at += 1;
            if looked_at > MOST_NODES {
                return Err(Failure::file(&self.path, format!("has too many keys below {section}")));
            }
            match node.map() {
                Ok(Some(map)) => pending.extend(map.iter().map(|(key, value)| (format!("{name}.{key}"), value))),
                Ok(None) => {}
                // A scalar or a list.
                Err(_) if matches!(node.text(), Ok(Some(""))) => {}
                Err(_) => keys.push(name),
            }
        }
        keys.sort();
        Ok(keys)
    }
}

fn in_folder(dir: &Path) -> Result<PathBuf> {
    let error = |why: &str| Failure::usage(format!("FABRIC_CFG_PATH: {}: {why}", shown(dir)));
    if !dir.is_dir() {
        return Err(error("folder not found"));
    }
    let found = NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists());
    found.ok_or_else(|| error("core.yaml not found; put it there, or unset the variable"))
}

fn find<'a>(node: Node<'a>, path: &[&str]) -> fabric_gossip::Result<Option<Node<'a>>> {
    let Ok(Some(map)) = node.map() else { return Ok(None) };
    for parts in (1..=path.len()).rev() {
        let Some(value) = map.get_any_case(&path[..parts].join("."))? else { continue };
        let found = match parts == path.len() {
            true => Some(value).filter(|value| !matches!(value.is_null(), Ok(true))),
            false => find(value, &path[parts..])?,
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> CoreYaml {
        CoreYaml::parse(Path::new("/etc/x/core.yaml"), text.as_bytes()).unwrap()
    }

    fn text(file: &CoreYaml, key: &str) -> Option<String> {
        file.find(key).unwrap().map(|node| node.text().unwrap().unwrap().to_owned())
    }

    #[test]
    fn keys_are_found_whatever_their_case_and_with_dots_in_them() {
        let file = yaml("peer:\n  localMSPID: Org1MSP\n  TLS.enabled: true\n  tls:\n    cert.file: a\n  address:\n");
        assert_eq!(text(&file, "peer.localMspId").as_deref(), Some("Org1MSP"));
        assert_eq!(text(&file, "peer.tls.enabled").as_deref(), Some("true"));
        assert_eq!(text(&file, "peer.tls.cert.file").as_deref(), Some("a"));
        assert_eq!((text(&file, "peer.address"), text(&file, "peer.nothing.here")), (None, None));
        assert_eq!(file.folder(), Path::new("/etc/x"));
    }

    #[test]
    fn a_name_that_is_there_twice_in_different_case_is_an_error() {
        assert!(yaml("peer:\n  tls: {}\n  TLS: {}\n").find("peer.tls.enabled").is_err());
    }

    #[test]
    fn only_what_has_a_value_counts_as_set() {
        let file = yaml("peer:\n  BCCSP:\n    Default: SW\n    PKCS11: {Library:, Pin: '', Label: x}\n");
        assert_eq!(file.keys_below("peer.BCCSP").unwrap(), ["peer.BCCSP.Default", "peer.BCCSP.PKCS11.Label"]);
    }

    #[test]
    fn listing_keys_is_bounded_whatever_the_aliases() {
        let mut bomb = String::from("a0: &a0 {x: }\n");
        for n in 1..12 {
            let entries: Vec<_> = (0..10).map(|key| format!("k{key}: *a{}", n - 1)).collect();
            bomb += &format!("a{n}: &a{n} {{{}}}\n", entries.join(", "));
        }
        bomb += "peer: {tls: *a11}\n";
        match CoreYaml::parse(Path::new("core.yaml"), bomb.as_bytes()) {
            Ok(file) => assert!(file.keys_below("peer.tls").is_err()),
            Err(why) => assert!(why.contains("alias"), "{why}"),
        }
    }
}
