//! The interface: dial, send, acknowledge, receive, stop.

use crate::ack::{AckTable, AggregatedSendResult, SendResult, Tracker};
use crate::bounded::Weigh;
use crate::config::{Config, SubscriptionOptions};
use crate::conn_store::ConnStore;
use crate::connection::{Connection, ConnectionInfo, ReceivedMessage};
use crate::crypto::{Crypto, PkiId};
use crate::demux::{Demux, Subscription};
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::Outgoing;
use crate::tls::Tls;
use crate::wire::{GossipMessage, SignedMessage};
use crate::{dial, server};
use bytes::Bytes;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// A peer, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePeer {
    /// Host and port.
    pub endpoint: String,
    /// Its PKI-ID; `None` for any peer at the endpoint.
    pub pki_id: Option<PkiId>,
}

impl RemotePeer {
    /// Any peer at the endpoint.
    pub fn new(endpoint: impl Into<String>) -> RemotePeer {
        RemotePeer { endpoint: endpoint.into(), pki_id: None }
    }
}

/// The findings of a probing handshake.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The identity of the peer.
    pub info: ConnectionInfo,
    /// Whether it said that it accepts us.
    pub confirmed: bool,
}

/// How to make a [`Comm`].
pub struct CommBuilder {
    identity: Bytes,
    crypto: Arc<dyn Crypto>,
    tls: Tls,
    listen: Option<String>,
    config: Config,
}

impl CommBuilder {
    /// Accepts connections at this address.
    #[must_use]
    pub fn listen(mut self, addr: impl Into<String>) -> Self {
        self.listen = Some(addr.into());
        self
    }

    /// With these settings.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Starts it on the runtime that runs this.
    pub async fn start(self) -> Result<Comm> {
        let wrong = |text: String| Error::new(ErrorKind::Config, text);
        let CommBuilder { identity, crypto, tls, listen, config } = self;
        let pki_id = crypto.pki_id(&identity).ok_or_else(|| wrong("our own identity is none".into()))?;
        let listener = match &listen {
            Some(addr) => {
                Some(TcpListener::bind(addr).await.map_err(|e| wrong(format!("cannot listen at {addr}: {e}")))?)
            }
            None => None,
        };
        let local_addr = listener.as_ref().and_then(|listener| listener.local_addr().ok());
        let stopping = CancellationToken::new();
        let inner = Arc::new(Inner {
            store: ConnStore::new(pki_id.clone()),
            unauthenticated: Arc::new(Semaphore::new(config.max_unauthenticated)),
            acks: Arc::default(),
            messages: Demux::new(),
            draining: stopping.child_token(),
            stopping: stopping.clone(),
            tasks: TaskTracker::new(),
            config,
            pki_id,
            identity,
            crypto,
            tls,
            local_addr,
        });
        if let Some(listener) = listener {
            let (accepting, comm) = (inner.draining.clone(), inner.clone());
            inner.tasks.spawn(async move { accepting.run_until_cancelled(server::accept(comm, listener)).await });
        }
        Ok(Comm { inner, _ends: Arc::new(stopping.drop_guard()) })
    }
}

/// The data shared by the tasks.
pub(crate) struct Inner {
    pub config: Config,
    pub pki_id: PkiId,
    pub identity: Bytes,
    pub crypto: Arc<dyn Crypto>,
    pub tls: Tls,
    pub store: ConnStore,
    pub acks: Arc<AckTable>,
    pub messages: Demux<ReceivedMessage>,
    pub unauthenticated: Arc<Semaphore>,
    /// Nothing new is begun.
    pub draining: CancellationToken,
    /// Everything ends.
    pub stopping: CancellationToken,
    pub tasks: TaskTracker,
    local_addr: Option<SocketAddr>,
}

/// The communication layer. Clones are the same one. [`stop`](Comm::stop) ends it gently; when the last clone is dropped
/// without that, everything ends immediately, and queued messages are lost.
#[derive(Clone)]
pub struct Comm {
    inner: Arc<Inner>,
    _ends: Arc<DropGuard>,
}

impl Comm {
    /// One that presents this identity and this TLS pair.
    pub fn builder(identity: Bytes, crypto: Arc<dyn Crypto>, tls: Tls) -> CommBuilder {
        CommBuilder { identity, crypto, tls, listen: None, config: Config::default() }
    }

    /// Our own name.
    pub fn pki_id(&self) -> &PkiId {
        &self.inner.pki_id
    }

    /// Where it listens.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.inner.local_addr
    }

    /// How many peers are connected.
    pub fn connection_count(&self) -> usize {
        *self.inner.store.count.borrow()
    }

    /// Waits until this many peers are connected.
    pub async fn wait_for_connections(&self, count: usize) {
        let _ = self.inner.store.count.subscribe().wait_for(|now| *now == count).await;
    }

    /// Subscribes to the messages for which `predicate` is true, with the default options.
    pub fn accept(
        &self,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.subscribe_with(&SubscriptionOptions::default(), predicate)
    }

    /// Subscribes to the messages for which `predicate`, which must not block, is true.
    pub fn subscribe_with(
        &self,
        options: &SubscriptionOptions,
        predicate: impl Fn(&ReceivedMessage) -> bool + Send + Sync + 'static,
    ) -> Subscription<ReceivedMessage> {
        self.inner.messages.subscribe(options, predicate)
    }

    /// Queues a message for each peer, in order per peer, and returns without waiting. A peer that is not connected is
    /// dialled. The error has the peers that did not take it: [`ErrorKind::Full`], [`ErrorKind::TooLarge`] or
    /// [`ErrorKind::Stopped`]; the others did.
    pub fn send(
        &self,
        message: &SignedMessage,
        peers: &[RemotePeer],
    ) -> std::result::Result<(), Vec<(RemotePeer, Error)>> {
        let not_sent: Vec<_> = peers
            .iter()
            .filter_map(|peer| self.inner.offer(peer, message).err().map(|error| (peer.clone(), error)))
            .collect();
        if not_sent.is_empty() {
            Ok(())
        } else {
            Err(not_sent)
        }
    }

    /// As [`send`](Self::send), but waits up to `limit` for room in the peers' queues.
    pub async fn send_timeout(
        &self,
        message: &SignedMessage,
        limit: Duration,
        peers: &[RemotePeer],
    ) -> std::result::Result<(), Vec<(RemotePeer, Error)>> {
        let mut not_sent = Vec::new();
        let mut deadline = None;
        for peer in peers {
            // The clock is read only if the send must wait.
            let sent = match self.inner.offer(peer, message) {
                Err(full) if full.kind() == ErrorKind::Full => {
                    let deadline = *deadline.get_or_insert_with(|| Instant::now() + limit);
                    timeout_at(deadline, self.inner.wait(peer, outgoing(message, None))).await.unwrap_or(Err(full))
                }
                sent => sent,
            };
            not_sent.extend(sent.err().map(|error| (peer.clone(), error)));
        }
        if not_sent.is_empty() {
            Ok(())
        } else {
            Err(not_sent)
        }
    }

    /// Sends a message to all peers and waits until `min_ack` of them have acknowledged it, or every one has answered or
    /// failed, or `limit` has passed, which covers all of it: dialling, queueing and waiting. The message gets a fresh
    /// random nonce and no signature. A peer that cannot be reached counts immediately, with the reason.
    pub async fn send_with_ack(
        &self,
        mut message: GossipMessage,
        limit: Duration,
        min_ack: usize,
        peers: &[RemotePeer],
    ) -> AggregatedSendResult {
        let deadline = Instant::now() + limit;
        let inner = &self.inner;
        message.nonce = rand::random();
        let mut wait = inner.acks.wait(message.nonce, peers.len());
        let message = SignedMessage::unsigned(message);
        // Ends the waiting for room, whatever ends the waiting for answers.
        let given_up = CancellationToken::new();
        let _guard = given_up.clone().drop_guard();
        for (index, peer) in peers.iter().enumerate() {
            if let Err((outgoing, error)) = inner.push(peer, outgoing(&message, Some(wait.tracker(index)))) {
                if error.kind() == ErrorKind::Full {
                    let (inner, peer, given_up) = (inner.clone(), peer.clone(), given_up.clone());
                    inner.tasks.clone().spawn(async move {
                        given_up.run_until_cancelled(timeout_at(deadline, inner.wait(&peer, outgoing))).await
                    });
                } else {
                    outgoing.undelivered(error);
                }
            }
        }
        let mut results = Vec::with_capacity(peers.len());
        let mut open = vec![true; peers.len()];
        let mut successes = 0;
        while results.len() < peers.len() {
            let next = timeout_at(deadline, inner.stopping.run_until_cancelled(wait.results.recv())).await;
            let Ok(Some(Some((index, error)))) = next else { break };
            successes += usize::from(error.is_none());
            open[index] = false;
            results.push(SendResult { peer: peers[index].clone(), error });
            if successes == min_ack {
                return AggregatedSendResult(results);
            }
        }
        let stopped = inner.stopping.is_cancelled();
        let unanswered = || if stopped { Error::stopping() } else { Error::new(ErrorKind::Timeout, "timed out") };
        let rest = peers.iter().zip(open).filter(|(_, open)| *open);
        results.extend(rest.map(|(peer, _)| SendResult { peer: peer.clone(), error: Some(unanswered()) }));
        AggregatedSendResult(results)
    }

    /// Connects, if there is no connection yet, and returns the identity of the peer.
    pub async fn connect(&self, peer: &RemotePeer) -> Result<Arc<ConnectionInfo>> {
        self.inner.entry(peer)?.outcome.wait().await.clone()
    }

    /// Checks whether a peer answers a Ping at the endpoint.
    pub async fn probe(&self, peer: &RemotePeer) -> Result<()> {
        self.inner.until_stopped(dial::probe(&self.inner, &peer.endpoint)).await
    }

    /// A handshake that registers nothing, on either side: identifies the peer and finds out whether it accepts us.
    pub async fn handshake(&self, peer: &RemotePeer) -> Result<Handshake> {
        self.inner.until_stopped(dial::handshake(&self.inner, peer)).await
    }

    /// Closes the connection to a peer, if there is one: queued messages are still written, within the connection
    /// timeout.
    pub fn close_conn(&self, peer: &RemotePeer) {
        if let Some(connection) = self.inner.store.find(peer.pki_id.as_ref(), &peer.endpoint) {
            self.inner.store.remove(&connection);
            self.inner.drain(Some(connection));
        }
    }

    /// Ends everything: writes queued messages and closes the connections within the connection timeout, ends the
    /// subscriptions, and waits for every task. Can be called more than once.
    pub async fn stop(&self) {
        let inner = &self.inner;
        inner.draining.cancel();
        inner.messages.close();
        for connection in inner.store.close() {
            inner.drain(Some(connection));
        }
        inner.tasks.close();
        let gently = timeout(inner.config.conn_timeout, inner.tasks.wait()).await;
        inner.stopping.cancel();
        if gently.is_err() {
            inner.tasks.wait().await;
        }
    }
}

fn outgoing(message: &SignedMessage, tracker: Option<Tracker>) -> Outgoing {
    Outgoing::Message { envelope: message.envelope().clone(), weight: message.wire_len(), tracker }
}

impl Inner {
    /// The connection to a peer, which is dialled if there is none.
    fn entry(self: &Arc<Self>, peer: &RemotePeer) -> Result<Arc<Connection>> {
        if let Some(connection) = self.store.find(peer.pki_id.as_ref(), &peer.endpoint) {
            return Ok(connection);
        }
        if peer.endpoint.is_empty() {
            return Err(Error::new(ErrorKind::Config, "no endpoint is given, and the peer is not connected"));
        }
        let make = || Connection::new(&self.config, Some(peer.endpoint.clone()), &self.stopping);
        let (connection, new) = self.store.entry(&self.config, &peer.endpoint, make)?;
        if let Some(outbox) = new {
            self.tasks.spawn(dial::run(self.clone(), connection.clone(), outbox, peer.pki_id.clone()));
        }
        Ok(connection)
    }

    fn offer(self: &Arc<Self>, peer: &RemotePeer, message: &SignedMessage) -> Result<()> {
        self.push(peer, outgoing(message, None)).map_err(|(_, error)| error)
    }

    /// Queues it if there is room now.
    fn push(self: &Arc<Self>, peer: &RemotePeer, mut outgoing: Outgoing) -> std::result::Result<(), (Outgoing, Error)> {
        let (size, max) = (outgoing.weight(), self.config.max_message_size);
        if size > max {
            let text = format!("message of {size} bytes; at most {max} can be sent");
            return Err((outgoing, Error::new(ErrorKind::TooLarge, text)));
        }
        loop {
            let connection = match self.entry(peer) {
                Ok(connection) => connection,
                Err(error) => return Err((outgoing, error)),
            };
            match connection.try_send(outgoing) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(back)) => {
                    return Err((back, Error::new(ErrorKind::Full, "the queue to the peer is full")));
                }
                Err(TrySendError::Closed(back)) => {
                    self.store.remove(&connection);
                    outgoing = back;
                }
            }
        }
    }

    /// Queues it as soon as there is room.
    async fn wait(self: &Arc<Self>, peer: &RemotePeer, mut outgoing: Outgoing) -> Result<()> {
        loop {
            let connection = self.entry(peer)?;
            match connection.send(outgoing).await {
                Ok(()) => return Ok(()),
                Err(back) => {
                    self.store.remove(&connection);
                    outgoing = back;
                }
            }
        }
    }

    /// Ends a connection gently.
    pub fn drain(self: &Arc<Self>, connection: Option<Arc<Connection>>) {
        if let Some(connection) = connection {
            let comm = self.clone();
            self.tasks.spawn(async move { connection.drain(&comm.config, None).await });
        }
    }

    async fn until_stopped<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.draining.run_until_cancelled(work).await.unwrap_or_else(|| Err(Error::stopping()))
    }
}
