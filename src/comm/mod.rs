//! The communication layer: authenticated streams between peers, messages and acknowledgements over them.
//!
//! [`Comm`] is the interface; [`CommBuilder`] makes one. A peer is an entry with one bounded queue and one writer thread,
//! which dials when it must; each stream has one reader thread. Sending never blocks, keeps its order per peer, and every
//! accepted message ends as written to the stream or as reported in an [`Event::Undelivered`]. Only an acknowledgement
//! proves that it was delivered.

mod ack;
mod admission;
mod bounded_queue;
mod builder;
mod conn_store;
mod connect;
mod connection;
mod demux;
mod dial;
mod event;
mod handshake;
mod inner;
mod outbox;
mod probation;
mod reader;
mod received;
mod redial;
mod send;
pub(crate) mod threads;
mod tracked;
mod writer;

pub use ack::{AggregatedSendResult, SendResult};
pub use bounded_queue::ByteSize;
pub use builder::CommBuilder;
pub use connection::{AuthInfo, ConnectionInfo};
pub(crate) use demux::Sink;
pub use demux::{Batch, Demux, Subscription};
pub use event::Event;
pub use received::ReceivedMessage;
pub use send::{NotSent, SendError};
pub use tracked::AckHandle;

use crate::config::SubscriptionOptions;
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::IdentityMapper;
use crate::metrics::CommSnapshot;
use crate::sync::Mutex;
use crate::transport::{Acceptor, Connection, Server};
use inner::Inner;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use threads::StopOnce;

/// A peer as a caller names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemotePeer {
    /// Where it can be dialled, `host:port` (IPv6 in brackets). Not looked at while the peer is connected.
    pub endpoint: String,
    /// Its PKI-ID, if it is known. An endpoint where another peer of the same organisation answers is accepted, and told
    /// as an identity switch; one of another organisation is not.
    pub pki_id: Option<PkiId>,
}

impl RemotePeer {
    /// Whoever answers at `endpoint`.
    pub fn new(endpoint: impl Into<String>) -> Self {
        RemotePeer { endpoint: endpoint.into(), pki_id: None }
    }

    /// This peer at `endpoint`.
    pub fn with_id(endpoint: impl Into<String>, pki_id: PkiId) -> Self {
        RemotePeer { endpoint: endpoint.into(), pki_id: Some(pki_id) }
    }
}

/// `endpoint (first bytes of the PKI-ID)`.
impl fmt::Display for RemotePeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.endpoint.is_empty() { "?" } else { &self.endpoint })?;
        match &self.pki_id {
            Some(id) => write!(f, " ({:.12})", id.to_string()),
            None => Ok(()),
        }
    }
}

/// What a handshake found out.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// Who is there.
    pub info: ConnectionInfo,
    /// Whether it said that it accepts us. A peer that refuses makes the handshake fail; one that does neither within the
    /// connection timeout leaves this false.
    pub confirmed: bool,
}

/// A handle on the communication layer. Clones are the same; dropping the last one stops it. Every method can be called
/// from any thread.
#[derive(Clone)]
pub struct Comm(Arc<Handle>);

struct Handle {
    inner: Arc<Inner>,
    local_addr: Option<String>,
    /// Accepts streams for this Comm, if it listens.
    server: Mutex<Option<Box<dyn Server>>>,
    stop: StopOnce,
}

impl Comm {
    /// Starts to put one together: our own identity, and the services that know what it means.
    pub fn builder(
        identity: PeerIdentity,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
    ) -> CommBuilder {
        CommBuilder::new(identity, crypto, advisor)
    }

    /// Our own PKI-ID. Fabric's `GetPKIid`.
    pub fn pki_id(&self) -> &PkiId {
        &self.inner().handshaker.pki_id
    }

    /// Returns the address that it listens on, `host:port` with the real port; `None` if it does not listen.
    pub fn local_addr(&self) -> Option<&str> {
        self.0.local_addr.as_deref()
    }

    /// The identities it knows.
    pub fn identity_mapper(&self) -> &IdentityMapper {
        &self.inner().handshaker.mapper
    }

    /// Checks that somebody answers a Ping at the peer's endpoint: a new connection, no authentication, the PKI-ID not
    /// looked at. Blocks for at most the dial timeout and the connection timeout. Fails once stopped.
    pub fn probe(&self, peer: &RemotePeer) -> Result<()> {
        if self.inner().stopping.is_cancelled() {
            return Err(Error::new(ErrorKind::Stopped, "stopping"));
        }
        dial::probe(self.inner(), peer)
    }

    /// Asks who is at the peer's endpoint, and whether it accepts us: a new connection and the whole handshake, after which
    /// neither side keeps a connection, but both know the other's identity. With a PKI-ID, it must be that one. Blocks for
    /// at most the dial timeout and three connection timeouts. Fails once stopped.
    pub fn handshake(&self, peer: &RemotePeer) -> Result<Handshake> {
        if self.inner().stopping.is_cancelled() {
            return Err(Error::new(ErrorKind::Stopped, "stopping"));
        }
        dial::handshake(self.inner(), peer)
    }

    /// Subscribes to the received messages for which `predicate` is true. Fabric's `Accept`.
    ///
    /// The predicate runs on the threads that read the connections: it must not block. A subscription that is not read
    /// holds up the connections it gets messages from, for up to a second each time; [`accept_with`](Self::accept_with)
    /// sets that otherwise. Acknowledgements are not among the messages.
    pub fn accept(
        &self,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.accept_with(SubscriptionOptions::default(), predicate)
    }

    /// As [`accept`](Self::accept), with other bounds or another policy.
    pub fn accept_with(
        &self,
        options: SubscriptionOptions,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.inner().messages.subscribe(options, predicate)
    }

    /// Calls `deliver` with each received message, on the threads that read the connections. It may block: then the
    /// connection that the message came over is read no further. Acknowledgements are not among the messages.
    pub(crate) fn add_sink(&self, deliver: impl Fn(&ReceivedMessage) + Send + Sync + 'static) -> Sink {
        self.inner().messages.add_sink(deliver)
    }

    /// What happens to connections and accepted messages, from now on. What is not received in time is dropped and
    /// counted ([`Subscription::missed`]): nothing waits for the reader of events.
    pub fn events(&self) -> Subscription<Event> {
        self.inner().events.subscribe(self.inner().config.event_buff_size)
    }

    /// The PKI-IDs of peers that could not be reached for a send, or not again after their connection was lost, from now
    /// on. A hundred wait; more are dropped and counted.
    pub fn presumed_dead(&self) -> Subscription<PkiId> {
        self.inner().events.presumed_dead()
    }

    /// The PKI-IDs that turned out to be out of date, from now on: another peer of the same organisation answered where
    /// they were expected. A hundred wait; more are dropped and counted.
    pub fn identity_switch(&self) -> Subscription<PkiId> {
        self.inner().events.identity_switch()
    }

    /// Closes the connection to a peer and forgets it; what is queued for it is still written, within the connection
    /// timeout, and what is not is reported undelivered. Does not block. The endpoint counts only if no PKI-ID is given;
    /// an unknown peer is no error.
    pub fn close_conn(&self, peer: &RemotePeer) {
        self.inner().store.close(peer);
    }

    /// Who is connected now.
    pub fn connections(&self) -> Vec<Arc<ConnectionInfo>> {
        self.inner().store.connections().iter().map(|c| c.info.clone()).collect()
    }

    /// How many peers are connected now. Fabric's `connNum`.
    pub fn connection_count(&self) -> usize {
        self.inner().store.connections().len()
    }

    /// The counters and gauges at this moment.
    pub fn metrics(&self) -> CommSnapshot {
        self.inner().snapshot()
    }

    /// The raw client: a new connection to `endpoint` for a Ping or for a stream of one's own, without any handshake.
    /// Blocks for at most the dial timeout.
    pub fn dial(&self, endpoint: &str) -> Result<Box<dyn Connection>> {
        let inner = self.inner();
        inner.transport.dial(endpoint, inner.config.dial_timeout, &inner.stopping)
    }

    /// What serves inbound streams, for a server that is not this Comm's own.
    pub fn acceptor(&self) -> Arc<dyn Acceptor> {
        Arc::new(reader::Server(self.inner().clone()))
    }

    /// Stops: nothing more is accepted, connections end so that what was written arrives, what was only queued is
    /// reported undelivered, subscriptions end once they are read empty, and every thread is joined.
    ///
    /// Blocks for at most the connection timeout and, with a peer that is frozen with its socket full, the keepalive
    /// timeout. A further call waits for the first. Called on one of the library's own threads (in a predicate or a
    /// crypto service) it returns at once, and another thread does the work.
    pub fn stop(&self) {
        self.0.stop();
    }

    /// As [`stop`](Self::stop), after waiting up to `drain` for everything queued to be written. The error is that of
    /// [`flush`](Self::flush); it has stopped all the same.
    pub fn stop_after_drain(&self, drain: Duration) -> Result<()> {
        let flushed = self.flush(drain);
        self.stop();
        flushed
    }

    /// Returns how many connections have not been released, in tests.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn open_connections(&self) -> usize {
        self.inner().store.open.count()
    }

    fn inner(&self) -> &Arc<Inner> {
        &self.0.inner
    }
}

impl Handle {
    fn stop(&self) {
        let (inner, server) = (self.inner.clone(), &self.server);
        let server = server.lock().take();
        self.stop.run(move || inner.stop(server));
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}
