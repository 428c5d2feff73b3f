//! Settings of Fabric's own `peer` as defaults for flags: from the environment, then from `core.yaml`.

use crate::core_yaml::CoreYaml;
use crate::failure::{Failure, Result};
use crate::go_values::Scalar;
use crate::keys::{self, Key};
use crate::output::shown;
use fabric_gossip::internals::yaml::{Node, ScalarKind};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Looks up settings by their key. As in the `peer` command, the environment takes precedence, and an empty variable
/// removes the value in the file.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    file: Option<CoreYaml>,
}

/// The origin of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    Environment,
    File,
}

/// A path, and the flag, variable or key that it came from.
#[derive(Clone, Debug)]
pub struct NamedPath {
    pub path: PathBuf,
    pub origin: Origin,
    /// The flag, the variable, or the key and its file.
    source: String,
}

impl NamedPath {
    pub fn flag(flag: &str, path: &Path) -> NamedPath {
        NamedPath { path: path.to_owned(), origin: Origin::Flag, source: flag.to_owned() }
    }

    /// Adds the source to another failure.
    pub fn relay(&self, failure: Failure) -> Failure {
        match (self.origin, failure) {
            (Origin::Flag, failure) => failure,
            (_, Failure::Usage(text)) => Failure::usage(format!("{}: {text}", self.source)),
            (_, failure) => failure,
        }
    }

    /// Creates an error about the file or folder.
    pub fn error(&self, why: impl std::fmt::Display) -> Failure {
        let path = shown(&self.path);
        let text = self.path.to_string_lossy();
        let hint = match text.chars().next().zip(text.chars().last()) {
            Some((first, last)) if "\"'".contains(first) || "\"'".contains(last) => "; the quotes are part of the name",
            Some((first, last)) if first.is_whitespace() || last.is_whitespace() => {
                "; the white space is part of the name"
            }
            _ => "",
        };
        match self.origin {
            Origin::Flag => Failure::usage(format!("{path}: {why}{hint}")),
            _ => Failure::usage(format!("{}: {path}: {why}{hint}", self.source)),
        }
    }
}

/// Formats the path, and its source unless that is a flag.
impl std::fmt::Display for NamedPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.origin {
            Origin::Flag => write!(f, "{}", shown(&self.path)),
            _ => write!(f, "{} ({})", shown(&self.path), self.source),
        }
    }
}

enum Found<'a> {
    Variable(OsString),
    File(Node<'a>),
}

impl Settings {
    /// Loads the settings from the environment, and from `core.yaml` if there is one.
    pub fn load(config: Option<&Path>) -> Result<Settings> {
        let settings = Settings { file: CoreYaml::load(config)? };
        settings.warn_of_unread_security_settings()?;
        Ok(settings)
    }

    /// Reads text; `None` if it is empty.
    pub fn text(&self, key: Key) -> Result<Option<String>> {
        let Some(value) = self.scalar(key)? else { return Ok(None) };
        Ok(Some(value.0).filter(|text| !text.is_empty()))
    }

    /// Reads text and parses it with `parse`. An error names the key.
    pub fn parsed<T>(&self, key: Key, parse: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>> {
        self.text(key)?.map(|text| parse(&text).map_err(|why| self.wrong(key, &text, &why))).transpose()
    }

    pub fn boolean(&self, key: Key) -> Result<Option<bool>> {
        self.value(key, |value| value.boolean())
    }

    /// Reads a duration; zero and an empty text mean the default.
    pub fn duration(&self, key: Key) -> Result<Option<Duration>> {
        match self.text(key)? {
            None => Ok(None),
            Some(_) => Ok(self.value(key, |value| value.duration())?.filter(|duration| !duration.is_zero())),
        }
    }

    /// Reads a number; zero and an empty text mean the default.
    pub fn number(&self, key: Key) -> Result<Option<u64>> {
        match self.text(key)? {
            None => Ok(None),
            Some(_) => Ok(self.value(key, |value| value.number())?.filter(|number| *number > 0)),
        }
    }

    /// Reads a list: a YAML list or a text separated by white space; in the environment always the latter.
    pub fn list(&self, key: Key) -> Result<Vec<String>> {
        let entry = |node: &Node| match node.text() {
            Ok(text) => Ok(text.unwrap_or_default().to_owned()),
            Err(e) => Err(Failure::usage(format!("{}: {}", self.source(key), e.message()))),
        };
        let list = match self.find(key)? {
            Some(Found::File(node)) => node.list().ok().flatten(),
            _ => None,
        };
        let entries = match list {
            Some(entries) => entries.iter().map(entry).collect::<Result<Vec<_>>>()?,
            None => {
                self.text(key)?.map(|text| text.split_whitespace().map(str::to_owned).collect()).unwrap_or_default()
            }
        };
        Ok(entries.into_iter().filter(|entry| !entry.is_empty()).collect())
    }

    /// Reads a path. A relative path is relative to `core.yaml`, also if it comes from the environment; without that
    /// file, to the working folder.
    pub fn path(&self, key: Key) -> Result<Option<NamedPath>> {
        let path = match self.find(key)? {
            Some(Found::Variable(value)) => match value.to_str() {
                Some(text) => {
                    self.check_controls(key, text)?;
                    PathBuf::from(text)
                }
                None => PathBuf::from(value),
            },
            _ => self.text(key)?.map(PathBuf::from).unwrap_or_default(),
        };
        Ok((!path.as_os_str().is_empty()).then(|| self.relative(key, &path)))
    }

    /// Reads a list of paths, each like [`path`](Self::path).
    pub fn paths(&self, key: Key) -> Result<Vec<NamedPath>> {
        Ok(self.list(key)?.iter().map(|path| self.relative(key, Path::new(path))).collect())
    }

    fn relative(&self, key: Key, path: &Path) -> NamedPath {
        let folder = self.file.as_ref().map_or(Path::new(""), CoreYaml::folder);
        let origin = match std::env::var_os(key.variable()) {
            Some(_) => Origin::Environment,
            None => Origin::File,
        };
        NamedPath { path: folder.join(path), origin, source: self.source(key) }
    }

    /// Returns the source of a value, for error messages.
    pub fn source(&self, key: Key) -> String {
        match (std::env::var_os(key.variable()), &self.file) {
            (None, Some(file)) => format!("{} in {}", key.name(), shown(file.path())),
            _ => key.variable(),
        }
    }

    /// Creates an error about a value.
    pub fn wrong(&self, key: Key, value: &str, why: &str) -> Failure {
        Failure::usage(format!("{} is {value:?}: {why}", self.source(key)))
    }

    fn find(&self, key: Key) -> Result<Option<Found<'_>>> {
        match (std::env::var_os(key.variable()), &self.file) {
            (Some(value), _) => Ok(Some(Found::Variable(value))),
            (None, Some(file)) => Ok(file.find(key.name())?.map(Found::File)),
            (None, None) => Ok(None),
        }
    }

    /// Reads the text of a value, and whether it is a plain scalar of YAML.
    fn scalar(&self, key: Key) -> Result<Option<(String, bool)>> {
        let (text, plain) = match self.find(key)? {
            None => return Ok(None),
            Some(Found::Variable(value)) => match value.into_string() {
                Ok(text) => (text, false),
                Err(value) => return Err(Failure::usage(format!("{} is {value:?}: not UTF-8", key.variable()))),
            },
            Some(Found::File(node)) => match node.scalar() {
                Ok(Some(scalar)) => (scalar.text.to_owned(), scalar.kind != ScalarKind::Text),
                _ => return Err(Failure::usage(format!("{}: expected one value, not several", self.source(key)))),
            },
        };
        self.check_controls(key, &text)?;
        Ok(Some((text, plain)))
    }

    fn value<T>(&self, key: Key, read: impl FnOnce(Scalar<'_>) -> Result<T, String>) -> Result<Option<T>> {
        let Some((text, plain)) = self.scalar(key)? else { return Ok(None) };
        let value = read(Scalar { text: &text, plain });
        value.map(Some).map_err(|why| self.wrong(key, &text, &why))
    }

    /// Rejects control characters: no correct value has them, and they are invisible.
    fn check_controls(&self, key: Key, text: &str) -> Result<()> {
        let blanks = |c: char| c.is_control() && !matches!(c, '\t' | '\n');
        match text {
            text if text.ends_with('\r') => Err(self.wrong(
                key,
                text,
                "it ends with a carriage return: was it set by a file with Windows line endings?",
            )),
            text if text.contains(blanks) => Err(self.wrong(key, text, "it contains control characters")),
            _ => Ok(()),
        }
    }

    /// Warns of security settings that are not read: a typing error, or a setting of another version of Fabric.
    fn warn_of_unread_security_settings(&self) -> Result<()> {
        let read = |name: &str| keys::ALL.iter().any(|key| key.name().eq_ignore_ascii_case(name));
        let not_in_use = |name: &str| name.to_lowercase().starts_with(&keys::BCCSP_PKCS11.to_lowercase());
        if let Some(file) = &self.file {
            for section in keys::SECURITY_SECTIONS {
                for name in file.keys_below(section)?.iter().filter(|name| !read(name) && !not_in_use(name)) {
                    log::warn!("{name} in {} is not honoured", shown(file.path()));
                }
            }
        }
        let known: Vec<String> = keys::ALL.iter().map(Key::variable).collect();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.to_str().filter(|_| !value.is_empty()) else { continue };
            let section =
                |section: &&str| name.starts_with(&format!("CORE_{}_", section.replace('.', "_").to_uppercase()));
            let secures = keys::SECURITY_SECTIONS.iter().any(section) && !section(&keys::BCCSP_PKCS11);
            if secures && !known.iter().any(|known| known == name) {
                log::warn!("{name} is not honoured");
            }
        }
        Ok(())
    }
}
