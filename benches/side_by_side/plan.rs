//! The measurements, and their extent.

use std::time::Duration;

const LAYERS: &[&str] = &["threads", "async", "async-current"];
const ALL: &[&str] = &["threads", "async", "async-current", "fabric-go", "bare", "plain-tls"];

/// A measurement that the variants carry out one after the other.
pub struct Step {
    /// Its name in the results.
    pub workload: &'static str,
    pub size: usize,
    pub connections: usize,
    pub what: What,
    pub variants: &'static [&'static str],
}

pub enum What {
    /// One order to one process.
    Alone(String),
    /// This many messages from one process to another.
    Stream(usize),
    RoundTrips(usize),
    Handshakes(usize),
}

pub struct Plan {
    pub rounds: u64,
    pub steps: Vec<Step>,
    /// How many idle connections, rising.
    pub idle: Vec<usize>,
    /// Time to wait before memory is measured.
    pub settle: Duration,
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
            steps.push(Step { workload, size, connections, what, variants });
        };
        for (size, count) in [(100, 600_000), (1 << 10, 400_000), (64 << 10, 12_000), (1 << 20, 1_000)] {
            let (size_count, half) = (format!("size={size} count={}", n(count)), n(count / 2));
            step("throughput", size, 1, What::Alone(format!("throughput {size_count}")), ALL);
            step("both-ways", size, 1, What::Alone(format!("both-ways size={size} count={half}")), LAYERS);
            step("throughput-apart", size, 1, What::Stream(n(count)), LAYERS);
        }
        let alone = |name: &str, rest: String| What::Alone(format!("{name} {rest}"));
        step("round-trip", 100, 1, alone("round-trip", format!("size=100 count={}", n(10_000))), ALL);
        let loaded = format!("size=100 count={} load=1024", n(4_000));
        step("round-trip-loaded", 100, 1, alone("round-trip", loaded), LAYERS);
        step("round-trip-apart", 100, 1, What::RoundTrips(n(10_000)), LAYERS);
        step("handshake", 0, 1, alone("handshake", format!("count={}", n(200))), ALL);
        step("handshake-apart", 0, 1, What::Handshakes(n(100)), LAYERS);
        for &peers in fan {
            let rest = format!("connections={peers} size=1024 count={}", n(128_000) / peers);
            step("fan-out", 1 << 10, peers, alone("fan-out", rest), LAYERS);
        }
        for &peers in many {
            let rest = format!("connections={peers} size=1024 count={}", n(409_600) / peers);
            step("connections", 1 << 10, peers, alone("connections", rest), LAYERS);
        }
        let slow = format!("size=1024 count={}", n(100_000));
        step("slow-subscriber", 1 << 10, 1, alone("slow-subscriber", slow), LAYERS);
        let seconds = if scale == Scale::Full { 3 } else { 1 };
        for peers in [1, 2] {
            let rest = format!("connections={peers} size=1024 count={} block=1000 seconds={seconds}", n(8_000));
            step("blocking-host", 1 << 10, peers, alone("blocking-host", rest.clone()), LAYERS);
            step("blocking-host-pooled", 1 << 10, peers, alone("blocking-host", format!("{rest} pool=1")), LAYERS);
        }
        let (rounds, idle, limit) = match scale {
            Scale::Full => (7, vec![512, 2_000], 13 * 60),
            Scale::Quick => (3, vec![512], 165),
            Scale::Test => (1, vec![8], 300),
        };
        let seconds = |full: u64| Duration::from_secs(if scale == Scale::Test { 0 } else { full });
        let limit = Duration::from_secs(limit);
        Plan { rounds, steps, idle, settle: seconds(1), idle_time: seconds(5).max(Duration::from_millis(50)), limit }
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
