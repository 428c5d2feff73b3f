//! Our identity, loaded from an MSP folder, and the organisations that we trust.

use crate::certificate;
use crate::failure::{Failure, Result};
use crate::keys;
use crate::output::shown;
use crate::settings::{NamedPath, Settings};
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::msp::{Msp, MspConfig, MspCryptoService, SigningIdentity};
use fabric_gossip::proto::{self, msp::SerializedIdentity};
use fabric_gossip::Error;
use openssl::sha::sha256;
use openssl::x509::X509;
use serde_json::{json, Value};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// Our own identity, and the services that validate other identities.
#[derive(Clone)]
pub struct Me {
    pub mspid: String,
    pub identity: PeerIdentity,
    pub pki_id: PkiId,
    pub crypto: Arc<MspCryptoService>,
    /// Our own MSP first, then those of the organisations that we trust.
    pub msps: Vec<Arc<Msp>>,
    /// The folders of these MSPs.
    pub folders: Vec<MspFolder>,
}

/// The content of an MSP folder.
#[derive(Clone, Debug)]
pub struct MspFolder {
    dir: PathBuf,
    pub config: MspConfig,
    /// The files that are skipped, as in Fabric, because they cannot be read or are not PEM.
    pub skipped: BTreeSet<PathBuf>,
}

impl MspFolder {
    fn read(mspid: &str, dir: &NamedPath) -> Result<MspFolder> {
        if !dir.path.is_dir() {
            return Err(dir.error("MSP folder not found"));
        }
        let config = MspConfig::load(&dir.path, mspid).map_err(|e| wrong_folder(mspid, &dir.path, &e))?;
        let skipped = skipped(&dir.path, &config);
        Ok(MspFolder { dir: dir.path.clone(), config, skipped })
    }

    /// Creates the MSP.
    fn msp(&self) -> Result<Msp> {
        Msp::new(self.config.clone()).map_err(|e| wrong_folder(&self.config.mspid, &self.dir, &e))
    }
}

/// Lists the files that are in the folder and not in its configuration.
fn skipped(dir: &Path, config: &MspConfig) -> BTreeSet<PathBuf> {
    let parts = [
        ("cacerts", &config.root_certs),
        ("intermediatecerts", &config.intermediate_certs),
        ("tlscacerts", &config.tls_root_certs),
        ("tlsintermediatecerts", &config.tls_intermediate_certs),
        ("admincerts", &config.admins),
        ("crls", &config.revocation_lists),
    ];
    let skipped = parts.into_iter().flat_map(|(name, read)| {
        let files = std::fs::read_dir(dir.join(name)).into_iter().flatten().flatten();
        let paths = files.map(|file| file.path()).filter(|path| !path.is_dir());
        paths.filter(|path| read.iter().all(|file| Path::new(&file.name) != path))
    });
    skipped.collect()
}

fn wrong_folder(mspid: &str, dir: &Path, e: &Error) -> Failure {
    match e.message().contains(&dir.display().to_string()) {
        true => Failure::usage(e.message()),
        false => Failure::usage(format!("MSP {mspid} in {}: {}", shown(dir), e.message())),
    }
}

/// Location of our private key.
#[derive(Clone, Debug, Default)]
pub struct KeySource {
    /// A folder to use instead of the MSP's own `keystore`.
    keystore: Option<NamedPath>,
    /// The setting that puts the key where it cannot be read.
    elsewhere: Option<String>,
}

impl KeySource {
    /// Reads the settings of Fabric's crypto provider.
    pub fn from(settings: &Settings) -> Result<KeySource> {
        let provider = |name: &str| match name {
            "SW" => Ok(None),
            "PKCS11" => Ok(Some(format!("{} is PKCS11", settings.source(keys::BCCSP_DEFAULT)))),
            _ => Err("expected SW or PKCS11".to_owned()),
        };
        let elsewhere = settings.parsed(keys::BCCSP_DEFAULT, provider)?.flatten();
        if let Some(setting) = &elsewhere {
            log::warn!("{setting}, which is not honoured: this tool cannot use keys in a hardware module");
        }
        for (key, only) in [(keys::BCCSP_HASH, "SHA2"), (keys::BCCSP_SECURITY, "256")] {
            if let Some(value) = settings.text(key)?.filter(|value| value != only) {
                log::warn!("{} is {value:?}, which is not honoured: it is always {only}", settings.source(key));
            }
        }
        Ok(KeySource { keystore: settings.path(keys::BCCSP_KEYSTORE)?, elsewhere })
    }

    fn load(&self, msp: &Msp, dir: &Path) -> Result<SigningIdentity> {
        let now = SystemTime::now();
        let (loaded, keystore) = match &self.keystore {
            Some(keystore) => (SigningIdentity::load_with_keystore(msp, dir, &keystore.path, now), Some(keystore)),
            None => (SigningIdentity::load(msp, dir, now), None),
        };
        loaded.map_err(|e| match (&self.elsewhere, keystore) {
            (Some(setting), _) => Failure::usage(format!("{} ({setting}, which is not honoured)", e.message())),
            (None, Some(keystore)) => Failure::usage(format!("{} (keystore: {keystore})", e.message())),
            (None, None) => Failure::usage(e.message()),
        })
    }
}

impl Me {
    /// Loads our identity from our local MSP folder, and the folders of other organisations by their MSP ids. One id
    /// can have several folders: a member of any of them is valid.
    pub fn load(mspid: &str, dir: &NamedPath, key: &KeySource, trust: &[(String, NamedPath)]) -> Result<Me> {
        let mut folders = vec![MspFolder::read(mspid, dir)?];
        let msp = Arc::new(folders[0].msp()?);
        let signer = key.load(&msp, &dir.path)?;
        let (identity, pki_id) = (signer.serialize(), signer.pki_id());
        let mut msps = vec![msp];
        for (mspid, dir) in trust {
            let folder = MspFolder::read(mspid, dir)?;
            msps.push(Arc::new(folder.msp()?));
            folders.push(folder);
        }
        let crypto = crypto_service(&msps, Some(signer)).ok_or_else(|| Failure::usage("no MSP"))?;
        Ok(Me { mspid: mspid.to_owned(), identity, pki_id, crypto, msps, folders })
    }

    pub fn describe(&self) -> Described {
        Described::new(&self.identity)
    }
}

/// Creates the service that validates identities by these MSPs. The first one is our own; `None` without any.
pub fn crypto_service(msps: &[Arc<Msp>], signer: Option<SigningIdentity>) -> Option<Arc<MspCryptoService>> {
    let (local, others) = msps.split_first()?;
    let crypto = MspCryptoService::new(local.clone(), signer);
    others.iter().for_each(|msp| crypto.trust_also(msp.clone()));
    Some(Arc::new(crypto))
}

pub fn load_msp(mspid: &str, dir: &NamedPath) -> Result<Msp> {
    MspFolder::read(mspid, dir)?.msp()
}

/// Returns the PKI-ID of an identity: the hash of its MSP id and its unmodified certificate.
pub fn pki_id(identity: &PeerIdentity) -> Option<PkiId> {
    let parsed = proto::decode::<SerializedIdentity>(&identity.to_bytes()).ok()?;
    Some(PkiId::from(&sha256(&[parsed.mspid.as_bytes(), &parsed.id_bytes].concat())[..]))
}

/// The contents of an identity, whether it is valid or not.
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
