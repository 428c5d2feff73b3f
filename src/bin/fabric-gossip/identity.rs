//! Who we are: an identity loaded from an MSP folder, and the organisations we believe.

use crate::certificate;
use crate::failure::{Failure, Result};
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::proto::{self, msp::SerializedIdentity};
use openssl::sha::sha256;
use openssl::x509::X509;
use serde_json::{json, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Our own identity, and what judges those of others.
#[derive(Clone)]
pub struct Me {
    pub mspid: String,
    pub identity: PeerIdentity,
    pub pki_id: PkiId,
    pub crypto: Arc<MspCryptoService>,
    /// Our own MSP first, then those of the organisations that we trust.
    pub msps: Vec<Arc<Msp>>,
}

impl Me {
    /// From our local MSP folder, and the folders of other organisations by their MSP ids.
    pub fn load(mspid: &str, dir: &Path, trust: &[(String, PathBuf)]) -> Result<Me> {
        let msp = Arc::new(load_msp(mspid, dir)?);
        let signer = SigningIdentity::load(&msp, dir, SystemTime::now()).map_err(|e| Failure::usage(e.message()))?;
        let (identity, pki_id) = (signer.serialize(), signer.pki_id());
        let crypto = Arc::new(MspCryptoService::new(msp.clone(), Some(signer)));
        let mut msps = vec![msp];
        for (mspid, dir) in trust {
            let msp = Arc::new(load_msp(mspid, dir)?);
            crypto.trust(msp.clone());
            msps.push(msp);
        }
        Ok(Me { mspid: mspid.to_owned(), identity, pki_id, crypto, msps })
    }

    pub fn describe(&self) -> Described {
        Described::new(&self.identity)
    }
}

pub fn load_msp(mspid: &str, dir: &Path) -> Result<Msp> {
    if !dir.is_dir() {
        return Err(Failure::file(dir, "there is no such MSP folder"));
    }
    Msp::load(dir, mspid).map_err(|e| {
        let (text, dir) = (e.message(), dir.display().to_string());
        match text.contains(&dir) {
            true => Failure::usage(text),
            false => Failure::usage(format!("MSP {mspid} in {dir}: {text}")),
        }
    })
}

/// The PKI-ID of an identity: the hash of its MSP id and its certificate as it stands.
pub fn pki_id(identity: &PeerIdentity) -> Option<PkiId> {
    let parsed = proto::decode::<SerializedIdentity>(&identity.to_bytes()).ok()?;
    Some(PkiId::from(&sha256(&[parsed.mspid.as_bytes(), &parsed.id_bytes].concat())[..]))
}

/// What an identity says of itself, valid or not.
pub struct Described {
    pub mspid: Option<String>,
    pub certificate: Option<X509>,
}

impl Described {
    pub fn new(identity: &PeerIdentity) -> Described {
        let parsed = proto::decode::<SerializedIdentity>(&identity.to_bytes()).ok();
        let certificate = parsed.as_ref().and_then(|p| X509::from_pem(&p.id_bytes).ok());
        Described { mspid: parsed.map(|p| p.mspid.to_string()), certificate }
    }

    pub fn subject(&self) -> Option<String> {
        self.certificate.as_ref().map(|c| certificate::name(c.subject_name()))
    }

    pub fn common_name(&self) -> String {
        self.certificate.as_ref().map(|c| certificate::common_name(c.subject_name())).unwrap_or_default()
    }

    pub fn expires(&self) -> Option<String> {
        self.certificate.as_ref().map(|c| certificate::date(c.not_after()))
    }

    pub fn units(&self) -> Vec<String> {
        self.certificate.as_ref().map(|c| certificate::units(c.subject_name())).unwrap_or_default()
    }

    pub fn json(&self) -> Value {
        json!({"mspid": self.mspid, "subject": self.subject(), "ous": self.units(), "expires": self.expires()})
    }
}
