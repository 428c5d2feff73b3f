//! `bench`: every value has its unit, and a signal ends it.

use crate::support::*;
use serde_json::{json, Value};

#[test]
fn every_value_has_its_unit_and_every_message_is_counted() {
    let ended = run(&["bench", "--json", "--duration", "50ms", "--size", "100", "--size", "70000"]);
    let lines = ended.assert_code(0).json();
    let (summary, values) = lines.split_last().unwrap();
    let fields = |line: &Value| ["workload", "size", "metric", "unit"].map(|field| line[field].clone());
    let measured: Vec<_> = values.iter().map(fields).collect();
    let expected = json!([
        ["handshake", null, "rate", "handshakes/s"],
        ["handshake", null, "p50", "us"],
        ["handshake", null, "p99", "us"],
        ["round_trip", 100, "rate", "messages/s"],
        ["round_trip", 100, "p50", "us"],
        ["round_trip", 100, "p99", "us"],
        ["messages", 100, "rate", "messages/s"],
        ["messages", 100, "throughput", "MB/s"],
        ["messages", 70000, "rate", "messages/s"],
        ["messages", 70000, "throughput", "MB/s"],
    ]);
    assert_eq!(json!(measured), expected);
    for value in values {
        assert!(value["event"] == "measurement" && value["value"].as_f64() > Some(0.0), "{value}");
        assert!(value["elapsed_us"].as_u64() >= Some(50_000) && value["count"].as_u64() > Some(0), "{value}");
    }
    let of = |at: usize, field: &str| values[at][field].as_f64().unwrap();
    assert!(of(1, "value") <= of(2, "value") && of(4, "value") <= of(5, "value"), "{values:#?}");
    // Both values of a measurement are of the same messages.
    let (rate, throughput) = (of(8, "value"), of(9, "value"));
    assert!((rate * 70_000.0 / 1e6 - throughput).abs() <= 0.1, "{rate} {throughput}");
    assert!((rate - of(8, "count") / of(8, "elapsed_us") * 1e6).abs() <= rate / 100.0, "{values:#?}");

    assert_eq!((&summary["event"], &summary["ok"], &summary["error"]), (&"bench".into(), &true.into(), &Value::Null));
    let counts: u64 = [3, 6, 8].iter().map(|at: &usize| values[*at]["count"].as_u64().unwrap()).sum();
    assert_eq!((&summary["messages"], &summary["transport"]), (&counts.into(), &"http2".into()), "{summary}");
}

#[test]
fn a_table_is_shown_with_the_settings_above_it() {
    let ended = run(&["bench", "--duration", "20ms", "--size", "1048576", "--size", "1500"]);
    ended.assert_code(0);
    for part in ["transport http2", "each measurement takes 20 ms, after a warm-up of 2.0 ms", "PER SECOND", "MB/S"] {
        assert!(ended.stdout.contains(part), "{part}: {}", ended.stdout);
    }
    for (name, size) in [("round trip", "1 MiB"), ("messages", "1 MiB"), ("messages", "1,500 B")] {
        let row = |line: &&str| line.starts_with(name) && line.contains(size);
        assert_eq!(ended.stdout.lines().filter(row).count(), 1, "{name}: {}", ended.stdout);
    }
    assert!(ended.stdout.contains("messages were received, in order"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "");
}

#[test]
fn a_signal_ends_a_measurement() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let mut running = start(&["bench", "--duration", "400ms", "--size", "1048576", "--size", "100"]);
        // Each of the following measurements is long.
        running.await_that("measurement", |line| line["workload"] == "handshake");
        running.signal(signal);
        let summary = running.await_event("bench");
        assert_eq!((&summary["ok"], &summary["error"]), (&false.into(), &"interrupted".into()), "{summary}");
        let (status, stderr) = running.end();
        assert_eq!((status.code(), &*stderr), (Some(code), ""), "{signal}");
    }
}
