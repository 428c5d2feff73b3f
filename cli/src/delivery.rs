//! Ordered delivery of messages to one peer, with the outcome of each message.

use crate::output::{printable, Progress};
use crate::report;
use crate::values::{brief, micros, short};
use crate::Context;
use bytes::Bytes;
use fabric_gossip::comm::{AckHandle, Comm, Event, RemotePeer, SendResult, Subscription};
use fabric_gossip::config::CommConfig;
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::{Error, ErrorKind};
use serde_json::json;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Maximum number of messages whose acknowledgement is awaited at a time. More would only wait longer.
const WINDOW: usize = 1024;

/// Interval for checking whether the connection is lost.
const TICK: Duration = Duration::from_millis(50);

/// Maximum time for a lost connection to be restored.
const RECONNECT: Duration = Duration::from_secs(1);

/// Number of acknowledgements that are printed one by one in text form.
const SHOWN: u64 = 20;

/// Condition for a message to count as delivered.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Written,
    Acknowledged,
}

pub struct Delivery<'a> {
    context: &'a Context,
    comm: &'a Comm,
    events: Subscription<Event>,
    peer: RemotePeer,
    mode: Mode,
    timeout: Duration,
    progress: Option<Progress>,
    begin: Instant,
    elapsed: Duration,
    /// Number of messages accepted for sending.
    accepted: u64,
    /// Number of messages reported as undelivered.
    undelivered: u64,
    acked: u64,
    /// Oldest first.
    pending: VecDeque<(AckHandle, Instant)>,
    /// PKI-ID of the peer, once it is known.
    pki_id: Option<String>,
    /// Time of the first connection. The time limits for answers begin there: before, the dial has its own.
    connected: Option<Instant>,
    /// Maximum time of a dial with its handshake, which reports its own failure.
    dial_limit: Duration,
    /// Time at which the connection was lost, while there is none.
    disconnected: Option<Instant>,
    /// Reason why no more messages are delivered.
    lost: Option<String>,
    /// Whether we stopped before the end: the effects on the connection are then not a cause.
    interrupted: bool,
    /// Reasons of failed messages, with the number of messages.
    reasons: BTreeMap<String, u64>,
}

impl<'a> Delivery<'a> {
    pub fn new(context: &'a Context, comm: &'a Comm, peer: RemotePeer, mode: Mode, timeout: Duration) -> Self {
        // The one that the communication layer was started with.
        let (now, config) = (Instant::now(), CommConfig::default());
        Delivery {
            context,
            comm,
            events: comm.events(),
            pki_id: peer.pki_id.as_ref().map(|id| id.to_string()),
            peer,
            mode,
            timeout,
            progress: None,
            begin: now,
            elapsed: Duration::ZERO,
            accepted: 0,
            undelivered: 0,
            acked: 0,
            pending: VecDeque::new(),
            connected: None,
            dial_limit: config.dial_timeout + 3 * config.conn_timeout,
            disconnected: None,
            lost: None,
            interrupted: false,
            reasons: BTreeMap::new(),
        }
    }

    /// Sends `count` messages, or as many as possible.
    pub fn run(&mut self, count: u64, channel: &str, payload: &Bytes) {
        let channel = Bytes::copy_from_slice(channel.as_bytes());
        let mut progressed = Instant::now();
        let what = if self.mode == Mode::Acknowledged { "acknowledged" } else { "sent" };
        self.progress = (count > 1).then(|| self.context.out.progress(what, count));
        while self.accepted < count && self.goes_on() {
            match self.hand_over(&channel, payload) {
                Ok(()) => {
                    self.accepted += 1;
                    progressed = Instant::now();
                }
                Err(e) if is_queue_full(&e) && self.waited_since(progressed) < self.timeout => {}
                Err(e) if is_queue_full(&e) && self.connected.is_some() => {
                    self.lost = Some(format!("the peer has read nothing for {}", short(self.timeout)));
                }
                Err(e) => self.lost = Some(e.to_string()),
            }
            self.collect(WINDOW);
            self.show();
        }
        match self.mode {
            Mode::Acknowledged => {
                while !self.pending.is_empty() && self.is_answered() {
                    self.collect(1);
                    self.show();
                }
            }
            Mode::Written => self.flush(),
        }
        self.elapsed = self.begin.elapsed();
        self.progress = None;
        self.interrupted = self.lost.is_none() && self.context.stop.is_cancelled();
        let why = self.lost.clone().unwrap_or_else(|| "stopped before it was acknowledged".into());
        for (handle, _) in std::mem::take(&mut self.pending) {
            match handle.wait(Duration::ZERO) {
                Some(result) => self.answered(&result),
                // It is not a failure of the peer that we did not wait.
                None if self.interrupted => self.print(Some(&why), None),
                None => self.fail(&why, None),
            }
        }
        self.context.out.flush();
    }

    fn hand_over(&mut self, channel: &Bytes, payload: &Bytes) -> Result<(), Error> {
        let data = message::data(self.accepted + 1, channel.clone(), self.accepted, payload.clone());
        match self.mode {
            Mode::Acknowledged => {
                let handle = self.comm.send_tracked(data, TICK, &self.peer)?;
                self.pending.push_back((handle, Instant::now()));
                Ok(())
            }
            Mode::Written => {
                let sent =
                    self.comm.send_timeout(&SignedMessage::noop_sign(data)?, TICK, std::slice::from_ref(&self.peer));
                sent.map_err(|mut e| e.not_sent.swap_remove(0).error)
            }
        }
    }

    /// Processes the available answers; with `most` or more outstanding, waits briefly for the oldest.
    fn collect(&mut self, most: usize) {
        while let Some((handle, since)) = self.pending.front() {
            let wait = if self.pending.len() >= most { TICK } else { Duration::ZERO };
            let overdue = self.waited_since(*since) >= self.timeout;
            match handle.wait(if overdue { Duration::ZERO } else { wait }) {
                Some(result) => self.answered(&result),
                None if overdue => self.fail("timed out", None),
                None => break,
            }
            self.pending.pop_front();
        }
        if most == 1 || self.pending.len() >= most {
            self.context.out.flush();
        }
    }

    fn answered(&mut self, result: &SendResult) {
        // The connection event precedes any answer.
        self.watch();
        match &result.error {
            None => {
                self.acked += 1;
                self.print(None, result.round_trip);
            }
            Some(e) => self.fail(e.message(), result.round_trip),
        }
    }

    fn fail(&mut self, why: &str, after: Option<Duration>) {
        *self.reasons.entry(why.to_owned()).or_default() += 1;
        self.print(Some(why), after);
    }

    fn print(&self, error: Option<&str>, after: Option<Duration>) {
        let out = &self.context.out;
        let number = self.acked + self.reasons.values().sum::<u64>();
        if !out.is_json() && number > SHOWN {
            return;
        }
        let (pki_id, rtt) = (&self.pki_id, after.map(micros));
        out.bulk(
            || json!({"event": "ack", "pki_id": pki_id, "error": error, "rtt_us": rtt}),
            || match (error, after) {
                (None, after) => format!("✔ acknowledged after {}", short(after.unwrap_or_default())),
                (Some(error), Some(after)) => format!("✘ answered after {}: {}", short(after), printable(error)),
                (Some(error), None) => format!("✘ not acknowledged: {}", printable(error)),
            },
        );
    }

    /// Waits until everything is written.
    fn flush(&mut self) {
        let begin = Instant::now();
        while self.goes_on() && self.comm.flush(TICK).is_err() {
            if self.waited_since(begin) > self.timeout {
                self.lost = Some(format!("the peer did not read everything within {}", short(self.timeout)));
            }
        }
        self.goes_on();
    }

    /// Processes the events of the connection; returns `false` if nothing more is to be delivered.
    fn goes_on(&mut self) -> bool {
        self.is_answered() && !self.context.stop.is_cancelled()
    }

    /// Processes the events of the connection; returns `false` if no answer is to be waited for. A closed stdout is no
    /// reason: the exit code tells whether the peer accepted what was sent before.
    fn is_answered(&mut self) -> bool {
        self.watch();
        if self.lost.is_none() && self.disconnected.is_some_and(|at| at.elapsed() > RECONNECT) {
            self.lost = Some("the connection was closed, and dialling again failed".into());
        }
        self.lost.is_none() && self.context.interrupted.signal().is_none()
    }

    /// Returns how long the peer has not answered since a moment. Before the first connection, the time that a dial may take
    /// does not count.
    fn waited_since(&self, moment: Instant) -> Duration {
        match self.connected {
            Some(connected) => connected.max(moment).elapsed(),
            None => moment.elapsed().saturating_sub(self.dial_limit),
        }
    }

    /// Returns the cause, as text.
    fn cause(&self, error: &Error) -> String {
        let endpoint = &self.peer.endpoint;
        match &self.peer.pki_id {
            // Fabric's text for another PKI-ID than the expected one.
            Some(expected) if error.message() == "authentication failure" => format!(
                "{endpoint}: handshake: its PKI-ID is not {}: another peer answers here, or the peer has a new certificate",
                brief(expected)
            ),
            _ => error.to_string(),
        }
    }

    fn watch(&mut self) {
        while let Ok(Some(event)) = self.events.try_recv() {
            self.event(event);
        }
    }

    /// Keeps the connection open to receive the peer's messages, until it is closed.
    pub fn linger(&mut self, time: Duration) {
        let begin = Instant::now();
        while self.goes_on() && self.disconnected.is_none() && begin.elapsed() < time {
            let _ = self.context.stop.signal().recv_timeout(TICK.min(time));
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Connected { info, .. } => {
                self.pki_id = Some(info.id.to_string());
                self.disconnected = None;
                self.connected.get_or_insert_with(Instant::now);
                report::connected(self.context, &info);
            }
            Event::Disconnected { info, reason } => {
                self.disconnected = Some(Instant::now());
                report::disconnected(self.context, &info, &reason);
            }
            Event::Undelivered { error, messages, .. } => {
                self.undelivered += messages.len() as u64;
                if !self.interrupted {
                    let cause = self.cause(&error);
                    self.lost.get_or_insert(cause);
                }
            }
            Event::DialFailed { error, .. } if !self.interrupted => self.lost = Some(self.cause(&error)),
            Event::Refused { error, .. } => {
                // A peer that refuses us has read none of the messages written.
                self.undelivered = self.accepted;
                self.lost = Some(format!("the peer refused us: {}", error.message()));
            }
            Event::PresumedDead { .. } => {
                self.lost.get_or_insert_with(|| "the peer disconnected".into());
            }
            _ => {}
        }
    }

    /// After stopping, processes the peer's last answers.
    pub fn look_back(&mut self) {
        while let Ok(Some(event)) = self.events.try_recv() {
            match event {
                Event::Connected { .. } | Event::Disconnected { .. } => {}
                event => self.event(event),
            }
        }
    }

    fn show(&self) {
        if let Some(progress) = &self.progress {
            progress.set(if self.mode == Mode::Acknowledged { self.acked } else { self.accepted });
        }
    }

    /// Returns the command that examines the peer further; `None` if nothing is wrong with it that is known.
    pub fn advice(&self) -> Option<String> {
        let tried = self.accepted > 0 && self.acked == 0 && !self.interrupted;
        let expect = self.peer.pki_id.as_ref().map(|id| format!(" --expect {id}")).unwrap_or_default();
        tried.then(|| format!("to check each step: fabric-gossip handshake {}{expect}", self.peer.endpoint))
    }

    /// Returns the number of messages that were written to the peer.
    pub fn sent(&self) -> u64 {
        self.accepted.saturating_sub(self.undelivered)
    }

    /// Returns the number of messages that were not delivered, including those that were never attempted.
    pub fn failed(&self, wanted: u64) -> u64 {
        wanted.saturating_sub(match self.mode {
            Mode::Acknowledged => self.acked,
            Mode::Written => self.sent(),
        })
    }

    pub fn acked(&self) -> u64 {
        self.acked
    }

    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }

    pub fn reasons(&self) -> &BTreeMap<String, u64> {
        &self.reasons
    }
}

/// Returns whether a message found no room in the queue. The lack of a thread is of the same kind, with the system's error as
/// its source, and does not end by waiting.
fn is_queue_full(error: &Error) -> bool {
    error.kind() == ErrorKind::Full && std::error::Error::source(error).is_none()
}
