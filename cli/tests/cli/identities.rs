//! `identity`: the contents of a certificate, and its expiry.

use crate::support::*;
use fabric_gossip::testing::cryptogen::Org;
use std::io::Write;
use std::process::Stdio;

/// Runs the tool with a text on standard input.
fn run_on(input: &str, args: &[&str]) -> Ended {
    let mut child = tool().args(args).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

#[test]
fn a_certificate_is_described_from_a_file_and_from_standard_input() {
    let home = Crypto::get().peer(1, 0);
    let file = format!("{home}/msp/signcerts/peer0.org1.example.com-cert.pem");
    let pem = std::fs::read_to_string(&file).unwrap();
    let x509 = openssl::x509::X509::from_pem(pem.as_bytes()).unwrap();
    let from_file = run(&["identity", &file, "--json"]);
    let from_stdin = run_on(&pem, &["identity", "-", "--json"]);
    for (ended, path) in [(from_file, file.as_str()), (from_stdin, "standard input")] {
        let line = ended.assert_code(0).json().pop().unwrap();
        assert_eq!((&line["path"], &line["key"], &line["tls"]), (&path.into(), &"ECDSA P-256".into(), &false.into()));
        let digest = x509.digest(openssl::hash::MessageDigest::sha256()).unwrap();
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(line["fingerprint"], digest);
        let serial = x509.serial_number().to_bn().unwrap().to_hex_str().unwrap().to_lowercase();
        assert_eq!(line["serial"], serial);
    }
    let ended = run_on("no certificate", &["identity", "-"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("standard input"), "{}", ended.stderr);
}

#[test]
fn a_tls_certificate_is_recognised() {
    let file = format!("{}/tls/server.crt", Crypto::get().peer(1, 0));
    let line = run(&["identity", &file, "--json"]).assert_code(0).json().pop().unwrap();
    assert_eq!(line["tls"], true);
    let sans = line["sans"].as_array().unwrap();
    assert!(sans.contains(&"localhost".into()) && sans.contains(&"127.0.0.1".into()), "{line}");
    let text = run(&["identity", &file]);
    assert!(text.stdout.contains("TLS certificate") && text.stdout.contains("ECDSA P-256"), "{}", text.stdout);
}

#[test]
fn a_certificate_that_expires_soon_is_a_failure_if_asked() {
    let file = format!("{}/tls/server.crt", Crypto::get().peer(1, 0));
    let folder = format!("{}/msp", Crypto::get().org(1));
    for args in [&["identity", &file][..], &["identity", "--msp", &folder, "--mspid", "Org1MSP"]] {
        run(&[args, &["--warn-expiry", "720h"]].concat()).assert_code(0);
    }
    let dir = TempDir::new();
    let day = std::time::Duration::from_secs(86_400);
    let (now, org) = (std::time::SystemTime::now(), Org::new("Org1MSP", "org1.test").unwrap());
    let ending = org.member("ending").valid(now - day, now + 2 * day).issue().unwrap();
    let file = dir.write("ending.pem", &ending.cert);
    run(&["identity", &file, "--json", "--warn-expiry", "47h"]).assert_code(0);
    let ended = run(&["identity", &file, "--json", "--warn-expiry", "49h"]);
    ended.assert_code(1);
    let line = ended.json().pop().unwrap();
    assert!(line["ok"] == false && line["error"].as_str().unwrap().contains("expires on"), "{line}");
}
