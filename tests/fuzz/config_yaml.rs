//! The input is a `config.yaml`, which the folder of a sound organisation is given.

use fabric_gossip::msp::MspConfig;
use fabric_gossip::testing::cryptogen::Org;
use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Returns whether the folder can be read with it.
pub fn run(data: &[u8]) -> bool {
    fs::write(DIR.join("config.yaml"), data).expect("a file");
    let read = || MspConfig::load(&*DIR, "Org1MSP");
    let (one, two) = (read(), read());
    let text = |result: &fabric_gossip::Result<MspConfig>| match result {
        Ok(config) => format!("{:?} {:?}", config.ou_identifiers, config.node_ous),
        Err(e) => e.to_string(),
    };
    assert_eq!(text(&one), text(&two), "the same verdict again");
    match one {
        Ok(_) => true,
        Err(e) => {
            assert!(e.message().contains("config.yaml"), "{e}");
            assert!(!e.message().contains(char::is_control), "{e:?}");
            false
        }
    }
}

/// A folder that lasts as long as the process, where possible in memory.
static DIR: LazyLock<PathBuf> = LazyLock::new(|| {
    let memory = PathBuf::from("/dev/shm");
    let base = if memory.is_dir() { memory } else { std::env::temp_dir() };
    let dir = base.join(format!("fabric-gossip-fuzz-yaml-{}", std::process::id()));
    let org = Org::new("Org1MSP", "org1.example.com").expect("an organisation");
    fs::create_dir_all(dir.join("cacerts")).expect("a folder");
    fs::write(dir.join("cacerts/ca.pem"), org.ca_cert().expect("an authority")).expect("a file");
    dir
});
