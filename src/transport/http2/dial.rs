//! The dialling side: from a name to a connection whose server has answered.

use super::connection::{time_after, Awaits, Conn, NewConn};
use super::context::Contexts;
use super::grpc;
use super::options::Settings;
use super::resolve::resolve;
use super::session::Session;
use super::socket::{explain, Connecting, Socket, TcpStream};
use super::steward::Steward;
use super::stream::Http2Stream;
use super::wire::Wire;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::{self, Mutex};
use crate::transport::{code, Connection, Status, Stream, GOSSIP_STREAM, PING};
use bytes::Bytes;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval at which waiting for a TCP connection looks at whether it was cancelled.
const LOOK: Duration = Duration::from_millis(10);

/// Longest time for which a dial waits.
const DAY: Duration = Duration::from_secs(86_400);

/// The parameters of a dial.
pub(super) struct Dialling<'a> {
    pub settings: &'a Arc<Settings>,
    pub contexts: Option<&'a Contexts>,
    pub steward: &'a Arc<Steward>,
    pub endpoint: &'a str,
    pub timeout: Duration,
    pub cancel: &'a Cancel,
}

impl Dialling<'_> {
    /// Connects, and waits for the server's SETTINGS: then it has accepted this side's certificate, too.
    pub fn dial(&self) -> Result<Http2Connection> {
        let (host, port) = parse(self.endpoint)?;
        let until = time_after(self.timeout).unwrap_or_else(|| sync::now() + DAY);
        let addresses = resolve(host, port, until, self.cancel)?;
        let stream = self.connect(&addresses, until)?;
        let io = |e: std::io::Error| unreachable(format!("cannot set the socket up: {}", explain(&e)));
        let remote_addr = stream.peer_addr().map_err(io)?.to_string();
        let (wire, local_cert, name) = match self.contexts {
            None => (Wire::plain(), None, String::new()),
            Some(contexts) => {
                let internal = |e| Error::new(ErrorKind::Internal, format!("OpenSSL: {e}"));
                let prepared = contexts.client(host).map_err(internal)?;
                (prepared.wire, prepared.local_cert, prepared.name)
            }
        };
        let conn = Conn::new(NewConn {
            socket: Socket::new(stream, self.settings.limits.keepalive_timeout).map_err(io)?,
            settings: self.settings.clone(),
            steward: self.steward.clone(),
            service: None,
            remote_addr,
            endpoint: self.endpoint.to_owned(),
            name,
            local_cert,
            wire,
        });
        self.steward.adopt(&conn)?;
        // Closes the connection on failure.
        let connection =
            Http2Connection { conn, first_ping: Mutex::new(None), timeout: self.timeout, cancel: self.cancel.clone() };
        connection.conn.begin();
        self.await_settings(&connection.conn, until)?;
        *connection.first_ping.lock() = connection.conn.with(|core| core.first_ping.take());
        Ok(connection)
    }

    fn connect(&self, addresses: &[SocketAddr], until: Instant) -> Result<TcpStream> {
        let mut last = unreachable("the name has no address");
        for (i, &address) in addresses.iter().enumerate() {
            // Each address gets its share of the time that is left.
            let left = until.saturating_duration_since(sync::now()) / (addresses.len() - i) as u32;
            match self.connect_to(address, sync::now() + left) {
                Err(e) if e.kind() == ErrorKind::Unreachable => last = e,
                connected => return connected,
            }
        }
        Err(last)
    }

    fn connect_to(&self, address: SocketAddr, until: Instant) -> Result<TcpStream> {
        let failed =
            |e: std::io::Error| unreachable(format!("cannot connect to {address}: {}", explain(&e))).with_source(e);
        let connecting = Connecting::start(address).map_err(failed)?;
        loop {
            if self.cancel.is_cancelled() {
                return Err(stopped());
            }
            let left = until.saturating_duration_since(sync::now());
            if left.is_zero() {
                return Err(self.too_late(&format!("{address} does not answer")));
            }
            if connecting.wait(left.min(LOOK)).map_err(failed)? {
                return Ok(connecting.into_stream());
            }
        }
    }

    fn await_settings(&self, conn: &Arc<Conn>, until: Instant) -> Result<()> {
        let _hook = notify_on_cancel(conn, self.cancel);
        let answered = conn.wait(Some(until), Awaits::Arrival(None), |core| {
            if self.cancel.is_cancelled() {
                return Some(Err(stopped()));
            }
            if let (_, true) = core.progress() {
                return Some(Ok(()));
            }
            core.is_over().then(|| Err(unreachable(core.lost_status().message)))
        });
        answered.unwrap_or_else(|| {
            let (secure, _) = conn.with(|core| core.progress());
            Err(self.too_late(match secure {
                true => "the TCP connection was made, but no SETTINGS frame of HTTP/2 came",
                false => "the TCP connection was made, but the TLS handshake got no answer",
            }))
        })
    }

    fn too_late(&self, how_far: &str) -> Error {
        unreachable(format!("no connection within {:?}: {how_far}", self.timeout))
    }
}

fn unreachable(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unreachable, text)
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorKind::Stopped, "cancelled")
}

fn notify_on_cancel(conn: &Arc<Conn>, cancel: &Cancel) -> crate::cancel::HookGuard {
    let conn = conn.clone();
    cancel.on_cancel(move || conn.notify())
}

/// Splits an endpoint into host and port.
fn parse(endpoint: &str) -> Result<(&str, u16)> {
    let malformed = |why: &str| {
        Err(Error::new(ErrorKind::Config, format!("malformed endpoint {endpoint:?}: {why}; expected host:port")))
    };
    let Some((host, digits)) = endpoint.rsplit_once(':') else {
        return malformed("no port");
    };
    let port = match digits.parse::<u16>() {
        Ok(port) if port > 0 && port.to_string() == digits => port,
        _ => return malformed("the port is not a number from 1 to 65535"),
    };
    if let Some(address) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok((host, port)),
            Err(_) => malformed("what stands in brackets is not an IPv6 address"),
        };
    }
    if host.is_empty() || !host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        return malformed("the host is not a name or an address (IPv6 in brackets)");
    }
    Ok((host, port))
}

/// A dialled connection.
pub(super) struct Http2Connection {
    conn: Arc<Conn>,
    /// The Ping that was sent with the dial, until it is collected.
    first_ping: Mutex<Option<i32>>,
    timeout: Duration,
    cancel: Cancel,
}

impl Http2Connection {
    /// Waits for the answer to a unary call.
    fn await_answer(&self, id: i32, timeout: Duration) -> Result<()> {
        let _hook = notify_on_cancel(&self.conn, &self.cancel);
        let answered = self.conn.wait(time_after(timeout), Awaits::Arrival(None), |core| {
            if self.cancel.is_cancelled() {
                return Some(Err(stopped()));
            }
            if let Some(status) = core.session().and_then(|session| unary_status(session, id)) {
                return Some(Ok(status));
            }
            core.is_over().then(|| Ok(core.lost_status()))
        });
        self.conn.with(|core| {
            if let Some(session) = core.session_mut() {
                if session.flow(id).is_some_and(|flow| flow.closed.is_none() && !flow.half_closed) {
                    session.reset(id, grpc::reset::CANCEL);
                }
                session.forget(id);
            }
        });
        self.conn.flush();
        let endpoint = &self.conn.endpoint;
        let status = match answered {
            None => {
                let text = format!("no answer within {timeout:?}");
                return Err(Error::new(ErrorKind::Timeout, text).with_peer(endpoint));
            }
            Some(status) => status.map_err(|e| e.with_peer(endpoint))?,
        };
        match status.code {
            code::OK => Ok(()),
            code::UNAVAILABLE => Err(unreachable(status.message).with_peer(endpoint)),
            _ => Err(Error::new(ErrorKind::Refused, status.message).with_peer(endpoint)),
        }
    }

    fn request(&self, path: &str, limit: Option<Duration>) -> Result<i32> {
        let conn = &self.conn;
        conn.with(|core| {
            if core.is_over() {
                return Err(unreachable(core.refusal()));
            }
            let fields = grpc::request(conn.tls, &conn.endpoint, path, limit);
            let id = core.session_mut().and_then(|session| session.request(&fields).ok());
            id.ok_or_else(|| unreachable(core.refusal()))
        })
        .map_err(|e| e.with_peer(&conn.endpoint))
    }
}

/// Returns the status of a unary call that has ended.
fn unary_status(session: &Session, id: i32) -> Option<Status> {
    let Some(flow) = session.flow(id) else { return Some(Status::new(code::UNAVAILABLE, "the call was lost")) };
    match (&flow.last, flow.half_closed, flow.closed) {
        (Some(last), ..) => Some(grpc::read_status(flow.head.as_deref(), last)),
        (None, true, _) => Some(Status::new(code::INTERNAL, "the server ended the call without trailers")),
        (None, false, Some(reset)) => {
            Some(Status::new(grpc::code_of_reset(reset), format!("the server reset the call: error {reset}")))
        }
        (None, false, None) => None,
    }
}

impl Connection for Http2Connection {
    fn ping(&self, timeout: Duration) -> Result<()> {
        let first = self.first_ping.lock().take();
        let ping = || {
            let id = match first {
                Some(id) => id,
                None => {
                    let id = self.request(PING, Some(timeout))?;
                    self.conn.with(|core| {
                        if let Some(session) = core.session_mut() {
                            session.queue(id, Bytes::new());
                            session.end(id, super::flow::End::HalfClose);
                        }
                    });
                    self.conn.flush();
                    id
                }
            };
            self.await_answer(id, timeout)
        };
        ping().map_err(|e: Error| e.with_step("ping"))
    }

    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        self.open_path(GOSSIP_STREAM, limit)
    }
}

impl Http2Connection {
    /// Opens a stream of the method with this path.
    pub fn open_path(&self, path: &str, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
        let conn = &self.conn;
        let id = self.request(path, limit).map_err(|e| e.with_step("open stream"))?;
        let remote_cert = conn.with(|core| {
            core.users += 1;
            core.remote_cert.clone()
        });
        let deadline = limit.and_then(time_after);
        // Cancels the stream on failure.
        let stream = Arc::new(Http2Stream::new(conn.clone(), id, remote_cert, deadline));
        if let Some(at) = deadline {
            conn.set_deadline(id, at);
        }
        conn.flush();
        let _hook = notify_on_cancel(conn, &self.cancel);
        let opened = conn.wait(time_after(self.timeout), Awaits::Arrival(None), |core| {
            if self.cancel.is_cancelled() {
                return Some(Err(stopped()));
            }
            let open = core.session().and_then(|session| session.flow(id)).map(|flow| (flow.opened, flow.closed));
            match open {
                Some((true, _)) => Some(Ok(())),
                Some((false, None)) if !core.is_over() => None,
                _ => Some(Err(unreachable(core.refusal()))),
            }
        });
        let opened = opened.unwrap_or_else(|| {
            let text = format!("the server's limit of streams did not allow another within {:?}", self.timeout);
            Err(Error::new(ErrorKind::Timeout, text))
        });
        opened.map_err(|e| e.with_peer(&conn.endpoint).with_step("open stream"))?;
        Ok(stream)
    }
}

impl Drop for Http2Connection {
    fn drop(&mut self) {
        if let Some(id) = self.first_ping.lock().take() {
            self.conn.with(|core| {
                // The answer is ignored when it comes.
                if let Some(session) = core.session_mut() {
                    session.forget(id);
                }
            });
        }
        self.conn.release();
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn endpoints_are_checked() {
        for good in ["localhost:7051", "10.0.0.1:1", "[::1]:65535", "peer0.org1.example.com:7051", "a_b-c:80"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in
            ["", ":", "h", "h:", ":7051", "h:0", "h:65536", "h:+1", "h:01", "::1:7051", "[x]:1", "h\0:1", "a b:1"]
        {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
