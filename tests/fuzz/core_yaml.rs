//! The input is a `core.yaml`, read as the tool reads it: everything is checked, and every key is looked up.

use fabric_gossip::internals::yaml::{Document, Node};

/// Returns whether it can be read.
pub fn run(data: &[u8]) -> bool {
    let parsed = Document::parse(data).and_then(|document| document.check().map(|()| document));
    let document = match parsed {
        Ok(document) => document,
        Err(e) => {
            assert!(!e.message().is_empty() && !e.message().contains(char::is_control), "{e:?}");
            return false;
        }
    };
    let mut visits = 0;
    if let Some(root) = document.root() {
        visit(root, 0, &mut visits);
    }
    true
}

/// Looks at a node with every accessor, and into it as deep as settings go.
fn visit(node: Node<'_>, depth: usize, visits: &mut usize) {
    *visits += 1;
    if depth > 8 || *visits > 2_000 {
        return;
    }
    let (text, null) = (node.text(), node.is_null());
    if let (Ok(text), Ok(null)) = (&text, null) {
        assert_eq!(text.is_none(), null);
    }
    let _ = (node.scalar(), node.boolean(), node.line(), format!("{node:?}"));
    for item in node.list().ok().flatten().unwrap_or_default() {
        visit(item, depth + 1, visits);
    }
    if let Ok(Some(map)) = node.map() {
        for (key, value) in map.iter() {
            assert!(map.get(key).is_some());
            let _ = map.get_any_case(&key.to_uppercase());
            visit(value, depth + 1, visits);
        }
    }
}
