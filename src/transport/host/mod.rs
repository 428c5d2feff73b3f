//! The gossip service on a gRPC server that the host already runs. Gossip and the host's own services share one port,
//! as in a Fabric peer.
//!
//! A [`HostTransport`] dials by itself and provides a [`service`](HostTransport::service), which the host registers on
//! its [`grpcio::ServerBuilder`] before it starts the server:
//!
//! ```no_run
//! # use fabric_gossip::{transport::Tls, CommBuilder};
//! # use grpcio::ServerCredentials;
//! # fn serve(builder: CommBuilder, tls: Tls, credentials: ServerCredentials) -> Result<(), Box<dyn std::error::Error>> {
//! use fabric_gossip::transport::{c_core, host::{self, HostTransport}, Limits};
//! use std::sync::Arc;
//!
//! let (limits, options) = (Limits::default(), c_core::Options::default());
//! let gossip = HostTransport::new(Some(tls), limits.clone(), options.clone())?;
//! let comm = builder.transport(Arc::new(gossip.clone())).listen("127.0.0.1:7051").start()?;
//! let env = Arc::new(grpcio::Environment::new(2));
//! let arguments = host::arguments(grpcio::ChannelBuilder::new(env.clone()), &limits, &options)?;
//! let mut server = grpcio::ServerBuilder::new(env)
//!     .channel_args(arguments.build_args())
//!     .requests_slot_per_cq(32)
//!     .register_service(gossip.service())
//!     .build()?;
//! server.add_listening_port("127.0.0.1:7051", credentials)?;
//! server.start();
//! # Ok(())
//! # }
//! ```
//!
//! `examples/host_server.rs` is a complete example.
//!
//! # Settings of the host
//!
//! The host's server determines the port, TLS and the connection limits. For gossip it should request client
//! certificates (Fabric uses `CertificateRequestType::RequestClientCertificateButDontVerify`, since the gossip
//! handshake authenticates), and accept messages of 100 MiB and a ping every minute; [`arguments`] sets these two.
//! Create the transport before the `Environment`: it prepares OpenSSL for a process that exits while connections are
//! open.
//!
//! # Threads
//!
//! Each stream is served on its own thread, `gossip-in-<n>`. grpcio's polling threads only hand streams and messages
//! over, and the host's calls never wait for a subscriber, signature or lock of this library. Every message crosses
//! from a polling thread to the stream's thread, so this form is slower than a `Comm` with its own server.
//!
//! grpcio reports the end of a call before it reports whether a message was written. A message written just before its
//! peer disconnected can therefore count as not written: it is then sent again on the next connection or reported
//! undelivered, although it arrived.

mod signal;
mod stream;

use super::c_core::{self, CoreTransport};
use super::serving::Serving;
use super::{
    code, Acceptor, Connection, Limits, Pem, Server, Status, Stream, StreamInfo, Tls, Transport, GOSSIP_STREAM, PING,
};
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::RwLock;
use bytes::Bytes;
use grpcio::{
    ChannelBuilder, DuplexSink, GrpcSlice, Marshaller, MessageReader, Method, MethodType, RequestStream, RpcContext,
    RpcStatus, Service, ServiceBuilder, UnarySink,
};
use std::io::Read;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};
use stream::HostStream;

/// Time limit for sending a stream's status; a client that does not read cannot block the thread longer.
const STATUS_LEAVES: Duration = Duration::from_secs(2);

/// Time limit for threads to end after the grace period and the cancellation.
const CANCELLED_ENDS: Duration = Duration::from_secs(5);

/// Returns the channel arguments that gossip requires of the host's server, and those set by the limits and options,
/// for [`grpcio::ServerBuilder::channel_args`]. (`memory_quota`, `max_connection_idle`, `spin`, `requests_ahead` and
/// `max_served` are not included. Set a quota on the host's server: it bounds messages that never end.)
///
/// # Errors
/// [`ErrorKind::Config`], naming an invalid limit or option.
pub fn arguments(builder: ChannelBuilder, limits: &Limits, options: &c_core::Options) -> Result<ChannelBuilder> {
    let arguments = c_core::server_arguments(limits, options)?;
    Ok(arguments.into_iter().fold(builder, |builder, (name, value)| builder.raw_cfg_int(name, value)))
}

/// Dials over the C core and serves on the host's server. Clones share the same transport.
#[derive(Clone)]
pub struct HostTransport(Arc<HostServer>);

impl std::fmt::Debug for HostTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HostTransport").finish_non_exhaustive()
    }
}

struct HostServer {
    dialling: CoreTransport,
    tls: Option<Tls>,
    certificate: RwLock<Option<Bytes>>,
    listening: OnceLock<Listening>,
    serving: Arc<Serving<HostStream>>,
}

/// Set by [`Transport::listen`].
struct Listening {
    address: String,
    acceptor: Arc<dyn Acceptor>,
}

impl HostTransport {
    /// Dials with these settings; without `tls`, in plain text. The server certificate of `tls` is taken as the one
    /// that the host's server presents, unless [`set_certificate`](Self::set_certificate) sets another. The gossip
    /// handshake binds this peer's identity to it, and the other side refuses this peer if the server presents a
    /// different one.
    ///
    /// # Errors
    /// The errors of [`CoreTransport::new`].
    pub fn new(tls: Option<Tls>, limits: Limits, options: c_core::Options) -> Result<Self> {
        c_core::prepare_tls();
        let serving = Serving::new(limits.max_served);
        let dialling = CoreTransport::new(tls.clone(), limits, options)?;
        let (certificate, listening) = (RwLock::new(None), OnceLock::new());
        Ok(HostTransport(Arc::new(HostServer { dialling, tls, certificate, listening, serving })))
    }

    /// Returns the service to register on the host's server before it starts: `gossip.Gossip` with its two methods.
    /// Until a [`Comm`](crate::Comm) listens with this transport, its calls end with UNAVAILABLE.
    pub fn service(&self) -> Service {
        let (streams, pings) = (self.0.clone(), self.0.clone());
        ServiceBuilder::new()
            .add_duplex_streaming_handler(&method(MethodType::Duplex, GOSSIP_STREAM), move |ctx, requests, sink| {
                streams.accept(&ctx, requests, sink);
            })
            .add_unary_handler(&method(MethodType::Unary, PING), move |ctx, _: Bytes, sink| pings.ping(&ctx, sink))
            .build()
    }

    /// Sets the certificate that the host's server presents from now on. Open streams keep the previous one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if it cannot be read; the previous one is kept.
    pub fn set_certificate(&self, certificate: &Pem) -> Result<()> {
        let der = certificate.leaf("the host's certificate").map_err(|e| e.with_step("gossip service"))?;
        *self.0.certificate.write() = Some(der);
        Ok(())
    }
}

impl Transport for HostTransport {
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        self.0.dialling.dial(endpoint, timeout, cancel)
    }

    /// Serves the calls of the [`service`](HostTransport::service). The address must be that of the host's server and
    /// is only reported by [`Server::local_addr`]. A transport can listen once.
    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        let listening = Listening { address: address.to_owned(), acceptor };
        if self.0.listening.set(listening).is_err() {
            let text = "the service on the host's server is already in use; it serves one Comm, once";
            return Err(Error::new(ErrorKind::Config, text).with_step("listen"));
        }
        Ok(Box::new(HostListener(self.0.clone())))
    }

    fn is_encrypted(&self) -> bool {
        self.0.dialling.is_encrypted()
    }

    fn certificate_expires(&self) -> Option<SystemTime> {
        self.0.dialling.certificate_expires()
    }
}

struct HostListener(Arc<HostServer>);

impl Server for HostListener {
    fn local_addr(&self) -> &str {
        self.0.listening.get().map_or("", |listening| &listening.address)
    }

    fn serving(&self) -> usize {
        self.0.serving.count()
    }

    /// Stops the service, whether or not the host's server stops: new streams and Pings end with UNAVAILABLE. Blocks
    /// for at most the grace and 5 s. On the thread of a stream, it does not wait for that thread.
    fn stop(&self, grace: Duration) -> bool {
        let serving = &self.0.serving;
        serving.refuse();
        serving.await_end(Instant::now() + grace);
        serving.streams().iter().for_each(|stream| stream.cancel());
        let in_time = serving.await_end(Instant::now() + CANCELLED_ENDS);
        serving.join_ended();
        if !in_time {
            log::warn!("some gossip streams on the host's server are still ending after the stop");
        }
        in_time
    }
}

impl Drop for HostListener {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

/// Returns a method that passes messages through unchanged.
fn method(ty: MethodType, name: &'static str) -> Method<Bytes, Bytes> {
    let bytes = || Marshaller { ser: write_bytes, de: read_bytes };
    Method { ty, name, req_mar: bytes(), resp_mar: bytes() }
}

#[allow(clippy::ptr_arg, clippy::unnecessary_wraps)] // The types are grpcio's.
fn write_bytes(message: &Bytes, slice: &mut GrpcSlice) -> grpcio::Result<()> {
    *slice = GrpcSlice::from(&**message);
    Ok(())
}

fn read_bytes(mut reader: MessageReader) -> grpcio::Result<Bytes> {
    let mut message = Vec::with_capacity(reader.len());
    reader.read_to_end(&mut message).map_err(|e| grpcio::Error::Codec(e.into()))?;
    Ok(message.into())
}

fn unavailable() -> RpcStatus {
    RpcStatus::with_message(code::UNAVAILABLE, "the gossip service is not running".into())
}

/// Ends a stream that is not served. Keeps the call until the status has been sent; blocks no thread.
fn refuse(ctx: &RpcContext, requests: RequestStream<Bytes>, sink: DuplexSink<Bytes>, status: RpcStatus) {
    ctx.spawn(async move {
        let _ = sink.fail(status).await;
        drop(requests);
    });
}

impl HostServer {
    fn ping(&self, ctx: &RpcContext, sink: UnarySink<Bytes>) {
        let serves = self.listening.get().is_some() && !self.serving.is_stopping();
        let answer = if serves { sink.success(Bytes::new()) } else { sink.fail(unavailable()) };
        ctx.spawn(async move {
            let _ = answer.await;
        });
    }

    /// Hands a stream to a thread, or refuses it. Does not block, because it runs on a polling thread.
    fn accept(self: &Arc<Self>, ctx: &RpcContext, requests: RequestStream<Bytes>, sink: DuplexSink<Bytes>) {
        self.serving.join_ended();
        if self.listening.get().is_none() {
            return refuse(ctx, requests, sink, unavailable());
        }
        let stream = Arc::new(HostStream::new(self.info(ctx), requests, sink));
        let server = self.clone();
        let served = self.serving.serve(&stream.info().remote_addr, &stream, move |stream| server.run(stream));
        if let Err(status) = served {
            if let Some((requests, sink)) = stream.take() {
                refuse(ctx, requests, sink, RpcStatus::with_message(status.code, status.message));
            }
        }
    }

    fn info(&self, ctx: &RpcContext) -> StreamInfo {
        let mut info = StreamInfo { remote_addr: c_core::plain(&ctx.peer()), ..StreamInfo::default() };
        if let Some(context) = ctx.auth_context() {
            for property in &context {
                match property.name() {
                    "transport_security_type" => info.tls = matches!(property.value(), b"ssl" | b"tls"),
                    "x509_pem_cert" => info.remote_cert = c_core::der(property.value()),
                    _ => {}
                }
            }
        }
        if info.tls {
            let own = || self.tls.as_ref().and_then(Tls::server_cert);
            info.local_cert = self.certificate.read().clone().or_else(own);
            if info.local_cert.is_none() {
                log::error!("the host's server has TLS, but no certificate was given: peers will refuse the handshake");
            }
        }
        info
    }

    /// Serves a stream to its end, on its thread.
    fn run(&self, stream: Arc<HostStream>) {
        let Some(Listening { acceptor, .. }) = self.listening.get() else { return stream.cancel() };
        let served = catch_unwind(AssertUnwindSafe(|| acceptor.gossip_stream(stream.clone())));
        let status = served.unwrap_or_else(|_| {
            log::error!("the acceptor of gossip streams panicked; the stream ends with INTERNAL");
            Status::new(code::INTERNAL, "the handler failed")
        });
        // An error means that the stream has already ended.
        if stream.finish(&status).is_ok() {
            stream.await_status(STATUS_LEAVES);
        }
        stream.cancel();
    }
}
