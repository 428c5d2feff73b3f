//! gRPC over HTTP/2 over our own TLS: tonic's generated client and service on hyper's connections.
//!
//! tonic's `Endpoint` and `Server` would do, but neither has all of hyper's settings, and its client side does not show
//! the server's certificate. Their additions, reconnecting and balancing, are done by a gossip peer itself.

use crate::comm::Inner;
use crate::config::{Config, Http2};
use crate::error::{Error, ErrorKind, Result};
use crate::server::Service;
use crate::tls::{failed, Remote};
use crate::wire::proto::gossip::gossip_client::GossipClient;
use crate::wire::proto::gossip::gossip_server::GossipServer;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;

/// A server gets this long for TLS, as in Fabric.
const SERVER_HANDSHAKE: std::time::Duration = std::time::Duration::from_secs(5);

/// A connection that can be called on.
pub(crate) struct Client {
    pub grpc: GossipClient<Channel>,
    pub remote_cert_hash: Option<Bytes>,
}

/// Connects to `endpoint`, a host and a port. The connection lives until all its calls have ended and the client is gone,
/// or `closing` is cancelled.
pub(crate) async fn connect(comm: &Inner, endpoint: &str, closing: &CancellationToken) -> Result<Client> {
    let Config { dial_timeout, max_message_size, http2, .. } = &comm.config;
    let connecting = async {
        let host = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect(endpoint).await.map_err(|e| failed("connect", e))?;
        tcp.set_nodelay(http2.tcp_nodelay).map_err(|e| failed("connect", e))?;
        comm.tls.connect(host, tcp).await
    };
    let too_slow = |_| Error::new(ErrorKind::Timeout, format!("no connection to {endpoint} in time"));
    let secured = timeout(*dial_timeout, connecting).await.map_err(too_slow)??;
    let (sender, connection) = client(http2, &comm.tasks)
        .handshake::<_, Body>(TokioIo::new(secured.stream))
        .await
        .map_err(|e| failed("HTTP/2", e))?;
    let closing = closing.clone();
    comm.tasks.spawn(async move {
        if let Some(Err(e)) = closing.run_until_cancelled(connection).await {
            log::debug!("a dialled connection ended: {e}");
        }
    });
    let origin = format!("https://{endpoint}").parse().map_err(|e| failed("endpoint", e))?;
    let grpc = GossipClient::with_origin(Channel(sender), origin)
        .max_decoding_message_size(*max_message_size)
        .max_encoding_message_size(*max_message_size);
    Ok(Client { grpc, remote_cert_hash: secured.remote_cert_hash })
}

fn client(settings: &Http2, tasks: &TaskTracker) -> hyper::client::conn::http2::Builder<Executor> {
    let mut builder = hyper::client::conn::http2::Builder::new(Executor(tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(settings.stream_window)
        .initial_connection_window_size(settings.connection_window)
        .max_frame_size(settings.max_frame_size)
        .max_send_buf_size(settings.max_send_buf_size)
        .keep_alive_interval(settings.keepalive_time)
        .keep_alive_timeout(settings.keepalive_timeout)
        .keep_alive_while_idle(true);
    if settings.adaptive_window {
        builder.adaptive_window(true);
    }
    builder
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve(comm: Arc<Inner>, tcp: TcpStream, addr: SocketAddr) -> Result<()> {
    let Config { max_message_size, http2, .. } = &comm.config;
    tcp.set_nodelay(http2.tcp_nodelay).map_err(|e| failed("accept", e))?;
    let too_slow = |_| Error::new(ErrorKind::Timeout, "no TLS in time");
    let secured = timeout(SERVER_HANDSHAKE, comm.tls.accept(tcp)).await.map_err(too_slow)??;
    let remote = Remote { addr, cert_hash: secured.remote_cert_hash };
    let grpc = GossipServer::new(Service(comm.clone()))
        .max_decoding_message_size(*max_message_size)
        .max_encoding_message_size(*max_message_size);
    let service = Accepted { grpc, remote };
    let mut builder = hyper::server::conn::http2::Builder::new(Executor(comm.tasks.clone()));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(http2.stream_window)
        .initial_connection_window_size(http2.connection_window)
        .max_frame_size(http2.max_frame_size)
        .max_send_buf_size(http2.max_send_buf_size)
        .max_concurrent_streams(http2.max_concurrent_streams)
        .keep_alive_interval(http2.keepalive_time)
        .keep_alive_timeout(http2.keepalive_timeout);
    if http2.adaptive_window {
        builder.adaptive_window(true);
    }
    let connection = builder.serve_connection(TokioIo::new(secured.stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = comm.draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            // No longer than until everything is closed.
            comm.stopping.run_until_cancelled(connection).await.unwrap_or(Ok(()))
        }
    };
    ended.map_err(|e| failed("HTTP/2", e))
}

/// tonic's service as the one that hyper calls, which passes every call the properties of its connection.
struct Accepted {
    grpc: GossipServer<Service>,
    remote: Remote,
}

impl hyper::service::Service<http::Request<Incoming>> for Accepted {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = <GossipServer<Service> as tower_service::Service<http::Request<Incoming>>>::Future;

    fn call(&self, mut request: http::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.remote.clone());
        tower_service::Service::call(&mut self.grpc.clone(), request)
    }
}

/// hyper's connection as the service that tonic's client calls.
#[derive(Clone)]
pub(crate) struct Channel(SendRequest<Body>);

impl tower_service::Service<http::Request<Body>> for Channel {
    type Response = http::Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// Hyper's tasks are ours to wait for.
#[derive(Clone)]
struct Executor(TaskTracker);

impl<F: Future<Output: Send + 'static> + Send + 'static> hyper::rt::Executor<F> for Executor {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
