//! The project's targets, and whether they are met. A target that was not measured says so; none is left out.

use crate::results::{Point, Recorded, Results};
use crate::statistics::Spread;

pub const VARIANTS: [&str; 6] = ["threads", "async", "async-current", "fabric-go", "bare", "plain-tls"];

/// Both runtimes of the async variant: the one that does better decides.
const ASYNC: [&str; 2] = ["async", "async-current"];

pub struct Target {
    pub against: &'static str,
    pub what: String,
    /// The value to reach; `aim` is the value hoped for.
    pub at_least: f64,
    pub aim: f64,
    /// Less is better.
    pub less: bool,
    pub unit: Unit,
    /// The comparisons, by name; the worst decides.
    pub measured: Vec<(String, Option<Spread>)>,
    /// The reason for a missed target, as far as is known.
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Ratio,
    Kilobytes,
    Percent,
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    AimMet,
    Met,
    Missed,
    NotMeasured,
}

impl Target {
    /// By the worst of the medians.
    pub fn verdict(&self) -> Verdict {
        let medians = self.measured.iter().filter_map(|(_, spread)| spread.map(|s| s.median));
        let worst = if self.less { medians.reduce(f64::max) } else { medians.reduce(f64::min) };
        let reached = |value: f64, limit: f64| if self.less { value <= limit } else { value >= limit };
        match worst {
            None => Verdict::NotMeasured,
            Some(value) if reached(value, self.aim) => Verdict::AimMet,
            Some(value) if reached(value, self.at_least) => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }
}

const PER_MESSAGE: &str = "cost per message: each is a separate operation of the C core";
const PER_BYTE: &str = "the C core's cost per byte: see the bare transport";
const WAKE_UP: &str = "threads wake each other at every hand-over";
const LAYER: &str = "the layer's additions: protobuf, queue, demultiplexer, a subscriber's thread";
const DIAL: &str = "a connection of the C core, and OpenSSL: see the bare transport and plain TLS";
const IDLE: &str = "two threads with their stacks, and the C core's connection";
const MANY: &str = "threads of every connection that take turns on two cores";
const TIMERS: &str =
    "timers of the C core for each connection that it has accepted: its threads timer_manager and event_engine";

pub fn all(results: &Results, recorded: &[Recorded], idle: u64) -> Vec<Target> {
    let mut targets = against_async(results);
    targets.extend(against_go(results, recorded));
    let sizes = [(100, "100 B"), (1 << 10, "1 KiB"), (64 << 10, "64 KiB"), (1 << 20, "1 MiB")];
    let one = |variant: &str, size| {
        let point = Point::new("throughput", size, 1, "rate");
        vec![(variant.to_owned(), results.ratio(&point, "threads", variant))]
    };
    for (size, name) in sizes {
        targets.push(Target {
            what: format!("messages/s, {name}"),
            ..more("the bare transport", 0.75, 0.9, one("bare", size), LAYER)
        });
    }
    let plain = more("plain TLS", 0.35, 0.6, one("plain-tls", 64 << 10), PER_BYTE);
    targets.push(Target { what: "bytes/s, 64 KiB".into(), ..plain });
    targets.extend(by_itself(results, idle));
    targets
}

fn against_async(results: &Results) -> Vec<Target> {
    let both = |point: Point| -> Vec<(String, Option<Spread>)> {
        ASYNC.iter().map(|other| ((*other).to_owned(), results.ratio(&point, "threads", other))).collect()
    };
    let against = "the async variant";
    let mut targets = Vec::new();
    for (workload, how) in [("throughput", "one process"), ("throughput-apart", "two processes")] {
        let sizes = [
            (100, "100 B", 0.8, 1.0, PER_MESSAGE),
            (1 << 10, "1 KiB", 0.8, 1.0, PER_MESSAGE),
            (64 << 10, "64 KiB", 2.0, 3.0, PER_BYTE),
            (1 << 20, "1 MiB", 2.0, 3.0, PER_BYTE),
        ];
        for (size, name, at_least, aim, reason) in sizes {
            let measured = both(Point::new(workload, size, 1, "rate"));
            targets.push(Target {
                what: format!("messages/s, one stream, {name}, {how}"),
                ..more(against, at_least, aim, measured, reason)
            });
        }
    }
    for (workload, how) in [("round-trip", "one process"), ("round-trip-apart", "two processes")] {
        let what = format!("acknowledged round trip, p50, {how}");
        targets.push(Target { what, ..less(against, 0.6, 0.5, both(Point::new(workload, 100, 1, "p50")), WAKE_UP) });
    }
    let many = both(Point::new("connections", 1 << 10, 512, "rate"));
    targets.push(Target { what: "total messages/s, 512 connections".into(), ..more(against, 1.0, 1.3, many, MANY) });
    for (workload, how) in [("throughput", "one process"), ("throughput-apart", "two processes")] {
        let cpu = both(Point::new(workload, 1 << 10, 1, "cpu"));
        targets.push(Target {
            what: format!("CPU per message, 1 KiB, {how}"),
            ..less(against, 1.2, 1.0, cpu, PER_MESSAGE)
        });
    }
    targets
}

/// In this run, if it took part; and always the median of this run over the recorded value.
fn against_go(results: &Results, recorded: &[Recorded]) -> Vec<Target> {
    let against = "Fabric's own Go layer";
    let to_go = |point: Point| {
        let theirs = recorded.iter().find_map(|r| r.results.spread(&point, "fabric-go"));
        let ours = results.spread(&point, "threads");
        let to_recorded = ours.zip(theirs).map(|(ours, theirs)| ours.scaled(1.0 / theirs.median));
        let mut measured = vec![("recorded, not in this run".to_owned(), to_recorded)];
        let in_this_run = results.ratio(&point, "threads", "fabric-go");
        measured.extend(in_this_run.map(|ratio| ("in this run".to_owned(), Some(ratio))));
        measured
    };
    let mut targets = Vec::new();
    let sizes =
        [(100, "100 B", 1.1, PER_MESSAGE), (1 << 10, "1 KiB", 1.3, PER_MESSAGE), (64 << 10, "64 KiB", 1.5, PER_BYTE)];
    for (size, name, at_least, reason) in sizes {
        let measured = to_go(Point::new("throughput", size, 1, "rate"));
        targets.push(Target { what: format!("messages/s, {name}"), ..more(against, at_least, 2.0, measured, reason) });
    }
    let round_trip = to_go(Point::new("round-trip", 100, 1, "p50"));
    let what = "acknowledged round trip, p50".into();
    targets.push(Target { what, ..less(against, 0.9, 0.5, round_trip, WAKE_UP) });
    let handshake = to_go(Point::new("handshake", 0, 1, "p50"));
    targets.push(Target { what: "handshake, p50".into(), ..less(against, 1.0, 0.6, handshake, DIAL) });
    targets
}

fn by_itself(results: &Results, idle: u64) -> Vec<Target> {
    let ends = |metric: &str, scale: f64| -> Vec<(String, Option<Spread>)> {
        ["accepting", "dialling"]
            .map(|end| {
                let point = Point::new("idle", 0, idle, &format!("{metric}-{end}"));
                (end.to_owned(), results.spread(&point, "threads").map(|spread| spread.scaled(scale)))
            })
            .into()
    };
    let itself = "itself";
    let mut targets = vec![
        Target {
            what: format!("memory per idle connection, one end, {idle} of them"),
            unit: Unit::Kilobytes,
            ..less(itself, 300.0, 200.0, ends("memory", 1e-3), IDLE)
        },
        Target {
            what: "idle connections in one process, each its own identity".into(),
            unit: Unit::Number,
            ..more(itself, 2000.0, 2000.0, connected(results, idle), "")
        },
        Target {
            what: format!("CPU when idle, {idle} connections (no more than 0.1 % counts as none)"),
            unit: Unit::Percent,
            ..less(itself, 0.1, 0.1, ends("cpu", 1.0), TIMERS)
        },
    ];
    let one = Point::new("connections", 1 << 10, 1, "cpu");
    let flat = [8, 64, 512]
        .map(|n| (n.to_string(), results.ratio_of_points("threads", &Point { connections: n, ..one.clone() }, &one)));
    targets.push(Target {
        what: "CPU per message with 8, 64, 512 connections, to that with 1".into(),
        ..less(itself, 1.25, 1.25, flat.into(), MANY)
    });
    targets
}

/// Not measured if fewer were tried.
fn connected(results: &Results, tried: u64) -> Vec<(String, Option<Spread>)> {
    let idle = results.0.iter().filter(|r| r.workload == "idle" && r.variant == "threads" && r.metric == "connected");
    let reached: Vec<f64> = idle.map(|r| r.value).reduce(f64::max).into_iter().filter(|_| tried >= 2_000).collect();
    vec![("reached".into(), Spread::of(&reached))]
}

fn more(
    against: &'static str,
    at_least: f64,
    aim: f64,
    measured: Vec<(String, Option<Spread>)>,
    reason: &'static str,
) -> Target {
    Target { against, what: String::new(), at_least, aim, less: false, unit: Unit::Ratio, measured, reason }
}

fn less(
    against: &'static str,
    at_least: f64,
    aim: f64,
    measured: Vec<(String, Option<Spread>)>,
    reason: &'static str,
) -> Target {
    Target { less: true, ..more(against, at_least, aim, measured, reason) }
}
