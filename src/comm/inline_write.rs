//! Queues a message for a peer, or writes it on the sender's own thread if nothing else is under way to the peer.

use super::connection::Connection;
use super::outbox::{Item, NotTaken, Taken};
use super::peer_entry::PeerEntry;
use super::state::CommState;
use crate::error::Error;
use crate::sync::atomic::Ordering;
use std::sync::Arc;

impl CommState {
    /// Queues a message for a peer, or writes it inline if nothing else is under way to the peer.
    pub fn push(self: &Arc<Self>, peer: &Arc<PeerEntry>, item: Item) -> Result<(), (Item, NotTaken)> {
        match peer.outbox.push(item, &self.recent)? {
            Taken::Queued => {}
            Taken::Inline(item) => {
                self.write_inline(peer, item);
                self.recent.touch();
            }
        }
        Ok(())
    }

    fn write_inline(self: &Arc<Self>, peer: &Arc<PeerEntry>, item: Item) {
        if let Some(conn) = peer.connection() {
            let Some(wire) = item.sending_on(&conn, &*self.clock) else {
                return peer.outbox.written(&item);
            };
            match conn.start_write(wire) {
                Ok(true) => {
                    self.count_written(&conn, 1);
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

    /// Counts messages whose write is complete. Called before they are settled, so that a flush ends with all messages
    /// counted.
    pub fn count_written(&self, conn: &Connection, messages: usize) {
        self.metrics.messages_sent.fetch_add(messages as u64, Ordering::Relaxed);
        conn.count_written(messages as u64);
    }

    /// Keeps a written message for as long as the peer may refuse it.
    pub fn keep_written(&self, peer: &PeerEntry, conn: &Connection, item: Item) {
        if conn.probation.is_open() {
            if self.clock.now().saturating_duration_since(conn.since) > self.config.conn_timeout {
                conn.probation.lapse();
            } else if let Err((item, refusal)) = conn.probation.keep(item) {
                let error = Error::new(refusal.kind(), refusal.message()).with_step("handshake");
                self.undelivered_after(true, peer, error, vec![item]);
            }
        }
    }
}
