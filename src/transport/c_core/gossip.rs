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

/// Dials and listens over gRPC's C core. Every dial makes a connection of its own.
pub struct CoreTransport {
    tls: Option<Tls>,
    settings: Settings,
    /// Never connects. With the last channel of a process the core's threads and pollers end, which now and then takes a
    /// second, and the next one starts them anew: a program that only dials would pay for that with every connection.
    _idle: Channel,
}

impl CoreTransport {
    /// Uses these settings; without `tls` in plain text.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), naming a limit or an option that makes no sense;
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the C core has to be started and too few file descriptors or threads
    /// are available for it.
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
    /// Connects, and sends the first Ping with it, whose answer [`Connection::ping`] collects: Fabric pings after every
    /// dial, and so it takes no extra round trip.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        let dial = || {
            // The core gives up a little earlier than this dial: then its text says how far it came.
            let connect = timeout - (timeout / 10).min(Duration::from_millis(100));
            let channel = Channel::new(endpoint, self.tls.as_ref(), &self.settings, connect)?;
            let mut ping = channel.unary(PING, Bytes::new())?;
            ping.wait_connected(timeout, cancel)?;
            let ping = Mutex::new(Some(ping));
            Ok(Box::new(CoreConnection { ping, channel, timeout, cancel: cancel.clone() }) as Box<dyn Connection>)
        };
        dial().map_err(|e: Error| e.peer(endpoint).step("dial"))
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
    /// The Ping that came with the dial, until it is collected. Declared first: it is dropped before the channel.
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
        ping().map(drop).map_err(|e| e.step("ping"))
    }

    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        let stream = self.channel.stream(GOSSIP_STREAM, limit, self.timeout, &self.cancel);
        Ok(Arc::new(stream.map_err(|e| e.step("open stream"))?))
    }
}
