//! E-mail addresses as Go's `crypto/x509` parses them: RFC 2821, with those of its errata that Go accepts.

/// The two parts of an address, separated and unquoted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EmailAddress {
    pub local: String,
    /// In lower case, because only the domain is case-insensitive.
    pub domain: String,
}

impl EmailAddress {
    /// Parses an address; returns `None` if it is invalid. The caller must validate the domain.
    pub fn parse(address: &str) -> Option<EmailAddress> {
        let (local, rest) = match address.strip_prefix('"') {
            Some(quoted) => quoted_local(quoted)?,
            None => plain_local(address)?,
        };
        Some(EmailAddress { local, domain: rest.strip_prefix('@')?.to_ascii_lowercase() })
    }
}

/// Reads up to the closing quotation mark; a backslash escapes the next character. Control characters are allowed,
/// except NUL, tab, line feed and carriage return.
fn quoted_local(text: &str) -> Option<(String, &str)> {
    let allowed = |c: char| matches!(c, '\u{1}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{7f}');
    let mut local = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((local, &text[at + 1..])),
            '\\' => local.push(chars.next().map(|(_, c)| c).filter(|c| allowed(*c) || *c == '\t')?),
            c if allowed(c) => local.push(c),
            _ => return None,
        }
    }
    None
}

/// Reads atoms separated by single dots; a backslash escapes the next character.
fn plain_local(text: &str) -> Option<(String, &str)> {
    let mut local = String::new();
    let mut chars = text.char_indices();
    let mut end = text.len();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => local.push(chars.next()?.1),
            c if c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) => local.push(c),
            _ => {
                end = at;
                break;
            }
        }
    }
    let dots = local.starts_with('.') || local.ends_with('.') || local.contains("..");
    (!local.is_empty() && !dots).then(|| (local, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_by_go() {
        for (address, read) in [
            ("user@Example.com", Some(("user", "example.com"))),
            ("a.b+c@x", Some(("a.b+c", "x"))),
            ("\"a@b\"@x", Some(("a@b", "x"))),
            ("\"a\\\"b\"@x", Some(("a\"b", "x"))),
            ("\"\"@x", Some(("", "x"))),
            ("a\\@b@x", Some(("a@b", "x"))),
            ("user@", Some(("user", ""))),
            ("", None),
            ("user", None),
            ("@x", None),
            (".a@x", None),
            ("a.@x", None),
            ("a..b@x", None),
            ("a b@x", None),
            ("\"a@x", None),
            ("\"a\tb\"@x", None),
            ("a\\", None),
        ] {
            let read = read.map(|(local, domain)| EmailAddress { local: local.into(), domain: domain.into() });
            assert_eq!(EmailAddress::parse(address), read, "{address}");
        }
    }
}
