//! Builds a document from parser events.

use super::bytes::decode;
use super::map::Own;
use super::node::Node;
use super::scalar::Tag;
use super::{error, MAX_DEPTH};
use crate::error::Result;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, StructureStyle};
use std::collections::HashMap;

/// Number of events that are read after the end of the first document. Go's parser reads ahead by as much, and an error
/// there is an error of the file; everything later is ignored.
const READ_AHEAD: usize = 4;

/// The first document of a YAML file.
///
/// Nodes are stored in a table and refer to each other by number, so that neither deep nesting nor repeated aliases
/// cost stack or memory.
#[derive(Debug)]
pub struct Document {
    pub(super) nodes: Vec<Entry>,
    /// The texts of all scalars.
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub content: Content,
    pub tag: Tag,
    pub line: u32,
    /// Number of nodes that an untyped reader makes of this one, with every alias copied.
    pub copies: u64,
}

#[derive(Debug)]
pub(super) enum Content {
    Scalar {
        start: u32,
        end: u32,
        plain: bool,
    },
    List(Vec<u32>),
    /// Alternating keys and values.
    Map(Vec<u32>),
    Alias(u32),
    /// An alias within the node that it names.
    Cycle,
}

impl Document {
    /// Parses the first document of a file. A file without one has no root.
    ///
    /// Returns an error that names the line if the file is too large, not text, not YAML, or nested too deeply.
    pub fn parse(bytes: &[u8]) -> Result<Document> {
        let text = decode(bytes)?;
        let mut builder = Builder::new(&text);
        let mut parser = Parser::new_from_str_with_options(&text, options());
        builder.read(&mut parser)?;
        Ok(Document { nodes: builder.nodes, text: builder.text })
    }

    /// Returns the root; `None` if the file has no document.
    pub fn root(&self) -> Option<Node<'_>> {
        (!self.nodes.is_empty()).then(|| Node::new(self, 0))
    }

    /// Checks everything that Go's untyped reader checks, which is the one that viper uses for `core.yaml`: every mapping
    /// has different keys, every tag fits its value, no node contains itself, and aliases are not excessive.
    pub fn check(&self) -> Result<()> {
        for number in 0..self.nodes.len() {
            let node = Node::new(self, number as u32);
            match &self.nodes[number].content {
                Content::Cycle => return Err(node.error("the value contains itself")),
                Content::Map(_) => drop(Own::new(node)?.merged()?),
                Content::Scalar { .. } => drop(node.scalar()?),
                Content::List(_) | Content::Alias(_) => {}
            }
        }
        let total = self.nodes.first().map_or(0, |root| root.copies);
        let copied = total.saturating_sub(self.nodes.len() as u64);
        if copied > 100 && total > 1000 && copied as f64 > total as f64 * allowed_copies(total) {
            return Err(error("the file uses aliases excessively"));
        }
        Ok(())
    }
}

/// Share of nodes that may come from aliases.
fn allowed_copies(total: u64) -> f64 {
    const LOW: f64 = 400_000.0;
    const HIGH: f64 = 4_000_000.0;
    0.99 - 0.89 * ((total as f64 - LOW) / (HIGH - LOW)).clamp(0.0, 1.0)
}

fn options() -> Options {
    let mut options = granit_parser::options! {
        bom_inside_document_as_content: true,
        block_scalar_eof_without_line_feed: true,
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    options.set_emit_comments(false);
    options
}

struct Builder<'t> {
    source: &'t str,
    nodes: Vec<Entry>,
    text: String,
    /// The collections being read; their numbers ascend.
    open: Vec<Open>,
    /// The nodes of the parser's anchors.
    anchors: HashMap<usize, u32>,
}

struct Open {
    number: u32,
    /// Whether it is written without brackets.
    block: bool,
}

impl<'t> Builder<'t> {
    fn new(source: &'t str) -> Self {
        Builder { source, nodes: Vec::new(), text: String::new(), open: Vec::new(), anchors: HashMap::new() }
    }

    fn read(&mut self, parser: &mut Parser<'t, StrInput<'t>>) -> Result<()> {
        let mut after = None;
        for event in parser {
            if after == Some(READ_AHEAD) {
                break;
            }
            let (event, span) = event.map_err(|e| error(e.to_string()))?;
            match (&mut after, event) {
                (Some(count), _) => *count += 1,
                (None, Event::DocumentEnd) => after = Some(0),
                (None, event) => self.take(event, &span)?,
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<()> {
        match event {
            Event::DocumentStart(_, Some(version)) if (version.major, version.minor) != (1, 1) => {
                let (major, minor) = (version.major, version.minor);
                return Err(error(format!(
                    "Fabric reads %YAML 1.1 only, not %YAML {major}.{minor}; remove the directive"
                )));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let absent = plain && span.start.index() == span.end.index();
                self.check_key(absent, span)?;
                let start = self.text.len() as u32;
                self.text.push_str(if absent { "" } else { &text });
                let content = Content::Scalar { start, end: self.text.len() as u32, plain };
                let number = self.add(content, tag.as_deref(), span)?;
                self.anchor(anchor, number);
            }
            Event::SequenceStart(style, anchor, tag) => {
                let number = self.add(Content::List(Vec::new()), tag.as_deref(), span)?;
                self.open.push(Open { number, block: style == StructureStyle::Block });
                self.anchor(anchor, number);
            }
            Event::MappingStart(style, anchor, tag) => {
                let number = self.add(Content::Map(Vec::new()), tag.as_deref(), span)?;
                self.open.push(Open { number, block: style == StructureStyle::Block });
                self.anchor(anchor, number);
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let closed = self.open.pop().map_or(0, |open| self.nodes[open.number as usize].copies);
                self.count(closed);
            }
            Event::Alias(anchor) => {
                let target = self.anchors.get(&anchor).copied();
                let target = target.ok_or_else(|| error(format!("line {}: unknown anchor", span.start.line())))?;
                let content = match self.open.binary_search_by_key(&target, |open| open.number).is_ok() {
                    true => Content::Cycle,
                    false => Content::Alias(target),
                };
                self.add(content, None, span)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Rejects keys that YAML 1.2 allows and Go's libraries do not: an absent key before a colon at the start of a
    /// line, and a multi-line key.
    fn check_key(&self, absent: bool, span: &Span) -> Result<()> {
        let Some(parent) = self.open.last() else { return Ok(()) };
        let is_key = match &self.nodes[parent.number as usize].content {
            Content::Map(items) => items.len() % 2 == 0,
            _ => false,
        };
        let colon = || span.start.byte_offset().is_some_and(|at| self.source[at..].starts_with(':'));
        let line = span.start.line();
        match is_key {
            true if absent && parent.block && colon() => Err(error(format!("line {line}: a colon without a key"))),
            true if line != span.end.line() => Err(error(format!("line {line}: the key has more than one line"))),
            _ => Ok(()),
        }
    }

    /// Rejects a tab as indentation outside of brackets, as Go's libraries do.
    fn check_indentation(&self, span: &Span) -> Result<()> {
        let Some(at) = span.start.byte_offset() else { return Ok(()) };
        let before = &self.source[..at];
        let outer = before.trim_end_matches([' ', '\t']);
        let blank = &before[outer.len()..];
        let block = self.open.last().is_none_or(|open| open.block);
        if block && blank.contains('\t') && (outer.is_empty() || outer.ends_with(['\n', '\r', '-', '?'])) {
            return Err(error(format!("line {}: a tab in the indentation; use blanks", span.start.line())));
        }
        Ok(())
    }

    fn add(&mut self, content: Content, tag: Option<&granit_parser::Tag>, span: &Span) -> Result<u32> {
        self.check_indentation(span)?;
        let number = self.nodes.len() as u32;
        let tag = tag.map_or(Tag::None, |tag| Tag::new(tag.handle(), tag.suffix()));
        let copies = match &content {
            Content::Alias(target) => self.nodes[*target as usize].copies,
            _ => 1,
        };
        let complete = matches!(content, Content::Scalar { .. } | Content::Alias(_));
        self.nodes.push(Entry { content, tag, line: span.start.line() as u32, copies });
        if let Some(parent) = self.open.last() {
            match &mut self.nodes[parent.number as usize].content {
                Content::List(items) | Content::Map(items) => items.push(number),
                _ => {}
            }
        }
        if complete {
            self.count(copies);
        }
        Ok(number)
    }

    /// Adds a complete node to the count of the collection that contains it.
    fn count(&mut self, copies: u64) {
        if let Some(parent) = self.open.last() {
            let parent = &mut self.nodes[parent.number as usize];
            parent.copies = parent.copies.saturating_add(copies);
        }
    }

    fn anchor(&mut self, anchor: usize, number: u32) {
        if anchor != 0 {
            self.anchors.insert(anchor, number);
        }
    }
}
