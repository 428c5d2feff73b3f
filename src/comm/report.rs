//! Reports the end of connections and the messages that were not delivered.

use super::conn_store::Loss;
use super::connection::Connection;
use super::event::Event;
use super::outbox::Item;
use super::peer_entry::PeerEntry;
use super::probation::Kept;
use super::state::CommState;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind};
use crate::metrics::DropReason;
use crate::sync::atomic::Ordering;
use crate::transport::StreamEnd;
use std::sync::Arc;

impl CommState {
    /// Handles the end of a connection's stream, as detected by its reader or by a writer. `why` adds a reason to the
    /// end itself.
    pub fn connection_ended(&self, peer: &PeerEntry, conn: &Connection, end: StreamEnd, why: Option<String>) {
        let reason = why.unwrap_or_else(|| end.to_string());
        let refused: Option<(String, Arc<Error>)> =
            end.refusal().filter(|text| conn.dialled && !conn.was_answered_with(text)).map(|text| {
                let endpoint = peer.remote().endpoint;
                let error = Arc::new(Error::new(ErrorKind::Refused, text).with_peer(&endpoint).with_step("handshake"));
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
            let error = Error::new(error.kind(), error.message()).with_step("handshake");
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
            returned.take().iter().for_each(|returned| events.put(returned));
        });
        returned.iter().for_each(|returned| events.put(returned));
        if unconfirmed > 0 {
            events.put(&Event::Unconfirmed { info: conn.info.clone(), reason: reason.clone(), messages: unconfirmed });
        }
        drop(events);
        if let Some((_, error)) = &refused {
            let error = Error::new(error.kind(), error.message()).with_step("handshake");
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
            self.publish(Event::Unconfirmed { info: conn.info.clone(), reason: reason.into(), messages });
        }
    }

    /// Reports accepted messages that will not be written.
    pub fn undelivered(&self, peer: &PeerEntry, error: Error, items: Vec<Item>) {
        self.undelivered_after(false, peer, error, items);
    }

    pub(super) fn undelivered_after(&self, written: bool, peer: &PeerEntry, error: Error, items: Vec<Item>) {
        if let Some(event) = self.settle(written, peer, error, items) {
            self.publish(event);
        }
    }

    /// Passes the reason to the waiters of undelivered items, and returns the event to publish for the remaining items.
    fn settle(&self, written: bool, peer: &PeerEntry, error: Error, items: Vec<Item>) -> Option<Event> {
        if items.is_empty() {
            return None;
        }
        let remote = peer.remote();
        let reason =
            |step| Error::new(error.kind(), error.message()).with_peer(&remote).with_step(error.step().unwrap_or(step));
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
        let what = if messages.len() == 1 { "1 message".into() } else { format!("{} messages", messages.len()) };
        log::warn!("{what} undelivered: {error}");
        Some(Event::Undelivered { peer: remote, error: Arc::new(error), messages, written })
    }

    pub fn presume_dead(&self, pki_id: Option<PkiId>) {
        if let Some(pki_id) = pki_id {
            log::info!("{pki_id}: presumed dead");
            self.publish(Event::PresumedDead { pki_id });
        }
    }
}
