//! The results of commands: exit codes, summaries, and errors reported once.

use crate::support::*;
use serde_json::Value;
use std::io::Read;
use std::net::TcpListener;

/// Accepts connections and sends nothing: a dialler hangs.
fn mute() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    (listener, endpoint)
}

fn nobody() -> String {
    mute().1
}

fn args(command: &[&str], org: u32, number: u32) -> Vec<String> {
    let flags = Crypto::get().identity(org, number);
    command.iter().map(|part| part.to_string()).chain(flags).collect()
}

fn strs(args: &[String]) -> Vec<&str> {
    args.iter().map(String::as_str).collect()
}

/// The last line, which has to be a summary: `ok` and `error` go together.
fn summary(ended: &Ended, event: &str) -> Value {
    let last = ended.json().pop().unwrap_or_else(|| panic!("no summary; stderr: {}", ended.stderr));
    assert_eq!(last["event"], event, "{last}");
    assert_eq!(last["ok"] == true, last["error"].is_null(), "{last}");
    assert_eq!(last["ok"] == true, ended.code == Some(0), "{last}");
    last
}

#[test]
fn an_interrupted_command_ends_with_its_summary_and_the_code_of_the_signal() {
    let identity = Crypto::get().identity(1, 0);
    let tls_only = ["--tls-ca".to_owned(), Crypto::get().tls_ca(1)];
    for (command, flags, event) in [
        ("probe", &tls_only[..], "probe"),
        ("handshake", &identity, "handshake"),
        ("members", &identity, "membership"),
        ("send", &identity, "sent"),
    ] {
        for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
            // Once it has connected, it is at work; and it gets no answer.
            let (mute, endpoint) = mute();
            let command = [command, &endpoint, "--timeout", "60s"];
            let mut running = start(&Crypto::get().args(&command, flags));
            let _connection = mute.accept().unwrap();
            running.signal(signal);
            let last = running.await_event(event);
            assert_eq!((&last["ok"], &last["error"]), (&false.into(), &"interrupted".into()), "{last}");
            let (status, stderr) = running.end();
            assert_eq!(status.code(), Some(code), "{command:?}: {stderr}");
        }
    }
}

#[test]
fn an_interruption_is_no_fault_of_the_peer() {
    let identity = Crypto::get().identity(1, 0);
    let tls_only = ["--tls-ca".to_owned(), Crypto::get().tls_ca(1)];
    for (command, flags) in [
        ("probe", &tls_only[..]),
        ("handshake", &identity),
        ("members", &identity),
        ("send", &identity),
        ("survey", &identity),
    ] {
        let (mute, endpoint) = mute();
        let running =
            tool().args(Crypto::get().args(&[command, &endpoint, "--timeout", "60s"], flags)).spawn().unwrap();
        let _connection = mute.accept().unwrap();
        send_signal("-INT", running.id());
        let ended = running.wait_with_output().unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert_eq!(ended.status.code(), Some(130), "{command}: {stderr}");
        assert_eq!(stdout.lines().last(), Some("✘ interrupted"), "{stdout}");
        assert!(!stdout.contains("failed") && !stderr.contains("undelivered"), "{command}: {stdout}{stderr}");
    }
}

#[test]
fn a_time_limit_does_not_hide_the_cause() {
    let (_mute, endpoint) = mute();
    for (command, event) in [(&["members"][..], "membership"), (&["send"], "sent"), (&["send", "--ack"], "sent")] {
        let ended = run(&strs(&args(&[command, &[&endpoint, "--timeout", "300ms", "--json"]].concat(), 1, 0)));
        ended.assert_code(1);
        let last = summary(&ended, event);
        assert!(last["error"].as_str().unwrap().contains("the TLS handshake got no answer"), "{last}");
    }
}

#[test]
fn every_command_ends_with_its_summary_also_on_failure() {
    let nobody = nobody();
    let run = |command: &[&str]| run(&strs(&args(&[command, &["--json"]].concat(), 1, 1)));
    for (command, event) in
        [("probe", "probe"), ("handshake", "handshake"), ("members", "membership"), ("send", "sent")]
    {
        let ended = match command {
            "probe" => crate::support::run(&["probe", &nobody, "--json", "--no-tls"]),
            _ => run(&[command, &nobody]),
        };
        ended.assert_code(1);
        summary(&ended, event);
    }
    let (_listener, endpoint, _) = Crypto::get().listen(&[]);
    for (command, event) in [("handshake", "handshake"), ("send", "sent")] {
        summary(run(&[command, &endpoint]).assert_code(0), event);
    }
    let dir = TempDir::new();
    let path = dir.join("crypto");
    let made = crate::support::run(&["crypto", path.to_str().unwrap(), "--orgs", "1", "--peers", "0", "--json"]);
    summary(&made, "created");
    summary(&crate::support::run(&["crypto", "/proc/nowhere", "--json"]), "created");
    let msp = format!("{}/msp", Crypto::get().org(1));
    summary(&crate::support::run(&["identity", "--msp", &msp, "--mspid", "Org1MSP", "--json"]), "identity");
}

#[test]
fn what_was_not_delivered_is_not_called_sent() {
    // A peer that does not know us: it refuses after the messages were written.
    let flags = Crypto::get().alone(1, 0);
    let mut listener = start(&Crypto::get().args(&["listen", "--listen", "127.0.0.1:0"], &flags));
    let endpoint = listener.await_event("listening")["endpoint"].as_str().unwrap().to_owned();
    for more in [&["--count", "3"][..], &["--count", "3", "--ack"], &["--count", "3", "--listen-replies", "2s"]] {
        let ended = run(&strs(&args(&[&["send", &endpoint, "--json"], more].concat(), 2, 0)));
        ended.assert_code(1);
        let sent = summary(&ended, "sent");
        assert_eq!((&sent["failed"], &sent["acked"]), (&3.into(), &0.into()), "{sent}");
        if more.len() != 3 {
            assert_eq!((&sent["count"], &sent["bytes"]), (&0.into(), &0.into()), "{sent}");
        }
    }
    let ended = run(&strs(&args(&["send", &nobody(), "--count", "3"], 2, 0)));
    ended.assert_code(1);
    assert!(ended.stdout.contains("sent 0 of 3 messages"), "{}", ended.stdout);
}

#[test]
fn a_closed_stdout_does_not_turn_a_failure_into_a_success() {
    let nobody = nobody();
    let dir = TempDir::new();
    let stranger = fabric_gossip::testing::cryptogen::Org::new("X", "x.test").unwrap().peer("p").unwrap();
    let cert = dir.write("cert.pem", &stranger.cert);
    let msp = format!("{}/msp", Crypto::get().org(1));
    let (_listener, endpoint, _) = Crypto::get().listen(&["--nack", "no"]);
    let commands = [
        vec!["probe".to_owned(), nobody.clone(), "--no-tls".into()],
        args(&["handshake", &nobody], 1, 1),
        args(&["members", &nobody], 1, 1),
        args(&["send", &endpoint, "--ack"], 2, 1),
        ["identity", &cert, "--msp", &msp, "--mspid", "Org1MSP"].map(str::to_owned).to_vec(),
    ];
    for command in commands {
        let mut child = tool().args(&command).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(1), "{command:?}: {stderr}");
        assert!(!stderr.contains("defect"), "{stderr}");
    }
}

#[test]
fn lines_of_commands_that_run_until_stopped_begin_with_the_time() {
    for command in ["listen", "peer"] {
        let mut child = tool().args(strs(&args(&[command], 1, 1))).spawn().unwrap();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        let mut text = String::new();
        std::io::BufRead::read_line(&mut stdout, &mut text).unwrap();
        send_signal("-TERM", child.id());
        stdout.read_to_string(&mut text).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(text.lines().count() >= 2, "{text}");
        for line in text.lines() {
            assert!(is_time(line.split(' ').next().unwrap()), "{line}");
        }
        assert!(text.ends_with("stopped\n"), "{text}");
    }
}

#[test]
fn a_cause_is_reported_once_and_then_counted() {
    let more = [
        "peer",
        "--bootstrap",
        &nobody(),
        "--alive-interval",
        "10ms",
        "--alive-expiration",
        "50ms",
        "--reconnect-interval",
        "10ms",
    ];
    let mut peer = start(&strs(&args(&more, 1, 1)));
    for times in [1, 10] {
        let failed = peer.await_event("seed_failed");
        assert_eq!(failed["times"], times, "{failed}");
    }
    peer.signal("-TERM");
    let stopped = peer.await_event("stopped");
    assert_eq!((&stopped["ok"], &stopped["error"]), (&true.into(), &Value::Null));
    let (status, stderr) = peer.end();
    assert_eq!((status.code(), stderr.contains("grpc")), (Some(0), false), "{stderr}");
    assert!(!stderr.contains("Connection refused"), "the event has reported it: {stderr}");
}

#[test]
fn every_documented_event_and_field_is_in_the_code() {
    let folders = ["src", "src/survey", "src/commands", "src/commands/demo"];
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "rs"));
    let code: String = files.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let documented = documented_events();
    assert!(documented.len() > 15);
    for (event, fields) in documented {
        assert!(code.contains(&format!("\"event\": \"{event}\"")), "{event}");
        for field in fields {
            assert!(code.contains(&format!("\"{field}\"")), "{event}: {field}");
        }
    }
}
