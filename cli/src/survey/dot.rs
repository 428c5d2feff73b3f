//! The map of who sees whom, for Graphviz.

use super::Report;
use std::fmt::Write;

/// Writes a directed graph: an edge from a peer to each one that it lists as alive, dotted to those listed as dead.
pub fn render(report: &Report) -> String {
    let mut dot = String::from("digraph survey {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
    for peer in &report.peers {
        let style = match peer.reachable {
            Some(true) => "color=\"#2a7a3f\"",
            Some(false) => "color=\"#b3261e\", style=\"rounded,dashed\"",
            None => "color=\"#767676\"",
        };
        let org = peer.mspid.as_deref().unwrap_or("unknown organisation");
        let label = format!("{}\n{org}\n{}", peer.short_label(), peer.endpoint);
        let _ = writeln!(dot, "  {} [label={}, {style}];", quoted(peer.key()), quoted(&label));
    }
    for peer in &report.peers {
        for (seen, alive) in peer.sees.iter().flatten().filter(|(seen, _)| **seen != peer.pki_id) {
            let style = if *alive { "" } else { " [style=dotted, color=\"#767676\"]" };
            let _ = writeln!(dot, "  {} -> {}{style};", quoted(peer.key()), quoted(seen));
        }
    }
    dot + "}\n"
}

/// Quotes a text: Graphviz interprets quotes and backslashes, and ends a statement at other control characters.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for (n, line) in text.split('\n').enumerate() {
        if n > 0 {
            quoted += "\\n";
        }
        for c in crate::output::printable(line).chars() {
            match c {
                '"' | '\\' => quoted.extend(['\\', c]),
                c => quoted.push(c),
            }
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_is_text() {
        assert_eq!(quoted("a\" -> b; \\N\u{1b}"), r#""a\" -> b; \\N\\u{1b}""#);
        assert_eq!(quoted("a\nb"), "\"a\\nb\"");
    }
}
