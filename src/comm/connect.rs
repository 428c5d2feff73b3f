//! Connecting without a message to send.

use super::connection::{Connection, ConnectionInfo};
use super::outbox::{Greeting, Item};
use super::send::stopping;
use super::send::Limit;
use super::{Comm, Handshake, RemotePeer};
use crate::error::{Error, ErrorKind, Result};
use crate::sync::channel::{bounded, select};
use std::sync::Arc;
use std::time::{Duration, Instant};

impl Comm {
    /// Connects to a peer unless it is already connected. Returns the peer and whether it accepts us. The connection
    /// stays open for later sends, so one dial replaces the two of a [`handshake`](Self::handshake) followed by a first
    /// message. If a PKI-ID is given, a peer of another organisation is an error. Blocks for at most `timeout`; a dial
    /// that is still under way then continues.
    ///
    /// A new connection is made after the peer has confirmed that it accepts us, as in a handshake. On an existing
    /// connection, a message from the peer is such a confirmation; without one, the call waits up to the connection
    /// timeout for a refusal. If neither arrives, the result is not [`confirmed`](Handshake::confirmed).
    ///
    /// # Errors
    /// The reason why the peer could not be reached or is not accepted, or why it refuses us, as soon as it is known;
    /// [`ErrorKind::Timeout`], [`ErrorKind::Full`], [`ErrorKind::Stopped`] or [`ErrorKind::Config`].
    pub fn connect(&self, peer: &RemotePeer, timeout: Duration) -> Result<Handshake> {
        let state = self.state();
        let deadline = state.deadline(timeout);
        let (tell, told) = bounded(1);
        self.greet(peer, true, move |result| drop(tell.try_send(result)))?;
        let failed = |e: Error| Err(e.with_peer(peer).with_step("connect"));
        let conn: Arc<Connection> = select! {
            recv(told) -> result => match result {
                Ok(result) => result?,
                Err(_) => return failed(stopping()),
            },
            recv(state.clock.after(timeout)) -> _ => return failed(Error::new(ErrorKind::Timeout, "timed out")),
            recv(state.stopping.signal()) -> _ => return failed(stopping()),
        };
        self.await_verdict(&conn, deadline).or_else(failed)
    }

    /// Waits until the peer has shown whether it accepts us, or its time to do so has passed.
    fn await_verdict(&self, conn: &Connection, deadline: Instant) -> Result<Handshake> {
        let state = self.state();
        let until = deadline.min(conn.since + state.config.conn_timeout);
        if conn.probation.is_open() {
            select! {
                recv(conn.probation.is_proven().signal()) -> _ => {}
                recv(conn.ended.signal()) -> _ => {}
                recv(state.clock.after(until.saturating_duration_since(state.clock.now()))) -> _ => {}
                recv(state.stopping.signal()) -> _ => return Err(stopping()),
            }
        }
        if let Some(refusal) = conn.probation.refusal() {
            return Err(Error::new(refusal.kind(), refusal.message()));
        }
        Ok(Handshake { info: (*conn.info).clone(), confirmed: conn.probation.is_proven().is_cancelled() })
    }

    /// Connects without waiting and without asking whether the peer accepts us. Calls `told` exactly once, unless this
    /// function fails. The call happens on the peer's writer thread, or on this thread before this function returns,
    /// and must not block.
    pub(crate) fn connect_then(
        &self,
        peer: &RemotePeer,
        told: impl FnOnce(Result<Arc<ConnectionInfo>>) + Send + 'static,
    ) -> Result<()> {
        self.greet(peer, false, move |result| told(result.map(|conn| conn.info.clone())))
    }

    fn greet(
        &self,
        peer: &RemotePeer,
        confirm: bool,
        told: impl FnOnce(Result<Arc<Connection>>) + Send + 'static,
    ) -> Result<()> {
        if self.state().stopping.is_cancelled() {
            return Err(stopping().with_peer(peer).with_step("connect"));
        }
        self.state().queue(peer, Item::Greeting(Greeting::new(confirm, Box::new(told))), &mut Limit::Now)
    }
}
