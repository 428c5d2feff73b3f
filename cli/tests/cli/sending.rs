//! `send` and `listen`, each in its own process.

use crate::support::*;
use serde_json::Value;
use std::time::{Duration, Instant};

/// A lost connection must be reported within this time.
const NOTICED: Duration = Duration::from_secs(1);

fn send(endpoint: &str, more: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = vec!["send".into(), endpoint.into()];
    args.extend(more.iter().map(|m| m.to_string()));
    args.extend(Crypto::get().identity(2, 0));
    args
}

fn run_send(endpoint: &str, more: &[&str]) -> Ended {
    let args = send(endpoint, more);
    run(&args.iter().map(String::as_str).chain(["--json"]).collect::<Vec<_>>())
}

fn start_send(endpoint: &str, more: &[&str]) -> Running {
    let args = send(endpoint, more);
    start(&args.iter().map(String::as_str).collect::<Vec<_>>())
}

fn of<'a>(lines: &'a [Value], event: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line["event"] == event).collect()
}

#[test]
fn thousands_arrive_in_order_and_are_acknowledged() {
    let (mut listener, endpoint, pki_id) = Crypto::get().listen(&["--ack"]);
    let ended = run_send(&endpoint, &["--count", "2000", "--size", "1024", "--ack", "--channel", "mychannel"]);
    ended.assert_code(0);
    let lines = ended.json();
    let acks = of(&lines, "ack");
    assert_eq!(acks.len(), 2000);
    assert!(acks.iter().all(|a| a["pki_id"] == pki_id.as_str() && a["error"].is_null() && a["rtt_us"].is_u64()));
    let sent = lines.last().unwrap();
    assert_eq!(sent["event"], "sent");
    for (key, value) in [("count", 2000), ("bytes", 2000 * 1024), ("acked", 2000), ("failed", 0)] {
        assert_eq!(sent[key], value, "{sent}");
    }
    assert!(sent["elapsed_us"].as_u64().unwrap() > 0);

    let connected = listener.await_event("connected");
    for seq in 0..20 {
        let message = listener.await_event("message");
        assert_eq!((&message["from"], &message["kind"]), (&connected["pki_id"], &"data_msg".into()));
        assert_eq!(
            (&message["channel"], &message["len"], &message["seq"]),
            (&"mychannel".into(), &1024.into(), &seq.into())
        );
        assert!(message["nonce"].is_u64());
    }
    for seq in [999, 1999] {
        assert_eq!(listener.await_event("message")["seq"], seq);
    }
    let received = listener.await_that("received", |r| r["count"] == 2000);
    assert_eq!((&received["bytes"], &received["in_order"]), (&(2000 * 1024).into(), &true.into()));

    listener.signal("-INT");
    let (status, stderr) = listener.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[test]
fn sending_with_the_identity_of_a_running_peer_warns() {
    let (_own, own, _) = Crypto::get().listen(&[]);
    let (mut other, endpoint) = {
        let flags = Crypto::get().identity(2, 1);
        let mut running = start(&Crypto::get().args(&["listen", "--listen", "127.0.0.1:0"], &flags));
        let endpoint = running.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
        (running, endpoint)
    };
    let flags = Crypto::get().identity(1, 0);
    let send = |settings: Option<&str>| {
        let mut command = tool();
        command.args(Crypto::get().args(&["send", &endpoint], &flags)).args(["--json"]);
        command.envs(settings.map(|own| ("CORE_PEER_GOSSIP_ENDPOINT", own)));
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(!send(None).contains("replaces that peer's own"));
    let warned = send(Some(&own));
    assert!(warned.contains(&own) && warned.contains("replaces that peer's own"), "{warned}");
    other.await_that("received", |r| r["count"] == 2);
}

#[test]
fn what_is_not_acknowledged_still_arrives() {
    let (mut listener, endpoint, _) = Crypto::get().listen(&[]);
    let dir = TempDir::new();
    let file = dir.write("payload", [7; 300]);
    for (payload, len) in [(["--text", "four"], 4), (["--file", &file], 300), (["--size", "0"], 0)] {
        let ended = run_send(&endpoint, &[&["--count", "500"], &payload[..]].concat());
        ended.assert_code(0);
        let sent = ended.json().pop().unwrap();
        assert_eq!((&sent["count"], &sent["bytes"], &sent["acked"]), (&500.into(), &(500 * len).into(), &0.into()));
    }
    let received = listener.await_that("received", |r| r["count"] == 1500);
    assert_eq!(received["in_order"], true);
    let ended = run_send(&endpoint, &["--file", "/nowhere"]);
    ended.assert_code(2);
}

#[test]
fn a_refused_message_is_told_as_such() {
    let (_listener, endpoint, _) = Crypto::get().listen(&["--nack", "not today"]);
    let ended = run_send(&endpoint, &["--count", "3", "--ack"]);
    ended.assert_code(1);
    let lines = ended.json();
    assert!(of(&lines, "ack").iter().all(|a| a["error"] == "not today" && a["rtt_us"].is_u64()));
    let sent = lines.last().unwrap();
    assert_eq!((&sent["count"], &sent["acked"], &sent["failed"]), (&3.into(), &0.into(), &3.into()));
}

#[test]
fn silence_ends_with_the_timeout() {
    let (_listener, endpoint, _) = Crypto::get().listen(&[]);
    let ended = run_send(&endpoint, &["--count", "3", "--ack", "--timeout", "300ms"]);
    ended.assert_code(1);
    let lines = ended.json();
    assert!(of(&lines, "ack").iter().all(|a| a["error"] == "timed out" && a["rtt_us"].is_null()));
    assert_eq!(lines.last().unwrap()["failed"], 3);
}

#[test]
fn another_peer_than_the_expected_one_is_named_as_the_cause() {
    let (_listener, endpoint, pki_id) = Crypto::get().listen(&[]);
    let other = "ab".repeat(32);
    assert_eq!(run_send(&endpoint, &["--pki-id", &pki_id]).json().pop().unwrap()["ok"], true);
    let ended = run_send(&endpoint, &["--pki-id", &other]);
    ended.assert_code(1);
    let sent = ended.json().pop().unwrap();
    assert!(sent["error"].as_str().unwrap().contains("its PKI-ID is not abababababab"), "{sent}");
    assert!(!ended.stderr.contains("undelivered"), "reported twice: {}", ended.stderr);
    let mut text = tool();
    text.args(send(&endpoint, &["--pki-id", &other]).iter().filter(|arg| *arg != "--json"));
    let stdout = String::from_utf8(text.output().unwrap().stdout).unwrap();
    assert!(stdout.contains(&format!("handshake {endpoint} --expect {other}")), "{stdout}");
}

#[test]
fn replies_are_printed() {
    let (_listener, endpoint, pki_id) = Crypto::get().listen(&["--echo", "--ack"]);
    let mut sender = start_send(&endpoint, &["--count", "30", "--text", "back", "--ack", "--listen-replies", "60s"]);
    assert_eq!(sender.await_event("sent")["acked"], 30);
    // The summary comes at the end, which a signal brings.
    sender.signal("-TERM");
    let received = sender.await_event("received");
    assert_eq!(
        (&received["count"], &received["bytes"], &received["in_order"]),
        (&30.into(), &120.into(), &true.into())
    );
    assert_eq!(sender.end().0.code(), Some(0));
    assert_eq!(pki_id.len(), 64);
}

#[test]
fn who_is_refused_is_told_why() {
    let crypto = Crypto::get();
    let flags = crypto.alone(1, 0);
    let mut listener = start(&crypto.args(&["listen", "--listen", "127.0.0.1:0"], &flags));
    let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    for more in [&["--ack"][..], &[]] {
        let ended = run_send(&endpoint, more);
        ended.assert_code(1);
        let sent = ended.json().pop().unwrap();
        let error = sent["error"].as_str().unwrap_or_default();
        assert!(error.contains("refused") && error.contains("cannot be validated"), "{sent}");
    }
    assert!(listener.await_event("refused")["reason"].as_str().unwrap().contains("cannot be validated"));
}

#[test]
fn an_unreachable_peer_fails_at_once() {
    let begin = Instant::now();
    let ended = run_send("127.0.0.1:1", &["--count", "100", "--ack", "--timeout", "60s"]);
    ended.assert_code(1);
    assert_eq!(ended.json().pop().unwrap()["failed"], 100);
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[test]
fn the_sender_notices_that_the_listener_is_gone() {
    for gently in [false, true] {
        let (mut listener, endpoint, pki_id) = Crypto::get().listen(&["--ack"]);
        let mut sender = start_send(&endpoint, &["--count", "1000000000", "--size", "1024", "--ack"]);
        sender.await_event("ack");
        match gently {
            true => listener.signal("-TERM"),
            false => listener.kill(),
        }
        let killed = Instant::now();
        let disconnected = sender.await_event("disconnected");
        let noticed = killed.elapsed();
        assert_eq!(disconnected["pki_id"], pki_id.as_str());
        assert!(!disconnected["reason"].as_str().unwrap().is_empty());
        let sent = sender.await_event("sent");
        assert!(sent["failed"].as_u64().unwrap() > 0 && sent["acked"].as_u64().unwrap() > 0, "{sent}");
        assert_eq!(sender.end().0.code(), Some(1));
        assert!(noticed < NOTICED, "{noticed:?}");
    }
}

#[test]
fn the_listener_notices_that_the_sender_is_gone() {
    let (mut listener, endpoint, _) = Crypto::get().listen(&["--ack"]);
    let mut sender = start_send(&endpoint, &["--count", "1000000000", "--size", "1024", "--ack"]);
    let connected = listener.await_event("connected");
    listener.await_event("message");
    sender.kill();
    let killed = Instant::now();
    let disconnected = listener.await_event("disconnected");
    let noticed = killed.elapsed();
    assert_eq!(disconnected["pki_id"], connected["pki_id"]);
    assert_eq!(listener.await_event("received")["in_order"], true);
    assert!(noticed < NOTICED, "{noticed:?}");
}

#[test]
fn a_signal_ends_both_sides_well() {
    let (mut listener, endpoint, _) = Crypto::get().listen(&["--ack"]);
    let mut sender = start_send(&endpoint, &["--count", "1000000000", "--size", "100", "--ack"]);
    sender.await_event("ack");
    sender.signal("-INT");
    let sent = sender.await_event("sent");
    assert_eq!((&sent["ok"], &sent["error"]), (&false.into(), &"interrupted".into()), "{sent}");
    let (status, stderr) = sender.end();
    assert_eq!(status.code(), Some(130), "{stderr}");
    listener.await_event("disconnected");
    assert_eq!(listener.await_event("received")["in_order"], true);
    listener.signal("-TERM");
    let (status, stderr) = listener.end();
    assert_eq!(status.code(), Some(0), "{stderr}");
}

#[test]
fn nobody_who_reads_ends_them_too() {
    for which in [0, 1] {
        let (listener, endpoint, _) = Crypto::get().listen(&["--ack"]);
        let mut sender = start_send(&endpoint, &["--count", "1000000000", "--ack"]);
        sender.await_event("ack");
        let process = &mut [listener, sender][which];
        process.stop_reading();
        let (status, stderr) = process.end();
        assert_eq!(status.code(), Some(0), "{stderr}");
        assert!(!stderr.contains("panic") && !stderr.contains("defect"), "{stderr}");
    }
}

#[test]
fn the_data_of_messages_is_shown_and_cannot_act_on_a_terminal() {
    for (form, expected) in [("text", "a\u{1b}[31m\n"), ("hex", "611b5b33316d0a")] {
        let (mut listener, endpoint, _) = Crypto::get().listen(&["--payload", form]);
        run_send(&endpoint, &["--text", "a\u{1b}[31m\n"]).assert_code(0);
        let message = listener.await_that("message", |line| line["kind"] == "data_msg");
        assert_eq!(message["payload"], expected, "{message}");
    }
    let flags = Crypto::get().identity(1, 0);
    let args = Crypto::get().args(&["listen", "--listen", "127.0.0.1:0", "--payload", "text"], &flags);
    let mut listener = tool().args(args).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(listener.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    let endpoint = first.split("listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    run_send(&endpoint, &["--text", "a\u{1b}[31m\n"]).assert_code(0);
    let line = lines.map(Result::unwrap).find(|line| line.contains("data_msg")).unwrap();
    send_signal("-TERM", listener.id());
    assert!(listener.wait().unwrap().success());
    assert!(line.ends_with(": a\\u{1b}[31m\\n"), "{line}");
}

#[test]
fn the_commands_beside_the_readmes_program_run_its_other_peer() {
    let readme = include_str!("../../../README.md").replace("\\\n", "");
    let commands = readme.lines().filter_map(|line| line.strip_prefix("fabric-gossip "));
    let commands = commands.filter(|line| !line.starts_with('='));
    let commands: Vec<Vec<&str>> = commands.map(|line| line.split_whitespace().collect()).collect();
    let [crypto, listen] = &commands[..] else { panic!("{commands:?}") };
    let dir = TempDir::new();
    assert!(tool().args(crypto).current_dir(dir.path()).output().unwrap().status.success());
    // The port of the program can be in use.
    let listen: Vec<String> = listen.iter().map(|arg| arg.replace("localhost:7052", "localhost:0")).collect();
    let mut listener = tool().args(listen).current_dir(dir.path()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(listener.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    let endpoint = first.split("listening on ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let org = |n: u32| format!("crypto/peerOrganizations/org{n}.example.com");
    let (msp, trust) = (format!("{}/peers/peer0.org1.example.com/msp", org(1)), format!("Org2MSP={}/msp", org(2)));
    let send = ["send", &endpoint, "--ack", "--msp", &msp, "--mspid", "Org1MSP", "--trust-msp", &trust];
    let sent = tool().args(send).current_dir(dir.path()).output().unwrap();
    send_signal("-TERM", listener.id());
    assert!(listener.wait().unwrap().success());
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
}
