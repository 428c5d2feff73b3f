//! The table of peers: which entry a message for a peer goes to, and which stream that entry writes to.
//!
//! Decisions only: nothing here blocks, dials, or calls out. An entry is found by PKI-ID where one is known and by endpoint
//! otherwise, is renamed or merged when its peer authenticates, and loses a connection only to that connection's own end
//! (compared by generation) or to the rules for a second stream.
//!
//! One peer, one stream, whatever it is called: a peer keeps only the last stream that we dialled, and drops what it has
//! not read of the one before. So a dial learns who answers before its own connection message leaves, and asks
//! [`ConnStore::claim`] then. If another entry is that peer's already, the dial is given up, and what it was made for is
//! moved to that entry, in order, with the name.
//!
//! An entry is in the table only while its writer thread runs, and a connection is in [`Open`] for as long as its reader
//! does.
//!
//! Lock order: the table, then one peer's link, then its outbox. None is held across I/O or a callback (telling an event
//! is neither).

use super::connection::Connection;
use super::outbox::{Item, Outbox};
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

/// Every connection whose reader runs.
#[derive(Default)]
pub(super) struct Open(Mutex<OpenConnections>);

#[derive(Default)]
struct OpenConnections {
    by_generation: HashMap<u64, Arc<Connection>>,
    /// Set when stopping: a connection that is added from then on is cancelled.
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

    /// Cancels every connection, and each that is added later.
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
    /// Within this time after our connection message left, an inbound stream of the same peer is a simultaneous dial.
    pub conn_timeout: Duration,
    pub max_peers: usize,
    pub queue_messages: usize,
    pub queue_bytes: usize,
    pub inline_writes: InlineWrites,
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
    #[cfg(feature = "testing")]
    _live: Live,
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
    /// When our connection message left, or was about to.
    conn_sent: Option<Instant>,
    /// It was cancelled because the peer is to be dialled elsewhere.
    again: bool,
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

/// The outcome of a dial that knows who answers.
pub(super) enum Claim {
    /// It is this entry's peer: our connection message may leave.
    Granted,
    /// Another entry is that peer's, and has everything that this one was made for. The dial and the entry are over.
    Joined,
    /// A connection to that peer is being closed. The dial may be made again once this is set.
    Later(Cancel),
    /// The store or the entry is closing, or has a stream of the peer already. Or another peer than expected answers, and
    /// the expected one has come by itself meanwhile.
    Unwanted,
}

/// Where an authenticated stream was put.
pub(super) enum Installed {
    /// It is the peer's connection now. `fresh`: it had none before.
    Current { peer: Arc<Peer>, fresh: bool, displaced: Option<Arc<Connection>> },
    /// It is read beside our own.
    Spare { peer: Arc<Peer>, displaced: Option<Arc<Connection>> },
    /// Nowhere: see [`Claim::Unwanted`].
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
        ConnStore {
            table: RwLock::default(),
            limits,
            open: Open::default(),
            #[cfg(feature = "testing")]
            _live: Live::new("comm"),
        }
    }

    /// Returns the entry for a peer. If there is none, one is made, and `start` starts its writer before anybody can find it.
    pub fn entry(&self, to: &RemotePeer, start: impl FnOnce(&Arc<Peer>) -> Result<()>) -> Result<Arc<Peer>, Refusal> {
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
            // Nobody knows it: its writer has nothing to do.
            peer.close(false);
        }
        found
    }

    /// Inserts an entry, unless there is one by now: that is returned then.
    fn insert(&self, to: &RemotePeer, peer: &Arc<Peer>) -> Result<Arc<Peer>, Refusal> {
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

    fn new_peer(&self, link: Link) -> Arc<Peer> {
        Arc::new(Peer {
            outbox: Outbox::new(self.limits.queue_messages, self.limits.queue_bytes, self.limits.inline_writes),
            closing: Cancel::new(),
            done: Cancel::new(),
            link: Mutex::new(link),
            current: AtomicU64::new(0),
            #[cfg(feature = "testing")]
            _live: Live::new("peer"),
        })
    }

    /// Installs an inbound stream that has authenticated. A new entry's writer is started with `start`.
    ///
    /// # Errors
    /// That of `start`.
    pub fn accepted(&self, conn: &Arc<Connection>, start: impl FnOnce(&Arc<Peer>) -> Result<()>) -> Result<Installed> {
        if let Some(installed) = self.accept(conn, None) {
            return Ok(installed);
        }
        let peer = self.new_peer(Link { pki_id: Some(conn.info.id.clone()), ..Link::default() });
        start(&peer)?;
        let installed = self.accept(conn, Some(&peer)).unwrap_or(Installed::Unwanted);
        match &installed {
            Installed::Current { peer: used, .. } if Arc::ptr_eq(used, &peer) => peer.outbox.wake(),
            // Nobody knows it: its writer has nothing to do.
            _ => peer.close(false),
        }
        Ok(installed)
    }

    /// `None`: there is no entry for the peer, and no `new` one was given.
    fn accept(&self, conn: &Arc<Connection>, new: Option<&Arc<Peer>>) -> Option<Installed> {
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
        // The other side keeps the stream that we dialled (Fabric's accept side replaces what it has), and so do we.
        if ours_since.is_some_and(|since| conn.since.saturating_duration_since(since) <= self.limits.conn_timeout) {
            let displaced = link.spare.replace(conn.clone());
            drop(link);
            // Its writer has a stream to give up later.
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

    /// Decides about the dial of `peer`, at which `id` answers. `hand` is what its writer holds.
    ///
    /// Called before our connection message leaves, and this decides about inbound streams too: one that comes before it
    /// ends the dial, one that comes after it is a simultaneous one. `at` is the moment for that.
    pub fn claim(&self, peer: &Arc<Peer>, id: &PkiId, hand: &mut VecDeque<Item>, at: Instant) -> Claim {
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
    /// Where our connection message left before it was known who answers, that may be another entry's peer: then the
    /// connection is that entry's, and so is what this one owes, its writer's `hand` included. That happens before
    /// anybody can find the other entry by this one's name, and so keeps the order.
    pub fn dialled(&self, peer: &Arc<Peer>, conn: &Arc<Connection>, hand: &mut VecDeque<Item>) -> Installed {
        let id = &conn.info.id;
        let mut table = self.table.write();
        if table.closing || table.is_leaving(peer) || peer.has_inbound_of_another(id) {
            return Installed::Unwanted;
        }
        if let Some(other) = table.entry_of(id, peer) {
            let (fresh, displaced) = replace_by_dialled(&other, conn);
            // All of it goes out on one stream, the one that is written to from now on.
            table.join(peer, &other, hand);
            return Installed::Current { peer: other, fresh, displaced };
        }
        let endpoint = peer.link.lock().endpoint.clone();
        table.name(peer, id, endpoint);
        let (fresh, displaced) = replace_by_dialled(peer, conn);
        Installed::Current { peer: peer.clone(), fresh, displaced }
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
#[derive(Debug)]
pub(super) enum Refusal {
    Closing,
    Full,
    /// Its writer could not be started.
    NoThread(Error),
}

impl Table {
    fn find(&self, to: &RemotePeer) -> Option<&Arc<Peer>> {
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

    fn is_leaving(&self, peer: &Arc<Peer>) -> bool {
        self.leaving.iter().any(|p| p.as_ptr() == Arc::as_ptr(peer))
    }

    /// The entry of a peer, if that is another one than `peer`.
    fn entry_of(&self, id: &PkiId, peer: &Arc<Peer>) -> Option<Arc<Peer>> {
        self.by_pki_id.get(id).filter(|p| !Arc::ptr_eq(p, peer) && p.link.lock().is(id)).cloned()
    }

    /// Names an entry after its peer. The name that it was expected under stays a second way to it.
    fn name(&mut self, peer: &Arc<Peer>, id: &PkiId, endpoint: Option<String>) {
        self.by_pki_id.insert(id.clone(), peer.clone());
        if let Some(endpoint) = endpoint {
            // Another entry may be at this endpoint and not know yet who is there: it finds out by itself.
            self.by_endpoint.entry(endpoint).or_insert_with(|| peer.clone());
        }
    }

    /// Gives the names of an entry to `other`, and what it owes, its writer's `hand` included. Whoever finds `other` by one
    /// of them comes after that.
    fn join(&mut self, peer: &Arc<Peer>, other: &Arc<Peer>, hand: &mut VecDeque<Item>) {
        let endpoint = peer.link.lock().endpoint.clone();
        self.forget(peer);
        if let Some(endpoint) = endpoint {
            self.by_endpoint.entry(endpoint).or_insert_with(|| other.clone());
        }
        peer.outbox.move_into(&other.outbox, hand);
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

    /// Whether it has a stream of this peer.
    fn has_stream_of(&self, id: &PkiId) -> bool {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).any(|conn| conn.info.id == *id)
    }

    /// The peer has answered at this endpoint: unless it is connected, or a dial of its own has come as far, that is where
    /// to dial it.
    fn found_at(&self, endpoint: String) {
        let stale = {
            let mut link = self.link.lock();
            let settled = link.current.is_some() || link.dial.as_ref().is_some_and(|dial| dial.conn_sent.is_some());
            if settled || link.endpoint.as_ref() == Some(&endpoint) {
                return;
            }
            link.endpoint = Some(endpoint);
            link.dial.as_mut().map(|dial| {
                dial.again = true;
                dial.cancel.clone()
            })
        };
        if let Some(dial) = stale {
            dial.cancel();
        }
    }

    /// Starts a dial, unless there is a connection already.
    pub fn begin_dial(&self) -> BeginDial {
        let mut link = self.link.lock();
        if link.current.is_some() {
            return BeginDial::Connected;
        }
        let Some(endpoint) = link.endpoint.clone() else { return BeginDial::NoEndpoint };
        let cancel = Cancel::new();
        link.dial = Some(Dial { cancel: cancel.clone(), conn_sent: None, again: false });
        BeginDial::Dial { endpoint, expected: link.pki_id.clone(), cancel }
    }

    /// Whether it is known where to dial it.
    pub fn can_dial(&self) -> bool {
        self.link.lock().endpoint.is_some()
    }

    /// Our connection message leaves before it is known who answers: from now on an inbound stream of this peer gives way
    /// to ours.
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

    /// Whether a dial that failed was only cancelled, to be made again elsewhere.
    pub fn dials_again(&self) -> bool {
        self.link.lock().dial.as_ref().is_some_and(|dial| dial.again)
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
