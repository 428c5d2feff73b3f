//! Certificates for the tests: an authority and leaf certificates for `localhost` and loopback.

use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::{BigNum, MsbOption};
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509Builder, X509Name, X509NameBuilder, X509};

pub struct Authority {
    cert: X509,
    key: PKey<Private>,
}

pub struct Leaf {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    pub der: Vec<u8>,
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn builder(name: &str, key: &PKey<Private>, issuer: Option<&Authority>) -> X509Builder {
    let mut subject = X509NameBuilder::new().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject: X509Name = subject.build();
    let mut serial = BigNum::new().unwrap();
    serial.rand(64, MsbOption::MAYBE_ZERO, false).unwrap();
    let mut b = X509::builder().unwrap();
    b.set_version(2).unwrap();
    b.set_serial_number(&Asn1Integer::from_bn(&serial).unwrap()).unwrap();
    b.set_subject_name(&subject).unwrap();
    b.set_issuer_name(issuer.map_or(&*subject, |ca| ca.cert.subject_name())).unwrap();
    b.set_pubkey(key).unwrap();
    b.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    b.set_not_after(&Asn1Time::days_from_now(30).unwrap()).unwrap();
    b
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = key();
        let mut b = builder(name, &key, None);
        b.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
        b.append_extension(KeyUsage::new().critical().key_cert_sign().crl_sign().build().unwrap()).unwrap();
        b.sign(&key, MessageDigest::sha256()).unwrap();
        Authority { cert: b.build(), key }
    }

    pub fn pem(&self) -> Vec<u8> {
        self.cert.to_pem().unwrap()
    }

    pub fn leaf(&self, name: &str) -> Leaf {
        let key = key();
        let mut b = builder(name, &key, Some(self));
        let usage = ExtendedKeyUsage::new().server_auth().client_auth().build().unwrap();
        b.append_extension(usage).unwrap();
        let mut names = SubjectAlternativeName::new();
        names.dns(name).dns("localhost").ip("127.0.0.1").ip("::1");
        let names = names.build(&b.x509v3_context(Some(&self.cert), None)).unwrap();
        b.append_extension(names).unwrap();
        b.sign(&self.key, MessageDigest::sha256()).unwrap();
        let cert = b.build();
        Leaf { cert: cert.to_pem().unwrap(), key: key.private_key_to_pem_pkcs8().unwrap(), der: cert.to_der().unwrap() }
    }
}
