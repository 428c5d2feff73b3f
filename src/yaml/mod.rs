//! Reads YAML as the Go libraries behind Fabric's configuration do.
//!
//! [`Document::parse`] decodes and parses the first document of a file; [`Node`] gives typed access to it. The grammar
//! is `granit-parser`'s. This module adds the extensions of Go's libraries: UTF-16, YAML 1.1 line ends, merge keys,
//! scalars that keep their text, and the booleans of YAML 1.1 where a boolean is expected.
//!
//! All resources are bounded. A file has at most [`MAX_SIZE`] bytes and [`MAX_DEPTH`] nested collections. An alias
//! refers to the node that it names and never copies it, so the cost of reading a document is linear in its size.
//!
//! Not part of the public interface: the command-line tool reads `core.yaml` with it.

mod build;
mod bytes;
mod map;
mod node;
mod scalar;

pub use build::Document;
pub use map::Map;
pub use node::Node;
pub use scalar::{Scalar, ScalarKind};

use crate::error::{Error, ErrorKind};

/// Largest size of a file, in bytes.
pub const MAX_SIZE: usize = 1 << 20;
/// Maximum nesting of collections.
pub const MAX_DEPTH: usize = 10_000;

fn error(text: impl Into<String>) -> Error {
    // The parser quotes the file, which may contain any text.
    let text: String = text.into();
    let printable = text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c });
    Error::new(ErrorKind::Config, printable.collect::<String>())
}
