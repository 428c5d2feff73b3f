//! The project's targets for the layer over http2, and whether they are met. A target that was not measured says so; none
//! is left out. The layer over the C core has the same values, without targets.

use crate::results::{Point, Results};
use crate::statistics::Spread;

pub const VARIANTS: [&str; 8] =
    ["http2", "c-core", "async", "async-current", "fabric-go", "bare-http2", "bare-c-core", "plain-tls"];

/// Both runtimes of the async variant: the one that does better decides.
const ASYNC: [&str; 2] = ["async", "async-current"];

/// A comparison by name, and its values.
pub type Measured = (String, Option<Spread>);

pub struct Target {
    pub against: &'static str,
    pub what: String,
    /// The value to reach; `aim` is the value hoped for.
    pub at_least: f64,
    pub aim: f64,
    /// Less is better.
    pub less: bool,
    pub unit: Unit,
    /// All have to reach it.
    pub measured: Vec<Measured>,
    /// The same of the C core.
    pub c_core: Vec<Measured>,
    /// The reason for a missed target, as far as is known.
    pub reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Unit {
    Ratio,
    Difference,
    Micros,
    Percent,
    Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    AimMet,
    Met,
    /// Some rounds reach it and others do not.
    Undecided,
    Missed,
    NotMeasured,
}

impl Target {
    /// Returns the verdict by the worst of the comparisons. A limit is reached or missed if every round says so.
    pub fn verdict(&self) -> Verdict {
        let measured: Vec<Spread> = self.measured.iter().filter_map(|(_, spread)| *spread).collect();
        let reached = |value: f64, limit: f64| if self.less { value <= limit } else { value >= limit };
        let ends = |s: &Spread| if self.less { (s.low, s.high) } else { (s.high, s.low) };
        let all_reach = |limit| measured.iter().all(|s| reached(ends(s).1, limit));
        if measured.is_empty() {
            Verdict::NotMeasured
        } else if measured.iter().any(|s| !reached(ends(s).0, self.at_least)) {
            Verdict::Missed
        } else if !all_reach(self.at_least) {
            Verdict::Undecided
        } else if all_reach(self.aim) {
            Verdict::AimMet
        } else {
            Verdict::Met
        }
    }
}

const PER_MESSAGE: &str = "the layer's cost per message: see the bare transport";
const PER_BYTE: &str = "copies and OpenSSL's cost per byte: see the bare transport and plain TLS";
const WAKE_UP: &str = "threads wake each other at every hand-over";
const DIAL: &str = "the threads of a connection, and OpenSSL: see the bare transport and plain TLS";
const IDLE: &str = "the stacks of a connection's threads, and its buffers";
const MANY: &str = "threads of every connection that take turns on two cores";

/// How a value is compared with a target.
struct Limit {
    at_least: f64,
    aim: f64,
    less: bool,
    unit: Unit,
}

fn more(at_least: f64, aim: f64) -> Limit {
    Limit { at_least, aim, less: false, unit: Unit::Ratio }
}

fn less(at_least: f64, aim: f64) -> Limit {
    Limit { less: true, ..more(at_least, aim) }
}

/// Returns the targets with the values measured, `idle` connections included.
pub fn all(results: &Results, idle: u64) -> Vec<Target> {
    let mut targets = of("http2", results, idle);
    for (target, core) in targets.iter_mut().zip(of("c-core", results, idle)) {
        target.c_core = core.measured;
    }
    targets
}

/// Returns the same comparisons for one of the library's variants.
fn of(variant: &str, results: &Results, idle: u64) -> Vec<Target> {
    let mut targets = against_async(variant, results, idle);
    targets.extend(against_go(variant, results));
    for (size, name) in [(64 << 10, "64 KiB"), (1 << 20, "1 MiB")] {
        let ratio = results.ratio(&Point::new("throughput", size, 1, "rate"), variant, "plain-tls");
        targets.push(target("plain TLS", format!("bytes/s, {name}"), more(0.6, 0.85), unnamed(ratio), PER_BYTE));
    }
    targets.extend(by_itself(variant, results, idle));
    targets
}

fn target(against: &'static str, what: String, limit: Limit, measured: Vec<Measured>, reason: &'static str) -> Target {
    let Limit { at_least, aim, less, unit } = limit;
    Target { against, what, at_least, aim, less, unit, measured, c_core: Vec::new(), reason }
}

fn unnamed(spread: Option<Spread>) -> Vec<Measured> {
    vec![(String::new(), spread)]
}

fn against_async(variant: &str, results: &Results, idle: u64) -> Vec<Target> {
    let mut targets = Vec::new();
    let mut add = |what: String, limit, point: Point, reason| {
        let ratios = ASYNC.iter().map(|other| ((*other).to_owned(), results.ratio(&point, variant, other)));
        targets.push(target("the async variant", what, limit, ratios.collect(), reason));
    };
    for (end, how) in [("", "one process"), ("-apart", "two processes")] {
        let workload = |name: &str| format!("{name}{end}");
        let sizes = [
            (100, "100 B", 2.0, PER_MESSAGE),
            (1 << 10, "1 KiB", 2.0, PER_MESSAGE),
            (64 << 10, "64 KiB", 1.3, PER_BYTE),
            (1 << 20, "1 MiB", 1.3, PER_BYTE),
        ];
        for (size, name, aim, reason) in sizes {
            let point = Point::new(&workload("throughput"), size, 1, "rate");
            add(format!("messages/s, one stream, {name}, {how}"), more(1.0, aim), point, reason);
        }
        for (metric, limit) in [("p50", less(0.6, 0.35)), ("p99", less(1.0, 0.6))] {
            let point = Point::new(&workload("round-trip"), 100, 1, metric);
            add(format!("acknowledged round trip, {metric}, {how}"), limit, point, WAKE_UP);
        }
        let point = Point::new(&format!("{}-busy", workload("round-trip")), 100, 1, "p50");
        let what = format!("acknowledged round trip beside a busy process, p50, {how}");
        add(what, less(1.0, 0.6), point, WAKE_UP);
        for (name, what, counts) in
            [("connections", "total messages/s", &[8, 64, 512][..]), ("fan-out", "fan-out, deliveries/s", &[8, 64])]
        {
            for count in counts {
                let point = Point::new(&workload(name), 1 << 10, *count, "rate");
                add(format!("{what}, {count} connections, {how}"), more(1.0, 1.3), point, MANY);
            }
        }
        let point = Point::new(&workload("throughput"), 1 << 10, 1, "cpu");
        add(format!("CPU per message, 1 KiB, {how}"), less(1.2, 0.9), point, PER_MESSAGE);
        let point = Point::new(&workload("handshake"), 0, 1, "p50");
        add(format!("handshake, p50, {how}"), less(1.8, 1.2), point, DIAL);
        let point = Point::new(&workload("churn"), 100, 1, "rate");
        add(format!("connections that come and go, connections/s, {how}"), more(0.5, 0.8), point, DIAL);
    }
    for end in ["accepting", "dialling"] {
        let point = Point::new("idle", 0, idle, &format!("memory-{end}"));
        add(format!("memory per idle connection, {end} end, {idle} of them"), less(1.5, 1.0), point, IDLE);
    }
    // Not a ratio: it can be 0.
    let point = Point::new("connections", 1 << 10, 512, "fairness");
    let differences = ASYNC.map(|other| (other.to_owned(), results.difference(&point, variant, other)));
    let what = "fairness with 512 senders, less that of async".into();
    let limit = Limit { unit: Unit::Difference, ..more(0.0, 0.0) };
    targets.push(target("the async variant", what, limit, differences.into(), MANY));
    targets
}

/// In this run, if Fabric took part.
fn against_go(variant: &str, results: &Results) -> Vec<Target> {
    let throughput = |size| Point::new("throughput", size, 1, "rate");
    let rows = [
        ("messages/s, 100 B", more(2.0, 4.0), throughput(100), PER_MESSAGE),
        ("messages/s, 1 KiB", more(2.0, 3.0), throughput(1 << 10), PER_MESSAGE),
        ("messages/s, 64 KiB", more(1.5, 2.0), throughput(64 << 10), PER_BYTE),
        ("acknowledged round trip, p50", less(0.6, 0.4), Point::new("round-trip", 100, 1, "p50"), WAKE_UP),
        ("handshake, p50", less(1.5, 1.0), Point::new("handshake", 0, 1, "p50"), DIAL),
    ];
    let row = |(what, limit, point, reason): (&str, Limit, Point, &'static str)| {
        let ratio = results.ratio(&point, variant, "fabric-go");
        target("Fabric's own Go layer", what.into(), limit, unnamed(ratio), reason)
    };
    rows.map(row).into()
}

fn by_itself(variant: &str, results: &Results, idle: u64) -> Vec<Target> {
    let (itself, bare) = ("itself", format!("bare-{variant}"));
    let cpu = Point::new("throughput", 100, 1, "cpu");
    let ratio = results.ratio(&cpu, variant, &bare).map_or(String::new(), |s| format!("; {:.1} times it", s.median));
    let own = results.difference(&cpu, variant, &bare);
    let limit = Limit { unit: Unit::Micros, ..less(1.5, 1.0) };
    let what = format!("the layer's own CPU per message, 100 B, both ends (layer less bare transport{ratio})");
    let mut targets = vec![target(itself, what, limit, unnamed(own), PER_MESSAGE)];
    for (workload, how) in [("connections", "one process"), ("connections-apart", "two processes")] {
        let one = Point::new(workload, 1 << 10, 1, "cpu");
        let ratio = results.ratio_of_points(variant, &Point { connections: 512, ..one.clone() }, &one);
        let what = format!("CPU per message with 512 connections to that with 1, {how}");
        targets.push(target(itself, what, less(1.3, 1.1), unnamed(ratio), MANY));
    }
    let limit = Limit { unit: Unit::Number, ..more(2000.0, 2000.0) };
    let reached = unnamed(connected(variant, results, idle));
    targets.push(target(itself, "idle connections in one process, each its own identity".into(), limit, reached, ""));
    let ends = ["accepting", "dialling"];
    let idle_cpu =
        ends.map(|end| (end.to_owned(), results.spread(&Point::new("idle", 0, idle, &format!("cpu-{end}")), variant)));
    let what = format!("CPU when idle, {idle} connections (no more than 0.1 % counts as none)");
    let limit = Limit { unit: Unit::Percent, ..less(0.1, 0.1) };
    targets.push(target(itself, what, limit, idle_cpu.into(), "timers of the connections"));
    targets
}

/// Not measured if fewer were tried.
fn connected(variant: &str, results: &Results, tried: u64) -> Option<Spread> {
    let idle = results.0.iter().filter(|r| r.workload == "idle" && r.variant == variant && r.metric == "connected");
    let reached = idle.map(|r| r.value).reduce(f64::max).filter(|_| tried >= 2_000)?;
    Spread::of(&[reached])
}
