//! Counters, under Fabric's names where Fabric counts the same.

use crate::crypto::PkiId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

/// Peers that drops are told apart for; those beyond are counted together, so that a flood of names costs nothing.
const MAX_LABELS: usize = 1024;

/// Why a message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DropReason {
    /// The queue to the peer was full; the caller got the message back.
    SendQueueFull,
    /// It had been accepted for the peer and was reported undelivered.
    Undelivered,
    /// A subscription was full.
    SubscriptionFull,
}

impl DropReason {
    /// As a metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            DropReason::SendQueueFull => "send_queue_full",
            DropReason::Undelivered => "undelivered",
            DropReason::SubscriptionFull => "subscription_full",
        }
    }
}

/// Live counters of the communication layer.
#[derive(Default)]
pub(crate) struct CommMetrics {
    pub messages_sent: AtomicU64,
    pub messages_received: AtomicU64,
    pub overflow: AtomicU64,
    pub dials: AtomicU64,
    pub dial_failures: AtomicU64,
    pub handshakes: AtomicU64,
    pub handshake_failures: AtomicU64,
    drops: Mutex<HashMap<(Option<PkiId>, DropReason), u64>>,
}

impl CommMetrics {
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

    pub fn snapshot(&self, connections: usize) -> CommSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut drops: Vec<_> = self
            .drops
            .lock()
            .iter()
            .map(|((peer, reason), n)| Drops { peer: peer.clone(), reason: *reason, count: *n })
            .collect();
        drops.sort_by(|a, b| (&a.peer, a.reason).cmp(&(&b.peer, b.reason)));
        CommSnapshot {
            gossip_comm_messages_sent: read(&self.messages_sent),
            gossip_comm_messages_received: read(&self.messages_received),
            gossip_comm_overflow_count: read(&self.overflow),
            gossip_comm_dials: read(&self.dials),
            gossip_comm_dial_failures: read(&self.dial_failures),
            gossip_comm_handshakes: read(&self.handshakes),
            gossip_comm_handshake_failures: read(&self.handshake_failures),
            gossip_comm_connections: connections as u64,
            drops,
        }
    }
}

/// The counters at one moment; the fields are the metrics' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CommSnapshot {
    /// Messages written to streams (Fabric's). Handshake messages are not counted.
    pub gossip_comm_messages_sent: u64,
    /// Envelopes read from streams, malformed ones too (Fabric's).
    pub gossip_comm_messages_received: u64,
    /// Messages not accepted because a peer's queue was full (Fabric's).
    pub gossip_comm_overflow_count: u64,
    /// Connections tried for sends.
    pub gossip_comm_dials: u64,
    /// Those that failed, at any step up to the handshake.
    pub gossip_comm_dial_failures: u64,
    /// Handshakes that authenticated the other side, dialled and accepted.
    pub gossip_comm_handshakes: u64,
    /// Inbound streams that failed to authenticate.
    pub gossip_comm_handshake_failures: u64,
    /// Peers connected now.
    pub gossip_comm_connections: u64,
    /// Drops by peer and reason, in that order.
    pub drops: Vec<Drops>,
}

/// How many messages were dropped for one peer, for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops {
    /// The peer; `None` where it is not known, and for all peers beyond the first thousand.
    pub peer: Option<PkiId>,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub count: u64,
}
