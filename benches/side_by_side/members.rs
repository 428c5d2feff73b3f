//! Two members of one organisation, as folders that all variants can read.

use fabric_gossip::error::{Error, ErrorKind, Result};
use fabric_gossip::testing::cryptogen::{Member, Org};
use std::fs;
use std::path::{Path, PathBuf};

/// Removed when it is dropped.
pub struct Folders(PathBuf);

impl Folders {
    pub fn new() -> Result<Folders> {
        let folders = Folders(std::env::temp_dir().join(format!("fabric-gossip-side-by-side-{}", std::process::id())));
        let org = Org::new("Org1MSP", "org1.example.com")?;
        for name in ["from", "to"] {
            write(&folders.0.join(name), &org.peer(name)?)?;
        }
        Ok(folders)
    }

    pub fn from(&self) -> String {
        self.0.join("from").display().to_string()
    }

    pub fn to(&self) -> String {
        self.0.join("to").display().to_string()
    }
}

/// The MSP folder for ours, and single files for the async variant.
fn write(folder: &Path, member: &Member) -> Result<()> {
    member.write_msp(folder.join("msp"))?;
    for (name, text) in [
        ("mspid", &member.mspid),
        ("ca.pem", &member.ca_cert),
        ("cert.pem", &member.cert),
        ("key.pem", &member.key),
        ("tls-ca.pem", &member.tls_ca_cert),
        ("tls-cert.pem", &member.tls_cert),
        ("tls-key.pem", &member.tls_key),
    ] {
        fs::write(folder.join(name), text).map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
    }
    Ok(())
}

impl Drop for Folders {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
