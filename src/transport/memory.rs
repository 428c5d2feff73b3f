//! An in-memory network: the same stream interface as gRPC's, without sockets, TLS or the C core.

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::channel::{bounded, never, select, Receiver, Sender, TrySendError};
use crate::sync::{descriptor, spawn, Mutex};
use crate::testing::live::Live;
use crate::transport::{code, Acceptor, Connection, Server, Status, Stream, StreamEnd, StreamInfo, Transport};
use bytes::Bytes;
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Number of messages that a stream buffers in each direction before its writer must wait.
const WINDOW: usize = 64;

/// The listening endpoints and their acceptors. Clones share the same network.
#[derive(Clone)]
pub struct MemoryNetwork(Arc<Network>);

impl std::fmt::Debug for MemoryNetwork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryNetwork").finish_non_exhaustive()
    }
}

struct Network {
    clock: Arc<dyn Clock>,
    listeners: Mutex<HashMap<String, Listener>>,
    next_port: AtomicU64,
}

#[derive(Clone)]
struct Listener {
    acceptor: Arc<dyn Acceptor>,
    cert: Option<Bytes>,
    /// Ends every stream accepted here.
    closed: Cancel,
    answers_ping: bool,
    /// Number of streams being served.
    serving: Arc<AtomicU64>,
}

impl Listener {
    fn new(cert: Option<Bytes>, acceptor: Arc<dyn Acceptor>) -> Self {
        Listener { acceptor, cert, closed: Cancel::new(), answers_ping: true, serving: Arc::default() }
    }
}

impl MemoryNetwork {
    /// Creates an empty network that uses this clock for its timeouts.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        MemoryNetwork(Arc::new(Network { clock, listeners: Mutex::default(), next_port: AtomicU64::new(50_000) }))
    }

    /// Serves `endpoint`. With a certificate (its DER, or any bytes that represent it), connections count as TLS.
    pub fn listen(&self, endpoint: impl Into<String>, cert: Option<Bytes>, acceptor: Arc<dyn Acceptor>) {
        let listener = Listener::new(cert, acceptor);
        self.0.listeners.lock().insert(endpoint.into(), listener);
    }

    /// Leaves Pings to `endpoint` unanswered, so that they time out.
    pub fn silence_pings(&self, endpoint: &str) {
        if let Some(listener) = self.0.listeners.lock().get_mut(endpoint) {
            listener.answers_ping = false;
        }
    }

    /// Stops serving `endpoint`. Streams accepted there are lost, as if the process had died.
    pub fn unlisten(&self, endpoint: &str) {
        if let Some(listener) = self.0.listeners.lock().remove(endpoint) {
            listener.closed.cancel();
        }
    }

    /// Loses the streams accepted at `endpoint`, as if a cable had been unplugged and plugged in again.
    pub fn cut(&self, endpoint: &str) {
        if let Some(listener) = self.0.listeners.lock().get_mut(endpoint) {
            std::mem::take(&mut listener.closed).cancel();
        }
    }

    /// Returns a transport for one peer, which presents this certificate when it dials. It does not keep the network
    /// alive: when the network is dropped, all its endpoints are gone.
    pub fn transport(&self, cert: Option<Bytes>) -> Arc<dyn Transport> {
        Arc::new(MemoryTransport { network: Arc::downgrade(&self.0), cert })
    }
}

struct MemoryTransport {
    /// Weak, because the listeners hold a transport; strong references would form a cycle.
    network: Weak<Network>,
    cert: Option<Bytes>,
}

impl Transport for MemoryTransport {
    fn dial(&self, endpoint: &str, _timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>> {
        if cancel.is_cancelled() {
            return Err(Error::new(ErrorKind::Stopped, "the dial was cancelled"));
        }
        let refused = || Error::new(ErrorKind::Unreachable, "Connection refused");
        let starved = |e: std::io::Error| Error::new(ErrorKind::Unreachable, e.to_string()).with_source(e);
        descriptor("memory dial").map_err(starved)?;
        let network = self.network.upgrade().ok_or_else(refused)?;
        let listener = network.listeners.lock().get(endpoint).cloned().ok_or_else(refused)?;
        let (endpoint, cert) = (endpoint.to_owned(), self.cert.clone());
        Ok(Box::new(MemoryConnection { network, listener, endpoint, cert, cancel: cancel.clone() }))
    }

    /// Serves the address with the certificate that this transport presents. Port 0 selects a free port.
    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>> {
        let unreachable = |text: &str| Error::new(ErrorKind::Unreachable, text).with_peer(address).with_step("listen");
        let network = self.network.upgrade().ok_or_else(|| unreachable("the in-memory network was dropped"))?;
        let local_addr = match address.strip_suffix(":0") {
            Some(host) => format!("{host}:{}", network.next_port.fetch_add(1, Ordering::Relaxed)),
            None => address.to_owned(),
        };
        let listener = Listener::new(self.cert.clone(), acceptor);
        let server = MemoryServer {
            network: self.network.clone(),
            local_addr: local_addr.clone(),
            acceptor: listener.acceptor.clone(),
            serving: listener.serving.clone(),
        };
        let mut listeners = network.listeners.lock();
        if listeners.contains_key(&local_addr) {
            return Err(unreachable("the address is in use"));
        }
        listeners.insert(local_addr, listener);
        drop(listeners);
        Ok(Box::new(server))
    }
}

struct MemoryServer {
    network: Weak<Network>,
    local_addr: String,
    acceptor: Arc<dyn Acceptor>,
    serving: Arc<AtomicU64>,
}

impl Server for MemoryServer {
    fn local_addr(&self) -> &str {
        &self.local_addr
    }

    fn serving(&self) -> usize {
        self.serving.load(Ordering::Relaxed) as usize
    }

    /// Loses the streams that have not ended. Does not wait.
    fn stop(&self, _grace: Duration) -> bool {
        let Some(network) = self.network.upgrade() else { return true };
        let mut listeners = network.listeners.lock();
        // A different acceptor may listen at this address by now.
        let own = listeners.get(&self.local_addr).is_some_and(|other| Arc::ptr_eq(&other.acceptor, &self.acceptor));
        let listener = if own { listeners.remove(&self.local_addr) } else { None };
        drop(listeners);
        if let Some(listener) = listener {
            listener.closed.cancel();
        }
        true
    }
}

impl Drop for MemoryServer {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

struct MemoryConnection {
    network: Arc<Network>,
    listener: Listener,
    endpoint: String,
    cert: Option<Bytes>,
    cancel: Cancel,
}

impl Connection for MemoryConnection {
    fn ping(&self, timeout: Duration) -> Result<()> {
        if self.listener.closed.is_cancelled() {
            return Err(Error::new(ErrorKind::Unreachable, "Socket closed"));
        }
        if self.listener.answers_ping {
            return Ok(());
        }
        select! {
            recv(self.network.clock.after(timeout)) -> _ => Err(Error::new(ErrorKind::Timeout, "no answer to the Ping in time")),
            recv(self.cancel.signal()) -> _ => Err(Error::new(ErrorKind::Stopped, "cancelled")),
        }
    }

    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        let lost = |e: std::io::Error| Error::new(ErrorKind::Unreachable, "Socket closed").with_source(e);
        descriptor("memory accept").map_err(lost)?;
        let listener = &self.listener;
        let tls = listener.cert.is_some();
        let port = self.network.next_port.fetch_add(1, Ordering::Relaxed);
        let ours = StreamInfo {
            remote_addr: self.endpoint.clone(),
            remote_cert: listener.cert.clone(),
            local_cert: self.cert.clone(),
            tls,
        };
        let theirs = StreamInfo {
            remote_addr: format!("memory:{port}"),
            remote_cert: self.cert.clone(),
            local_cert: listener.cert.clone(),
            tls,
        };
        let (dialled, accepted) = pair(self.network.clock.clone(), ours, theirs);
        let acceptor = listener.acceptor.clone();
        let lost = dialled.ending.clone();
        // It lives as long as its stream can; the accepting side ends it.
        let guard =
            listener.closed.on_cancel(move || lost.end(Side::Network, Status::new(code::UNAVAILABLE, "Socket closed")));
        let deadline = limit.map(|limit| self.network.clock.after(limit)).unwrap_or_else(never);
        let dialled = Arc::new(dialled);
        let serving = listener.serving.clone();
        let serve = move || {
            let _guard = guard;
            serving.fetch_add(1, Ordering::Relaxed);
            let stream: Arc<dyn Stream> = Arc::new(accepted);
            let served = catch_unwind(AssertUnwindSafe(|| acceptor.gossip_stream(stream.clone())));
            let _ = stream.finish(&served.unwrap_or_else(|_| Status::new(code::INTERNAL, "the handler failed")));
            serving.fetch_sub(1, Ordering::Relaxed);
        };
        spawn("memory-in", serve)?;
        *dialled.deadline.lock() = deadline;
        Ok(dialled)
    }
}

/// Creates the two ends of one stream.
fn pair(clock: Arc<dyn Clock>, dialling: StreamInfo, accepting: StreamInfo) -> (MemoryStream, MemoryStream) {
    let (to_accepting, from_dialling) = bounded(WINDOW);
    let (to_dialling, from_accepting) = bounded(WINDOW);
    let ending = Arc::new(Ending::default());
    let end = |side, info, outgoing, incoming| MemoryStream {
        side,
        info,
        clock: clock.clone(),
        outgoing: Mutex::new(Some(outgoing)),
        under_way: Mutex::new(None),
        incoming,
        deadline: Mutex::new(never()),
        ending: ending.clone(),
        _live: Live::new("memory stream"),
    };
    (
        end(Side::Dialled, dialling, to_accepting, from_accepting),
        end(Side::Accepted, accepting, to_dialling, from_dialling),
    )
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Dialled,
    Accepted,
    /// Neither side: the connection was lost.
    Network,
}

/// How the stream as a whole ended, and a signal that it did.
#[derive(Default)]
struct Ending {
    how: Mutex<Option<(Side, Status)>>,
    abrupt: Cancel,
}

impl Ending {
    fn end(&self, by: Side, status: Status) {
        self.how.lock().get_or_insert((by, status));
        self.abrupt.cancel();
    }

    /// Ends the stream with the accepting side's status. Messages sent before can still be read.
    fn say(&self, status: Status) {
        self.how.lock().get_or_insert((Side::Accepted, status));
    }
}

struct MemoryStream {
    side: Side,
    info: StreamInfo,
    clock: Arc<dyn Clock>,
    outgoing: Mutex<Option<Sender<Bytes>>>,
    /// A started write for which the window had no room.
    under_way: Mutex<Option<Bytes>>,
    incoming: Receiver<Bytes>,
    deadline: Mutex<Receiver<std::time::Instant>>,
    ending: Arc<Ending>,
    _live: Live,
}

impl MemoryStream {
    fn how_it_ended(&self) -> StreamEnd {
        match self.ending.how.lock().clone() {
            Some((Side::Network, status)) => StreamEnd::Lost(status),
            Some((side, _)) if side == self.side => StreamEnd::Local,
            Some((Side::Accepted, status)) => StreamEnd::Remote(status),
            Some((Side::Dialled, status)) => StreamEnd::Lost(status),
            None => StreamEnd::Remote(Status::ok()),
        }
    }
}

impl Stream for MemoryStream {
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd> {
        let answered = self.side == Side::Dialled && self.ending.how.lock().is_some();
        if answered || self.ending.abrupt.is_cancelled() {
            return Err(self.how_it_ended());
        }
        // As over a network, the other side gets its own copy of the bytes.
        let message = Bytes::copy_from_slice(&message);
        match self.outgoing.lock().as_ref().map(|outgoing| outgoing.try_send(message)) {
            Some(Ok(())) => Ok(()),
            Some(Err(TrySendError::Full(message))) => {
                *self.under_way.lock() = Some(message);
                Ok(())
            }
            Some(Err(TrySendError::Disconnected(_))) => Err(self.how_it_ended()),
            None => Err(StreamEnd::Local),
        }
    }

    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd> {
        let Some(message) = self.under_way.lock().take() else { return Ok(true) };
        let Some(outgoing) = self.outgoing.lock().clone() else { return Err(StreamEnd::Local) };
        let timer = timeout.map_or_else(never, |timeout| self.clock.after(timeout));
        select! {
            send(outgoing, message.clone()) -> sent => sent.map(|()| true).map_err(|_| self.how_it_ended()),
            recv(self.ending.abrupt.signal()) -> _ => Err(self.how_it_ended()),
            recv(timer) -> _ => {
                *self.under_way.lock() = Some(message);
                Ok(false)
            }
        }
    }

    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd> {
        let timer = timeout.map_or_else(never, |timeout| self.clock.after(timeout));
        let deadline = self.deadline.lock().clone();
        if self.ending.abrupt.is_cancelled() {
            return Err(self.how_it_ended());
        }
        select! {
            recv(self.incoming) -> message => message.map(Some).map_err(|_| self.how_it_ended()),
            recv(self.ending.abrupt.signal()) -> _ => Err(self.how_it_ended()),
            recv(timer) -> _ => Ok(None),
            recv(deadline) -> _ => {
                self.ending.end(Side::Network, Status::new(code::DEADLINE_EXCEEDED, "Deadline Exceeded"));
                Err(self.how_it_ended())
            }
        }
    }

    fn finish(&self, status: &Status) -> Result<(), StreamEnd> {
        if self.ending.abrupt.is_cancelled() {
            return Err(self.how_it_ended());
        }
        if self.side == Side::Accepted {
            self.ending.say(status.clone());
        }
        // The other side first reads the messages sent before, and then the end.
        *self.outgoing.lock() = None;
        Ok(())
    }

    fn cancel(&self) {
        self.ending.end(self.side, Status::new(code::CANCELLED, "Cancelled"));
    }

    fn info(&self) -> &StreamInfo {
        &self.info
    }
}

impl Drop for MemoryStream {
    fn drop(&mut self) {
        // The other side can still read an accepted stream that was ended with a status.
        if self.side == Side::Dialled || self.outgoing.lock().is_some() {
            self.cancel();
        }
    }
}
