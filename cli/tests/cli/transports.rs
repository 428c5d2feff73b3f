//! `--transport`: a tool over one transport and a tool over the other one understand each other.

use crate::support::*;

/// Probes, performs a handshake with, and sends to a listener over another transport.
fn assert_understood(client: &str, server: &str) {
    let crypto = Crypto::get();
    let (mut listener, endpoint, pki_id) = crypto.listen(&["--ack", "--transport", server]);
    let flags = crypto.identity(1, 1);
    let ask = |command: &[&str]| {
        let common = ["--json", "--transport", client];
        let ended = run(&crypto.args(&[command, &common].concat(), &flags));
        ended.assert_code(0);
        ended.json()
    };

    let probed = ask(&["probe", &endpoint]);
    assert_eq!(probed[0]["ok"], true, "{probed:?}");

    let shaken = ask(&["handshake", &endpoint, "--expect", &pki_id]);
    let summary = shaken.last().unwrap();
    assert_eq!((&summary["event"], &summary["ok"]), (&"handshake".into(), &true.into()));

    let sent = ask(&["send", &endpoint, "--ack", "--count", "50", "--size", "70000"]);
    let find = |event: &str| sent.iter().find(|line| line["event"] == event).unwrap();
    assert_eq!(find("connected")["transport"], client);
    assert_eq!((&find("sent")["acked"], &find("sent")["failed"]), (&50.into(), &0.into()));

    assert_eq!(listener.find_or_await("listening", |_| true)["transport"], server);
    assert_eq!(listener.find_or_await("connected", |_| true)["transport"], server);
    let received = listener.await_that("received", |line| line["count"] == 50);
    assert_eq!(received["in_order"], true);
}

#[test]
fn a_tool_over_http2_understands_one_over_the_c_core() {
    assert_understood("http2", "c-core");
}

#[test]
fn a_tool_over_the_c_core_understands_one_over_http2() {
    assert_understood("c-core", "http2");
}

#[test]
fn the_demonstration_runs_over_the_c_core() {
    let ended = run(&["demo", "--transport", "c-core", "--peers", "3", "--messages", "100", "--json"]);
    ended.assert_code(0);
    assert_eq!(ended.json().last().unwrap()["ok"], true);
}

#[test]
fn the_benchmark_runs_over_the_c_core() {
    let ended = run(&["bench", "--transport", "c-core", "--duration", "50ms", "--json"]);
    ended.assert_code(0);
    let lines = ended.json();
    let summary = lines.last().unwrap();
    assert_eq!((&summary["ok"], &summary["transport"]), (&true.into(), &"c-core".into()), "{summary}");
}
