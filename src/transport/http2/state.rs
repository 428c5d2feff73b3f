//! The state of a connection, under its lock: session, TLS, who reads, what is due. No I/O.

use super::connection::LINGER;
use super::grpc::reset;
use super::session::{Session, Violation, BATCH};
use super::wire::{goaway_code, Wire, WireError};
use crate::sync;
use crate::transport::{code, Status};
use bytes::Bytes;
use std::time::{Duration, Instant};

/// The state of a connection, protected by its lock.
pub(super) struct Core {
    pub wire: Wire,
    pub session: Option<Session>,
    pub role: Role,
    /// Whether the steward looks at the connection from time to time.
    pub watched: bool,
    /// Number of threads that wait for a change.
    pub waiting: usize,
    /// Number of the waiting threads that wait for window, or for what was queued to be sent.
    pub writers: usize,
    pub buffers: ReadBuffers,
    /// Number of bytes of ciphertext made, and sent.
    pub encrypted: u64,
    pub written: u64,
    /// Whether the socket was full when the last thread left the write turn.
    pub blocked: bool,
    /// The reason for which the connection is lost.
    pub failure: Option<String>,
    /// Whether `failure` is the peer's orderly end.
    pub orderly: bool,
    /// Whether the peer has sent its last byte.
    pub ended: bool,
    /// The time at which a connection that is being closed is given up.
    pub closing: Option<Instant>,
    pub shut: bool,
    /// Number of streams and handles that use the connection.
    pub users: usize,
    /// Since when no stream uses the connection.
    pub idle_since: Instant,
    pub heard: Instant,
    pub pinged: Option<Instant>,
    pub client_pings: ClientPings,
    /// The stream of the Ping that a dial sends.
    pub first_ping: Option<i32>,
    pub remote_cert: Option<Bytes>,
    /// Unary calls whose request is incomplete, and their methods.
    pub unary: Vec<(i32, String)>,
    /// When the driver looks at the time limits next.
    pub look_at: Instant,
    pub going_away: Option<String>,
}

/// The holder of the read role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Nobody, since this time.
    Free(Instant),
    /// A thread.
    Taken,
    /// The steward, when something arrives.
    Armed,
}

/// Memory for receiving, kept while the connection is in use.
#[derive(Default)]
pub(super) struct ReadBuffers {
    pub cipher: Vec<u8>,
    pub plain: Vec<u8>,
}

/// Counts pings of a client that come too often.
#[derive(Default)]
pub(super) struct ClientPings {
    last: Option<Instant>,
    strikes: u32,
}

/// Reason for ending a connection.
pub(super) enum Failure {
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
    /// Creates the state of a new connection, which a client's handle uses already.
    pub fn new(wire: Wire, client: bool) -> Core {
        let now = sync::now();
        Core {
            wire,
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
            users: usize::from(client),
            idle_since: now,
            heard: now,
            pinged: None,
            client_pings: ClientPings::default(),
            first_ping: None,
            remote_cert: None,
            unary: Vec::new(),
            look_at: now,
            going_away: None,
        }
    }

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
    pub fn fill(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
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

    /// Releases the memory for receiving and sending that a connection without traffic does not need.
    pub fn release_buffers(&mut self) {
        self.buffers = ReadBuffers::default();
        self.wire.release();
        if let Some(session) = &mut self.session {
            session.release_batch();
        }
    }

    /// Ends the connection because of this failure. What the session still wants to send is sent.
    pub fn fail(&mut self, failure: Failure) {
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
        self.closing.get_or_insert(sync::now() + LINGER);
    }

    /// Records that the connection is over: nothing more is received or sent.
    pub fn end(&mut self, why: &str) {
        self.ended = true;
        if self.failure.is_none() {
            self.orderly = self.closing.is_some();
            let going_away = self.going_away.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
            self.failure = Some(format!("{why}{going_away}"));
        }
    }

    /// Begins to close the connection.
    pub fn close(&mut self, linger: Duration) {
        let at = sync::now() + linger;
        self.closing = Some(self.closing.map_or(at, |before| before.min(at)));
        if self.failure.is_none() {
            if let Some(session) = &mut self.session {
                // A session that is being ended sends no frame of a stream: the last ones go into the batch before. An
                // error does not matter any more.
                let _ = session.fill();
                session.terminate(reset::NO_ERROR, "");
            }
            self.failure = Some("the connection was closed by us".into());
        }
    }

    /// Sets the time limit of a stream, if it is earlier than the one it has. Returns whether the driver has to be told.
    pub fn set_deadline(&mut self, id: i32, at: Instant) -> bool {
        let Some(flow) = self.session.as_mut().and_then(|session| session.flow_mut(id)) else { return false };
        flow.deadline = Some(flow.deadline.map_or(at, |before| before.min(at)));
        at < self.look_at
    }

    /// Ends the streams whose time limit has passed. Returns whether there were any, and the next time limit.
    pub fn expire(&mut self, now: Instant) -> (bool, Option<Instant>) {
        let Some(session) = &mut self.session else { return (false, None) };
        let (mut due, mut next) = (Vec::new(), None::<Instant>);
        for (id, flow) in session.flows_mut().filter(|(_, flow)| flow.closed.is_none()) {
            match flow.deadline {
                Some(at) if at <= now => {
                    (flow.deadline, flow.expired) = (None, true);
                    due.push(id);
                }
                Some(at) => next = Some(next.map_or(at, |before| before.min(at))),
                None => {}
            }
        }
        due.iter().for_each(|id| session.reset(*id, reset::CANCEL));
        (!due.is_empty(), next)
    }
}

impl ClientPings {
    /// Records a ping. Returns the number of pings that came too early. A ping that follows data measures the
    /// connection and is welcome.
    pub fn record(&mut self, now: Instant, min_interval: Duration, answered: bool) -> u32 {
        let last = self.last.replace(now);
        if last.is_some_and(|last| now < last + min_interval) && !answered {
            self.strikes += 1;
        } else if answered {
            self.strikes = 0;
        }
        self.strikes
    }
}
