//! `core.yaml`: where it is found, and its keys as viper finds them.

use crate::failure::{Failure, Result};
use std::path::{Path, PathBuf};
use yaml_rust2::{Yaml, YamlLoader};

/// The names that the file can have in a folder.
const NAMES: [&str; 2] = ["core.yaml", "core.yml"];

/// The largest file that is read.
const LARGEST: u64 = 1 << 20;

/// A file with settings.
#[derive(Clone, Debug)]
pub struct CoreYaml {
    path: PathBuf,
    root: Node,
}

/// A value in the file.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Null,
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Names in lower case.
    Map(Vec<(String, Node)>),
}

impl CoreYaml {
    /// Reads the file that is named, or that is in the folder `FABRIC_CFG_PATH`; `None` if neither is given.
    pub fn load(named: Option<&Path>) -> Result<Option<CoreYaml>> {
        match named {
            Some(path) => Self::read(path.to_owned()).map(Some),
            None => match std::env::var_os("FABRIC_CFG_PATH").filter(|dir| !dir.is_empty()) {
                Some(dir) => Self::read(in_folder(Path::new(&dir))?).map(Some),
                None => Ok(None),
            },
        }
    }

    fn read(path: PathBuf) -> Result<CoreYaml> {
        let unreadable = |e: std::io::Error| Failure::file(&path, format!("cannot be read: {e}"));
        let metadata = std::fs::metadata(&path).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(Failure::file(&path, "is not a file (a container mount of a missing file makes a folder)"));
        }
        if metadata.len() > LARGEST {
            return Err(Failure::file(&path, "is larger than 1 MiB: this is not core.yaml"));
        }
        let text = std::fs::read(&path).map_err(unreadable)?;
        let root = parse(&text).map_err(|why| Failure::file(&path, why))?;
        match root {
            Node::Map(_) => Ok(CoreYaml { path, root }),
            _ => Err(Failure::file(&path, "is not core.yaml: it has no keys")),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder that relative paths are relative to.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// What stands under a key. As for viper, case does not matter, and a name may be several parts of the key with dots.
    pub fn find(&self, key: &str) -> Option<&Node> {
        let key = key.to_lowercase();
        find(&self.root, &key.split('.').collect::<Vec<_>>())
    }

    /// The keys below a section that have a value, with the section's name in front as it is given.
    pub fn keys_below(&self, section: &str) -> Vec<String> {
        let mut keys = Vec::new();
        if let Some(node) = self.find(section) {
            leaves(node, section, &mut keys);
        }
        keys
    }
}

fn in_folder(dir: &Path) -> Result<PathBuf> {
    if !dir.is_dir() {
        return Err(Failure::usage(format!("FABRIC_CFG_PATH: {}: there is no such folder", crate::output::shown(dir))));
    }
    NAMES.iter().map(|name| dir.join(name)).find(|path| path.exists()).ok_or_else(|| {
        let dir = crate::output::shown(dir);
        Failure::usage(format!(
            "FABRIC_CFG_PATH: {dir}: there is no core.yaml in it; put it there, or unset the variable"
        ))
    })
}

fn find<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    let Node::Map(entries) = node else { return None };
    (1..=path.len()).rev().find_map(|parts| {
        let name = path[..parts].join(".");
        let (_, value) = entries.iter().find(|(key, _)| *key == name)?;
        match parts == path.len() {
            true => Some(value).filter(|value| **value != Node::Null),
            false => find(value, &path[parts..]),
        }
    })
}

fn leaves(node: &Node, name: &str, keys: &mut Vec<String>) {
    match node {
        Node::Map(entries) => entries.iter().for_each(|(key, value)| leaves(value, &format!("{name}.{key}"), keys)),
        Node::Null => {}
        Node::Scalar { text, .. } if text.is_empty() => {}
        Node::List(entries) if entries.is_empty() => {}
        _ => keys.push(name.to_owned()),
    }
}

fn parse(text: &[u8]) -> Result<Node, String> {
    let text = std::str::from_utf8(text).map_err(|e| format!("is not text: {e}"))?;
    let documents = YamlLoader::load_from_str(text).map_err(|e| format!("is not YAML: {e}"))?;
    documents.into_iter().next().map_or(Ok(Node::Null), node)
}

fn node(yaml: Yaml) -> Result<Node, String> {
    let scalar = |text: String, plain| Ok(Node::Scalar { text, plain });
    match yaml {
        Yaml::String(text) => scalar(text, false),
        Yaml::Real(text) => scalar(text, true),
        Yaml::Integer(n) => scalar(n.to_string(), true),
        Yaml::Boolean(b) => scalar(b.to_string(), true),
        Yaml::Array(entries) => entries.into_iter().map(node).collect::<Result<_, _>>().map(Node::List),
        Yaml::Hash(entries) => {
            let mut map: Vec<(String, Node)> = Vec::new();
            for (key, value) in entries {
                let key = match node(key)? {
                    Node::Scalar { text, .. } => text.to_lowercase(),
                    _ => return Err("has a key that is not text".into()),
                };
                if map.iter().any(|(other, _)| *other == key) {
                    return Err(format!("has the key {key:?} twice in one place"));
                }
                map.push((key, node(value)?));
            }
            Ok(Node::Map(map))
        }
        _ => Ok(Node::Null),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yaml(text: &str) -> CoreYaml {
        CoreYaml { path: PathBuf::from("/etc/x/core.yaml"), root: parse(text.as_bytes()).unwrap() }
    }

    fn text(file: &CoreYaml, key: &str) -> Option<String> {
        match file.find(key)? {
            Node::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        }
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
        assert!(parse(b"peer:\n  tls: {}\n  TLS: {}\n").unwrap_err().contains("twice"));
    }

    #[test]
    fn only_what_has_a_value_counts_as_set() {
        let file = yaml("peer:\n  BCCSP:\n    Default: SW\n    PKCS11: {Library:, Pin: '', Label: x}\n");
        assert_eq!(file.keys_below("peer.BCCSP"), ["peer.BCCSP.default", "peer.BCCSP.pkcs11.label"]);
    }
}
