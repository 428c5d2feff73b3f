//! Mappings: merge keys, equal keys, and lookups.

use super::build::Content;
use super::node::Node;
use super::scalar::{Scalar, ScalarKind};
use crate::error::Result;
use std::collections::HashSet;

/// A mapping with its merge keys applied.
#[derive(Debug, Default)]
pub struct Map<'a> {
    entries: Vec<(&'a str, Node<'a>)>,
}

/// The entries of a mapping itself, and the value of its merge key.
pub(super) struct Own<'a> {
    entries: Vec<(&'a str, Node<'a>)>,
    merged: Option<Node<'a>>,
}

impl<'a> Own<'a> {
    pub(super) fn new(node: Node<'a>) -> Result<Own<'a>> {
        let Content::Map(pairs) = node.content() else {
            return Err(node.error("a merge key (<<) needs a mapping or a list of mappings"));
        };
        let mut own = Own { entries: Vec::with_capacity(pairs.len() / 2), merged: None };
        let mut keys = HashSet::with_capacity(pairs.len() / 2);
        let mut nodes = node.nodes(pairs);
        while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
            let scalar = key.scalar()?.ok_or_else(|| key.error("a key that is a list or a mapping"))?;
            if !keys.insert(scalar.text) {
                return Err(key.error(format!("duplicate key {:?}", scalar.text)));
            }
            match scalar {
                Scalar { kind: ScalarKind::Merge, .. } => own.merged = Some(value),
                Scalar { kind: ScalarKind::Null, .. } => {}
                Scalar { text, .. } => own.entries.push((text, value)),
            }
        }
        Ok(own)
    }

    /// Returns the mappings that the merge key names.
    pub(super) fn merged(&self) -> Result<Vec<Node<'a>>> {
        let Some(merged) = self.merged else { return Ok(Vec::new()) };
        let mappings: Vec<Node<'a>> = match merged.content() {
            Content::List(items) => merged.nodes(items).collect(),
            _ => vec![merged],
        };
        match mappings.iter().find(|mapping| !matches!(mapping.content(), Content::Map(_))) {
            Some(other) => Err(other.error("a merge key (<<) needs a mapping or a list of mappings")),
            None => Ok(mappings),
        }
    }
}

impl<'a> Map<'a> {
    pub(super) fn new(node: Node<'a>) -> Result<Map<'a>> {
        let mut map = Map::default();
        let mut keys = HashSet::new();
        let mut seen = HashSet::new();
        // Own keys take precedence over merged ones, and earlier merged mappings over later ones. A mapping that is
        // found again adds nothing, which keeps nested merges linear.
        let mut pending = vec![node];
        while let Some(node) = pending.pop() {
            if seen.insert(node.number()) {
                let own = Own::new(node)?;
                pending.extend(own.merged()?.into_iter().rev());
                map.entries.extend(own.entries.into_iter().filter(|(key, _)| keys.insert(*key)));
            }
        }
        Ok(map)
    }

    /// Returns the keys and values. Null keys are omitted.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Node<'a>)> + '_ {
        self.entries.iter().copied()
    }

    /// Returns the value of a key, with exact spelling.
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        self.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns the value of a key, ignoring case, as viper does.
    ///
    /// Two keys that differ only in case are an error, because Fabric does not define which one takes effect.
    pub fn get_any_case(&self, key: &str) -> Result<Option<Node<'a>>> {
        let lower = key.to_lowercase();
        let mut found: Option<(&str, Node<'a>)> = None;
        for (name, value) in self.iter().filter(|(name, _)| name.to_lowercase() == lower) {
            if let Some((first, _)) = found {
                return Err(value.error(format!("the keys {first:?} and {name:?} are the same setting; keep one")));
            }
            found = Some((name, value));
        }
        Ok(found.map(|(_, value)| value))
    }
}
