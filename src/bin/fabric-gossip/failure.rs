//! How a command ends when it does not simply succeed.

use fabric_gossip::{Error, ErrorKind};
use std::fmt;
use std::path::Path;

pub type Result<T, E = Failure> = std::result::Result<T, E>;

#[derive(Debug)]
pub enum Failure {
    /// Usage or configuration: exit code 2.
    Usage(String),
    /// The peer could not be reached, refused, or answered wrongly: exit code 1.
    Peer(String),
    /// As `Peer`, and the command has already said so.
    Reported,
    /// Stopped by a signal, or because nobody reads stdout any more: exit code 0.
    Stopped,
}

impl Failure {
    pub fn usage(text: impl Into<String>) -> Self {
        Failure::Usage(text.into())
    }

    /// A file that cannot be used.
    pub fn file(path: &Path, why: impl fmt::Display) -> Self {
        Failure::Usage(format!("{}: {why}", path.display()))
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Usage(_) => 2,
            Failure::Peer(_) | Failure::Reported => 1,
            Failure::Stopped => 0,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Failure::Usage(text) | Failure::Peer(text) => Some(text),
            Failure::Reported | Failure::Stopped => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        match e.kind() {
            ErrorKind::Config | ErrorKind::TooLarge => Failure::Usage(e.to_string()),
            _ => Failure::Peer(e.to_string()),
        }
    }
}
