//! The table of peers: which entry a message for a peer goes to, and which stream that entry writes to.
//!
//! Decisions only: nothing here blocks, dials, or calls out. An entry is found by PKI-ID where one is known and by endpoint
//! otherwise, is renamed or merged when its peer authenticates, and loses a connection only to that connection's own end
//! (compared by generation) or to the rules for a second stream.
//!
//! Lock order: the table, then one peer's link, then its outbox. None is held across I/O or a callback (telling an event
//! is neither).

use super::connection::Connection;
use super::outbox::{Item, Outbox};
use super::stream::StreamEnd;
use super::RemotePeer;
use crate::cancel::Cancel;
use crate::crypto::PkiId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

pub(super) struct ConnStore {
    table: RwLock<Table>,
    limits: Limits,
}

#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Within this time after our connection message left, an inbound stream of the same peer is a simultaneous dial.
    pub conn_timeout: Duration,
    pub max_peers: usize,
    pub queue_messages: usize,
    pub queue_bytes: usize,
}

#[derive(Default)]
struct Table {
    closing: bool,
    by_pki_id: HashMap<PkiId, Arc<Peer>>,
    by_endpoint: HashMap<String, Arc<Peer>>,
    /// How many entries that is: most have two names.
    count: usize,
    /// Closed by name and still writing what they owe.
    leaving: Vec<Weak<Peer>>,
}

/// One peer: its queue, and what is known of the way to it. A writer thread of its own serves it.
pub(super) struct Peer {
    pub outbox: Outbox,
    /// The entry is being closed: its writer thread is to end.
    pub closing: Cancel,
    /// Set when the writer has ended and everything owed was written or reported.
    pub done: Cancel,
    link: Mutex<Link>,
    /// Generation of the connection that is written to; 0 for none. A copy, for the writer to look at without the lock.
    current: AtomicU64,
}

#[derive(Default)]
struct Link {
    /// Expected at first, then authenticated.
    pki_id: Option<PkiId>,
    /// Where it can be dialled.
    endpoint: Option<String>,
    current: Option<Arc<Connection>>,
    /// The inbound stream of a simultaneous dial: read to its end, and written to only if ours fails.
    spare: Option<Arc<Connection>>,
    dial: Option<Dial>,
    ended: Option<Ended>,
    /// When closing: whether what is owed is still written.
    drain: bool,
}

struct Dial {
    cancel: Cancel,
    conn_sent: Option<Instant>,
}

/// How the last connection of an entry ended.
#[derive(Clone)]
pub(super) struct Ended {
    pub end: StreamEnd,
    pub dialled: bool,
    pub lasted: Duration,
}

/// What a writer does next.
pub(super) enum Step {
    Write(Arc<Connection>),
    /// Nothing to write to: dial, or give up, by how the last connection ended (`None`: there was none).
    Connect(Option<Ended>),
    Close,
}

/// What a dial starts from.
pub(super) enum BeginDial {
    /// An inbound stream was quicker.
    Connected,
    /// It is not known where to.
    NoEndpoint,
    Dial {
        endpoint: String,
        expected: Option<PkiId>,
        cancel: Cancel,
    },
}

/// Where an authenticated stream was put.
pub(super) enum Installed {
    /// It is the peer's connection now. `fresh`: it had none before.
    Current { peer: Arc<Peer>, created: bool, fresh: bool, displaced: Option<Arc<Connection>> },
    /// It is read beside our own.
    Spare { peer: Arc<Peer>, displaced: Option<Arc<Connection>> },
    /// Nowhere: the store or the entry is closing. Or another peer than expected answered our dial, and the expected one
    /// has come by itself meanwhile.
    Unwanted,
    /// There is no room for another peer.
    Full,
}

/// What the end of a connection's stream meant for its peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// It was not, or no longer, the one that is written to; or another took its place.
    None,
    /// The peer is disconnected.
    Disconnected,
}

impl ConnStore {
    pub fn new(limits: Limits) -> Self {
        ConnStore { table: RwLock::default(), limits }
    }

    /// The entry for a peer, made if there is none (`true`); its writer is then the caller's to start.
    pub fn entry(&self, to: &RemotePeer) -> Result<(Arc<Peer>, bool), Refusal> {
        if let Some(peer) = self.table.read().find(to) {
            peer.learn_endpoint(to);
            return Ok((peer.clone(), false));
        }
        let mut table = self.table.write();
        if table.closing {
            return Err(Refusal::Closing);
        }
        if let Some(peer) = table.find(to) {
            return Ok((peer.clone(), false));
        }
        if table.count >= self.limits.max_peers {
            return Err(Refusal::Full);
        }
        let peer = self.new_peer(Link {
            pki_id: to.pki_id.clone(),
            endpoint: Some(to.endpoint.clone()).filter(|e| !e.is_empty()),
            ..Link::default()
        });
        match &to.pki_id {
            Some(id) => table.by_pki_id.insert(id.clone(), peer.clone()),
            None => table.by_endpoint.insert(to.endpoint.clone(), peer.clone()),
        };
        table.count += 1;
        Ok((peer, true))
    }

    fn new_peer(&self, link: Link) -> Arc<Peer> {
        Arc::new(Peer {
            outbox: Outbox::new(self.limits.queue_messages, self.limits.queue_bytes),
            closing: Cancel::new(),
            done: Cancel::new(),
            link: Mutex::new(link),
            current: AtomicU64::new(0),
        })
    }

    /// An inbound stream has authenticated.
    pub fn accepted(&self, conn: &Arc<Connection>) -> Installed {
        let id = &conn.info.id;
        let mut table = self.table.write();
        if table.closing {
            return Installed::Unwanted;
        }
        let known = table.by_pki_id.get(id).filter(|p| p.link.lock().is(id)).cloned();
        let Some(peer) = known else {
            if table.count >= self.limits.max_peers {
                return Installed::Full;
            }
            let peer = self.new_peer(Link { pki_id: Some(id.clone()), ..Link::default() });
            peer.set_current(&mut peer.link.lock(), Some(conn.clone()));
            table.by_pki_id.insert(id.clone(), peer.clone());
            table.count += 1;
            return Installed::Current { peer, created: true, fresh: true, displaced: None };
        };
        let mut link = peer.link.lock();
        let ours_since = match (&link.dial, &link.current) {
            (Some(dial), _) => dial.conn_sent,
            (None, Some(current)) if current.dialled => Some(current.since),
            _ => None,
        };
        // The other side keeps the stream that we dialled (Fabric's accept side replaces what it has), and so do we.
        if ours_since.is_some_and(|since| conn.since.saturating_duration_since(since) <= self.limits.conn_timeout) {
            let displaced = link.spare.replace(conn.clone());
            drop(link);
            // Its writer has a stream to give up later.
            peer.outbox.wake();
            return Installed::Spare { peer, displaced };
        }
        if let Some(dial) = link.dial.take() {
            dial.cancel.cancel();
        }
        let displaced = peer.set_current(&mut link, Some(conn.clone()));
        drop(link);
        peer.outbox.wake();
        Installed::Current { peer, created: false, fresh: displaced.is_none(), displaced }
    }

    /// The stream that `peer` dialled has authenticated its other end. It may turn out to be another entry's peer: then
    /// the connection is that entry's, and so is what this one owes, its writer's `hand` included. That happens before
    /// anybody can find the other entry by this one's name, and so keeps the order.
    pub fn dialled(&self, peer: &Arc<Peer>, conn: &Arc<Connection>, hand: &mut VecDeque<Item>) -> Installed {
        let id = &conn.info.id;
        let mut table = self.table.write();
        if table.closing || table.leaving.iter().any(|p| p.as_ptr() == Arc::as_ptr(peer)) {
            return Installed::Unwanted;
        }
        if peer.has_inbound_of_another(id) {
            return Installed::Unwanted;
        }
        let other = table.by_pki_id.get(id).filter(|p| !Arc::ptr_eq(p, peer) && p.link.lock().is(id)).cloned();
        let endpoint = peer.link.lock().endpoint.clone();
        if let Some(other) = other {
            table.forget(peer);
            if let Some(endpoint) = endpoint {
                // A third entry may be at this endpoint and not know yet who is there: it finds out by itself.
                table.by_endpoint.entry(endpoint).or_insert_with(|| other.clone());
            }
            let (fresh, displaced) = replace_by_dialled(&other, conn);
            // What is in the table is open. All of it goes out on one stream, the one that is written to from now on.
            peer.outbox.move_into(&other.outbox, hand);
            return Installed::Current { peer: other, created: false, fresh, displaced };
        }
        // The name it was expected under stays a second way to it.
        table.by_pki_id.insert(id.clone(), peer.clone());
        if let Some(endpoint) = endpoint {
            table.by_endpoint.entry(endpoint).or_insert_with(|| peer.clone());
        }
        let (fresh, displaced) = replace_by_dialled(peer, conn);
        Installed::Current { peer: peer.clone(), created: false, fresh, displaced }
    }

    /// The stream of a connection has ended. If its peer is disconnected by that, `tell` is called before anybody can act
    /// on it, and so before what they have to tell. It must neither block nor come back here.
    pub fn ended(&self, peer: &Peer, conn: &Connection, end: StreamEnd, now: Instant, tell: impl FnOnce()) -> Loss {
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

    /// Forgets an entry, under all its names.
    pub fn remove(&self, peer: &Arc<Peer>) {
        self.table.write().forget(peer);
    }

    /// Forgets an entry that cannot be reached. `false`: a stream of theirs has come meanwhile.
    pub fn remove_unless_connected(&self, peer: &Arc<Peer>) -> bool {
        let mut table = self.table.write();
        let unconnected = peer.current.load(Ordering::SeqCst) == 0;
        if unconnected {
            table.forget(peer);
        }
        unconnected
    }

    /// Forgets an entry if it owes nothing. `false`: something has come for it.
    pub fn remove_if_settled(&self, peer: &Arc<Peer>) -> bool {
        let mut table = self.table.write();
        let settled = peer.current.load(Ordering::SeqCst) == 0 && peer.outbox.close_if_settled();
        if settled {
            table.forget(peer);
        }
        settled
    }

    /// Takes an entry out and tells it to close, writing what it owes first.
    pub fn close(&self, to: &RemotePeer) {
        let mut table = self.table.write();
        let Some(peer) = table.find(to).cloned() else { return };
        table.forget(&peer);
        table.leaving.retain(|p| p.strong_count() > 0);
        table.leaving.push(Arc::downgrade(&peer));
        drop(table);
        peer.close(true);
    }

    /// Takes nothing more and returns every entry, once.
    pub fn close_all(&self) -> Vec<Arc<Peer>> {
        let mut table = self.table.write();
        table.closing = true;
        let peers = table.peers();
        table.by_pki_id.clear();
        table.by_endpoint.clear();
        table.count = 0;
        table.leaving.clear();
        peers
    }

    /// Every entry, once, those that are leaving too.
    pub fn peers(&self) -> Vec<Arc<Peer>> {
        self.table.read().peers()
    }

    /// What is known of every connected peer.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.table.read().named().iter().filter_map(|p| p.connection()).collect()
    }
}

/// Puts a stream that we dialled in the place of what a peer has; says whether it had nothing, and what is to go.
fn replace_by_dialled(peer: &Peer, conn: &Arc<Connection>) -> (bool, Option<Arc<Connection>>) {
    let mut link = peer.link.lock();
    link.pki_id = Some(conn.info.id.clone());
    link.dial = None;
    let old = peer.set_current(&mut link, Some(conn.clone()));
    let fresh = old.is_none();
    // An inbound stream is read on until its dialler ends it; one of our own has been replaced at the other side.
    let displaced = match old {
        Some(old) if !old.dialled => link.spare.replace(old),
        old => old,
    };
    drop(link);
    peer.outbox.wake();
    (fresh, displaced)
}

/// Why there is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Closing,
    Full,
}

impl Table {
    fn find(&self, to: &RemotePeer) -> Option<&Arc<Peer>> {
        match &to.pki_id {
            Some(id) => self.by_pki_id.get(id),
            None => self.by_endpoint.get(&to.endpoint),
        }
    }

    fn forget(&mut self, peer: &Arc<Peer>) {
        let names = self.by_pki_id.len() + self.by_endpoint.len();
        self.by_pki_id.retain(|_, p| !Arc::ptr_eq(p, peer));
        self.by_endpoint.retain(|_, p| !Arc::ptr_eq(p, peer));
        if self.by_pki_id.len() + self.by_endpoint.len() < names {
            self.count -= 1;
        }
    }

    fn named(&self) -> Vec<Arc<Peer>> {
        let mut peers: Vec<_> = self.by_pki_id.values().chain(self.by_endpoint.values()).cloned().collect();
        peers.sort_by_key(|p| Arc::as_ptr(p) as usize);
        peers.dedup_by(|a, b| Arc::ptr_eq(a, b));
        peers
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        let mut peers = self.named();
        peers.extend(self.leaving.iter().filter_map(Weak::upgrade));
        peers
    }
}

impl Link {
    /// Whether this is the entry of that PKI-ID, and not one that was only once expected to be.
    fn is(&self, id: &PkiId) -> bool {
        self.pki_id.as_ref() == Some(id)
    }
}

impl Peer {
    fn set_current(&self, link: &mut Link, conn: Option<Arc<Connection>>) -> Option<Arc<Connection>> {
        self.current.store(conn.as_ref().map_or(0, |c| c.generation), Ordering::SeqCst);
        std::mem::replace(&mut link.current, conn)
    }

    fn learn_endpoint(&self, to: &RemotePeer) {
        if to.pki_id.is_some() && !to.endpoint.is_empty() {
            let mut link = self.link.lock();
            if link.endpoint.as_deref() != Some(&to.endpoint) {
                link.endpoint = Some(to.endpoint.clone());
            }
        }
    }

    /// What its writer does next.
    pub fn step(&self) -> Step {
        let link = self.link.lock();
        match &link.current {
            _ if self.closing.is_cancelled() && !(link.drain && link.current.is_some()) => Step::Close,
            Some(conn) => Step::Write(conn.clone()),
            None => Step::Connect(link.ended.clone()),
        }
    }

    /// Whether this connection is still the one to write to.
    pub fn writes_to(&self, conn: &Connection) -> bool {
        self.current.load(Ordering::SeqCst) == conn.generation
    }

    /// The connection that is written to.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.link.lock().current.clone()
    }

    /// How it can be named to a user.
    pub fn remote(&self) -> RemotePeer {
        let link = self.link.lock();
        let endpoint = link.endpoint.clone().or_else(|| link.current.as_ref().map(|c| c.info.endpoint.clone()));
        RemotePeer { endpoint: endpoint.unwrap_or_default(), pki_id: link.pki_id.clone() }
    }

    /// Whether it has a stream of the peer that it is known or expected to be, and that is not `id`: then none of `id`'s
    /// belongs here, or what is meant for the one would go to the other when a stream ends.
    fn has_inbound_of_another(&self, id: &PkiId) -> bool {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).any(|conn| conn.info.id != *id)
    }

    /// Starts a dial, unless there is a connection already.
    pub fn begin_dial(&self) -> BeginDial {
        let mut link = self.link.lock();
        if link.current.is_some() {
            return BeginDial::Connected;
        }
        let Some(endpoint) = link.endpoint.clone() else { return BeginDial::NoEndpoint };
        let cancel = Cancel::new();
        link.dial = Some(Dial { cancel: cancel.clone(), conn_sent: None });
        BeginDial::Dial { endpoint, expected: link.pki_id.clone(), cancel }
    }

    /// Whether it is known where to dial it.
    pub fn can_dial(&self) -> bool {
        self.link.lock().endpoint.is_some()
    }

    /// Our connection message left: from now on an inbound stream of this peer gives way to ours.
    pub fn conn_sent(&self, now: Instant) {
        if let Some(dial) = &mut self.link.lock().dial {
            dial.conn_sent = Some(now);
        }
    }

    /// The dial failed. If a stream came in meanwhile, it is the one to write to, and `true` says that it is so only now.
    pub fn dial_failed(&self) -> Option<(Arc<Connection>, bool)> {
        let mut link = self.link.lock();
        link.dial = None;
        let promoted = link.current.is_none();
        if promoted {
            let spare = link.spare.take();
            self.set_current(&mut link, spare);
        }
        link.current.clone().map(|conn| (conn, promoted))
    }

    /// When our side of a simultaneous dial is to be given up, if it is ours to give up: both streams live, and of two
    /// that could keep either, the larger PKI-ID gives in.
    pub fn gives_in_at(&self, own: &PkiId, conn_timeout: Duration) -> Option<Instant> {
        let link = self.link.lock();
        match (&link.current, &link.spare) {
            (Some(current), Some(spare)) if current.dialled && *own > current.info.id => {
                Some(spare.since + conn_timeout)
            }
            _ => None,
        }
    }

    /// Tells the writer to end: after writing what is owed, or at once.
    pub fn close(&self, drain: bool) {
        let dial = {
            let mut link = self.link.lock();
            link.drain = drain;
            link.dial.take()
        };
        self.outbox.refuse();
        self.closing.cancel();
        if let Some(dial) = dial {
            dial.cancel.cancel();
        }
        self.outbox.wake();
    }

    /// Every stream it has.
    pub fn streams(&self) -> Vec<Arc<Connection>> {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).cloned().collect()
    }
}

#[cfg(test)]
mod tests;
