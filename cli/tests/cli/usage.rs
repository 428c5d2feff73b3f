//! Errors detected before any attempt: exit code 2, and a text that names the flag or the file.

use crate::support::*;
use fabric_gossip::testing::cryptogen::Org;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

fn assert_usage(args: &[&str], named: &[&str]) {
    let ended = run(args);
    ended.assert_code(2);
    assert_eq!(ended.stdout, "", "{args:?}");
    for part in named {
        assert!(ended.stderr.contains(part), "{args:?}: {part:?} is not in {}", ended.stderr);
    }
}

#[test]
fn flags_that_make_no_sense() {
    assert_usage(&[], &["Usage"]);
    assert_usage(&["nonsense"], &["nonsense"]);
    assert_usage(&["probe"], &["CORE_PEER_ADDRESS"]);
    assert_usage(&["probe", "localhost"], &["host:port"]);
    assert_usage(&["probe", "::1:7051"], &["brackets"]);
    assert_usage(&["probe", "localhost:0"], &["port 0"]);
    assert_usage(&["probe", "localhost:1"], &["--tls-ca", "--no-tls"]);
    assert_usage(&["probe", "localhost:1", "--no-tls", "--timeout", "5"], &["300ms"]);
    assert_usage(&["handshake", "localhost:1", "--no-tls"], &["--msp", "CORE_PEER_MSPCONFIGPATH"]);
    assert_usage(&["handshake", "localhost:1", "--expect", "xyz"], &["hex"]);
    assert_usage(&["handshake", "localhost:1", "--expect", "00ff"], &["--expect", "64 hex digits"]);
    assert_usage(&["send", "localhost:1", "--pki-id", "00ff"], &["--pki-id", "64 hex digits"]);
    assert_usage(&["handshake", "localhost:1", "--mspid", " Org1MSP"], &["--mspid", "white space"]);
    assert_usage(&["listen", "--trust-msp", "\"Org2MSP\"=/msp"], &["--trust-msp", "quotes"]);
    assert_usage(&["peer", "--anchor", "Org 2=h:1"], &["--anchor", "white space"]);
    assert_usage(&["survey", "--anchor", "=h:1"], &["--anchor", "not empty"]);
    assert_usage(&["survey", "localhost:1", "--mspid", ""], &["--mspid", "not empty"]);
    assert_usage(&["members", "localhost:1", "--mspid", "Org1\u{202e}PSM"], &["--mspid", "control characters"]);
    assert_usage(&["peer", "--channel", ""], &["--channel", "not empty"]);
    assert_usage(&["send", "localhost:1", "--channel", "my\x1bchannel"], &["--channel", "control characters"]);
    assert_usage(&["probe", "localhost:1", "--tls-server-name", "h:7051"], &["--tls-server-name", "without port"]);
    assert_usage(&["survey", "--watch", "0s"], &["--watch", "greater than zero"]);
    assert_usage(&["listen", "--payload", "base64"], &["--payload", "text, hex"]);
    assert_usage(&["listen", "--ack", "--nack", "no"], &["--nack"]);
    assert_usage(&["send", "localhost:1", "--size", "1", "--text", "x"], &["--text"]);
    assert_usage(&["demo", "--peers", "1"], &["--peers"]);
    assert_usage(&["bench", "--duration", "0s"], &["--duration", "greater than zero"]);
    assert_usage(&["bench", "--size", "200000000"], &["--size", "100000000"]);
    assert_usage(&["listen", "--trust-msp", "Org2MSP"], &["ID=DIR"]);
    assert_usage(&["probe", "localhost:1", "--config", "/nowhere/core.yaml"], &["/nowhere/core.yaml"]);
    assert_usage(&["demo", "--transport", "tcp"], &["--transport", "possible values", "http2"]);
    #[cfg(not(feature = "c-core"))]
    assert_usage(&["demo", "--transport", "c-core"], &["not compiled in", "--features c-core"]);
}

#[test]
fn files_without_end_and_folders_are_refused() {
    let folder = format!("{}/msp", Crypto::get().org(1));
    assert_usage(&["identity", "/dev/zero"], &["/dev/zero", "no certificate"]);
    assert_usage(&["identity", &folder], &[&folder, "--msp DIR"]);
    let flags = Crypto::get().identity(1, 0);
    assert_usage(
        &Crypto::get().args(&["send", "localhost:1", "--file", "/dev/zero"], &flags),
        &["/dev/zero", "100 MiB"],
    );
    for (flag, file) in [("--html", folder.as_str()), ("--dot", "/nowhere/survey.dot")] {
        assert_usage(&Crypto::get().args(&["survey", "localhost:1", flag, file], &flags), &[file, "cannot be written"]);
    }
    assert_usage(&["identity", "--warn-expiry", "99999h"], &["too long", "87600h"]);
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let crypto = Crypto::get();
    let dir = TempDir::new();
    let flags = crypto.identity(1, 0);
    let with = |more: &[&str], named: &[&str]| {
        let mut args = vec!["handshake", "localhost:1"];
        args.extend(more);
        let replaced: Vec<&str> = more.iter().copied().filter(|m| m.starts_with("--")).collect();
        let kept = flags.chunks(2).filter(|pair| !replaced.contains(&pair[0].as_str())).flatten();
        args.extend(kept.map(String::as_str));
        assert_usage(&args, named);
    };
    let (own, other) = (crypto.peer(1, 0), crypto.peer(1, 1));
    let (cert, key) = (format!("{own}/tls/server.crt"), format!("{other}/tls/server.key"));
    with(&["--tls-cert", &cert, "--tls-key", &key], &["does not belong", &key, &cert]);
    with(&["--tls-cert", "/nowhere/a.crt", "--tls-key", &key], &["/nowhere/a.crt"]);
    with(&["--tls-cert", &cert], &["--tls-key", &cert]);
    with(&["--tls-ca", &key], &[&key]);
    let garbage = dir.write("garbage.pem", "no certificate");
    with(&["--tls-ca", &garbage], &[&garbage]);
    with(&["--msp", "/nowhere/msp"], &["/nowhere/msp"]);
    with(&["--trust-msp", "Org2MSP=/nowhere/msp"], &["/nowhere/msp"]);

    let msp = dir.join("msp");
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    org.member("old").expired().issue().unwrap().write_msp(&msp).unwrap();
    with(&["--msp", msp.to_str().unwrap()], &["expired", msp.to_str().unwrap()]);
    std::fs::remove_dir_all(&msp).unwrap();
    org.peer("new").unwrap().write_msp(&msp).unwrap();
    swap_key(&msp, &org.peer("other").unwrap().key);
    with(&["--msp", msp.to_str().unwrap()], &["keystore", "matches"]);
    std::fs::remove_dir_all(msp.join("cacerts")).unwrap();
    with(&["--msp", msp.to_str().unwrap()], &["CA", msp.to_str().unwrap()]);
}

fn swap_key(msp: &Path, key: &str) {
    std::fs::write(msp.join("keystore/priv_sk"), key).unwrap();
}

#[test]
fn an_expired_tls_certificate_is_named() {
    let dir = TempDir::new();
    let crypto = Crypto::get();
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    // An identity serves as a TLS certificate here: only its date matters.
    let old = org.member("old").expired().issue().unwrap();
    let (cert, key) = (dir.write("old.crt", &old.cert), dir.write("old.key", &old.key));
    assert_usage(
        &["probe", "localhost:1", "--tls-ca", &crypto.tls_ca(1), "--tls-cert", &cert, "--tls-key", &key],
        &["expired on", &cert],
    );
}

#[test]
fn crypto_writes_what_it_says_and_overwrites_nothing() {
    let dir = TempDir::new();
    let path = dir.path().to_str().unwrap();
    let ended =
        run(&["crypto", path, "--orgs", "1", "--peers", "1", "--san", "peer.test", "--san", "10.1.2.3", "--json"]);
    ended.assert_code(0);
    let lines = ended.json();
    assert!(lines.len() >= 3);
    for line in &lines {
        assert_eq!(line["event"], "created");
        assert!(Path::new(line["path"].as_str().unwrap()).is_dir(), "{line}");
    }
    let home = dir.join("peerOrganizations/org1.example.com/peers/peer0.org1.example.com");
    for file in
        ["msp/signcerts/peer0.org1.example.com-cert.pem", "msp/keystore/priv_sk", "tls/server.crt", "tls/ca.crt"]
    {
        assert!(home.join(file).is_file(), "{file}");
    }
    let cert = openssl::x509::X509::from_pem(&std::fs::read(home.join("tls/server.crt")).unwrap()).unwrap();
    let sans = cert.subject_alt_names().unwrap();
    assert!(sans.iter().any(|n| n.dnsname() == Some("peer.test")));
    assert!(sans.iter().any(|n| n.ipaddress() == Some(&[10, 1, 2, 3])));
    assert_usage(&["crypto", path, "--orgs", "1"], &["org1.example.com", "already exists"]);
    assert_usage(&["crypto", "/proc/nowhere"], &["/proc/nowhere"]);
}

#[test]
fn crypto_lists_folders_in_columns_and_takes_any_name() {
    let dir = TempDir::new();
    let path = dir.join(OsStr::from_bytes(b"\xff"));
    let create = |format: &[&str]| {
        let ended =
            tool().arg("crypto").arg(&path).args(["--orgs", "1", "--peers", "1"]).args(format).output().unwrap();
        std::fs::remove_dir_all(&path).unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));
        String::from_utf8_lossy(&ended.stdout).into_owned()
    };
    let objects: Vec<_> = create(&["--json"]).lines().map(parse).collect();
    assert_eq!((&objects[6]["ok"], &objects[6]["what"]), (&true.into(), &"1 organisation".into()));
    let text = create(&[]);
    let columns = text.lines().take(6).map(|line| line.rfind("  ").unwrap_or_else(|| panic!("{line}")));
    assert_eq!(columns.collect::<BTreeSet<_>>().len(), 1, "{text}");
}

#[test]
fn version_help_and_completions() {
    let version = run(&["--version"]);
    version.assert_code(0);
    assert!(version
        .stdout
        .starts_with(&format!("fabric-gossip {} (transports: http2 with nghttp2 1.", env!("CARGO_PKG_VERSION"))));
    for command in ["demo", "crypto", "probe", "handshake", "send", "listen", "bench"] {
        assert!(run(&["--help"]).assert_code(0).stdout.contains(command));
        assert!(run(&[command, "--help"]).assert_code(0).stdout.contains("--json"));
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).assert_code(0).stdout.contains("handshake"));
    }
}

#[test]
fn bash_completes_commands_flags_and_values() {
    let dir = TempDir::new();
    dir.write("certificate.pem", "");
    dir.write("completions", run(&["completions", "bash"]).assert_code(0).stdout.as_bytes());
    // Completes the last argument, as bash does for a line with the other ones.
    let driver = r#"
        compopt() { COMPREPLY+=("$2"); } # works only while bash completes
        source ./completions
        function=$(complete -p fabric-gossip | sed 's/.*-F \([^ ]*\) .*/\1/')
        COMP_WORDS=(fabric-gossip "$@"); COMP_CWORD=$#
        "$function" fabric-gossip "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        echo "${COMPREPLY[*]}"
    "#;
    for (line, expected) in [
        (&["pe"][..], "peer"),
        (&["--vers"], "--version"),
        (&["peer", "--boot"], "--bootstrap"),
        (&["--json", "survey", "--warn"], "--warn-expiry"),
        (&["help", "hand"], "handshake"),
        (&["peer", "--color", ""], "auto always never"),
        (&["listen", "--payload", ""], "text hex"),
        (&["listen", "--tls-client-auth", "v"], "verify"),
        (&["send", "--file", "certificate."], "certificate.pem"),
        (&["members", "--msp", "cert"], "plusdirs"),
    ] {
        let shell = Command::new("bash")
            .args(["--norc", "-c", driver, "bash"])
            .args(line)
            .current_dir(dir.path())
            .output()
            .unwrap();
        let (completed, errors) = (String::from_utf8_lossy(&shell.stdout), String::from_utf8_lossy(&shell.stderr));
        assert_eq!((completed.trim(), &*errors), (expected, ""), "{line:?}");
    }
}

#[test]
fn a_closed_stdout_is_no_accident() {
    for args in [&["--help"][..], &["completions", "bash"], &["demo"]] {
        let mut child = tool().args(args).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let status = child.wait().unwrap();
        assert!(status.code().is_some(), "{args:?} was killed: {status}");
        assert!(!stderr.contains("panic") && !stderr.contains("defect"), "{args:?}: {stderr}");
    }
}

/// Where there is a device that is always full.
#[test]
fn a_full_disk_is_told() {
    // Also if the command has failed: nobody has seen why.
    for args in [&["completions", "bash"][..], &["probe", "127.0.0.1:1", "--no-tls"]] {
        let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
            fabric_gossip::testing::skip("a full disk", "there is no /dev/full");
            return;
        };
        let output = tool().args(args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to stdout"), "{args:?}");
    }
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let flags = crypto.identity(1, 1);
    assert_usage(&crypto.args(&["listen", "--listen", &endpoint], &flags), &[&endpoint]);
}
