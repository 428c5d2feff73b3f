//! A bidirectional stream of messages on a connection.

use super::connection::{time_after, Awaits, Conn};
use super::flow::{End, Flow, FIRST_WINDOW};
use super::framing::Flaw;
use super::grpc::{self, reset};
use super::session::BATCH;
use super::state::Core;
use crate::spin::Spin;
use crate::sync;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::transport::{code, Outgoing, Status, Stream, StreamEnd, StreamInfo, MAX_BATCH};
use bytes::Bytes;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Number of bytes that `send_all` queues before it writes: with their framing they fit into one batch, or a short second
/// one would follow.
const GATHERED: usize = BATCH - (8 << 10);

/// Longest time for which a blocked writer does not look at whether its stream was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// Time by which a server may find a time limit passed before its client does.
const CLOCKS: Duration = Duration::from_millis(50);

/// Longest time for which a writer waits before it looks again, if nothing changes.
const LONG: Duration = Duration::from_secs(3600);

/// A stream, dialled or accepted. Dropping it cancels what is open, without waiting.
pub(super) struct Http2Stream {
    conn: Arc<Conn>,
    id: i32,
    accepted: bool,
    /// The time limit of a dialled stream.
    deadline: Option<Instant>,
    info: StreamInfo,
    /// Whether this side has ended the stream in both directions.
    cancelled: AtomicBool,
    /// Whether this side has ended its own direction.
    finished: AtomicBool,
    end: OnceLock<StreamEnd>,
    /// Whether something was sent since the last wait for a message.
    sent: AtomicBool,
    /// Taken by the thread that waits.
    spin: Spin,
}

impl Http2Stream {
    /// Takes an open stream of a connection.
    pub fn new(conn: Arc<Conn>, id: i32, remote_cert: Option<Bytes>, deadline: Option<Instant>) -> Http2Stream {
        let info = StreamInfo {
            remote_addr: conn.remote_addr.clone(),
            remote_cert,
            local_cert: conn.local_cert.clone(),
            tls: conn.tls,
        };
        let spin = Spin::new(conn.settings.options.spin);
        Http2Stream {
            accepted: conn.service.is_some(),
            conn,
            id,
            deadline,
            info,
            cancelled: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            end: OnceLock::new(),
            sent: AtomicBool::new(false),
            spin,
        }
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    fn is_finished(&self) -> bool {
        self.finished.load(Ordering::SeqCst)
    }

    fn settle(&self, end: StreamEnd) -> StreamEnd {
        self.end.get_or_init(|| end).clone()
    }

    /// Records that the connection is about to be closed by this side.
    pub fn mark_cancelled(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.conn.notify();
    }

    /// Returns how the stream has ended, apart from messages that were not taken yet.
    fn ended(&self, core: &mut Core) -> Option<StreamEnd> {
        if let Some(end) = self.end.get() {
            return Some(end.clone());
        }
        if self.is_cancelled() || (self.accepted && self.is_finished()) {
            return Some(self.settle(StreamEnd::Local));
        }
        let flow = core.session().and_then(|session| session.flow(self.id));
        let end = match flow {
            Some(flow) if flow.expired => self.expired(),
            Some(flow) if flow.flaw.is_some() => return self.give_up(core),
            Some(flow) if self.accepted => accepted_end(flow)?,
            Some(flow) => self.dialled_end(flow)?,
            None => StreamEnd::Lost(core.lost_status()),
        };
        Some(self.settle(end))
    }

    /// Returns how the stream has ended, or is about to end with its connection.
    fn ended_or_lost(&self, core: &mut Core) -> Option<StreamEnd> {
        if let Some(end) = self.ended(core) {
            return Some(end);
        }
        let lost = if self.accepted { lost_or_cancelled() } else { StreamEnd::Lost(core.lost_status()) };
        core.is_over().then(|| self.settle(lost))
    }

    fn expired(&self) -> StreamEnd {
        match self.accepted {
            true => StreamEnd::Lost(Status::new(code::DEADLINE_EXCEEDED, "the client's time limit has passed")),
            false => StreamEnd::Local,
        }
    }

    fn dialled_end(&self, flow: &Flow) -> Option<StreamEnd> {
        let status = if flow.half_closed {
            let status = match (&flow.head, &flow.last) {
                (head, Some(last)) => grpc::read_status(head.as_deref(), last),
                (head, None) => head
                    .as_deref()
                    .and_then(grpc::status_of_head)
                    .unwrap_or_else(|| Status::new(code::INTERNAL, "the server ended the stream without trailers")),
            };
            match status.code {
                code::OK if flow.is_truncated() => {
                    Status::new(code::INTERNAL, "the server ended the stream in the middle of a message")
                }
                _ => status,
            }
        } else {
            let reset = flow.closed?;
            let status = Status::new(grpc::code_of_reset(reset), format!("the server reset the stream: error {reset}"));
            // The peer's library has given the stream up, not the application.
            if status.code != code::CANCELLED {
                return Some(StreamEnd::Lost(status));
            }
            status
        };
        let late = || self.deadline.is_some_and(|at| sync::now() + CLOCKS >= at);
        Some(match status.code {
            code::UNAVAILABLE => StreamEnd::Lost(status),
            // Both sides watch the time limit, and either may find it passed first.
            code::DEADLINE_EXCEEDED | code::CANCELLED if late() => StreamEnd::Local,
            _ => StreamEnd::Remote(status),
        })
    }

    /// Ends the stream because its messages cannot be read.
    fn give_up(&self, core: &mut Core) -> Option<StreamEnd> {
        let max = self.conn.settings.limits.max_receive_message;
        let session = core.session_mut()?;
        let status = match session.flow(self.id)?.flaw? {
            Flaw::TooLarge(size) => too_large("Received", size, max),
            Flaw::Compressed => Status::new(code::UNIMPLEMENTED, "compressed messages are not supported"),
            Flaw::BadFlag(flag) => Status::new(code::INTERNAL, format!("a message begins with the flag {flag}")),
        };
        Some(self.fail(core, status))
    }

    /// Ends the stream with a status of this side's library.
    fn fail(&self, core: &mut Core, status: Status) -> StreamEnd {
        if let Some(session) = core.session_mut() {
            match self.accepted {
                true => end_with(session, self.id, &status),
                false => session.reset(self.id, reset::CANCEL),
            }
        }
        self.finished.store(true, Ordering::SeqCst);
        self.settle(if self.accepted { StreamEnd::Lost(status) } else { StreamEnd::Remote(status) })
    }

    /// Returns why nothing can be sent.
    fn send_end(&self, core: &mut Core) -> Option<StreamEnd> {
        if self.is_cancelled() || self.is_finished() {
            return Some(match self.end.get() {
                Some(end) if !self.is_cancelled() && !self.accepted => end.clone(),
                _ => StreamEnd::Local,
            });
        }
        // An accepted stream whose client half-closed still takes messages.
        match self.ended_or_lost(core) {
            Some(StreamEnd::Remote(_)) if self.accepted => {
                let open = |core: &Core| core.session()?.flow(self.id)?.closed.is_none().then_some(());
                (open(core).is_none() || core.is_over()).then(lost_or_cancelled)
            }
            end => end,
        }
    }

    /// Returns whether everything queued was handed to the socket.
    fn is_sent(&self, core: &Core) -> bool {
        let flow = core.session().and_then(|session| session.flow(self.id));
        flow.is_none_or(|flow| flow.queued() == 0 && core.written >= flow.mark && !flow.moved)
    }

    /// Queues messages.
    fn queue(&self, messages: impl IntoIterator<Item = Bytes>) -> Result<(), StreamEnd> {
        let max = self.conn.settings.limits.max_send_message;
        let failed = self.conn.with(|core| {
            if let Some(end) = self.send_end(core) {
                return Err((end, false));
            }
            let mut too_long = None;
            let mut accept = |message: &Bytes| {
                too_long = (message.len() > max).then_some(message.len());
                too_long.is_none()
            };
            let Some(session) = core.session_mut() else { return Ok(()) };
            if self.accepted && session.flow(self.id).is_some_and(|flow| !flow.responding) {
                session.respond(self.id, &grpc::response());
            }
            session.queue_all(self.id, messages.into_iter().take_while(|message| accept(message)));
            if let Some(size) = too_long {
                return Err((self.fail(core, too_large("Sent", size, max)), true));
            }
            Ok(())
        });
        self.sent.store(true, Ordering::Relaxed);
        failed.map_err(|(end, flush)| {
            if flush {
                self.conn.flush();
            }
            end
        })
    }

    /// Waits until everything queued was handed to the socket, until `until` at most. `look` is called from time to
    /// time and ends the wait with `false`.
    fn drain(&self, until: Option<Instant>, look: impl FnMut(&Core) -> Look) -> Result<bool, StreamEnd> {
        let drained = self.drain_until(until, look);
        // Frames of other streams, and answers to the peer, were left to this thread, too.
        self.conn.leave_blocked();
        drained
    }

    fn drain_until(&self, until: Option<Instant>, mut look: impl FnMut(&Core) -> Look) -> Result<bool, StreamEnd> {
        loop {
            let (state, sent) = self.conn.with(|core| {
                let looked = look(core);
                if self.is_cancelled() {
                    return (Err(StreamEnd::Local), false);
                }
                if self.is_sent(core) {
                    return (Ok(looked), true);
                }
                match self.send_end(core) {
                    Some(end) => (Err(end), false),
                    None => (Ok(looked), false),
                }
            });
            let limit = match state? {
                _ if sent => return Ok(true),
                Look::Stop => break,
                Look::On(limit) => limit,
            };
            let now = sync::now();
            let left = until.map_or(limit, |until| limit.min(until.saturating_duration_since(now)));
            if left.is_zero() {
                break;
            }
            if self.conn.send_within(left.min(LOOK)) {
                // The rest waits for window.
                let check = |core: &mut Core| {
                    let on = self.is_sent(core) || core.wants_write() || self.send_end(core).is_some();
                    on.then_some(())
                };
                self.conn.wait(Some(now + left), Awaits::Sending, check);
            }
        }
        Ok(false)
    }

    /// Takes what `take` takes, waiting for it until `until` at most. `size` is the size up to which the next message is
    /// expected.
    fn receive<R>(
        &self,
        timeout: Option<Duration>,
        size: usize,
        mut take: impl FnMut(&mut Core) -> Option<Result<R, StreamEnd>>,
    ) -> Result<Option<R>, StreamEnd> {
        let mut check = |core: &mut Core| {
            let taken = match take(core) {
                Some(taken) => taken,
                None => Err(self.ended_or_lost(core)?),
            };
            Some((taken, core.wants_write()))
        };
        let (taken, flush) = self.conn.with(|core| {
            let taken = check(core);
            if taken.is_none() {
                if let Some(session) = core.session_mut() {
                    session.allow(self.id, size);
                }
            }
            (taken, core.wants_write())
        });
        if flush {
            self.conn.flush();
        }
        let taken = match taken {
            Some(taken) => Some(taken),
            None => {
                let until = timeout.and_then(time_after);
                let conversing = self.sent.swap(false, Ordering::Relaxed);
                self.conn.wait(until, Awaits::Arrival(conversing.then_some(&self.spin)), check)
            }
        };
        match taken {
            None => Ok(None),
            Some((result, flush)) => {
                if flush {
                    self.conn.flush();
                }
                result.map(Some)
            }
        }
    }

    fn max_receive(&self) -> usize {
        self.conn.settings.limits.max_receive_message
    }
}

/// Whether to go on with a wait, and for how long before looking again.
enum Look {
    On(Duration),
    Stop,
}

impl Stream for Http2Stream {
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd> {
        self.queue([message])?;
        self.conn.flush();
        Ok(())
    }

    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        let until = timeout.and_then(time_after);
        if self.is_cancelled() {
            return Err(StreamEnd::Local);
        }
        self.drain(until, |_| Look::On(LONG))
    }

    fn send_all(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let mut messages = Vec::new();
        loop {
            let mut bytes = 0;
            while bytes < GATHERED {
                let Some(message) = outgoing.next() else { break };
                bytes += message.len();
                messages.push(message);
            }
            if messages.is_empty() {
                return Ok(());
            }
            let count = messages.len() as u64;
            let framed = |core: &Core| core.session().and_then(|s| s.flow(self.id)).map_or(0, |flow| flow.framed);
            let start = self.conn.with(|core| framed(core));
            self.queue(messages.drain(..))?;
            let interval = outgoing.poll_interval().min(LONG);
            let mut reported = 0;
            let mut look_at = sync::now() + interval;
            loop {
                let mut written = 0;
                let drained = self.drain(None, |core| {
                    if core.written >= core.session().and_then(|s| s.flow(self.id)).map_or(0, |flow| flow.mark) {
                        written = framed(core).saturating_sub(start);
                    }
                    match sync::now() {
                        now if now >= look_at => Look::Stop,
                        now => Look::On(look_at - now),
                    }
                });
                let written = if drained == Ok(true) { count } else { written.min(count) };
                (reported..written).for_each(|_| outgoing.written());
                reported = reported.max(written);
                if drained? {
                    break;
                }
                if outgoing.expired() {
                    self.cancel();
                    return Err(StreamEnd::Local);
                }
                look_at = sync::now() + interval;
            }
        }
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        self.receive(timeout, self.max_receive(), |core| {
            if self.is_cancelled() {
                return None;
            }
            core.session_mut()?.take(self.id).map(Ok)
        })
    }

    /// The size of a message is known as soon as it begins, so that one above the limit is reported before its bytes
    /// come, unless it is short.
    fn recv_limited(&self, timeout: Duration, max: usize) -> Result<Option<Bytes>, StreamEnd> {
        self.receive(Some(timeout), max, |core| {
            if self.is_cancelled() {
                return None;
            }
            let session = core.session_mut()?;
            let flow = session.flow(self.id)?;
            match flow.next_size() {
                Some(size) if size > max => {
                    session.take(self.id);
                    Some(Err(StreamEnd::TooLarge(Some(size))))
                }
                Some(_) => session.take(self.id).map(Ok),
                None => {
                    let announced = flow.next_announced().filter(|size| *size > max.max(FIRST_WINDOW / 2));
                    announced.map(|size| Err(StreamEnd::TooLarge(Some(size))))
                }
            }
        })
    }

    fn recv_batch(&self, messages: &mut Vec<Bytes>) -> Result<(), StreamEnd> {
        let received = self.receive(None, self.max_receive(), |core| {
            if self.is_cancelled() {
                return None;
            }
            let before = messages.len();
            core.session_mut()?.take_many(self.id, MAX_BATCH, messages);
            (messages.len() > before).then_some(Ok(()))
        });
        received.map(drop)
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        let result = self.conn.with(|core| {
            if self.is_cancelled() {
                return Err(StreamEnd::Local);
            }
            if self.is_finished() {
                return Ok(());
            }
            if let Some(end) = self.send_end(core) {
                return Err(end);
            }
            self.finished.store(true, Ordering::SeqCst);
            if let Some(session) = core.session_mut() {
                match self.accepted {
                    true => end_with(session, self.id, status),
                    false => session.end(self.id, End::HalfClose),
                }
            }
            Ok(())
        });
        self.conn.notify();
        self.conn.flush();
        result
    }

    fn cancel(&self) {
        let first = self.conn.with(|core| {
            let first = !self.cancelled.swap(true, Ordering::SeqCst);
            if first {
                self.end_here(core);
            }
            first
        });
        if first {
            self.conn.notify();
            self.conn.flush();
        }
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }
}

impl Http2Stream {
    /// Ends what is open of the stream.
    fn end_here(&self, core: &mut Core) {
        let Some(session) = core.session_mut() else { return };
        let Some(flow) = session.flow(self.id).filter(|flow| flow.closed.is_none()) else { return };
        if self.accepted {
            // Messages queued before an end with a status are still sent.
            if !self.is_finished() {
                session.reset(self.id, reset::CANCEL);
            }
        } else if flow.half_closed {
            // The server has ended the stream; a reset would look like one more that is abandoned.
            if !self.is_finished() {
                session.end(self.id, End::HalfClose);
            }
        } else {
            session.reset(self.id, reset::CANCEL);
        }
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        self.conn.with(|core| {
            if !self.cancelled.swap(true, Ordering::SeqCst) {
                self.end_here(core);
            }
            if let Some(session) = core.session_mut() {
                session.forget(self.id);
            }
        });
        self.conn.flush();
        self.conn.release();
    }
}

/// Ends an accepted stream with a status.
pub(super) fn end_with(session: &mut super::session::Session, id: i32, status: &Status) {
    match session.flow(id) {
        Some(flow) if flow.responding => session.end(id, End::Trailers(grpc::trailers(status))),
        _ => session.respond_only(id, &grpc::trailers_only(status)),
    }
}

fn accepted_end(flow: &Flow) -> Option<StreamEnd> {
    match flow.half_closed {
        true if flow.is_truncated() => Some(lost_or_cancelled()),
        true => Some(StreamEnd::Remote(Status::ok())),
        false => flow.closed.map(|_| lost_or_cancelled()),
    }
}

fn too_large(direction: &str, size: usize, max: usize) -> Status {
    Status::new(code::RESOURCE_EXHAUSTED, format!("{direction} message larger than max ({size} vs. {max})"))
}

fn lost_or_cancelled() -> StreamEnd {
    StreamEnd::Lost(Status::new(code::CANCELLED, "the client cancelled, or its connection is gone"))
}
