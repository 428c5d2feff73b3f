//! Splits Rust source into tokens, without comments and the contents of literals, and finds the tokens that the checks
//! need.

use std::collections::BTreeSet;

/// A word, or a single character of punctuation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub line: usize,
}

/// Returns the tokens of a source. Comments are left out; a literal of text is the token `""`.
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (length, text) = next(rest, first);
        if let Some(text) = text {
            tokens.push(Token { text, line });
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of the token at the start of `rest`, and the token.
fn next(rest: &str, first: char) -> (usize, Option<&str>) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), None);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), None);
    }
    if let Some(length) = text_literal(rest) {
        return (length, Some("\"\""));
    }
    if first.is_alphanumeric() || first == '_' {
        let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        return (length, Some(&rest[..length]));
    }
    let length = first.len_utf8();
    (length, (!first.is_whitespace()).then_some(&rest[..length]))
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    loop {
        let Some(found) = rest[at..].find(['/', '*']) else { return rest.len() };
        at += found;
        if rest[at..].starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest[at..].starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
}

/// Returns the length of the string, byte string or character literal that `rest` begins with.
fn text_literal(rest: &str) -> Option<usize> {
    let prefix = ["b", "c", ""].into_iter().find(|prefix| rest.starts_with(prefix)).unwrap_or_default();
    let body = &rest[prefix.len()..];
    if body.starts_with('"') {
        return Some(prefix.len() + quoted(body, '"'));
    }
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let end = format!("\"{}", &raw[..hashes]);
            let text = &raw[hashes + 1..];
            let length = text.find(&end).map_or(text.len(), |at| at + end.len());
            return Some(prefix.len() + 1 + hashes + 1 + length);
        }
    }
    // A lifetime is a quote and a word without a second quote.
    let mut characters = body.strip_prefix('\'')?.chars();
    let first = characters.next()?;
    (first == '\\' || characters.next() == Some('\'')).then(|| prefix.len() + quoted(body, '\''))
}

/// Returns the length of a literal between two of these quotes, in which a backslash escapes.
fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    text.len()
}

/// Returns the tokens without the items that only tests compile: those behind an attribute `#[cfg(test)]` or
/// `#[cfg(all(test, …))]`.
pub fn without_tests<'a>(tokens: &[Token<'a>]) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        match is_test_attribute(&tokens[at..]) {
            true => at = item_end(tokens, at),
            false => {
                kept.push(tokens[at]);
                at += 1;
            }
        }
    }
    kept
}

fn is_test_attribute(tokens: &[Token<'_>]) -> bool {
    starts_with(tokens, &["#", "[", "cfg", "(", "test", ")"])
        || starts_with(tokens, &["#", "[", "cfg", "(", "all", "(", "test", ","])
}

/// Returns whether the tokens begin with these texts.
pub fn starts_with(tokens: &[Token<'_>], texts: &[&str]) -> bool {
    tokens.len() >= texts.len() && tokens.iter().zip(texts).all(|(token, text)| token.text == *text)
}

/// Returns the end of the item whose attributes begin at `at`: behind its `;`, or behind its braces and a `;`
/// after them.
fn item_end(tokens: &[Token<'_>], at: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token.text == "}" {
                    let closed = tokens.get(index + 1).is_some_and(|next| next.text == ";");
                    return index + 1 + usize::from(closed);
                }
            }
            ";" | "," if depth == 0 => return index + 1,
            _ => {}
        }
    }
    tokens.len()
}

/// Returns the names of the tests: functions behind `#[test]`, and those that a macro turns into one test per
/// transport.
pub fn tests<'a>(tokens: &[Token<'a>]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    let mut marked = false;
    for (at, token) in tokens.iter().enumerate() {
        let rest = &tokens[at..];
        if starts_with(rest, &["#", "[", "test", "]"]) {
            marked = true;
        } else if marked && token.text == "fn" {
            names.extend(rest.get(1).map(|name| name.text));
            marked = false;
        } else if TEST_MACROS.contains(&token.text) && starts_with(&rest[1..], &["!", "("]) {
            let listed = rest[3..].iter().take_while(|token| token.text != ")");
            names.extend(listed.map(|token| token.text).filter(|text| *text != ","));
        }
    }
    names
}

/// Macros whose arguments are names of test functions.
const TEST_MACROS: &[&str] = &["for_each_transport", "for_each_victim"];

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(source: &str) -> Vec<&str> {
        tokens(source).into_iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_are_left_out_and_literals_are_opaque() {
        assert_eq!(texts("a // unsafe\nb /* x /* y */ unsafe */ c"), ["a", "b", "c"]);
        assert_eq!(
            texts(r#"f("unsafe \" unsafe", b"unsafe", c"x")"#),
            ["f", "(", "\"\"", ",", "\"\"", ",", "\"\"", ")"]
        );
        assert_eq!(texts("r#\"a \" unsafe\"# r\"x\" br\"y\" z"), ["\"\"", "\"\"", "\"\"", "z"]);
        assert_eq!(texts(r"'a' '\'' b'x' '\u{1F600}' 'é'"), ["\"\""; 5]);
        assert_eq!(texts("&'static str, 'a: 'b"), ["&", "'", "static", "str", ",", "'", "a", ":", "'", "b"]);
        assert_eq!(texts("bytes r#type race"), ["bytes", "r", "#", "type", "race"]);
    }

    #[test]
    fn what_does_not_end_ends_with_the_source() {
        for source in ["/* a", "\"a", "r#\"a", "'\\", "b'", "'", "\"\\"] {
            tokens(source);
        }
    }

    #[test]
    fn lines_are_counted_through_comments_and_literals() {
        let found = tokens("a\n/* \n */ \"x\ny\" b\nc");
        assert_eq!(
            found.iter().map(|token| (token.text, token.line)).collect::<Vec<_>>(),
            [("a", 1), ("\"\"", 3), ("b", 4), ("c", 5)]
        );
    }

    #[test]
    fn items_of_tests_are_left_out() {
        let kept = |source| {
            let found = tokens(source);
            without_tests(&found).iter().map(|token| token.text).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(kept("a; #[cfg(test)] mod tests { fn f() { x(); } } b"), "a ; b");
        assert_eq!(kept("#[cfg(test)] use x::{y, z}; b"), "b");
        assert_eq!(kept("#[cfg(all(test, unix))] #[path = \"x\"] mod tests; b"), "b");
        assert_eq!(kept("#[cfg(any(test, unix))] mod m;"), "# [ cfg ( any ( test , unix ) ) ] mod m ;");
    }

    #[test]
    fn tests_are_found_by_attribute_and_by_macro() {
        let source =
            "#[test] #[cfg(unix)] fn a() {} fn b() {} for_each_transport!(c, d,); macro_rules! for_each_transport {}";
        assert_eq!(tests(&tokens(source)).into_iter().collect::<Vec<_>>(), ["a", "c", "d"]);
    }
}
