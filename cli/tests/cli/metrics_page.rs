//! `peer --metrics`: the pages by HTTP and HTTPS, and Fabric's settings of its operations service.

use crate::gossipers::Identity;
use crate::support::*;
use fabric_gossip::testing::cryptogen::Org;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

fn start_peer(more: &[&str]) -> (Running, String) {
    let flags = Crypto::get().identity(1, 0);
    let mut running = start(&Crypto::get().args(&[&["peer"], more].concat(), &flags));
    let listening = running.await_event("listening");
    let address = listening["metrics"].as_str().expect("an address").to_owned();
    (running, address)
}

/// Ends with a usage error that has these parts.
fn assert_refused(more: &[&str], parts: &[&str]) {
    let flags = Crypto::get().identity(1, 0);
    let ended = run(&Crypto::get().args(&[&["peer"], more].concat(), &flags));
    ended.assert_code(2);
    for part in parts {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
}

/// Asks for a page by HTTPS. Returns the answer, or the reason why there is none.
fn ask(address: &str, ca: &str, pair: Option<&str>, path: &str) -> Result<String, String> {
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_ca_file(ca).unwrap();
    if let Some(tls) = pair {
        connector.set_certificate_file(format!("{tls}/server.crt"), SslFiletype::PEM).unwrap();
        connector.set_private_key_file(format!("{tls}/server.key"), SslFiletype::PEM).unwrap();
    }
    let tcp = TcpStream::connect(address).unwrap();
    let mut stream = connector.build().connect("localhost", tcp).map_err(|e| e.to_string())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut answer = String::new();
    let asked = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
    asked.map_err(|e| e.to_string())?;
    Ok(answer)
}

#[test]
fn the_pages_are_served_by_https_to_clients_with_a_certificate_of_the_given_authority() {
    let crypto = Crypto::get();
    let [ours, theirs] = [1, 2].map(|org| format!("{}/tls", crypto.peer(org, 1)));
    let (cert, key) = (format!("{ours}/server.crt"), format!("{ours}/server.key"));
    let tls = ["--metrics", ":0", "--metrics-tls-cert", &cert, "--metrics-tls-key", &key];
    let ca = crypto.tls_ca(1);
    let (_open, address) = start_peer(&tls);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    for path in ["/metrics", "/healthz"] {
        assert!(ask(&address, &ca, None, path).unwrap().starts_with("HTTP/1.1 200 OK\r\n"));
    }
    // Plain HTTP gets no answer there.
    let mut plain = TcpStream::connect(&address).unwrap();
    plain.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");

    let (_closed, address) = start_peer(&[&tls[..], &["--metrics-client-ca", &ca]].concat());
    let page = ask(&address, &ca, Some(&ours), "/metrics").unwrap();
    assert!(page.contains("\ngossip_membership_alive 0"), "{page}");
    for (client, path) in [(None, "/metrics"), (None, "/healthz"), (Some(&*theirs), "/metrics")] {
        let refused = ask(&address, &ca, client, path);
        assert!(!refused.as_ref().is_ok_and(|answer| answer.contains("HTTP")), "{client:?} {refused:?}");
    }
}

#[test]
fn fabrics_settings_of_the_operations_service_apply() {
    let (crypto, dir) = (Crypto::get(), TempDir::new());
    let (home, ca) = (format!("{}/tls", crypto.peer(1, 1)), crypto.tls_ca(1));
    let config =
        |tls: &str| dir.write("core.yaml", format!("operations:\n  listenAddress: 127.0.0.1:0\n  tls: {tls}\n"));
    let pair = format!("enabled: true, cert: {{file: {home}/server.crt}}, key: {{file: {home}/server.key}}");

    // As in Fabric, the metrics need a certificate and the health does not.
    let file = config(&format!("{{{pair}, clientRootCAs: {{files: [{ca}]}}}}"));
    let (_running, address) = start_peer(&["--config", &file]);
    let status = |client, path| ask(&address, &ca, client, path).unwrap().split("\r\n").next().unwrap().to_owned();
    assert_eq!(status(None, "/healthz"), "HTTP/1.1 200 OK");
    assert_eq!(status(None, "/metrics"), "HTTP/1.1 401 Unauthorized");
    assert_eq!(status(Some(&*home), "/metrics"), "HTTP/1.1 200 OK");
    let file = config(&format!("{{{pair}, clientAuthRequired: true, clientRootCAs: {{files: [{ca}]}}}}"));
    let (_running, address) = start_peer(&["--config", &file]);
    assert!(!ask(&address, &ca, None, "/healthz").is_ok_and(|answer| answer.contains("HTTP")));
    // Without TLS its other keys do not apply; a flag overrides the address.
    let (_running, address) = start_peer(&["--config", &config("{cert: {file: none}}"), "--metrics", "localhost:0"]);
    assert!(TcpStream::connect(&address).is_ok());

    let refused = |tls: &str, part: &str| assert_refused(&["--config", &config(tls)], &[part]);
    refused("{enabled: true}", "operations.tls.cert.file is not set");
    refused("{enabled: sure}", "operations.tls.enabled");
    refused(&format!("{{{pair}}}"), "no authority for them is known");
    refused(&format!("{{{pair}, clientAuthRequired: perhaps}}"), "operations.tls.clientAuthRequired");
    refused(&format!("{{{pair}, clientAuthRequired: true, clientRootCAs: {{files: [none.crt]}}}}"), "none.crt");
    let mixed = pair.replace(&format!("{home}/server.key"), &format!("{}/tls/server.key", crypto.peer(1, 2)));
    refused(&format!("{{{mixed}, clientRootCAs: {{files: [{ca}]}}}}"), "does not belong to the certificate");
    let wrong = dir.write("wrong.yaml", "operations: {listenAddress: nowhere}\n");
    assert_refused(&["--config", &wrong], &["operations.listenAddress", "nowhere"]);
    let unknown =
        dir.write("unknown.yaml", "operations: {listenAddress: 'nowhere.invalid:1', tls: {clientAuth: true}}\n");
    assert_refused(
        &["--config", &unknown],
        &["operations.tls.clientAuth", "cannot listen", "CORE_OPERATIONS_LISTENADDRESS"],
    );
}

#[test]
fn flags_of_the_page_without_effect_are_errors() {
    let home = format!("{}/tls", Crypto::get().peer(1, 1));
    let (cert, key) = (format!("{home}/server.crt"), format!("{home}/server.key"));
    assert_refused(&["--metrics-tls-cert", &cert, "--metrics-tls-key", &key], &["give --metrics H:P"]);
    assert_refused(&["--metrics-tls-cert", &cert], &["--metrics-tls-key"]);
    assert_refused(&["--metrics-client-ca", &cert], &["give --metrics H:P"]);
    assert_refused(&["--metrics", ":0", "--metrics-client-ca", &cert], &["give --metrics-tls-cert"]);
}

#[test]
fn only_an_address_that_other_machines_reach_is_warned_about() {
    for (address, warned) in [("127.0.0.1:0", false), ("[::1]:0", false), ("0.0.0.0:0", true)] {
        let (mut running, _) = start_peer(&["--metrics", address]);
        running.signal("-TERM");
        let (status, stderr) = running.end();
        assert_eq!((status.code(), stderr.matches("without TLS").count()), (Some(0), usize::from(warned)), "{stderr}");
    }
}

#[test]
fn slow_and_large_clients_hold_up_neither_the_pages_nor_the_end() {
    let (mut running, address) = start_peer(&["--metrics", "127.0.0.1:0"]);
    let idle: Vec<_> = (0..3).map(|_| TcpStream::connect(&address).unwrap()).collect();
    let ask = |request: &[u8]| {
        let mut client = TcpStream::connect(&address).unwrap();
        let mut answer = Vec::new();
        let asked = client.write_all(request).and_then(|()| client.read_to_end(&mut answer));
        asked.map(|_| String::from_utf8(answer).unwrap())
    };
    let health = ask(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    assert!(health.contains("\"status\":\"OK\""), "{health}");
    // Neither an answer nor a wait for more.
    let large = [b"GET /healthz HTTP/1.0\r\nX: ".as_slice(), &[b'x'; 16 << 10]].concat();
    assert!(!ask(&large).is_ok_and(|answer| answer.contains("HTTP")));
    let begin = std::time::Instant::now();
    running.signal("-TERM");
    running.await_event("stopped");
    assert_eq!(running.end().0.code(), Some(0));
    assert!(begin.elapsed() < std::time::Duration::from_secs(4), "waits for idle clients: {:?}", begin.elapsed());
    drop(idle);
}

#[test]
fn sighup_replaces_the_certificate_of_the_page() {
    let (org, dir) = (Org::new("OpsMSP", "ops.example.com").unwrap(), TempDir::new());
    let ca = dir.write("ca.crt", org.tls_ca_cert().unwrap());
    let write = |member: &fabric_gossip::testing::cryptogen::Member| {
        [dir.write("page.crt", &member.tls_cert), dir.write("page.key", &member.tls_key)]
    };
    let [cert, key] = write(&org.peer("page").unwrap());
    let (mut running, address) =
        start_peer(&["--metrics", "127.0.0.1:0", "--metrics-tls-cert", &cert, "--metrics-tls-key", &key]);
    ask(&address, &ca, None, "/healthz").unwrap();
    // The next authority: only a client that trusts it succeeds after the reload.
    let next = Org::new("OpsMSP", "ops.example.com").unwrap();
    let next_ca = dir.write("next.crt", next.tls_ca_cert().unwrap());
    write(&next.peer("page").unwrap());
    running.signal("-HUP");
    let done = running.await_event("reload");
    assert_eq!((&done["ok"], &done["changed"]), (&true.into(), &json!(["metrics_tls"])), "{done}");
    ask(&address, &next_ca, None, "/healthz").unwrap();
    assert!(ask(&address, &ca, None, "/healthz").is_err());

    std::fs::write(&key, "not a key").unwrap();
    running.signal("-HUP");
    let failed = running.await_event("reload");
    assert!(failed["ok"] == false && failed["error"].as_str().unwrap().contains(&key), "{failed}");
    ask(&address, &next_ca, None, "/healthz").unwrap();
}

#[test]
fn the_health_is_503_once_our_identity_has_expired() {
    let org = Org::new("ShortMSP", "short.test").unwrap();
    // A machine may be too slow to start the peer within the shortest validity: then that peer refuses to start.
    for seconds in [2, 8, 32] {
        let (now, dir) = (SystemTime::now(), TempDir::new());
        let member = org.member("peer0").valid(now - Duration::from_secs(60), now + Duration::from_secs(seconds));
        let flags = Identity::new(&org, member.issue().unwrap(), &[]).flags(&org, &dir, &[]);
        let mut running = start(&Crypto::get().args(&["peer", "--metrics", ":0"], &flags));
        let Some(listening) = running.next_event() else {
            let (status, stderr) = running.end();
            assert!(status.code() == Some(2) && stderr.contains("expired"), "{stderr}");
            continue;
        };
        let address = listening["metrics"].as_str().unwrap();
        let until = Instant::now() + PATIENCE;
        let answer = loop {
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).unwrap();
            if !answer.starts_with("HTTP/1.1 200 OK\r\n") {
                break answer;
            }
            assert!(Instant::now() < until, "{answer}");
            std::thread::park_timeout(Duration::from_millis(20));
        };
        assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
        let page: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!(
            (&page["status"], &page["failed_checks"][0]["component"]),
            (&"Service Unavailable".into(), &"identity".into())
        );
        // The peer itself goes on until it is stopped.
        running.signal("-TERM");
        running.await_event("stopped");
        assert_eq!(running.end().0.code(), Some(0));
        return;
    }
    panic!("no peer started within the validity of its identity");
}
