//! One connection: the threads that use it do its I/O.
//!
//! # Locks and roles
//!
//! The *core* (session, TLS, streams) has a lock that is never held during a system call. The *read role* belongs to at
//! most one thread at a time: a thread that waits for something on the connection takes it, receives without a lock,
//! then processes what came. Other waiting threads sleep until something changes. If nobody waits, or nothing comes for
//! a while, the steward watches the socket. The *write turn* is a lock around encrypting and sending, taken before the
//! core's, so that ciphertext leaves in the order in which it was encrypted. A thread that must not block and finds the
//! turn taken leaves a note for its holder.

use super::context::check_peer;
use super::grpc::{self, reset, Field};
use super::options::Settings;
use super::server::Service;
use super::session::{Event, Session, SessionOptions};
use super::socket::{Interest, Socket, SLICE};
use super::state::{Core, Failure, ReadBuffers, Role};
use super::steward::Steward;
use super::wire::{Wire, WireError, PIECE};
use crate::spin::Spin;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{self, Condvar, Mutex};
use crate::transport::PING;
use bytes::Bytes;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size in bytes of a receive: 64 KiB, four TLS records.
const RECEIVE: usize = 64 << 10;

/// Time for which a connection that is being closed waits for its peer to close it, too.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Time limit for the request of a unary call.
const REQUEST: Duration = Duration::from_secs(5);

/// A connection, dialled or accepted.
pub(super) struct Conn {
    /// Identifies the connection to the thread that drives it.
    pub id: u64,
    pub socket: Socket,
    pub settings: Arc<Settings>,
    pub steward: Arc<Steward>,
    /// The service of an accepted connection.
    pub service: Option<Arc<Service>>,
    /// The remote socket address.
    pub remote_addr: String,
    pub local_cert: Option<Bytes>,
    pub tls: bool,
    /// The endpoint of a dialled connection, and the name that the server's certificate must have.
    pub endpoint: String,
    name: String,
    pub(super) core: Mutex<Core>,
    /// Signalled when something changed for which threads may wait.
    pub(super) changed: Condvar,
    turn: Mutex<Turn>,
    /// Set by a thread that found the write turn taken.
    flush_wanted: AtomicBool,
    /// Whether the steward has a note about this connection that it has not read.
    pub noted: AtomicBool,
}

/// Ciphertext on its way to the socket.
#[derive(Default)]
struct Turn {
    out: Vec<u8>,
    sent: usize,
}

impl Turn {
    fn is_empty(&self) -> bool {
        self.sent == self.out.len()
    }
}

/// The reason for which a thread waits.
#[derive(Clone, Copy)]
pub(super) enum Awaits<'a> {
    /// Something from the peer, for which it may poll for a moment.
    Arrival(Option<&'a Spin>),
    /// The sending of what was queued, which may need more window.
    Sending,
}

/// Work that follows from received bytes and is done without a lock.
#[derive(Default)]
pub(super) struct Effects {
    requests: Vec<(i32, Vec<Field>)>,
    unary: Vec<(i32, String)>,
    flush: bool,
    /// Whether something came for which a thread may wait: any frame but PING and WINDOW_UPDATE.
    pub arrival: bool,
    /// Whether more window came.
    pub window: bool,
}

impl Effects {
    /// Returns whether a client opened no stream.
    pub fn has_no_request(&self) -> bool {
        self.requests.is_empty()
    }

    fn is_empty(&self) -> bool {
        self.requests.is_empty() && self.unary.is_empty() && !self.flush
    }
}

/// The result of a receive.
pub(super) enum Received {
    Bytes(usize),
    Nothing,
    End,
    Failed(std::io::Error),
}

/// A connection to be: what dialling and accepting have in common.
pub(super) struct NewConn {
    pub socket: Socket,
    pub settings: Arc<Settings>,
    pub steward: Arc<Steward>,
    pub service: Option<Arc<Service>>,
    pub remote_addr: String,
    pub endpoint: String,
    pub name: String,
    pub local_cert: Option<Bytes>,
    pub wire: Wire,
}

impl Conn {
    pub fn new(new: NewConn) -> Arc<Conn> {
        let tls = !matches!(new.wire, Wire::Plain(_));
        let core = Core::new(new.wire, new.service.is_none());
        Arc::new(Conn {
            id: new.steward.next_id(),
            socket: new.socket,
            settings: new.settings,
            steward: new.steward,
            service: new.service,
            remote_addr: new.remote_addr,
            local_cert: new.local_cert,
            tls,
            endpoint: new.endpoint,
            name: new.name,
            core: Mutex::new(core),
            changed: Condvar::new(),
            turn: Mutex::default(),
            flush_wanted: AtomicBool::new(false),
            noted: AtomicBool::new(false),
        })
    }

    /// Sends the first bytes: a client's TLS hello, or its preface.
    pub fn begin(self: &Arc<Self>) {
        let mut core = self.core.lock();
        if let Err(failure) = self.establish(&mut core) {
            core.fail(failure);
        }
        drop(core);
        self.flush();
    }

    /// Calls `f` with the core, under its lock. `f` must not block.
    pub fn with<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        f(&mut self.core.lock())
    }

    /// Wakes the threads that wait for a change which is not under the lock.
    pub fn notify(&self) {
        // A thread that has checked and does not wait yet holds the lock.
        drop(self.core.lock());
        self.changed.notify_all();
    }

    /// Waits until `check` returns something, and until this time at most (`None`: without limit). Reads the socket
    /// meanwhile if no other thread does. `check` must not block.
    pub fn wait<R>(
        self: &Arc<Self>,
        until: Option<Instant>,
        awaits: Awaits,
        mut check: impl FnMut(&mut Core) -> Option<R>,
    ) -> Option<R> {
        let (spin, writer) = match awaits {
            Awaits::Arrival(spin) => (spin, 0),
            Awaits::Sending => (None, 1),
        };
        let mut core = self.core.lock();
        core.writers += writer;
        let mut tried = false;
        let mut parked = false;
        let mut borrowed = false;
        loop {
            let result = check(&mut core);
            let left = until.map(|until| until.saturating_duration_since(sync::now()));
            if result.is_some() || left.is_some_and(|left| left.is_zero()) && tried {
                core.writers -= writer;
                let arm = self.hand_over(&mut core, borrowed);
                drop(core);
                if arm {
                    self.steward.arm(self);
                }
                return result;
            }
            if !parked && core.role != Role::Taken && !core.ended {
                borrowed = core.role == Role::Armed;
                let mut buffers = self.take_role(&mut core);
                drop(core);
                let received = self.receive(&mut buffers, left, spin);
                parked = matches!(received, Received::Nothing);
                tried = true;
                core = self.core.lock();
                core.role = Role::Free(sync::now());
                let effects = self.process(&mut core, buffers, received);
                if parked && !core.ended && left.is_none_or(|left| left >= SLICE) {
                    // Nothing comes: the steward reads until something does.
                    core.role = Role::Armed;
                    core.release_buffers();
                    drop(core);
                    self.steward.arm(self);
                    core = self.core.lock();
                    continue;
                }
                if core.waiting > 0 && (effects.arrival || effects.window && core.writers > writer) {
                    self.changed.notify_all();
                }
                if !effects.is_empty() {
                    drop(core);
                    self.carry_out(effects);
                    core = self.core.lock();
                }
                continue;
            }
            tried = true;
            core.waiting += 1;
            match until {
                None => self.changed.wait(&mut core),
                Some(until) => drop(self.changed.wait_until(&mut core, until)),
            }
            core.waiting -= 1;
            // The steward notifies waiting threads of everything that it reads for them.
            parked = core.role == Role::Armed;
        }
    }

    /// Leaves reading to another waiting thread, or to the steward if it was `borrowed` from there. Returns whether the
    /// steward must be armed.
    fn hand_over(&self, core: &mut Core, borrowed: bool) -> bool {
        if core.waiting == 0 || !matches!(core.role, Role::Free(_)) {
            return false;
        }
        if borrowed && !core.ended {
            core.role = Role::Armed;
            return true;
        }
        self.changed.notify_one();
        false
    }

    fn take_role(self: &Arc<Self>, core: &mut Core) -> ReadBuffers {
        core.role = Role::Taken;
        if !std::mem::replace(&mut core.watched, true) {
            self.steward.watch(self);
        }
        std::mem::take(&mut core.buffers)
    }

    /// Receives, without a lock. Waits for at most `limit` and a slice of time.
    pub(super) fn receive(&self, buffers: &mut ReadBuffers, limit: Option<Duration>, spin: Option<&Spin>) -> Received {
        if buffers.cipher.len() < RECEIVE {
            buffers.cipher = vec![0; RECEIVE];
        }
        let mut received = None;
        if let Some(spin) = spin {
            received = spin.run(|| match self.socket.recv(&mut buffers.cipher, false) {
                Err(e) if e.kind() == ErrorKind::WouldBlock => None,
                received => Some(received),
            });
        }
        let received = match (received, limit) {
            (Some(received), _) => received,
            (None, Some(limit)) if limit < SLICE => {
                let ready = match limit.is_zero() {
                    true => Ok(true),
                    false => self.socket.poll(Interest { read: true, write: false }, limit),
                };
                ready.and_then(|_| self.socket.recv(&mut buffers.cipher, false))
            }
            (None, _) => self.socket.recv(&mut buffers.cipher, true),
        };
        match received {
            Ok(0) => Received::End,
            Ok(length) => Received::Bytes(length),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Received::Nothing,
            Err(e) => Received::Failed(e),
        }
    }

    /// Processes what was received, under the lock.
    pub(super) fn process(self: &Arc<Self>, core: &mut Core, mut buffers: ReadBuffers, received: Received) -> Effects {
        let mut effects = Effects::default();
        match received {
            Received::Nothing => {}
            Received::End => core.end("the peer closed the connection"),
            Received::Failed(e) => core.end(&e.to_string()),
            Received::Bytes(length) => {
                core.heard = sync::now();
                core.pinged = None;
                if buffers.plain.is_empty() {
                    buffers.plain = vec![0; PIECE];
                }
                core.wire.receive(&mut buffers.cipher, length);
                if let Err(failure) = self.advance(core, &mut buffers.plain, &mut effects) {
                    core.fail(failure);
                    self.steward.attend(self);
                }
                let stirred = core.session_mut().map_or((true, true), Session::take_stirred);
                effects.arrival = stirred.0 || core.failure.is_some();
                effects.window = stirred.1;
                // A writer that waits for window is woken by what was received, and sends.
                effects.flush = core.wants_write() && (core.writers == 0 || core.failure.is_some());
                if core.session.as_ref().is_some_and(Session::withholds) {
                    self.steward.attend(self);
                }
            }
        }
        if core.ended {
            self.steward.attend(self);
            self.changed.notify_all();
        }
        core.buffers = buffers;
        effects
    }

    /// Decrypts and interprets what was received.
    fn advance(self: &Arc<Self>, core: &mut Core, plain: &mut [u8], effects: &mut Effects) -> Result<(), Failure> {
        self.establish(core)?;
        let Core { wire, session, .. } = core;
        let Some(session) = session.as_mut() else { return Ok(()) };
        let result = loop {
            match wire.decrypt(plain) {
                Ok(0) => break Ok(()),
                Ok(length) => session.receive(&plain[..length])?,
                Err(WireError::Closed) => break Err(Failure::Closed),
                Err(WireError::Tls(text)) => break Err(Failure::Tls(text)),
            }
        };
        for event in session.take_events() {
            match event {
                Event::Request(id, fields) => effects.requests.push((id, fields)),
                Event::Ping => {
                    let interval = self.settings.limits.min_ping_interval;
                    let answered = session.take_answered();
                    let strikes = core.client_pings.record(core.heard, interval, answered);
                    if self.service.is_some() && strikes > self.settings.options.max_ping_strikes {
                        return Err(Failure::TooManyPings);
                    }
                }
                Event::GoAway { code, text } => {
                    let text = match code {
                        reset::NO_ERROR => "the peer is going away".to_owned(),
                        code => format!("the peer is going away: error {code} {text}"),
                    };
                    core.going_away.get_or_insert(text);
                }
            }
        }
        if session.is_finished() {
            return Err(Failure::Closed);
        }
        if !core.unary.is_empty() {
            let complete =
                |(id, _): &(i32, String)| session.flow(*id).is_none_or(|f| f.half_closed || f.closed.is_some());
            let (complete, waiting) = std::mem::take(&mut core.unary).into_iter().partition(complete);
            effects.unary = complete;
            core.unary = waiting;
        }
        result
    }

    /// Continues the TLS handshake, and starts the session when it is complete, unless it was started before.
    fn establish(&self, core: &mut Core) -> Result<(), Failure> {
        if core.session.is_some() {
            return Ok(());
        }
        match core.wire.handshake() {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(WireError::Tls(text)) => return Err(Failure::Handshake(text)),
            Err(WireError::Closed) => return Err(Failure::Closed),
        }
        let server = self.service.is_some();
        let name = (!server).then_some(&*self.name);
        core.remote_cert = check_peer(&core.wire, name).map_err(|e| match e {
            WireError::Tls(text) => Failure::Handshake(text),
            WireError::Closed => Failure::Closed,
        })?;
        let (limits, options) = (&self.settings.limits, &self.settings.options);
        let mut session = Session::new(SessionOptions {
            server,
            max_streams: limits.max_concurrent_streams,
            stream_window: options.stream_window,
            connection_window: options.stream_window.max(1 << 20),
            max_receive: limits.max_receive_message,
            budget: self.settings.budget.clone(),
        })?;
        if !server {
            // The first Ping travels with the preface.
            let id = session.request(&grpc::request(self.tls, &self.endpoint, PING, None))?;
            session.queue(id, Bytes::new());
            session.end(id, super::flow::End::HalfClose);
            core.first_ping = Some(id);
        }
        core.session = Some(session);
        Ok(())
    }

    /// Does what follows from received bytes.
    pub fn carry_out(self: &Arc<Self>, effects: Effects) {
        if let Some(service) = &self.service {
            for (id, fields) in effects.requests {
                service.dispatch(self, id, &fields);
            }
            for (id, method) in effects.unary {
                service.answer(self, id, &method);
            }
        }
        if effects.flush || self.with(|core| core.wants_write()) {
            self.flush();
        }
    }

    /// Sends what there is to send, without blocking. If the socket is full, the steward continues; if another thread
    /// has the write turn, that thread does.
    pub fn flush(self: &Arc<Self>) {
        self.flush_wanted.store(true, Ordering::SeqCst);
        while self.flush_wanted.load(Ordering::SeqCst) {
            let Some(mut turn) = self.turn.try_lock() else { return };
            self.flush_wanted.store(false, Ordering::SeqCst);
            let progress = self.send(&mut turn);
            let blocked = matches!(progress, Progress::Blocked);
            let was_blocked = self.with(|core| std::mem::replace(&mut core.blocked, blocked));
            drop(turn);
            if blocked && !was_blocked {
                self.steward.attend(self);
            }
        }
    }

    /// Encrypts and sends until nothing is left or the socket is full. The caller holds the write turn.
    fn send(self: &Arc<Self>, turn: &mut Turn) -> Progress {
        loop {
            if turn.is_empty() {
                turn.out.clear();
                turn.sent = 0;
                let mut core = self.core.lock();
                core.written = core.encrypted;
                // Readers wait for nothing that is sent.
                if core.writers > 0 {
                    self.changed.notify_all();
                }
                if core.ended {
                    return Progress::Lost;
                }
                if let Err(failure) = core.fill(&mut turn.out) {
                    core.fail(failure);
                    self.changed.notify_all();
                    self.steward.attend(self);
                    return Progress::Lost;
                }
                if core.session_mut().is_some_and(Session::take_opened) {
                    self.changed.notify_all();
                }
                if turn.out.is_empty() {
                    return Progress::Done;
                }
            }
            match self.socket.send(&turn.out[turn.sent..]) {
                Ok(sent) => turn.sent += sent,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Progress::Blocked,
                Err(e) => {
                    self.lose(&e.to_string());
                    return Progress::Lost;
                }
            }
        }
    }

    /// Sends what there is to send; waits up to `limit` for the write turn and for room in the socket. Returns whether
    /// everything was sent.
    pub fn send_within(self: &Arc<Self>, limit: Duration) -> bool {
        let mut turn = self.turn.try_lock();
        if turn.is_none() {
            turn = self.turn.try_lock_for(limit);
        }
        let Some(mut turn) = turn else { return false };
        let progress = self.send(&mut turn);
        if matches!(progress, Progress::Blocked) {
            // An error shows in the next call.
            let _ = self.socket.poll(Interest { read: false, write: true }, limit);
        }
        drop(turn);
        if self.flush_wanted.load(Ordering::SeqCst) {
            self.flush();
        }
        matches!(progress, Progress::Done)
    }

    /// Leaves what could not be sent to the steward.
    pub fn leave_blocked(self: &Arc<Self>) {
        if self.with(|core| core.encrypted > core.written || core.wants_write()) {
            self.flush();
        }
    }

    /// Records that a client has made a call.
    pub fn touch(&self) {
        self.with(|core| core.idle_since = sync::now());
    }

    /// Ends the connection: it is lost.
    pub fn lose(self: &Arc<Self>, why: &str) {
        self.with(|core| core.end(why));
        self.changed.notify_all();
        self.steward.attend(self);
    }

    /// Begins to close the connection. What was queued is sent before, within `linger`.
    pub fn close(self: &Arc<Self>, linger: Duration) {
        self.with(|core| core.close(linger));
        self.flush();
        self.changed.notify_all();
        self.steward.attend(self);
    }

    /// Records that a stream or a handle no longer uses the connection.
    pub fn release(self: &Arc<Self>) {
        let unused = self.with(|core| {
            core.users -= 1;
            core.idle_since = sync::now();
            core.users == 0
        });
        match self.service {
            _ if !unused => {}
            // It is closed when it has been unused for a time, from now on.
            Some(_) => self.steward.attend(self),
            None => self.close(LINGER),
        }
    }

    /// Watches the time limit of a stream.
    pub fn set_deadline(self: &Arc<Self>, id: i32, at: Instant) {
        if self.with(|core| core.set_deadline(id, at)) {
            self.steward.attend(self);
        }
    }

    /// Registers a unary call, which is answered when its request is complete.
    pub fn await_request(self: &Arc<Self>, id: i32, method: String) {
        let complete = self.with(|core| {
            let complete = core.session().and_then(|s| s.flow(id)).is_none_or(|f| f.half_closed);
            if !complete {
                // A Ping is empty, and strangers may send one: it gets no window beyond the first.
                if let Some(session) = core.session_mut().filter(|_| method != PING) {
                    session.allow(id, self.settings.limits.max_receive_message);
                }
                core.unary.push((id, method.clone()));
            }
            complete
        });
        match (complete, &self.service) {
            (true, Some(service)) => service.answer(self, id, &method),
            _ => self.set_deadline(id, sync::now() + REQUEST),
        }
    }
}

/// Returns the time after this duration; `None` if that is too far in the future to matter.
pub(super) fn time_after(duration: Duration) -> Option<Instant> {
    sync::now().checked_add(duration)
}

enum Progress {
    Done,
    Blocked,
    Lost,
}
