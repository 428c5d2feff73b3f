//! The table of all metrics, and their values as samples and as text.
//!
//! The only place with names, kinds, help texts and labels. The Prometheus text and the C interface are derived from
//! [`Sample`]s, which refer to it.

use super::Histogram;
use std::fmt::{self, Display, Write};

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only increases, from the start of the process.
    Counter,
    /// Can increase and decrease.
    Gauge,
    /// Counts observations in buckets.
    Histogram,
}

impl Kind {
    /// Returns Prometheus' name for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, Fabric's where Fabric has the same.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// One-line description.
    pub help: &'static str,
    /// The labels of its samples; a metric without labels has at most one value.
    pub labels: &'static [&'static str],
}

/// One value of a metric in a snapshot. Displayed as its name with its labels, such as `gossip_comm_dials` or
/// `gossip_membership_total_peers_known{channel="mychannel"}`.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The metric.
    pub metric: &'static Metric,
    /// Suffix of the metric's name: `_bucket`, `_sum` or `_count` for a histogram, empty otherwise.
    pub suffix: &'static str,
    /// Labels and their values, unescaped.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.metric.name, self.suffix)?;
        for (i, (label, value)) in self.labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(f, "{}{label}=\"{value}\"", if i == 0 { "{" } else { "," })?;
        }
        if self.labels.is_empty() {
            return Ok(());
        }
        f.write_str("}")
    }
}

/// Collects samples in the order of the table.
#[derive(Default)]
pub(crate) struct Samples(pub Vec<Sample>);

impl Samples {
    /// Adds the only value of a metric.
    pub fn add(&mut self, metric: &'static Metric, value: impl Into<Value>) {
        self.push(metric, "", Vec::new(), value.into());
    }

    /// Adds a value with labels, as many as the metric has.
    pub fn add_labelled(&mut self, metric: &'static Metric, labels: &[&str], value: impl Into<Value>) {
        let labels = metric.labels.iter().copied().zip(labels.iter().map(|it| (*it).to_owned())).collect();
        self.push(metric, "", labels, value.into());
    }

    /// Adds the buckets, the sum in seconds and the count.
    pub fn add_histogram(&mut self, metric: &'static Metric, histogram: &Histogram) {
        let bounds = histogram.buckets.iter().map(|(bound, count)| (bound.as_secs_f64().to_string(), *count));
        for (bound, count) in bounds.chain([("+Inf".to_owned(), histogram.count)]) {
            self.push(metric, "_bucket", vec![("le", bound)], count.into());
        }
        self.push(metric, "_sum", Vec::new(), Value(histogram.sum.as_secs_f64()));
        self.push(metric, "_count", Vec::new(), histogram.count.into());
    }

    fn push(
        &mut self,
        metric: &'static Metric,
        suffix: &'static str,
        labels: Vec<(&'static str, String)>,
        value: Value,
    ) {
        self.0.push(Sample { metric, suffix, labels, value: value.0 });
    }
}

/// The numeric value of a sample; a count is exact up to 2^53.
pub(crate) struct Value(f64);

macro_rules! from_counts {
    ($($count:ty),*) => {
        $(impl From<$count> for Value {
            fn from(count: $count) -> Self {
                Value(count as f64)
            }
        })*
    };
}

from_counts!(u64, usize, i64);

/// Formats samples, which must be in the order of these metrics, in Prometheus' text format, version 0.0.4. A metric
/// without samples is omitted, unless its samples have labels.
pub(crate) fn prometheus(metrics: impl IntoIterator<Item = &'static Metric>, samples: &[Sample]) -> String {
    let mut page = String::with_capacity(4096);
    let mut samples = samples.iter().peekable();
    for metric in metrics {
        let mut sample = samples.next_if(|sample| sample.metric == metric);
        if sample.is_none() && metric.labels.is_empty() {
            continue;
        }
        let Metric { name, kind, help, .. } = metric;
        // Writing to a string does not fail.
        let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        while let Some(Sample { value, .. }) = sample {
            let _ = sample.map(|sample| writeln!(page, "{sample} {value}"));
            sample = samples.next_if(|sample| sample.metric == metric);
        }
    }
    page
}

macro_rules! metrics {
    ($list:ident: $($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(pub(crate) static $id: Metric =
            Metric { name: $name, kind: Kind::$kind, help: $help, labels: &[$($label),*] };)*

        pub(crate) static $list: &[&Metric] = &[$(&$id),*];
    };
}

metrics! { COMM:
    MESSAGES_SENT = Counter "gossip_comm_messages_sent" [] "Messages written to streams";
    MESSAGES_RECEIVED = Counter "gossip_comm_messages_received" [] "Envelopes read from streams";
    OVERFLOW_COUNT = Counter "gossip_comm_overflow_count" []
        "Messages not accepted because the queue to a peer was full";
    DIALS = Counter "gossip_comm_dials" [] "Connections tried for sends";
    DIAL_FAILURES = Counter "gossip_comm_dial_failures" ["reason"] "Dials that failed, by kind of error";
    HANDSHAKES = Counter "gossip_comm_handshakes" [] "Handshakes that authenticated the other side";
    HANDSHAKE_FAILURES = Counter "gossip_comm_handshake_failures" ["reason"]
        "Inbound streams that failed to authenticate";
    INBOUND_REFUSALS = Counter "gossip_comm_inbound_refusals" ["reason"]
        "Inbound streams refused by a limit";
    REFUSED_BY_PEER = Counter "gossip_comm_refused_by_peer" [] "Connections whose peer refused us";
    RECONNECTS = Counter "gossip_comm_reconnects" [] "Dials of a peer whose connection had ended";
    DISCONNECTS = Counter "gossip_comm_disconnects" [] "Connections that ended and left their peer without one";
    ACK_ROUND_TRIP = Histogram "gossip_comm_ack_round_trip_seconds" []
        "Time from a message's write to its acknowledgement";
    CONNECTIONS = Gauge "gossip_comm_connections" [] "Peers connected";
    UNAUTHENTICATED = Gauge "gossip_comm_unauthenticated" [] "Inbound streams that have not authenticated yet";
    QUEUED_MESSAGES = Gauge "gossip_comm_queued_messages" [] "Messages accepted and not yet written";
    QUEUED_BYTES = Gauge "gossip_comm_queued_bytes" [] "Bytes of messages not yet written";
    IDENTITIES = Gauge "gossip_comm_identities" [] "Identities known";
    THREADS = Gauge "gossip_comm_threads" [] "Threads of the communication layer";
    IDENTITY_EXPIRES_IN = Gauge "gossip_comm_identity_expires_in_seconds" [] "Time until our own identity expires";
    TLS_EXPIRES_IN = Gauge "gossip_comm_tls_expires_in_seconds" [] "Time until our TLS certificate expires";
    DROPPED_MESSAGES = Counter "gossip_comm_dropped_messages" ["peer", "reason"]
        "Messages dropped, by peer and reason";
}

metrics! { NODE:
    TOTAL_PEERS_KNOWN = Gauge "gossip_membership_total_peers_known" ["channel"] "Peers of the channel that are alive";
    MEMBERS_ALIVE = Gauge "gossip_membership_alive" [] "Members that are alive";
    MEMBERS_DEAD = Gauge "gossip_membership_dead" [] "Members that died and are remembered";
    SEEDS_MISSING = Gauge "gossip_membership_seeds_missing" []
        "Bootstrap and anchor peers that have not answered yet";
    IDENTITIES_OFFERED = Gauge "gossip_identities_offered" [] "Identities that others can pull";
    MESSAGES_WAITING = Gauge "gossip_messages_waiting" [] "Messages that wait for their turn";
    VERIFICATIONS_WAITING = Gauge "gossip_verifications_waiting" [] "Messages that wait to be verified";
}

/// Iterates over all metrics, those of the communication layer first.
pub fn all() -> impl Iterator<Item = &'static Metric> {
    COMM.iter().chain(NODE).copied()
}
