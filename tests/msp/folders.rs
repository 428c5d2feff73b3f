//! Files that an MSP folder may hold besides its own, and the errors that name them.

use fabric_gossip::msp::{Msp, PemFile, SigningIdentity};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::Result;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// The local MSP folder of a peer, removed in the end.
struct Folder {
    dir: PathBuf,
    org: Org,
    peer: Member,
}

impl Folder {
    fn new() -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("fabric-gossip-folder-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        let org = Org::new("Org1MSP", "org1.example.com").unwrap();
        let peer = org.peer("peer0").unwrap();
        peer.write_msp(&dir).unwrap();
        Folder { dir, org, peer }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    fn load(&self) -> Result<Msp> {
        let msp = Msp::load(&self.dir, "Org1MSP")?;
        let own = SigningIdentity::load(&msp, &self.dir, SystemTime::now())?;
        msp.validate(own.identity())?;
        Ok(msp)
    }

    fn refused(&self) -> String {
        self.load().expect_err("an error").to_string()
    }

    /// The only file in a folder.
    fn only(&self, folder: &str) -> PathBuf {
        fs::read_dir(self.path(folder)).unwrap().next().unwrap().unwrap().path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn assert_names(error: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} in {error}");
}

#[test]
fn config_yaml_that_is_there_and_cannot_be_read_is_an_error() {
    type Make<'a> = &'a dyn Fn(&Path);
    let makes: [(Make, &str); 5] = [
        (&|path| fs::create_dir(path).unwrap(), "folder"),
        (&|path| symlink("nowhere.yaml", path).unwrap(), "cannot read"),
        (&|path| symlink("config.yaml", path).unwrap(), "cannot read"),
        (&|path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()), "pipe"),
        (&|path| fs::write(path, "#".repeat(2 << 20)).unwrap(), "at most"),
    ];
    for (make, named) in makes {
        let folder = Folder::new();
        fs::remove_file(folder.path("config.yaml")).unwrap();
        make(&folder.path("config.yaml"));
        assert_names(&folder.refused(), &["config.yaml", named]);
    }
}

#[test]
fn what_is_no_pem_or_leads_nowhere_is_skipped() {
    let folder = Folder::new();
    for dir in ["cacerts", "tlscacerts", "signcerts", "keystore", "admincerts", "crls"] {
        for (name, content) in
            [(".gitkeep", ""), ("README", "Put certificates here."), ("a~", "x"), (".DS_Store", "\0\u{1}")]
        {
            folder.write(&format!("{dir}/{name}"), content);
        }
        symlink("..data/gone.pem", folder.path(&format!("{dir}/gone.pem"))).unwrap();
        fs::create_dir_all(folder.path(&format!("{dir}/old"))).unwrap();
    }
    folder.load().unwrap();
}

#[test]
fn a_pipe_is_an_error_and_never_opened() {
    for dir in ["cacerts", "signcerts", "keystore", "tlscacerts"] {
        let folder = Folder::new();
        let pipe = folder.path(&format!("{dir}/a-pipe"));
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert_names(&folder.refused(), &[&format!("{dir}/a-pipe"), "pipe", "remove it"]);
    }
}

#[test]
fn roles_without_a_name_do_not_exist() {
    for role in
        ["OrganizationalUnitIdentifier:", "OrganizationalUnitIdentifier: ''", "OrganizationUnitIdentifier: admin"]
    {
        let folder = Folder::new();
        folder.write("config.yaml", format!("NodeOUs:\n  Enable: true\n  AdminOUIdentifier:\n    {role}\n"));
        assert_names(&folder.refused(), &["administrators must be declared", "config.yaml with NodeOUs", "admincerts"]);
    }
}

#[test]
fn every_certificate_of_a_tls_file_is_trusted_and_intermediate_ones_beside_roots_only() {
    let folder = Folder::new();
    let other = Org::new("Org2MSP", "org2.example.com").unwrap();
    let (own, other) = (folder.org.tls_ca_cert().unwrap(), other.tls_ca_cert().unwrap());
    let file = folder.only("tlscacerts");
    fs::write(&file, format!("{own}{other}")).unwrap();
    assert_eq!(folder.load().unwrap().tls_certs(), [own.clone(), other.clone()]);

    folder.write("tlsintermediatecerts/ica.pem", &own);
    assert_eq!(folder.load().unwrap().tls_certs(), [own.clone(), other, own]);
    fs::remove_file(&file).unwrap();
    assert!(folder.load().unwrap().tls_certs().is_empty());
}

#[test]
fn a_certificate_of_a_later_block_in_cacerts_is_said_to_be_unread() {
    let folder = Folder::new();
    let other = Org::new("Org1MSP", "org1.example.com").unwrap();
    let file = folder.only("cacerts");
    fs::write(&file, format!("{}{}", other.ca_cert().unwrap(), folder.org.ca_cert().unwrap())).unwrap();
    assert_names(&folder.refused(), &[&file.display().to_string(), "holds 2 certificates", "the first only"]);
}

#[test]
fn a_role_tied_to_another_authority_is_named_with_its_file() {
    let folder = Folder::new();
    let other = Org::new("Other", "other.example.com").unwrap();
    folder.write("cacerts/other.pem", other.ca_cert().unwrap());
    let tie = "    Certificate: cacerts/other.pem\n    OrganizationalUnitIdentifier";
    folder.write(
        "config.yaml",
        format!("NodeOUs:\n  Enable: true\n  PeerOUIdentifier:\n{tie}: peer\n  AdminOUIdentifier:\n{tie}: admin\n"),
    );
    assert_names(
        &folder.refused(),
        &["certifiersIdentifier does not match", "config.yaml ties the OU peer", "other.pem"],
    );
}

#[test]
fn the_first_pem_block_of_the_key_counts_whatever_its_label() {
    let folder = Folder::new();
    let file = folder.only("keystore");
    let key = folder.peer.key.clone();
    fs::write(&file, format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}"))
        .unwrap();
    assert_names(&folder.refused(), &["EC PARAMETERS", "no private key"]);
    fs::write(&file, key.replace("PRIVATE KEY", "WHATEVER")).unwrap();
    folder.load().unwrap();
    fs::write(
        &file,
        key.replace("PRIVATE KEY-----\n", "PRIVATE KEY-----\nDEK-Info: AES-256-CBC,00\n\n").replacen(
            "-----END PRIVATE KEY-----\nDEK-Info: AES-256-CBC,00\n\n",
            "-----END PRIVATE KEY-----\n",
            1,
        ),
    )
    .unwrap();
    assert_names(&folder.refused(), &["encrypted"]);
}

#[test]
fn label_and_headers_of_the_signing_certificate_do_not_count() {
    let folder = Folder::new();
    let file = folder.only("signcerts");
    let cert = folder.peer.cert.clone();
    let pki_id = |folder: &Folder| {
        let msp = folder.load().unwrap();
        SigningIdentity::load(&msp, &folder.dir, SystemTime::now()).unwrap().pki_id()
    };
    let expected = pki_id(&folder);
    fs::write(&file, cert.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-")).unwrap();
    assert_eq!(pki_id(&folder), expected);
    fs::write(&file, cert.replacen("CERTIFICATE-----\n", "CERTIFICATE-----\nFriendly: yes\n\n", 1)).unwrap();
    assert_eq!(pki_id(&folder), expected);
    assert!(PemFile::signing_certificate(&folder.dir).unwrap().unwrap().first_block().is_some());
}

#[test]
fn a_folder_of_a_mebibyte_is_judged_within_a_second() {
    let alias = |i: u32| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(","));
    let bomb: String = (1..9_000).map(alias).collect();
    let certs = |pem: &str| pem.repeat((1 << 20) / pem.len());
    type Change<'a> = &'a dyn Fn(&Folder);
    let changes: [(&str, Change); 3] = [
        ("aliases", &|f| {
            let yaml = fs::read_to_string(f.path("config.yaml")).unwrap();
            let text = format!("{yaml}a0: &a0 [x,x,x]\n{bomb}");
            f.write("config.yaml", &text[..text.len().min(1 << 20)]);
        }),
        ("certificates in cacerts", &|f| fs::write(f.only("cacerts"), certs(&f.org.ca_cert().unwrap())).unwrap()),
        ("text", &|f| fs::write(f.path("cacerts/big.pem"), "-----BEGIN A-----\n".repeat((1 << 20) / 18)).unwrap()),
    ];
    for (what, change) in changes {
        let folder = Folder::new();
        change(&folder);
        let start = Instant::now();
        let _ = folder.load();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{what}: {took:?}");
    }
}
