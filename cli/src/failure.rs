//! Outcomes of a command other than success.

use crate::output::shown;
use fabric_gossip::{Error, ErrorKind};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Failure {
    /// Usage or configuration: exit code 2.
    Usage(String),
    /// The peer could not be reached, refused us, or gave a wrong answer: exit code 1.
    Peer(String),
    /// Same as `Peer`, and already reported by the command.
    Reported,
    /// Stopped before the work was done: by a signal (exit code 130 or 143), or because stdout was closed.
    Stopped,
}

impl Failure {
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::Usage(text.into())
    }

    /// Creates the failure for a file that cannot be used.
    pub fn file(path: &Path, why: impl fmt::Display) -> Self {
        Failure::Usage(format!("{}: {why}", shown(path)))
    }

    /// Returns the exit code; `signal` is the one that stopped the command, if one did.
    pub fn exit_code(&self, signal: Option<i32>) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Peer(_) | Failure::Reported => 1,
            Failure::Stopped => signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(0),
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Failure::Usage(text) | Failure::Peer(text) => Some(text),
            Failure::Reported | Failure::Stopped => None,
        }
    }
}

/// Reads at most `limit` bytes of a file: devices have no end.
pub fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut content));
    read.map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
    Ok(content)
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e.kind() {
            ErrorKind::Config | ErrorKind::TooLarge => Failure::Usage(e.to_string()),
            _ => Failure::Peer(e.to_string()),
        }
    }
}
