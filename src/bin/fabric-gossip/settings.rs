//! Settings of Fabric's own `peer` that serve as defaults for flags: from the environment, then from `core.yaml`.

use crate::failure::{Failure, Result};
use fabric_gossip::yaml::{Document, Node};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Looks settings up by the key that they have in `core.yaml`, such as `peer.tls.cert.file`. As for the `peer` command,
/// the environment goes first, case does not matter in keys, and an empty value is none.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    file: Option<(PathBuf, Arc<Document>)>,
}

impl Settings {
    /// From the environment, and from a file if there is one.
    pub fn load(config: Option<&Path>) -> Result<Settings> {
        let Some(path) = config else { return Ok(Settings::default()) };
        let bytes = std::fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
        let document = Document::parse(&bytes).and_then(|document| document.check().map(|()| document));
        let document = document.map_err(|e| Failure::file(path, format!("is not YAML: {}", e.message())))?;
        match document.root().map(|root| root.map()) {
            Some(Ok(Some(_))) => Ok(Settings { file: Some((path.to_owned(), Arc::new(document))) }),
            _ => Err(Failure::file(path, "is not core.yaml: it has no keys")),
        }
    }

    pub fn text(&self, key: &str) -> Option<String> {
        let from_file = || self.in_file(key)?.text().ok()?.map(str::to_owned);
        std::env::var(variable(key)).ok().filter(|v| !v.is_empty()).or_else(|| from_file().filter(|v| !v.is_empty()))
    }

    /// A list: in the file also as one text, and in the environment always, with spaces or commas between.
    pub fn list(&self, key: &str) -> Vec<String> {
        let split = |text: String| text.split([' ', ',']).filter(|e| !e.is_empty()).map(str::to_owned).collect();
        if let Some(text) = self.text(key) {
            return split(text);
        }
        let entries = self.in_file(key).and_then(|node| node.list().ok().flatten()).unwrap_or_default();
        let texts = entries.iter().filter_map(|entry| entry.text().ok().flatten());
        texts.filter(|entry| !entry.is_empty()).map(str::to_owned).collect()
    }

    /// What stands under a key, read with `parse`. An error names the key.
    pub fn parsed<T>(&self, key: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        let Some(text) = self.text(key) else { return Ok(None) };
        let wrong = |why| Failure::usage(format!("{} is {text:?}: {why}", self.source(key)));
        parse(&text).map(Some).map_err(wrong)
    }

    /// The path under a key; one in the file is relative to the file.
    pub fn path(&self, key: &str) -> Option<PathBuf> {
        let from_environment = std::env::var_os(variable(key)).filter(|value| !value.is_empty());
        from_environment.map(PathBuf::from).or_else(|| {
            let (file, _) = self.file.as_ref()?;
            Some(file.parent().unwrap_or(Path::new("")).join(self.text(key)?))
        })
    }

    /// Where a value comes from, for error messages.
    pub fn source(&self, key: &str) -> String {
        match (&self.file, std::env::var_os(variable(key)).filter(|v| !v.is_empty())) {
            (Some((file, _)), None) => format!("{key} in {}", file.display()),
            _ => variable(key),
        }
    }

    fn in_file(&self, key: &str) -> Option<Node<'_>> {
        let (_, document) = self.file.as_ref()?;
        key.split('.').try_fold(document.root()?, |node, part| node.map().ok()??.get_any_case(part).ok()?)
    }
}

/// `peer.tls.cert.file` is `CORE_PEER_TLS_CERT_FILE` in the environment.
fn variable(key: &str) -> String {
    format!("CORE_{}", key.replace('.', "_").to_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_the_file_are_found_whatever_their_case_and_paths_are_relative_to_it() {
        let yaml = "peer:\n  localMSPID: Org1MSP\n  mspConfigPath: msp\n  address: ''\n  tls: {enabled: true}\n";
        let document = Arc::new(Document::parse(yaml.as_bytes()).unwrap());
        let settings = Settings { file: Some((PathBuf::from("/etc/x/core.yaml"), document)) };
        assert_eq!(settings.text("peer.localMspId").as_deref(), Some("Org1MSP"));
        assert_eq!(settings.path("peer.mspConfigPath"), Some(PathBuf::from("/etc/x/msp")));
        assert_eq!(settings.text("peer.tls.enabled").as_deref(), Some("true"));
        assert_eq!(settings.text("peer.address"), None);
        assert_eq!(settings.text("peer.nothing.here"), None);
    }
}
