//! The reading side: authenticates accepted streams, and dispatches the messages of each connection.

use super::admission::Place;
use super::conn_store::Installed;
use super::connection::Connection;
use super::demux::Batch;
use super::event::Event;
use super::peer_entry::PeerEntry;
use super::received::{Origin, ReceivedMessage};
use super::state::CommState;
use super::threads::LibraryThread;
use super::writer;
use crate::error::Error;
use crate::message::{Content, SignedMessage};
use crate::metrics::{DropReason, Refusal};
use crate::sync::atomic::Ordering;
use crate::transport::{code, Acceptor, Status, Stream, StreamEnd};
use std::sync::Arc;

/// Serves the streams that a server accepts.
pub(super) struct Server(pub Arc<CommState>);

impl Acceptor for Server {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        let _marked = LibraryThread::mark();
        let comm = &self.0;
        if comm.stopping.is_cancelled() {
            return turn_away(comm, &stream, Refusal::Stopping);
        }
        let mut place = match comm.admission.enter(&stream.info().remote_addr) {
            Ok(place) => place,
            Err(refusal) => return turn_away(comm, &stream, refusal),
        };
        let conn = match authenticate(comm, &stream, &mut place) {
            Ok(Some(conn)) => Arc::new(conn),
            Ok(None) => return Status::ok(),
            Err(status) => return status,
        };
        let installed = match comm.store.accepted(&conn, |peer| writer::start(comm, peer)) {
            Ok(installed) => installed,
            Err(e) => return no_thread(comm, &conn, e),
        };
        let (peer, displaced) = match installed {
            Installed::Unwanted => return turn_away(comm, &stream, Refusal::Stopping),
            Installed::Full => return turn_away(comm, &stream, Refusal::TooManyConnections),
            Installed::Spare { peer, displaced } => (peer, displaced),
            Installed::Current { peer, fresh, displaced } => {
                if fresh {
                    comm.publish(Event::Connected { info: conn.info.clone(), dialled: None });
                }
                (peer, displaced)
            }
        };
        comm.store.open.add(&conn);
        if let Some(old) = displaced {
            log::debug!("{} ({}): replaced by a new connection", old.info.endpoint, old.info.id);
            comm.unconfirmed(&old, "the peer connected again");
            old.finish(&Status::ok());
            old.stream.cancel();
        }
        read(comm, &peer, &conn)
    }
}

/// Rejects a peer because its writer thread could not be started, so nothing could be sent to it.
fn no_thread(comm: &CommState, conn: &Connection, error: Error) -> Status {
    comm.metrics.refused(Refusal::NoThread);
    let status = Status { code: code::RESOURCE_EXHAUSTED, message: "cannot start a thread for the connection".into() };
    let (endpoint, pki_id) = (conn.info.endpoint.clone(), Some(conn.info.id.clone()));
    let error = Arc::new(error.with_peer(&endpoint).with_step("accept"));
    log::warn!("refused: {error}");
    comm.publish(Event::Refused { endpoint, pki_id, inbound: true, error });
    status
}

/// Counts a refusal and returns the status for the other side.
fn turn_away(comm: &CommState, stream: &Arc<dyn Stream>, refusal: Refusal) -> Status {
    comm.metrics.refused(refusal);
    let text = match refusal {
        Refusal::Stopping => return Status::unknown("shutting down"),
        Refusal::TooManyUnauthenticated => "too many unauthenticated streams",
        Refusal::TooManyFromAddress => "too many connections from this address",
        Refusal::TooManyOfIdentity => "too many connections of this peer",
        Refusal::TooManyConnections => "too many connections",
        Refusal::NoThread => "cannot start a thread for the connection",
    };
    log::warn!("{}: refused: {text}", stream.info().remote_addr);
    Status { code: code::RESOURCE_EXHAUSTED, message: text.into() }
}

/// Authenticates a stream. Returns `None` for a probe, which has ended. The error is the status that ends the stream.
fn authenticate(
    comm: &Arc<CommState>,
    stream: &Arc<dyn Stream>,
    place: &mut Place,
) -> Result<Option<Connection>, Status> {
    let _cancel = comm.stopping.on_cancel({
        let stream = stream.clone();
        move || stream.cancel()
    });
    let authenticated = comm.handshaker.authenticate(&**stream, false).map_err(|e| refuse(comm, stream, e))?;
    comm.metrics.handshakes.fetch_add(1, Ordering::Relaxed);
    place.authenticated(&authenticated.info.id).map_err(|refusal| turn_away(comm, stream, refusal))?;
    if authenticated.probe {
        return Ok(None);
    }
    let (generation, since) = (comm.next_generation(), comm.clock.now());
    Ok(Some(Connection::accepted(generation, stream.clone(), authenticated.info, since)))
}

fn refuse(comm: &Arc<CommState>, stream: &Arc<dyn Stream>, error: Error) -> Status {
    log::warn!("authentication failed: {error}");
    comm.metrics.handshake_failed(error.kind());
    let status = Status::unknown(error.message());
    let endpoint = stream.info().remote_addr.clone();
    comm.publish(Event::Refused { endpoint, pki_id: None, inbound: true, error: Arc::new(error) });
    status
}

/// Reads a connection to its end. Returns the status that ends an accepted stream.
pub(super) fn read(comm: &Arc<CommState>, peer: &Arc<PeerEntry>, conn: &Arc<Connection>) -> Status {
    let origin = Arc::new(Origin { info: conn.info.clone(), peer: peer.clone(), comm: Arc::downgrade(comm) });
    let mut batch = comm.messages.batch();
    let (mut received, mut messages) = (Vec::new(), Vec::new());
    let (end, error) = loop {
        if let Err(end) = conn.stream.recv_batch(&mut received) {
            break (end, None);
        }
        comm.metrics.messages_received.fetch_add(received.len() as u64, Ordering::Relaxed);
        peer.outbox.answered();
        conn.probation.prove();
        let decoded = SignedMessage::decode_together(received.drain(..), &mut messages);
        for message in messages.drain(..) {
            dispatch(comm, &origin, message, &mut batch);
        }
        if let Err(e) = decoded {
            break (StreamEnd::Local, Some(e));
        }
        count_dropped(comm, &origin, batch.flush());
    };
    count_dropped(comm, &origin, batch.flush());
    drop((batch, origin));
    if let Some(e) = &error {
        log::warn!("{} ({}): malformed message, closing: {e}", conn.info.endpoint, conn.info.id);
    }
    let why = error.as_ref().map(|e| format!("closed by us: malformed message: {e}"));
    let status = error.map_or_else(Status::ok, |e| Status::unknown(e.message()));
    comm.connection_ended(peer, conn, end, why);
    conn.ended.cancel();
    conn.finish(&status);
    if conn.dialled {
        conn.stream.cancel();
    }
    comm.store.open.remove(conn);
    status
}

fn dispatch(
    comm: &Arc<CommState>,
    origin: &Arc<Origin>,
    message: SignedMessage,
    batch: &mut Batch<'_, ReceivedMessage>,
) {
    if message.is_ack() {
        if let Some(Content::Ack(ack)) = message.content() {
            comm.acks.acknowledged(message.nonce(), &origin.info.id, ack.error.clone(), comm.clock.now());
        }
        return;
    }
    count_dropped(comm, origin, batch.publish(ReceivedMessage::new(message, origin.clone())));
}

fn count_dropped(comm: &CommState, origin: &Origin, dropped: usize) {
    if dropped > 0 {
        comm.metrics.dropped(Some(&origin.info.id), DropReason::SubscriptionFull, dropped as u64);
    }
}
