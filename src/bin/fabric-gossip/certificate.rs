//! X.509 certificates as a person sees them: whose, issued by whom, for which names, until when.

use crate::failure::{Failure, Result};
use fabric_gossip::msp::PemFile;
use openssl::asn1::{Asn1StringRef, Asn1Time, Asn1TimeRef};
use openssl::nid::Nid;
use openssl::x509::{X509NameRef, X509Ref, X509};
use serde_json::{json, Value};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// A certificate and where it came from.
#[derive(Clone)]
pub struct Certificate {
    pub source: String,
    pub pem: Vec<u8>,
    pub x509: X509,
}

impl Certificate {
    /// All certificates in a file, at least one.
    pub fn read_all(path: &Path) -> Result<Vec<Certificate>> {
        let text = std::fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
        let certificates =
            X509::stack_from_pem(&text).map_err(|_| Failure::file(path, "is not a certificate in PEM form"))?;
        if certificates.is_empty() {
            return Err(Failure::file(path, "holds no certificate in PEM form"));
        }
        let source = path.display().to_string();
        certificates
            .into_iter()
            .map(|x509| {
                let pem = x509.to_pem().map_err(|e| Failure::file(path, e))?;
                Ok(Certificate { source: source.clone(), pem, x509 })
            })
            .collect()
    }

    /// Reads the first block of a PEM file as Fabric does: its label does not count.
    pub fn first_of(file: &PemFile) -> Result<Certificate> {
        let path = Path::new(&file.name);
        let der = file.first_block().ok_or_else(|| Failure::file(path, "holds no certificate in PEM form"))?;
        let x509 = X509::from_der(&der).map_err(|_| Failure::file(path, "is not a certificate in PEM form"))?;
        let pem = x509.to_pem().map_err(|e| Failure::file(path, e))?;
        Ok(Certificate { source: file.name.clone(), pem, x509 })
    }

    /// Whether it is valid now.
    pub fn check_dates(&self) -> Result<(), String> {
        check_dates(&self.x509)
    }
}

/// Says why a certificate is not valid now.
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

/// The files in a folder, sorted; none if there is no such folder.
pub fn files_in(dir: &Path) -> Result<Vec<PathBuf>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(dir).map_err(|e| Failure::file(dir, format!("cannot be read: {e}")))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_file()).collect();
    files.sort();
    Ok(files)
}

/// `CN=peer0.org1.example.com,OU=peer,L=San Francisco`: the most specific part first, as Go and OpenSSL's RFC 2253 form
/// have it.
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

/// The organisational units: where an identity's role stands.
pub fn units(name: &X509NameRef) -> Vec<String> {
    let entries = name.entries_by_nid(Nid::ORGANIZATIONALUNITNAME);
    entries.map(|e| text(e.data())).collect()
}

/// Of the forms that names have, nearly all are ASCII or UTF-8, or that with zero bytes in between.
fn text(value: &Asn1StringRef) -> String {
    String::from_utf8_lossy(value.as_slice()).replace('\0', "")
}

/// The host names and addresses that a TLS certificate is good for.
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

/// The moment in RFC 3339: `2036-11-19T07:30:00Z`.
pub fn date(time: &Asn1TimeRef) -> String {
    let Some(seconds) = unix(time) else { return time.to_string() };
    let days = seconds.div_euclid(86_400);
    let (year, month, day) = civil(days);
    let second = seconds.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

fn unix(time: &Asn1TimeRef) -> Option<i64> {
    let diff = Asn1Time::from_unix(0).ok()?.diff(time).ok()?;
    Some(i64::from(diff.days) * 86_400 + i64::from(diff.secs))
}

/// Year, month and day of a day since 1970, in the Gregorian calendar: 400 years have 146,097 days, counted from
/// 1 March so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

/// How long until a certificate ends, for a person.
pub fn remaining(x509: &X509Ref) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
    match unix(x509.not_after()).map(|end| (end - now).div_euclid(86_400)) {
        Some(days) if days < 0 => "expired".into(),
        Some(days) if days < 730 => format!("{days} days left"),
        Some(days) => format!("{} years left", days / 365),
        None => String::new(),
    }
}

/// What JSON says of a certificate.
pub fn describe(x509: &X509Ref) -> Value {
    json!({
        "subject": name(x509.subject_name()),
        "issuer": name(x509.issuer_name()),
        "sans": alternative_names(x509),
        "not_before": date(x509.not_before()),
        "expires": date(x509.not_after()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let ok = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ];
        for (unix, text) in ok {
            assert_eq!(date(&Asn1Time::from_unix(unix).unwrap()), text);
        }
    }
}
