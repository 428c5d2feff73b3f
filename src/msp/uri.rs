//! The URIs that a certificate may have: those that Go's `net/url` parses, because Go otherwise rejects the
//! certificate.

use std::net::IpAddr;

/// Returns the authority's host with its port, empty if there is none; an error for a URI that Go does not parse.
pub(super) fn host(uri: &str) -> Result<&str, &'static str> {
    let (uri, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    if uri.bytes().any(|b| b.is_ascii_control()) {
        return Err("a control character");
    }
    check_escapes(fragment)?;
    if uri == "*" {
        return Ok("");
    }
    let (scheme, rest) = scheme(uri)?;
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    if !rest.starts_with('/') {
        let segment = rest.split('/').next().unwrap_or(rest);
        return match scheme {
            // The part after a scheme without a slash is not checked.
            Some(_) => Ok(""),
            None if segment.contains(':') => Err("a colon in the first segment"),
            None => check_escapes(rest).map(|()| ""),
        };
    }
    let (authority, path) = match rest.strip_prefix("//") {
        Some(after) if scheme.is_some() || !after.starts_with('/') => {
            after.split_at(after.find('/').unwrap_or(after.len()))
        }
        _ => ("", rest),
    };
    check_escapes(path)?;
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let strict = scheme.is_some_and(|s| s.eq_ignore_ascii_case("http") || s.eq_ignore_ascii_case("https"));
    check_host(host, strict)?;
    if !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b)) {
        return Err("a user that is none");
    }
    check_escapes(user)?;
    Ok(host)
}

/// Returns the scheme, if there is one, and the rest.
fn scheme(uri: &str) -> Result<(Option<&str>, &str), &'static str> {
    for (i, b) in uri.bytes().enumerate() {
        match b {
            b'a'..=b'z' | b'A'..=b'Z' => {}
            b'0'..=b'9' | b'+' | b'-' | b'.' if i > 0 => {}
            b':' if i == 0 => return Err("no scheme before the colon"),
            b':' => return Ok((Some(&uri[..i]), &uri[i + 1..])),
            _ => break,
        }
    }
    Ok((None, uri))
}

fn check_host(host: &str, strict: bool) -> Result<(), &'static str> {
    match host.rfind('[') {
        Some(0) => {
            let (address, port) = host[1..].rsplit_once(']').ok_or("no ] after the address")?;
            check_port(port)?;
            let (address, zone) = match address.find("%25") {
                Some(at) => (&address[..at], Some(&address[at..])),
                None => (address, None),
            };
            if let Some(zone) = zone {
                // "%25" alone contains no zone.
                check_zone(zone)?;
                if zone.len() == 3 {
                    return Err("an empty zone");
                }
            }
            match address.parse::<IpAddr>() {
                Ok(IpAddr::V6(_)) => Ok(()),
                _ => Err("no IPv6 address between brackets"),
            }
        }
        Some(_) => Err("a bracket within the host"),
        None => {
            let colon = if strict { host.find(':') } else { host.rfind(':') };
            check_port(colon.map_or("", |at| &host[at..]))?;
            check_host_bytes(host)
        }
    }
}

fn check_port(port: &str) -> Result<(), &'static str> {
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok(()),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Ok(()),
        _ => Err("an invalid port"),
    }
}

/// Returns whether a host may contain this byte unescaped.
fn in_host(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&b)
}

/// In a host only non-ASCII bytes and the percent sign may be escaped, and the former cannot be part of a domain name.
fn check_host_bytes(host: &str) -> Result<(), &'static str> {
    each(host, in_host, |escaped| escaped == b'%')
}

fn check_zone(zone: &str) -> Result<(), &'static str> {
    each(zone, in_host, |escaped| escaped == b'%' || in_host(escaped))
}

/// Checks that every percent sign begins an escape of two hexadecimal digits.
fn check_escapes(text: &str) -> Result<(), &'static str> {
    each(text, |_| true, |_| true)
}

fn each(text: &str, plain: fn(u8) -> bool, escaped: fn(u8) -> bool) -> Result<(), &'static str> {
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b != b'%' {
            if !plain(b) {
                return Err("a character that a host cannot have");
            }
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err("an invalid escape") };
        if !escaped((high * 16 + low) as u8) {
            return Err("an escape that a host cannot have");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_judged_as_go_judges_them() {
        for (uri, expected) in [
            ("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6", ""),
            ("spiffe://cluster.local/ns/default", "cluster.local"),
            ("http://u:p@host:80/path?query=%zz", "host:80"),
            ("//host/path", "host"),
            ("///path", ""),
            ("http:host", ""),
            ("http:%zz", ""),
            ("x", ""),
            ("", ""),
            ("*", ""),
            ("http://[::1]:80/", "[::1]:80"),
            ("http://[fe80::1%25en0]/", "[fe80::1%25en0]"),
            ("http://host:/", "host:"),
            ("postgres://a:1,b:2/", "a:1,b:2"),
        ] {
            assert_eq!(host(uri), Ok(expected), "{uri}");
        }
        for uri in [
            ":",
            "http://host:port/",
            "http://host:80:90/",
            "http://host:-1/",
            "http://ho st/",
            "http://a%41b/",
            "http://a%zz/",
            "http://%C3%BC/",
            "http://host/%zz",
            "http://host/%z",
            "http://host#%zz",
            "%zz",
            "1http://host/",
            "a/b:c\u{1}",
            "http://host/\u{7f}",
            "http://[bad",
            "http://[1.2.3.4]/",
            "http://a[b]/",
            "http://u ser@host/",
            "http://us%er@host/",
            "a b:c",
        ] {
            assert!(host(uri).is_err(), "{uri:?}");
        }
    }
}
