//! Certificates and revocation lists, parsed as strictly as by Go's `crypto/x509`: a certificate that Go refuses to
//! parse is not an identity in a Fabric network.

use super::algorithm::SignatureAlgorithm;
use super::der::{tag, Reader};
use super::key::{self, PublicKey};
use super::names::{GeneralName, NameConstraints};
use super::policy::Policies;
use std::collections::HashSet;
use std::fmt;

type Parse<T> = Result<T, &'static str>;

/// The prefix of the OIDs 2.5.29.n, which most extensions have.
const ID_CE: &[u8] = &[0x55, 0x1d];
const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];

/// Extended key usages that the verifier checks.
pub(super) const EKU_SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
pub(super) const EKU_ANY: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

/// A parsed certificate. It owns its bytes.
pub(super) struct Certificate {
    /// The whole DER.
    pub raw: Vec<u8>,
    /// The part that is signed.
    pub tbs: Vec<u8>,
    /// The whole AlgorithmIdentifier of the signature.
    algorithm_raw: Vec<u8>,
    pub signature_algorithm: SignatureAlgorithm,
    pub signature: Vec<u8>,
    pub version: u8,
    /// Big endian, two's complement, not negative.
    pub serial: Vec<u8>,
    pub issuer_raw: Vec<u8>,
    pub issuer: Name,
    pub subject_raw: Vec<u8>,
    pub subject: Name,
    /// In seconds since 1970.
    pub not_before: i64,
    /// In seconds since 1970.
    pub not_after: i64,
    pub public_key: PublicKey,
    pub extensions: Extensions,
}

/// The content of the known extensions.
#[derive(Default)]
pub(super) struct Extensions {
    pub basic_constraints: Option<BasicConstraints>,
    /// Bit n is the usage n; `None` if unrestricted.
    pub key_usage: Option<u16>,
    /// OIDs; empty if unrestricted.
    pub ext_key_usage: Vec<Vec<u8>>,
    pub subject_key_id: Option<Vec<u8>>,
    pub authority_key_id: Option<Vec<u8>>,
    /// The raw value of the subject alternative name, and its names.
    pub san: Option<(Vec<u8>, Vec<GeneralName>)>,
    pub name_constraints: Option<NameConstraints>,
    pub policies: Policies,
    /// Whether there is a critical extension that is not understood here.
    pub unhandled_critical: bool,
}

#[derive(Clone, Copy)]
pub(super) struct BasicConstraints {
    pub ca: bool,
    pub max_path_len: Option<u64>,
}

impl Certificate {
    pub fn parse(der: &[u8]) -> Parse<Certificate> {
        const MALFORMED: &str = "x509: malformed certificate";
        const MALFORMED_TBS: &str = "x509: malformed tbs certificate";
        const MALFORMED_ALGORITHM: &str = "x509: malformed signature algorithm identifier";
        let mut input = Reader::new(der);
        let whole = input.element(tag::SEQUENCE).ok_or(MALFORMED)?;
        let trailing = !input.is_empty();
        let mut outer = Reader::new(whole.content);
        let tbs = outer.element(tag::SEQUENCE).ok_or(MALFORMED_TBS)?;
        let mut r = Reader::new(tbs.content);

        let version = match r.optional(tag::explicit(0)).ok_or("x509: malformed version")? {
            None => 1,
            Some(version) => {
                let mut r = Reader::new(version);
                match r.small_integer().filter(|_| r.is_empty()) {
                    Some(n @ 0..=2) => n as u8 + 1,
                    _ => return Err("x509: invalid version"),
                }
            }
        };
        let serial = r.integer().ok_or("x509: malformed serial number")?;
        if serial[0] & 0x80 != 0 {
            return Err("x509: negative serial number");
        }
        let algorithm = r.element(tag::SEQUENCE).ok_or(MALFORMED_ALGORITHM)?;
        if outer.content(tag::SEQUENCE).ok_or("x509: malformed algorithm identifier")? != algorithm.content {
            return Err("x509: inner and outer signature algorithm identifiers don't match");
        }
        let signature_algorithm = SignatureAlgorithm::parse(algorithm.content).ok_or(MALFORMED_ALGORITHM)?;
        let issuer_raw = r.element(tag::SEQUENCE).ok_or("x509: malformed issuer")?.whole;
        let issuer = Name::parse(issuer_raw)?;
        let mut validity = r.sequence().ok_or("x509: malformed validity")?;
        let not_before = validity.time().ok_or("x509: malformed time")?;
        let not_after = validity.time().ok_or("x509: malformed time")?;
        let subject_raw = r.element(tag::SEQUENCE).ok_or("x509: malformed subject")?.whole;
        let subject = Name::parse(subject_raw)?;
        let public_key = PublicKey::parse(r.element(tag::SEQUENCE).ok_or("x509: malformed spki")?.whole)?;
        let mut extensions = Extensions::default();
        if version > 1 {
            r.optional(tag::context(1)).ok_or("x509: malformed issuerUniqueID")?;
            r.optional(tag::context(2)).ok_or("x509: malformed subjectUniqueID")?;
        }
        if version == 3 {
            if let Some(list) = r.optional(tag::explicit(3)).ok_or("x509: malformed extensions")? {
                extensions = Extensions::parse(list)?;
            }
        }
        let signature = outer.bit_string_bytes().ok_or("x509: malformed signature")?;
        if trailing {
            return Err("x509: trailing data");
        }
        Ok(Certificate {
            raw: whole.whole.to_vec(),
            tbs: tbs.whole.to_vec(),
            algorithm_raw: algorithm.whole.to_vec(),
            signature_algorithm,
            signature,
            version,
            serial: serial.to_vec(),
            issuer_raw: issuer_raw.to_vec(),
            issuer,
            subject_raw: subject_raw.to_vec(),
            subject,
            not_before,
            not_after,
            public_key,
            extensions,
        })
    }

    pub fn is_ca(&self) -> bool {
        self.extensions.basic_constraints.is_some_and(|c| c.ca)
    }

    /// Checks that `parent` may sign certificates and signed this one.
    pub fn check_signature_from(&self, parent: &Certificate) -> Parse<()> {
        const CERT_SIGN: u16 = 1 << 5;
        let may_sign = match parent.extensions.basic_constraints {
            Some(constraints) => constraints.ca,
            None => parent.version < 3,
        };
        if !may_sign || parent.extensions.key_usage.is_some_and(|u| u != 0 && u & CERT_SIGN == 0) {
            return Err("x509: invalid signature: parent certificate cannot sign this kind of certificate");
        }
        parent.public_key.verify_certificate(self.signature_algorithm, &self.signature, &self.tbs)
    }

    /// Returns the same certificate with an ECDSA signature of low S, as Fabric stores it; `None` if it already has
    /// that. The signature must be valid under the key of `parent`.
    pub fn sanitized(&self, parent: &Certificate) -> Parse<Option<Certificate>> {
        let signature = parent.public_key.to_low_s(&self.signature).ok_or("x509: the parent's key is not ECDSA")?;
        if signature == self.signature {
            return Ok(None);
        }
        let mut bits = vec![0];
        bits.extend_from_slice(&signature);
        let content = [&self.tbs[..], &self.algorithm_raw, &super::der::encode(tag::BIT_STRING, &bits)].concat();
        Certificate::parse(&super::der::encode(tag::SEQUENCE, &content)).map(Some)
    }

    /// Returns the serial number in lower-case hex.
    pub fn serial_hex(&self) -> String {
        let digits: String = self.serial.iter().map(|b| format!("{b:02x}")).collect();
        digits.trim_start_matches('0').to_owned()
    }
}

impl Extensions {
    fn parse(list: &[u8]) -> Parse<Extensions> {
        const MALFORMED: &str = "x509: malformed extension";
        let mut list = Reader::new(list).sequence().ok_or("x509: malformed extensions")?;
        let mut parsed = Extensions::default();
        let mut seen = HashSet::new();
        let mut entries = Vec::new();
        while !list.is_empty() {
            let (oid, critical, value) = extension(&mut list.sequence().ok_or(MALFORMED)?).ok_or(MALFORMED)?;
            if !seen.insert(oid) {
                return Err("x509: certificate contains duplicate extensions");
            }
            entries.push((oid, critical, value));
        }
        for (oid, critical, value) in entries {
            let handled = parsed.read(oid, critical, value)?;
            parsed.unhandled_critical |= critical && !handled;
        }
        Ok(parsed)
    }

    /// Reads an extension; returns whether it is understood.
    fn read(&mut self, oid: &[u8], critical: bool, value: &[u8]) -> Parse<bool> {
        let mut r = Reader::new(value);
        let number = match oid.strip_prefix(ID_CE) {
            Some([number]) => *number,
            _ if oid == AUTHORITY_INFO_ACCESS => {
                return match !critical && is_authority_info_access(r) {
                    true => Ok(true),
                    false => Err("x509: invalid authority info access"),
                };
            }
            _ => return Ok(false),
        };
        match number {
            14 => {
                if critical {
                    return Err("x509: subject key identifier incorrectly marked critical");
                }
                let id = r.content(tag::OCTET_STRING).ok_or("x509: invalid subject key identifier")?;
                self.subject_key_id = Some(id.to_vec());
            }
            15 => {
                let (bits, unused) = r.bit_string().ok_or("x509: invalid key usage")?;
                let set = |i: usize| {
                    let in_range = i < bits.len() * 8 - usize::from(unused);
                    in_range && bits[i / 8] & (0x80 >> (i % 8)) != 0
                };
                self.key_usage = Some((0..9).filter(|i| set(*i)).map(|i| 1 << i).sum());
            }
            17 => {
                let names = GeneralName::parse_all(value)?;
                let handled = !names.is_empty();
                self.san = Some((value.to_vec(), names));
                return Ok(handled);
            }
            19 => {
                const INVALID: &str = "x509: invalid basic constraints";
                let mut r = r.sequence().ok_or(INVALID)?;
                let ca = if r.next_is(tag::BOOLEAN) { r.boolean().ok_or(INVALID)? } else { false };
                let max_path_len = match r.next_is(tag::INTEGER) {
                    true => Some(r.small_integer().ok_or(INVALID)?),
                    false => None,
                };
                self.basic_constraints = Some(BasicConstraints { ca, max_path_len });
            }
            30 => {
                let (constraints, handled) = NameConstraints::parse(value)?;
                self.name_constraints = Some(constraints);
                return Ok(handled);
            }
            35 => {
                if critical {
                    return Err("x509: authority key identifier incorrectly marked critical");
                }
                self.authority_key_id = authority_key_id(value).ok_or("x509: invalid authority key identifier")?;
            }
            37 => {
                const INVALID: &str = "x509: invalid extended key usages";
                let mut r = r.sequence().ok_or(INVALID)?;
                while !r.is_empty() {
                    self.ext_key_usage.push(r.oid().ok_or(INVALID)?.to_vec());
                }
            }
            // CRL distribution points: understood, but without effect here.
            31 => is_distribution_points(r).then_some(()).ok_or("x509: invalid CRL distribution points")?,
            32 => self.policies.read_asserted(value).ok_or("x509: invalid certificate policies")?,
            33 => self.policies.read_mappings(value).ok_or("x509: invalid policy mappings extension")?,
            36 => self.policies.read_constraints(value).ok_or("x509: invalid policy constraints extension")?,
            54 => self.policies.read_inhibit_any(value).ok_or("x509: invalid inhibit any policy extension")?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// Reads OID, criticality and value.
fn extension<'a>(r: &mut Reader<'a>) -> Option<(&'a [u8], bool, &'a [u8])> {
    let oid = r.oid()?;
    let critical = if r.next_is(tag::BOOLEAN) { r.boolean()? } else { false };
    Some((oid, critical, r.content(tag::OCTET_STRING)?))
}

/// Checks each entry as far as Go does: an OID, and an entry that is tagged as a URI must be one.
fn is_authority_info_access(mut r: Reader<'_>) -> bool {
    let Some(mut list) = r.sequence() else { return false };
    while !list.is_empty() {
        let entry = list.sequence().and_then(|mut entry| entry.oid().and_then(|_| entry.optional(tag::context(6))));
        if entry.is_none() {
            return false;
        }
    }
    true
}

/// Checks each entry as far as Go does: the URIs with which a full name begins.
fn is_distribution_points(mut r: Reader<'_>) -> bool {
    let Some(mut list) = r.sequence() else { return false };
    let is_point = |mut point: Reader<'_>| {
        let Some(name) = point.optional(tag::explicit(0))? else { return Some(()) };
        let mut uris = Reader::new(Reader::new(name).content(tag::explicit(0))?);
        while uris.next_is(tag::context(6)) {
            uris.content(tag::context(6))?;
        }
        Some(())
    };
    while !list.is_empty() {
        if list.sequence().and_then(is_point).is_none() {
            return false;
        }
    }
    true
}

fn authority_key_id(value: &[u8]) -> Option<Option<Vec<u8>>> {
    let id = Reader::new(value).sequence()?.optional(tag::context(0))?;
    Some(id.map(<[u8]>::to_vec))
}

/// A distinguished name: its text attributes, in order.
#[derive(Default)]
pub(super) struct Name(Vec<(Vec<u8>, String)>);

/// The OIDs 2.5.4.n of the attributes that matter.
pub(super) mod attribute {
    pub const COMMON_NAME: u8 = 3;
    pub const SERIAL_NUMBER: u8 = 5;
    pub const COUNTRY: u8 = 6;
    pub const LOCALITY: u8 = 7;
    pub const PROVINCE: u8 = 8;
    pub const STREET: u8 = 9;
    pub const ORGANIZATION: u8 = 10;
    pub const ORGANIZATIONAL_UNIT: u8 = 11;
    pub const POSTAL_CODE: u8 = 17;
}

impl Name {
    fn parse(raw: &[u8]) -> Parse<Name> {
        const INVALID: &str = "x509: invalid RDNSequence";
        let mut rdns = Reader::new(raw).sequence().ok_or(INVALID)?;
        let mut attributes = Vec::new();
        while !rdns.is_empty() {
            let mut set = Reader::new(rdns.content(tag::SET).ok_or(INVALID)?);
            while !set.is_empty() {
                let mut pair = set.sequence().ok_or(INVALID)?;
                let oid = pair.oid().ok_or(INVALID)?;
                let value = pair.any().ok_or(INVALID)?;
                attributes.push((oid.to_vec(), string(value.tag, value.content).ok_or(INVALID)?));
            }
        }
        Ok(Name(attributes))
    }

    /// Returns all values of the attribute 2.5.4.n.
    pub fn values(&self, attribute: u8) -> Vec<&str> {
        let wanted = [0x55, 0x04, attribute];
        self.0.iter().filter(|(oid, _)| *oid == wanted).map(|(_, value)| value.as_str()).collect()
    }

    pub fn common_name(&self) -> &str {
        self.values(attribute::COMMON_NAME).last().copied().unwrap_or_default()
    }
}

/// Shows the attributes from the most to the least specific, as Go does.
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = [
            ("SERIALNUMBER", attribute::SERIAL_NUMBER),
            ("CN", attribute::COMMON_NAME),
            ("POSTALCODE", attribute::POSTAL_CODE),
            ("STREET", attribute::STREET),
            ("ST", attribute::PROVINCE),
            ("L", attribute::LOCALITY),
            ("OU", attribute::ORGANIZATIONAL_UNIT),
            ("O", attribute::ORGANIZATION),
            ("C", attribute::COUNTRY),
        ];
        let present = order.iter().map(|(key, n)| (key, self.values(*n))).filter(|(_, values)| !values.is_empty());
        for (i, (key, values)) in present.enumerate() {
            let separator = if i == 0 { "" } else { "," };
            let values: Vec<String> = values.iter().map(|v| format!("{key}={v}")).collect();
            write!(f, "{separator}{}", values.join("+"))?;
        }
        Ok(())
    }
}

/// Decodes a string type that is allowed in names.
fn string(tag: u8, value: &[u8]) -> Option<String> {
    let ascii = |allowed: fn(u8) -> bool| {
        value.iter().all(|b| allowed(*b)).then(|| value.iter().map(|b| char::from(*b)).collect())
    };
    match tag {
        tag::UTF8_STRING => String::from_utf8(value.to_vec()).ok(),
        tag::PRINTABLE_STRING => ascii(|b| b.is_ascii_alphanumeric() || b" '()+,-./:=?*&".contains(&b)),
        tag::IA5_STRING => ascii(|b| b.is_ascii()),
        tag::NUMERIC_STRING => ascii(|b| b.is_ascii_digit() || b == b' '),
        tag::T61_STRING => Some(value.iter().map(|b| char::from(*b)).collect()),
        tag::BMP_STRING => bmp_string(value),
        _ => None,
    }
}

fn bmp_string(value: &[u8]) -> Option<String> {
    if value.len() % 2 != 0 {
        return None;
    }
    let value = value.strip_suffix(&[0, 0]).unwrap_or(value);
    let points = value.chunks_exact(2).map(|c| u32::from(c[0]) << 8 | u32::from(c[1]));
    let allowed = |p: &u32| !matches!(p, 0xfffe | 0xffff | 0xfdd0..=0xfdef);
    points.map(|p| Some(p).filter(allowed).and_then(char::from_u32)).collect()
}

/// A certificate revocation list.
pub(super) struct RevocationList {
    tbs: Vec<u8>,
    algorithm: SignatureAlgorithm,
    signature: Vec<u8>,
    pub authority_key_id: Option<Vec<u8>>,
    /// Serial numbers, each in the form of [`Certificate::serial`].
    revoked: Vec<Vec<u8>>,
}

impl RevocationList {
    pub fn parse(der: &[u8]) -> Parse<RevocationList> {
        Self::parse_opt(der).ok_or("not a certificate revocation list")?
    }

    fn parse_opt(der: &[u8]) -> Option<Parse<RevocationList>> {
        let mut input = Reader::new(der);
        let mut outer = input.sequence()?;
        let tbs = outer.element(tag::SEQUENCE)?;
        let algorithm = SignatureAlgorithm::parse(outer.content(tag::SEQUENCE)?)?;
        let mut signature = outer.bit_string_bytes()?;
        if !input.is_empty() || !outer.is_empty() {
            return None;
        }

        let mut r = Reader::new(tbs.content);
        if r.next_is(tag::INTEGER) {
            r.small_integer()?;
        }
        r.sequence()?; // The algorithm again.
        r.sequence()?; // The issuer is skipped: the key identifier decides.
        r.time()?;
        if r.next_is(tag::UTC_TIME) || r.next_is(tag::GENERALIZED_TIME) {
            r.time()?;
        }
        let mut revoked = Vec::new();
        if r.next_is(tag::SEQUENCE) {
            let mut entries = r.sequence()?;
            while !entries.is_empty() {
                let mut entry = entries.sequence()?;
                revoked.push(entry.integer()?.to_vec());
                entry.time()?;
            }
        }
        let mut id = None;
        if let Some(extensions) = r.optional(tag::explicit(0))? {
            let mut list = Reader::new(extensions).sequence()?;
            while !list.is_empty() {
                let (oid, _, value) = extension(&mut list.sequence()?)?;
                if oid.strip_prefix(ID_CE) == Some(&[35]) {
                    id = Some(authority_key_id(value)?.unwrap_or_default());
                }
            }
        }
        if algorithm.is_ecdsa() {
            // In a list, data after the two numbers of the signature is ignored.
            match key::canonical_form(&signature) {
                Ok(canonical) => signature = canonical,
                Err(e) => return Some(Err(e)),
            }
        }
        let tbs = tbs.whole.to_vec();
        Some(Ok(RevocationList { tbs, algorithm, signature, authority_key_id: id, revoked }))
    }

    pub fn lists(&self, certificate: &Certificate) -> bool {
        self.revoked.contains(&certificate.serial)
    }

    pub fn check_signature_from(&self, issuer: &Certificate) -> Parse<()> {
        issuer.public_key.verify_list(self.algorithm, &self.signature, &self.tbs)
    }
}
