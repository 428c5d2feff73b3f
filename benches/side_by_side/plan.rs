//! The measurements, and their extent.

use std::time::Duration;

/// The variants that are a whole communication layer.
pub const LAYERS: &[&str] = &["http2", "c-core", "async", "async-current"];
const ALL: &[&str] =
    &["http2", "c-core", "async", "async-current", "fabric-go", "bare-http2", "bare-c-core", "plain-tls"];

/// A measurement that the variants carry out one after the other.
pub struct Step {
    /// Its name in the results.
    pub workload: &'static str,
    pub size: usize,
    pub connections: usize,
    pub what: What,
    /// Whether a third process wants a processor meanwhile.
    pub busy: bool,
    pub variants: &'static [&'static str],
}

pub enum What {
    /// One order to one process.
    Alone(String),
    Apart(Apart),
    /// This many new processes, each of which sends a message to one that is there.
    ColdStart(usize),
}

/// Orders to two processes. The harness adds the server's endpoint to those of the client.
pub struct Apart {
    /// The arguments of the server's order `serve`.
    pub serve: String,
    /// The client's order that makes connections.
    pub prepare: String,
    /// The client's order that is measured.
    pub order: String,
    /// The number of messages that the processor time is divided by; 0 if it is not measured.
    pub messages: usize,
}

pub struct Plan {
    pub rounds: u64,
    pub steps: Vec<Step>,
    /// How many idle connections, rising.
    pub idle: Vec<usize>,
    /// Time to wait before memory is measured.
    pub settle: Duration,
    /// Time to wait after that before processor time is watched: the time limits of new connections, of up to 10 s, are over
    /// then, and the keepalive pings, after 60 s, have not begun.
    pub rest: Duration,
    /// How long processor time is watched.
    pub idle_time: Duration,
    /// No round is begun that would end later.
    pub limit: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    Full,
    Quick,
    /// Enough to see that it works.
    Test,
}

impl Plan {
    pub fn new(scale: Scale) -> Plan {
        let (rounds, idle, limit) = match scale {
            Scale::Full => (7, vec![512, 2_000], 19 * 60),
            Scale::Quick => (3, vec![512], 225),
            Scale::Test => (1, vec![8], 300),
        };
        let seconds = |full: u64| match scale {
            Scale::Full => Duration::from_secs(full),
            Scale::Quick => Duration::from_secs(full).min(Duration::from_secs(2)),
            Scale::Test => Duration::from_millis(50),
        };
        let limit = Duration::from_secs(limit);
        Plan { rounds, steps: steps(scale), idle, settle: seconds(1), rest: seconds(11), idle_time: seconds(5), limit }
    }

    /// Only these workloads; `idle` is one too.
    pub fn keep(&mut self, workloads: &[String]) {
        let wanted = |name: &str| workloads.iter().any(|w| w == name);
        if !workloads.is_empty() {
            self.steps.retain(|step| wanted(step.workload));
            if !wanted("idle") {
                self.idle.clear();
            }
        }
    }

    /// Returns the first of these workloads that does not exist.
    pub fn unknown(&self, workloads: &[String]) -> Option<String> {
        let known = |name: &str| name == "idle" || self.steps.iter().any(|step| step.workload == name);
        workloads.iter().find(|name| !known(name)).cloned()
    }
}

/// Each takes about 0.4 s at full scale, of the slowest layer.
fn steps(scale: Scale) -> Vec<Step> {
    // A part of the full count.
    let n = |full: usize| match scale {
        Scale::Full => full,
        Scale::Quick => full / 8,
        Scale::Test => (full / 2000).max(4),
    };
    let many: &[usize] = if scale == Scale::Test { &[1, 4] } else { &[1, 8, 64, 512] };
    let fan: &[usize] = if scale == Scale::Test { &[1, 2] } else { &[1, 8, 64] };
    let mut steps = Vec::new();
    let mut step = |workload, size, connections, what, variants| {
        steps.push(Step { workload, size, connections, what, busy: false, variants });
    };
    for (size, count) in [(100, 200_000), (1 << 10, 100_000), (64 << 10, 5_000), (1 << 20, 400)] {
        let (count, half) = (n(count), n(count / 2));
        step("throughput", size, 1, alone("throughput", format!("size={size} count={count}")), ALL);
        step("throughput-apart", size, 1, send("", size, count, 1), LAYERS);
        step("both-ways", size, 1, alone("both-ways", format!("size={size} count={half}")), LAYERS);
        let exchange = Apart {
            serve: format!("size={size} back={half}"),
            prepare: round_trips("size=100 count=2".into()),
            order: format!("exchange-with size={size} count={half}"),
            messages: 2 * half,
        };
        step("both-ways-apart", size, 1, What::Apart(exchange), LAYERS);
    }
    let trips = format!("size=100 count={}", n(4_000));
    let loaded = format!("size=100 count={} load=1024", n(2_000));
    step("round-trip", 100, 1, alone("round-trip", trips.clone()), ALL);
    step("round-trip-apart", 100, 1, trips_apart(trips.clone(), n(4_000)), LAYERS);
    step("round-trip-busy", 100, 1, alone("round-trip", trips.clone()), ALL);
    step("round-trip-apart-busy", 100, 1, trips_apart(trips, n(4_000)), LAYERS);
    step("round-trip-loaded", 100, 1, alone("round-trip", loaded.clone()), LAYERS);
    step("round-trip-loaded-apart", 100, 1, trips_apart(loaded, 0), LAYERS);
    let handshakes = n(80);
    step("handshake", 0, 1, alone("handshake", format!("count={handshakes}")), ALL);
    let apart = Apart {
        serve: "msp=1".into(),
        prepare: "handshakes-with msp=1 count=1".into(),
        order: format!("handshakes-with msp=1 count={handshakes}"),
        messages: handshakes,
    };
    step("handshake-apart", 0, 1, What::Apart(apart), LAYERS);
    step("churn", 100, 1, alone("churn", format!("count={handshakes}")), LAYERS);
    let apart = Apart {
        serve: String::new(),
        prepare: "churn-with count=1".into(),
        order: format!("churn-with count={handshakes}"),
        messages: handshakes,
    };
    step("churn-apart", 100, 1, What::Apart(apart), LAYERS);
    step("cold-start", 100, 1, What::ColdStart(if scale == Scale::Test { 1 } else { 5 }), LAYERS);
    for &peers in fan {
        let count = n(64_000) / peers;
        let rest = format!("connections={peers} size=1024 count={count}");
        step("fan-out", 1 << 10, peers, alone("fan-out", rest), LAYERS);
        step("fan-out-apart", 1 << 10, peers, send(&format!("listeners={peers}"), 1 << 10, count, peers), LAYERS);
    }
    for &peers in many {
        // More than the queues of all hold.
        let count = n(if peers < 512 { 102_400 } else { 204_800 }) / peers;
        let rest = format!("connections={peers} size=1024 count={count}");
        step("connections", 1 << 10, peers, alone("connections", rest.clone()), LAYERS);
        let apart = Apart {
            serve: String::new(),
            prepare: format!("dial connections={peers}"),
            order: format!("send {rest}"),
            messages: peers * count,
        };
        step("connections-apart", 1 << 10, peers, What::Apart(apart), LAYERS);
    }
    let slow = format!("size=1024 count={}", n(50_000));
    step("slow-subscriber", 1 << 10, 1, alone("slow-subscriber", slow), LAYERS);
    for peers in [1, 2] {
        let rest = format!("connections={peers} size=1024 count={} block=1000 seconds=1", n(8_000));
        step("blocking-host", 1 << 10, peers, alone("blocking-host", rest.clone()), LAYERS);
        step("blocking-host-pooled", 1 << 10, peers, alone("blocking-host", format!("{rest} pool=1")), LAYERS);
    }
    steps.iter_mut().for_each(|step| step.busy = step.workload.ends_with("-busy"));
    steps
}

fn alone(name: &str, rest: String) -> What {
    What::Alone(format!("{name} {rest}"))
}

fn round_trips(rest: String) -> String {
    format!("round-trip-to {rest}")
}

/// One peer sends to this many peers in the other process.
fn send(serve: &str, size: usize, count: usize, peers: usize) -> What {
    What::Apart(Apart {
        serve: serve.into(),
        prepare: format!("send size={size} count=2"),
        order: format!("send size={size} count={count}"),
        messages: peers * count,
    })
}

fn trips_apart(rest: String, messages: usize) -> What {
    let prepare = round_trips("size=100 count=20".into());
    What::Apart(Apart { serve: String::new(), prepare, order: round_trips(rest), messages })
}
