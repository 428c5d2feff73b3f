//! A bidirectional stream of messages.

use super::call::{too_large, Call, Op};
use super::options::StreamOptions;
use super::peer::Peer;
use super::poller::Traffic;
use super::queue::Wait;
use super::status::{code, End, Status};
use crate::sync::Mutex;
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a blocked writer looks whether its stream was cancelled. The core itself does not wake it while the
/// socket is full.
const LOOK: Duration = Duration::from_millis(250);

/// How long a failed write on a dialled stream waits for the reason, which is not there while unread messages stand before it.
const REASON: Duration = Duration::from_millis(20);

/// For how many times [`Options::spin`](super::Options::spin) a reply is waited for. Who replies has to be woken first.
const REPLY: u32 = 3;

/// What the core says of a stream that was reset, rather than ended with a status.
const RESET: &str = "Received RST_STREAM";

/// A stream, dialled or accepted.
///
/// One thread sends and one receives, as a rule; more of them take turns. [`cancel`](Self::cancel) is for any thread.
/// Dropping it cancels what is open, without waiting.
pub struct Stream {
    call: Arc<Call>,
    accepted: bool,
    /// That of the server it was accepted by.
    traffic: Option<Arc<Traffic>>,
    /// It has a limit of time. Both cores watch it, and either may be the one to report it.
    limited: bool,
    peer: Peer,
    settings: StreamOptions,
    send: Mutex<SendSide>,
    recv: Mutex<RecvSide>,
    /// Taken by whoever collects the end of the call; locked after `send` or `recv`, never before.
    collect: Mutex<()>,
    end: OnceLock<End>,
    /// Something was sent since `recv` was last called.
    sent: AtomicBool,
    finished: AtomicBool,
}

#[derive(Default)]
struct SendSide {
    started: bool,
}

#[derive(Default)]
struct RecvSide {
    started: bool,
    /// The core said that no message follows.
    drained: bool,
    /// Something was sent between the last two messages.
    conversing: bool,
}

impl Stream {
    pub(super) fn dialled(call: Arc<Call>, limited: bool, peer: Peer, settings: StreamOptions) -> Stream {
        Stream { limited, ..Stream::new(call, false, peer, settings) }
    }

    pub(super) fn accepted(call: Arc<Call>, peer: Peer, settings: StreamOptions, traffic: Arc<Traffic>) -> Stream {
        Stream { traffic: Some(traffic), ..Stream::new(call, true, peer, settings) }
    }

    fn new(call: Arc<Call>, accepted: bool, peer: Peer, settings: StreamOptions) -> Stream {
        Stream {
            call,
            accepted,
            traffic: None,
            limited: false,
            peer,
            settings,
            send: Mutex::default(),
            recv: Mutex::default(),
            collect: Mutex::new(()),
            end: OnceLock::new(),
            sent: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    /// The two ends.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Starts to write a message and returns at once. It must be waited for with [`wait_sent`](Self::wait_sent) before
    /// the next one is started (which otherwise waits itself). `more` lets the core hold it back to send it together
    /// with the next, and must only be set by who already has the next: the message does not leave without it.
    ///
    /// # Errors
    /// Why the stream takes no more.
    pub fn start_send(&self, message: Bytes, more: bool) -> Result<(), End> {
        let mut side = self.send.lock();
        self.await_sent(&mut side, None)?;
        if self.finished.load(Ordering::Acquire) {
            return Err(End::Local);
        }
        // An accepted stream whose client half-closed still takes messages; the core knows when not.
        match self.end.get() {
            Some(end) if !(self.accepted && matches!(end, End::Remote(_))) => return Err(end.clone()),
            _ => {}
        }
        if message.len() > self.settings.max_send {
            return Err(self.fail(too_large("Sent", message.len(), self.settings.max_send)));
        }
        self.call.start_send(message, more).map_err(|_| self.why())?;
        side.started = true;
        Ok(())
    }

    /// Waits until the started write is done (`true`), at most `timeout` (`None`: for ever; zero: not at all; the C
    /// core counts in whole milliseconds). `false`: still under way. `true` at once if none was started. Done means
    /// handed to the connection, not delivered.
    ///
    /// # Errors
    /// Why it failed. After [`cancel`](Self::cancel) within a quarter of a second, even if the peer is frozen.
    pub fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, End> {
        self.await_sent(&mut self.send.lock(), timeout)
    }

    fn await_sent(&self, side: &mut SendSide, timeout: Option<Duration>) -> Result<bool, End> {
        if self.call.is_cancelled() {
            return Err(End::Local);
        }
        if !side.started {
            return Ok(true);
        }
        // Mostly it is done by now, and the time of no interest.
        let done = self.call.take(Op::Send);
        match done.map_or_else(|| self.wait_for(Op::Send, Wait::at_most(timeout)), |success| Ok(Some(success)))? {
            None => Ok(false),
            Some(success) => {
                side.started = false;
                self.call.release_sent();
                if !success {
                    return Err(self.why());
                }
                self.sent.store(true, Ordering::Relaxed);
                Ok(true)
            }
        }
    }

    /// Writes a message and waits until that is done: [`start_send`](Self::start_send) and
    /// [`wait_sent`](Self::wait_sent).
    ///
    /// # Errors
    /// As these.
    pub fn send(&self, message: Bytes, more: bool) -> Result<(), End> {
        self.start_send(message, more)?;
        self.wait_sent(None).map(drop)
    }

    /// The next message, waiting at most `timeout` (`None`: for ever; zero: not at all). `None`: none came in time; the
    /// call can be repeated and nothing is lost.
    ///
    /// # Errors
    /// How the stream ended, after the last message. The same again on every further call.
    pub fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, End> {
        let mut side = self.recv.lock();
        if self.call.is_cancelled() {
            return Err(self.settle(End::Local));
        }
        if let Some(end) = self.end.get() {
            return Err(end.clone());
        }
        let wait = Wait::at_most(timeout);
        if !side.drained {
            if !side.started {
                self.await_reply(&mut side);
            }
            self.start_recv(&mut side)?;
            if self.spin_recv(&mut side).is_none() && self.call.wait_for(Op::Recv, wait).is_none() {
                return Ok(None);
            }
            if let Some(traffic) = &self.traffic {
                traffic.read();
            }
            side.started = false;
            if let Some(message) = self.received(&mut side)? {
                return Ok(Some(message));
            }
        }
        self.collect_end(wait).map_or(Ok(None), Err)
    }

    /// The next message if the core has it. Does not look at the connection, as [`recv`](Self::recv) does, nor ask for the
    /// next one in a conversation, which is to be replied to first.
    ///
    /// # Errors
    /// None that `recv` would not give as well, though this may say `None` instead.
    pub fn try_recv(&self) -> Result<Option<Bytes>, End> {
        let mut side = self.recv.lock();
        if side.drained || side.conversing || self.call.is_cancelled() || self.end.get().is_some() {
            return Ok(None);
        }
        self.start_recv(&mut side)?;
        if self.call.take(Op::Recv).is_none() {
            return Ok(None);
        }
        side.started = false;
        self.received(&mut side)
    }

    fn start_recv(&self, side: &mut RecvSide) -> Result<(), End> {
        if !side.started {
            self.call.start_recv().map_err(|_| self.why())?;
            side.started = true;
        }
        Ok(())
    }

    /// What the completed operation brought; `None` if that was the end.
    fn received(&self, side: &mut RecvSide) -> Result<Option<Bytes>, End> {
        let received = self.call.take_message(self.settings.max_receive).map_err(|status| self.fail(status))?;
        side.drained = received.is_none();
        Ok(received)
    }

    /// In a conversation, waits a moment for the reply to the message before, and only then asks for the next. The core
    /// tells the other side of room in the window as soon as a message is asked for: by a packet of its own, which the
    /// reply would have to wait for, and which wakes whoever reads at the other end.
    fn await_reply(&self, side: &mut RecvSide) {
        if !std::mem::take(&mut side.conversing) {
            return;
        }
        let Some(_spinning) = Spinning::begin() else { return };
        let until = Instant::now() + REPLY * self.settings.spin;
        while !self.sent.load(Ordering::Relaxed) && Instant::now() < until {
            std::thread::yield_now();
        }
    }

    /// Polls for a moment, in a conversation: if something was sent since the message before. The next one is near then,
    /// and to block would cost a thread switch. Who only receives, or only sends, does not spin, nor who is idle; and never
    /// more threads at once than there are processors. `None` if it did not help.
    fn spin_recv(&self, side: &mut RecvSide) -> Option<bool> {
        if self.settings.spin.is_zero() || !self.sent.swap(false, Ordering::Relaxed) {
            return None;
        }
        side.conversing = true;
        let _spinning = Spinning::begin()?;
        let until = Instant::now() + self.settings.spin;
        loop {
            let done = self.call.wait_for(Op::Recv, Wait::Not);
            if done.is_some() || Instant::now() >= until {
                return done;
            }
            std::thread::yield_now();
        }
    }

    /// Ends the stream for what is too large, in the same way as the core's own limits.
    fn fail(&self, status: Status) -> End {
        self.call.fail(&status);
        self.settle(if self.accepted { End::Lost(status) } else { End::Remote(status) })
    }

    /// Says that nothing more comes from us, after all that was sent: a dialled stream half-closes, and can be read to
    /// its end; an accepted one ends with `status`. Waits for a started write, not for this to leave.
    ///
    /// # Errors
    /// Why the stream is over already.
    pub fn finish(&self, status: &Status) -> Result<(), End> {
        let mut side = self.send.lock();
        self.await_sent(&mut side, None)?;
        if self.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let started = if self.accepted { self.call.start_status(status) } else { self.call.start_half_close() };
        started.map_err(|_| self.why())
    }

    /// Starts an accepted stream; `false` if it is over already.
    pub(super) fn begin(&self) -> bool {
        self.call.start_accepted().is_ok()
    }

    /// Whether the client took this accepted stream back, or its connection is gone, before it was finished or cancelled
    /// here.
    pub(super) fn was_reset(&self) -> bool {
        !self.call.is_cancelled()
            && !self.finished.load(Ordering::Acquire)
            && (matches!(self.end.get(), Some(End::Lost(_))) || self.call.is_over())
    }

    /// Ends the stream at once, in both directions. Does not block.
    pub fn cancel(&self) {
        self.call.cancel();
    }

    /// Whether [`cancel`](Self::cancel) was called, or the server stops.
    pub fn is_cancelled(&self) -> bool {
        self.call.is_cancelled()
    }

    /// Says that the server cancels all its calls.
    pub(super) fn mark_cancelled(&self) {
        self.call.mark_cancelled();
    }

    /// Waits for an operation of the sending side, looking for cancellation now and then.
    fn wait_for(&self, op: Op, wait: Wait) -> Result<Option<bool>, End> {
        loop {
            if let Some(success) = self.call.take(op).or_else(|| self.call.wait_for(op, wait.capped(LOOK))) {
                return Ok(Some(success));
            }
            if self.call.is_cancelled() {
                return Err(End::Local);
            }
            if wait.is_over() {
                return Ok(None);
            }
        }
    }

    /// Why a write failed.
    fn why(&self) -> End {
        if self.call.is_cancelled() || (self.accepted && self.finished.load(Ordering::Acquire)) {
            return End::Local;
        }
        if self.accepted {
            return lost_or_cancelled();
        }
        self.collect_end(Wait::at_most(Some(REASON))).unwrap_or_else(|| {
            let text = "the stream is over; the reason follows the messages that were not received yet";
            End::Lost(Status::new(code::UNAVAILABLE, text))
        })
    }

    /// How the stream ended, or `None` if that is not known within the wait.
    fn collect_end(&self, wait: Wait) -> Option<End> {
        let _collecting = self.collect.lock();
        if let Some(end) = self.end.get() {
            return Some(end.clone());
        }
        if self.call.is_cancelled() {
            return Some(self.settle(End::Local));
        }
        let end = if self.accepted { Some(self.accepted_end()) } else { self.dialled_end(wait) };
        // Cancelled while we waited: that is why it ended.
        let end = if self.call.is_cancelled() { Some(End::Local) } else { end };
        end.map(|end| self.settle(end))
    }

    fn dialled_end(&self, wait: Wait) -> Option<End> {
        self.wait_for(Op::End, wait).ok()??;
        let status = self.call.status();
        Some(match status.code {
            code::UNAVAILABLE => End::Lost(status),
            code::DEADLINE_EXCEEDED if self.limited => End::Local,
            // Not a word of whom we talk to: his gRPC gave the stream up, for want of memory as a rule.
            _ if status.message.starts_with(RESET) => End::Lost(status),
            _ => End::Remote(status),
        })
    }

    /// After the last message.
    fn accepted_end(&self) -> End {
        match self.call.failed() {
            _ if self.finished.load(Ordering::Acquire) => End::Local,
            true => lost_or_cancelled(),
            false => End::Remote(Status::new(code::OK, "")),
        }
    }

    fn settle(&self, end: End) -> End {
        self.end.get_or_init(|| end).clone()
    }
}

/// One of the threads of this process that may spin at the same time.
struct Spinning;

static SPINNING: AtomicUsize = AtomicUsize::new(0);

impl Spinning {
    fn begin() -> Option<Spinning> {
        static MOST: OnceLock<usize> = OnceLock::new();
        let most = *MOST.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        let claim = |now| (now < most).then_some(now + 1);
        SPINNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, claim).ok().map(|_| Spinning)
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        SPINNING.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lost_or_cancelled() -> End {
    End::Lost(Status::new(code::CANCELLED, "the client cancelled, or its connection is gone"))
}
