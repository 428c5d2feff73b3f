//! Sending: without waiting, with a wait for queue space, and with a wait for acknowledgements.

use super::ack::{AggregatedSendResult, Outcome, SendResult, Tracker};
use super::conn_store::Refusal;
use super::outbox::{Item, NotTaken};
use super::peer_entry::PeerEntry;
use super::state::CommState;
use super::writer;
use super::{Comm, RemotePeer};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{GossipMessage, SignedMessage};
use crate::metrics::DropReason;
use crate::random::{Random, SystemRandom};
use crate::sync::channel::{bounded, never, select, Sender};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval at which a sender checks for room itself: no wake-up is sent if room appears slowly and then stops growing.
const ROOM_CHECK: Duration = Duration::from_millis(20);

/// Error of a send that some peers' queues did not accept. The other peers' queues did.
#[derive(Debug)]
pub struct SendError {
    /// The peers that did not accept the message, and why.
    pub not_sent: Vec<NotSent>,
}

/// A message that was not accepted for one peer.
#[derive(Debug)]
pub struct NotSent {
    /// The peer.
    pub peer: RemotePeer,
    /// The message, returned to the caller.
    pub message: SignedMessage,
    /// [`ErrorKind::Full`], [`ErrorKind::TooLarge`], [`ErrorKind::Stopped`] or [`ErrorKind::Config`].
    pub error: Error,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not accepted for {} peer(s)", self.not_sent.len())?;
        self.not_sent.iter().try_for_each(|n| write!(f, "; {}", n.error))
    }
}

impl std::error::Error for SendError {}

/// Keeps the kind of the first peer's error, and all errors as the text, so that `?` works in functions that return
/// [`Result`].
impl From<SendError> for Error {
    fn from(error: SendError) -> Self {
        let kind = error.not_sent.first().map_or(ErrorKind::Internal, |not_sent| not_sent.error.kind());
        Error::new(kind, error.to_string()).with_source(error)
    }
}

impl Comm {
    /// Queues a message for each peer, in order per peer, and returns without blocking. A peer that is not connected is
    /// dialled. The message is encoded once, regardless of the number of peers.
    ///
    /// An accepted message is later written or reported ([`Event::Undelivered`](super::Event::Undelivered)). A message
    /// that is not accepted, because the peer's queue is full, the message is too large or Comm is stopped, is returned
    /// in the error.
    pub fn send(&self, message: &SignedMessage, peers: &[RemotePeer]) -> Result<(), SendError> {
        self.send_within(message, Limit::Now, peers)
    }

    /// Sends as [`send`](Self::send) does, but waits up to `timeout` for room in the peers' queues.
    pub fn send_timeout(
        &self,
        message: &SignedMessage,
        timeout: Duration,
        peers: &[RemotePeer],
    ) -> Result<(), SendError> {
        self.send_within(message, Limit::For(timeout), peers)
    }

    fn send_within(&self, message: &SignedMessage, mut limit: Limit, peers: &[RemotePeer]) -> Result<(), SendError> {
        let state = self.state();
        let mut not_sent = Vec::new();
        for peer in peers {
            let sent = state.send_one(peer, message, None, &mut limit);
            not_sent.extend(sent.err().map(|error| NotSent { peer: peer.clone(), message: message.clone(), error }));
        }
        if not_sent.is_empty() {
            Ok(())
        } else {
            Err(SendError { not_sent })
        }
    }

    /// Sends a message to all peers. Waits until `min_ack` of them have acknowledged it, or every one has answered or
    /// failed, or `timeout` has passed. The timeout covers dialling, queueing and waiting. The result holds the
    /// outcomes that arrived until then.
    ///
    /// The message gets a fresh random nonce and no signature. A peer that cannot be reached counts immediately, with
    /// the reason. With a `min_ack` of 0, the wait ends if the first answer is a failure (as in Fabric).
    pub fn send_with_ack(
        &self,
        mut message: GossipMessage,
        timeout: Duration,
        min_ack: usize,
        peers: &[RemotePeer],
    ) -> AggregatedSendResult {
        let state = self.state();
        message.nonce = SystemRandom.next_u64();
        let nonce = message.nonce;
        let message = match SignedMessage::noop_sign(message) {
            Ok(_) if state.stopping.is_cancelled() => return all_failed(peers, &stopping()),
            Ok(message) => message,
            Err(e) => return all_failed(peers, &e),
        };
        let timer = state.clock.after(timeout);
        let wait = state.acks.wait(nonce, peers.len());
        let (room, has_room) = bounded(1);
        let mut waiting: Vec<usize> = (0..peers.len()).collect();
        let mut results: Vec<SendResult> = Vec::with_capacity(peers.len());
        let mut open: Vec<bool> = vec![true; peers.len()];
        let mut successes = 0;
        while results.len() < peers.len() {
            waiting.retain(|&index| state.still_full(&peers[index], &message, || wait.tracker(index), &room));
            let early = match waiting.is_empty() {
                true => state.ack_spin.run(|| wait.results.try_recv().ok()),
                false => None,
            };
            let (index, outcome) = if let Some(result) = early {
                result
            } else {
                select! {
                    recv(wait.results) -> result => match result {
                        Ok(result) => result,
                        Err(_) => break,
                    },
                    recv(has_room) -> _ => continue,
                    recv(if waiting.is_empty() { never() } else { state.clock.after(ROOM_CHECK) }) -> _ => continue,
                    recv(timer) -> _ => break,
                    recv(state.stopping.signal()) -> _ => break,
                }
            };
            let result = outcome.into_result(&peers[index]);
            successes += usize::from(result.error.is_none());
            open[index] = false;
            results.push(result);
            if successes == min_ack {
                return AggregatedSendResult(results);
            }
        }
        let stopped = state.stopping.is_cancelled();
        let unanswered = || if stopped { stopping() } else { Error::new(ErrorKind::Timeout, "timed out") };
        let rest = peers.iter().zip(open).filter(|(_, open)| *open).map(|(peer, _)| peer);
        results
            .extend(rest.map(|peer| Outcome::Undelivered(unanswered().with_step("send with ack")).into_result(peer)));
        AggregatedSendResult(results)
    }

    /// Waits until every message accepted before the call has been written or reported, for at most `timeout`. The
    /// error states how many messages and peers remain.
    pub fn flush(&self, timeout: Duration) -> Result<()> {
        let state = self.state();
        let timer = state.clock.after(timeout);
        let waits: Vec<_> =
            state.store.peers().into_iter().filter_map(|p| p.outbox.when_flushed().map(|w| (p, w))).collect();
        for (i, (_, (_, flushed))) in waits.iter().enumerate() {
            select! {
                recv(flushed) -> _ => {}
                recv(timer) -> _ => {
                    waits[i..].iter().for_each(|(p, (waiter, _))| p.outbox.forget_flush(waiter));
                    let owed: usize = waits[i..].iter().map(|(p, _)| p.outbox.owed()).sum();
                    let text = format!("timed out: {owed} messages to {} peers are not written", waits.len() - i);
                    return Err(Error::new(ErrorKind::Timeout, text).with_step("flush"));
                }
            }
        }
        Ok(())
    }
}

pub(super) fn stopping() -> Error {
    Error::new(ErrorKind::Stopped, "comm is stopping")
}

fn all_failed(peers: &[RemotePeer], error: &Error) -> AggregatedSendResult {
    let failed = |peer: &RemotePeer| SendResult {
        peer: peer.clone(),
        error: Some(Error::new(error.kind(), error.message()).with_peer(peer).with_step("send")),
        round_trip: None,
    };
    AggregatedSendResult(peers.iter().map(failed).collect())
}

/// Time for which a send waits for room.
pub(super) enum Limit {
    /// It does not wait.
    Now,
    /// So long, from the moment at which it first has to wait.
    For(Duration),
    Until(Instant),
}

impl Limit {
    fn deadline(&mut self, state: &CommState) -> Option<Instant> {
        if let Limit::For(timeout) = *self {
            *self = Limit::Until(state.deadline(timeout));
        }
        match *self {
            Limit::Until(at) => Some(at),
            _ => None,
        }
    }
}

impl CommState {
    /// Returns the entry for a peer, with a running writer.
    fn entry(self: &Arc<Self>, to: &RemotePeer) -> Result<Arc<PeerEntry>> {
        if to.pki_id.is_none() && to.endpoint.is_empty() {
            return Err(Error::new(ErrorKind::Config, "neither an endpoint nor a PKI-ID is given"));
        }
        self.store.entry(to, |peer| writer::start(self, peer)).map_err(|refusal| match refusal {
            Refusal::Closing => stopping(),
            Refusal::Full => Error::new(ErrorKind::Full, "too many peers (max_connections)"),
            Refusal::NoThread(error) => error,
        })
    }

    fn check_size(&self, message: &SignedMessage) -> Result<()> {
        let (size, max) = (message.wire_len(), self.config.max_message_size);
        if size > max {
            return Err(Error::new(ErrorKind::TooLarge, format!("message of {size} bytes; at most {max} can be sent")));
        }
        Ok(())
    }

    /// Offers a tracked message to a peer. Returns `true` if its queue is full; `room` then signals when to try again.
    /// Any other outcome is reported to the tracker.
    fn still_full(
        self: &Arc<Self>,
        to: &RemotePeer,
        message: &SignedMessage,
        tracker: impl Fn() -> Tracker,
        room: &Sender<()>,
    ) -> bool {
        let mut told = false;
        loop {
            let peer = match self.check_size(message).and_then(|()| self.entry(to)) {
                Ok(peer) => peer,
                Err(e) => {
                    tracker().undelivered(e.with_peer(to).with_step("send"));
                    return false;
                }
            };
            match self.push(&peer, Item::Message { message: message.clone(), tracker: Some(tracker()) }) {
                Ok(()) => return false,
                Err((_, NotTaken::Closed)) => {}
                // Try once more after registering for room, in case there has been room since.
                Err((_, NotTaken::Full)) if told => return true,
                Err((_, NotTaken::Full)) => {
                    peer.outbox.when_room(room.clone());
                    told = true;
                }
            }
        }
    }

    /// Queues a message for one peer.
    pub(super) fn send_one(
        self: &Arc<Self>,
        to: &RemotePeer,
        message: &SignedMessage,
        tracker: Option<Tracker>,
        limit: &mut Limit,
    ) -> Result<()> {
        self.check_size(message).map_err(|e| e.with_peer(to).with_step("send"))?;
        self.queue(to, Item::Message { message: message.clone(), tracker }, limit)
    }

    /// Queues an item for one peer.
    pub(super) fn queue(self: &Arc<Self>, to: &RemotePeer, mut item: Item, limit: &mut Limit) -> Result<()> {
        let failed = |e: Error| e.with_peer(to).with_step("send");
        let mut waiting = None;
        let mut told = false;
        loop {
            let peer = self.entry(to).map_err(failed)?;
            let why;
            (item, why) = match self.push(&peer, item) {
                Ok(()) => return Ok(()),
                Err(back) => back,
            };
            if why == NotTaken::Closed {
                continue;
            }
            let Some(deadline) = limit.deadline(self) else {
                self.metrics.dropped(peer.remote().pki_id.as_ref(), DropReason::SendQueueFull, 1);
                return Err(failed(Error::new(ErrorKind::Full, "the queue to the peer is full")));
            };
            let (room, has_room) = waiting.get_or_insert_with(|| bounded(1));
            if !told {
                // Try once more after registering for room, in case there has been room since.
                peer.outbox.when_room(room.clone());
                told = true;
                continue;
            }
            let left = deadline.saturating_duration_since(self.clock.now());
            if left.is_zero() {
                self.metrics.dropped(peer.remote().pki_id.as_ref(), DropReason::SendQueueFull, 1);
                return Err(failed(Error::new(ErrorKind::Full, "the queue to the peer stayed full")));
            }
            select! {
                recv(has_room) -> _ => {}
                recv(self.clock.after(left.min(ROOM_CHECK))) -> _ => {}
                recv(self.stopping.signal()) -> _ => return Err(failed(stopping())),
            }
            told = false;
        }
    }
}
