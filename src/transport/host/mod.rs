//! The gossip service on a gRPC server that the host already runs: one port for gossip and the host's own services, as a
//! Fabric peer has it.
//!
//! [`CommBuilder::start_on_host`](super::CommBuilder::start_on_host) starts a [`Comm`](super::Comm) without a server of
//! its own and gives a [`HostService`], whose [`service`](HostService::service) the host registers on its
//! [`grpcio::ServerBuilder`] before it starts that server:
//!
//! ```no_run
//! # use fabric_gossip::{rpc::Tls, CommBuilder};
//! # use grpcio::ServerCredentials;
//! # fn serve(builder: CommBuilder, tls: Tls, credentials: ServerCredentials) -> Result<(), Box<dyn std::error::Error>> {
//! use fabric_gossip::comm::host::{self, HostOptions};
//! use fabric_gossip::rpc::Options;
//! use std::sync::Arc;
//!
//! let (comm, gossip) = builder.tls(tls).start_on_host(HostOptions::default())?;
//! let env = Arc::new(grpcio::Environment::new(2));
//! let arguments = host::arguments(grpcio::ChannelBuilder::new(env.clone()), &Options::default());
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
//! `examples/host_server.rs` has all of it.
//!
//! # What the host decides
//!
//! Port, TLS, and limits of the connections are the host server's. For gossip it should ask clients for a certificate
//! (`CertificateRequestType::RequestClientCertificateButDontVerify` is what Fabric does: the gossip handshake
//! authenticates), and accept messages of 100 MiB and a ping every minute, which [`arguments`] sees to. Start the `Comm`
//! before the `Environment`: it prepares OpenSSL for a process that exits while connections are open.
//!
//! # Threads
//!
//! Each stream is served on a thread of its own, `gossip-in-<n>`: nothing but the hand-over happens on grpcio's polling
//! threads, and the host's calls wait for no subscriber, signature or lock of ours. Every message crosses from a polling
//! thread to the stream's, which makes this form slower than a server of `Comm`'s own.
//!
//! grpcio tells whether a call lives before it tells whether a message was written. So a message that was written just
//! before its peer went away can count as not written here: it is then sent again on the next connection, or reported
//! undelivered, although it arrived.

mod signal;
mod stream;

use super::grpc::{GOSSIP_STREAM, PING};
use super::stream::{Acceptor, Status, Stream, StreamInfo};
use crate::error::Result;
use crate::rpc::{self, code, Options, Pem, Tls};
use crate::sync::{spawn, Condvar, Mutex, RwLock};
use bytes::Bytes;
use grpcio::{
    ChannelBuilder, DuplexSink, GrpcSlice, Marshaller, MessageReader, Method, MethodType, RequestStream, RpcContext,
    RpcStatus, Service, ServiceBuilder, UnarySink,
};
use std::collections::HashMap;
use std::io::Read;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use stream::HostStream;

/// How long the status of a stream may take to leave; a client that does not read cannot hold the thread for longer.
const STATUS_LEAVES: Duration = Duration::from_secs(2);

/// After the grace and the cancellation: how long threads may take to end.
const CANCELLED_ENDS: Duration = Duration::from_secs(5);

/// Settings of a [`HostService`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostOptions {
    /// The certificate that the host's server shows in TLS: the gossip handshake binds our identity to it, and the other
    /// side refuses us if it is another one. Without it, the server certificate of
    /// [`CommBuilder::tls`](super::CommBuilder::tls), if that is set. Only a host without TLS needs neither.
    pub certificate: Option<Pem>,
    /// Streams served at once, each on its own thread: 4096. Those above it end at once with RESOURCE_EXHAUSTED.
    pub max_served: usize,
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions { certificate: None, max_served: 4096 }
    }
}

impl HostOptions {
    /// With this certificate.
    #[must_use]
    pub fn certificate(mut self, certificate: Pem) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// With at most this many streams at once.
    #[must_use]
    pub fn max_served(mut self, max: usize) -> Self {
        self.max_served = max;
        self
    }
}

/// The channel arguments that gossip needs of the host's server, and those that [`Options`] proposes, for
/// [`grpcio::ServerBuilder::channel_args`]. (`memory_quota`, `max_connection_idle`, `spin`,
/// `requests_ahead` and `max_served` are not among them: set a quota of the host's own, which bounds messages that never
/// end.)
pub fn arguments(builder: ChannelBuilder, options: &Options) -> ChannelBuilder {
    options.server_ints().into_iter().fold(builder, |builder, (name, value)| builder.raw_cfg_int(name, value))
}

/// The gossip service for a host's server. Clones are the same.
#[derive(Clone)]
pub struct HostService(Arc<Shared>);

struct Shared {
    acceptor: Arc<dyn Acceptor>,
    certificate: RwLock<Option<Certificate>>,
    max_served: usize,
    served: Mutex<Served>,
    /// A stream was served to its end.
    ended: Condvar,
}

enum Certificate {
    Given(Bytes),
    /// Whatever this shows now.
    Of(Tls),
}

#[derive(Default)]
struct Served {
    stopping: bool,
    next_id: u64,
    running: HashMap<u64, Task>,
    ended: Vec<JoinHandle<()>>,
}

struct Task {
    stream: Weak<HostStream>,
    thread: JoinHandle<()>,
}

impl HostService {
    /// A service whose streams `acceptor` serves.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the certificate cannot be read.
    pub fn new(acceptor: Arc<dyn Acceptor>, options: &HostOptions) -> Result<Self> {
        Self::start(acceptor, options, None)
    }

    pub(super) fn start(acceptor: Arc<dyn Acceptor>, options: &HostOptions, tls: Option<Tls>) -> Result<Self> {
        rpc::prepare_tls();
        let given = options.certificate.as_ref().map(leaf).transpose()?;
        let certificate = given.map(Certificate::Given).or(tls.map(Certificate::Of));
        Ok(HostService(Arc::new(Shared {
            acceptor,
            certificate: RwLock::new(certificate),
            max_served: options.max_served,
            served: Mutex::default(),
            ended: Condvar::new(),
        })))
    }

    /// What to register on the host's server before that starts: `gossip.Gossip` with its two methods.
    pub fn service(&self) -> Service {
        let (streams, pings) = (self.0.clone(), self.0.clone());
        ServiceBuilder::new()
            .add_duplex_streaming_handler(&method(MethodType::Duplex, GOSSIP_STREAM), move |ctx, requests, sink| {
                streams.accept(&ctx, requests, sink);
            })
            .add_unary_handler(&method(MethodType::Unary, PING), move |ctx, _: Bytes, sink| pings.ping(&ctx, sink))
            .build()
    }

    /// The host's server shows another certificate from now on. Streams that are open keep theirs.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if it cannot be read; the one before stays.
    pub fn replace_certificate(&self, certificate: &Pem) -> Result<()> {
        *self.0.certificate.write() = Some(Certificate::Given(leaf(certificate)?));
        Ok(())
    }

    /// How many streams are being served.
    pub fn serving(&self) -> usize {
        self.0.served.lock().running.len()
    }

    /// Stops, whether or not the host's server does: new streams and Pings end with UNAVAILABLE; streams may end by
    /// themselves for `grace`, then they are cancelled.
    ///
    /// Blocks until all their threads have ended, for at most the grace and 5 s, and returns whether they have; one that
    /// has not, because an acceptor does not return, ends later. Calling it again does nothing; calling it on one of
    /// these threads does not wait for that one. [`Comm::stop`](super::Comm::stop) does it too.
    pub fn stop(&self, grace: Duration) -> bool {
        self.0.served.lock().stopping = true;
        self.0.await_served(Instant::now() + grace);
        let streams: Vec<_> = self.0.served.lock().running.values().map(|task| task.stream.clone()).collect();
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.cancel());
        let in_time = self.0.await_served(Instant::now() + CANCELLED_ENDS);
        self.0.join_ended();
        in_time
    }
}

fn leaf(certificate: &Pem) -> Result<Bytes> {
    certificate.leaf("the host's certificate").map_err(|e| e.step("gossip service"))
}

/// A method whose messages pass as they are.
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
    RpcStatus::with_message(code::UNAVAILABLE, "the gossip service has stopped".into())
}

/// Ends a stream that is not served. Keeps the call until the status has left, and blocks nobody.
fn refuse(ctx: &RpcContext, requests: RequestStream<Bytes>, sink: DuplexSink<Bytes>, status: RpcStatus) {
    ctx.spawn(async move {
        let _ = sink.fail(status).await;
        drop(requests);
    });
}

impl Shared {
    fn ping(&self, ctx: &RpcContext, sink: UnarySink<Bytes>) {
        let answer = if self.served.lock().stopping { sink.fail(unavailable()) } else { sink.success(Bytes::new()) };
        ctx.spawn(async move {
            let _ = answer.await;
        });
    }

    /// Hands a stream over to a thread, or refuses it. Does not block: it is called on a polling thread.
    fn accept(self: &Arc<Self>, ctx: &RpcContext, requests: RequestStream<Bytes>, sink: DuplexSink<Bytes>) {
        self.join_ended();
        // Held to the end, so that the thread finds itself registered.
        let mut served = self.served.lock();
        if served.stopping {
            return refuse(ctx, requests, sink, unavailable());
        }
        if served.running.len() >= self.max_served {
            let text = format!("too many streams: {} are being served", served.running.len());
            return refuse(ctx, requests, sink, RpcStatus::with_message(code::RESOURCE_EXHAUSTED, text));
        }
        let id = served.next_id;
        served.next_id += 1;
        let stream = Arc::new(HostStream::new(self.info(ctx), requests, sink));
        let (weak, shared, serving) = (Arc::downgrade(&stream), self.clone(), stream.clone());
        let thread = spawn(&format!("gossip-in-{}", id % 100_000), move || {
            shared.run(serving);
            shared.ended(id);
        });
        match thread {
            Ok(thread) => {
                served.running.insert(id, Task { stream: weak, thread });
            }
            Err(e) => {
                log::error!("{}: refused: {e}", stream.info().remote_addr);
                let text = "cannot start a thread for the stream".to_owned();
                if let Some((requests, sink)) = stream.take() {
                    refuse(ctx, requests, sink, RpcStatus::with_message(code::RESOURCE_EXHAUSTED, text));
                }
            }
        }
    }

    fn info(&self, ctx: &RpcContext) -> StreamInfo {
        let mut info = StreamInfo { remote_addr: rpc::plain(&ctx.peer()), ..StreamInfo::default() };
        if let Some(context) = ctx.auth_context() {
            for property in &context {
                match property.name() {
                    "transport_security_type" => info.tls = matches!(property.value(), b"ssl" | b"tls"),
                    "x509_pem_cert" => info.remote_cert = rpc::der(property.value()),
                    _ => {}
                }
            }
        }
        if info.tls {
            info.local_cert = match &*self.certificate.read() {
                Some(Certificate::Given(der)) => Some(der.clone()),
                Some(Certificate::Of(tls)) => tls.server_cert(),
                None => None,
            };
            if info.local_cert.is_none() {
                log::error!("the host's server has TLS, but no certificate was given: peers will refuse the handshake");
            }
        }
        info
    }

    /// The life of a stream's thread.
    fn run(&self, stream: Arc<HostStream>) {
        let served = catch_unwind(AssertUnwindSafe(|| self.acceptor.gossip_stream(stream.clone())));
        let status = served.unwrap_or_else(|_| {
            log::error!("the acceptor of gossip streams panicked; the stream ends with INTERNAL");
            Status { code: code::INTERNAL, message: "the handler failed".into() }
        });
        // An error means that the stream is over already.
        if stream.finish(&status).is_ok() {
            stream.await_status(STATUS_LEAVES);
        }
        stream.cancel();
    }

    fn ended(&self, id: u64) {
        let mut served = self.served.lock();
        if let Some(task) = served.running.remove(&id) {
            served.ended.push(task.thread);
        }
        self.ended.notify_all();
    }

    /// Waits until no stream is served, except by the calling thread. Whether that is so.
    fn await_served(&self, until: Instant) -> bool {
        let me = thread::current().id();
        let mut served = self.served.lock();
        loop {
            if served.running.values().all(|task| task.thread.thread().id() == me) {
                return true;
            }
            if self.ended.wait_until(&mut served, until).timed_out() {
                return served.running.values().all(|task| task.thread.thread().id() == me);
            }
        }
    }

    /// Joins the threads that have served their stream: they have nothing left to do.
    fn join_ended(&self) {
        let ended = std::mem::take(&mut self.served.lock().ended);
        for thread in ended {
            // A panic of the acceptor was caught before.
            let _ = thread.join();
        }
    }
}
