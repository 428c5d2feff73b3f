//! State shared by all parts of one Comm, and the common operations: queueing a message and reporting events.

use super::ack::AckTable;
use super::admission::Admission;
use super::conn_store::{ConnStore, Loss, Peer};
use super::connection::Connection;
use super::demux::Demux;
use super::event::{Event, EventStream};
use super::handshake::Handshaker;
use super::outbox::{Item, NotTaken, Taken};
use super::probation::Kept;
use super::received::ReceivedMessage;
use super::threads::{NoThread, Threads};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::config::CommConfig;
use crate::crypto::{PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{CommGauges, CommMetrics, CommSnapshot, DropReason};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::channel::select;
use crate::transport::{Server, StreamEnd, Transport};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

pub(super) struct Inner {
    pub config: CommConfig,
    pub clock: Arc<dyn Clock>,
    pub advisor: Arc<dyn SecurityAdvisor>,
    pub handshaker: Handshaker,
    pub transport: Arc<dyn Transport>,
    pub store: ConnStore,
    pub messages: Demux<ReceivedMessage>,
    pub events: EventStream,
    pub acks: Arc<AckTable>,
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
    /// Expiry time of our identity.
    pub identity_expires: Option<SystemTime>,
    pub generations: AtomicU64,
}

impl Inner {
    /// Queues a message for a peer, or writes it inline if nothing else is under way to the peer.
    pub fn push(self: &Arc<Self>, peer: &Arc<Peer>, item: Item) -> Result<(), (Item, NotTaken)> {
        match peer.outbox.push(item)? {
            Taken::Queued => {}
            Taken::Inline(item) => self.write_inline(peer, item),
        }
        Ok(())
    }

    fn write_inline(self: &Arc<Self>, peer: &Arc<Peer>, item: Item) {
        if let Some(conn) = peer.connection() {
            let Some(wire) = item.sending_on(&conn, &*self.clock) else {
                return peer.outbox.written(&item);
            };
            match conn.start_write(wire) {
                Ok(true) => {
                    self.count_written(&conn);
                    peer.outbox.written(&item);
                    return self.keep_written(peer, &conn, item);
                }
                Ok(false) => return peer.outbox.unfinished(item, conn),
                // The writer determines the reason.
                Err(_) => {}
            }
        }
        peer.outbox.unwritten(item);
    }

    /// Counts a message whose write is complete. Called before it is settled, so that a flush ends with all messages
    /// counted.
    pub fn count_written(&self, conn: &Connection) {
        self.metrics.messages_sent.fetch_add(1, Ordering::Relaxed);
        conn.count_written();
    }

    /// Keeps a written message for as long as the peer may refuse it.
    pub fn keep_written(&self, peer: &Peer, conn: &Connection, item: Item) {
        if conn.probation.is_open() {
            if self.clock.now().saturating_duration_since(conn.since) > self.config.conn_timeout {
                conn.probation.lapse();
            } else if let Err((item, refusal)) = conn.probation.keep(item) {
                let error = Error::new(refusal.kind(), refusal.message()).step("handshake");
                self.undelivered_after(true, peer, error, vec![item]);
            }
        }
    }

    /// Handles the end of a connection's stream, as detected by its reader or by a writer. `why` adds a reason to the
    /// end itself.
    pub fn connection_ended(&self, peer: &Peer, conn: &Connection, end: StreamEnd, why: Option<String>) {
        let reason = why.unwrap_or_else(|| end.to_string());
        let refused: Option<(String, Arc<Error>)> =
            end.refusal().filter(|text| conn.dialled && !conn.was_answered_with(text)).map(|text| {
                let endpoint = peer.remote().endpoint;
                let error = Arc::new(Error::new(ErrorKind::Refused, text).peer(&endpoint).step("handshake"));
                (endpoint, error)
            });
        // Messages written to a peer that then refused us are returned before those still queued for it.
        let (returned, unconfirmed) = match &refused {
            Some((_, error)) => {
                let returned = conn.probation.refuse(error);
                let beyond = returned.beyond;
                (returned, beyond)
            }
            None => {
                let was_new = conn.probation.lapse();
                (Kept::default(), if was_new && end.is_cancellation() { conn.written() } else { 0 })
            }
        };
        let mut returned = refused.as_ref().and_then(|(_, error)| {
            let error = Error::new(error.kind(), error.message()).step("handshake");
            self.settle(true, peer, error, returned.items)
        });
        if let Some((_, error)) = refused.as_ref().filter(|_| conn.probation.refusal().is_some()) {
            self.acks.refused(&conn.info.id, conn.since, error);
        }
        // Publish the event while the entry is locked, so that receivers find it before all events that follow from it.
        // Wake the receivers after that.
        let mut events = self.events.batch();
        let loss = self.store.ended(peer, conn, end, self.clock.now(), || {
            self.metrics.disconnects.fetch_add(1, Ordering::Relaxed);
            if let Some((endpoint, error)) = refused.clone() {
                self.metrics.refused_by_peer.fetch_add(1, Ordering::Relaxed);
                events.put(&Event::Refused { endpoint, pki_id: Some(conn.info.id.clone()), inbound: false, error });
            }
            events.put(&Event::Disconnected { info: conn.info.clone(), reason: reason.clone() });
            returned.take().iter().for_each(|returned| _ = events.put(returned));
        });
        returned.iter().for_each(|returned| _ = events.put(returned));
        if unconfirmed > 0 {
            events.put(&Event::Unconfirmed { info: conn.info.clone(), reason: reason.clone(), messages: unconfirmed });
        }
        drop(events);
        if let Some((_, error)) = &refused {
            let error = Error::new(error.kind(), error.message()).step("handshake");
            self.undelivered_after(true, peer, error, conn.probation.take_late());
        }
        if loss == Loss::None {
            return;
        }
        log::debug!("{} ({}): disconnected: {reason}", conn.info.endpoint, conn.info.id);
        if let Some((_, error)) = refused {
            log::warn!("refused by the peer: {error}");
        }
    }

    /// Reports that we gave up a connection without knowing whether the peer has read everything written to it.
    pub fn unconfirmed(&self, conn: &Connection, reason: &str) {
        let messages = conn.written();
        if messages > 0 && !conn.ended.is_cancelled() {
            self.tell(Event::Unconfirmed { info: conn.info.clone(), reason: reason.into(), messages });
        }
    }

    /// Reports accepted messages that will not be written.
    pub fn undelivered(&self, peer: &Peer, error: Error, items: Vec<Item>) {
        self.undelivered_after(false, peer, error, items);
    }

    fn undelivered_after(&self, written: bool, peer: &Peer, error: Error, items: Vec<Item>) {
        if let Some(event) = self.settle(written, peer, error, items) {
            self.tell(event);
        }
    }

    /// Passes the reason to the waiters of undelivered items, and returns the event to publish for the remaining items.
    fn settle(&self, written: bool, peer: &Peer, error: Error, items: Vec<Item>) -> Option<Event> {
        if items.is_empty() {
            return None;
        }
        let remote = peer.remote();
        let reason =
            |step| Error::new(error.kind(), error.message()).peer(&remote).step(error.step_name().unwrap_or(step));
        let mut messages = Vec::new();
        for item in items {
            match item {
                // A connection can end before it is known that the last message was written, while its acknowledgement
                // has already arrived.
                Item::Message { tracker: Some(tracker), message } => {
                    if tracker.undelivered(reason("send")) {
                        messages.push(message);
                    } else if !written {
                        self.metrics.messages_sent.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Item::Message { tracker: None, message } => messages.push(message),
                Item::Greeting(greeting) => greeting.tell(Err(reason("connect"))),
            }
        }
        if messages.is_empty() {
            return None;
        }
        self.metrics.dropped(remote.pki_id.as_ref(), DropReason::Undelivered, messages.len() as u64);
        log::warn!("{} messages undelivered: {error}", messages.len());
        Some(Event::Undelivered { peer: remote, error: Arc::new(error), messages, written })
    }

    pub fn presume_dead(&self, pki_id: Option<PkiId>) {
        if let Some(pki_id) = pki_id {
            log::info!("{pki_id}: presumed dead");
            self.tell(Event::PresumedDead { pki_id });
        }
    }

    /// Starts a thread of this Comm. Logs and reports the first failure in a while.
    pub fn spawn(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<()> {
        self.threads.spawn(name, run).map_err(|NoThread { error, tried }| {
            if tried {
                log::error!("{error}");
                let error = Arc::new(Error::new(error.kind(), error.message()));
                self.tell(Event::OutOfThreads { error });
            }
            error
        })
    }

    pub fn tell(&self, event: Event) {
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

    /// Stops everything; see [`Comm::stop`](super::Comm::stop). `server` is the server that accepts for us, if any.
    pub fn stop(&self, server: Option<Box<dyn Server>>) {
        self.stopping.cancel();
        let peers = self.store.close_all();
        peers.iter().for_each(|peer| peer.close(false));
        // A reader that waits for room in a subscription continues, to read the rest of the other side's messages.
        self.messages.close();
        let limit = self.clock.after(self.config.conn_timeout);
        for peer in &peers {
            select! {
                recv(peer.done.signal()) -> _ => {}
                recv(limit) -> _ => break,
            }
        }
        // Everything that has not ended yet is cancelled.
        self.cut.cancel();
        self.store.open.cancel_all();
        if let Some(server) = server {
            if !server.stop(self.config.conn_timeout) {
                log::warn!("stop: some connections did not end in time and were cut off");
            }
        }
        self.threads.join();
        if self.owns_mapper {
            self.handshaker.mapper.stop();
        }
        self.events.close();
    }
}
