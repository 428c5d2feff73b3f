//! Typed access to a node.

use super::build::{Content, Document};
use super::map::Map;
use super::scalar::{Scalar, ScalarKind};
use crate::error::{Error, Result};

/// A node of a [`Document`]. An alias is equivalent to the node that it names.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    document: &'a Document,
    number: u32,
}

impl std::fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in line {}", self.describe(), self.line())
    }
}

impl<'a> Node<'a> {
    pub(super) fn new(document: &'a Document, number: u32) -> Self {
        // An alias always refers to a node that is not an alias.
        let number = match document.nodes[number as usize].content {
            Content::Alias(target) => target,
            _ => number,
        };
        Node { document, number }
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    pub(super) fn content(&self) -> &'a Content {
        &self.document.nodes[self.number as usize].content
    }

    pub(super) fn nodes(&self, numbers: &'a [u32]) -> impl Iterator<Item = Node<'a>> + 'a {
        let document = self.document;
        numbers.iter().map(move |number| Node::new(document, *number))
    }

    /// Returns the line in which the node begins, from 1 on.
    pub fn line(&self) -> u32 {
        self.document.nodes[self.number as usize].line
    }

    /// Returns an error about this node that names its line.
    pub fn error(&self, text: impl std::fmt::Display) -> Error {
        super::error(format!("line {}: {text}", self.line()))
    }

    /// Returns the scalar; `None` if the node is a list or a mapping.
    pub fn scalar(&self) -> Result<Option<Scalar<'a>>> {
        match *self.content() {
            Content::Scalar { start, end, plain } => {
                let text = &self.document.text[start as usize..end as usize];
                let tag = self.document.nodes[self.number as usize].tag;
                let kind = ScalarKind::resolve(text, plain, tag).map_err(|e| self.error(e.message()))?;
                Ok(Some(Scalar { text, plain, kind }))
            }
            Content::Cycle => Err(self.error("the value contains itself")),
            _ => Ok(None),
        }
    }

    /// Returns whether the node is null.
    pub fn is_null(&self) -> Result<bool> {
        Ok(self.scalar()?.is_some_and(|scalar| scalar.kind == ScalarKind::Null))
    }

    /// Returns the text of a scalar as written, whatever its type; `None` for null.
    pub fn text(&self) -> Result<Option<&'a str>> {
        match self.scalar()? {
            Some(Scalar { kind: ScalarKind::Null, .. }) => Ok(None),
            Some(scalar) => Ok(Some(scalar.text)),
            None => Err(self.unexpected("text")),
        }
    }

    /// Returns a boolean; `None` for null. Besides `true` and `false`, which must be plain, it accepts `yes`, `no`,
    /// `on`, `off`, `y` and `n`, plain or quoted, as Go's libraries do where the reader expects a boolean.
    pub fn boolean(&self) -> Result<Option<bool>> {
        match self.scalar()? {
            Some(Scalar { kind: ScalarKind::Null, .. }) => Ok(None),
            Some(Scalar { kind: ScalarKind::Bool(value), .. }) => Ok(Some(value)),
            Some(Scalar { kind: ScalarKind::Text, text, .. }) => match text {
                "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Ok(Some(true)),
                "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Ok(Some(false)),
                _ => Err(self.unexpected("true or false (without quotes)")),
            },
            _ => Err(self.unexpected("true or false")),
        }
    }

    /// Returns the items of a list; `None` for null.
    pub fn list(&self) -> Result<Option<Vec<Node<'a>>>> {
        match self.content() {
            Content::List(items) => Ok(Some(self.nodes(items).collect())),
            _ if self.is_null()? => Ok(None),
            _ => Err(self.unexpected("a list")),
        }
    }

    /// Returns a mapping with its merge keys applied; `None` for null.
    ///
    /// Two equal keys are an error, and so is a key that is a list or a mapping.
    pub fn map(&self) -> Result<Option<Map<'a>>> {
        match self.content() {
            Content::Map(_) => Map::new(*self).map(Some),
            _ if self.is_null()? => Ok(None),
            _ => Err(self.unexpected("a mapping")),
        }
    }

    fn unexpected(&self, wanted: &str) -> Error {
        self.error(format!("{} where {wanted} is expected", self.describe()))
    }

    fn describe(&self) -> String {
        match self.content() {
            Content::Map(_) => "a mapping".to_owned(),
            Content::List(_) => "a list".to_owned(),
            Content::Scalar { start, end, .. } => {
                let text = &self.document.text[*start as usize..*end as usize];
                match text.char_indices().nth(40) {
                    Some((end, _)) => format!("{:?}…", &text[..end]),
                    None => format!("{text:?}"),
                }
            }
            Content::Alias(_) | Content::Cycle => "an alias".to_owned(),
        }
    }
}
