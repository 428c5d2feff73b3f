//! The communication layer: authenticated streams between peers, messages and acknowledgements over them.
//!
//! [`Comm`] is the interface; [`CommBuilder`] creates one. Each peer is an entry with one bounded queue and one writer
//! thread, which dials when necessary. Each stream has one reader thread. Sending never blocks and keeps the order of
//! the messages to each peer. Every accepted message is either written to the stream or reported in an
//! [`Event::Undelivered`]. Only an acknowledgement proves delivery.

mod ack;
mod admission;
mod bounded_queue;
mod builder;
pub(crate) mod conn_message;
mod conn_store;
mod connect;
mod connection;
mod demux;
mod dial;
mod event;
mod handshake;
mod inline_write;
mod outbox;
mod peer_entry;
mod probation;
mod reader;
mod received;
mod redial;
mod remote_peer;
mod report;
mod send;
mod state;
mod stop;
pub(crate) mod threads;
mod tracked;
mod writer;

pub use ack::{AggregatedSendResult, SendResult};
#[doc(hidden)]
pub use bounded_queue::ByteSize;
pub use builder::CommBuilder;
pub use connection::{AuthInfo, ConnectionInfo};
pub(crate) use demux::Sink;
pub use demux::Subscription;
#[doc(hidden)]
pub use demux::{Batch, Demux};
pub use event::Event;
pub use handshake::Handshake;
pub use received::ReceivedMessage;
pub use remote_peer::RemotePeer;
pub use send::{NotSent, SendError};
pub use tracked::AckHandle;

use crate::config::SubscriptionOptions;
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::Result;
use crate::identity::IdentityMapper;
use crate::metrics::CommSnapshot;
use crate::sync::Mutex;
use crate::transport::{Acceptor, Connection, Server};
use state::CommState;
use std::sync::Arc;
use std::time::Duration;
use threads::StopOnce;

/// A handle to the communication layer. Clones share the same layer; dropping the last one stops it. All methods can be
/// called from any thread.
#[derive(Clone)]
pub struct Comm(Arc<Handle>);

impl std::fmt::Debug for Comm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Comm")
            .field("pki_id", self.pki_id())
            .field("local_addr", &self.local_addr())
            .finish_non_exhaustive()
    }
}

struct Handle {
    state: Arc<CommState>,
    local_addr: Option<String>,
    /// The server that accepts streams, if this Comm listens.
    server: Mutex<Option<Box<dyn Server>>>,
    stop: StopOnce,
}

impl Comm {
    /// Returns a builder, given our own identity and the services that verify and sign.
    pub fn builder(
        identity: PeerIdentity,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
    ) -> CommBuilder {
        CommBuilder::new(identity, crypto, advisor)
    }

    /// Returns our own PKI-ID. Fabric's `GetPKIid`.
    pub fn pki_id(&self) -> &PkiId {
        &self.state().handshaker.pki_id
    }

    /// Returns the listening address, `host:port` with the actual port; `None` if this Comm does not listen.
    pub fn local_addr(&self) -> Option<&str> {
        self.0.local_addr.as_deref()
    }

    /// Returns the mapper with the known identities.
    pub fn identity_mapper(&self) -> &IdentityMapper {
        &self.state().handshaker.mapper
    }

    /// Checks that a peer answers a Ping at the given endpoint. Uses a new connection without authentication and
    /// ignores the PKI-ID. Blocks for at most the dial timeout and the connection timeout. Fails once stopped.
    pub fn probe(&self, peer: &RemotePeer) -> Result<()> {
        self.check_running(peer, "probe")?;
        dial::probe(self.state(), peer)
    }

    /// Determines which peer is at the endpoint and whether it accepts us. Runs the whole handshake on a new
    /// connection, which neither side keeps; both then know the other's identity. If a PKI-ID is given, the peer must
    /// have it. Blocks for at most the dial timeout and three connection timeouts. Fails once stopped.
    pub fn handshake(&self, peer: &RemotePeer) -> Result<Handshake> {
        self.check_running(peer, "handshake")?;
        dial::handshake(self.state(), peer)
    }

    /// Subscribes to the received messages for which `predicate` is true.
    ///
    /// The predicate runs on the threads that read the connections and must not block. A full subscription blocks the
    /// connections that deliver to it, for up to one second each time; [`subscribe_with`](Self::subscribe_with) changes that.
    /// Acknowledgements are not delivered.
    pub fn subscribe(
        &self,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.subscribe_with(SubscriptionOptions::default(), predicate)
    }

    /// Calls [`subscribe`](Self::subscribe), under the name that Fabric uses.
    pub fn accept(
        &self,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.subscribe(predicate)
    }

    /// Subscribes as [`subscribe`](Self::subscribe) does, with other bounds or another policy.
    pub fn subscribe_with(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.state().messages.subscribe(options, predicate)
    }

    /// Calls `deliver` with each received message, on the threads that read the connections. It may block; meanwhile
    /// the connection that delivered the message is not read. Acknowledgements are not delivered.
    pub(crate) fn add_sink(&self, deliver: impl Fn(&ReceivedMessage) + Send + Sync + 'static) -> Sink {
        self.state().messages.add_sink(deliver)
    }

    /// Subscribes to events about connections and accepted messages, from now on. Publishing never waits for a reader:
    /// events that do not fit in the queue are dropped and counted ([`Subscription::missed`]).
    pub fn events(&self) -> Subscription<Event> {
        self.state().events.subscribe(self.state().config.event_buff_size)
    }

    /// Subscribes to the PKI-IDs of peers that could not be reached for a send, or not reached again after a lost
    /// connection, from now on. Up to 100 are queued; more are dropped and counted.
    pub fn presumed_dead(&self) -> Subscription<PkiId> {
        self.state().events.presumed_dead()
    }

    /// Subscribes to PKI-IDs found to be out of date, from now on: another peer of the same organisation answered in
    /// their place. Up to 100 are queued; more are dropped and counted.
    pub fn identity_switch(&self) -> Subscription<PkiId> {
        self.state().events.identity_switch()
    }

    /// Closes the connection to a peer and removes the peer. Messages queued for it are still written within the
    /// connection timeout; the rest are reported undelivered. Does not block. The endpoint is used only if no PKI-ID is
    /// given. An unknown peer is not an error.
    pub fn close_conn(&self, peer: &RemotePeer) {
        self.state().store.close(peer);
    }

    /// Returns the peers that are connected now.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        self.state().store.connections().iter().map(|c| c.info.clone()).collect()
    }

    /// Returns the number of connected peers. Fabric's `connNum`.
    pub fn connection_count(&self) -> usize {
        self.state().store.connections().len()
    }

    /// Returns the current values of the counters and gauges.
    pub fn metrics(&self) -> CommSnapshot {
        self.state().snapshot()
    }

    /// Opens a raw connection to `endpoint`, for a Ping or for a stream that the caller manages, without a handshake.
    /// Blocks for at most the dial timeout.
    #[doc(hidden)]
    pub fn dial(&self, endpoint: &str) -> Result<Box<dyn Connection>> {
        let state = self.state();
        state.transport.dial(endpoint, state.config.dial_timeout, &state.stopping)
    }

    /// Returns the acceptor that serves inbound streams, for use with a separate server.
    #[doc(hidden)]
    pub fn acceptor(&self) -> Arc<dyn Acceptor> {
        Arc::new(reader::Server(self.state().clone()))
    }

    /// Stops the communication layer. It accepts nothing more, closes connections so that written messages still
    /// arrive, reports queued messages as undelivered, ends subscriptions once their queues are empty, and joins every
    /// thread.
    ///
    /// Blocks for at most the connection timeout, plus the keepalive timeout if a peer is frozen while its socket is
    /// full. Further calls wait for the first. On one of the library's own threads (in a predicate or a crypto service)
    /// the call returns immediately and another thread does the work.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Waits up to `drain` until all queued messages are written, then stops as [`stop`](Self::stop) does. Returns the
    /// error of [`flush`](Self::flush), if any; it stops in either case.
    pub fn stop_after_drain(&self, drain: Duration) -> Result<()> {
        let flushed = self.flush(drain);
        self.stop();
        flushed
    }

    /// Returns the number of connections that have not been released, in tests.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn open_connections(&self) -> usize {
        self.state().store.open.count()
    }

    fn state(&self) -> &Arc<CommState> {
        &self.0.state
    }

    fn check_running(&self, peer: &RemotePeer, step: &'static str) -> Result<()> {
        match self.state().stopping.is_cancelled() {
            true => Err(send::stopping().with_peer(peer).with_step(step)),
            false => Ok(()),
        }
    }
}

impl Handle {
    fn stop(&self) {
        let (state, server) = (self.state.clone(), &self.server);
        let server = server.lock().take();
        self.stop.run(move || state.stop(server));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
