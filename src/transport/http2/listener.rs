//! The listening socket, and connections that have not opened a stream yet. One thread drives all of them, so that
//! strangers take the time of one thread.

use super::connection::{Conn, NewConn, LINGER};
use super::context::Contexts;
use super::options::Settings;
use super::server::Service;
use super::socket::{explain, is_shortage, Epoll, Interest, Socket, TcpListener, TcpStream};
use super::steward::Steward;
use super::wire::Wire;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::thread::JoinHandle;
use crate::sync::{self, descriptor, spawn, Mutex};
use crate::transport::listen_address::parse;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause of accepting while the system lacks descriptors or memory.
const PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of connections accepted before those that exist are attended to.
const ACCEPTED: usize = 64;

/// The token of the listening socket.
const LISTENER: u64 = u64::MAX - 1;

/// Minimum interval between two log lines about connections that came to nothing.
const LOGGED: Duration = Duration::from_secs(1);

/// A listening socket and its thread.
pub(super) struct Listener {
    pub local_addr: String,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    epoll: Epoll,
    stopping: AtomicBool,
}

/// Numbers of connections that came to nothing, by reason.
#[derive(Default)]
pub(super) struct Refusals {
    counts: [AtomicU64; Refusal::ALL.len()],
    log: Mutex<Log>,
}

#[derive(Default)]
struct Log {
    last: Option<Instant>,
    suppressed: u64,
}

/// Reason why an accepted connection came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There are too many connections that have not opened a stream.
    TooManyPending,
    /// There are too many connections.
    TooManyConnections,
    /// The client did not offer HTTP/2.
    NoAlpn,
    /// The client presented no certificate, and one is required.
    NoCertificate,
    /// The client's certificate is not trusted.
    BadCertificate,
    /// The client offered no acceptable version or cipher of TLS.
    Version,
    /// The client does not speak TLS.
    NotTls,
    /// The client refused this server's certificate, or TLS failed in another way.
    Tls,
    /// The client closed the connection.
    Closed,
    /// The client did not finish in time.
    Timeout,
    /// The client violated HTTP/2.
    Protocol,
}

impl Refusal {
    /// Every reason, in declaration order.
    pub const ALL: [Refusal; 11] = [
        Refusal::TooManyPending,
        Refusal::TooManyConnections,
        Refusal::NoAlpn,
        Refusal::NoCertificate,
        Refusal::BadCertificate,
        Refusal::Version,
        Refusal::NotTls,
        Refusal::Tls,
        Refusal::Closed,
        Refusal::Timeout,
        Refusal::Protocol,
    ];

    /// Classifies the text with which a connection failed.
    fn of(failure: &str) -> Refusal {
        let has = |parts: &[&str]| parts.iter().any(|part| failure.contains(part));
        match () {
            () if has(&["no ALPN", "no application protocol"]) => Refusal::NoAlpn,
            () if has(&["peer did not return a certificate"]) => Refusal::NoCertificate,
            () if has(&["certificate verify failed"]) => Refusal::BadCertificate,
            () if has(&["http request", "wrong version number", "packet length", "unknown protocol"]) => {
                Refusal::NotTls
            }
            () if has(&["unsupported protocol", "no shared cipher", "version too low", "protocol version"]) => {
                Refusal::Version
            }
            () if has(&["violated HTTP/2"]) => Refusal::Protocol,
            () if has(&["TLS"]) => Refusal::Tls,
            () => Refusal::Closed,
        }
    }
}

impl Refusals {
    /// Returns the number of connections that came to nothing for this reason.
    pub fn count(&self, refusal: Refusal) -> u64 {
        self.counts[refusal as usize].load(Ordering::Relaxed)
    }

    /// Counts a connection that came to nothing, and logs it unless another was logged just before.
    fn record(&self, refusal: Refusal, address: &str, text: &str) {
        self.counts[refusal as usize].fetch_add(1, Ordering::Relaxed);
        let now = sync::now();
        let suppressed = {
            let mut log = self.log.lock();
            if log.last.is_some_and(|last| now < last + LOGGED) {
                log.suppressed += 1;
                return;
            }
            log.last = Some(now);
            std::mem::take(&mut log.suppressed)
        };
        let more = if suppressed > 0 { format!(" ({suppressed} more were not logged)") } else { String::new() };
        match refusal {
            Refusal::Closed => log::debug!("{address}: connection refused: {text}{more}"),
            _ => log::warn!("{address}: connection refused: {text}{more}"),
        }
    }
}

/// The parts from which a listener makes connections.
pub(super) struct Accepting {
    pub settings: Arc<Settings>,
    pub contexts: Option<Arc<Contexts>>,
    pub service: Arc<Service>,
    pub steward: Arc<Steward>,
    pub refusals: Arc<Refusals>,
}

impl Listener {
    /// Binds `host:port` and starts the thread.
    pub fn start(address: &str, accepting: Accepting) -> Result<Listener> {
        let (host, port) = parse(address)?;
        let full = |e: io::Error| {
            Error::new(ErrorKind::Full, format!("cannot listen: {}", explain(&e)))
                .with_peer(address)
                .with_step("listen")
                .with_source(e)
        };
        let socket = bind(&host, port).map_err(|e| match is_shortage(&e) {
            true => full(e),
            false => {
                let text = format!("cannot listen: {e}");
                Error::new(ErrorKind::Unreachable, text)
                    .with_peer(format!("{host}:{port}"))
                    .with_step("listen")
                    .with_source(e)
            }
        })?;
        let bound = socket.local_addr().map_err(full)?.port();
        let epoll = Epoll::new().map_err(full)?;
        epoll.add_lasting(socket.as_raw_fd(), LISTENER).map_err(full)?;
        let shared = Arc::new(Shared { epoll, stopping: AtomicBool::new(false) });
        let acceptor = Acceptor {
            socket,
            shared: shared.clone(),
            accepting,
            pending: HashMap::new(),
            by_address: HashMap::new(),
            paused: None,
        };
        let thread = spawn("gossip-accept", move || acceptor.run())?;
        Ok(Listener { local_addr: format!("{host}:{bound}"), shared, thread: Mutex::new(Some(thread)) })
    }

    /// Closes the socket and the connections that have not opened a stream, and joins the thread.
    pub fn stop(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.epoll.wake();
        if let Some(thread) = self.thread.lock().take() {
            // The thread does not panic on any input.
            let _ = thread.join();
        }
    }
}

fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    descriptor("listen")?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<SocketAddr> = match bare.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => (bare, port).to_socket_addrs()?.collect(),
    };
    let socket = TcpListener::bind(&addresses[..])?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connection that has not opened a stream.
struct Pending {
    conn: Arc<Conn>,
    address: IpAddr,
    /// The time at which it is given up.
    until: Instant,
    /// Whether it is waited for to open its first stream.
    ready: bool,
    /// Whether it has failed, and waits for the client to have read why.
    failed: bool,
}

/// The thread of a listener.
struct Acceptor {
    socket: TcpListener,
    shared: Arc<Shared>,
    accepting: Accepting,
    pending: HashMap<u64, Pending>,
    by_address: HashMap<IpAddr, usize>,
    /// While accepting is paused: until when.
    paused: Option<Instant>,
}

impl Acceptor {
    fn run(mut self) {
        let mut ready = Vec::new();
        while !self.shared.stopping.load(Ordering::SeqCst) {
            ready.clear();
            let timeout = self.next_timeout();
            if let Err(e) = self.shared.epoll.wait(timeout, &mut ready) {
                log::error!("the accepting thread cannot wait for connections: {e}");
            }
            for event in &ready {
                match event.token {
                    LISTENER => self.accept(),
                    id => self.drive(id, event.write),
                }
            }
            self.check_time();
        }
        let ids: Vec<u64> = self.pending.keys().copied().collect();
        ids.into_iter().for_each(|id| self.discard(id));
    }

    fn next_timeout(&self) -> Option<Duration> {
        let timers = self.pending.values().map(|pending| pending.until).chain(self.paused);
        timers.min().map(|at| at.saturating_duration_since(sync::now()))
    }

    fn accept(&mut self) {
        for _ in 0..ACCEPTED {
            match descriptor("accept").and_then(|()| self.socket.accept()) {
                Ok((stream, address)) => self.begin(stream, address),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) if is_shortage(&e) => {
                    log::error!("cannot accept connections for the moment: {}", explain(&e));
                    self.shared.epoll.remove(self.socket.as_raw_fd());
                    self.paused = Some(sync::now() + PAUSE);
                    return;
                }
                // The client has given up already.
                Err(_) => {}
            }
        }
    }

    fn begin(&mut self, stream: TcpStream, address: SocketAddr) {
        let options = &self.accepting.settings.options;
        let from_address = self.by_address.get(&address.ip()).copied().unwrap_or(0);
        if self.pending.len() >= options.max_pending || from_address >= options.max_pending_per_address {
            let text = "too many connections without a stream";
            return self.accepting.refusals.record(Refusal::TooManyPending, &address.to_string(), text);
        }
        match self.connection(stream, address) {
            Ok(conn) => {
                if !self.accepting.service.register(&conn) {
                    let refusals = &self.accepting.refusals;
                    return refusals.record(Refusal::TooManyConnections, &conn.remote_addr, "too many connections");
                }
                conn.drive_first();
                conn.begin();
                let until = sync::now() + self.accepting.settings.limits.handshake_timeout;
                let (id, descriptor) = (conn.id, conn.socket.raw());
                let added = self.shared.epoll.add(descriptor, Interest { read: true, write: false }, id);
                *self.by_address.entry(address.ip()).or_default() += 1;
                self.pending.insert(id, Pending { conn, address: address.ip(), until, ready: false, failed: false });
                if let Err(e) = added {
                    log::error!("{address}: cannot watch the connection: {e}");
                    self.discard(id);
                }
            }
            Err(e) => log::error!("{address}: cannot accept: {e}"),
        }
    }

    fn connection(&self, stream: TcpStream, address: SocketAddr) -> io::Result<Arc<Conn>> {
        let settings = &self.accepting.settings;
        let (wire, local_cert) = match &self.accepting.contexts {
            None => (Wire::plain(), None),
            Some(contexts) => {
                let prepared = contexts.server().map_err(io::Error::other)?;
                (prepared.wire, prepared.local_cert)
            }
        };
        Ok(Conn::new(NewConn {
            socket: Socket::new(stream, settings.limits.keepalive_timeout)?,
            settings: settings.clone(),
            steward: self.accepting.steward.clone(),
            service: Some(self.accepting.service.clone()),
            remote_addr: SocketAddr::new(address.ip().to_canonical(), address.port()).to_string(),
            endpoint: String::new(),
            name: String::new(),
            local_cert,
            wire,
        }))
    }

    /// Continues a connection. When it opens a stream, the steward takes it over.
    fn drive(&mut self, id: u64, write: bool) {
        let Some(pending) = self.pending.get_mut(&id) else { return };
        let conn = pending.conn.clone();
        if write {
            conn.drive_write();
        }
        if pending.failed {
            match conn.socket.recv(&mut [0; 4096], false) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Ok(1..) => {}
                _ => return self.discard(id),
            }
            let _ = self.shared.epoll.renew(conn.socket.raw(), Interest { read: true, write: false }, id);
            return;
        }
        let effects = conn.drive_pending();
        let (failure, ready) = conn.with(|core| (core.failure.clone(), core.progress() == (true, true)));
        // A client may open a stream and be gone already.
        if let Some(failure) = failure.filter(|_| effects.has_no_request()) {
            self.accepting.refusals.record(Refusal::of(&failure), &conn.remote_addr, &failure);
            if conn.with(|core| core.has_ended()) {
                return self.discard(id);
            }
            pending.failed = true;
            pending.until = sync::now() + LINGER;
            conn.flush();
            conn.socket.shut_down_write();
            let _ = self.shared.epoll.renew(conn.socket.raw(), Interest { read: true, write: false }, id);
            return;
        }
        if ready && !pending.ready {
            pending.ready = true;
            pending.until = sync::now() + self.accepting.settings.limits.max_connection_idle;
        }
        if effects.has_no_request() {
            // An error means that the connection is gone, which its time limit finds.
            let _ = self.shared.epoll.renew(conn.socket.raw(), conn.interest(), id);
            return;
        }
        self.forget(id);
        if let Err(e) = self.accepting.steward.adopt(&conn) {
            log::error!("{}: cannot serve: {e}", conn.remote_addr);
            conn.drive_end();
            return;
        }
        conn.carry_out(effects);
    }

    fn check_time(&mut self) {
        let now = sync::now();
        if self.paused.is_some_and(|until| until <= now) {
            self.paused = None;
            if let Err(e) = self.shared.epoll.add_lasting(self.socket.as_raw_fd(), LISTENER) {
                log::error!("cannot accept connections for the moment: {e}");
                self.paused = Some(now + PAUSE);
            }
        }
        let late: Vec<u64> = self.pending.iter().filter(|(_, p)| p.until <= now).map(|(id, _)| *id).collect();
        for id in late {
            let Some(pending) = self.pending.get(&id) else { continue };
            if pending.failed {
                self.discard(id);
                continue;
            }
            let text = match (pending.ready, pending.conn.with(|core| core.progress()).0) {
                (true, _) => "the client opened no stream in time",
                (false, true) => "the client did not begin HTTP/2 in time",
                (false, false) => "the client did not finish the TLS handshake in time",
            };
            self.accepting.refusals.record(Refusal::Timeout, &pending.conn.remote_addr, text);
            self.discard(id);
        }
    }

    /// Stops driving a connection.
    fn forget(&mut self, id: u64) -> Option<Arc<Conn>> {
        let pending = self.pending.remove(&id)?;
        self.shared.epoll.remove(pending.conn.socket.raw());
        if let Some(count) = self.by_address.get_mut(&pending.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&pending.address);
            }
        }
        Some(pending.conn)
    }

    /// Closes a connection.
    fn discard(&mut self, id: u64) {
        if let Some(conn) = self.forget(id) {
            conn.flush();
            conn.drive_end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn reasons_have_their_place_in_the_list() {
        Refusal::ALL.iter().enumerate().for_each(|(place, refusal)| assert_eq!(*refusal as usize, place));
    }
}
