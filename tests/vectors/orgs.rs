//! The recorded organisations: MSP folders, and members with their keys.

use crate::record::Record;
use crate::support::{hex, load};
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::msp::{
    Channel, HashFamily, IdentifierHash, Msp, MspConfig, MspCryptoService, MspVersion, SigningIdentity,
};
use fabric_gossip::Result;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::SystemTime;

/// A folder that goes with its owner.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fabric-gossip-msp-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        TempDir(std::env::temp_dir().join(name))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn text(value: &Record) -> &str {
    value.as_str().expect("text")
}

pub fn identity(value: &Record) -> PeerIdentity {
    hex(value).unwrap_or_default().into()
}

/// Writes the recorded folder and loads its configuration.
pub fn load_config(entry: &Record) -> Result<MspConfig> {
    let version = match text(&entry["msp_version"]) {
        "1.0" => MspVersion::V1_0,
        "1.1" => MspVersion::V1_1,
        "1.3" => MspVersion::V1_3,
        "1.4.3" => MspVersion::V1_4_3,
        "3.0" => MspVersion::V3_0,
        other => panic!("version {other}"),
    };
    let hash_family = match text(&entry["signature_hash_family"]) {
        "SHA2" => HashFamily::Sha2,
        "SHA3" => HashFamily::Sha3,
        other => panic!("family {other}"),
    };
    let identifier_hash = match text(&entry["identity_identifier_hash_function"]) {
        "SHA256" => IdentifierHash::Sha256,
        "SHA384" => IdentifierHash::Sha384,
        "SHA3_256" => IdentifierHash::Sha3_256,
        "SHA3_384" => IdentifierHash::Sha3_384,
        other => panic!("hash {other}"),
    };
    let dir = TempDir::new();
    std::fs::create_dir_all(&dir.0).expect("a folder");
    for (path, content) in entry["files"].as_object().expect("files") {
        let path = dir.0.join(path);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        std::fs::write(path, text(content)).expect("a file");
    }
    let mut config = MspConfig::load(&dir.0, text(&entry["mspid"]))?;
    (config.version, config.hash_family, config.identifier_hash) = (version, hash_family, identifier_hash);
    Ok(config)
}

pub fn load_msp(entry: &Record) -> Result<Msp> {
    Msp::new(load_config(entry)?)
}

pub fn load_all(file: &Record) -> BTreeMap<String, Arc<Msp>> {
    let msps = file["msps"].as_array().expect("msps");
    msps.iter().filter_map(|m| Some((text(&m["id"]).to_owned(), Arc::new(load_msp(m).ok()?)))).collect()
}

pub fn local_only(msp: &Arc<Msp>) -> Arc<MspCryptoService> {
    Arc::new(MspCryptoService::new(msp.clone(), None))
}

/// Joins these channels: their MSPs, and the ids of those whose members may read.
pub fn join(service: &MspCryptoService, channels: &Record, msps: &BTreeMap<String, Arc<Msp>>) {
    for (name, channel) in channels.as_object().expect("channels") {
        let list = |v: &Record| v.as_array().map(|l| l.iter().map(|x| text(x).to_owned()).collect::<Vec<_>>());
        let of = list(&channel["msps"]).expect("MSPs").iter().map(|id| msps[id].clone()).collect::<Vec<_>>();
        service.set_channel(name, Channel::new(of, list(&channel["readers"])));
    }
}

/// The recorded organisations and their members.
pub struct Orgs {
    pub msps: BTreeMap<String, Arc<Msp>>,
    file: Record,
}

impl Orgs {
    pub fn load() -> Orgs {
        let file = load("msp.json");
        Orgs { msps: load_all(&file), file }
    }

    /// The crypto service of a member, whose own organisation is the MSP folder `msp`.
    pub fn service(&self, msp: &str, member: &str, channels: &Record) -> Arc<MspCryptoService> {
        let (msp, member) = (&self.msps[msp], self.member(member));
        let [cert, key] = ["certificate_pem", "private_key_pem"].map(|name| text(&member[name]).as_bytes());
        let signer = SigningIdentity::new(msp, cert, key, SystemTime::now()).expect("a signing identity");
        let service = MspCryptoService::new(msp.clone(), Some(signer));
        join(&service, channels, &self.msps);
        Arc::new(service)
    }

    pub fn identity_of(&self, member: &str) -> PeerIdentity {
        identity(&self.member(member)["identity"])
    }

    /// The MSP folder of a member: one that it belongs to.
    pub fn home_of(&self, member: &str) -> &str {
        let identity = self.identity_of(member);
        let belongs = |msp: &Msp| msp.deserialize(&identity).is_ok_and(|m| msp.validate(&m).is_ok());
        self.msps.iter().find(|(_, msp)| belongs(msp)).map(|(id, _)| id).expect("a folder for the member")
    }

    /// The name of the member with this PKI-ID, or the PKI-ID.
    pub fn name_of(&self, pki_id: &PkiId) -> String {
        let member = self.members().iter().find(|m| m["pki_id"] == pki_id.to_string());
        member.map_or_else(|| pki_id.to_string(), |m| text(&m["name"]).to_owned())
    }

    fn members(&self) -> &[Record] {
        self.file["members"].as_array().expect("members")
    }

    fn member(&self, name: &str) -> &Record {
        self.members().iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("no member {name}"))
    }
}
