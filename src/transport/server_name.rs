//! Checks whether a server's certificate matches the dialled name, by Go's rules. Fabric's peers use these rules, which
//! are stricter than those of OpenSSL and of the C core: those fall back to the common name.

use openssl::x509::{X509ExtendedKeyUsage, X509Ref, X509};
use std::net::IpAddr;

/// Checks the certificate (DER) that a server presents for `host`, a name or an address. The error states the defect of
/// the certificate.
pub fn check_server_name(der: &[u8], host: &str) -> Result<(), String> {
    let certificate = X509::from_der(der).map_err(|_| "cannot be read".to_owned())?;
    check(&certificate, host)
}

/// Checks a PEM certificate as [`check_server_name`] does.
#[cfg(feature = "c-core")]
pub(super) fn check_pem(pem: &[u8], host: &str) -> Result<(), String> {
    let certificate = X509::from_pem(pem).map_err(|_| "cannot be read".to_owned())?;
    check(&certificate, host)
}

/// The names in a certificate.
#[derive(Default)]
struct Names {
    dns: Vec<String>,
    ip: Vec<IpAddr>,
}

/// Checks a certificate as [`check_server_name`] does.
pub(super) fn check(certificate: &X509Ref, host: &str) -> Result<(), String> {
    let server = X509ExtendedKeyUsage::SSL_SERVER | X509ExtendedKeyUsage::ANYEKU;
    if certificate.extended_key_usage().is_some_and(|usage| !usage.intersects(server)) {
        return Err("is for clients only: its extended key usage lacks serverAuth".into());
    }
    let names = Names::of(certificate);
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let fits = match bare.parse::<IpAddr>() {
        Ok(address) => names.ip.contains(&address),
        Err(_) => names.dns.iter().any(|pattern| fits(pattern, host)),
    };
    match (fits, names.is_empty()) {
        (true, _) => Ok(()),
        (false, true) => Err("has no subject alternative names, and Fabric's peers ignore the common name".into()),
        (false, false) if bare.parse::<IpAddr>().is_ok() && names.dns.iter().any(|name| name == bare) => {
            Err(format!("is not for the address {host}: it lists {host} as a DNS name instead of an IP address"))
        }
        (false, false) => Err(format!("is not for {host} but for {}", names.list())),
    }
}

impl Names {
    fn of(certificate: &X509Ref) -> Names {
        let mut names = Names::default();
        for name in certificate.subject_alt_names().iter().flatten() {
            names.dns.extend(name.dnsname().map(str::to_owned));
            let address = match name.ipaddress() {
                Some(bytes) if bytes.len() == 4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
                Some(bytes) => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
                None => None,
            };
            names.ip.extend(address);
        }
        names
    }

    fn is_empty(&self) -> bool {
        self.dns.is_empty() && self.ip.is_empty()
    }

    fn list(&self) -> String {
        let addresses = self.ip.iter().map(IpAddr::to_string);
        self.dns.iter().cloned().chain(addresses).collect::<Vec<_>>().join(", ")
    }
}

/// Returns whether a DNS name in a certificate, possibly with `*` as its first label, matches the host.
fn fits(pattern: &str, host: &str) -> bool {
    let (pattern, host) = (pattern.to_ascii_lowercase(), host.to_ascii_lowercase());
    if !is_name(&pattern, true) || !is_name(&host, false) {
        return !pattern.is_empty() && pattern == host;
    }
    let (labels, host): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.trim_end_matches('.').split('.').collect());
    labels.len() == host.len()
        && labels.iter().zip(&host).enumerate().all(|(i, (l, h))| (i == 0 && *l == "*") || l == h)
}

fn is_name(name: &str, pattern: bool) -> bool {
    let name = if pattern { name } else { name.strip_suffix('.').unwrap_or(name) };
    name.split('.').enumerate().all(|(i, label)| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        let wildcard = pattern && i == 0 && label == "*";
        wildcard || (!label.is_empty() && !label.starts_with('-') && label.bytes().all(plain))
    })
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn names_fit_as_in_go() {
        for (pattern, host) in [
            ("peer0.org1.test", "peer0.org1.test"),
            ("PEER0.org1.test", "peer0.ORG1.test"),
            ("*.org1.test", "peer0.org1.test"),
            ("peer0", "peer0."),
            ("a_b", "a_b"),
        ] {
            assert!(fits(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("*.test", "peer0.org1.test"),
            ("*.org1.test", "org1.test"),
            ("p*.test", "peer.test"),
            ("peer.*.test", "peer.a.test"),
            ("peer0.", "peer0"),
            ("", ""),
        ] {
            assert!(!fits(pattern, host), "{pattern} {host}");
        }
    }
}
