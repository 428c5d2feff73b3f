//! Alternative names and an authority's constraints on them (RFC 5280, section 4.2.1.10), to the extent that Go's
//! `crypto/x509` supports them: DNS names, e-mail addresses, URIs and IP addresses.

use super::der::{tag, Reader};
use super::email_address::EmailAddress;
use super::uri;

type Parse<T> = Result<T, &'static str>;

/// A name of a subject alternative name extension.
pub(super) enum GeneralName {
    Email(String),
    Dns(String),
    Uri(String),
    Ip(Vec<u8>),
}

/// The names that a CA permits and excludes.
#[derive(Default)]
pub(super) struct NameConstraints {
    permitted: Subtrees,
    excluded: Subtrees,
}

#[derive(Default)]
struct Subtrees {
    emails: Vec<String>,
    domains: Vec<String>,
    uris: Vec<String>,
    /// Address and mask.
    networks: Vec<(Vec<u8>, Vec<u8>)>,
}

impl GeneralName {
    /// Parses the names in the extension's value. Kinds of names that are never checked are omitted.
    pub fn parse_all(value: &[u8]) -> Parse<Vec<GeneralName>> {
        const MALFORMED: &str = "x509: invalid subject alternative names";
        let mut list = Reader::new(value).sequence().ok_or(MALFORMED)?;
        let mut names = Vec::new();
        while !list.is_empty() {
            let element = list.any().ok_or(MALFORMED)?;
            let text = || ia5(element.content).ok_or("x509: SAN is malformed");
            const EMAIL: u8 = tag::context(1);
            const DNS: u8 = tag::context(2);
            const URI: u8 = tag::context(6);
            const IP: u8 = tag::context(7);
            match element.tag {
                EMAIL => names.push(GeneralName::Email(text()?)),
                DNS => names.push(GeneralName::Dns(text()?)),
                URI => {
                    let uri = text()?;
                    let host = uri::host(&uri).map_err(|_| "x509: cannot parse URI")?;
                    if !domain_valid(host, false) {
                        return Err("x509: cannot parse URI: invalid domain");
                    }
                    names.push(GeneralName::Uri(uri));
                }
                IP if matches!(element.content.len(), 4 | 16) => names.push(GeneralName::Ip(element.content.to_vec())),
                IP => return Err("x509: cannot parse IP address of this length"),
                _ => {}
            }
        }
        Ok(names)
    }
}

impl NameConstraints {
    /// Parses the constraints, and returns whether all of them are of a known kind.
    pub fn parse(value: &[u8]) -> Parse<(NameConstraints, bool)> {
        const INVALID: &str = "x509: invalid NameConstraints extension";
        let mut outer = Reader::new(value);
        let mut r = outer.sequence().filter(|_| outer.is_empty()).ok_or(INVALID)?;
        let permitted = r.optional(tag::explicit(0)).ok_or(INVALID)?;
        let excluded = r.optional(tag::explicit(1)).ok_or(INVALID)?;
        if !r.is_empty() {
            return Err(INVALID);
        }
        if permitted.unwrap_or_default().is_empty() && excluded.unwrap_or_default().is_empty() {
            return Err("x509: empty name constraints extension");
        }
        let mut constraints = NameConstraints::default();
        let mut handled = true;
        for (subtrees, list) in [(&mut constraints.permitted, permitted), (&mut constraints.excluded, excluded)] {
            handled &= subtrees.parse(list.unwrap_or_default()).ok_or(INVALID)?;
        }
        Ok((constraints, handled))
    }

    /// Checks a name; the error is the human-readable reason.
    pub fn check(&self, name: &GeneralName) -> Result<(), String> {
        let (permitted, excluded) = (&self.permitted, &self.excluded);
        match name {
            GeneralName::Dns(name) if !domain_valid(name, false) => Err(format!("cannot parse dnsName \"{name}\"")),
            GeneralName::Dns(name) => {
                if excluded.domains.iter().any(|c| wildcard_meets(name, c)) {
                    return Err(format!("DNS name \"{name}\" is excluded by a constraint"));
                }
                check(("DNS name", name), &permitted.domains, &excluded.domains, |c| domain_matches(name, c))
            }
            GeneralName::Email(name) => {
                let Some(address) = EmailAddress::parse(name).filter(|address| domain_valid(&address.domain, false))
                else {
                    return Err(format!("cannot parse rfc822Name \"{name}\""));
                };
                check(("email address", name), &permitted.emails, &excluded.emails, |c| match EmailAddress::parse(c) {
                    Some(wanted) => address == wanted,
                    None => domain_matches(&address.domain, c),
                })
            }
            GeneralName::Uri(name) => {
                // A URI without a host name cannot be checked against any constraint.
                let host = uri_host(name).filter(|h| !h.is_empty() && h.parse::<std::net::IpAddr>().is_err());
                let Some(host) = host.filter(|h| !h.starts_with('[')) else {
                    return Err(format!("URI without host name (\"{name}\") cannot be matched against constraints"));
                };
                check(("URI", name), &permitted.uris, &excluded.uris, |c| domain_matches(host, c))
            }
            GeneralName::Ip(address) => {
                let shown = match (<[u8; 4]>::try_from(&address[..]), <[u8; 16]>::try_from(&address[..])) {
                    (Ok(v4), _) => std::net::IpAddr::from(v4).to_string(),
                    (_, Ok(v6)) => std::net::IpAddr::from(v6).to_string(),
                    _ => String::new(),
                };
                check(("IP address", &shown), &permitted.networks, &excluded.networks, |(network, mask)| {
                    let same = |i: usize| address[i] & mask[i] == network[i] & mask[i];
                    network.len() == address.len() && (0..address.len()).all(same)
                })
            }
        }
    }
}

fn check<C>(
    (kind, name): (&str, &str),
    permitted: &[C],
    excluded: &[C],
    matches: impl Fn(&C) -> bool,
) -> Result<(), String> {
    if excluded.iter().any(&matches) {
        return Err(format!("{kind} \"{name}\" is excluded by a constraint"));
    }
    if !permitted.is_empty() && !permitted.iter().any(&matches) {
        return Err(format!("{kind} \"{name}\" is not permitted by any constraint"));
    }
    Ok(())
}

impl Subtrees {
    /// Returns whether all are of a known kind.
    fn parse(&mut self, list: &[u8]) -> Option<bool> {
        let mut list = Reader::new(list);
        let mut handled = true;
        while !list.is_empty() {
            let base = list.sequence()?.any()?;
            let domain = || ia5(base.content).filter(|d| domain_valid(d, true));
            match base.tag & 0x1f {
                _ if base.tag & 0xe0 != 0x80 => handled = false,
                1 => {
                    let email = ia5(base.content)?;
                    let whole = email.contains('@').then(|| EmailAddress::parse(&email).map(|_| email.clone()));
                    self.emails.push(whole.unwrap_or_else(domain)?);
                }
                2 => self.domains.push(domain()?),
                6 => {
                    let host = domain().filter(|d| d.parse::<std::net::IpAddr>().is_err())?;
                    self.uris.push(host);
                }
                7 => {
                    let (network, mask) = match base.content.len() {
                        len @ (8 | 32) => base.content.split_at(len / 2),
                        _ => return None,
                    };
                    // The mask must be ones, then zeros.
                    let ones: u32 = mask.iter().map(|b| b.leading_ones()).sum();
                    let set: u32 = mask.iter().map(|b| b.count_ones()).sum();
                    let first_gap = mask.iter().position(|b| *b != 0xff).unwrap_or(mask.len());
                    let after_gap = mask.iter().skip(first_gap + 1).any(|b| *b != 0);
                    if ones != set || after_gap {
                        return None;
                    }
                    self.networks.push((network.to_vec(), mask.to_vec()));
                }
                _ => handled = false,
            }
        }
        Some(handled)
    }
}

fn ia5(bytes: &[u8]) -> Option<String> {
    bytes.is_ascii().then(|| bytes.iter().map(|b| char::from(*b)).collect())
}

/// Checks for non-empty labels of visible characters. A constraint may begin with a dot.
fn domain_valid(domain: &str, constraint: bool) -> bool {
    let labels = if constraint { domain.strip_prefix('.').unwrap_or(domain) } else { domain };
    domain.is_empty() || labels.split('.').all(|l| !l.is_empty() && l.bytes().all(|b| (33..=126).contains(&b)))
}

/// A constraint covers its domain and all domains below it; with a leading dot only those below. Go treats the hosts of
/// e-mail addresses and of URIs in the same way, where RFC 5280 requires an exact match.
fn domain_matches(name: &str, constraint: &str) -> bool {
    if constraint.is_empty() {
        return true;
    }
    let (name, constraint) = (name.to_ascii_lowercase(), constraint.to_ascii_lowercase());
    match constraint.starts_with('.') {
        true => name.len() > constraint.len() && name.ends_with(&constraint),
        false => name.strip_suffix(&constraint).is_some_and(|front| front.is_empty() || front.ends_with('.')),
    }
}

/// Returns whether a wildcard name includes an excluded domain: `*.example.com` for `a.example.com`.
fn wildcard_meets(name: &str, excluded: &str) -> bool {
    let parent = |name: &str| name.find('.').map(|dot| name[dot..].to_ascii_lowercase());
    name.starts_with('*') && !excluded.is_empty() && parent(name).is_some_and(|it| parent(excluded) == Some(it))
}

/// Returns the host of `scheme://user@host:port/path`, also without the scheme.
fn uri_host(uri: &str) -> Option<&str> {
    let rest = uri.strip_prefix("//").or_else(|| Some(uri.split_once("://")?.1))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.starts_with('[') {
        true => Some(host),
        false => Some(host.split_once(':').map_or(host, |(host, _)| host)),
    }
}

/// Returns whether a common name looks like a host name, and thus like a name that constraints apply to.
pub(super) fn looks_like_host(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |(i, label): (usize, &str)| {
        let wildcard = i == 0 && label == "*";
        let allowed = |(j, b): (usize, u8)| b.is_ascii_alphanumeric() || b"_:".contains(&b) || (b == b'-' && j != 0);
        wildcard || (!label.is_empty() && label.bytes().enumerate().all(allowed))
    };
    !name.is_empty() && name.split('.').enumerate().all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_match_as_go_has_them() {
        for (name, constraint, matches) in [
            ("example.com", "example.com", true),
            ("a.EXAMPLE.com", "example.COM", true),
            ("badexample.com", "example.com", false),
            ("example.com", ".example.com", false),
            ("a.example.com", ".example.com", true),
            ("anything", "", true),
        ] {
            assert_eq!(domain_matches(name, constraint), matches, "{name} {constraint}");
        }
        for (name, excluded, meets) in [
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "A.EXAMPLE.com", true),
            ("*.example.com", ".example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "com", false),
            ("b.example.com", "a.example.com", false),
        ] {
            assert_eq!(wildcard_meets(name, excluded), meets, "{name} {excluded}");
        }
        assert_eq!(uri_host("https://u@h.example:80/p"), Some("h.example"));
        assert_eq!(uri_host("spiffe:nothing"), None);
    }

    /// Go 1.26's results for 32 constraints and 34 names: the values of both extensions, and whether the chain is
    /// valid.
    #[test]
    fn constraints_hold_where_they_do_for_go() {
        let bytes = |hex: &str| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
        };
        let mut verdicts = [0, 0];
        for line in include_str!("../../tests/msp/data/constraints.txt").lines() {
            let [constraints, names, verdict] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let (constraints, handled) = NameConstraints::parse(&bytes(constraints)).unwrap();
            let good = GeneralName::parse_all(&bytes(names))
                .is_ok_and(|names| handled && names.iter().all(|name| constraints.check(name).is_ok()));
            assert_eq!(good, verdict == "ok", "{line}: {:?}", String::from_utf8_lossy(&bytes(names)));
            verdicts[usize::from(good)] += 1;
        }
        assert_eq!(verdicts, [454, 634]);
    }

    #[test]
    fn host_names_are_told_from_others() {
        for (name, host) in [
            ("host.example.org", true),
            ("*.example.org", true),
            ("peer0.org1", true),
            ("plain name", false),
            ("", false),
            ("a..b", false),
            ("-a.b", false),
            ("Admin@org1", false),
        ] {
            assert_eq!(looks_like_host(name), host, "{name}");
        }
    }
}
