//! `probe` and `handshake`: properties of a peer, and its defects.

use crate::support::*;
use serde_json::Value;
use std::net::TcpListener;

const STEPS: [&str; 8] = ["resolve", "connect", "tls", "ping", "identity", "tls_binding", "signature", "accepted"];

fn handshake(endpoint: &str, flags: &[String], more: &[&str]) -> Ended {
    let mut args = vec!["handshake", endpoint, "--json"];
    args.extend(more);
    run(&Crypto::get().args(&args, flags))
}

/// The steps up to this one passed, it failed, and the error has this in it.
fn assert_fails_at(ended: &Ended, step: &str, part: &str) -> Value {
    ended.assert_code(1);
    let lines = ended.json();
    let (last, steps) = lines.split_last().unwrap();
    let names: Vec<&str> = steps.iter().map(|s| s["name"].as_str().unwrap()).collect();
    let expected: Vec<&str> = STEPS.iter().copied().take_while(|s| *s != step).chain([step]).collect();
    assert_eq!(names, expected);
    for (i, line) in steps.iter().enumerate() {
        assert_eq!(line["event"], "step");
        assert_eq!(line["ok"], i + 1 < steps.len(), "{line}");
        assert!(line["detail"].is_object());
        assert_eq!(line["error"].is_null(), line["ok"] == true);
    }
    assert_eq!((&last["event"], &last["ok"]), (&"handshake".into(), &false.into()));
    let error = steps.last().unwrap()["error"].as_str().unwrap();
    assert!(error.contains(part), "{error}");
    assert!(last["error"].as_str().unwrap().contains(part));
    last.clone()
}

/// Returns a port without a listener: it was free a moment ago, and is not assigned again soon.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn probe_tells_whether_somebody_answers() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let ca = crypto.tls_ca(1);
    let ended = run(&["probe", &endpoint, "--tls-ca", &ca, "--json"]);
    ended.assert_code(0);
    let line = &ended.json()[0];
    assert_eq!((&line["event"], &line["ok"], &line["error"]), (&"probe".into(), &true.into(), &Value::Null));
    assert_eq!(line["endpoint"], endpoint.as_str());
    assert!(line["rtt_us"].as_u64().unwrap() > 0);

    for (endpoint, flags) in [
        (endpoint.as_str(), &["--no-tls"][..]),
        (&endpoint, &["--tls-ca", &crypto.tls_ca(2)]),
        (&nobody(), &["--no-tls"]),
        ("nowhere.invalid:7051", &["--no-tls"]),
    ] {
        let ended = run(&[&["probe", endpoint, "--json"], flags].concat());
        ended.assert_code(1);
        let line = &ended.json()[0];
        assert_eq!((&line["ok"], &line["rtt_us"]), (&false.into(), &Value::Null));
        assert!(!line["error"].as_str().unwrap().is_empty());
    }
}

#[test]
fn the_environment_of_the_peer_command_and_core_yaml_serve_as_defaults() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let home = crypto.peer(1, 1);
    let ended = tool()
        .args(["handshake", "--json"])
        .env("CORE_PEER_ADDRESS", &endpoint)
        .env("CORE_PEER_MSPCONFIGPATH", format!("{home}/msp"))
        .env("CORE_PEER_LOCALMSPID", "Org1MSP")
        .env("CORE_PEER_TLS_ENABLED", "true")
        .env("CORE_PEER_TLS_CERT_FILE", format!("{home}/tls/server.crt"))
        .env("CORE_PEER_TLS_KEY_FILE", format!("{home}/tls/server.key"))
        .env("CORE_PEER_TLS_ROOTCERT_FILE", format!("{home}/tls/ca.crt"))
        .env("CORE_PEER_TLS_CLIENTCERT_FILE", "")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(0), "{}", String::from_utf8_lossy(&ended.stderr));

    let dir = TempDir::new();
    let yaml = format!(
        "peer:\n  address: {endpoint}\n  localMspId: Org1MSP\n  mspConfigPath: {home}/msp\n  tls:\n    enabled: true\n    \
         cert: {{file: {home}/tls/server.crt}}\n    key: {{file: {home}/tls/server.key}}\n    rootcert: {{file: \
         {home}/tls/ca.crt}}\n"
    );
    run(&["handshake", "--config", &dir.write("core.yaml", yaml)]).assert_code(0);
}

#[test]
fn a_handshake_goes_through_every_step() {
    let crypto = Crypto::get();
    let (_listener, endpoint, pki_id) = crypto.listen(&[]);
    let ended = handshake(&endpoint, &crypto.identity(2, 0), &["--expect", &pki_id]);
    ended.assert_code(0);
    let lines = ended.json();
    let names: Vec<&Value> = lines.iter().map(|l| &l["name"]).take(STEPS.len()).collect();
    assert_eq!(names, STEPS);
    assert!(lines[..STEPS.len()].iter().all(|l| l["event"] == "step" && l["ok"] == true && l["detail"].is_object()));
    let tls = &lines[2]["detail"];
    assert_eq!(tls["version"], "TLSv1.3");
    assert!(tls["certificate"]["sans"].as_array().unwrap().contains(&"localhost".into()));
    let identity = &lines[4]["detail"];
    assert_eq!((&identity["ous"], &identity["valid"]), (&serde_json::json!(["peer"]), &true.into()));

    let last = lines.last().unwrap();
    assert_eq!((&last["event"], &last["ok"], &last["error"]), (&"handshake".into(), &true.into(), &Value::Null));
    assert_eq!((&last["pki_id"], &last["mspid"]), (&pki_id.into(), &"Org1MSP".into()));
    assert!(last["subject"].as_str().unwrap().starts_with("CN=peer0.org1.example.com,OU=peer"));
    assert!(last["expires"].as_str().unwrap().ends_with('Z'));
    assert_eq!(last["tls_hash"].as_str().unwrap().len(), 64);
}

#[test]
fn a_handshake_names_the_step_that_fails() {
    let crypto = Crypto::get();
    let (_listener, endpoint, pki_id) = crypto.listen(&[]);
    let flags = crypto.identity(2, 0);

    assert_fails_at(&handshake("nowhere.invalid:7051", &flags, &[]), "resolve", "nowhere.invalid");
    assert_fails_at(&handshake(&nobody(), &flags, &[]), "connect", "refused");

    let named = handshake(&endpoint, &flags, &["--tls-server-name", "other.example.com"]);
    assert_fails_at(&named, "tls", "is not for other.example.com");
    assert!(named.stdout.contains("--tls-server-name localhost") || named.stdout.contains("peer0.org1.example.com"));
    let own_ca_only: Vec<String> = crypto.alone(2, 0).into_iter().filter(|f| *f != crypto.tls_ca(1)).collect();
    let own_ca_only: Vec<String> = dedup_flag(own_ca_only, "--tls-ca");
    assert_fails_at(&handshake(&endpoint, &own_ca_only, &[]), "tls", "cannot be verified");

    assert_fails_at(&handshake(&endpoint, &flags, &["--no-tls"]), "ping", "");

    let last = assert_fails_at(&handshake(&endpoint, &crypto.alone(2, 0), &[]), "identity", "not valid for us");
    assert_eq!((&last["pki_id"], &last["mspid"]), (&pki_id.as_str().into(), &"Org1MSP".into()));
    assert_fails_at(
        &handshake(&endpoint, &flags, &["--expect", &"00ff".repeat(16)]),
        "identity",
        "not the expected 00ff",
    );

    let mut claims_another = flags.clone();
    let mspid = claims_another.iter().position(|f| f == "Org2MSP").unwrap();
    claims_another[mspid] = "Org3MSP".into();
    assert_fails_at(&handshake(&endpoint, &claims_another, &[]), "accepted", "the peer refused us");
}

/// Drops a flag that lost its value.
fn dedup_flag(mut flags: Vec<String>, flag: &str) -> Vec<String> {
    let lonely = flags.windows(2).position(|pair| pair[0] == flag && pair[1] == flag);
    if let Some(at) = lonely {
        flags.remove(at);
    }
    flags
}

#[test]
fn tls_failures_are_told_apart() {
    let crypto = Crypto::get();
    let flags = crypto.identity(2, 0);
    let (_plain, endpoint, _) = crypto.listen(&["--no-tls"]);
    assert_fails_at(&handshake(&endpoint, &flags, &[]), "tls", "does not speak TLS");

    // A listener accepts the connection and sends nothing.
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = mute.local_addr().unwrap().to_string();
    assert_fails_at(&handshake(&endpoint, &flags, &["--timeout", "300ms"]), "tls", "the TLS handshake timed out");

    // A peer that verifies its clients, and one whose certificate it cannot verify.
    let (_strict, endpoint, _) = crypto.listen(&["--tls-client-auth", "verify"]);
    handshake(&endpoint, &flags, &[]).assert_code(0);
    let dir = TempDir::new();
    let stranger = fabric_gossip::testing::cryptogen::Org::new("X", "x.test").unwrap().peer("p").unwrap();
    let (cert, key) = (dir.write("c.crt", &stranger.tls_cert), dir.write("c.key", &stranger.tls_key));
    let ended = handshake(&endpoint, &flags, &["--tls-client-cert", &cert, "--tls-client-key", &key]);
    assert_fails_at(&ended, "tls", "refused our TLS certificate");
}

#[test]
fn a_signal_ends_a_handshake_that_hangs() {
    let crypto = Crypto::get();
    let mute = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = mute.local_addr().unwrap().to_string();
    let flags = crypto.identity(2, 0);
    let mut hanging = start(&crypto.args(&["handshake", &endpoint, "--timeout", "60s"], &flags));
    hanging.await_that("step", |step| step["name"] == "connect");
    hanging.signal("-INT");
    let last = hanging.await_event("handshake");
    assert_eq!((&last["ok"], &last["error"]), (&false.into(), &"interrupted".into()));
    let (status, stderr) = hanging.end();
    assert_eq!(status.code(), Some(130), "{stderr}");
}

#[test]
fn version_six_addresses_go_in_brackets() {
    if TcpListener::bind("[::1]:0").is_err() {
        fabric_gossip::testing::skip("addresses of version 6", "this machine has none");
        return;
    }
    let crypto = Crypto::get();
    let flags = crypto.identity(1, 0);
    let mut listener = start(&crypto.args(&["listen", "--listen", "[::1]:0"], &flags));
    let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    assert!(endpoint.starts_with("[::1]:"));
    handshake(&endpoint, &crypto.identity(2, 0), &[]).assert_code(0);
}

#[test]
fn several_pings_end_with_a_summary() {
    let crypto = Crypto::get();
    let (_listener, endpoint, _) = crypto.listen(&[]);
    let ca = crypto.tls_ca(1);
    let pings =
        |endpoint: &str| run(&["probe", endpoint, "--tls-ca", &ca, "--count", "5", "--interval", "1ms", "--json"]);
    let ended = pings(&endpoint);
    ended.assert_code(0);
    let lines = ended.json();
    let numbers: Vec<&Value> =
        lines.iter().filter(|line| line["event"] == "ping").map(|line| &line["number"]).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
    let last = lines.last().unwrap();
    assert_eq!(
        (&last["event"], &last["ok"], &last["count"], &last["lost"]),
        (&"probe".into(), &true.into(), &5.into(), &0.into())
    );
    let us = |key: &str| last[key].as_u64().unwrap();
    assert!(us("min_us") <= us("median_us") && us("median_us") <= us("p99_us"), "{last}");

    let ended = pings(&nobody());
    ended.assert_code(1);
    let lines = ended.json();
    let last = lines.last().unwrap();
    assert_eq!((&last["ok"], &last["lost"], &last["median_us"]), (&false.into(), &5.into(), &Value::Null));
    assert!(last["error"].as_str().unwrap().starts_with("5 of 5 Pings were lost"), "{last}");

    let text = run(&["probe", &endpoint, "--tls-ca", &ca, "--count", "2", "--interval", "1ms"]);
    assert!(text.assert_code(0).stdout.contains("2 of 2 Pings answered, 0 lost; min "), "{}", text.stdout);
}
