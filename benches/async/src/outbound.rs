//! The messages we send on a stream. The stream's body is the peer's queue itself: no task of ours stands between the
//! two.

use crate::ack::Tracker;
use crate::bounded::{Receiver, Weigh};
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind};
use crate::wire::Envelope;
use futures_core::Stream;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{ready, Context, Poll};
use tokio::sync::oneshot;
use tonic::Status;

/// An item of a peer's queue.
pub(crate) enum Outgoing {
    Message {
        envelope: Envelope,
        weight: usize,
        tracker: Option<Tracker>,
    },
    /// The stream ends after the items queued before.
    End(Option<Status>),
}

impl Outgoing {
    /// It will not be delivered, for this reason.
    pub fn undelivered(self, error: Error) {
        if let Outgoing::Message { tracker: Some(tracker), .. } = self {
            tracker.undelivered(error);
        }
    }
}

impl Weigh for Outgoing {
    fn weight(&self) -> usize {
        match self {
            Outgoing::Message { weight, .. } => *weight,
            Outgoing::End(_) => 0,
        }
    }
}

/// The taking end of a peer's queue. Items left in it at the end are reported as undelivered.
pub(crate) struct Outbox {
    pub queue: Receiver<Outgoing>,
    /// Why there was an end.
    pub why: Arc<OnceLock<Error>>,
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.queue.close();
        let lost = || Error::new(ErrorKind::Disconnected, "the connection ended before the message was written");
        while let Some(outgoing) = self.queue.try_recv() {
            outgoing.undelivered(self.why.get().cloned().unwrap_or_else(lost));
        }
    }
}

/// The verdict on the other side.
pub(crate) enum Gate {
    /// It is this peer: messages queued for it may be sent.
    Open(PkiId, Outbox),
    End(Option<Status>),
}

/// The sending half of a stream: our connection message immediately, and queued messages as soon as the other side has
/// authenticated.
pub(crate) struct Outbound(State);

enum State {
    Hello(Envelope, oneshot::Receiver<Gate>),
    Waiting(oneshot::Receiver<Gate>),
    Open(PkiId, Outbox),
    Ended,
}

impl Outbound {
    pub fn new(hello: Envelope, gate: oneshot::Receiver<Gate>) -> Outbound {
        Outbound(State::Hello(hello, gate))
    }

    fn end(&mut self, status: Option<Status>) -> Poll<Option<Result<Envelope, Status>>> {
        self.0 = State::Ended;
        Poll::Ready(status.map(Err))
    }
}

impl Stream for Outbound {
    type Item = Result<Envelope, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match &mut self.0 {
                State::Open(id, outbox) => match ready!(outbox.queue.poll_recv(cx)) {
                    Some(Outgoing::Message { envelope, tracker, .. }) => {
                        if let Some(tracker) = tracker {
                            tracker.sending_to(id);
                        }
                        return Poll::Ready(Some(Ok(envelope)));
                    }
                    Some(Outgoing::End(status)) => return self.end(status),
                    None => return self.end(None),
                },
                State::Hello(..) => {
                    let State::Hello(hello, gate) = std::mem::replace(&mut self.0, State::Ended) else { continue };
                    self.0 = State::Waiting(gate);
                    return Poll::Ready(Some(Ok(hello)));
                }
                State::Waiting(gate) => match ready!(Pin::new(gate).poll(cx)) {
                    Ok(Gate::Open(id, outbox)) => self.0 = State::Open(id, outbox),
                    Ok(Gate::End(status)) => return self.end(status),
                    Err(_) => return self.end(None),
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

/// The body of a request, which cannot end with a status.
pub(crate) struct RequestBody(pub Outbound);

impl Stream for RequestBody {
    type Item = Envelope;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        Pin::new(&mut self.0).poll_next(cx).map(|item| item.and_then(Result::ok))
    }
}
