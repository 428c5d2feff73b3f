//! `peer --check`: the settings of a peer, without a peer.

use crate::support::*;
use serde_json::{json, Value};
use std::io::ErrorKind;
use std::net::TcpListener;

fn peer(flags: &[String], more: &[&str], variables: &[(&str, &str)]) -> Ended {
    run_with(&Crypto::get().args(&[&["peer"], more].concat(), flags), variables)
}

/// Flags and variables of `peer`, and a part of the error.
type Refused<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

/// A socket that somebody else listens on.
fn busy() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn the_settings_are_shown_and_no_socket_is_opened() {
    let crypto = Crypto::get();
    let flags = crypto.identity(1, 0);
    let ((_listener, address), (bootstrap, contact)) = (busy(), busy());
    let more = ["--listen", &address, "--bootstrap", &contact, "--metrics", &address, "--channel", "mychannel"];
    let more = [&more[..], &["--anchor", "Org2MSP=peer0.org2.test:7051", "--tls-client-auth", "verify"]].concat();
    let ended = peer(&flags, &[&more[..], &["--check", "--json"]].concat(), &[]);
    let lines = ended.assert_code(0).json();
    // As by `peer`: a channel of two organisations needs an external endpoint.
    assert!(ended.stderr.contains("no external endpoint") && ended.stderr.lines().count() == 1, "{}", ended.stderr);
    let [checked] = &lines[..] else { panic!("one event: {lines:#?}") };
    assert_eq!((&checked["event"], &checked["ok"], &checked["error"]), (&"checked".into(), &true.into(), &Value::Null));
    assert_eq!((&checked["mspid"], &checked["organisations"]), (&"Org1MSP".into(), &json!(["Org1MSP", "Org2MSP"])));
    assert!(checked["subject"].as_str().unwrap().contains("CN=peer0.org1.example.com"), "{checked}");
    assert!(checked["pki_id"].as_str().unwrap().len() == 64 && checked["expires"].is_string(), "{checked}");
    assert_eq!(checked["msp"], format!("{}/msp", crypto.peer(1, 0)));
    assert_eq!(checked["listen"], json!({"value": address, "source": "--listen"}));
    assert_eq!(checked["endpoint"], json!({"value": address, "source": "--listen"}));
    assert_eq!((&checked["external_endpoint"], &checked["transport"]), (&Value::Null, &"http2".into()));
    assert_eq!(checked["bootstrap"], json!({"value": [contact], "source": "--bootstrap"}));
    assert_eq!(
        (&checked["channels"], &checked["anchors"]),
        (&json!(["mychannel"]), &json!(["Org2MSP=peer0.org2.test:7051"]))
    );
    assert_eq!(checked["metrics"], json!({"value": address, "source": "--metrics"}));
    assert_eq!(
        (&checked["metrics_tls"], &checked["revocation_lists"], &checked["skipped"]),
        (&false.into(), &0.into(), &json!([]))
    );
    let tls = &checked["tls"];
    assert_eq!(tls["certificate"], format!("{}/tls/server.crt", crypto.peer(1, 0)));
    assert!(tls["sans"].as_array().unwrap().contains(&"localhost".into()) && tls["expires"].is_string(), "{tls}");
    // Two flags, and the TLS authorities of two MSPs.
    assert_eq!((&tls["authorities"], &tls["client_authorities"]), (&4.into(), &4.into()), "{tls}");

    assert_eq!(bootstrap.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "the bootstrap peer was dialled");
    // Without the flag, the same command needs the address.
    let ended = peer(&flags, &more, &[]);
    assert!(ended.assert_code(2).stderr.contains(&address), "{}", ended.stderr);
}

#[test]
fn each_value_has_the_variable_or_key_that_it_came_from() {
    let (crypto, dir) = (Crypto::get(), TempDir::new());
    let file = dir.write(
        "core.yaml",
        "peer:\n  listenAddress: 0.0.0.0:7051\n  address: peer0.test:7051\n  gossip: {bootstrap: [a.test:1, b.test:2]}\n\
         operations: {listenAddress: '127.0.0.1:9443'}\n",
    );
    let home = crypto.peer(1, 0);
    let variables = [
        ("CORE_PEER_MSPCONFIGPATH", format!("{home}/msp")),
        ("CORE_PEER_LOCALMSPID", "Org1MSP".to_owned()),
        ("CORE_PEER_TLS_CERT_FILE", format!("{home}/tls/server.crt")),
        ("CORE_PEER_TLS_KEY_FILE", format!("{home}/tls/server.key")),
        ("CORE_PEER_GOSSIP_EXTERNALENDPOINT", "peer0.test:443".to_owned()),
    ];
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ended = run_with(&["peer", "--check", "--json", "--config", &file], &variables);
    let checked = ended.assert_code(0).json().remove(0);
    let from_file = |key: &str| format!("{key} in {file}");
    let expected = [
        ("listen", json!("0.0.0.0:7051"), from_file("peer.listenAddress")),
        ("endpoint", json!("peer0.test:7051"), from_file("peer.address")),
        ("external_endpoint", json!("peer0.test:443"), "CORE_PEER_GOSSIP_EXTERNALENDPOINT".to_owned()),
        ("bootstrap", json!(["a.test:1", "b.test:2"]), from_file("peer.gossip.bootstrap")),
        ("metrics", json!("127.0.0.1:9443"), from_file("operations.listenAddress")),
    ];
    for (field, value, source) in expected {
        assert_eq!(checked[field], json!({"value": value, "source": source}));
    }
    assert_eq!(checked["msp"], format!("{home}/msp (CORE_PEER_MSPCONFIGPATH)"));
    assert_eq!(checked["tls"]["certificate"], format!("{home}/tls/server.crt (CORE_PEER_TLS_CERT_FILE)"));
    assert_eq!(checked["tls"]["client_authorities"], Value::Null);

    let ended = peer(&crypto.identity(1, 0), &["--check", "--json"], &[]);
    let checked = ended.assert_code(0).json().remove(0);
    assert_eq!(checked["listen"], json!({"value": "127.0.0.1:0", "source": "default"}));
    assert_eq!(checked["bootstrap"], json!({"value": [], "source": "default"}));
    assert_eq!(checked["metrics"], Value::Null);
}

#[test]
fn a_person_reads_lines_without_a_time_and_the_files_that_are_skipped() {
    let (crypto, dir) = (Crypto::get(), TempDir::new());
    copy_folder(crypto.peer(1, 0).as_ref(), dir.path());
    std::fs::create_dir_all(dir.join("msp/crls")).unwrap();
    let list = dir.write("msp/crls/list.pem", "no list");
    let mut flags = crypto.identity(1, 0);
    flags[1] = dir.join("msp").to_str().unwrap().to_owned();
    let ended = peer(&flags, &["--check", "--metrics", ":9443"], &[]);
    ended.assert_code(0);
    for line in [
        "identity    peer0.org1.example.com of Org1MSP".to_owned(),
        "trusts      Org1MSP, Org2MSP".to_owned(),
        format!("            skipped, not PEM: {list}"),
        "            clients: any certificate".to_owned(),
        "listens     127.0.0.1:0 (default)".to_owned(),
        "external    none: other organisations do not see this peer".to_owned(),
        "metrics     http://127.0.0.1:9443/metrics (--metrics)".to_owned(),
        "✔ these settings are valid".to_owned(),
    ] {
        assert!(ended.stdout.lines().any(|printed| printed == line), "{line:?} in {}", ended.stdout);
    }
    let idle = peer(&flags, &["--check", "--anchor", "Org2MSP=localhost:7051"], &[]);
    assert!(idle.assert_code(0).stderr.contains("--anchor has no effect without --channel"), "{}", idle.stderr);
    let plain = peer(&crypto.alone(1, 0), &["--check", "--no-tls"], &[]);
    assert!(plain.assert_code(0).stdout.contains("TLS         off: plain text\n"), "{}", plain.stdout);
}

#[test]
fn what_a_peer_refuses_is_refused_with_the_same_words() {
    let (crypto, dir) = (Crypto::get(), TempDir::new());
    let flags = crypto.identity(1, 0);
    let other_key = format!("{}/tls/server.key", crypto.peer(1, 1));
    let cert = format!("{}/tls/server.crt", crypto.peer(1, 0));
    let wrong = dir.write("core.yaml", "peer: {gossip: {bootstrap: 'a:1,b:2', connTimeout: soon}}\n");
    let operations = dir.write("operations.yaml", "operations: {listenAddress: ':1', tls: {enabled: true}}\n");
    let channels: Vec<String> = (0..=1000).map(|number| format!("--channel=c{number}")).collect();
    let channels: Vec<&str> = channels.iter().map(String::as_str).collect();
    let cases: [Refused<'_>; 10] = [
        (&["--tls-cert", &cert, "--tls-key", &other_key], &[], "does not belong"),
        (&["--anchor", "Org3MSP=h:1"], &[], "Org3MSP"),
        (&["--trust-msp", "Org3MSP=/nowhere/msp"], &[], "/nowhere/msp"),
        (&["--config", &wrong], &[], "peer.gossip.bootstrap"),
        (&["--config", &wrong, "--bootstrap", "a:1"], &[], "peer.gossip.connTimeout"),
        (&["--config", &operations], &[], "operations.tls.cert.file"),
        (&["--metrics-client-ca", &cert], &[], "give --metrics H:P"),
        (&[], &[("CORE_PEER_GOSSIP_EXTERNALENDPOINT", "0.0.0.0:1")], "CORE_PEER_GOSSIP_EXTERNALENDPOINT"),
        (
            &["--alive-expiration", "1s"],
            &[],
            "interval of heartbeats, 5.00 s (--alive-interval or peer.gossip.aliveTimeInterval)",
        ),
        // The running node refuses this one.
        (&channels, &[], "--channel c1000: too many channels"),
    ];
    for (more, variables, part) in cases {
        let [real, checked] = [&[][..], &["--check", "--json"]].map(|check| {
            let ended = peer(&flags, &[more, check].concat(), variables);
            ended.assert_code(2);
            assert!(ended.stdout.is_empty() && ended.stderr.contains(part), "{part}: {}", ended.stderr);
            // Log lines have a time.
            ended.stderr.lines().filter(|line| !line.starts_with('[')).map(str::to_owned).collect::<Vec<_>>()
        });
        assert_eq!(checked, real);
    }
}
