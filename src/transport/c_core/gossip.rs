//! Gossip streams over gRPC: Fabric's service `gossip.Gossip` on [`rpc`].

use super::stream::{Acceptor, Arrivals, Client, Status, Stream, StreamEnd, StreamInfo, Transport};
use crate::cancel::Cancel;
use crate::error::{Error, Result};
use crate::rpc::{self, Arrived, Channel, Method, Options, Tls, Unary};
use crate::sync::Mutex;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

pub(super) const PING: &str = "/gossip.Gossip/Ping";
pub(super) const GOSSIP_STREAM: &str = "/gossip.Gossip/GossipStream";

/// Dials peers over gRPC. Every dial makes a connection of its own.
pub struct GrpcTransport {
    tls: Option<Tls>,
    options: Options,
    /// Never connects. With the last channel of a process the core's threads and pollers end, which now and then takes a
    /// second, and the next one starts them anew: who only dials would pay for that with every connection.
    _idle: Channel,
}

impl GrpcTransport {
    /// Dials with these settings; without `tls` in plain text.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if an option makes no sense; [`ErrorKind::Full`](crate::ErrorKind::Full)
    /// if the C core has to be started and too few file descriptors or threads are to be had for it.
    pub fn new(tls: Option<Tls>, options: Options) -> Result<Self> {
        let idle = Channel::new("localhost:1", None, &options, Duration::from_secs(1))?;
        Ok(GrpcTransport { tls, options, _idle: idle })
    }
}

impl Transport for GrpcTransport {
    /// Connects, and sends the first Ping with it, whose answer [`Client::ping`] collects: Fabric pings after every
    /// dial, and so it takes no extra round trip.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Client>> {
        let dial = || {
            // The core gives up a little earlier than we do: then its text says how far it came.
            let connect = timeout - (timeout / 10).min(Duration::from_millis(100));
            let channel = Channel::new(endpoint, self.tls.as_ref(), &self.options, connect)?;
            let mut ping = channel.unary(PING, Bytes::new())?;
            ping.wait_connected(timeout, cancel)?;
            let ping = Mutex::new(Some(ping));
            Ok(Box::new(GrpcClient { ping, channel, timeout, cancel: cancel.clone() }) as Box<dyn Client>)
        };
        dial().map_err(|e: Error| e.peer(endpoint).step("dial"))
    }
}

struct GrpcClient {
    /// The Ping that came with the dial, until it is collected. Declared first: it is dropped before the channel.
    ping: Mutex<Option<Unary>>,
    channel: Channel,
    timeout: Duration,
    cancel: Cancel,
}

impl Client for GrpcClient {
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
        Ok(Arc::new(GrpcStream::new(Arc::new(stream.map_err(|e| e.step("open stream"))?))))
    }
}

struct GrpcStream {
    stream: Arc<rpc::Stream>,
    info: StreamInfo,
    arrived: Arrived,
}

impl GrpcStream {
    fn new(stream: Arc<rpc::Stream>) -> Self {
        let peer = stream.peer().clone();
        let info = StreamInfo {
            remote_addr: peer.remote_addr,
            remote_cert: peer.remote_cert,
            local_cert: peer.local_cert,
            tls: peer.tls,
        };
        let arrived = Arrived::from(&info.remote_addr);
        GrpcStream { stream, info, arrived }
    }
}

impl Arrivals for Arrived {
    fn bytes(&self) -> Option<u64> {
        Arrived::bytes(self)
    }
}

impl Stream for GrpcStream {
    fn start_send(&self, message: Bytes, more: bool) -> Result<(), StreamEnd> {
        self.stream.start_send(message, more).map_err(end)
    }

    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        self.stream.wait_sent(timeout).map_err(end)
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        self.stream.recv(timeout).map_err(end)
    }

    fn try_recv(&self) -> Result<Option<Bytes>, StreamEnd> {
        self.stream.try_recv().map_err(end)
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        self.stream.finish(&rpc::Status::new(status.code, &*status.message)).map_err(end)
    }

    fn cancel(&self) {
        self.stream.cancel();
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }

    fn arrivals(&self) -> Option<&dyn Arrivals> {
        Some(&self.arrived)
    }
}

fn end(end: rpc::End) -> StreamEnd {
    let status = |s: rpc::Status| Status { code: s.code, message: s.message };
    match end {
        rpc::End::Remote(s) => StreamEnd::Remote(status(s)),
        rpc::End::Lost(s) => StreamEnd::Lost(status(s)),
        rpc::End::Local => StreamEnd::Local,
    }
}

/// A server of its own for the gossip service. Dropping it stops it, without grace.
pub struct GrpcServer(rpc::Server);

impl GrpcServer {
    /// Listens on `ip:port` (port 0: a free one). Pings are always answered; each gossip stream is given to `acceptor`
    /// on a thread of its own, named `gossip-in-<n>`.
    ///
    /// # Errors
    /// See [`rpc::Server::start`].
    pub fn start(listen: &str, options: Options, tls: Option<Tls>, acceptor: Arc<dyn Acceptor>) -> Result<GrpcServer> {
        let serve = move |stream: Arc<rpc::Stream>| {
            let status = acceptor.gossip_stream(Arc::new(GrpcStream::new(stream)));
            rpc::Status::new(status.code, status.message)
        };
        let methods = vec![
            (PING.to_owned(), Method::Unary(Box::new(|_| Ok(Bytes::new())))),
            (GOSSIP_STREAM.to_owned(), Method::Stream(Box::new(serve))),
        ];
        rpc::Server::start(listen, options, tls, methods).map(GrpcServer)
    }

    /// The address that was bound, `ip:port`.
    pub fn local_addr(&self) -> &str {
        self.0.local_addr()
    }

    /// How many streams are being served.
    pub fn serving(&self) -> usize {
        self.0.serving()
    }

    /// Stops within a bound; see [`rpc::Server::stop`].
    pub fn stop(&self, grace: Duration) -> bool {
        self.0.stop(grace)
    }
}
