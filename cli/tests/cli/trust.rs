//! Trust: which certificates and identities are accepted, with the same verdict in every command.

use crate::support::*;
use fabric_gossip::testing::cryptogen::{Member, Org};
use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::symm::Cipher;
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, SubjectAlternativeName, SubjectKeyIdentifier};
use openssl::x509::{X509Name, X509};
use serde_json::Value;

/// A certificate and its key.
struct Issued {
    cert: X509,
    key: PKey<Private>,
}

/// A certificate to be issued.
struct Wanted {
    name: String,
    sans: Vec<String>,
    authority: bool,
    clients_only: bool,
    expired: bool,
    key: PKey<Private>,
}

fn wanted(name: &str) -> Wanted {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
    Wanted { name: name.into(), sans: Vec::new(), authority: false, clients_only: false, expired: false, key }
}

impl Wanted {
    fn authority(mut self) -> Self {
        self.authority = true;
        self
    }

    fn expired(mut self) -> Self {
        self.expired = true;
        self
    }

    fn clients_only(mut self) -> Self {
        self.clients_only = true;
        self
    }

    /// With these names: `DNS:localhost`, `IP:127.0.0.1`.
    fn sans(mut self, sans: &[&str]) -> Self {
        self.sans = sans.iter().map(|san| san.to_string()).collect();
        self
    }

    fn rsa(mut self, bits: u32) -> Self {
        self.key = PKey::from_rsa(openssl::rsa::Rsa::generate(bits).unwrap()).unwrap();
        self
    }

    /// Signed by the issuer, or by itself.
    fn issue(self, issuer: Option<&Issued>) -> Issued {
        let mut name = X509Name::builder().unwrap();
        name.append_entry_by_nid(Nid::COMMONNAME, &self.name).unwrap();
        let name = name.build();
        let mut b = X509::builder().unwrap();
        b.set_version(2).unwrap();
        let mut serial = BigNum::new().unwrap();
        serial.rand(64, openssl::bn::MsbOption::MAYBE_ZERO, false).unwrap();
        b.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        b.set_subject_name(&name).unwrap();
        b.set_issuer_name(issuer.map_or(&name, |issuer| issuer.cert.subject_name())).unwrap();
        b.set_pubkey(&self.key).unwrap();
        b.set_not_before(&Asn1Time::from_unix(1_600_000_000).unwrap()).unwrap();
        let end = if self.expired { 1_700_000_000 } else { 4_000_000_000 };
        b.set_not_after(&Asn1Time::from_unix(end).unwrap()).unwrap();
        if self.authority {
            b.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
            let id = SubjectKeyIdentifier::new().build(&b.x509v3_context(None, None)).unwrap();
            b.append_extension(id).unwrap();
        }
        if self.clients_only {
            b.append_extension(ExtendedKeyUsage::new().client_auth().build().unwrap()).unwrap();
        }
        if !self.sans.is_empty() {
            let mut names = SubjectAlternativeName::new();
            for san in &self.sans {
                match san.split_once(':').unwrap() {
                    ("IP", address) => names.ip(address),
                    (_, name) => names.dns(name),
                };
            }
            let names = names.build(&b.x509v3_context(None, None)).unwrap();
            b.append_extension(names).unwrap();
        }
        b.sign(issuer.map_or(&self.key, |issuer| &issuer.key), MessageDigest::sha256()).unwrap();
        Issued { cert: b.build(), key: self.key }
    }
}

impl Issued {
    fn pem(&self) -> String {
        String::from_utf8(self.cert.to_pem().unwrap()).unwrap()
    }

    /// Writes certificate and key, as the flags take them.
    fn write(&self, dir: &TempDir, name: &str) -> [String; 4] {
        let cert = dir.write(&format!("{name}.crt"), self.pem());
        let key = dir.write(&format!("{name}.key"), self.key.private_key_to_pem_pkcs8().unwrap());
        ["--tls-cert".into(), cert, "--tls-key".into(), key]
    }
}

fn strs<'a>(parts: &'a [&'a [String]]) -> Vec<&'a str> {
    parts.iter().flat_map(|part| part.iter().map(String::as_str)).collect()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Starts `listen` as the first peer of the first organisation, with this TLS certificate.
fn serve(cert: &[String; 4], more: &[&str]) -> (Running, String) {
    let flags = Crypto::get().identity(1, 0);
    let more: Vec<String> = more.iter().map(|m| m.to_string()).collect();
    let mut running = start(&strs(&[&words("listen --listen 127.0.0.1:0"), &flags, cert, &more]));
    let endpoint = running.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    (running, endpoint)
}

/// The step that failed, with its hint.
fn failed_step(ended: &Ended) -> Value {
    ended.assert_code(1);
    let lines = ended.json();
    lines[lines.len() - 2].clone()
}

/// The identity of an organisation without trust in another, and without flags about TLS.
fn bare(org: u32, number: u32) -> Vec<String> {
    Crypto::get().alone(org, number)[..4].to_vec()
}

/// Shows how a handshake with a server that has this certificate fails at TLS, and that a running node fails too.
fn assert_unfit(server: Wanted, root: &Issued, host: &str, parts: &[&str]) {
    let dir = TempDir::new();
    let (_listener, endpoint) = serve(&server.issue(Some(root)).write(&dir, "server"), &[]);
    let endpoint = endpoint.replace("127.0.0.1", host);
    let ca = ["--tls-ca".to_owned(), dir.write("ca.pem", root.pem())];
    let flags = Crypto::get().identity(2, 0);
    let step = failed_step(&run(&strs(&[&words(&format!("handshake {endpoint} --json")), &flags, &ca])));
    assert_eq!(step["name"], "tls", "{step}");
    for part in parts {
        assert!(step["error"].as_str().unwrap().contains(part), "{part}: {step}");
    }
    assert!(!step["hint"].as_str().unwrap().is_empty());
    let ended = run(&strs(&[&words(&format!("send {endpoint} --json")), &flags, &ca]));
    ended.assert_code(1);
    assert_eq!(ended.json().pop().unwrap()["count"], 0);
}

#[test]
fn row_5_tls_roots_of_flags_variables_and_all_msps_add_up() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let own_ca = crypto.tls_ca(2);
    let trust = ["--trust-msp".to_owned(), format!("Org1MSP={}/msp", crypto.org(1))];
    let command = words(&format!("handshake {endpoint} --json"));
    let flags = bare(2, 0);
    run(&strs(&[&command, &flags, &trust])).assert_code(0);
    run_with(&strs(&[&command, &flags, &trust]), &[("CORE_PEER_TLS_ROOTCERT_FILE", &own_ca)]).assert_code(0);
    run(&strs(&[&command, &flags, &trust, &["--tls-ca".into(), own_ca.clone()]])).assert_code(0);
    // Without the MSP, its authority is in neither.
    let ended = run_with(&strs(&[&command, &flags]), &[("CORE_PEER_TLS_ROOTCERT_FILE", &own_ca)]);
    assert_eq!(failed_step(&ended)["name"], "tls");
    // The flag adds to the variable, too.
    let probe = words(&format!("probe {endpoint} --tls-ca {own_ca}"));
    run_with(&strs(&[&probe]), &[("CORE_PEER_TLS_ROOTCERT_FILE", &crypto.tls_ca(1))]).assert_code(0);
}

/// An MSP of the first organisation whose TLS authorities are others.
fn msp_with_tls(dir: &TempDir, root: &str, intermediate: Option<&str>) -> [String; 2] {
    let msp = dir.join("msp");
    copy_folder(format!("{}/msp", Crypto::get().org(1)).as_ref(), &msp);
    for entry in std::fs::read_dir(msp.join("tlscacerts")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    std::fs::write(msp.join("tlscacerts/root.pem"), root).unwrap();
    if let Some(intermediate) = intermediate {
        std::fs::create_dir(msp.join("tlsintermediatecerts")).unwrap();
        std::fs::write(msp.join("tlsintermediatecerts/inter.pem"), intermediate).unwrap();
    }
    ["--trust-msp".into(), format!("Org1MSP={}", msp.display())]
}

#[test]
fn row_6_intermediate_tls_authorities_of_an_msp_are_trusted() {
    let root = wanted("root").authority().issue(None);
    let intermediate = wanted("intermediate").authority().issue(Some(&root));
    let leaf = wanted("server").sans(&["IP:127.0.0.1"]).issue(Some(&intermediate));
    let dir = TempDir::new();
    let (_listener, endpoint) = serve(&leaf.write(&dir, "server"), &[]);
    let command = words(&format!("handshake {endpoint} --json"));
    let with = TempDir::new();
    run(&strs(&[&command, &bare(2, 0), &msp_with_tls(&with, &root.pem(), Some(&intermediate.pem()))])).assert_code(0);
    let without = TempDir::new();
    let ended = run(&strs(&[&command, &bare(2, 0), &msp_with_tls(&without, &root.pem(), None)]));
    assert_eq!(failed_step(&ended)["name"], "tls");
}

#[test]
fn row_7_client_certificates_are_verified_where_fabric_verifies_them() {
    let crypto = Crypto::get();
    let dir = TempDir::new();
    let root = wanted("root").authority().issue(None);
    let ca = dir.write("clients.pem", root.pem());
    let client = wanted("client").clients_only().issue(Some(&root)).write(&dir, "client");
    let client = [0, 1, 2, 3].map(|i| client[i].replace("--tls-", "--tls-client-"));
    let flags = bare(1, 0);
    let trust = ["--trust-msp".to_owned(), format!("Org2MSP={}/msp", crypto.org(2))];
    let dials = crypto.identity(2, 0);
    let check = |mut listener: Running, strict: bool, known: bool| {
        let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
        let command = words(&format!("handshake {endpoint} --json"));
        // Members of the MSPs are accepted; those of the other authority if it is named.
        run(&strs(&[&command, &dials])).assert_code(0);
        let other = run(&strs(&[&command, &dials, &client]));
        match strict && !known {
            true => assert!(failed_step(&other)["error"].as_str().unwrap().contains("refused our TLS certificate")),
            false => drop(other.assert_code(0)),
        }
    };
    let listen = words("listen --listen 127.0.0.1:0");
    let start =
        |more: &[String], variables: &[(&str, &str)]| start_with(&strs(&[&listen, &flags, &trust, more]), variables);
    let required = ("CORE_PEER_TLS_CLIENTAUTHREQUIRED", "true");
    check(start(&[], &[]), false, false);
    check(start(&[], &[required]), true, false);
    check(start(&[], &[required, ("CORE_PEER_TLS_CLIENTROOTCAS_FILES", &ca)]), true, true);
    let yaml = "peer:\n  tls:\n    clientAuthRequired: true\n    clientRootCAs:\n      files:\n        - clients.pem\n";
    check(start(&["--config".into(), dir.write("core.yaml", yaml)], &[]), true, true);
    let yaml = dir.write("strict.yaml", "peer:\n  tls:\n    clientAuthRequired: true\n");
    check(start(&["--config".into(), yaml.clone()], &[]), true, false);
    // A flag has precedence over both; the roots for dialling do not apply to clients.
    check(start(&words(&format!("--config {yaml} --tls-client-auth request")), &[]), false, false);
    check(start(&["--config".into(), yaml], &[("CORE_PEER_TLS_ROOTCERT_FILE", &ca)]), true, false);
    for (value, part) in [("maybe", "expected true or false"), ("", "expected true or false")] {
        let ended = run_with(&strs(&[&listen, &flags]), &[("CORE_PEER_TLS_CLIENTAUTHREQUIRED", value)]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("CLIENTAUTHREQUIRED") && ended.stderr.contains(part), "{}", ended.stderr);
    }
    let ended = run_with(&strs(&[&listen, &flags]), &[required, ("CORE_PEER_TLS_CLIENTROOTCAS_FILES", "/nowhere")]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("CORE_PEER_TLS_CLIENTROOTCAS_FILES"), "{}", ended.stderr);
}

/// Two generations of an authority of one organisation, and a member of each, in folders.
struct Renewal {
    dir: TempDir,
    members: [Member; 2],
}

impl Renewal {
    fn new(mspid: &str, domain: &str) -> Renewal {
        let dir = TempDir::new();
        let members = ["old", "new"].map(|generation| {
            let org = Org::new(mspid, domain).unwrap();
            let member = org.peer("peer0").unwrap();
            org.write_to(dir.join(generation), &[member.clone()]).unwrap();
            member
        });
        Renewal { dir, members }
    }

    fn home(&self, generation: &str, domain: &str) -> String {
        self.dir.join(format!("{generation}/peerOrganizations/{domain}")).to_str().unwrap().to_owned()
    }
}

#[test]
fn row_13_a_member_of_either_folder_of_one_msp_id_is_valid_everywhere() {
    let domain = "renewed.example.com";
    let renewal = Renewal::new("RenewedMSP", domain);
    let [old, new] = ["old", "new"].map(|generation| renewal.home(generation, domain));
    let local = |home: &str| format!("--mspid RenewedMSP --msp {home}/peers/peer0.{domain}/msp");
    let trust = |home: &str| format!("--trust-msp RenewedMSP={home}/msp");
    // Our own MSP is one of them, or both are those of another organisation.
    let own = |mine: &str, other: &str| words(&format!("{} {}", local(mine), trust(other)));
    let both = [bare(1, 1), words(&format!("{} {}", trust(&old), trust(&new)))].concat();
    for (n, member) in renewal.members.iter().enumerate() {
        let file = renewal.dir.write("member.pem", &member.cert);
        for flags in [own(&old, &new), own(&new, &old), [both[4..].to_vec(), vec![]].concat(), both.clone()] {
            let ended = run(&strs(&[&words(&format!("identity {file} --json")), &flags]));
            ended.assert_code(0);
            let line = ended.json().remove(0);
            assert_eq!((&line["valid"], &line["mspid"]), (&true.into(), &"RenewedMSP".into()), "{n} {line}");
        }
    }
    for (serves, dials) in [(&old, &new), (&new, &old)] {
        let mut listener = start(&strs(&[&words("listen --listen 127.0.0.1:0"), &own(serves, dials)]));
        let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
        run(&strs(&[&words(&format!("handshake {endpoint}")), &own(dials, serves)])).assert_code(0);
        run(&strs(&[&words(&format!("send {endpoint}")), &own(dials, serves)])).assert_code(0);
        // One folder alone says no, in every command.
        let alone = words(&format!("{} --tls-ca {serves}/tlsca/tlsca.{domain}-cert.pem", local(dials)));
        let step = failed_step(&run(&strs(&[&words(&format!("handshake {endpoint} --json")), &alone])));
        assert!(step["error"].as_str().unwrap().contains("(unknown_authority)"), "{step}");
        run(&strs(&[&words(&format!("send {endpoint}")), &alone])).assert_code(1);
    }
    // A third party trusts both.
    let mut listener = start(&strs(&[&words("listen --listen 127.0.0.1:0"), &both]));
    let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    let theirs = format!("--trust-msp Org1MSP={}/msp", Crypto::get().org(1));
    for home in [&old, &new] {
        run(&strs(&[&words(&format!("handshake {endpoint} {theirs} {}", local(home)))])).assert_code(0);
    }
}

#[test]
fn row_15_a_certificate_that_go_would_not_dial_is_a_failing_step_and_not_dialled() {
    let root = wanted("root").authority().issue(None);
    let told = ["no subject alternative names", "common name"];
    assert_unfit(wanted("localhost"), &root, "localhost", &told);
    assert_unfit(wanted("127.0.0.1"), &root, "127.0.0.1", &told);
    assert_unfit(wanted("p").sans(&["DNS:127.0.0.1"]), &root, "127.0.0.1", &["as a DNS name", "IP address"]);
    assert_unfit(
        wanted("localhost").sans(&["DNS:other.test"]),
        &root,
        "localhost",
        &["not for localhost", "other.test"],
    );
}

#[test]
fn row_20_all_certificates_in_one_file_of_tlscacerts_are_trusted() {
    let [first, second] = ["first", "second"].map(|name| wanted(name).authority().issue(None));
    let dir = TempDir::new();
    let msp = msp_with_tls(&dir, &format!("{}{}", first.pem(), second.pem()), None);
    for (n, root) in [&first, &second].into_iter().enumerate() {
        let leaf = wanted("server").sans(&["IP:127.0.0.1"]).issue(Some(root));
        let (_listener, endpoint) = serve(&leaf.write(&dir, &format!("server{n}")), &[]);
        run(&strs(&[&words(&format!("handshake {endpoint}")), &bare(2, 0), &msp])).assert_code(0);
    }
}

#[test]
fn row_24_control_characters_of_names_never_reach_the_terminal() {
    let dir = TempDir::new();
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    let member = org.peer("evil\x1b[31m\r\u{9b}0m").unwrap();
    let msp = dir.join("home/msp");
    member.write_msp(&msp).unwrap();
    std::fs::create_dir(dir.join("home/tls")).unwrap();
    std::fs::write(dir.join("home/tls/server.crt"), &member.tls_cert).unwrap();
    std::fs::write(dir.join("home/tls/server.key"), &member.tls_key).unwrap();
    let signcert = std::fs::read_dir(msp.join("signcerts")).unwrap().next().unwrap().unwrap().path();
    std::fs::rename(signcert, msp.join("signcerts/cert.pem")).unwrap();
    let identity = ["--msp".to_owned(), msp.to_str().unwrap().to_owned(), "--mspid".into(), "Org1MSP".into()];
    let sane = |what: &str, text: &str| {
        let bad = |c: char| c.is_control() && c != '\n';
        assert!(!text.contains(bad), "{what}: {text:?}");
        assert!(text.contains("evil"), "{what}: {text:?}");
    };
    for json in [&[][..], &["--json".to_owned()]] {
        let ended = run(&strs(&[&words("identity"), &identity, json]));
        sane("identity", &ended.assert_code(0).stdout);
        for command in ["peer", "listen"] {
            let mut child = tool().args(strs(&[&words(command), &identity, json])).spawn().unwrap();
            let mut line = String::new();
            let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
            child.kill().unwrap();
            child.wait().unwrap();
            if json.is_empty() {
                sane(command, line.trim_end_matches('\n'));
            }
        }
    }
    let mut listener = start(&strs(&[&words("listen"), &identity]));
    let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    sane("handshake", &run(&strs(&[&words(&format!("handshake {endpoint}")), &identity])).stdout);
}

#[test]
fn tls_keys_and_certificates_that_cannot_serve_are_named_with_the_cause() {
    let dir = TempDir::new();
    let root = wanted("root").authority().issue(None);
    let flags = Crypto::get().identity(1, 0);
    let listen = words("listen --listen 127.0.0.1:0");
    let fails = |pair: &[String], parts: &[&str]| {
        let ended = run(&strs(&[&listen, &flags, pair]));
        ended.assert_code(2);
        for part in parts {
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
        }
    };
    let weak = wanted("server").sans(&["IP:127.0.0.1"]).rsa(1024).issue(Some(&root)).write(&dir, "weak");
    fails(&weak, &["RSA key has 1024 bits", &weak[1]]);

    let server = wanted("server").sans(&["IP:127.0.0.1"]).issue(Some(&root));
    let mut encrypted = server.write(&dir, "server");
    let pem = server.key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    encrypted[3] = dir.write("encrypted.key", pem);
    fails(&encrypted, &["is encrypted", &encrypted[3]]);
    let pem = server.key.ec_key().unwrap().private_key_to_pem_passphrase(Cipher::aes_256_cbc(), b"secret").unwrap();
    encrypted[3] = dir.write("traditional.key", pem);
    fails(&encrypted, &["is encrypted", &encrypted[3]]);
}

#[test]
fn a_server_certificate_that_nobody_can_dial_is_told_on_both_sides() {
    let dir = TempDir::new();
    let root = wanted("root").authority().issue(None);
    assert_unfit(wanted("p").sans(&["IP:127.0.0.1"]).clients_only(), &root, "127.0.0.1", &["for clients only"]);
    for (server, part) in [
        (wanted("server"), "no subject alternative names"),
        (wanted("p").sans(&["DNS:p"]).clients_only(), "clients only"),
    ] {
        let pair = server.issue(Some(&root)).write(&dir, "server");
        let (mut listener, _) = serve(&pair, &[]);
        listener.signal("-TERM");
        let (_, stderr) = listener.end();
        assert!(stderr.contains(part) && stderr.contains(&pair[1]) && stderr.contains("can dial us"), "{stderr}");
    }
}

#[test]
fn an_expired_tls_authority_is_named_as_the_cause() {
    let root = wanted("old root").authority().expired().issue(None);
    let server = wanted("p").sans(&["IP:127.0.0.1"]);
    assert_unfit(server, &root, "127.0.0.1", &["authority", "old root", "expired on 2023-11-14"]);
}

#[test]
fn endpoints_that_are_no_endpoints_are_told_as_what_they_are() {
    for (endpoint, part) in [
        ("grpcs://localhost:7051", "scheme such as grpcs: write \"localhost:7051\""),
        ("dns:///localhost:7051", "scheme such as dns"),
        ("a:1,b:2", "more than one endpoint"),
        ("\"a:1\"", "quotes"),
        ("::1:7051", "brackets"),
    ] {
        for ended in [run(&["probe", endpoint]), run_with(&["probe"], &[("CORE_PEER_ADDRESS", endpoint)])] {
            ended.assert_code(2);
            assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
            assert!(part == "brackets" || !ended.stderr.contains("IPv6"), "{}", ended.stderr);
        }
    }
}

#[test]
fn row_18_files_beside_the_right_ones_are_passed_over_in_every_command() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let dir = TempDir::new();
    let (home, msp) = (crypto.peer(2, 1), dir.join("msp"));
    copy_folder(format!("{home}/msp").as_ref(), &msp);
    for folder in ["signcerts", "keystore", "cacerts"] {
        std::fs::write(msp.join(folder).join(".gitkeep"), "").unwrap();
        std::fs::write(msp.join(folder).join("README"), "what this folder is for").unwrap();
    }
    let identity = words(&format!("--msp {} --mspid Org2MSP", msp.display()));
    let ended = run(&strs(&[&words("identity --json"), &identity]));
    let line = ended.assert_code(0).json().remove(0);
    assert_eq!((&line["valid"], &line["mspid"]), (&true.into(), &"Org2MSP".into()));
    let more = words(&format!(
        "--trust-msp Org1MSP={}/msp --tls-cert {home}/tls/server.crt --tls-key {home}/tls/server.key",
        crypto.org(1)
    ));
    run(&strs(&[&words(&format!("handshake {endpoint}")), &identity, &more])).assert_code(0);
}
