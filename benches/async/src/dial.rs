//! The dialling side: connect, Ping, open the stream, authenticate.

use crate::comm::{Handshake, Inner, RemotePeer};
use crate::conn_store::Registered;
use crate::connection::{self, Connection};
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::handshake::{authenticate, hello, Authenticated};
use crate::outbound::{Gate, Outbound, Outbox, RequestBody};
use crate::transport::{self, Client};
use crate::wire::{Empty, Envelope};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;

/// Dials, and then reads the connection to its end.
pub(crate) async fn run(comm: Arc<Inner>, connection: Arc<Connection>, outbox: Outbox, expected: Option<PkiId>) {
    let endpoint = connection.dialled.clone().unwrap_or_default();
    let opened = connection.closing.run_until_cancelled(open(&comm, &endpoint, false, &connection.closing)).await;
    let failed = |error: Error| {
        log::debug!("{endpoint}: cannot be dialled: {error}");
        connection.fail(error);
        comm.store.remove(&connection);
        connection.closing.cancel();
    };
    let opened = match opened.unwrap_or_else(|| Err(Error::stopping())).and_then(|o| o.accept(expected.as_ref())) {
        Ok(opened) => opened,
        Err(error) => return failed(error),
    };
    let info = Arc::new(opened.authenticated.info);
    let id = info.id.clone();
    connection.authenticated(info);
    match comm.store.register(&comm.config, &connection) {
        Registered::Current(replaced) => comm.drain(replaced),
        Registered::Spare => comm.drain(Some(connection.clone())),
        Registered::Refused(error) => return failed(error),
    }
    let _ = opened.gate.send(Gate::Open(id, outbox));
    if let Err(error) = connection::read(&comm, &connection, opened.stream).await {
        log::debug!("{endpoint}: the connection ended: {error}");
        connection.fail(error);
    }
    comm.store.remove(&connection);
    connection.ended.cancel();
    connection.drain(&comm.config, None).await;
}

struct Opened {
    authenticated: Authenticated,
    stream: Streaming<Envelope>,
    gate: oneshot::Sender<Gate>,
}

impl Opened {
    /// As a connection, if it is one, and to the expected peer.
    fn accept(self, expected: Option<&PkiId>) -> Result<Opened> {
        if self.authenticated.probe {
            return Err(Error::new(ErrorKind::Refused, "probe"));
        }
        let id = &self.authenticated.info.id;
        if expected.is_some_and(|expected| expected != id) {
            let text = "PKI-ID of remote peer doesn't match expected PKI-ID";
            return Err(Error::new(ErrorKind::Identity, text));
        }
        Ok(self)
    }
}

/// A new connection that has answered a Ping.
async fn reach(comm: &Inner, endpoint: &str, closing: &CancellationToken) -> Result<Client> {
    let mut client = transport::connect(comm, endpoint, closing).await?;
    let ping = timeout(comm.config.conn_timeout, client.grpc.ping(Empty {})).await;
    ping.map_err(|_| Error::new(ErrorKind::Timeout, "the Ping was not answered in time"))??;
    Ok(client)
}

async fn open(comm: &Inner, endpoint: &str, probe: bool, closing: &CancellationToken) -> Result<Opened> {
    let mut client = reach(comm, endpoint, closing).await?;
    let (gate, gated) = oneshot::channel();
    let body = RequestBody(Outbound::new(hello(comm, probe)?, gated));
    let stream = timeout(comm.config.conn_timeout, client.grpc.gossip_stream(body)).await;
    let mut stream =
        stream.map_err(|_| Error::new(ErrorKind::Timeout, "the stream was not opened in time"))??.into_inner();
    let authenticated = authenticate(comm, &mut stream, client.remote_cert_hash.as_ref(), endpoint).await?;
    Ok(Opened { authenticated, stream, gate })
}

/// Checks whether a peer answers a Ping.
pub(crate) async fn probe(comm: &Inner, endpoint: &str) -> Result<()> {
    let closing = comm.stopping.child_token();
    let _close = closing.clone().drop_guard();
    reach(comm, endpoint, &closing).await.map(drop)
}

/// A handshake that registers nothing, on either side: identifies the peer and finds out whether it accepts us.
pub(crate) async fn handshake(comm: &Inner, peer: &RemotePeer) -> Result<Handshake> {
    let closing = comm.stopping.child_token();
    let _close = closing.clone().drop_guard();
    let Opened { authenticated, mut stream, gate } =
        open(comm, &peer.endpoint, true, &closing).await?.accept(peer.pki_id.as_ref())?;
    // Their verdict on us is the status of the stream. Peers that keep it open say nothing.
    let to_the_end = async {
        while stream.message().await?.is_some() {}
        Ok::<_, tonic::Status>(())
    };
    let verdict = timeout(comm.config.conn_timeout, to_the_end).await;
    drop(gate);
    let confirmed = match verdict {
        Err(_) => false,
        Ok(Ok(())) => true,
        Ok(Err(status)) => match Error::from(status) {
            refused if refused.kind() == ErrorKind::Refused => return Err(refused),
            _ => false,
        },
    };
    Ok(Handshake { info: authenticated.info, confirmed })
}
