//! Connecting without a message to send: who is there, and is it connected now.

use super::connection::ConnectionInfo;
use super::outbox::{Greeting, Item};
use super::send::stopping;
use super::{Comm, RemotePeer};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::channel::{bounded, select};
use std::sync::Arc;
use std::time::Duration;

impl Comm {
    /// Connects to a peer, if it is not connected, and says who it is. The connection stays, for what is sent later: one
    /// dial where a [`handshake`](Self::handshake) and a first message take two. With a PKI-ID, a peer of another
    /// organisation is an error. Blocks for at most `timeout`; a dial that is under way then goes on.
    ///
    /// # Errors
    /// Why the peer could not be reached or is not accepted, as soon as that is known;
    /// [`ErrorKind::Timeout`], [`ErrorKind::Full`], [`ErrorKind::Stopped`] or [`ErrorKind::Config`].
    pub fn connect(&self, peer: &RemotePeer, timeout: Duration) -> Result<Arc<ConnectionInfo>> {
        let inner = self.inner();
        let (tell, told) = bounded(1);
        self.connect_then(peer, move |result| drop(tell.try_send(result)))?;
        let failed = |e: Error| Err(e.peer(peer).step("connect"));
        select! {
            recv(told) -> result => result.unwrap_or_else(|_| failed(stopping())),
            recv(inner.clock.after(timeout)) -> _ => failed(Error::new(ErrorKind::Timeout, "timed out")),
            recv(inner.stopping.signal()) -> _ => failed(stopping()),
        }
    }

    /// As [`connect`](Self::connect), without waiting: `told` is called once, unless this fails. It is called on the
    /// peer's writer thread, or on this one before this returns, and must not block.
    pub(crate) fn connect_then(
        &self,
        peer: &RemotePeer,
        told: impl FnOnce(Result<Arc<ConnectionInfo>>) + Send + 'static,
    ) -> Result<()> {
        if self.inner().stopping.is_cancelled() {
            return Err(stopping().peer(peer).step("connect"));
        }
        self.inner().queue(peer, Item::Greeting(Greeting::new(Box::new(told))), None)
    }
}
