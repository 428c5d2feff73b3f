//! TLS certificates for the tests: those of the library's own test organisations, without their identities.

use fabric_gossip::testing::cryptogen::Org;
use openssl::x509::X509;

pub struct Authority(Org);

pub struct Leaf {
    pub cert: Vec<u8>,
    pub key: Vec<u8>,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        Authority(Org::new(name, format!("{name}.example.com")).unwrap())
    }

    pub fn pem(&self) -> Vec<u8> {
        self.0.tls_ca_cert().unwrap().into()
    }

    /// A certificate for `localhost`, `127.0.0.1`, `::1` and the name.
    pub fn leaf(&self, name: &str) -> Leaf {
        let member = self.0.member(name).san(name).issue().unwrap();
        let der = X509::from_pem(member.tls_cert.as_bytes()).unwrap().to_der().unwrap();
        Leaf { cert: member.tls_cert.into(), key: member.tls_key.into(), der }
    }
}
