//! The steward: one thread per transport that attends to connections which no other thread reads at the moment, and
//! watches time limits.

use super::connection::Conn;
use super::socket::Epoll;
use super::socket::Interest;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{self, spawn, Mutex};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval at which connections in use are checked for having been left unattended.
const TICK: Duration = Duration::from_millis(50);

/// Time after which a connection counts as unattended: threads that take part in a conversation read again earlier. Only
/// pings, the peer's end and unneeded windows wait meanwhile.
const UNATTENDED: Duration = Duration::from_millis(30);

/// Time for which the thread waits for another connection after the last one has ended.
const SPARE: Duration = Duration::from_secs(2);

/// Time limits further away than this are kept by the grid below: nobody counts milliseconds in them.
const FAR: Duration = Duration::from_secs(2);

/// Interval of the grid. Time limits of many connections then share one wake-up.
const GRID: Duration = Duration::from_millis(250);

/// The thread is awake, and looks at its notes before it sleeps.
const AWAKE: u8 = 0;
/// It sleeps until the next tick at most: only what is urgent wakes it.
const NAP: u8 = 1;
/// It sleeps for longer: every note wakes it.
const SLEEP: u8 = 2;

/// Attends to the connections of a transport. Its thread runs while there are any.
pub(super) struct Steward {
    epoll: Epoll,
    /// How the thread sleeps: one of the values below.
    sleep: AtomicU8,
    next_id: AtomicU64,
    /// Number of connections.
    connections: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: bool,
    /// Whether the transport is gone.
    closed: bool,
    thread: Option<JoinHandle<()>>,
    /// At most three per connection.
    notes: Vec<Note>,
}

/// A note for the steward.
enum Note {
    /// A new connection.
    Adopt(Arc<Conn>),
    /// Threads use the connection again.
    Watch(Arc<Conn>),
    /// Something is due on the connection.
    Attend(Arc<Conn>),
}

impl Steward {
    /// Creates a steward, without a thread.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if no file descriptor is available.
    pub fn new() -> Result<Arc<Steward>> {
        let epoll = Epoll::new().map_err(|e| {
            Error::new(ErrorKind::Full, format!("cannot watch connections: {}", super::socket::explain(&e)))
                .with_source(e)
        })?;
        Ok(Arc::new(Steward {
            epoll,
            sleep: AtomicU8::new(AWAKE),
            next_id: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            state: Mutex::default(),
        }))
    }

    /// Returns a number that no other connection of this steward has.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes over a connection, and starts the thread if it does not run.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if the thread cannot be started.
    pub fn adopt(self: &Arc<Self>, conn: &Arc<Conn>) -> Result<()> {
        let ended = {
            let mut state = self.state.lock();
            let mut ended = None;
            if !state.running {
                ended = state.thread.take();
                let steward = self.clone();
                state.thread = Some(spawn("gossip-steward", move || steward.run())?);
                state.running = true;
            }
            state.notes.push(Note::Adopt(conn.clone()));
            self.connections.fetch_add(1, Ordering::SeqCst);
            ended
        };
        self.wake(NAP);
        // It has ended already.
        let _ = ended.map(JoinHandle::join);
        Ok(())
    }

    /// Notes that threads use a connection, so that it has to be checked for being left unattended.
    pub fn watch(&self, conn: &Arc<Conn>) {
        self.note(Note::Watch(conn.clone()), SLEEP);
    }

    /// Notes that something is due on a connection: output, a time limit, or its end.
    pub fn attend(&self, conn: &Arc<Conn>) {
        if !conn.noted.swap(true, Ordering::SeqCst) {
            self.note(Note::Attend(conn.clone()), NAP);
        }
    }

    /// Leaves a note. Wakes the thread from this kind of sleep, or a deeper one.
    fn note(&self, note: Note, from: u8) {
        let mut state = self.state.lock();
        // Without the thread, every connection is over.
        if state.running {
            state.notes.push(note);
            drop(state);
            self.wake(from);
        }
    }

    fn wake(&self, from: u8) {
        if self.sleep.load(Ordering::SeqCst) >= from && self.sleep.swap(AWAKE, Ordering::SeqCst) != AWAKE {
            self.epoll.wake();
        }
    }

    /// Lets the thread end when the last connection has ended. Joins it if there is none.
    pub fn close(&self) {
        let thread = {
            let mut state = self.state.lock();
            state.closed = true;
            state.thread.take()
        };
        self.sleep.store(AWAKE, Ordering::SeqCst);
        self.epoll.wake();
        // With connections left, it goes on until they have ended.
        let idle = self.connections.load(Ordering::SeqCst) == 0;
        let here = thread::current().id();
        if let Some(thread) = thread.filter(|thread| idle && thread.thread().id() != here) {
            // It does not panic on any input.
            let _ = thread.join();
        }
    }

    fn run(self: Arc<Self>) {
        let mut watch = Watch::new();
        let mut ready = Vec::new();
        let mut ticked = sync::now();
        let mut idle_since = sync::now();
        loop {
            let now = sync::now();
            let timer = watch.due.first().map(|(at, _)| at.saturating_duration_since(now));
            let tick_left = (!watch.unattended.is_empty()).then(|| (ticked + TICK).saturating_duration_since(now));
            let spare = watch.connections.is_empty().then_some(SPARE);
            let timeout = [timer, tick_left, spare].into_iter().flatten().min();
            let sleep = if timeout.is_none_or(|timeout| timeout > TICK) { SLEEP } else { NAP };
            self.sleep.store(sleep, Ordering::SeqCst);
            let noted = !self.state.lock().notes.is_empty();
            ready.clear();
            let timeout = if noted { Some(Duration::ZERO) } else { timeout };
            if let Err(e) = self.epoll.wait(timeout, &mut ready) {
                log::error!("the thread that watches connections cannot wait for them: {e}");
            }
            self.sleep.store(AWAKE, Ordering::SeqCst);
            for event in &ready {
                let Some((conn, _)) = watch.connections.get(&event.token).cloned() else { continue };
                if event.read {
                    conn.drive_read();
                }
                if event.write {
                    conn.drive_write();
                    watch.look_at(conn.clone(), sync::now());
                }
                self.arm(&conn);
            }
            let notes = std::mem::take(&mut self.state.lock().notes);
            for note in notes {
                self.take_note(note, &mut watch);
            }
            let now = sync::now();
            if now >= ticked + TICK {
                self.check_unattended(&mut watch, now);
                ticked = now;
            }
            self.check_timers(&mut watch, now);
            if !watch.connections.is_empty() {
                idle_since = now;
            } else if self.may_end(now >= idle_since + SPARE) {
                return;
            }
        }
    }

    /// Returns whether the thread may end, and records it.
    fn may_end(&self, spared: bool) -> bool {
        let mut state = self.state.lock();
        let ends = state.notes.is_empty() && (state.closed || spared);
        state.running = !ends;
        ends
    }

    fn take_note(&self, note: Note, watch: &mut Watch) {
        match note {
            Note::Adopt(conn) => {
                let nothing = Interest { read: false, write: false };
                if let Err(e) = self.epoll.add(conn.socket.raw(), nothing, conn.id) {
                    conn.lose(&format!("cannot watch the connection: {e}"));
                }
                // The acceptor leaves the read role to the steward; a dialling thread has it.
                match conn.interest().read {
                    true => self.arm(&conn),
                    false => watch.unattended.push(conn.clone()),
                }
                watch.look_at(conn, sync::now());
            }
            Note::Watch(conn) => {
                if watch.connections.contains_key(&conn.id) {
                    watch.unattended.push(conn);
                }
            }
            Note::Attend(conn) => {
                conn.noted.store(false, Ordering::SeqCst);
                if watch.connections.contains_key(&conn.id) {
                    self.arm(&conn);
                    watch.look_at(conn, sync::now());
                }
            }
        }
    }

    /// Registers the socket of a connection for what the steward has to wait for. May be called by any thread after a
    /// change; of two at the same time, the last one to register finds the change of the other.
    pub fn arm(&self, conn: &Conn) {
        let mut registered = Interest { read: false, write: false };
        loop {
            let interest = conn.interest();
            if interest == registered || !(interest.read || interest.write) {
                return;
            }
            // An error means that the connection is gone, which its timers find.
            let _ = self.epoll.renew(conn.socket.raw(), interest, conn.id);
            registered = interest;
        }
    }

    fn check_unattended(&self, watch: &mut Watch, now: Instant) {
        watch.unattended.retain(|conn| match conn.drive_watch(now, UNATTENDED) {
            None => true,
            Some(register) => {
                if register {
                    self.arm(conn);
                }
                false
            }
        });
    }

    fn check_timers(&self, watch: &mut Watch, now: Instant) {
        while let Some(&(at, id)) = watch.due.first() {
            if at > now {
                break;
            }
            watch.due.pop_first();
            let Some((conn, _)) = watch.connections.remove(&id) else { continue };
            match conn.drive_timers(now) {
                Some(next) => watch.look_at(conn, watch.on_grid(next, now)),
                None => {
                    self.epoll.remove(conn.socket.raw());
                    conn.drive_end();
                    self.connections.fetch_sub(1, Ordering::SeqCst);
                }
            }
        }
    }
}

/// The connections that the thread watches, and their next times.
struct Watch {
    connections: HashMap<u64, (Arc<Conn>, Instant)>,
    /// When to look at which connection.
    due: BTreeSet<(Instant, u64)>,
    /// Connections in use, which may have been left unattended.
    unattended: Vec<Arc<Conn>>,
    /// Time when the grid begins.
    start: Instant,
}

impl Watch {
    fn new() -> Self {
        Watch { connections: HashMap::new(), due: BTreeSet::new(), unattended: Vec::new(), start: sync::now() }
    }

    fn look_at(&mut self, conn: Arc<Conn>, at: Instant) {
        let id = conn.id;
        if let Some((_, before)) = self.connections.insert(id, (conn, at)) {
            self.due.remove(&(before, id));
        }
        self.due.insert((at, id));
    }

    /// Returns the time to look at a connection for which something is due at `next`: at least a millisecond from now,
    /// and on the grid if it is far away.
    fn on_grid(&self, next: Instant, now: Instant) -> Instant {
        if next < now + FAR {
            return next.max(now + Duration::from_millis(1));
        }
        let steps = next.saturating_duration_since(self.start).as_nanos().div_ceil(GRID.as_nanos());
        u32::try_from(steps).ok().and_then(|steps| self.start.checked_add(GRID * steps)).unwrap_or(next)
    }
}
