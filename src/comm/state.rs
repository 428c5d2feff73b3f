//! State shared by all parts of one `Comm`.

use super::ack::AckTable;
use super::admission::Admission;
use super::conn_store::ConnStore;
use super::demux::Demux;
use super::event::{Event, EventStream};
use super::handshake::Handshaker;
use super::outbox::Recent;
use super::received::ReceivedMessage;
use super::threads::{NoThread, Threads};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::CommConfig;
use crate::crypto::SecurityAdvisor;
use crate::error::{Error, Result};
use crate::metrics::{CommGauges, CommMetrics, CommSnapshot};
use crate::spin::Spin;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::transport::Transport;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) struct CommState {
    pub config: CommConfig,
    pub clock: Arc<dyn Clock>,
    pub advisor: Arc<dyn SecurityAdvisor>,
    pub handshaker: Handshaker,
    pub transport: Arc<dyn Transport>,
    pub store: ConnStore,
    pub recent: Recent,
    pub messages: Demux<ReceivedMessage>,
    pub events: EventStream,
    pub acks: Arc<AckTable>,
    /// For a caller that waits for acknowledgements.
    pub ack_spin: Spin,
    pub metrics: CommMetrics,
    pub threads: Threads,
    /// Whether the mapper is not shared and so stops with this Comm.
    pub owns_mapper: bool,
    /// Set when stopping: nothing more is accepted, sent or dialled.
    pub stopping: Cancel,
    /// Set when the time for stopping has passed: all waits end.
    pub cut: Cancel,
    /// Admission of inbound streams.
    pub admission: Admission,
    /// Expiry time of our own identity.
    pub identity_expires: Option<SystemTime>,
    pub generations: AtomicU64,
}

impl CommState {
    /// Starts a thread of this Comm. Logs and reports the first failure in a while.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        self.threads.spawn(name, run).map_err(|NoThread { error, tried }| {
            if tried {
                log::error!("{error}");
                let error = Arc::new(Error::new(error.kind(), error.message()));
                self.publish(Event::OutOfThreads { error });
            }
            error
        })
    }

    pub fn publish(&self, event: Event) {
        self.events.publish(&event);
    }

    /// Returns the instant after `timeout`, limited to what the clock can represent.
    pub fn deadline(&self, timeout: Duration) -> Instant {
        const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);
        self.clock.now() + timeout.min(FAR)
    }

    pub fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Returns the counters, and the values determined at the time of the call.
    pub fn snapshot(&self) -> CommSnapshot {
        let peers = self.store.peers();
        let (inbound, unauthenticated) = self.admission.streams();
        let wall = self.clock.wall();
        let seconds = |at: SystemTime| match at.duration_since(wall) {
            Ok(left) => i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            Err(e) => i64::try_from(e.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
        };
        self.metrics.snapshot(CommGauges {
            connections: self.store.connections().len(),
            unauthenticated,
            queued_messages: peers.iter().map(|peer| peer.outbox.owed()).sum(),
            queued_bytes: peers.iter().map(|peer| peer.outbox.owed_bytes()).sum(),
            identities: self.handshaker.mapper.count(),
            threads: self.threads.running() + inbound,
            identity_expires_in: self.identity_expires.map(seconds),
            ack_round_trip: self.acks.round_trips(),
            tls_expires_in: self.transport.certificate_expires().map(seconds),
        })
    }
}
