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
use super::session::{Event, Session, SessionOptions, Violation, BATCH};
use super::socket::{Interest, Socket, SLICE};
use super::spin::Spin;
use super::steward::Steward;
use super::wire::{goaway_code, Wire, WireError, PIECE};
use crate::sync::{Condvar, Mutex};
use crate::transport::{code, Status, PING};
use bytes::Bytes;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Size in bytes of a receive: 64 KiB, four TLS records.
const RECEIVE: usize = 64 << 10;

/// Time for which a connection that is being closed waits for its peer to close it, too.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// Interval at which withheld window is reconsidered.
const WITHHELD: Duration = Duration::from_millis(100);

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
    core: Mutex<Core>,
    /// Signalled when something changed for which threads may wait.
    changed: Condvar,
    turn: Mutex<Turn>,
    /// Set by a thread that found the write turn taken.
    flush_wanted: AtomicBool,
    /// Whether the steward has a note about this connection that it has not read.
    pub noted: AtomicBool,
}

/// What the lock of a connection protects.
pub(super) struct Core {
    wire: Wire,
    session: Option<Session>,
    role: Role,
    /// Whether the steward looks at the connection from time to time.
    watched: bool,
    /// Number of threads that wait for a change.
    waiting: usize,
    /// Number of threads that wait for window.
    pub writers: usize,
    buffers: ReadBuffers,
    /// Number of bytes of ciphertext made, and sent.
    encrypted: u64,
    pub written: u64,
    /// Whether the socket was full when the last thread left the write turn.
    pub blocked: bool,
    /// The reason for which the connection is lost.
    pub failure: Option<String>,
    /// Whether `failure` is the peer's orderly end.
    pub orderly: bool,
    /// Whether the peer has sent its last byte.
    ended: bool,
    /// The time at which a connection that is being closed is given up.
    closing: Option<Instant>,
    shut: bool,
    /// Number of streams and handles that use the connection.
    pub users: usize,
    /// Since when no stream uses the connection.
    idle_since: Instant,
    heard: Instant,
    pinged: Option<Instant>,
    client_pings: ClientPings,
    /// The stream of the Ping that a dial sends.
    pub first_ping: Option<i32>,
    pub remote_cert: Option<Bytes>,
    /// Unary calls whose request is incomplete, and their methods.
    unary: Vec<(i32, String)>,
    /// Time limits of streams.
    deadlines: Vec<(Instant, i32)>,
    going_away: Option<String>,
}

/// Who reads the socket.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Nobody, since this time.
    Free(Instant),
    /// A thread.
    Taken,
    /// The steward, when something arrives.
    Armed,
}

/// Memory for receiving, kept while the connection is in use.
#[derive(Default)]
struct ReadBuffers {
    cipher: Vec<u8>,
    plain: Vec<u8>,
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

/// Counts pings of a client that come too often.
#[derive(Default)]
struct ClientPings {
    last: Option<Instant>,
    strikes: u32,
}

/// Work that follows from received bytes and is done without a lock.
#[derive(Default)]
pub(super) struct Effects {
    requests: Vec<(i32, Vec<Field>)>,
    unary: Vec<(i32, String)>,
    flush: bool,
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

/// What became of a receive.
enum Received {
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
        let now = Instant::now();
        let tls = !matches!(new.wire, Wire::Plain(_));
        let core = Core {
            wire: new.wire,
            session: None,
            role: Role::Free(now),
            watched: false,
            waiting: 0,
            writers: 0,
            buffers: ReadBuffers::default(),
            encrypted: 0,
            written: 0,
            blocked: false,
            failure: None,
            orderly: false,
            ended: false,
            closing: None,
            shut: false,
            users: usize::from(new.service.is_none()),
            idle_since: now,
            heard: now,
            pinged: None,
            client_pings: ClientPings::default(),
            first_ping: None,
            remote_cert: None,
            unary: Vec::new(),
            deadlines: Vec::new(),
            going_away: None,
        };
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

    /// Wakes the threads that wait for a change.
    pub fn notify(&self) {
        self.changed.notify_all();
    }

    /// Waits until `check` returns something, and until this time at most (`None`: without limit). Reads the socket
    /// meanwhile if no other thread does. `check` must not block.
    pub fn wait<R>(
        self: &Arc<Self>,
        until: Option<Instant>,
        mut spin: Option<&mut Spin>,
        mut check: impl FnMut(&mut Core) -> Option<R>,
    ) -> Option<R> {
        let mut core = self.core.lock();
        let mut tried = false;
        let mut parked = false;
        loop {
            if let Some(result) = check(&mut core) {
                self.hand_over(&core);
                return Some(result);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) && tried {
                self.hand_over(&core);
                return None;
            }
            if !parked && core.role != Role::Taken && !core.ended {
                let mut buffers = self.take_role(&mut core);
                drop(core);
                let received = self.receive(&mut buffers, left, spin.as_deref_mut());
                parked = matches!(received, Received::Nothing);
                tried = true;
                core = self.core.lock();
                core.role = Role::Free(Instant::now());
                if parked && left.is_none_or(|left| left >= SLICE) {
                    core.rest();
                }
                let effects = self.process(&mut core, buffers, received);
                if core.waiting > 0 && !parked {
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
            parked = false;
        }
    }

    /// Lets another waiting thread take the read role.
    fn hand_over(&self, core: &Core) {
        if core.waiting > 0 && core.role != Role::Taken {
            self.changed.notify_one();
        }
    }

    fn take_role(self: &Arc<Self>, core: &mut Core) -> ReadBuffers {
        core.role = Role::Taken;
        if !std::mem::replace(&mut core.watched, true) {
            self.steward.watch(self);
        }
        std::mem::take(&mut core.buffers)
    }

    /// Receives, without a lock. Waits for at most `limit` and a slice of time.
    fn receive(&self, buffers: &mut ReadBuffers, limit: Option<Duration>, spin: Option<&mut Spin>) -> Received {
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
    fn process(self: &Arc<Self>, core: &mut Core, mut buffers: ReadBuffers, received: Received) -> Effects {
        let mut effects = Effects::default();
        match received {
            Received::Nothing => {}
            Received::End => core.end("the peer closed the connection"),
            Received::Failed(e) => core.end(&e.to_string()),
            Received::Bytes(length) => {
                core.heard = Instant::now();
                core.pinged = None;
                if buffers.plain.is_empty() {
                    buffers.plain = vec![0; PIECE];
                }
                core.wire.receive(&mut buffers.cipher, length);
                if let Err(failure) = self.advance(core, &mut buffers.plain, &mut effects) {
                    core.fail(failure);
                    self.steward.attend(self);
                }
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
        if core.session.is_none() {
            self.establish(core)?;
        }
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
        if !core.unary.is_empty() {
            let complete =
                |(id, _): &(i32, String)| session.flow(*id).is_none_or(|f| f.half_closed || f.closed.is_some());
            let (complete, waiting) = std::mem::take(&mut core.unary).into_iter().partition(complete);
            effects.unary = complete;
            core.unary = waiting;
        }
        result
    }

    /// Continues the TLS handshake, and starts the session when it is complete.
    fn establish(&self, core: &mut Core) -> Result<(), Failure> {
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
        if effects.flush || self.with(|core| core.wants_write() && core.writers == 0) {
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
                if core.waiting > 0 {
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
        self.with(|core| core.idle_since = Instant::now());
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
            core.idle_since = Instant::now();
            core.users == 0 && self.service.is_none()
        });
        if unused {
            self.close(LINGER);
        }
    }

    /// Watches the time limit of a stream.
    pub fn set_deadline(self: &Arc<Self>, id: i32, at: Instant) {
        self.with(|core| core.deadlines.push((at, id)));
        self.steward.attend(self);
    }

    /// Registers a unary call, which is answered when its request is complete.
    pub fn await_request(self: &Arc<Self>, id: i32, method: String) {
        let complete = self.with(|core| {
            let complete = core.session().and_then(|s| s.flow(id)).is_none_or(|f| f.half_closed);
            if !complete {
                core.unary.push((id, method.clone()));
                core.deadlines.push((Instant::now() + REQUEST, id));
            }
            complete
        });
        match (complete, &self.service) {
            (true, Some(service)) => service.answer(self, id, &method),
            _ => self.steward.attend(self),
        }
    }

    // What follows is called by the thread that drives connections which nobody reads: the steward, or the acceptor.

    /// Reads what has arrived. Returns whether the driver must renew its registration immediately.
    pub fn drive_read(self: &Arc<Self>) -> bool {
        let mut core = self.core.lock();
        if core.role != Role::Armed || core.ended {
            return false;
        }
        core.role = Role::Taken;
        let mut buffers = std::mem::take(&mut core.buffers);
        drop(core);
        let received = self.receive(&mut buffers, Some(Duration::ZERO), None);
        let mut core = self.core.lock();
        let effects = self.process(&mut core, buffers, received);
        let rearm = core.waiting == 0 && !core.ended;
        if rearm {
            core.role = Role::Armed;
        } else {
            core.role = Role::Free(Instant::now());
            if !core.ended && !std::mem::replace(&mut core.watched, true) {
                self.steward.watch(self);
            }
        }
        self.changed.notify_all();
        drop(core);
        self.carry_out(effects);
        rearm
    }

    /// Reads what has arrived on a connection that has no stream yet, and returns what follows from it.
    pub fn drive_pending(self: &Arc<Self>) -> Effects {
        let mut buffers = self.with(|core| std::mem::take(&mut core.buffers));
        let received = self.receive(&mut buffers, Some(Duration::ZERO), None);
        let mut core = self.core.lock();
        let effects = self.process(&mut core, buffers, received);
        // A stranger's connection keeps no buffers while it is silent.
        core.buffers = ReadBuffers::default();
        core.wire.release();
        drop(core);
        self.flush();
        effects
    }

    /// Takes the read role over for the driver if nobody has used it for `unattended`. Returns `true` if the driver must
    /// register the socket now; `None` if it has to look again.
    pub fn drive_watch(&self, now: Instant, unattended: Duration) -> Option<bool> {
        let mut core = self.core.lock();
        match core.role {
            _ if core.ended => {
                core.watched = false;
                Some(false)
            }
            Role::Taken => None,
            Role::Free(since) if now.saturating_duration_since(since) < unattended => None,
            Role::Free(_) | Role::Armed => {
                core.watched = false;
                core.role = Role::Armed;
                core.buffers = ReadBuffers::default();
                core.wire.release();
                core.release_batch();
                Some(true)
            }
        }
    }

    /// Marks the read role as the driver's, before the connection is used by threads.
    pub fn drive_first(&self) {
        self.core.lock().role = Role::Armed;
    }

    /// Returns what the driver has to wait for.
    pub fn interest(&self) -> Interest {
        let core = self.core.lock();
        Interest { read: core.role == Role::Armed && !core.ended, write: core.blocked && !core.ended }
    }

    /// Does what is due at this time. Returns when it must be called again; `None` if the connection is over.
    pub fn drive_timers(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        // Closing has three steps, each of which may have to send something.
        for _ in 0..3 {
            let (next, flush) = self.with(|core| self.timers(core, now));
            if !flush {
                return next;
            }
            self.changed.notify_all();
            self.flush();
        }
        Some(now)
    }

    fn timers(&self, core: &mut Core, now: Instant) -> (Option<Instant>, bool) {
        if core.ended {
            return (None, false);
        }
        if core.closing.is_none() && core.failure.is_some() {
            core.close(LINGER);
        }
        if let Some(at) = core.closing {
            if at <= now {
                core.end("the connection was closed by us");
                return (None, false);
            }
            let sent = !core.wants_write() && core.encrypted == core.written;
            if sent && !core.shut {
                core.shut = true;
                core.wire.close();
                return (Some(at), true);
            }
            if sent {
                self.socket.shut_down_write();
            }
            return (Some(at), !sent && !core.blocked);
        }
        let limits = &self.settings.limits;
        let mut flush = false;
        if core.pinged.is_some_and(|at| now >= at + limits.keepalive_timeout) {
            core.end("keepalive: the peer did not answer a ping in time");
            self.changed.notify_all();
            return (None, false);
        }
        let mut next = match core.pinged {
            Some(at) => at + limits.keepalive_timeout,
            None if now >= core.heard + limits.keepalive_time => {
                if let Some(session) = &mut core.session {
                    session.ping();
                }
                core.pinged = Some(now);
                flush = true;
                now + limits.keepalive_timeout
            }
            None => core.heard + limits.keepalive_time,
        };
        if self.service.is_some() {
            if core.users == 0 && now >= core.idle_since + limits.max_connection_idle {
                core.close(LINGER);
                return (Some(now + LINGER), true);
            }
            let idle = if core.users == 0 { core.idle_since } else { now };
            next = next.min(idle + limits.max_connection_idle);
        }
        let (due, later) = std::mem::take(&mut core.deadlines).into_iter().partition(|(at, _)| *at <= now);
        core.deadlines = later;
        let due: Vec<(Instant, i32)> = due;
        for (_, id) in due {
            core.expire(id);
            flush = true;
        }
        next = core.deadlines.iter().map(|(at, _)| *at).fold(next, Instant::min);
        if let Some(session) = &mut core.session {
            let budget = &self.settings.budget;
            if session.return_withheld(false) || budget.may_overdraw(self.id) && session.return_withheld(true) {
                budget.stop_overdrawing(self.id);
            } else {
                next = next.min(now + WITHHELD);
            }
            flush |= session.wants_write() && core.writers == 0;
        }
        (Some(next), flush)
    }

    /// Ends the connection for good; the driver has forgotten it.
    pub fn drive_end(&self) {
        let mut core = self.core.lock();
        core.end("the connection was closed by us");
        drop(core);
        self.settings.budget.stop_overdrawing(self.id);
        self.socket.shut_down();
        self.changed.notify_all();
        if let Some(service) = &self.service {
            service.connection_ended(self.id);
        }
    }
}

enum Progress {
    Done,
    Blocked,
    Lost,
}

/// Reason for ending a connection.
enum Failure {
    /// The TLS handshake failed.
    Handshake(String),
    /// TLS failed later.
    Tls(String),
    /// The peer closed TLS.
    Closed,
    /// The peer violated HTTP/2 or a limit.
    Violation(String),
    TooManyPings,
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Failure {
        Failure::Violation(violation.0)
    }
}

impl Core {
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    pub fn session_mut(&mut self) -> Option<&mut Session> {
        self.session.as_mut()
    }

    /// Returns whether there is something to encrypt and send.
    pub fn wants_write(&self) -> bool {
        !self.shut && self.session.as_ref().is_some_and(Session::wants_write) || self.wire.has_outgoing()
    }

    /// Returns why no stream can be opened.
    pub fn refusal(&self) -> String {
        let reason = self.failure.as_ref().or(self.going_away.as_ref());
        reason.cloned().unwrap_or_else(|| "the peer accepts no further streams".into())
    }

    /// Returns the status of a stream that is lost with the connection.
    pub fn lost_status(&self) -> Status {
        let text = match (&self.failure, &self.going_away) {
            (Some(failure), Some(going_away)) => format!("{failure}; {going_away}"),
            (Some(text), None) | (None, Some(text)) => text.clone(),
            (None, None) => "the stream was lost".into(),
        };
        Status::new(code::UNAVAILABLE, text)
    }

    /// Returns whether nothing more can be received or sent.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns whether no more bytes of the peer will be processed.
    pub fn is_over(&self) -> bool {
        self.ended || self.failure.is_some()
    }

    /// Returns whether the TLS handshake is complete, and whether the peer's SETTINGS have arrived.
    pub fn progress(&self) -> (bool, bool) {
        (self.wire.is_established(), self.session.as_ref().is_some_and(Session::settings_received))
    }

    /// Encrypts the next batch of frames into `out`.
    fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        if let Some(session) = self.session.as_mut().filter(|_| !self.shut) {
            let batch = session.fill()?;
            if !batch.is_empty() {
                self.wire.encrypt(batch).map_err(|e| match e {
                    WireError::Tls(text) => Failure::Tls(text),
                    WireError::Closed => Failure::Closed,
                })?;
                if batch.capacity() > 2 * BATCH {
                    *batch = Vec::new();
                }
            }
        }
        self.wire.take_outgoing(out);
        self.encrypted += out.len() as u64;
        if let Some(session) = &mut self.session {
            for (_, flow) in session.flows_mut() {
                if std::mem::take(&mut flow.moved) {
                    flow.mark = self.encrypted;
                }
            }
        }
        Ok(())
    }

    fn release_batch(&mut self) {
        if let Some(session) = &mut self.session {
            session.release_batch();
        }
    }

    /// Lets the steward take the read role over soon: nothing comes.
    fn rest(&mut self) {
        if let (Role::Free(since), Some(past)) = (self.role, Instant::now().checked_sub(Duration::from_secs(1))) {
            self.role = Role::Free(since.min(past));
        }
    }

    /// Ends the connection because of this failure. What the session still wants to send is sent.
    fn fail(&mut self, failure: Failure) {
        let (text, goaway) = match failure {
            Failure::Handshake(text) => (format!("the TLS handshake failed: {text}"), None),
            Failure::Tls(text) => (format!("TLS failed: {text}"), None),
            Failure::Closed => {
                self.orderly = true;
                ("the peer closed the connection".to_owned(), None)
            }
            Failure::Violation(text) => {
                let code = goaway_code(&text);
                (format!("the peer violated HTTP/2: {text}"), Some((code, text)))
            }
            Failure::TooManyPings => {
                let text = "too_many_pings".to_owned();
                ("the peer sent too many pings".to_owned(), Some((reset::ENHANCE_YOUR_CALM, text)))
            }
        };
        if let (Some(session), Some((code, text))) = (&mut self.session, goaway) {
            session.terminate(code, &text);
        }
        self.failure.get_or_insert(text);
        self.closing.get_or_insert(Instant::now() + LINGER);
    }

    /// Records that the connection is over: nothing more is received or sent.
    fn end(&mut self, why: &str) {
        self.ended = true;
        if self.failure.is_none() {
            self.orderly = self.closing.is_some();
            let going_away = self.going_away.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
            self.failure = Some(format!("{why}{going_away}"));
        }
    }

    /// Begins to close the connection.
    fn close(&mut self, linger: Duration) {
        let at = Instant::now() + linger;
        self.closing = Some(self.closing.map_or(at, |before| before.min(at)));
        if self.failure.is_none() {
            if let Some(session) = &mut self.session {
                session.terminate(reset::NO_ERROR, "");
            }
            self.failure = Some("the connection was closed by us".into());
        }
    }

    /// Ends a stream whose time limit has passed.
    fn expire(&mut self, id: i32) {
        let Some(session) = &mut self.session else { return };
        match session.flow_mut(id) {
            Some(flow) if flow.closed.is_none() && !flow.is_abandoned() => flow.expired = true,
            _ => return,
        }
        session.reset(id, reset::CANCEL);
    }
}

impl ClientPings {
    /// Records a ping. Returns the number of pings that came too early. A ping that follows data measures the
    /// connection and is welcome.
    fn record(&mut self, now: Instant, min_interval: Duration, answered: bool) -> u32 {
        let last = self.last.replace(now);
        if last.is_some_and(|last| now < last + min_interval) && !answered {
            self.strikes += 1;
        } else if answered {
            self.strikes = 0;
        }
        self.strikes
    }
}
