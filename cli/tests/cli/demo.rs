//! `demo` keeps its promises, and leaves nothing behind.

use crate::support::*;
use std::path::Path;

const STEPS: [&str; 14] = [
    "identities",
    "handshakes",
    "messages",
    "nack",
    "stranger",
    "stolen_identity",
    "replayed_greeting",
    "stopped",
    "returned",
    "membership",
    "organisations",
    "gossip",
    "died",
    "came_back",
];

/// Returns the number of entries that demonstrations left in a folder.
fn left_in(dir: &Path) -> usize {
    std::fs::read_dir(dir).unwrap().count()
}

#[test]
fn every_step_passes() {
    let dir = TempDir::new();
    let demo = |more: &[&str]| {
        let output = tool().arg("demo").args(more).env("TMPDIR", dir.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).unwrap()
    };
    let lines: Vec<_> = demo(&["--json", "--peers", "3", "--messages", "200"]).lines().map(parse).collect();
    let (last, steps) = lines.split_last().unwrap();
    let names: Vec<_> = steps.iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, STEPS);
    assert!(steps.iter().all(|s| s["event"] == "step" && s["ok"] == true));
    let step = |name: &str| steps.iter().find(|s| s["name"] == name).unwrap();
    assert_eq!(step("handshakes")["handshakes"], 6);
    assert_eq!((&step("messages")["acked"], &step("messages")["in_order"]), (&1200.into(), &true.into()));
    assert_eq!((&last["event"], &last["ok"]), (&"demo".into(), &true.into()));

    let text = demo(&["--messages", "10"]);
    assert_eq!(text.matches('✔').count(), STEPS.len());
    assert!(!text.contains('✘'));
    assert_eq!(left_in(dir.path()), 0);
}

#[test]
fn a_signal_ends_it_and_leaves_nothing() {
    let dir = TempDir::new();
    let mut child = tool().args(["demo", "--messages", "1000000"]).env("TMPDIR", dir.path()).spawn().unwrap();
    // Wait until it is at work.
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("handshakes") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut stdout, &mut line).unwrap() > 0);
    }
    send_signal("-INT", child.id());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(left_in(dir.path()), 0);
}
