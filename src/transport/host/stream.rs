//! One gossip stream on a host's server. The stream uses grpcio's futures, each polled by the thread that waits for it.
//!
//! The locks are held during a poll but never during a wait, so a cancellation reaches the call immediately. In each
//! direction at most one message is under way here; beyond that, HTTP/2's windows make the other side wait.

use super::signal::Signal;
use crate::sync::Mutex;
use crate::transport::tcp_info::{recv_watched, ConnectionSocket};
use crate::transport::{code, Outgoing, Status, Stream, StreamEnd, StreamInfo};
use bytes::Bytes;
use futures_util::{Sink, Stream as _};
use grpcio::{DuplexSink, DuplexSinkFailure, RequestStream, RpcStatus, WriteFlags};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{ready, Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Time after the last message in which to find out whether the call has failed. grpcio reports the end of the messages
/// and then the end of the call, a few microseconds apart. Only the second shows that the first was not a half-close.
const JUDGE: Duration = Duration::from_millis(20);

/// Polling interval during that time; no future signals it.
const LOOK: Duration = Duration::from_millis(1);

pub(super) struct HostStream {
    info: StreamInfo,
    socket: ConnectionSocket,
    /// Dropping it or the sink cancels the call in grpcio.
    requests: Mutex<Option<RequestStream<Bytes>>>,
    sink: Mutex<Option<DuplexSink<Bytes>>>,
    /// The status being sent.
    leaving: Mutex<Option<DuplexSinkFailure>>,
    readable: Awaited,
    writable: Awaited,
    finished: AtomicBool,
    cancelled: AtomicBool,
    /// Time at which the last message had been read.
    drained: OnceLock<Instant>,
    end: OnceLock<StreamEnd>,
}

struct Awaited {
    signal: Arc<Signal>,
    waker: Waker,
}

impl Awaited {
    fn new() -> Self {
        let signal = Arc::new(Signal::default());
        Awaited { waker: signal.clone().into(), signal }
    }
}

impl HostStream {
    pub fn new(info: StreamInfo, requests: RequestStream<Bytes>, sink: DuplexSink<Bytes>) -> Self {
        HostStream {
            socket: ConnectionSocket::from(&info.remote_addr),
            info,
            requests: Mutex::new(Some(requests)),
            sink: Mutex::new(Some(sink)),
            leaving: Mutex::new(None),
            readable: Awaited::new(),
            writable: Awaited::new(),
            finished: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
            drained: OnceLock::new(),
            end: OnceLock::new(),
        }
    }

    /// Takes the stream apart again, unless it has ended.
    pub fn take(&self) -> Option<(RequestStream<Bytes>, DuplexSink<Bytes>)> {
        Some((self.requests.lock().take()?, self.sink.lock().take()?))
    }

    /// Waits until the status has been sent, for at most `limit`. Releasing the call earlier would cancel it, and the
    /// other side would not receive the status.
    pub fn await_status(&self, limit: Duration) {
        let _ = self.drive(&self.writable, Some(Instant::now() + limit), |cx| {
            let mut leaving = self.leaving.lock();
            if let Some(status) = leaving.as_mut() {
                let _ = ready!(Pin::new(status).poll(cx));
                *leaving = None;
            }
            Poll::Ready(())
        });
    }

    /// Polls until a result is ready (`Some`), the deadline `until` has passed (`None`), or the stream is cancelled (an
    /// error).
    fn drive<T>(
        &self,
        awaited: &Awaited,
        until: Option<Instant>,
        mut poll: impl FnMut(&mut Context) -> Poll<T>,
    ) -> Result<Option<T>, StreamEnd> {
        loop {
            let seen = awaited.signal.count();
            if self.cancelled.load(Ordering::SeqCst) {
                return Err(StreamEnd::Local);
            }
            if let Poll::Ready(result) = poll(&mut Context::from_waker(&awaited.waker)) {
                return Ok(Some(result));
            }
            if !awaited.signal.wait(seen, until) {
                return Ok(None);
            }
        }
    }

    /// Returns whether the next message can be written, or an error if none ever can. grpcio must not be polled again
    /// after an error.
    fn poll_sink(&self, sink: &mut Option<DuplexSink<Bytes>>, cx: &mut Context) -> Poll<Result<(), StreamEnd>> {
        let Some(open) = sink.as_mut() else { return Poll::Ready(Err(self.over())) };
        match ready!(Pin::new(open).poll_ready(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => {
                *sink = None;
                Poll::Ready(Err(self.over()))
            }
        }
    }

    fn poll_requests(&self, cx: &mut Context) -> Poll<Option<grpcio::Result<Bytes>>> {
        match self.requests.lock().as_mut() {
            Some(requests) => Pin::new(requests).poll_next(cx),
            None => Poll::Ready(Some(Err(grpcio::Error::RemoteStopped))),
        }
    }

    /// Returns the reason why nothing more can be written or read, although the other side has not half-closed.
    fn over(&self) -> StreamEnd {
        if self.cancelled.load(Ordering::SeqCst) || self.finished.load(Ordering::SeqCst) {
            return StreamEnd::Local;
        }
        let text = "the client cancelled, or its connection is gone";
        StreamEnd::Lost(Status::new(code::CANCELLED, text))
    }

    fn settle(&self, end: StreamEnd) -> StreamEnd {
        self.end.get_or_init(|| end).clone()
    }

    /// Determines, after the last message, whether the call failed or was half-closed. `None`: not known yet.
    fn judge(&self, drained: Instant, until: Option<Instant>) -> Option<StreamEnd> {
        loop {
            let seen = self.readable.signal.count();
            if self.finished.load(Ordering::SeqCst) || self.cancelled.load(Ordering::SeqCst) {
                return Some(StreamEnd::Local);
            }
            let polled = self.poll_requests(&mut Context::from_waker(&self.readable.waker));
            let now = Instant::now();
            match polled {
                Poll::Ready(Some(_)) => return Some(self.over()),
                _ if now >= drained + JUDGE => return Some(StreamEnd::Remote(Status::ok())),
                _ if until.is_some_and(|until| now >= until) => return None,
                _ => self.readable.signal.wait(seen, Some(now + LOOK)),
            };
        }
    }
}

/// Returns the instant after `timeout`; `None` also if the clock cannot represent it.
fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

impl HostStream {
    /// Starts to write a message. `more` means that the caller has the next message ready.
    fn start(&self, message: Bytes, more: bool) -> Result<(), StreamEnd> {
        match self.end.get() {
            // A client that has half-closed still reads.
            None | Some(StreamEnd::Remote(_)) => {}
            Some(end) => return Err(end.clone()),
        }
        let flags = WriteFlags::default().buffer_hint(more);
        let mut message = Some((message, flags));
        let started = self.drive(&self.writable, None, |cx| {
            let mut sink = self.sink.lock();
            ready!(self.poll_sink(&mut sink, cx))?;
            let (Some(open), Some(message)) = (sink.as_mut(), message.take()) else {
                return Poll::Ready(Err(self.over()));
            };
            Poll::Ready(Pin::new(open).start_send(message).map_err(|_| {
                *sink = None;
                self.over()
            }))
        });
        started?.unwrap_or(Ok(()))
    }
}

impl Stream for HostStream {
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd> {
        self.start(message, false)
    }

    fn send_all(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let mut next = outgoing.next();
        while let Some(message) = next {
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

    fn recv_limited(&self, timeout: Duration, max: usize) -> Result<Option<Bytes>, StreamEnd> {
        recv_watched(self, &self.socket, timeout, max)
    }

    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        let sent = self.drive(&self.writable, deadline(timeout), |cx| {
            let mut sink = self.sink.lock();
            if sink.is_none() && self.finished.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(()));
            }
            self.poll_sink(&mut sink, cx)
        });
        match sent? {
            Some(sent) => sent.map(|()| true),
            None => Ok(false),
        }
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        if let Some(end) = self.end.get() {
            return Err(end.clone());
        }
        let until = deadline(timeout);
        if self.drained.get().is_none() {
            match self.drive(&self.readable, until, |cx| self.poll_requests(cx)) {
                Ok(None) => return Ok(None),
                Ok(Some(Some(Ok(message)))) => return Ok(Some(message)),
                Ok(Some(Some(Err(_)))) => return Err(self.settle(self.over())),
                Ok(Some(None)) => {}
                Err(end) => return Err(self.settle(end)),
            }
        }
        let drained = *self.drained.get_or_init(Instant::now);
        self.judge(drained, until).map_or(Ok(None), |end| Err(self.settle(end)))
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        let finished = self.drive(&self.writable, None, |cx| {
            let mut sink = self.sink.lock();
            if self.finished.load(Ordering::SeqCst) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_sink(&mut sink, cx))?;
            let Some(open) = sink.take() else { return Poll::Ready(Err(self.over())) };
            self.finished.store(true, Ordering::SeqCst);
            *self.leaving.lock() = Some(open.fail(RpcStatus::with_message(status.code, status.message.clone())));
            Poll::Ready(Ok(()))
        });
        finished?.unwrap_or(Ok(()))
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        drop(self.sink.lock().take());
        drop(self.requests.lock().take());
        drop(self.leaving.lock().take());
        self.readable.signal.set();
        self.writable.signal.set();
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }
}
