//! One authenticated connection to one peer, and its incoming messages.

use crate::bounded::{self, Sender, Weigh};
use crate::comm::Inner;
use crate::config::Config;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::outbound::{Outbox, Outgoing};
use crate::wire::{self, Content, Envelope, GossipMessage, SignedMessage};
use bytes::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::SetOnce;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

/// The identity of the other end of a connection.
#[derive(Clone, Debug)]
pub struct ConnectionInfo {
    /// The peer's name.
    pub id: PkiId,
    /// Its identity, which was validated.
    pub identity: Bytes,
    /// The address that was dialled, or from which it came.
    pub endpoint: String,
    /// The message that the peer signed when it connected, for others to verify.
    pub signed_data: Bytes,
    /// Its signature of that.
    pub signature: Bytes,
}

/// A connection from our side: its queue, and once it is authenticated, whose it is.
pub(crate) struct Connection {
    /// Where it was dialled; `None` if the peer did.
    pub dialled: Option<String>,
    queue: Sender<Outgoing>,
    /// The identity of the peer, or the reason for failing to authenticate it.
    pub outcome: SetOnce<Result<Arc<ConnectionInfo>>>,
    since: OnceLock<Instant>,
    why: Arc<OnceLock<Error>>,
    /// Ends it without further ado.
    pub closing: CancellationToken,
    /// It has been read to its end.
    pub ended: CancellationToken,
}

impl Connection {
    pub fn new(config: &Config, dialled: Option<String>, stopping: &CancellationToken) -> (Arc<Connection>, Outbox) {
        let (sender, queue) = bounded::queue(config.send_buff_size, config.send_buff_bytes);
        let why = Arc::<OnceLock<Error>>::default();
        let connection = Connection {
            dialled,
            queue: sender,
            outcome: SetOnce::new(),
            since: OnceLock::new(),
            why: why.clone(),
            closing: stopping.child_token(),
            ended: CancellationToken::new(),
        };
        (Arc::new(connection), Outbox { queue, why })
    }

    pub fn info(&self) -> Option<&Arc<ConnectionInfo>> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().ok())
    }

    /// The other side has authenticated.
    pub fn authenticated(&self, info: Arc<ConnectionInfo>) {
        let _ = self.since.set(Instant::now());
        let _ = self.outcome.set(Ok(info));
    }

    /// When it was authenticated.
    pub fn since(&self) -> Instant {
        self.since.get().copied().unwrap_or_else(Instant::now)
    }

    /// Messages queued from now on are undelivered for this reason.
    pub fn fail(&self, error: Error) {
        let _ = self.why.set(error.clone());
        let _ = self.outcome.set(Err(error));
    }

    pub fn try_send(&self, outgoing: Outgoing) -> std::result::Result<(), TrySendError<Outgoing>> {
        self.queue.try_send(outgoing)
    }

    pub async fn send(&self, outgoing: Outgoing) -> std::result::Result<(), Outgoing> {
        self.queue.send(outgoing).await
    }

    /// Writes queued messages, ends our half of the stream, and after the connection timeout at the latest all of it.
    pub async fn drain(&self, config: &Config, status: Option<Status>) {
        let gently = async {
            let _ = self.queue.send(Outgoing::End(status)).await;
            self.ended.cancelled().await;
        };
        let _ = tokio::time::timeout(config.conn_timeout, gently).await;
        self.closing.cancel();
    }
}

/// Reads a connection to its end.
pub(crate) async fn read(
    comm: &Arc<Inner>,
    connection: &Arc<Connection>,
    mut stream: Streaming<Envelope>,
) -> Result<()> {
    let Some(info) = connection.info().cloned() else { return Ok(()) };
    let to_the_end = async {
        while let Some(envelope) = stream.message().await? {
            dispatch(comm, connection, &info, SignedMessage::decode(envelope)?).await;
        }
        Ok(())
    };
    connection.closing.run_until_cancelled(to_the_end).await.unwrap_or(Ok(()))
}

async fn dispatch(comm: &Arc<Inner>, from: &Arc<Connection>, info: &Arc<ConnectionInfo>, message: SignedMessage) {
    if let Some(Content::Ack(ack)) = message.content() {
        comm.acks.acknowledged(message.message().nonce, &info.id, &ack.error);
        return;
    }
    let received = Received {
        message,
        info: info.clone(),
        acknowledged: AtomicBool::new(false),
        connection: from.clone(),
        comm: Arc::downgrade(comm),
    };
    comm.messages.publish(ReceivedMessage(Arc::new(received))).await;
}

/// A received message. Clones are the same message: it can be acknowledged once, by the first to do so.
#[derive(Clone)]
pub struct ReceivedMessage(Arc<Received>);

struct Received {
    message: SignedMessage,
    info: Arc<ConnectionInfo>,
    acknowledged: AtomicBool,
    connection: Arc<Connection>,
    comm: Weak<Inner>,
}

impl ReceivedMessage {
    /// The message, decoded, with its envelope as it was received.
    pub fn message(&self) -> &SignedMessage {
        &self.0.message
    }

    /// The sender: the peer at the other end of the connection, not necessarily the message's author.
    pub fn connection_info(&self) -> &ConnectionInfo {
        &self.0.info
    }

    /// Sends a message back to the peer that this one came from, unsigned. Does not wait: with [`ErrorKind::Full`] the
    /// queue to the peer is full, with [`ErrorKind::Disconnected`] it is no longer connected.
    pub fn respond(&self, message: GossipMessage) -> Result<()> {
        let message = SignedMessage::unsigned(message);
        let outgoing =
            Outgoing::Message { envelope: message.envelope().clone(), weight: message.wire_len(), tracker: None };
        let full = || Error::new(ErrorKind::Full, "the queue to the peer is full");
        let gone = || Error::new(ErrorKind::Disconnected, "the peer is no longer connected");
        match self.0.connection.try_send(outgoing) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => Err(full()),
            // The peer may be here again on another connection.
            Err(TrySendError::Closed(outgoing)) => {
                let comm = self.0.comm.upgrade().ok_or_else(Error::stopping)?;
                let connection = comm.store.by_id(&self.0.info.id).ok_or_else(gone)?;
                connection
                    .try_send(outgoing)
                    .map_err(|e| if matches!(e, TrySendError::Full(_)) { full() } else { gone() })
            }
        }
    }

    /// Acknowledges the message to the sender that waits for it: with `None` as processed, otherwise with the text of
    /// an error. Does not wait; fails as [`respond`](Self::respond) does, and with
    /// [`ErrorKind::AlreadyAcknowledged`] if it was acknowledged already. After a failure to send it can be tried
    /// again.
    pub fn ack(&self, error: Option<&str>) -> Result<()> {
        if self.0.acknowledged.swap(true, SeqCst) {
            return Err(Error::new(ErrorKind::AlreadyAcknowledged, "already acknowledged"));
        }
        let ack = wire::ack(self.0.message.message().nonce, error.unwrap_or_default());
        self.respond(ack).inspect_err(|_| self.0.acknowledged.store(false, SeqCst))
    }
}

impl Weigh for ReceivedMessage {
    fn weight(&self) -> usize {
        self.0.message.wire_len()
    }
}

impl fmt::Debug for ReceivedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReceivedMessage({:?} from {})", self.0.message.message(), self.0.info.endpoint)
    }
}
