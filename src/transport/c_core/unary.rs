//! Unary calls, and waiting for a connection.

use super::call::{Call, Op};
use super::channel;
use super::headroom;
use super::queue::Wait;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::descriptor;
use crate::transport::code;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// A unary call under way: one message out, one back. Dropping it cancels what is not done.
pub(super) struct Unary {
    call: Arc<Call>,
    channel: Arc<channel::CoreChannel>,
}

impl Unary {
    pub(super) fn new(call: Call, channel: Arc<channel::CoreChannel>) -> Unary {
        Unary { call: Arc::new(call), channel }
    }

    /// Blocks until the call has a connection, for at most `timeout`. After an error the call is over.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] at once if the connection fails, with the C core's reason, or at the limit;
    /// [`ErrorKind::Stopped`] if cancelled.
    pub fn wait_connected(&mut self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        // In tests the dial may fail as it does where the core finds no descriptor for the connection.
        if let Err(e) = descriptor("dial") {
            self.call.cancel();
            return Err(Error::new(ErrorKind::Unreachable, headroom::explain(&e)).peer(self.channel.endpoint()));
        }
        wait_connected(&self.call, &self.channel, timeout, cancel)
    }

    /// Blocks until the answer is there, for at most `timeout`. An answer that got lost behind its status is empty.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the status' text if it is not OK ([`ErrorKind::Unreachable`] if it is UNAVAILABLE),
    /// [`ErrorKind::Timeout`], [`ErrorKind::Stopped`] if cancelled.
    pub fn wait(self, timeout: Duration, cancel: &Cancel) -> Result<Bytes> {
        let _hook = hook(&self.call, cancel);
        let error = |kind, text: String| Err(Error::new(kind, text).peer(self.channel.endpoint()));
        let wait = Wait::at_most(Some(timeout));
        let answered = self.call.wait_for(Op::Recv, wait);
        let ended = answered.and_then(|_| self.call.wait_for(Op::End, wait));
        if cancel.is_cancelled() {
            return error(ErrorKind::Stopped, "cancelled".into());
        }
        if ended.is_none() {
            return error(ErrorKind::Timeout, format!("no answer within {timeout:?}"));
        }
        let status = self.call.status();
        match status.code {
            code::OK => {}
            code::UNAVAILABLE => return error(ErrorKind::Unreachable, self.channel.why_unreachable(status.message)),
            _ => return error(ErrorKind::Refused, status.message),
        }
        self.channel.address(&self.call);
        // A server that answers before it has read the whole request resets the stream right behind its answer. Where the
        // core takes in both at once it drops the message and keeps the status, which says enough.
        let answer = self.call.take_message(self.channel.max_receive());
        Ok(answer
            .map_err(|status| Error::new(ErrorKind::Refused, status.message).peer(self.channel.endpoint()))?
            .unwrap_or_default())
    }
}

/// Waits for the connection under a call. After an error the call is cancelled.
pub(super) fn wait_connected(
    call: &Arc<Call>,
    channel: &channel::CoreChannel,
    limit: Duration,
    cancel: &Cancel,
) -> Result<()> {
    let _hook = hook(call, cancel);
    let connected = call.wait_for(Op::Headers, Wait::at_most(Some(limit)));
    let (kind, text) = match connected {
        _ if cancel.is_cancelled() => (ErrorKind::Stopped, "cancelled".to_owned()),
        Some(true) => return Ok(()),
        // The status of a failed call is there, or about to be.
        Some(false) => match call.wait_for(Op::End, Wait::at_most(Some(Duration::from_secs(1)))) {
            Some(_) => (ErrorKind::Unreachable, channel.why_unreachable(call.status().message)),
            None => (ErrorKind::Unreachable, "the connection failed, and the C core does not say why".to_owned()),
        },
        None => (ErrorKind::Unreachable, format!("no connection within {limit:?}: the peer does not answer")),
    };
    // Before the dial gives back what it may hold.
    let shortage = if kind == ErrorKind::Unreachable { headroom::shortage() } else { None };
    call.cancel();
    let text = match shortage {
        Some(shortage) => format!("{text} ({shortage})"),
        None => text,
    };
    Err(Error::new(kind, text).peer(channel.endpoint()))
}

fn hook(call: &Arc<Call>, cancel: &Cancel) -> crate::cancel::HookGuard {
    let call = call.clone();
    cancel.on_cancel(move || call.cancel())
}
