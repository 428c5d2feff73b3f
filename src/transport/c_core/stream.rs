//! A bidirectional stream of messages.

use super::call::{too_large, Call, Op};
use super::options::StreamOptions;
use super::poller::Traffic;
use super::queue::Wait;
use crate::sync::Mutex;
use crate::transport::tcp_info::{recv_watched, ConnectionSocket};
use crate::transport::{code, Outgoing, Status, Stream, StreamEnd, StreamInfo, MAX_BATCH};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// How often a blocked writer looks whether its stream was cancelled. The core itself does not wake it while the
/// socket is full.
const LOOK: Duration = Duration::from_millis(250);

/// How long a sender's own thread looks whether its write is done.
const PASSED_ON: Duration = Duration::from_micros(20);

/// How long a failed write on a dialled stream waits for the reason, which is not there while unread messages stand before it.
const REASON: Duration = Duration::from_millis(20);

/// For how many times [`Options::spin`](super::Options::spin) a reply is waited for. Who replies has to be woken first.
const REPLY: u32 = 3;

/// What the core says of a stream that was reset, rather than ended with a status.
const RESET: &str = "Received RST_STREAM";

/// A stream, dialled or accepted.
///
/// One thread sends and one receives, as a rule; more of them take turns.
/// Dropping it cancels what is open, without waiting.
pub(super) struct CallStream {
    call: Arc<Call>,
    accepted: bool,
    /// That of the server it was accepted by.
    traffic: Option<Arc<Traffic>>,
    /// It has a limit of time. Both cores watch it, and either may be the one to report it.
    limited: bool,
    info: StreamInfo,
    socket: ConnectionSocket,
    settings: StreamOptions,
    send: Mutex<SendSide>,
    recv: Mutex<RecvSide>,
    /// Taken by whoever collects the end of the call; locked after `send` or `recv`, never before.
    collect: Mutex<()>,
    end: OnceLock<StreamEnd>,
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

impl CallStream {
    pub(super) fn dialled(call: Arc<Call>, limited: bool, info: StreamInfo, settings: StreamOptions) -> CallStream {
        CallStream { limited, ..CallStream::new(call, false, info, settings) }
    }

    pub(super) fn accepted(
        call: Arc<Call>,
        info: StreamInfo,
        settings: StreamOptions,
        traffic: Arc<Traffic>,
    ) -> CallStream {
        CallStream { traffic: Some(traffic), ..CallStream::new(call, true, info, settings) }
    }

    fn new(call: Arc<Call>, accepted: bool, info: StreamInfo, settings: StreamOptions) -> CallStream {
        CallStream {
            call,
            accepted,
            traffic: None,
            limited: false,
            socket: ConnectionSocket::from(&info.remote_addr),
            info,
            settings,
            send: Mutex::default(),
            recv: Mutex::default(),
            collect: Mutex::new(()),
            end: OnceLock::new(),
            sent: AtomicBool::new(false),
            finished: AtomicBool::new(false),
        }
    }

    /// Starts to write a message, after waiting for the one before. `more` lets the core hold it back to send it together
    /// with the next, and must only be set by a caller that has the next: the message does not leave without it.
    fn start(&self, message: Bytes, more: bool) -> Result<(), StreamEnd> {
        let mut side = self.send.lock();
        self.await_write(&mut side, None)?;
        if self.finished.load(Ordering::Acquire) {
            return Err(StreamEnd::Local);
        }
        // An accepted stream whose client half-closed still takes messages; the core knows when not.
        match self.end.get() {
            Some(end) if !(self.accepted && matches!(end, StreamEnd::Remote(_))) => return Err(end.clone()),
            _ => {}
        }
        if message.len() > self.settings.max_send {
            return Err(self.fail(too_large("Sent", message.len(), self.settings.max_send)));
        }
        self.call.start_send(message, more).map_err(|_| self.why())?;
        side.started = true;
        Ok(())
    }

    fn await_write(&self, side: &mut SendSide, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        if self.call.is_cancelled() {
            return Err(StreamEnd::Local);
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

    /// Returns the next message if the core has it. Does not poll the connection, as `recv` does, nor ask for the next one in
    /// a conversation, which is to be replied to first. Its errors come again from `recv`.
    fn try_recv(&self) -> Result<Option<Bytes>, StreamEnd> {
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

    fn start_recv(&self, side: &mut RecvSide) -> Result<(), StreamEnd> {
        if !side.started {
            self.call.start_recv().map_err(|_| self.why())?;
            side.started = true;
        }
        Ok(())
    }

    /// What the completed operation brought; `None` if that was the end.
    fn received(&self, side: &mut RecvSide) -> Result<Option<Bytes>, StreamEnd> {
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
    fn fail(&self, status: Status) -> StreamEnd {
        self.call.fail(&status);
        self.settle(if self.accepted { StreamEnd::Lost(status) } else { StreamEnd::Remote(status) })
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
            && (matches!(self.end.get(), Some(StreamEnd::Lost(_))) || self.call.is_over())
    }

    /// Says that the server cancels all its calls.
    pub(super) fn mark_cancelled(&self) {
        self.call.mark_cancelled();
    }

    /// Waits for an operation of the sending side, looking for cancellation now and then.
    fn wait_for(&self, op: Op, wait: Wait) -> Result<Option<bool>, StreamEnd> {
        loop {
            if let Some(success) = self.call.take(op).or_else(|| self.call.wait_for(op, wait.capped(LOOK))) {
                return Ok(Some(success));
            }
            if self.call.is_cancelled() {
                return Err(StreamEnd::Local);
            }
            if wait.is_over() {
                return Ok(None);
            }
        }
    }

    /// Why a write failed.
    fn why(&self) -> StreamEnd {
        if self.call.is_cancelled() || (self.accepted && self.finished.load(Ordering::Acquire)) {
            return StreamEnd::Local;
        }
        if self.accepted {
            return lost_or_cancelled();
        }
        self.collect_end(Wait::at_most(Some(REASON))).unwrap_or_else(|| {
            let text = "the stream is over; the reason follows the messages that were not received yet";
            StreamEnd::Lost(Status::new(code::UNAVAILABLE, text))
        })
    }

    /// How the stream ended, or `None` if that is not known within the wait.
    fn collect_end(&self, wait: Wait) -> Option<StreamEnd> {
        let _collecting = self.collect.lock();
        if let Some(end) = self.end.get() {
            return Some(end.clone());
        }
        if self.call.is_cancelled() {
            return Some(self.settle(StreamEnd::Local));
        }
        let end = if self.accepted { Some(self.accepted_end()) } else { self.dialled_end(wait) };
        // Cancelled while we waited: that is why it ended.
        let end = if self.call.is_cancelled() { Some(StreamEnd::Local) } else { end };
        end.map(|end| self.settle(end))
    }

    fn dialled_end(&self, wait: Wait) -> Option<StreamEnd> {
        self.wait_for(Op::End, wait).ok()??;
        let status = self.call.status();
        Some(match status.code {
            code::UNAVAILABLE => StreamEnd::Lost(status),
            code::DEADLINE_EXCEEDED if self.limited => StreamEnd::Local,
            // Not a word of whom we talk to: his gRPC gave the stream up, for want of memory as a rule.
            _ if status.message.starts_with(RESET) => StreamEnd::Lost(status),
            _ => StreamEnd::Remote(status),
        })
    }

    /// After the last message.
    fn accepted_end(&self) -> StreamEnd {
        match self.call.failed() {
            _ if self.finished.load(Ordering::Acquire) => StreamEnd::Local,
            true => lost_or_cancelled(),
            false => StreamEnd::Remote(Status::new(code::OK, "")),
        }
    }

    fn settle(&self, end: StreamEnd) -> StreamEnd {
        self.end.get_or_init(|| end).clone()
    }
}

impl Stream for CallStream {
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd> {
        self.start(message, false)
    }

    /// The C core counts in whole milliseconds. After [`cancel`](Stream::cancel) it returns within a quarter of a second,
    /// even if the peer is frozen.
    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        self.await_write(&mut self.send.lock(), timeout)
    }

    /// A write that is not done immediately is mostly in the hands of another thread, which reads from the connection just
    /// then and passes it on within [`PASSED_ON`]. To wake the writer for it would take longer.
    fn try_send(&self, message: Bytes) -> Result<bool, StreamEnd> {
        self.start(message, false)?;
        let started = Instant::now();
        loop {
            if self.wait_sent(Some(Duration::ZERO))? {
                return Ok(true);
            }
            if started.elapsed() > PASSED_ON {
                return Ok(false);
            }
            std::thread::yield_now();
        }
    }

    fn send_all(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let mut next = outgoing.next();
        while let Some(message) = next {
            // The core is told that more follows only with the next message in hand, so that it is always true.
            next = outgoing.next();
            self.start(message, next.is_some())?;
            self.await_sent(outgoing)?;
            outgoing.written();
            if next.is_none() {
                next = outgoing.next();
            }
        }
        Ok(())
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        let mut side = self.recv.lock();
        if self.call.is_cancelled() {
            return Err(self.settle(StreamEnd::Local));
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

    /// The core gathers a message to its end before it shows any of it, so that a huge one is detected by the bytes that
    /// arrive on the connection meanwhile.
    fn recv_limited(&self, timeout: Duration, max: usize) -> Result<Option<Bytes>, StreamEnd> {
        recv_watched(self, &self.socket, timeout, max)
    }

    fn recv_batch(&self, messages: &mut Vec<Bytes>) -> Result<(), StreamEnd> {
        let mut bytes = 0;
        let mut next = self.recv(None)?;
        while let Some(message) = next {
            bytes += message.len();
            messages.push(message);
            if bytes >= MAX_BATCH {
                break;
            }
            next = self.try_recv().unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        let mut side = self.send.lock();
        self.await_write(&mut side, None)?;
        if self.finished.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let started = if self.accepted { self.call.start_status(status) } else { self.call.start_half_close() };
        started.map_err(|_| self.why())
    }

    fn cancel(&self) {
        self.call.cancel();
    }

    fn info(&self) -> &StreamInfo {
        &self.info
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

fn lost_or_cancelled() -> StreamEnd {
    StreamEnd::Lost(Status::new(code::CANCELLED, "the client cancelled, or its connection is gone"))
}
