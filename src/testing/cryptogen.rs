//! Test organisations: certificate authorities, peers and TLS pairs, in memory or in the folder layout of Fabric's
//! `cryptogen`, so that Fabric's own peer can use the written files.
//!
//! Keys are ECDSA P-256 and unencrypted: do not use them in production.

use crate::crypto::PeerIdentity;
use crate::error::{Error, ErrorKind, Result};
use crate::msp::{
    serialized_identity, Msp, MspConfig, MspCryptoService, NodeOus, OuIdentifier, PemFile, SigningIdentity,
};
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName, SubjectKeyIdentifier,
};
use openssl::x509::{X509Builder, X509Name, X509NameBuilder, X509};
use std::fmt;
use std::fs;
use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: Duration = Duration::from_secs(24 * 3600);
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Certificates are valid from shortly before their creation, so that machines with clock differences accept them
/// immediately.
const BACKDATE: Duration = Duration::from_secs(5 * 60);

/// The part of `config.yaml` that enables NodeOUs, as written by cryptogen: roles by OU, for any issuing authority.
const NODE_OUS: &str = "\
NodeOUs:
  Enable: true
  ClientOUIdentifier:
    OrganizationalUnitIdentifier: client
  PeerOUIdentifier:
    OrganizationalUnitIdentifier: peer
  AdminOUIdentifier:
    OrganizationalUnitIdentifier: admin
  OrdererOUIdentifier:
    OrganizationalUnitIdentifier: orderer
";

/// A test organisation: one root authority for identities and one for TLS.
pub struct Org {
    mspid: String,
    domain: String,
    ca: Authority,
    tls_ca: Authority,
}

/// A member of an [`Org`]: an identity and a TLS pair, as PEM.
#[derive(Clone)]
pub struct Member {
    /// The MSP id of the organisation.
    pub mspid: String,
    /// The host name, such as `peer0.org1.example.com`.
    pub name: String,
    /// The identity's certificate.
    pub cert: String,
    /// The identity's private key (PKCS#8).
    pub key: String,
    /// The authority that issued the identity.
    pub ca_cert: String,
    /// The TLS certificate, for server and client.
    pub tls_cert: String,
    /// The TLS private key (PKCS#8).
    pub tls_key: String,
    /// The authority that issued the TLS certificate.
    pub tls_ca_cert: String,
}

/// A builder for a [`Member`]; [`issue`](MemberRequest::issue) creates it. The defaults are those of a valid peer: OU
/// `peer`, valid from five minutes ago for ten years, reachable as `localhost`, `127.0.0.1` and `::1`.
#[must_use]
pub struct MemberRequest<'a> {
    org: &'a Org,
    issuer: &'a Org,
    tls_issuer: &'a Org,
    name: String,
    ous: Vec<String>,
    sans: Vec<String>,
    validity: Validity,
}

impl std::fmt::Debug for MemberRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemberRequest").finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
struct Validity {
    from: SystemTime,
    until: SystemTime,
}

struct Authority {
    name: String,
    cert: X509,
    key: PKey<Private>,
}

impl Org {
    /// Creates an organisation with fresh keys: `Org::new("Org1MSP", "org1.example.com")`.
    pub fn new(mspid: impl Into<String>, domain: impl Into<String>) -> Result<Org> {
        let (mspid, domain) = (mspid.into(), domain.into());
        let ca = Authority::new(&domain, format!("ca.{domain}"))?;
        let tls_ca = Authority::new(&domain, format!("tlsca.{domain}"))?;
        Ok(Org { mspid, domain, ca, tls_ca })
    }

    /// Returns the MSP id.
    pub fn mspid(&self) -> &str {
        &self.mspid
    }

    /// Returns the domain of the members' names.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the certificate of the authority for identities, as PEM.
    pub fn ca_cert(&self) -> Result<String> {
        pem_text(self.ca.cert.to_pem())
    }

    /// Returns the certificate of the authority for TLS, as PEM.
    pub fn tls_ca_cert(&self) -> Result<String> {
        pem_text(self.tls_ca.cert.to_pem())
    }

    /// Creates a valid peer. `name` is the host name's first part, such as `peer0`.
    pub fn peer(&self, name: &str) -> Result<Member> {
        self.member(name).issue()
    }

    /// Returns a builder for a peer with other settings.
    pub fn member(&self, name: &str) -> MemberRequest<'_> {
        let now = SystemTime::now();
        MemberRequest {
            org: self,
            issuer: self,
            tls_issuer: self,
            name: format!("{name}.{}", self.domain),
            ous: vec!["peer".into()],
            sans: Vec::new(),
            validity: Validity { from: now - BACKDATE, until: now + VALIDITY },
        }
    }

    /// Creates the administrator, named as by cryptogen: `Admin@<domain>`.
    pub fn admin(&self) -> Result<Member> {
        let mut request = self.member("Admin").ou("admin");
        request.name = format!("Admin@{}", self.domain);
        request.issue()
    }

    /// Returns in memory what [`write_to`](Self::write_to) writes as the organisation's MSP.
    pub fn msp_config(&self) -> Result<MspConfig> {
        let role = |ou: &str| Some(OuIdentifier { organizational_unit_identifier: ou.into(), certificate: None });
        let (client, peer) = (role("client"), role("peer"));
        let (admin, orderer) = (role("admin"), role("orderer"));
        Ok(MspConfig {
            mspid: self.mspid.clone(),
            root_certs: vec![PemFile::new(self.ca.name.clone(), self.ca_cert()?)],
            tls_root_certs: vec![PemFile::new(self.tls_ca.name.clone(), self.tls_ca_cert()?)],
            node_ous: Some(NodeOus { enable: true, client, peer, admin, orderer }),
            ..MspConfig::default()
        })
    }

    /// Returns the organisation's MSP.
    pub fn msp(&self) -> Result<Arc<Msp>> {
        Msp::new(self.msp_config()?).map(Arc::new)
    }

    /// Returns the crypto service of a member, which also trusts the members of the other organisations.
    pub fn crypto_service(&self, member: &Member, others: &[&Org]) -> Result<Arc<MspCryptoService>> {
        let msp = self.msp()?;
        let signer = SigningIdentity::new(&msp, member.cert.as_bytes(), member.key.as_bytes(), SystemTime::now())?;
        let service = MspCryptoService::new(msp, Some(signer));
        for other in others {
            service.trust(other.msp()?);
        }
        Ok(Arc::new(service))
    }

    /// Writes the organisation with these peers and an administrator to `dir/peerOrganizations/<domain>`. Creates
    /// folders and replaces files. Private keys get mode 0600.
    pub fn write_to(&self, dir: impl AsRef<Path>, peers: &[Member]) -> Result<()> {
        let root = dir.as_ref().join("peerOrganizations").join(&self.domain);
        for (folder, authority) in [("ca", &self.ca), ("tlsca", &self.tls_ca)] {
            let cert = pem_text(authority.cert.to_pem())?;
            write(&root.join(folder).join(authority.cert_file()), &cert)?;
            write_key(&root.join(folder).join("priv_sk"), &key_pem(&authority.key)?)?;
        }
        self.write_msp(&root.join("msp"), &self.ca_cert()?)?;
        for peer in peers {
            let home = root.join("peers").join(&peer.name);
            self.write_member(&home, peer, "server")?;
        }
        let admin = self.admin()?;
        self.write_member(&root.join("users").join(&admin.name), &admin, "client")
    }

    fn write_member(&self, home: &Path, member: &Member, tls_name: &str) -> Result<()> {
        member.write_msp(home.join("msp"))?;
        let tls = home.join("tls");
        write(&tls.join("ca.crt"), &member.tls_ca_cert)?;
        write(&tls.join(format!("{tls_name}.crt")), &member.tls_cert)?;
        write_key(&tls.join(format!("{tls_name}.key")), &member.tls_key)
    }

    /// Writes a verifying MSP: the files that other organisations need.
    fn write_msp(&self, msp: &Path, ca_cert: &str) -> Result<()> {
        write(&msp.join("cacerts").join(self.ca.cert_file()), ca_cert)?;
        write(&msp.join("tlscacerts").join(self.tls_ca.cert_file()), &self.tls_ca_cert()?)?;
        make_dir(&msp.join("admincerts"))?;
        write(&msp.join("config.yaml"), NODE_OUS)
    }
}

/// Shows the MSP id and the domain, never a key.
impl fmt::Debug for Org {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Org({}, {})", self.mspid, self.domain)
    }
}

impl MemberRequest<'_> {
    /// Sets the OU, instead of `peer`.
    pub fn ou(self, ou: &str) -> Self {
        self.ous([ou])
    }

    /// Sets the OUs, in this order; there may be none.
    pub fn ous<'s>(mut self, ous: impl IntoIterator<Item = &'s str>) -> Self {
        self.ous = ous.into_iter().map(String::from).collect();
        self
    }

    /// Adds a host name or IP address to the TLS certificate.
    pub fn san(mut self, host: impl Into<String>) -> Self {
        self.sans.push(host.into());
        self
    }

    /// Sets the validity of the identity. That of the TLS certificate is unchanged.
    pub fn valid(mut self, from: SystemTime, until: SystemTime) -> Self {
        self.validity = Validity { from, until };
        self
    }

    /// Makes the identity expired since yesterday.
    pub fn expired(self) -> Self {
        let now = SystemTime::now();
        self.valid(now - 10 * DAY, now - DAY)
    }

    /// Makes the identity valid from tomorrow.
    pub fn not_yet_valid(self) -> Self {
        let now = SystemTime::now();
        self.valid(now + DAY, now + 10 * DAY)
    }
}

impl<'a> MemberRequest<'a> {
    /// Makes the member an impostor: its identity is certified by another organisation but claims to belong to this
    /// one. Its TLS pair is valid.
    pub fn issued_by(mut self, other: &'a Org) -> Self {
        self.issuer = other;
        self
    }

    /// Uses a TLS pair that another organisation certified.
    pub fn tls_issued_by(mut self, other: &'a Org) -> Self {
        self.tls_issuer = other;
        self
    }

    /// Creates keys and certificates.
    pub fn issue(self) -> Result<Member> {
        let (ca, tls_ca) = (&self.issuer.ca, &self.tls_issuer.tls_ca);
        let key = new_key().map_err(internal)?;
        let subject = member_name(&self.name, &self.ous).map_err(internal)?;
        let cert = ca.issue(&subject, &key, self.validity, &Usage::Identity).map_err(internal)?;

        let tls_key = new_key().map_err(internal)?;
        let tls_subject = member_name(&self.name, &[]).map_err(internal)?;
        let now = SystemTime::now();
        let tls_validity = Validity { from: now - BACKDATE, until: now + VALIDITY };
        let mut sans: Vec<&str> = vec![&self.name, "localhost", "127.0.0.1", "::1"];
        sans.extend(self.sans.iter().map(String::as_str));
        let tls_cert = tls_ca.issue(&tls_subject, &tls_key, tls_validity, &Usage::Tls(&sans)).map_err(internal)?;

        Ok(Member {
            mspid: self.org.mspid.clone(),
            name: self.name,
            cert: pem_text(cert.to_pem())?,
            key: key_pem(&key)?,
            ca_cert: pem_text(ca.cert.to_pem())?,
            tls_cert: pem_text(tls_cert.to_pem())?,
            tls_key: key_pem(&tls_key)?,
            tls_ca_cert: pem_text(tls_ca.cert.to_pem())?,
        })
    }
}

impl Member {
    /// Returns the serialized identity.
    pub fn identity(&self) -> PeerIdentity {
        serialized_identity(&self.mspid, self.cert.as_bytes())
    }

    /// Writes the local MSP folder, for `CORE_PEER_MSPCONFIGPATH`. The private key gets mode 0600.
    pub fn write_msp(&self, msp: impl AsRef<Path>) -> Result<()> {
        let msp = msp.as_ref();
        write(&msp.join("cacerts").join("ca-cert.pem"), &self.ca_cert)?;
        write(&msp.join("tlscacerts").join("tlsca-cert.pem"), &self.tls_ca_cert)?;
        write(&msp.join("signcerts").join(format!("{}-cert.pem", self.name)), &self.cert)?;
        write_key(&msp.join("keystore").join("priv_sk"), &self.key)?;
        make_dir(&msp.join("admincerts"))?;
        write(&msp.join("config.yaml"), NODE_OUS)
    }
}

/// Shows the member's name, never a key.
impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Member({}, {})", self.mspid, self.name)
    }
}

enum Usage<'a> {
    Authority,
    Identity,
    Tls(&'a [&'a str]),
}

type Ssl<T> = Result<T, openssl::error::ErrorStack>;

impl Authority {
    fn new(domain: &str, name: String) -> Result<Authority> {
        let now = SystemTime::now();
        // An authority's validity includes every validity that a test may set for its members.
        let validity = Validity { from: now - 20 * 365 * DAY, until: now + 2 * VALIDITY };
        let make = || -> Ssl<Authority> {
            let key = new_key()?;
            let subject = authority_name(domain, &name)?;
            let cert = certificate(&subject, &key, validity, &Usage::Authority, None, &key)?;
            Ok(Authority { name: name.clone(), cert, key })
        };
        make().map_err(internal)
    }

    fn issue(&self, subject: &X509Name, key: &PKey<Private>, validity: Validity, usage: &Usage) -> Ssl<X509> {
        certificate(subject, key, validity, usage, Some(&self.cert), &self.key)
    }

    fn cert_file(&self) -> String {
        format!("{}-cert.pem", self.name)
    }
}

/// Creates a certificate whose signature has low S, as Fabric's do. OpenSSL's signatures have low or high S at random,
/// so it is called until S is low.
fn certificate(
    subject: &X509Name,
    key: &PKey<Private>,
    validity: Validity,
    usage: &Usage,
    issuer: Option<&X509>,
    issuer_key: &PKey<Private>,
) -> Ssl<X509> {
    let mut order = BigNum::new()?;
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?.order(&mut order, &mut *openssl::bn::BigNumContext::new()?)?;
    let mut half = BigNum::new()?;
    half.rshift1(&order)?;
    loop {
        let cert = certificate_once(subject, key, validity, usage, issuer, issuer_key)?;
        if *EcdsaSig::from_der(cert.signature().as_slice())?.s() <= *half {
            return Ok(cert);
        }
    }
}

fn certificate_once(
    subject: &X509Name,
    key: &PKey<Private>,
    validity: Validity,
    usage: &Usage,
    issuer: Option<&X509>,
    issuer_key: &PKey<Private>,
) -> Ssl<X509> {
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;

    let mut b = X509Builder::new()?;
    b.set_version(2)?;
    b.set_serial_number(&*Asn1Integer::from_bn(&serial)?)?;
    b.set_subject_name(subject)?;
    b.set_issuer_name(issuer.map_or(subject as &openssl::x509::X509NameRef, |i| i.subject_name()))?;
    b.set_not_before(&*asn1_time(validity.from)?)?;
    b.set_not_after(&*asn1_time(validity.until)?)?;
    b.set_pubkey(key)?;
    let mut key_usage = KeyUsage::new();
    key_usage.critical().digital_signature();
    let mut constraints = BasicConstraints::new();
    constraints.critical();
    if let Usage::Authority = usage {
        key_usage.key_encipherment().key_cert_sign().crl_sign();
        constraints.ca();
    }
    if let Usage::Tls(_) = usage {
        key_usage.key_encipherment();
    }
    b.append_extension(key_usage.build()?)?;
    b.append_extension(constraints.build()?)?;
    if !matches!(usage, Usage::Identity) {
        b.append_extension(ExtendedKeyUsage::new().server_auth().client_auth().build()?)?;
    }
    let subject_key = SubjectKeyIdentifier::new().build(&b.x509v3_context(issuer.map(|i| &**i), None))?;
    b.append_extension(subject_key)?;
    if issuer.is_some() {
        let authority_key =
            AuthorityKeyIdentifier::new().keyid(true).build(&b.x509v3_context(issuer.map(|i| &**i), None))?;
        b.append_extension(authority_key)?;
    }
    if let Usage::Tls(hosts) = usage {
        let mut sans = SubjectAlternativeName::new();
        for host in *hosts {
            match host.parse::<IpAddr>() {
                Ok(_) => sans.ip(host),
                Err(_) => sans.dns(host),
            };
        }
        let sans = sans.build(&b.x509v3_context(issuer.map(|i| &**i), None))?;
        b.append_extension(sans)?;
    }
    b.sign(issuer_key, MessageDigest::sha256())?;
    Ok(b.build())
}

fn authority_name(domain: &str, name: &str) -> Ssl<X509Name> {
    let mut b = X509NameBuilder::new()?;
    place(&mut b)?;
    b.append_entry_by_nid(Nid::ORGANIZATIONNAME, domain)?;
    b.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(b.build())
}

fn member_name(name: &str, ous: &[String]) -> Ssl<X509Name> {
    let mut b = X509NameBuilder::new()?;
    place(&mut b)?;
    for ou in ous {
        b.append_entry_by_nid(Nid::ORGANIZATIONALUNITNAME, ou)?;
    }
    b.append_entry_by_nid(Nid::COMMONNAME, name)?;
    Ok(b.build())
}

fn place(b: &mut X509NameBuilder) -> Ssl<()> {
    b.append_entry_by_nid(Nid::COUNTRYNAME, "US")?;
    b.append_entry_by_nid(Nid::STATEORPROVINCENAME, "California")?;
    b.append_entry_by_nid(Nid::LOCALITYNAME, "San Francisco")
}

fn new_key() -> Ssl<PKey<Private>> {
    PKey::from_ec_key(EcKey::generate(&*EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?)?)
}

fn asn1_time(at: SystemTime) -> Ssl<Asn1Time> {
    Asn1Time::from_unix(at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64))
}

fn key_pem(key: &PKey<Private>) -> Result<String> {
    pem_text(key.private_key_to_pem_pkcs8())
}

fn pem_text(pem: Ssl<Vec<u8>>) -> Result<String> {
    String::from_utf8(pem.map_err(internal)?).map_err(|e| Error::new(ErrorKind::Internal, e.to_string()))
}

fn internal(e: openssl::error::ErrorStack) -> Error {
    Error::new(ErrorKind::Internal, "could not make a certificate").with_source(e)
}

fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|e| cannot_write(dir, e))
}

fn write(path: &Path, text: &str) -> Result<()> {
    path.parent().map_or(Ok(()), make_dir)?;
    fs::write(path, text).map_err(|e| cannot_write(path, e))
}

fn write_key(path: &Path, pem: &str) -> Result<()> {
    path.parent().map_or(Ok(()), make_dir)?;
    // The mode applies only to a new file, and an old one may be readable by others.
    let _ = fs::remove_file(path);
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).and_then(|mut file| file.write_all(pem.as_bytes())).map_err(|e| cannot_write(path, e))
}

fn cannot_write(path: &Path, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, format!("cannot write {}: {e}", path.display())).with_source(e)
}
