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

/// A unary call in progress: one request, one answer. Dropping it cancels it unless it is complete.
pub(super) struct Unary {
    call: Arc<Call>,
    channel: Arc<channel::CoreChannel>,
}

impl Unary {
    pub(super) fn new(call: Call, channel: Arc<channel::CoreChannel>) -> Unary {
        Unary { call: Arc::new(call), channel }
    }

    /// Blocks until the call has a connection, for at most `timeout`. After an error the call has ended.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`] with the C core's reason, immediately if the connection fails, or after `timeout`;
    /// [`ErrorKind::Stopped`] if cancelled.
    pub fn wait_connected(&mut self, timeout: Duration, cancel: &Cancel) -> Result<()> {
        // In tests the dial may fail as if the core had no descriptor for the connection.
        if let Err(e) = descriptor("dial") {
            self.call.cancel();
            return Err(Error::new(ErrorKind::Unreachable, headroom::explain(&e)).with_peer(self.channel.endpoint()));
        }
        wait_connected(&self.call, &self.channel, timeout, cancel)
    }

    /// Blocks until the answer arrives, for at most `timeout`. An answer lost behind its status is empty.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] with the status' text if it is not OK ([`ErrorKind::Unreachable`] if it is UNAVAILABLE),
    /// [`ErrorKind::Timeout`], [`ErrorKind::Stopped`] if cancelled.
    pub fn wait(self, timeout: Duration, cancel: &Cancel) -> Result<Bytes> {
        let _hook = hook(&self.call, cancel);
        let error = |kind, text: String| Err(Error::new(kind, text).with_peer(self.channel.endpoint()));
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
        // A server that answers before it has read the whole request resets the stream right after its answer. If the
        // core receives both at the same time, it drops the message and keeps the status, which is sufficient.
        let answer = self.call.take_message(self.channel.max_receive());
        Ok(answer
            .map_err(|status| Error::new(ErrorKind::Refused, status.message).with_peer(self.channel.endpoint()))?
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
        // The status of a failed call is available or about to arrive.
        Some(false) => match call.wait_for(Op::End, Wait::at_most(Some(Duration::from_secs(1)))) {
            Some(_) => (ErrorKind::Unreachable, channel.why_unreachable(call.status().message)),
            None => (ErrorKind::Unreachable, "the connection failed, and the C core gave no reason".to_owned()),
        },
        None => (ErrorKind::Unreachable, format!("no connection within {limit:?}: the peer does not answer")),
    };
    // Determined before the dial releases any descriptors.
    let shortage = if kind == ErrorKind::Unreachable { headroom::shortage() } else { None };
    call.cancel();
    let text = match shortage {
        Some(shortage) => format!("{text} ({shortage})"),
        None => text,
    };
    Err(Error::new(kind, text).with_peer(channel.endpoint()))
}

fn hook(call: &Arc<Call>, cancel: &Cancel) -> crate::cancel::HookGuard {
    let call = call.clone();
    cancel.on_cancel(move || call.cancel())
}
