//! Acknowledged sends that do not hold up their caller: many can be under way at once, in order.

use super::ack::{AckWait, Outcome, SendResult};
use super::send::stopping;
use super::{Comm, RemotePeer};
use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{GossipMessage, SignedMessage};
use crate::random::{Random, SystemRandom};
use crate::sync::channel::select;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A message on its way to one peer, whose acknowledgement is awaited. Made by [`Comm::send_tracked`]. Dropping it does
/// not take the message back; the acknowledgement is then ignored.
pub struct AckHandle {
    peer: RemotePeer,
    wait: AckWait,
    clock: Arc<dyn Clock>,
    stopping: Cancel,
}

impl Comm {
    /// Queues a message for a peer, behind what was queued before, and returns a handle on its acknowledgement: where
    /// [`send_with_ack`](Comm::send_with_ack) waits for one message at a time, this keeps any number of them under way.
    ///
    /// The message gets a fresh random nonce and no signature. Blocks for at most `timeout`, and only while the queue
    /// to the peer is full. What happens to the message after that is told by the handle.
    ///
    /// # Errors
    /// The message was not queued: [`ErrorKind::Full`], [`ErrorKind::TooLarge`], [`ErrorKind::Stopped`] or
    /// [`ErrorKind::Config`].
    pub fn send_tracked(&self, mut message: GossipMessage, timeout: Duration, peer: &RemotePeer) -> Result<AckHandle> {
        let inner = self.inner();
        message.nonce = SystemRandom.next_u64();
        let nonce = message.nonce;
        let message = SignedMessage::noop_sign(message)?;
        let deadline = inner.deadline(timeout);
        let wait = inner.acks.wait(nonce, 1);
        inner.send_one(peer, &message, Some(wait.tracker(0)), Some(deadline))?;
        let (clock, stopping) = (inner.clock.clone(), inner.stopping.clone());
        Ok(AckHandle { peer: peer.clone(), wait, clock, stopping })
    }
}

impl AckHandle {
    /// Whom the message was sent to, as the caller named it.
    pub fn peer(&self) -> &RemotePeer {
        &self.peer
    }

    /// The message's nonce, by which it is acknowledged.
    pub fn nonce(&self) -> u64 {
        self.wait.nonce()
    }

    /// Waits up to `timeout` (zero: not at all) until the peer has answered, or the message is known not to get through
    /// to it. `None`: neither yet, ask again. The result is given once. Whoever asks when Comm has stopped is told that.
    pub fn wait(&self, timeout: Duration) -> Option<SendResult> {
        if let Ok((_, outcome)) = self.wait.results.try_recv() {
            return Some(self.result(outcome));
        }
        if self.stopping.is_cancelled() {
            return Some(self.result(Outcome::Undelivered(stopping())));
        }
        if timeout.is_zero() {
            return None;
        }
        select! {
            recv(self.wait.results) -> outcome => outcome.ok().map(|(_, outcome)| self.result(outcome)),
            recv(self.clock.after(timeout)) -> _ => None,
            recv(self.stopping.signal()) -> _ => Some(self.result(Outcome::Undelivered(stopping()))),
        }
    }

    /// As [`wait`](Self::wait), but what has not been answered within `timeout` counts as `timed out`, as with
    /// [`send_with_ack`](Comm::send_with_ack).
    pub fn finish(self, timeout: Duration) -> SendResult {
        let timed_out = || Outcome::Undelivered(Error::new(ErrorKind::Timeout, "timed out").step("send with ack"));
        self.wait(timeout).unwrap_or_else(|| self.result(timed_out()))
    }

    fn result(&self, outcome: Outcome) -> SendResult {
        outcome.into_result(&self.peer)
    }
}

/// Whose acknowledgement of what.
impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckHandle({} from {})", self.nonce(), self.peer)
    }
}
