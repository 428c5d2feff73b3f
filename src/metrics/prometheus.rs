//! The snapshot as text that Prometheus reads.

use super::{CommSnapshot, Histogram};
use std::fmt::{Display, Write};

struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: impl Display) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.one(name, "counter", help, value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.one(name, "gauge", help, value);
    }

    /// One line for each reason. Labels are ours, or hexadecimal: nothing to escape.
    fn by_reason(&mut self, name: &str, help: &str, counts: impl IntoIterator<Item = (&'static str, u64)>) {
        self.head(name, "counter", help);
        for (reason, count) in counts {
            let _ = writeln!(self.0, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }

    fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        self.head(name, "histogram", help);
        for (bound, count) in &histogram.buckets {
            let _ = writeln!(self.0, "{name}_bucket{{le=\"{}\"}} {count}", bound.as_secs_f64());
        }
        let _ = writeln!(self.0, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
        let _ = writeln!(self.0, "{name}_sum {}\n{name}_count {}", histogram.sum.as_secs_f64(), histogram.count);
    }
}

impl CommSnapshot {
    /// Prometheus' text format, version 0.0.4. Totals that are told apart by reason come as lines with the label
    /// `reason`; drops have the label `peer` too, with its PKI-ID in hexadecimal. What to serve it with is the host's.
    pub fn to_prometheus(&self) -> String {
        let mut page = Page(String::with_capacity(4096));
        page.counter("gossip_comm_messages_sent", "Messages written to streams", self.gossip_comm_messages_sent);
        page.counter(
            "gossip_comm_messages_received",
            "Envelopes read from streams",
            self.gossip_comm_messages_received,
        );
        page.counter(
            "gossip_comm_overflow_count",
            "Messages not accepted because the queue to a peer was full",
            self.gossip_comm_overflow_count,
        );
        page.counter("gossip_comm_dials", "Connections tried for sends", self.gossip_comm_dials);
        let reasons = self.dial_failures.iter().map(|(kind, count)| (kind.as_str(), *count));
        page.by_reason("gossip_comm_dial_failures", "Dials that failed, by kind of error", reasons);
        page.counter(
            "gossip_comm_handshakes",
            "Handshakes that authenticated the other side",
            self.gossip_comm_handshakes,
        );
        let reasons = self.handshake_failures.iter().map(|(kind, count)| (kind.as_str(), *count));
        page.by_reason("gossip_comm_handshake_failures", "Inbound streams that failed to authenticate", reasons);
        let reasons = self.inbound_refusals.iter().map(|(refusal, count)| (refusal.as_str(), *count));
        page.by_reason("gossip_comm_inbound_refusals", "Inbound streams that a limit turned away", reasons);
        page.counter(
            "gossip_comm_refused_by_peer",
            "Connections whose peer refused us",
            self.gossip_comm_refused_by_peer,
        );
        page.counter(
            "gossip_comm_reconnects",
            "Dials of a peer whose connection had ended",
            self.gossip_comm_reconnects,
        );
        page.counter(
            "gossip_comm_disconnects",
            "Connections that ended and left their peer without one",
            self.gossip_comm_disconnects,
        );
        page.histogram(
            "gossip_comm_ack_round_trip_seconds",
            "Time from a message's write to its acknowledgement",
            &self.gossip_comm_ack_round_trip,
        );
        page.gauge("gossip_comm_connections", "Peers connected", self.gossip_comm_connections);
        page.gauge(
            "gossip_comm_unauthenticated",
            "Inbound streams that have not authenticated yet",
            self.gossip_comm_unauthenticated,
        );
        page.gauge(
            "gossip_comm_queued_messages",
            "Messages accepted and not yet written",
            self.gossip_comm_queued_messages,
        );
        page.gauge("gossip_comm_queued_bytes", "Bytes of messages not yet written", self.gossip_comm_queued_bytes);
        page.gauge("gossip_comm_identities", "Identities known", self.gossip_comm_identities);
        page.gauge("gossip_comm_threads", "Threads of the communication layer", self.gossip_comm_threads);
        if let Some(seconds) = self.gossip_comm_identity_expires_in {
            page.gauge("gossip_comm_identity_expires_in_seconds", "Time until our own identity expires", seconds);
        }
        if let Some(seconds) = self.gossip_comm_tls_expires_in {
            page.gauge("gossip_comm_tls_expires_in_seconds", "Time until our TLS certificate expires", seconds);
        }
        page.head("gossip_comm_dropped_messages", "counter", "Messages dropped, by peer and reason");
        for drops in &self.drops {
            let peer = drops.peer.as_ref().map(ToString::to_string).unwrap_or_default();
            let (reason, count) = (drops.reason.as_str(), drops.count);
            let _ = writeln!(page.0, "gossip_comm_dropped_messages{{peer=\"{peer}\",reason=\"{reason}\"}} {count}");
        }
        page.0
    }
}

#[cfg(test)]
mod tests {
    use crate::crypto::PkiId;
    use crate::error::ErrorKind;
    use crate::metrics::{CommGauges, CommMetrics, DropReason, LiveHistogram, Refusal};
    use std::time::Duration;

    #[test]
    fn a_snapshot_reads_as_prometheus_wants_it() {
        let metrics = CommMetrics::default();
        metrics.dial_failed(ErrorKind::Unreachable);
        metrics.handshake_failed(ErrorKind::Signature);
        metrics.refused(Refusal::TooManyFromAddress);
        metrics.dropped(Some(&PkiId::from(&b"\x01\xab"[..])), DropReason::SendQueueFull, 3);
        let times = LiveHistogram::default();
        times.record(Duration::from_micros(200));
        let gauges = CommGauges {
            threads: 7,
            identity_expires_in: Some(-5),
            ack_round_trip: times.snapshot(),
            ..CommGauges::default()
        };
        let text = metrics.snapshot(gauges).to_prometheus();
        for line in [
            "# TYPE gossip_comm_messages_sent counter",
            "gossip_comm_overflow_count 3",
            "gossip_comm_dial_failures{reason=\"unreachable\"} 1",
            "gossip_comm_handshake_failures{reason=\"signature\"} 1",
            "gossip_comm_inbound_refusals{reason=\"too_many_from_address\"} 1",
            "gossip_comm_ack_round_trip_seconds_bucket{le=\"0.0001\"} 0",
            "gossip_comm_ack_round_trip_seconds_bucket{le=\"0.00025\"} 1",
            "gossip_comm_ack_round_trip_seconds_bucket{le=\"+Inf\"} 1",
            "gossip_comm_ack_round_trip_seconds_sum 0.0002",
            "gossip_comm_threads 7",
            "gossip_comm_identity_expires_in_seconds -5",
            "gossip_comm_dropped_messages{peer=\"01ab\",reason=\"send_queue_full\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("tls_expires"), "there is none");
        // Every sample has its type, once, before it.
        let mut typed = std::collections::HashSet::new();
        for line in text.lines() {
            match line.strip_prefix("# TYPE ").map(|l| l.split(' ').next().unwrap()) {
                Some(name) => assert!(typed.insert(name), "{name} twice"),
                None if line.starts_with('#') => {}
                None => {
                    let name = line.split(['{', ' ']).next().unwrap();
                    let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                    assert!(typed.contains(name) || family.is_some_and(|f| typed.contains(f)), "{line}");
                }
            }
        }
    }
}
