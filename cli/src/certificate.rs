//! Human-readable X.509 certificates: subject, issuer, names and validity.

use crate::failure::{Failure, Result};
use crate::output::shown;
use crate::rfc3339;
use crate::values::hex;
use fabric_gossip::msp::PemFile;
use fabric_gossip::transport::check_server_name;
use openssl::asn1::{Asn1StringRef, Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::Id;
use openssl::x509::{X509NameRef, X509Ref, X509};
use serde_json::{json, Value};
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A certificate and where it came from.
#[derive(Clone)]
pub struct Certificate {
    pub source: String,
    pub pem: Vec<u8>,
    pub x509: X509,
}

impl Certificate {
    /// Reads the first certificate of a PEM text; errors mention `source`.
    pub fn new(source: &str, pem: &[u8]) -> Result<Certificate, String> {
        let x509 = X509::from_pem(pem).map_err(|_| format!("{source}: is not a certificate in PEM form"))?;
        Self::from_x509(source, x509)
    }

    pub fn from_x509(source: &str, x509: X509) -> Result<Certificate, String> {
        let pem = x509.to_pem().map_err(|e| format!("{source}: {e}"))?;
        Ok(Certificate { source: source.to_owned(), pem, x509 })
    }

    /// Reads all certificates in a file, at least one.
    pub fn read_all(path: &Path) -> Result<Vec<Certificate>> {
        let text = std::fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
        let certificates =
            X509::stack_from_pem(&text).map_err(|_| Failure::file(path, "is not a certificate in PEM form"))?;
        if certificates.is_empty() {
            return Err(Failure::file(path, "holds no certificate in PEM form"));
        }
        let source = shown(path);
        certificates
            .into_iter()
            .map(|x509| {
                let pem = x509.to_pem().map_err(|e| Failure::file(path, e))?;
                Ok(Certificate { source: source.clone(), pem, x509 })
            })
            .collect()
    }

    /// Returns the reason why Fabric's peers reject it as a server's certificate, if they do.
    pub fn unfit_for_servers(&self) -> Option<String> {
        let names = alternative_names(&self.x509);
        let name = names.first().map_or("localhost", String::as_str).replace('*', "any");
        check_server_name(&self.x509.to_der().ok()?, &name).err()
    }

    /// Reads the first block of a PEM file as Fabric does: its label is ignored.
    pub fn first_of(file: &PemFile) -> Result<Certificate> {
        let path = Path::new(&file.name);
        let der = file.first_block().ok_or_else(|| Failure::file(path, "holds no certificate in PEM form"))?;
        let x509 = X509::from_der(&der).map_err(|_| Failure::file(path, "is not a certificate in PEM form"))?;
        let pem = x509.to_pem().map_err(|e| Failure::file(path, e))?;
        Ok(Certificate { source: file.name.clone(), pem, x509 })
    }

    /// Checks that it is valid now.
    pub fn check_dates(&self) -> Result<(), String> {
        check_dates(&self.x509)
    }
}

/// Checks that a certificate is valid now; otherwise returns the reason.
pub fn check_dates(x509: &X509Ref) -> Result<(), String> {
    let now = Asn1Time::days_from_now(0).map_err(|e| e.to_string())?;
    if x509.not_after() < &*now {
        return Err(format!("the certificate expired on {}", date(x509.not_after())));
    }
    if x509.not_before() > &*now {
        return Err(format!("the certificate is not valid before {}", date(x509.not_before())));
    }
    Ok(())
}

/// Formats a name as `CN=peer0.org1.example.com,OU=peer,L=San Francisco`: the most specific part first, as in Go and in
/// OpenSSL's RFC 2253 form.
pub fn name(name: &X509NameRef) -> String {
    let mut parts: Vec<String> = name
        .entries()
        .map(|entry| {
            let key = match entry.object().nid() {
                Nid::UNDEF => entry.object().to_string(),
                nid => nid.short_name().unwrap_or("?").to_owned(),
            };
            let value = text(entry.data());
            format!("{key}={value}")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}

pub fn common_name(name: &X509NameRef) -> String {
    let entry = name.entries_by_nid(Nid::COMMONNAME).last();
    entry.map(|e| text(e.data())).unwrap_or_default()
}

/// Returns the organisational units, which contain an identity's role.
pub fn units(name: &X509NameRef) -> Vec<String> {
    let entries = name.entries_by_nid(Nid::ORGANIZATIONALUNITNAME);
    entries.map(|e| text(e.data())).collect()
}

/// Converts a text to UTF-8. Nearly all encodings of names are ASCII or UTF-8, or either with zero bytes in between.
fn text(value: &Asn1StringRef) -> String {
    String::from_utf8_lossy(value.as_slice()).replace('\0', "")
}

/// Returns the serial number in hex.
pub fn serial(x509: &X509Ref) -> Option<String> {
    let digits = x509.serial_number().to_bn().ok()?.to_hex_str().ok()?;
    Some(digits.to_lowercase())
}

/// Returns the SHA-256 hash of a certificate.
pub fn fingerprint(x509: &X509Ref) -> Option<String> {
    x509.digest(MessageDigest::sha256()).ok().map(|digest| hex(&digest))
}

/// Returns the type of the public key: `ECDSA P-256`, `RSA 2048`, `Ed25519`.
pub fn key_type(x509: &X509Ref) -> Option<String> {
    let key = x509.public_key().ok()?;
    Some(match key.id() {
        Id::EC => {
            let curve = key.ec_key().ok()?.group().curve_name();
            match curve {
                Some(Nid::X9_62_PRIME256V1) => "ECDSA P-256".to_owned(),
                Some(Nid::SECP384R1) => "ECDSA P-384".to_owned(),
                Some(Nid::SECP521R1) => "ECDSA P-521".to_owned(),
                curve => format!("ECDSA {}", curve.and_then(|nid| nid.short_name().ok()).unwrap_or("unknown curve")),
            }
        }
        Id::RSA => format!("RSA {}", key.bits()),
        Id::ED25519 => "Ed25519".to_owned(),
        Id::ED448 => "Ed448".to_owned(),
        _ => "unknown".to_owned(),
    })
}

/// DER of the extension's OID, and of the usages that TLS demands of servers and clients.
const EXTENDED_KEY_USAGE: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x25];
const TLS_USAGES: [[u8; 10]; 2] = [
    [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01],
    [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02],
];

/// Returns whether the extended key usage is that of TLS. Authorities issue identities without one.
pub fn is_for_tls(x509: &X509Ref) -> bool {
    let Ok(der) = x509.to_der() else { return false };
    let find = |from: usize, part: &[u8]| der[from..].windows(part.len()).position(|window| window == part);
    let Some(extension) = find(0, &EXTENDED_KEY_USAGE) else { return false };
    TLS_USAGES.iter().any(|usage| find(extension, usage).is_some())
}

/// Returns the reason why a certificate expires within a time, if it does.
pub fn expires_within(x509: &X509Ref, time: Duration) -> Option<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let limit = i64::try_from((now + time).as_secs()).unwrap_or(i64::MAX);
    let until = unix(x509.not_after())?;
    let verb = if until < now.as_secs() as i64 { "expired" } else { "expires" };
    (until < limit).then(|| format!("{} {verb} on {}", name(x509.subject_name()), date(x509.not_after())))
}

/// Returns the host names and addresses that a TLS certificate is valid for.
pub fn alternative_names(x509: &X509Ref) -> Vec<String> {
    let names = x509.subject_alt_names();
    let names = names.iter().flatten().filter_map(|name| {
        let address = |bytes: &[u8]| match bytes.len() {
            4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
            _ => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        };
        let ip = name.ipaddress().and_then(address).map(|ip| ip.to_string());
        name.dnsname().map(str::to_owned).or(ip)
    });
    names.collect()
}

/// Formats a time in RFC 3339: `2036-11-19T07:30:00Z`.
pub fn date(time: &Asn1TimeRef) -> String {
    unix(time).map_or_else(|| time.to_string(), rfc3339::seconds)
}

/// Returns a time in seconds since 1970.
pub fn unix(time: &Asn1TimeRef) -> Option<i64> {
    let diff = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(diff.days) * 86_400 + i64::from(diff.secs))
}

/// Formats the time until a certificate expires, for humans.
pub fn remaining(x509: &X509Ref) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    match unix(x509.not_after()).map(|end| (end - now).div_euclid(86_400)) {
        Some(days) if days < 0 => "expired".into(),
        Some(days) if days < 730 => format!("{days} days left"),
        Some(days) => format!("{} years left", days / 365),
        None => String::new(),
    }
}

/// Describes a certificate in JSON.
pub fn describe(x509: &X509Ref) -> Value {
    json!({
        "subject": name(x509.subject_name()),
        "issuer": name(x509.issuer_name()),
        "sans": alternative_names(x509),
        "not_before": date(x509.not_before()),
        "expires": date(x509.not_after()),
    })
}
