//! The input is the folder of an MSP as one text: the version of its rules on the first line, and then each file after a
//! line `-- cacerts/ca.pem --` with its name.

use crate::org;
use fabric_gossip::msp::{serialized_identity, Msp, MspConfig, MspVersion};
use fabric_gossip::Result;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The folders of an MSP; other names are ignored.
const FOLDERS: [&str; 6] = ["cacerts", "intermediatecerts", "tlscacerts", "tlsintermediatecerts", "admincerts", "crls"];
const MAX_FILES: usize = 16;

/// Whether it can be set up.
pub fn run(data: &[u8]) -> bool {
    let (version, files) = unpack(data);
    let dir = Dir::new(&files);
    let load = || {
        let mut config = MspConfig::load(&dir.0, "Org1MSP")?;
        config.version = version;
        Ok((Msp::new(config.clone())?, config))
    };
    let loaded: Result<(Msp, MspConfig)> = load();
    assert_eq!(text(&loaded), text(&load()), "the same verdict again");
    let (msp, config) = match loaded {
        Ok(loaded) => loaded,
        Err(e) => {
            assert!(!e.message().is_empty(), "refused without a word");
            return false;
        }
    };
    drop(dir);

    // From memory it is the same organisation, and the folder is no longer needed.
    let twin = Msp::new(config).expect("it was set up before");
    for identity in MEMBERS.iter() {
        let judge = |msp: &Msp| {
            let member = msp.deserialize(identity)?;
            msp.validate(&member)?;
            Ok(msp.organizational_units(&member))
        };
        let (one, two) = (judge(&msp), judge(&twin));
        assert_eq!(text(&one), text(&two));
        assert_eq!(one.ok(), two.ok());
    }
    assert_eq!(msp.tls_certs(), twin.tls_certs());
    true
}

/// Recorded members, of whom some belong to some of the recorded folders.
static MEMBERS: LazyLock<Vec<fabric_gossip::PeerIdentity>> = LazyLock::new(|| {
    let members = org::RECORDED["members"].as_array().expect("members");
    let identity =
        |m: &serde_json::Value| m["certificate_pem"].as_str().map(|pem| serialized_identity("Org1MSP", pem.as_bytes()));
    members.iter().filter_map(identity).take(6).collect()
});

fn unpack(data: &[u8]) -> (MspVersion, Vec<(PathBuf, Vec<u8>)>) {
    let mut version = MspVersion::default();
    let mut files: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut skipping = false;
    for line in data.split_inclusive(|b| *b == b'\n') {
        let name =
            line.strip_prefix(b"-- ").and_then(|l| l.strip_suffix(b" --\n")).and_then(|n| std::str::from_utf8(n).ok());
        if let Some(name) = name {
            let path = Path::new(name);
            let folder = path.parent().and_then(Path::to_str).unwrap_or_default();
            let plain = path.file_name().is_some() && name.len() < 100 && !name.contains('\0');
            let known = name == "config.yaml" || FOLDERS.contains(&folder);
            skipping = !(plain && known && files.len() < MAX_FILES);
            if !skipping {
                files.push((path.to_owned(), Vec::new()));
            }
        } else if let Some((_, content)) = files.last_mut().filter(|_| !skipping) {
            content.extend_from_slice(line);
        } else if files.is_empty() {
            version = match line {
                b"1.0\n" => MspVersion::V1_0,
                b"1.1\n" => MspVersion::V1_1,
                b"1.3\n" => MspVersion::V1_3,
                b"1.4.3\n" => MspVersion::V1_4_3,
                _ => version,
            };
        }
    }
    (version, files)
}

/// A folder that goes with its owner, where possible in memory.
struct Dir(PathBuf);

impl Dir {
    fn new(files: &[(PathBuf, Vec<u8>)]) -> Dir {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = Dir(base.join(format!("fabric-gossip-fuzz-{}", std::process::id())));
        let _ = fs::remove_dir_all(&dir.0);
        fs::create_dir(&dir.0).expect("a folder");
        for (path, content) in files {
            let path = dir.0.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            fs::write(&path, content).expect("a file");
        }
        dir
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn text<T>(result: &Result<T>) -> Option<String> {
    result.as_ref().err().map(|e| e.to_string())
}
