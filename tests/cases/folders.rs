//! Reads the recorded MSP folders and puts them on disk.

use serde_json::{Map, Value};
use std::fmt;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

pub const MSPID: &str = "Org1MSP";

/// A folder and Fabric's verdict on it.
pub struct Case {
    pub id: String,
    what: String,
    files: Vec<(String, Entry)>,
    verdict: Verdict,
    pki_id: Option<String>,
    /// Fabric's message.
    pub text: String,
}

#[derive(Debug)]
pub enum Verdict {
    Ok,
    Refused,
    /// Fabric panics or hangs.
    Crash,
}

enum Entry {
    File(Vec<u8>),
    Dir,
    Link(String),
    Fifo,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})\n  Fabric  {:?} {:?}: {}", self.id, self.what, self.verdict, self.pki_id, self.text)
    }
}

/// The cases of the project, or those of the file in `FABRIC_GOSSIP_CASES`.
pub fn cases() -> Vec<Case> {
    let (name, text) = match std::env::var_os("FABRIC_GOSSIP_CASES").map(PathBuf::from) {
        Some(path) => {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.display().to_string(), text)
        }
        None => ("msp-folders.json".into(), include_str!("msp-folders.json").into()),
    };
    let cases = parse(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert!(!cases.is_empty(), "{name}: no cases");
    cases
}

/// Reads cases. A field that is missing, unknown or of another type is an error.
pub fn parse(text: &str) -> Result<Vec<Case>, String> {
    let cases: Vec<Map<String, Value>> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    cases.into_iter().map(case).collect()
}

fn case(mut fields: Map<String, Value>) -> Result<Case, String> {
    let mut take = |name: &str| fields.remove(name).ok_or(format!("no field {name}"));
    let id = string(take("id")?)?;
    let files: Result<Vec<_>, String> = match take("files")? {
        Value::Object(files) => files.into_iter().map(|(path, value)| Ok((path, entry(value)?))).collect(),
        other => Err(format!("files: {other}")),
    };
    let case = Case {
        what: string(take("what")?)?,
        files: files.map_err(|e| format!("{id}: {e}"))?,
        verdict: match string(take("verdict")?)?.as_str() {
            "ok" => Verdict::Ok,
            "refused" => Verdict::Refused,
            "crash" => Verdict::Crash,
            other => return Err(format!("{id}: verdict {other}")),
        },
        pki_id: match take("pki_id")? {
            Value::Null => None,
            other => Some(string(other)?),
        },
        text: string(take("text")?)?,
        id,
    };
    match fields.keys().next() {
        Some(unread) => Err(format!("{}: nothing reads the field {unread}", case.id)),
        None => Ok(case),
    }
}

fn entry(value: Value) -> Result<Entry, String> {
    let Value::Object(fields) = value else { return Err(format!("{value}")) };
    let mut fields = fields.into_iter();
    match (fields.next(), fields.next()) {
        (Some((kind, value)), None) => match (kind.as_str(), value) {
            ("text", Value::String(text)) => Ok(Entry::File(text.into_bytes())),
            ("base64", Value::String(text)) => {
                openssl::base64::decode_block(&text).map(Entry::File).map_err(|e| e.to_string())
            }
            ("dir", Value::Bool(true)) => Ok(Entry::Dir),
            ("link", Value::String(target)) => Ok(Entry::Link(target)),
            ("fifo", Value::Bool(true)) => Ok(Entry::Fifo),
            (kind, value) => Err(format!("an entry with {kind}: {value}")),
        },
        _ => Err("an entry needs one field".into()),
    }
}

fn string(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        other => Err(format!("text expected: {other}")),
    }
}

/// A folder on disk, removed in the end.
pub struct Folder {
    pub path: PathBuf,
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl Case {
    /// Puts the folder on disk.
    pub fn folder(&self) -> Folder {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("fabric-gossip-case-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let folder = Folder { path: std::env::temp_dir().join(name) };
        fs::create_dir_all(&folder.path).unwrap();
        for (path, entry) in &self.files {
            self.write(&folder.path.join(path), entry);
        }
        folder
    }

    fn write(&self, path: &Path, entry: &Entry) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let written = match entry {
            Entry::File(bytes) => fs::write(path, bytes),
            Entry::Dir => fs::create_dir_all(path),
            Entry::Link(target) => symlink(target, path),
            Entry::Fifo => Command::new("mkfifo").arg(path).status().map(|status| assert!(status.success())),
        };
        written.unwrap_or_else(|e| panic!("{}: {}: {e}", self.id, path.display()));
    }

    /// Compares a verdict with Fabric's, and returns a description of the case if they differ.
    pub fn compare(&self, came: Result<String, String>) -> Option<String> {
        let agreed = match (&self.verdict, &came) {
            (Verdict::Ok, Ok(pki_id)) => self.pki_id.as_deref() == Some(pki_id.as_str()),
            (Verdict::Refused | Verdict::Crash, Err(_)) => true,
            _ => false,
        };
        (!agreed).then(|| format!("{self}\n  here    {came:?}"))
    }
}

/// Fails with the cases that differ.
pub fn assert_agreed(total: usize, differing: Vec<String>) {
    eprintln!("{} of {total} cases agree", total - differing.len());
    assert!(differing.is_empty(), "{} of {total} differ:\n{}", differing.len(), differing.join("\n"));
}
