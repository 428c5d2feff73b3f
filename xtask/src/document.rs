//! Reads the output that a program states at its head.

/// Returns the contents of the `text` block in the comment at the head of a Rust, C, C++ or Python file.
pub fn printed_text(source: &str) -> Option<String> {
    let mut text: Option<String> = None;
    for line in source.lines() {
        let comment = ["//!", "//"].into_iter().find_map(|mark| line.strip_prefix(mark));
        let line = comment.map_or(line, |text| text.strip_prefix(' ').unwrap_or(text));
        match &mut text {
            None if line == "```text" => text = Some(String::new()),
            Some(_) if line == "```" => return text,
            Some(text) => {
                text.push_str(line);
                text.push('\n');
            }
            None => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::printed_text;

    #[test]
    fn the_block_is_read_from_every_kind_of_comment() {
        for head in [
            "//! A.\n//! ```text\n//! one\n//!\n//!  two\n//! ```\nfn main() {}",
            "// ```text\n// one\n//\n//  two\n// ```\n",
        ] {
            assert_eq!(printed_text(head).unwrap(), "one\n\n two\n", "{head}");
        }
        assert_eq!(printed_text("\"\"\"A.\n```text\none\n  two\n```\n\"\"\"").unwrap(), "one\n  two\n");
    }

    #[test]
    fn a_file_without_a_closed_block_says_nothing() {
        assert_eq!(printed_text("// text"), None);
        assert_eq!(printed_text("// ```text\n// one"), None);
    }
}
