//! A bidirectional stream of messages.

use super::call::{too_large, Call, Op};
use super::options::StreamOptions;
use super::poller::Traffic;
use super::queue::Wait;
use crate::spin::Spinning;
use crate::sync::Mutex;
use crate::transport::tcp_info::{recv_watched, ConnectionSocket};
use crate::transport::{code, Outgoing, Status, Stream, StreamEnd, StreamInfo, MAX_BATCH};
use bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Interval at which a blocked writer checks whether its stream was cancelled. The core itself does not wake it while
/// the socket is full.
const LOOK: Duration = Duration::from_millis(250);

/// Time for which a sender's own thread polls for the completion of its write.
const PASSED_ON: Duration = Duration::from_micros(20);

/// Time for which a failed write on a dialled stream waits for the reason, which is unavailable while unread messages
/// precede it.
const REASON: Duration = Duration::from_millis(20);

/// Multiple of [`Options::spin`](super::Options::spin) to wait for a reply. The thread that replies must be woken
/// first.
const REPLY: u32 = 3;

/// Prefix of the core's text for a stream that was reset instead of ended with a status.
const RESET: &str = "Received RST_STREAM";

/// A stream, dialled or accepted.
///
/// Normally one thread sends and one receives; further threads take turns. Dropping the stream cancels open operations,
/// without waiting.
pub(super) struct CallStream {
    call: Arc<Call>,
    accepted: bool,
    /// The read counter of the server that accepted the stream.
    traffic: Option<Arc<Traffic>>,
    /// Whether the stream has a time limit. Both cores watch it, and either may report it first.
    limited: bool,
    info: StreamInfo,
    socket: ConnectionSocket,
    settings: StreamOptions,
    send: Mutex<SendSide>,
    recv: Mutex<RecvSide>,
    /// Held by the thread that collects the end of the call; locked after `send` or `recv`, never before.
    collect: Mutex<()>,
    end: OnceLock<StreamEnd>,
    /// Whether something was sent since the last call of `recv`.
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
    /// Whether the core has reported that no message follows.
    drained: bool,
    /// Whether something was sent between the last two messages.
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

    /// Starts to write a message, after waiting for the previous one. With `more`, the core may hold the message back
    /// to send it with the next one. Set `more` only if the next message is ready: the message is not sent without it.
    fn start(&self, message: Bytes, more: bool) -> Result<(), StreamEnd> {
        let mut side = self.send.lock();
        self.await_write(&mut side, None)?;
        if self.finished.load(Ordering::Acquire) {
            return Err(StreamEnd::Local);
        }
        // An accepted stream whose client half-closed still accepts messages; the core reports when it does not.
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
        // The write is usually complete by now, and the timeout does not matter.
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

    /// Returns the next message if the core has it. Unlike `recv`, does not poll the connection, and does not request
    /// the next message in a conversation, where a reply comes first. A later `recv` returns its errors again.
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

    /// Returns the result of the completed operation; `None` if it was the end.
    fn received(&self, side: &mut RecvSide) -> Result<Option<Bytes>, StreamEnd> {
        let received = self.call.take_message(self.settings.max_receive).map_err(|status| self.fail(status))?;
        side.drained = received.is_none();
        Ok(received)
    }

    /// In a conversation, waits briefly for the reply to the previous message before requesting the next one. As soon
    /// as a message is requested, the core reports free window space to the other side in a separate packet. The reply
    /// would wait for that packet, which also wakes the reader at the other end.
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

    /// Polls briefly in a conversation, that is, if something was sent since the previous message. The next message is
    /// then near, and blocking would cost a thread switch. Idle and one-way streams do not spin, and the number of
    /// spinning threads is limited to the number of processors. Returns `None` if no message arrived.
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

    /// Ends the stream because a message is too large, in the same way as the core's own limits do.
    fn fail(&self, status: Status) -> StreamEnd {
        self.call.fail(&status);
        self.settle(if self.accepted { StreamEnd::Lost(status) } else { StreamEnd::Remote(status) })
    }

    /// Starts an accepted stream. Returns `false` if it has already ended.
    pub(super) fn begin(&self) -> bool {
        self.call.start_accepted().is_ok()
    }

    /// Returns whether the client reset this accepted stream, or its connection was lost, before it was finished or
    /// cancelled here.
    pub(super) fn was_reset(&self) -> bool {
        !self.call.is_cancelled()
            && !self.finished.load(Ordering::Acquire)
            && (matches!(self.end.get(), Some(StreamEnd::Lost(_))) || self.call.is_over())
    }

    /// Records that the server cancels all its calls.
    pub(super) fn mark_cancelled(&self) {
        self.call.mark_cancelled();
    }

    /// Waits for an operation of the sending side, checking for cancellation periodically.
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

    /// Returns the reason why a write failed.
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

    /// Returns how the stream ended, or `None` if that is not known within the wait.
    fn collect_end(&self, wait: Wait) -> Option<StreamEnd> {
        let _collecting = self.collect.lock();
        if let Some(end) = self.end.get() {
            return Some(end.clone());
        }
        if self.call.is_cancelled() {
            return Some(self.settle(StreamEnd::Local));
        }
        let end = if self.accepted { Some(self.accepted_end()) } else { self.dialled_end(wait) };
        // Cancelled during the wait, which is therefore the reason for the end.
        let end = if self.call.is_cancelled() { Some(StreamEnd::Local) } else { end };
        end.map(|end| self.settle(end))
    }

    fn dialled_end(&self, wait: Wait) -> Option<StreamEnd> {
        self.wait_for(Op::End, wait).ok()??;
        let status = self.call.status();
        Some(match status.code {
            code::UNAVAILABLE => StreamEnd::Lost(status),
            code::DEADLINE_EXCEEDED if self.limited => StreamEnd::Local,
            // Not sent by the remote application: its gRPC library gave the stream up, usually for lack of memory.
            _ if status.message.starts_with(RESET) => StreamEnd::Lost(status),
            _ => StreamEnd::Remote(status),
        })
    }

    /// Returns the end of an accepted stream after its last message.
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

    /// The C core counts in whole milliseconds. After [`cancel`](Stream::cancel), this method returns within 250 ms,
    /// even if the peer is frozen.
    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        self.await_write(&mut self.send.lock(), timeout)
    }

    /// A write that does not complete immediately is usually held by another thread, which is reading from the
    /// connection and passes it on within [`PASSED_ON`]. Waking the writer would take longer.
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
            // Set `more` only with the next message in hand, so that it is always true.
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

    /// The core collects the whole message before it delivers any of it, so an oversized message is detected by the
    /// bytes that arrive on the connection meanwhile.
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

fn lost_or_cancelled() -> StreamEnd {
    StreamEnd::Lost(Status::new(code::CANCELLED, "the client cancelled, or its connection is gone"))
}
