//! The results as Markdown.

use crate::results::{Point, Recorded, Results};
use crate::statistics::Spread;
use crate::targets::{Measured, Target, Unit, Verdict, VARIANTS};
use std::fmt::Write;

/// Title and explanation of each workload, in the order of the tables.
const WORKLOADS: [(&str, &str, &str); 23] = [
    ("throughput", "One stream", "Both ends in one process; CPU is that of both together."),
    ("throughput-apart", "One stream, two processes", "CPU is that of both processes together."),
    ("both-ways", "One stream, both directions at the same time", "The messages of both directions count."),
    ("both-ways-apart", "One stream, both directions at the same time, two processes", ""),
    ("round-trip", "Acknowledged round trip", "One after the other, without other load; both ends in one process."),
    ("round-trip-apart", "Acknowledged round trip, two processes", "One after the other, without other load."),
    ("round-trip-busy", "Acknowledged round trip, beside a busy process", "Another process computes without end."),
    ("round-trip-apart-busy", "Acknowledged round trip, two processes, beside a busy third", ""),
    ("round-trip-loaded", "Acknowledged round trip under load", "Another peer sends 1 KiB messages as fast as it can."),
    ("round-trip-loaded-apart", "Acknowledged round trip under load, two processes", "The other peer is in the process that \
      measures."),
    ("handshake", "Handshake", "A new connection, mutual TLS, Ping, gossip handshake with certificates and signatures \
      both ways. Bare: a message each way instead of the gossip handshake. Plain TLS: mutual TLS alone. CPU is that of one handshake, both ends."),
    ("handshake-apart", "Handshake, two processes", ""),
    ("churn", "Connections that come and go", "Connect, send an acknowledged message, disconnect; one after the other. \
      CPU is that of one connection."),
    ("churn-apart", "Connections that come and go, two processes", ""),
    ("cold-start", "Cold start", "From the start of a process until another one, which was there before, has received \
      and acknowledged a message."),
    ("fan-out", "Fan-out", "One message to that many peers: deliveries per second."),
    ("fan-out-apart", "Fan-out, two processes", "All receiving peers are in one process."),
    ("connections", "Many connections to one peer", "All peers send simultaneously, each with its own identity. Fairness is \
      measured when half of all messages have arrived: the number received from the slowest sender, divided by the \
      number received from the fastest. Memory and threads are of the process, \
      which has both ends and the senders."),
    ("connections-apart", "Many connections to one peer, two processes", "All senders are in one process."),
    ("idle", "Idle connections", "Each has its own identity, each end a separate process; memory and threads are what \
      each connection adds, CPU is of one core. The dialling end's peers were there before."),
    ("slow-subscriber", "A slow subscriber beside a fast one", "One subscriber never receives and drops; the rate is \
      that of the other."),
    ("blocking-host", "A host that blocks", "The messages of one or two peers are handled by code that blocks for 1 ms \
      each; measured are acknowledged sends of another peer. Async: the task blocks its worker, as code that is not \
      written for async does."),
    ("blocking-host-pooled", "A host that blocks, with a thread pool", "The same; async: the blocking code runs in \
      `spawn_blocking`. Threads: no difference."),
];

pub fn measured(results: &Results) -> String {
    let mut text = String::new();
    let points = results.points();
    for (workload, title, note) in WORKLOADS.iter().chain(&BUILD) {
        let points: Vec<&(Point, &str)> = points.iter().filter(|(point, _)| point.workload == *workload).collect();
        if points.is_empty() {
            continue;
        }
        let there = |variant: &str| results.0.iter().any(|r| r.workload == *workload && r.variant == variant);
        let variants: Vec<&str> = VARIANTS.iter().copied().filter(|v| there(v)).collect();
        let others: Vec<&str> = variants.iter().copied().filter(|v| *v != "http2").collect();
        let _ = writeln!(text, "### {title}\n");
        if !note.is_empty() {
            let _ = writeln!(text, "{note}\n");
        }
        let mut head = vec![String::new()];
        head.extend(variants.iter().map(|v| (*v).to_owned()));
        head.extend(others.iter().map(|v| format!("http2 / {v}")));
        row(&mut text, &head);
        row(&mut text, &vec!["---".to_owned(); head.len()]);
        for (point, unit) in points {
            let mut cells = vec![name(point, unit)];
            cells.extend(variants.iter().map(|v| or_dash(results.spread(point, v), |s| spread(s, |x| value(x, unit)))));
            let ratios = others.iter().map(|v| results.ratio(point, "http2", v));
            cells.extend(ratios.map(|ratio| or_dash(ratio, |s| spread(s, number))));
            row(&mut text, &cells);
        }
        text.push('\n');
    }
    text
}

const BUILD: [(&str, &str, &str); 1] = [(
    "binary",
    "Binary",
    "Without symbols. The benchmark's own program: the library with both \
      transports, and this harness. Libraries: OpenSSL, which ours finds on the system and the async variant has built in.",
)];

pub fn recorded(all: &[Recorded], results: &Results) -> String {
    let mut text = String::new();
    for Recorded { source, results: theirs } in all {
        let _ = writeln!(text, "Source: {source}\n");
        row(&mut text, &["", "variant", "recorded", "http2, this run", "http2 / recorded"].map(String::from));
        row(&mut text, &vec!["---".to_owned(); 5]);
        let mut seen = Vec::new();
        for record in &theirs.0 {
            let key = (record.point(), record.variant.as_str());
            if seen.contains(&key) {
                continue;
            }
            let (point, variant) = &key;
            let (was, is) = (theirs.spread(point, variant), results.spread(point, "http2"));
            let ratio = was.zip(is).map(|(was, is)| is.scaled(1.0 / was.median));
            row(
                &mut text,
                &[
                    format!("{}, {}", point.workload, name(point, &record.unit)),
                    (*variant).to_owned(),
                    or_dash(was, |s| spread(s, |x| value(x, &record.unit))),
                    or_dash(is, |s| spread(s, |x| value(x, &record.unit))),
                    or_dash(ratio, |s| spread(s, number)),
                ],
            );
            seen.push(key);
        }
        text.push('\n');
    }
    text
}

pub fn targets(targets: &[Target]) -> String {
    let mut text = String::new();
    let head = ["against", "what", "at least", "aim", "http2", "verdict", "c-core"];
    row(&mut text, &head.map(String::from));
    row(&mut text, &vec!["---".to_owned(); head.len()]);
    for target in targets {
        let shown = |x| in_unit(x, target.unit);
        let bound = |limit| format!("{} {}", if target.less { "≤" } else { "≥" }, shown(limit));
        let one = |(label, s): &Measured| {
            let value = s.map_or("not measured".into(), |s| spread(s, shown));
            if label.is_empty() {
                value
            } else {
                format!("{label}: {value}")
            }
        };
        let measured = |of: &[Measured]| match of.iter().any(|(_, s)| s.is_some()) {
            true => of.iter().map(one).collect::<Vec<_>>().join("; "),
            false => "–".into(),
        };
        let verdict = match target.verdict() {
            Verdict::AimMet => "met, and the aim".into(),
            Verdict::Met => "met".into(),
            Verdict::Undecided => "undecided".into(),
            Verdict::Missed => format!("**missed**: {}", target.reason),
            Verdict::NotMeasured => "not measured".into(),
        };
        row(
            &mut text,
            &[
                target.against.into(),
                target.what.clone(),
                bound(target.at_least),
                bound(target.aim),
                measured(&target.measured),
                verdict,
                measured(&target.c_core),
            ],
        );
    }
    text
}

pub fn row(text: &mut String, cells: &[String]) {
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

pub fn or_dash(spread: Option<Spread>, text: impl Fn(Spread) -> String) -> String {
    spread.map_or("–".into(), text)
}

/// The lowest and highest only where there are several.
pub fn spread(s: Spread, one: impl Fn(f64) -> String) -> String {
    if s.low < s.high {
        format!("{} ({} – {})", one(s.median), one(s.low), one(s.high))
    } else {
        one(s.median)
    }
}

pub fn name(point: &Point, unit: &str) -> String {
    let mut parts = Vec::new();
    if point.size > 0 {
        parts.push(bytes(point.size as f64));
    }
    if point.connections > 1 {
        parts.push(format!("{} connections", whole(point.connections as f64)));
    }
    parts.push(point.metric.clone());
    let unit = match unit {
        "us" => "µs",
        "us/message" => "µs/message",
        // Each value has its own.
        "bytes" | "bytes/connection" => "",
        unit => unit,
    };
    format!("{}{}{unit}", parts.join(", "), if unit.is_empty() { "" } else { ", " })
}

pub fn value(value: f64, unit: &str) -> String {
    if unit.starts_with("bytes") {
        bytes(value)
    } else {
        number(value)
    }
}

fn in_unit(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Ratio => number(value),
        Unit::Difference => format!("{value:.2}"),
        Unit::Micros => format!("{value:.2} µs"),
        Unit::Percent => format!("{value:.2} %"),
        Unit::Number => whole(value),
    }
}

fn bytes(value: f64) -> String {
    const KIB: f64 = 1024.0;
    match value {
        v if v < KIB => format!("{v:.0} B"),
        v if v < KIB * KIB => format!("{:.0} KiB", v / KIB),
        v if v < 10.0 * KIB * KIB && v % (KIB * KIB) != 0.0 => format!("{:.1} MiB", v / KIB / KIB),
        v => format!("{:.0} MiB", v / KIB / KIB),
    }
}

/// Three digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 1000.0 => whole(value),
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 0.1 || v == 0.0 => format!("{value:.2}"),
        v if v >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.4}"),
    }
}

fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
