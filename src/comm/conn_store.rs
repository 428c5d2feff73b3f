//! The table of peers: maps a peer to its entry, and the entry to the stream it writes to.
//!
//! This module only decides: nothing here blocks, dials, or calls out. An entry is found by PKI-ID if it is known, and
//! otherwise by endpoint. It is renamed or merged when its peer authenticates. It loses a connection only to the end of
//! that connection (compared by generation) or to the rules for a second stream.
//!
//! Each peer has one stream, under all its names: a peer keeps only the last stream that we dialled, and discards what
//! it has not read from the previous one. A dial therefore learns which peer answers before it sends our connection
//! message, and then calls [`ConnStore::claim`]. If another entry already belongs to that peer, the dial is abandoned,
//! and its queued messages and its name move to that entry, in order.
//!
//! An entry is in the table only while its writer thread runs, and a connection is in [`Open`] only while its reader
//! runs.
//!
//! Lock order: the table, then one peer's link, then its outbox. None of these locks is held across I/O or a callback
//! (publishing an event is neither).

use super::connection::Connection;
use super::outbox::{Item, Outbox};
use super::peer_entry::{Ended, Link, PeerEntry};
use super::RemotePeer;
use crate::cancel::Cancel;
use crate::crypto::PkiId;
use crate::error::{Error, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
#[cfg(feature = "testing")]
use crate::testing::live::Live;
use crate::transport::{InlineWrites, StreamEnd};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(super) struct ConnStore {
    table: RwLock<Table>,
    limits: Limits,
    pub open: Open,
    #[cfg(feature = "testing")]
    _live: Live,
}

/// All connections with a running reader.
#[derive(Default)]
pub(super) struct Open(Mutex<OpenConnections>);

#[derive(Default)]
struct OpenConnections {
    by_generation: HashMap<u64, Arc<Connection>>,
    /// Set when stopping: connections added from then on are cancelled.
    cancelled: bool,
}

impl Open {
    /// Adds a connection; its reader removes it.
    pub fn add(&self, conn: &Arc<Connection>) {
        let cancelled = {
            let mut open = self.0.lock();
            open.by_generation.insert(conn.generation, conn.clone());
            open.cancelled
        };
        if cancelled {
            conn.stream.cancel();
        }
    }

    pub fn remove(&self, conn: &Connection) {
        let removed = self.0.lock().by_generation.remove(&conn.generation);
        drop(removed);
    }

    /// Cancels every connection, including those added later.
    pub fn cancel_all(&self) {
        let all: Vec<_> = {
            let mut open = self.0.lock();
            open.cancelled = true;
            open.by_generation.values().cloned().collect()
        };
        all.iter().for_each(|conn| conn.stream.cancel());
    }

    #[cfg(feature = "testing")]
    pub fn count(&self) -> usize {
        self.0.lock().by_generation.len()
    }
}

#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Time after sending our connection message within which an inbound stream of the same peer is a simultaneous
    /// dial.
    pub conn_timeout: Duration,
    pub max_peers: usize,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub inline_writes: InlineWrites,
}

#[derive(Default)]
struct Table {
    closing: bool,
    by_pki_id: HashMap<PkiId, Arc<PeerEntry>>,
    by_endpoint: HashMap<String, Arc<PeerEntry>>,
    /// Number of entries: most have two names.
    count: usize,
    /// Entries that were closed by name and still write their queued messages.
    leaving: Vec<Weak<PeerEntry>>,
}

/// Outcome of a dial once it is known which peer answers.
pub(super) enum Claim {
    /// The answering peer belongs to this entry: our connection message may be sent.
    Granted,
    /// The answering peer belongs to another entry, which has taken over everything from this one. The dial and the
    /// entry have ended.
    Joined,
    /// A connection to that peer is being closed. The dial may be repeated once this is set.
    Later(Cancel),
    /// The store or the entry is closing, or already has a stream of the peer. Or an unexpected peer answers, and the
    /// expected one has connected by itself meanwhile.
    Unwanted,
}

/// Placement of an authenticated stream.
pub(super) enum Installed {
    /// It is now the peer's connection. `fresh`: the peer had none before.
    Current { peer: Arc<PeerEntry>, fresh: bool, displaced: Option<Arc<Connection>> },
    /// It is read in addition to our own stream.
    Spare { peer: Arc<PeerEntry>, displaced: Option<Arc<Connection>> },
    /// It was not placed: see [`Claim::Unwanted`].
    Unwanted,
    /// There is no room for another peer.
    Full,
}

/// Effect of the end of a connection's stream on its peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It was not, or no longer, the stream that is written to; or another took its place.
    None,
    /// The peer is disconnected.
    Disconnected,
}

impl ConnStore {
    pub fn new(limits: Limits) -> Self {
        ConnStore {
            table: RwLock::default(),
            limits,
            open: Open::default(),
            #[cfg(feature = "testing")]
            _live: Live::new("comm"),
        }
    }

    /// Returns the entry for a peer. If there is none, creates one; `start` starts its writer before any thread can
    /// find the entry.
    pub fn entry(
        &self,
        to: &RemotePeer,
        start: impl FnOnce(&Arc<PeerEntry>) -> Result<()>,
    ) -> Result<Arc<PeerEntry>, Refusal> {
        {
            let table = self.table.read();
            if let Some(peer) = table.find(to) {
                peer.learn_endpoint(to);
                return Ok(peer.clone());
            }
            table.has_room(&self.limits)?;
        }
        let peer = self.new_peer(Link {
            pki_id: to.pki_id.clone(),
            endpoint: Some(to.endpoint.clone()).filter(|e| !e.is_empty()),
            ..Link::default()
        });
        start(&peer).map_err(Refusal::NoThread)?;
        let found = self.insert(to, &peer);
        if !matches!(&found, Ok(found) if Arc::ptr_eq(found, &peer)) {
            // No other thread knows it, so its writer has nothing to do.
            peer.close(false);
        }
        found
    }

    /// Inserts an entry, unless one exists by now; then returns the existing one.
    fn insert(&self, to: &RemotePeer, peer: &Arc<PeerEntry>) -> Result<Arc<PeerEntry>, Refusal> {
        let mut table = self.table.write();
        if let Some(other) = table.find(to) {
            other.learn_endpoint(to);
            return Ok(other.clone());
        }
        table.has_room(&self.limits)?;
        match &to.pki_id {
            Some(id) => table.by_pki_id.insert(id.clone(), peer.clone()),
            None => table.by_endpoint.insert(to.endpoint.clone(), peer.clone()),
        };
        table.count += 1;
        Ok(peer.clone())
    }

    fn new_peer(&self, link: Link) -> Arc<PeerEntry> {
        Arc::new(PeerEntry {
            outbox: Outbox::new(self.limits.queue_messages, self.limits.queue_bytes, self.limits.inline_writes),
            closing: Cancel::new(),
            done: Cancel::new(),
            link: Mutex::new(link),
            current: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            _live: Live::new("peer"),
        })
    }

    /// Installs an inbound stream that has authenticated. `start` starts the writer of a new entry.
    ///
    /// # Errors
    /// The error of `start`.
    pub fn accepted(
        &self,
        conn: &Arc<Connection>,
        start: impl FnOnce(&Arc<PeerEntry>) -> Result<()>,
    ) -> Result<Installed> {
        if let Some(installed) = self.accept(conn, None) {
            return Ok(installed);
        }
        let peer = self.new_peer(Link { pki_id: Some(conn.info.id.clone()), ..Link::default() });
        start(&peer)?;
        let installed = self.accept(conn, Some(&peer)).unwrap_or(Installed::Unwanted);
        match &installed {
            Installed::Current { peer: used, .. } if Arc::ptr_eq(used, &peer) => peer.outbox.wake(),
            // No other thread knows it, so its writer has nothing to do.
            _ => peer.close(false),
        }
        Ok(installed)
    }

    /// Returns `None` if there is no entry for the peer and no `new` one was given.
    fn accept(&self, conn: &Arc<Connection>, new: Option<&Arc<PeerEntry>>) -> Option<Installed> {
        let id = &conn.info.id;
        let mut table = self.table.write();
        if table.closing {
            return Some(Installed::Unwanted);
        }
        let known = table.by_pki_id.get(id).filter(|p| p.link.lock().is(id)).cloned();
        let Some(peer) = known else {
            if table.count >= self.limits.max_peers {
                return Some(Installed::Full);
            }
            let peer = new?.clone();
            peer.set_current(&mut peer.link.lock(), Some(conn.clone()));
            table.by_pki_id.insert(id.clone(), peer.clone());
            table.count += 1;
            return Some(Installed::Current { peer, fresh: true, displaced: None });
        };
        let mut link = peer.link.lock();
        let ours_since = match (&link.dial, &link.current) {
            (Some(dial), _) => dial.conn_sent,
            (None, Some(current)) if current.dialled => Some(current.since),
            _ => None,
        };
        // The other side keeps the stream that we dialled (Fabric's accepting side replaces its previous one), and so
        // do we.
        if ours_since.is_some_and(|since| conn.since.saturating_duration_since(since) <= self.limits.conn_timeout) {
            let displaced = link.spare.replace(conn.clone());
            drop(link);
            // Its writer must give up a stream later.
            peer.outbox.wake();
            return Some(Installed::Spare { peer, displaced });
        }
        if let Some(dial) = link.dial.take() {
            dial.cancel.cancel();
        }
        let displaced = peer.set_current(&mut link, Some(conn.clone()));
        drop(link);
        peer.outbox.wake();
        Some(Installed::Current { peer, fresh: displaced.is_none(), displaced })
    }

    /// Decides about the dial of `peer`, at which `id` answers. `hand` holds the messages taken by its writer.
    ///
    /// Must be called before our connection message is sent, at time `at`. This moment also classifies inbound streams:
    /// one that arrives before it ends the dial, and one that arrives after it is a simultaneous dial.
    pub fn claim(&self, peer: &Arc<PeerEntry>, id: &PkiId, hand: &mut VecDeque<Item>, at: Instant) -> Claim {
        let mut table = self.table.write();
        if table.closing || table.is_leaving(peer) || peer.has_inbound_of_another(id) {
            return Claim::Unwanted;
        }
        if let Some(leaving) = table.leaving.iter().filter_map(Weak::upgrade).find(|p| p.has_stream_of(id)) {
            return Claim::Later(leaving.done.clone());
        }
        if let Some(other) = table.entry_of(id, peer) {
            let endpoint = peer.link.lock().endpoint.clone();
            table.join(peer, &other, hand);
            if let Some(endpoint) = endpoint {
                other.found_at(endpoint);
            }
            return Claim::Joined;
        }
        let mut link = peer.link.lock();
        let Some(dial) = link.dial.as_mut().filter(|dial| !dial.cancel.is_cancelled()) else {
            return Claim::Unwanted;
        };
        dial.conn_sent = Some(at);
        link.pki_id = Some(id.clone());
        let endpoint = link.endpoint.clone();
        drop(link);
        table.name(peer, id, endpoint);
        Claim::Granted
    }

    /// Installs a stream that `peer` dialled and that has authenticated its other end.
    ///
    /// If our connection message was sent before it was known which peer answers, that peer may belong to another
    /// entry. The connection then belongs to that entry, and so does everything owed by this one, including its
    /// writer's `hand`. This happens before any thread can find the other entry by this entry's name, which preserves
    /// the order.
    pub fn dialled(&self, peer: &Arc<PeerEntry>, conn: &Arc<Connection>, hand: &mut VecDeque<Item>) -> Installed {
        let id = &conn.info.id;
        let mut table = self.table.write();
        if table.closing || table.is_leaving(peer) || peer.has_inbound_of_another(id) {
            return Installed::Unwanted;
        }
        if let Some(other) = table.entry_of(id, peer) {
            let (fresh, displaced) = replace_by_dialled(&other, conn);
            // Everything is sent on one stream, the one that is written to from now on.
            table.join(peer, &other, hand);
            return Installed::Current { peer: other, fresh, displaced };
        }
        let endpoint = peer.link.lock().endpoint.clone();
        table.name(peer, id, endpoint);
        let (fresh, displaced) = replace_by_dialled(peer, conn);
        Installed::Current { peer: peer.clone(), fresh, displaced }
    }

    /// Handles the end of a connection's stream. If it disconnects the peer, calls `tell` before any thread can act on
    /// the disconnection, so that this report precedes theirs. `tell` must neither block nor call this store.
    pub fn ended(
        &self,
        peer: &PeerEntry,
        conn: &Connection,
        end: StreamEnd,
        now: Instant,
        tell: impl FnOnce(),
    ) -> Loss {
        let mut link = peer.link.lock();
        if link.spare.as_ref().is_some_and(|c| c.generation == conn.generation) {
            link.spare = None;
        }
        if link.current.as_ref().is_none_or(|c| c.generation != conn.generation) {
            return Loss::None;
        }
        let spare = link.spare.take();
        let replaced = spare.is_some();
        peer.set_current(&mut link, spare);
        if !replaced {
            let lasted = now.saturating_duration_since(conn.since);
            link.ended = Some(Ended { end, dialled: conn.dialled, lasted });
            tell();
        }
        drop(link);
        peer.outbox.wake();
        if replaced {
            Loss::None
        } else {
            Loss::Disconnected
        }
    }

    /// Removes an entry, under all its names.
    pub fn remove(&self, peer: &Arc<PeerEntry>) {
        self.table.write().forget(peer);
    }

    /// Removes an entry that cannot be reached. Returns `false` if a stream of its peer has arrived meanwhile.
    pub fn remove_unless_connected(&self, peer: &Arc<PeerEntry>) -> bool {
        let mut table = self.table.write();
        let unconnected = peer.current.load(Ordering::SeqCst) == 0;
        if unconnected {
            table.forget(peer);
        }
        unconnected
    }

    /// Removes an entry if it owes nothing. Returns `false` if something has been queued for it.
    pub fn remove_if_settled(&self, peer: &Arc<PeerEntry>) -> bool {
        let mut table = self.table.write();
        let settled = peer.current.load(Ordering::SeqCst) == 0 && peer.outbox.close_if_settled();
        if settled {
            table.forget(peer);
        }
        settled
    }

    /// Removes an entry and makes it close after writing the messages still owed.
    pub fn close(&self, to: &RemotePeer) {
        let mut table = self.table.write();
        let Some(peer) = table.find(to).cloned() else { return };
        table.forget(&peer);
        table.leaving.retain(|p| p.strong_count() > 0);
        table.leaving.push(Arc::downgrade(&peer));
        drop(table);
        peer.close(true);
    }

    /// Closes the store and returns every entry, once.
    pub fn close_all(&self) -> Vec<Arc<PeerEntry>> {
        let mut table = self.table.write();
        table.closing = true;
        let peers = table.peers();
        table.by_pki_id.clear();
        table.by_endpoint.clear();
        table.count = 0;
        table.leaving.clear();
        peers
    }

    /// Returns every entry, once, including those that are leaving.
    pub fn peers(&self) -> Vec<Arc<PeerEntry>> {
        self.table.read().peers()
    }

    /// Returns the connections of all connected peers.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.table.read().named().iter().filter_map(|p| p.connection()).collect()
    }
}

/// Replaces a peer's connection by a stream that we dialled. Returns whether the peer had none, and the connection to
/// end.
fn replace_by_dialled(peer: &PeerEntry, conn: &Arc<Connection>) -> (bool, Option<Arc<Connection>>) {
    let mut link = peer.link.lock();
    link.pki_id = Some(conn.info.id.clone());
    link.dial = None;
    let old = peer.set_current(&mut link, Some(conn.clone()));
    let fresh = old.is_none();
    // An inbound stream is read until its dialler ends it; one that we dialled was already replaced at the other side.
    let displaced = match old {
        Some(old) if !old.dialled => link.spare.replace(old),
        old => old,
    };
    drop(link);
    peer.outbox.wake();
    (fresh, displaced)
}

/// Reason why there is no entry.
#[derive(Debug)]
pub(super) enum Refusal {
    Closing,
    Full,
    /// The writer could not be started.
    NoThread(Error),
}

impl Table {
    fn find(&self, to: &RemotePeer) -> Option<&Arc<PeerEntry>> {
        match &to.pki_id {
            Some(id) => self.by_pki_id.get(id),
            None => self.by_endpoint.get(&to.endpoint),
        }
    }

    fn has_room(&self, limits: &Limits) -> Result<(), Refusal> {
        match self.closing {
            true => Err(Refusal::Closing),
            false if self.count >= limits.max_peers => Err(Refusal::Full),
            false => Ok(()),
        }
    }

    fn is_leaving(&self, peer: &Arc<PeerEntry>) -> bool {
        self.leaving.iter().any(|p| p.as_ptr() == Arc::as_ptr(peer))
    }

    /// Returns the entry of a peer, if it is not `peer` itself.
    fn entry_of(&self, id: &PkiId, peer: &Arc<PeerEntry>) -> Option<Arc<PeerEntry>> {
        self.by_pki_id.get(id).filter(|p| !Arc::ptr_eq(p, peer) && p.link.lock().is(id)).cloned()
    }

    /// Names an entry after its peer. The name under which it was expected remains an alias.
    fn name(&mut self, peer: &Arc<PeerEntry>, id: &PkiId, endpoint: Option<String>) {
        self.by_pki_id.insert(id.clone(), peer.clone());
        if let Some(endpoint) = endpoint {
            // Another entry may have this endpoint without knowing its peer yet: it finds out by itself.
            self.by_endpoint.entry(endpoint).or_insert_with(|| peer.clone());
        }
    }

    /// Moves the names of an entry to `other`, with everything it owes, including its writer's `hand`. A message queued
    /// by a thread that finds `other` under one of these names is queued after those.
    fn join(&mut self, peer: &Arc<PeerEntry>, other: &Arc<PeerEntry>, hand: &mut VecDeque<Item>) {
        let endpoint = peer.link.lock().endpoint.clone();
        self.forget(peer);
        if let Some(endpoint) = endpoint {
            self.by_endpoint.entry(endpoint).or_insert_with(|| other.clone());
        }
        peer.outbox.move_into(&other.outbox, hand);
    }

    fn forget(&mut self, peer: &Arc<PeerEntry>) {
        let names = self.by_pki_id.len() + self.by_endpoint.len();
        self.by_pki_id.retain(|_, p| !Arc::ptr_eq(p, peer));
        self.by_endpoint.retain(|_, p| !Arc::ptr_eq(p, peer));
        if self.by_pki_id.len() + self.by_endpoint.len() < names {
            self.count -= 1;
        }
    }

    fn named(&self) -> Vec<Arc<PeerEntry>> {
        let mut peers: Vec<_> = self.by_pki_id.values().chain(self.by_endpoint.values()).cloned().collect();
        peers.sort_by_key(|p| Arc::as_ptr(p) as usize);
        peers.dedup_by(|a, b| Arc::ptr_eq(a, b));
        peers
    }

    fn peers(&self) -> Vec<Arc<PeerEntry>> {
        let mut peers = self.named();
        peers.extend(self.leaving.iter().filter_map(Weak::upgrade));
        peers
    }
}

#[cfg(test)]
mod tests;
