//! Counters and gauges, under Fabric's names where Fabric has the same metric.
//!
//! [`Comm::metrics`](crate::Comm::metrics) returns a [`CommSnapshot`]: [`samples`](CommSnapshot::samples) returns its
//! values, and [`to_prometheus`](CommSnapshot::to_prometheus) returns the text for Prometheus. [`all`] lists the
//! metrics. Counting takes no lock, except for drops, which are counted by peer.

mod histogram;
mod samples;
pub(crate) mod table;

pub use histogram::Histogram;
pub(crate) use histogram::LiveHistogram;
pub use table::{all, Kind, Metric, Sample};

use crate::crypto::PkiId;
use crate::error::ErrorKind;
use crate::sync::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Maximum number of peers with separate drop counts. Further peers are counted together, so that a flood of names uses
/// no memory.
const MAX_LABELS: usize = 1024;

/// The reason why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue to the peer was full; the message was returned to the caller.
    SendQueueFull,
    /// It was accepted for the peer and later reported undelivered.
    Undelivered,
    /// A subscription was full.
    SubscriptionFull,
}

impl DropReason {
    /// Returns the reason as a metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::SendQueueFull => "send_queue_full",
            DropReason::Undelivered => "undelivered",
            DropReason::SubscriptionFull => "subscription_full",
        }
    }
}

/// The limit that rejected an inbound stream. (A failed authentication is counted as a failed handshake instead.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Refusal {
    /// `max_unauthenticated`.
    TooManyUnauthenticated,
    /// `max_connections_per_address`.
    TooManyFromAddress,
    /// `max_streams_per_identity`.
    TooManyOfIdentity,
    /// `max_connections`.
    TooManyConnections,
    /// We are stopping.
    Stopping,
    /// No writer thread could be started.
    NoThread,
}

impl Refusal {
    const ALL: [Refusal; 6] = [
        Refusal::TooManyUnauthenticated,
        Refusal::TooManyFromAddress,
        Refusal::TooManyOfIdentity,
        Refusal::TooManyConnections,
        Refusal::Stopping,
        Refusal::NoThread,
    ];

    /// Returns the limit as a metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            Refusal::TooManyUnauthenticated => "too_many_unauthenticated",
            Refusal::TooManyFromAddress => "too_many_from_address",
            Refusal::TooManyOfIdentity => "too_many_of_identity",
            Refusal::TooManyConnections => "too_many_connections",
            Refusal::Stopping => "stopping",
            Refusal::NoThread => "no_thread",
        }
    }
}

/// A counter for each of a few reasons.
pub(crate) struct ByReason<const N: usize>([AtomicU64; N]);

impl<const N: usize> Default for ByReason<N> {
    fn default() -> Self {
        ByReason(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl<const N: usize> ByReason<N> {
    fn add(&self, place: usize) {
        // Every reason has an index; an unknown one would be counted with the last.
        self.0[place.min(N - 1)].fetch_add(1, Ordering::Relaxed);
    }

    fn snapshot<R: Copy>(&self, reasons: [R; N]) -> Vec<(R, u64)> {
        let counts = reasons.into_iter().zip(&self.0).map(|(reason, count)| (reason, count.load(Ordering::Relaxed)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// Live counters of the communication layer.
#[derive(Default)]
pub(crate) struct CommMetrics {
    pub messages_sent: AtomicU64,
    pub messages_received: AtomicU64,
    pub overflow: AtomicU64,
    pub dials: AtomicU64,
    pub handshakes: AtomicU64,
    pub reconnects: AtomicU64,
    pub disconnects: AtomicU64,
    pub refused_by_peer: AtomicU64,
    dial_failures: ByReason<{ ErrorKind::ALL.len() }>,
    handshake_failures: ByReason<{ ErrorKind::ALL.len() }>,
    inbound_refusals: ByReason<{ Refusal::ALL.len() }>,
    drops: Mutex<HashMap<(Option<PkiId>, DropReason), u64>>,
}

impl CommMetrics {
    pub fn dial_failed(&self, kind: ErrorKind) {
        self.dial_failures.add(kind as usize);
    }

    pub fn handshake_failed(&self, kind: ErrorKind) {
        self.handshake_failures.add(kind as usize);
    }

    pub fn refused(&self, refusal: Refusal) {
        self.inbound_refusals.add(refusal as usize);
    }

    pub fn dropped(&self, peer: Option<&PkiId>, reason: DropReason, count: u64) {
        if reason == DropReason::SendQueueFull {
            self.overflow.fetch_add(count, Ordering::Relaxed);
        }
        let mut drops = self.drops.lock();
        let mut key = (peer.cloned(), reason);
        if drops.len() >= MAX_LABELS && !drops.contains_key(&key) {
            key.0 = None;
        }
        *drops.entry(key).or_default() += count;
    }

    pub fn snapshot(&self, gauges: CommGauges) -> CommSnapshot {
        fn total<R>(by_reason: &[(R, u64)]) -> u64 {
            by_reason.iter().map(|(_, count)| count).sum()
        }
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut drops: Vec<_> = self
            .drops
            .lock()
            .iter()
            .map(|((peer, reason), n)| Drops { peer: peer.clone(), reason: *reason, count: *n })
            .collect();
        drops.sort_by(|a, b| (&a.peer, a.reason).cmp(&(&b.peer, b.reason)));
        let dial_failures = self.dial_failures.snapshot(ErrorKind::ALL);
        let handshake_failures = self.handshake_failures.snapshot(ErrorKind::ALL);
        let inbound_refusals = self.inbound_refusals.snapshot(Refusal::ALL);
        CommSnapshot {
            gossip_comm_messages_sent: read(&self.messages_sent),
            gossip_comm_messages_received: read(&self.messages_received),
            gossip_comm_overflow_count: read(&self.overflow),
            gossip_comm_dials: read(&self.dials),
            gossip_comm_dial_failures: total(&dial_failures),
            gossip_comm_handshakes: read(&self.handshakes),
            gossip_comm_handshake_failures: total(&handshake_failures),
            gossip_comm_inbound_refusals: total(&inbound_refusals),
            gossip_comm_refused_by_peer: read(&self.refused_by_peer),
            gossip_comm_reconnects: read(&self.reconnects),
            gossip_comm_disconnects: read(&self.disconnects),
            gossip_comm_ack_round_trip: gauges.ack_round_trip,
            gossip_comm_connections: gauges.connections as u64,
            gossip_comm_unauthenticated: gauges.unauthenticated as u64,
            gossip_comm_queued_messages: gauges.queued_messages as u64,
            gossip_comm_queued_bytes: gauges.queued_bytes as u64,
            gossip_comm_identities: gauges.identities as u64,
            gossip_comm_threads: gauges.threads as u64,
            gossip_comm_identity_expires_in: gauges.identity_expires_in,
            gossip_comm_tls_expires_in: gauges.tls_expires_in,
            dial_failures,
            handshake_failures,
            inbound_refusals,
            drops,
        }
    }
}

/// Values that are read on demand instead of counted.
#[derive(Default)]
pub(crate) struct CommGauges {
    pub connections: usize,
    pub unauthenticated: usize,
    pub queued_messages: usize,
    pub queued_bytes: usize,
    pub identities: usize,
    pub threads: usize,
    pub identity_expires_in: Option<i64>,
    pub tls_expires_in: Option<i64>,
    pub ack_round_trip: Histogram,
}

/// A snapshot of the counters; fields that begin with `gossip_` have the names of their metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommSnapshot {
    /// Messages written to streams (Fabric's). Handshake messages are not counted.
    pub gossip_comm_messages_sent: u64,
    /// Envelopes read from streams, including malformed ones (Fabric's).
    pub gossip_comm_messages_received: u64,
    /// Messages not accepted because a peer's queue was full (Fabric's).
    pub gossip_comm_overflow_count: u64,
    /// Connection attempts for sends.
    pub gossip_comm_dials: u64,
    /// Failed connection attempts, at any step up to the handshake.
    pub gossip_comm_dial_failures: u64,
    /// Successful handshakes, outbound and inbound.
    pub gossip_comm_handshakes: u64,
    /// Inbound streams that failed to authenticate.
    pub gossip_comm_handshake_failures: u64,
    /// Inbound streams rejected by a limit.
    pub gossip_comm_inbound_refusals: u64,
    /// Connections that a peer ended with an error after we had authenticated it, that is, refused.
    pub gossip_comm_refused_by_peer: u64,
    /// Dials of a peer whose connection had ended, because messages were pending or the connection was lost.
    pub gossip_comm_reconnects: u64,
    /// Connections that ended and left the peer disconnected.
    pub gossip_comm_disconnects: u64,
    /// Time from writing a message to its acknowledgement. Refusals (nacks) count too.
    pub gossip_comm_ack_round_trip: Histogram,
    /// Number of currently connected peers.
    pub gossip_comm_connections: u64,
    /// Inbound streams that have not authenticated yet.
    pub gossip_comm_unauthenticated: u64,
    /// Messages accepted for peers and not yet written or reported.
    pub gossip_comm_queued_messages: u64,
    /// Their bytes.
    pub gossip_comm_queued_bytes: u64,
    /// Identities known, our own included.
    pub gossip_comm_identities: u64,
    /// Threads that read and write connections, dial, and serve inbound streams.
    pub gossip_comm_threads: u64,
    /// Seconds until our own identity expires; negative once it has, `None` if it never does.
    pub gossip_comm_identity_expires_in: Option<i64>,
    /// Seconds until our TLS certificate expires (of two, the earlier one); `None` without our own TLS certificate.
    pub gossip_comm_tls_expires_in: Option<i64>,
    /// Failed dials by kind of error; kinds that have not occurred are omitted.
    pub dial_failures: Vec<(ErrorKind, u64)>,
    /// Failed inbound handshakes by kind of error; kinds that have not occurred are omitted.
    pub handshake_failures: Vec<(ErrorKind, u64)>,
    /// Rejected inbound streams by limit; limits that have not been hit are omitted.
    pub inbound_refusals: Vec<(Refusal, u64)>,
    /// Drops, sorted by peer and reason.
    pub drops: Vec<Drops>,
}

/// Number of messages dropped for one peer and one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops {
    /// The peer; `None` if it is unknown, and for all peers beyond the first thousand.
    pub peer: Option<PkiId>,
    /// The reason.
    pub reason: DropReason,
    /// Number of messages.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_stands_at_its_place() {
        Refusal::ALL.iter().enumerate().for_each(|(place, refusal)| assert_eq!(*refusal as usize, place));
    }

    #[test]
    fn a_flood_of_names_is_counted_together() {
        let metrics = CommMetrics::default();
        for n in 0..2 * MAX_LABELS {
            metrics.dropped(Some(&PkiId::from(n.to_string().as_bytes())), DropReason::Undelivered, 1);
        }
        let drops = metrics.snapshot(CommGauges::default()).drops;
        assert_eq!(drops.len(), MAX_LABELS + 1);
        assert_eq!((&drops[0].peer, drops[0].count), (&None, MAX_LABELS as u64));
    }
}
