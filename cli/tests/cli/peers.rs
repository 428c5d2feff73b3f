//! `peer` and `members`: nodes as processes.

use crate::support::*;
use fabric_gossip::crypto::OrgId;
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::node::{Chaincode, ChannelOrgs, NodeConfig};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::Node;
use serde_json::{json, Value};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A running node, and the first event it printed.
struct Peer {
    running: Running,
    endpoint: String,
    pki_id: String,
    listening: Value,
}

fn peer(org: u32, number: u32, more: &[&str]) -> Peer {
    let flags = Crypto::get().identity(org, number);
    let mut command = vec!["peer", "--alive-interval", "100ms", "--alive-expiration", "20s"];
    command.extend(more);
    let mut running = start(&Crypto::get().args(&command, &flags));
    let listening = running.await_event("listening");
    let text = |key: &str| listening[key].as_str().unwrap().to_owned();
    assert_eq!(listening["mspid"], format!("Org{org}MSP"));
    Peer { endpoint: text("endpoint"), pki_id: text("pki_id"), running, listening }
}

impl Peer {
    /// The next membership whose alive and dead are these, in any order; both are sorted.
    fn await_membership(&mut self, alive: &[&str], dead: &[&str]) -> Value {
        let ids = |rows: &Value| -> Vec<String> {
            rows.as_array().unwrap().iter().map(|row| row["pki_id"].as_str().unwrap().to_owned()).collect()
        };
        let sorted = |ids: &[&str]| {
            let mut ids: Vec<_> = ids.iter().map(|id| id.to_string()).collect();
            ids.sort();
            ids
        };
        let (alive, dead) = (sorted(alive), sorted(dead));
        self.running.await_that("membership", |line| ids(&line["alive"]) == alive && ids(&line["dead"]) == dead)
    }
}

#[test]
fn the_death_of_a_member_is_one_line_for_a_person() {
    let mut first = peer(1, 0, &[]);
    let flags = Crypto::get().identity(1, 1);
    let args = ["peer", "--alive-interval", "100ms", "--alive-expiration", "20s", "--bootstrap", &first.endpoint];
    let mut watching = tool().args(Crypto::get().args(&args, &flags)).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains(" alive: ")));
    first.running.kill();
    let until_dead: Vec<String> = lines.by_ref().take_while(|line| !line.contains(" dead: ")).collect();
    assert!(!until_dead.iter().any(|line| line.contains("presumed dead")), "{until_dead:?}");
    send_signal("-TERM", watching.id());
    assert!(lines.last().unwrap().ends_with("stopped"));
    let ended = watching.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && !stderr.contains("is dead"), "{stderr}");
}

#[test]
fn peers_find_each_other_notice_a_death_and_stop_well() {
    let mut first = peer(1, 0, &[]);
    let mut second = peer(1, 1, &["--bootstrap", &first.endpoint, "--metadata", "00ff"]);
    let mut third = peer(1, 2, &["--bootstrap", &first.endpoint]);
    let seen = first.await_membership(&[&second.pki_id, &third.pki_id], &[]);
    let row = seen["alive"].as_array().unwrap().iter().find(|row| row["pki_id"] == *second.pki_id).unwrap();
    assert_eq!((&row["internal_endpoint"], &row["endpoint"]), (&second.endpoint.clone().into(), &"".into()));
    assert_eq!((&row["mspid"], &row["metadata"]), (&"Org1MSP".into(), &"00ff".into()));
    second.await_membership(&[&first.pki_id, &third.pki_id], &[]);
    let identity = third.running.await_that("identity", |line| line["pki_id"] == *second.pki_id);
    assert!(identity["mspid"] == "Org1MSP" && identity["expires"].is_string(), "{identity}");

    third.running.kill();
    for peer in [&mut first, &mut second] {
        let other = if peer.endpoint == third.endpoint { unreachable!() } else { third.pki_id.clone() };
        peer.running.await_that("disconnected", |line| line["pki_id"] == *other);
        peer.running.await_that("membership", |line| {
            line["dead"].as_array().unwrap().iter().any(|row| row["pki_id"] == *other)
        });
    }
    for (peer, signal) in [(&mut first, "-INT"), (&mut second, "-TERM")] {
        peer.running.signal(signal);
        peer.running.await_event("stopped");
        let (status, stderr) = peer.running.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
    }
}

#[test]
fn organisations_meet_in_a_channel_through_anchors() {
    let mut first = peer(1, 0, &[]);
    let anchor = format!("Org1MSP={}", first.endpoint);
    // It has to be reachable from outside under the port that it got, so that it starts once more.
    let endpoint = first.endpoint.clone();
    first.running.signal("-TERM");
    let (status, _) = first.running.end();
    assert_eq!(status.code(), Some(0));
    let more = ["--listen", &endpoint, "--external-endpoint", &endpoint, "--channel", "mychannel", "--anchor", &anchor];
    let mut first = peer(1, 0, &more);
    let external = ["--external-endpoint", "localhost:1", "--channel", "mychannel", "--anchor", &anchor];
    let mut other = peer(2, 0, &external);
    let seen = first.await_membership(&[&other.pki_id], &[]);
    let row = &seen["alive"][0];
    assert_eq!((&row["endpoint"], &row["internal_endpoint"]), (&"localhost:1".into(), &"".into()));
    assert_eq!(row["mspid"], "Org2MSP");
    other.await_membership(&[&first.pki_id], &[]);
}

#[test]
fn what_is_announced_in_a_channel_is_printed_and_cannot_act_on_a_terminal() {
    let mut tool = peer(1, 0, &["--channel", "mychannel"]);
    let home = Crypto::get().peer(1, 1);
    let node = node(&home, &tool.endpoint);
    node.join_channel("mychannel", ChannelOrgs([(OrgId::new("Org1MSP"), Vec::new())].into())).unwrap();
    let id = node.comm().pki_id().to_string();
    let of_node = |line: &Value| line["peers"][0].clone();
    let first = tool
        .running
        .await_that("channel", |line| line["channel"] == "mychannel" && of_node(line)["mspid"] == "Org1MSP");
    let row = of_node(&first);
    assert_eq!((&row["pki_id"], &row["endpoint"]), (&id.into(), &node.self_member().internal_endpoint.into()));
    assert_eq!((&row["ledger_height"], &row["chaincodes"]), (&0.into(), &json!([])));

    let basic = Chaincode { name: "basic".into(), version: "1.0".into() };
    let hostile = Chaincode { name: "\x1b[2J\u{9b}".into(), version: "\n".into() };
    node.update_chaincodes(b"mychannel", vec![basic, hostile]).unwrap();
    node.update_ledger_height(b"mychannel", u64::MAX).unwrap();
    let told = tool.running.await_that("channel", |line| of_node(line)["ledger_height"] == u64::MAX);
    let expected = json!([{"name": "basic", "version": "1.0"}, {"name": "\x1b[2J\u{9b}", "version": "\n"}]);
    assert_eq!(of_node(&told)["chaincodes"], expected);
    assert!(!tool.running.last_line().contains(|c: char| c.is_control()), "{}", tool.running.last_line());

    node.leave_channel(b"mychannel").unwrap();
    tool.running.await_that("channel", |line| line["peers"] == json!([]));
}

/// Starts a node in this process with the identity in a peer's folder.
fn node(home: &str, bootstrap: &str) -> Node {
    let file = |name: &str| Pem::file(format!("{home}/tls/{name}")).unwrap();
    let tls = TlsConfig::new(file("server.crt"), file("server.key"), file("ca.crt"));
    let msp = Arc::new(Msp::load(format!("{home}/msp"), "Org1MSP").unwrap());
    let signer = SigningIdentity::load(&msp, format!("{home}/msp"), SystemTime::now()).unwrap();
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
    let mut config = NodeConfig::default();
    config.discovery.alive_time_interval = Duration::from_millis(100);
    config.channel.publish_state_info_interval = Duration::from_millis(100);
    Node::builder(identity, crypto.clone(), crypto)
        .config(config)
        .bootstrap([bootstrap])
        .comm(|comm| comm.tls(Tls::new(tls).unwrap()).listen("127.0.0.1:0"))
        .start()
        .unwrap()
}

#[test]
fn members_warns_beforehand_if_its_settings_name_the_running_peer_with_its_identity() {
    let first = peer(1, 0, &[]);
    let mut second = peer(1, 1, &["--bootstrap", &first.endpoint]);
    second.await_membership(&[&first.pki_id], &[]);
    let flags = Crypto::get().identity(1, 1);
    for variable in ["CORE_PEER_GOSSIP_ENDPOINT", "CORE_PEER_ADDRESS"] {
        let ended =
            run_with(&Crypto::get().args(&["members", &first.endpoint], &flags), &[(variable, &second.endpoint)]);
        ended.assert_code(0);
        assert!(ended.stderr.contains(&second.endpoint), "{}", ended.stderr);
        assert_eq!(ended.stderr.matches("connection replace").count(), 1, "said once: {}", ended.stderr);
        assert!(!ended.stderr.contains("unless a peer runs with this identity"), "{}", ended.stderr);
    }
    // The warnings come before the connection, so also if there is none.
    let unreachable = Crypto::get().args(&["members", "127.0.0.1:1"], &flags);
    let ended = run_with(&unreachable, &[("CORE_PEER_GOSSIP_ENDPOINT", &second.endpoint)]);
    ended.assert_code(1);
    assert!(ended.stderr.contains("connection replaces that peer's own"), "{}", ended.stderr);
}

#[test]
fn members_asks_a_peer_whom_it_knows_and_supersedes_nobody() {
    let first = peer(1, 0, &[]);
    let mut second = peer(1, 1, &["--bootstrap", &first.endpoint]);
    second.await_membership(&[&first.pki_id], &[]);
    let flags = Crypto::get().identity(1, 2);
    let ended = run(&Crypto::get().args(&["members", &first.endpoint, "--json"], &flags));
    ended.assert_code(0);
    let answer = ended.json().pop().unwrap();
    assert_eq!(answer["event"], "membership");
    let find = |id: &str| answer["alive"].as_array().unwrap().iter().find(|row| row["pki_id"] == id).cloned();
    for peer in [&first, &second] {
        let row = find(&peer.pki_id).expect("both are listed");
        assert_eq!((&row["internal_endpoint"], &row["mspid"]), (&peer.endpoint.clone().into(), &"Org1MSP".into()));
        assert!(row["verified"] == true && row["started_s"].is_u64() && row["sequence"].as_u64() > Some(0), "{row}");
    }
    assert!(ended.stderr.contains("unless a peer runs with this identity"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("belongs to a running peer"), "{}", ended.stderr);

    // With the identity of a running peer it warns; that peer is not affected.
    let flags = Crypto::get().identity(1, 1);
    let ended = run(&Crypto::get().args(&["members", &first.endpoint, "--json"], &flags));
    ended.assert_code(0);
    assert!(ended.stderr.contains("belongs to a running peer"), "{}", ended.stderr);
    let rows = ended.json().pop().unwrap();
    let row = rows["alive"].as_array().unwrap().iter().find(|row| row["pki_id"] == *second.pki_id).unwrap().clone();
    assert!(row["incarnation"].as_u64() > Some(1), "its own time stands: {row}");

    // A peer of another organisation does not disclose its members.
    let flags = Crypto::get().identity(2, 1);
    let ended = run(&Crypto::get().args(&["members", &first.endpoint], &flags));
    ended.assert_code(1);
    assert!(ended.stderr.contains("belongs to Org1MSP, not to Org2MSP"), "{}", ended.stderr);
}

#[test]
fn members_gives_up_on_who_keeps_no_membership() {
    let (_listener, endpoint, _) = Crypto::get().listen(&[]);
    let flags = Crypto::get().identity(1, 1);
    let ended = run(&Crypto::get().args(&["members", &endpoint, "--timeout", "300ms"], &flags));
    ended.assert_code(1);
    assert!(ended.stderr.contains("timed out waiting for a membership response"), "{}", ended.stderr);
}

#[test]
fn metrics_are_served_while_it_runs() {
    let first = peer(1, 0, &["--metrics", "127.0.0.1:0", "--channel", "mychannel"]);
    let address = first.listening["metrics"].as_str().unwrap();
    let ask = |request: &str| {
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).unwrap();
        answer
    };
    let page = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
    assert!(page.contains("gossip_membership_total_peers_known{channel=\"mychannel\"} 0"), "{page}");
    assert!(page.contains("\ngossip_comm_messages_sent "), "{page}");
    let transport = first.listening["transport"].as_str().unwrap();
    let build = format!("transport=\"{transport}\",version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert!(page.contains(&format!("\nfabric_gossip_build_info{{{build}}} 1\n")), "{page}");
    let started = page.lines().find_map(|line| line.strip_prefix("process_start_time_seconds ")).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((now - 600.0..=now).contains(&started.parse::<f64>().unwrap()), "{started}");
    assert!(page.ends_with('\n'), "{page}");
    let health = ask("GET /healthz HTTP/1.1\r\n\r\n");
    assert!(health.starts_with("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"), "{health}");
    assert!(health.contains("\r\n\r\n{\"status\":\"OK\",\"time\":\""), "{health}");
    assert!(ask("GET /else HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
}

#[test]
fn fabrics_settings_serve_and_wrong_ones_are_named() {
    let first = peer(1, 0, &[]);
    let dir = TempDir::new();
    let flags = Crypto::get().identity(1, 1);
    let yaml = format!(
        "peer:\n  gossip:\n    bootstrap: [{}]\n    aliveTimeInterval: 100ms\n    endpoint: localhost:7\n    pullInterval: 0s\n",
        first.endpoint
    );
    let config = dir.write("core.yaml", yaml);
    let mut second = start(&Crypto::get().args(&["peer", "--config", &config], &flags));
    assert_eq!(second.await_event("listening")["endpoint"], "localhost:7");
    second.await_that("membership", |line| line["alive"][0]["pki_id"] == *first.pki_id);

    for (key, wrong) in [("aliveTimeInterval", "soon"), ("propagatePeerNum", "many"), ("endpoint", "nowhere")] {
        let config = dir.write("wrong.yaml", format!("peer:\n  gossip:\n    {key}: {wrong}\n"));
        let ended = run(&Crypto::get().args(&["peer", "--config", &config], &flags));
        ended.assert_code(2);
        assert!(ended.stderr.contains(key) && ended.stderr.contains(wrong), "{}", ended.stderr);
    }
    let wrong = |more: &[&str], text: &str| {
        let ended = run(&Crypto::get().args(&[&["peer"], more].concat(), &flags));
        ended.assert_code(2);
        assert!(ended.stderr.contains(text), "{}", ended.stderr);
    };
    wrong(&["--anchor", "Org2MSP"], "MSPID=host:port");
    wrong(&["--anchor", "Org3MSP=localhost:1"], "the organisation Org3MSP is unknown");
    wrong(&["--alive-interval", "5s", "--alive-expiration", "1s"], "--alive-expiration");
}

#[test]
fn a_bootstrap_peer_of_another_organisation_is_named_and_the_others_serve() {
    let first = peer(1, 0, &[]);
    let stranger = peer(2, 0, &[]);
    let mut second = peer(1, 1, &["--bootstrap", &stranger.endpoint, "--bootstrap", &first.endpoint]);
    second.await_membership(&[&first.pki_id], &[]);
    // The two come in either order.
    let failed = second.running.find_or_await("seed_failed", |line| line["endpoint"] == *stranger.endpoint);
    assert!(failed["error"].as_str().unwrap().contains("cannot be a bootstrap peer"), "{failed}");
}

#[test]
fn a_malformed_bootstrap_endpoint_is_an_error_at_start() {
    let flags = Crypto::get().identity(1, 1);
    for (endpoint, part) in [
        ("nowhere", "no port"),
        ("\"peer0:7051\"", "quotes"),
        ("grpcs://peer0:7051", "scheme"),
        ("a:1,b:2", "more than one"),
    ] {
        let ended = run(&Crypto::get().args(&["peer", "--bootstrap", endpoint], &flags));
        ended.assert_code(2);
        assert!(ended.stderr.contains("--bootstrap") && ended.stderr.contains(part), "{}", ended.stderr);
        let ended = run_with(&Crypto::get().args(&["peer"], &flags), &[("CORE_PEER_GOSSIP_BOOTSTRAP", endpoint)]);
        ended.assert_code(2);
        assert!(ended.stderr.contains("CORE_PEER_GOSSIP_BOOTSTRAP") && ended.stderr.contains(part), "{}", ended.stderr);
    }
}
