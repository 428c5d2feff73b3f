//! HTTP/2 by nghttp2 and TLS by OpenSSL, on blocking sockets and threads.
//!
//! Both libraries work on bytes in memory, and the threads that use a connection do its I/O: the thread that sends
//! writes to the socket, and the thread that waits for a message reads from it. One more thread per transport, the
//! *steward*, attends to connections that nobody reads at the moment, and one per server accepts connections and drives
//! them until they open a stream.
//!
//! | File | Concern |
//! |---|---|
//! | `grpc`, `framing` | gRPC's headers, statuses and messages; pure |
//! | `session`, `flow` | nghttp2 behind a safe interface, and the streams of a session |
//! | `wire`, `context` | TLS over buffers in memory; certificates |
//! | `socket` | system calls; `socket_model` replaces it for the model checker |
//! | `connection`, `state`, `drive` | one connection: who reads, who writes, what is due, when it ends |
//! | `stream`, `dial`, `resolve`, `server`, `listener` | the transport's traits |
//! | `steward`, `budget`, `options` | shared by the connections of a transport |
//! | `session_driver` | a session and an application for the fuzzer |

mod budget;
mod connection;
mod context;
mod dial;
mod drive;
mod flow;
mod framing;
mod grpc;
mod listener;
mod options;
mod resolve;
mod server;
mod session;
#[cfg(feature = "testing")]
mod session_driver;
#[cfg_attr(shuttle, path = "socket_model.rs")]
mod socket;
mod state;
mod steward;
mod stream;
mod wire;

pub use listener::Refusal;
pub use options::Options;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use server::Method;
pub use session::nghttp2_version;
#[cfg(feature = "testing")]
#[doc(hidden)]
pub use session_driver::SessionDriver;
#[cfg(shuttle)]
#[doc(hidden)]
pub use socket::{descriptors, sever};

use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::transport::{Acceptor, Connection, Limits, Server, Stream, Tls, Transport, GOSSIP_STREAM, PING};
use bytes::Bytes;
use context::Contexts;
use dial::Dialling;
use listener::{Accepting, Listener, Refusals};
use options::Settings;
#[cfg(not(feature = "testing"))]
use server::Method;
use server::{Http2Server, Service};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use steward::Steward;

/// Dials and listens over HTTP/2. Every dial makes a new connection.
pub struct Http2Transport {
    tls: Option<Tls>,
    contexts: Option<Arc<Contexts>>,
    settings: Arc<Settings>,
    /// Created with the first connection.
    steward: Mutex<Option<Arc<Steward>>>,
    refusals: Arc<Refusals>,
}

impl std::fmt::Debug for Http2Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http2Transport").field("options", &self.settings.options).finish_non_exhaustive()
    }
}

impl Http2Transport {
    /// Creates a transport with these settings; without `tls`, in plain text.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming an invalid limit or option.
    pub fn new(tls: Option<Tls>, limits: Limits, options: Options) -> Result<Self> {
        let contexts = tls.clone().map(|tls| Arc::new(Contexts::new(tls)));
        let settings = Arc::new(Settings::new(limits, options)?);
        Ok(Http2Transport { tls, contexts, settings, steward: Mutex::new(None), refusals: Arc::default() })
    }

    /// Returns the number of accepted connections that came to nothing for this reason.
    pub fn refused(&self, reason: Refusal) -> u64 {
        self.refusals.count(reason)
    }

    /// Listens as a gRPC server without gossip, in tests.
    ///
    /// # Errors
    /// As [`Transport::listen`].
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn listen_without_service(&self, address: &str) -> Result<Box<dyn Server>> {
        self.serve(address, Vec::new())
    }

    /// Serves these methods by path, without gossip, in tests.
    ///
    /// # Errors
    /// As [`Transport::listen`].
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn listen_methods(&self, address: &str, methods: Vec<(String, Method)>) -> Result<Box<dyn Server>> {
        self.serve(address, methods)
    }

    /// Connects and opens a stream of the method with this path, in tests.
    ///
    /// # Errors
    /// As [`Transport::dial`] and [`Connection::open`].
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn open_method(
        &self,
        endpoint: &str,
        path: &str,
        timeout: Duration,
        limit: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<Arc<dyn Stream>> {
        self.connect(endpoint, timeout, cancel)?.open_path(path, limit)
    }

    fn connect(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<dial::Http2Connection> {
        let dial = || {
            let steward = self.steward()?;
            let contexts = self.contexts.as_deref();
            let settings = &self.settings;
            Dialling { settings, contexts, steward: &steward, endpoint, timeout, cancel }.dial()
        };
        dial().map_err(|e| Error::with_peer(e, endpoint).with_step("dial"))
    }

    fn steward(&self) -> Result<Arc<Steward>> {
        let mut steward = self.steward.lock();
        if let Some(steward) = &*steward {
            return Ok(steward.clone());
        }
        let made = Steward::new()?;
        *steward = Some(made.clone());
        Ok(made)
    }

    fn serve(&self, address: &str, methods: Vec<(String, Method)>) -> Result<Box<dyn Server>> {
        if let Some(contexts) = &self.contexts {
            contexts.check_server()?;
        }
        let service = Arc::new(Service::new(methods, &self.settings));
        let accepting = Accepting {
            settings: self.settings.clone(),
            contexts: self.contexts.clone(),
            service: service.clone(),
            steward: self.steward()?,
            refusals: self.refusals.clone(),
        };
        let listener = Listener::start(address, accepting)?;
        Ok(Box::new(Http2Server::new(service, self.settings.clone(), listener)))
    }
}

impl Transport for Http2Transport {
    fn spin(&self) -> Duration {
        self.settings.options.spin
    }

    /// Connects and sends the first Ping with it; [`Connection::ping`] collects the answer. Fabric pings after every
    /// dial, so this saves a round trip.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        Ok(Box::new(self.connect(endpoint, timeout, cancel)?))
    }

    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        let serve = move |stream: Arc<dyn Stream>| acceptor.gossip_stream(stream);
        let methods = vec![
            (PING.to_owned(), Method::Unary(Box::new(|_| Ok(Bytes::new())))),
            (GOSSIP_STREAM.to_owned(), Method::Stream(Box::new(serve))),
        ];
        self.serve(address, methods)
    }

    fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    fn certificate_expires(&self) -> Option<SystemTime> {
        self.tls.as_ref().and_then(Tls::expires)
    }
}

impl Drop for Http2Transport {
    fn drop(&mut self) {
        if let Some(steward) = self.steward.lock().take() {
            steward.close();
        }
    }
}
