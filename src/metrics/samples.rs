//! The samples of a snapshot of the communication layer.

use super::table::{self, Sample, Samples};
use super::CommSnapshot;

impl CommSnapshot {
    /// Returns all values, in the order of the [table](super::all). Totals that are split by reason are samples with
    /// the label `reason`; drops also have the label `peer`, the PKI-ID in hexadecimal.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Samples::default();
        samples.add(&table::MESSAGES_SENT, self.gossip_comm_messages_sent);
        samples.add(&table::MESSAGES_RECEIVED, self.gossip_comm_messages_received);
        samples.add(&table::OVERFLOW_COUNT, self.gossip_comm_overflow_count);
        samples.add(&table::DIALS, self.gossip_comm_dials);
        for (kind, count) in &self.dial_failures {
            samples.add_labelled(&table::DIAL_FAILURES, &[kind.as_str()], *count);
        }
        samples.add(&table::HANDSHAKES, self.gossip_comm_handshakes);
        for (kind, count) in &self.handshake_failures {
            samples.add_labelled(&table::HANDSHAKE_FAILURES, &[kind.as_str()], *count);
        }
        for (refusal, count) in &self.inbound_refusals {
            samples.add_labelled(&table::INBOUND_REFUSALS, &[refusal.as_str()], *count);
        }
        samples.add(&table::REFUSED_BY_PEER, self.gossip_comm_refused_by_peer);
        samples.add(&table::RECONNECTS, self.gossip_comm_reconnects);
        samples.add(&table::DISCONNECTS, self.gossip_comm_disconnects);
        samples.add_histogram(&table::ACK_ROUND_TRIP, &self.gossip_comm_ack_round_trip);
        samples.add(&table::CONNECTIONS, self.gossip_comm_connections);
        samples.add(&table::UNAUTHENTICATED, self.gossip_comm_unauthenticated);
        samples.add(&table::QUEUED_MESSAGES, self.gossip_comm_queued_messages);
        samples.add(&table::QUEUED_BYTES, self.gossip_comm_queued_bytes);
        samples.add(&table::IDENTITIES, self.gossip_comm_identities);
        samples.add(&table::THREADS, self.gossip_comm_threads);
        if let Some(seconds) = self.gossip_comm_identity_expires_in {
            samples.add(&table::IDENTITY_EXPIRES_IN, seconds);
        }
        if let Some(seconds) = self.gossip_comm_tls_expires_in {
            samples.add(&table::TLS_EXPIRES_IN, seconds);
        }
        for drops in &self.drops {
            let peer = drops.peer.as_ref().map(ToString::to_string).unwrap_or_default();
            samples.add_labelled(&table::DROPPED_MESSAGES, &[&peer, drops.reason.as_str()], drops.count);
        }
        samples.0
    }

    /// Returns the [samples](Self::samples) in Prometheus' text format, version 0.0.4. The host must provide the HTTP
    /// server.
    pub fn to_prometheus(&self) -> String {
        table::prometheus(table::COMM.iter().copied(), &self.samples())
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
        // Each sample's type must appear exactly once, before it.
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
