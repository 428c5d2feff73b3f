//! Acknowledged sends that do not block their caller: many can be under way at the same time, in order.

use super::ack::{AckWait, Outcome, SendResult};
use super::send::stopping;
use super::send::Limit;
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

/// A sent message whose acknowledgement is pending. Created by [`Comm::send_tracked`]. Dropping it does not cancel the
/// message; its acknowledgement is then ignored.
pub struct AckHandle {
    peer: RemotePeer,
    wait: AckWait,
    clock: Arc<dyn Clock>,
    stopping: Cancel,
}

impl Comm {
    /// Queues a message for a peer, behind those queued before, and returns a handle to its acknowledgement.
    /// [`send_with_ack`](Comm::send_with_ack) waits for one message at a time; this method keeps any number of messages
    /// under way.
    ///
    /// The message gets a fresh random nonce and no signature. Blocks for at most `timeout`, and only while the peer's
    /// queue is full. The handle reports the further outcome of the message.
    ///
    /// # Errors
    /// The message was not queued: [`ErrorKind::Full`], [`ErrorKind::TooLarge`], [`ErrorKind::Stopped`] or
    /// [`ErrorKind::Config`].
    pub fn send_tracked(&self, mut message: GossipMessage, timeout: Duration, peer: &RemotePeer) -> Result<AckHandle> {
        let state = self.state();
        message.nonce = SystemRandom.next_u64();
        let nonce = message.nonce;
        let message = SignedMessage::noop_sign(message)?;
        let deadline = state.deadline(timeout);
        let wait = state.acks.wait(nonce, 1);
        state.send_one(peer, &message, Some(wait.tracker(0)), &mut Limit::Until(deadline))?;
        let (clock, stopping) = (state.clock.clone(), state.stopping.clone());
        Ok(AckHandle { peer: peer.clone(), wait, clock, stopping })
    }
}

impl AckHandle {
    /// Returns the peer that the message was sent to, as the caller addressed it.
    pub fn peer(&self) -> &RemotePeer {
        &self.peer
    }

    /// Returns the message's nonce, which identifies its acknowledgement.
    pub fn nonce(&self) -> u64 {
        self.wait.nonce()
    }

    /// Waits up to `timeout` (zero: no wait) until the peer has answered, or delivery is known to have failed. Returns
    /// `None` if neither has happened yet; call again. The result is returned once. After Comm has stopped, the result
    /// is that error.
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

    /// Waits as [`wait`](Self::wait) does, but returns `timed out` if there is no answer within `timeout`, as
    /// [`send_with_ack`](Comm::send_with_ack) does.
    pub fn finish(self, timeout: Duration) -> SendResult {
        let timed_out = || Outcome::Undelivered(Error::new(ErrorKind::Timeout, "timed out").with_step("send with ack"));
        self.wait(timeout).unwrap_or_else(|| self.result(timed_out()))
    }

    fn result(&self, outcome: Outcome) -> SendResult {
        outcome.into_result(&self.peer)
    }
}

/// Formats the peer and the nonce.
impl fmt::Debug for AckHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AckHandle({} from {})", self.nonce(), self.peer)
    }
}
