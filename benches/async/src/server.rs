//! The accepting side.

use crate::comm::Inner;
use crate::conn_store::Registered;
use crate::connection::{self, Connection};
use crate::handshake::{authenticate, hello};
use crate::outbound::{Gate, Outbound};
use crate::tls::Remote;
use crate::transport;
use crate::wire::proto::gossip::gossip_server::Gossip;
use crate::wire::{Empty, Envelope};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, OwnedSemaphorePermit, Semaphore};
use tonic::{Request, Response, Status, Streaming};

/// How long to wait when the system gives no more file descriptors.
const OUT_OF_FILES: Duration = Duration::from_millis(100);

/// Accepts until the end. No more connections are open at a time than are allowed: others wait in the system's backlog.
pub(crate) async fn accept(comm: Arc<Inner>, listener: TcpListener) {
    let room = Arc::new(Semaphore::new(comm.config.max_connections));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (tcp, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                log::warn!("cannot accept: {e}");
                tokio::time::sleep(OUT_OF_FILES).await;
                continue;
            }
        };
        let serving = comm.clone();
        comm.tasks.spawn(async move {
            let stopping = serving.stopping.clone();
            if let Some(Err(e)) = stopping.run_until_cancelled_owned(transport::serve(serving, tcp, addr)).await {
                log::debug!("{addr}: {e}");
            }
            drop(permit);
        });
    }
}

/// The service `gossip.Gossip`.
pub(crate) struct Service(pub Arc<Inner>);

#[tonic::async_trait]
impl Gossip for Service {
    type GossipStreamStream = Outbound;

    async fn gossip_stream(&self, request: Request<Streaming<Envelope>>) -> Result<Response<Outbound>, Status> {
        let comm = &self.0;
        if comm.draining.is_cancelled() {
            return Err(Status::unknown("shutting down"));
        }
        let place = comm.unauthenticated.clone().try_acquire_owned();
        let place = place.map_err(|_| Status::resource_exhausted("too many unauthenticated streams"))?;
        let remote = request.extensions().get::<Remote>().cloned();
        let remote = remote.ok_or_else(|| Status::internal("no connection"))?;
        let (gate, gated) = oneshot::channel();
        let hello = hello(comm, false).map_err(|e| e.status())?;
        comm.tasks.spawn(serve(comm.clone(), remote, request.into_inner(), gate, place));
        Ok(Response::new(Outbound::new(hello, gated)))
    }

    async fn ping(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        Ok(Response::new(Empty {}))
    }
}

async fn serve(
    comm: Arc<Inner>,
    remote: Remote,
    mut stream: Streaming<Envelope>,
    gate: oneshot::Sender<Gate>,
    place: OwnedSemaphorePermit,
) {
    let endpoint = remote.addr.to_string();
    let authenticating = authenticate(&comm, &mut stream, remote.cert_hash.as_ref(), &endpoint);
    let verdict = match comm.stopping.run_until_cancelled(authenticating).await {
        Some(Ok(authenticated)) if authenticated.probe => Err(None),
        Some(Ok(authenticated)) => Ok(authenticated.info),
        Some(Err(error)) => {
            log::warn!("{endpoint}: authentication failed: {error}");
            Err(Some(error.status()))
        }
        None => Err(Some(Status::unknown("shutting down"))),
    };
    drop(place);
    let info = match verdict {
        Ok(info) => Arc::new(info),
        Err(status) => return drop(gate.send(Gate::End(status))),
    };
    let (connection, outbox) = Connection::new(&comm.config, None, &comm.stopping);
    let id = info.id.clone();
    connection.authenticated(info);
    match comm.store.register(&comm.config, &connection) {
        Registered::Current(replaced) => comm.drain(replaced),
        Registered::Spare => {}
        Registered::Refused(error) => return drop(gate.send(Gate::End(Some(error.status())))),
    }
    let _ = gate.send(Gate::Open(id, outbox));
    let status = connection::read(&comm, &connection, stream).await.err().map(|error| {
        log::debug!("{endpoint}: the connection ended: {error}");
        let status = error.status();
        connection.fail(error);
        status
    });
    comm.store.remove(&connection);
    connection.ended.cancel();
    connection.drain(&comm.config, status).await;
}
