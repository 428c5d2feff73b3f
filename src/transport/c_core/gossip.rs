//! Fabric's service `gossip.Gossip` over the C core.

use super::channel::Channel;
use super::options::{Options, Settings};
use super::server::{CoreServer, Method};
use super::stream::CallStream;
use super::unary::Unary;
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::transport::{Acceptor, Connection, Limits, Server, Stream, Tls, Transport, GOSSIP_STREAM, PING};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Dials and listens over gRPC's C core. Every dial makes a new connection.
pub struct CoreTransport {
    tls: Option<Tls>,
    settings: Settings,
    /// A channel that never connects. When the last channel of a process is destroyed, the core's threads and pollers
    /// end, which occasionally takes a second, and the next channel starts them again. Without this channel, a program
    /// that only dials would pay that cost with every connection.
    _idle: Channel,
}

impl std::fmt::Debug for CoreTransport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CoreTransport").finish_non_exhaustive()
    }
}

impl CoreTransport {
    /// Creates a transport with these settings; without `tls`, in plain text.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming an invalid limit or option;
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the C core must be started and too few file descriptors or
    /// threads are available.
    pub fn new(tls: Option<Tls>, limits: Limits, options: Options) -> Result<Self> {
        let settings = Settings::new(limits, options)?;
        let idle = Channel::new("localhost:1", None, &settings, Duration::from_secs(1))?;
        Ok(CoreTransport { tls, settings, _idle: idle })
    }

    /// Listens as a gRPC server without gossip, in tests.
    #[cfg(feature = "testing")]
    #[doc(hidden)]
    pub fn listen_without_service(&self, address: &str) -> Result<Box<dyn Server>> {
        Ok(Box::new(CoreServer::start(address, self.settings.clone(), self.tls.clone(), Vec::new())?))
    }
}

impl Transport for CoreTransport {
    /// Connects and sends the first Ping with it; [`Connection::ping`] collects the answer. Fabric pings after every
    /// dial, so this saves a round trip.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        let dial = || {
            // The core times out slightly earlier than this dial, so that its text says how far it got.
            let connect = timeout - (timeout / 10).min(Duration::from_millis(100));
            let channel = Channel::new(endpoint, self.tls.as_ref(), &self.settings, connect)?;
            let mut ping = channel.unary(PING, Bytes::new())?;
            ping.wait_connected(timeout, cancel)?;
            let ping = Mutex::new(Some(ping));
            Ok(Box::new(CoreConnection { ping, channel, timeout, cancel: cancel.clone() }) as Box<dyn Connection>)
        };
        dial().map_err(|e: Error| e.with_peer(endpoint).with_step("dial"))
    }

    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        let serve = move |stream: Arc<CallStream>| acceptor.gossip_stream(stream);
        let methods = vec![
            (PING.to_owned(), Method::Unary(Box::new(|_| Ok(Bytes::new())))),
            (GOSSIP_STREAM.to_owned(), Method::Stream(Box::new(serve))),
        ];
        Ok(Box::new(CoreServer::start(address, self.settings.clone(), self.tls.clone(), methods)?))
    }

    fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    fn certificate_expires(&self) -> Option<SystemTime> {
        self.tls.as_ref().and_then(Tls::expires)
    }
}

struct CoreConnection {
    /// The Ping sent with the dial, until it is collected. Declared first so that it is dropped before the channel.
    ping: Mutex<Option<Unary>>,
    channel: Channel,
    timeout: Duration,
    cancel: Cancel,
}

impl Connection for CoreConnection {
    fn ping(&self, timeout: Duration) -> Result<()> {
        let first = self.ping.lock().take();
        let ping = || match first {
            Some(call) => call.wait(timeout, &self.cancel),
            None => self.channel.unary(PING, Bytes::new())?.wait(timeout, &self.cancel),
        };
        ping().map(drop).map_err(|e| e.with_step("ping"))
    }

    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        let stream = self.channel.stream(GOSSIP_STREAM, limit, self.timeout, &self.cancel);
        Ok(Arc::new(stream.map_err(|e| e.with_step("open stream"))?))
    }
}
