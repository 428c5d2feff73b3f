//! The pages for Prometheus and for health checks, by HTTP or HTTPS: a few threads, each with one client at a time, and
//! small limits for time and bytes.

use crate::failure::{Failure, Result};
use crate::health::Health;
use crate::metrics_options::{Certified, PageTls};
use crate::stop::spawn;
use fabric_gossip::cancel::Cancel;
use openssl::ssl::Ssl;
use parking_lot::{Mutex, RwLock};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Number of clients that are served at the same time. Further ones wait in the backlog of the socket.
const CLIENTS: usize = 4;

/// Limits of a client: the time for everything from TLS to the end of the answer, and the size of its request in bytes.
const LIMIT: Duration = Duration::from_secs(4);
const LONGEST_REQUEST: usize = 8 << 10;

/// The content of the pages.
pub struct Pages {
    pub metrics: Box<dyn Fn() -> String + Send + Sync>,
    pub health: Box<dyn Fn() -> Health + Send + Sync>,
}

/// Returns the metrics of this program, which is starting, in Prometheus' text format.
pub fn about(transport: &str) -> String {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    format!(
        "# HELP fabric_gossip_build_info The value 1, with the version of the program and its transport.\n\
         # TYPE fabric_gossip_build_info gauge\n\
         fabric_gossip_build_info{{transport=\"{transport}\",version=\"{}\"}} 1\n\
         # HELP process_start_time_seconds Time at which the program started, since the epoch.\n\
         # TYPE process_start_time_seconds gauge\n\
         process_start_time_seconds {started:.3}\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// The pages, served until this is dropped.
pub struct MetricsPage {
    server: Arc<Server>,
    address: String,
    threads: Vec<JoinHandle<()>>,
}

struct Server {
    listener: TcpListener,
    /// Of the next accepted client; `None` for HTTP.
    tls: RwLock<Option<PageTls>>,
    pages: Pages,
    stop: Cancel,
    /// The client of each thread.
    clients: Mutex<[Option<TcpStream>; CLIENTS]>,
}

impl MetricsPage {
    /// Listens, and serves the metrics at `/metrics` and the health at `/healthz`. `failed` creates the error for an
    /// address that cannot be listened on.
    pub fn serve(
        address: &str,
        tls: Option<PageTls>,
        pages: Pages,
        failed: impl Fn(&str) -> Failure,
    ) -> Result<MetricsPage> {
        let failed = |e: io::Error| failed(&e.to_string());
        let listener = TcpListener::bind(address).map_err(failed)?;
        let local = listener.local_addr().map_err(failed)?;
        if tls.is_none() && !local.ip().is_loopback() {
            log::warn!(
                "{local} serves metrics to other machines without TLS: give --metrics-tls-cert, or use loopback"
            );
        }
        let (tls, stop, clients) = (RwLock::new(tls), Cancel::new(), Mutex::default());
        let server = Arc::new(Server { listener, tls, pages, stop, clients });
        let mut page = MetricsPage { server, address: local.to_string(), threads: Vec::new() };
        for number in 0..CLIENTS {
            let server = page.server.clone();
            page.threads.push(spawn(&format!("metrics-{number}"), move || server.run(number))?);
        }
        Ok(page)
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// Returns the URL of the metrics.
    pub fn url(&self) -> String {
        let scheme = if self.server.tls.read().is_some() { "https" } else { "http" };
        format!("{scheme}://{}/metrics", self.address)
    }

    /// Replaces the TLS files, from the next client on.
    pub fn set_tls(&self, tls: Option<PageTls>) {
        *self.server.tls.write() = tls;
    }
}

impl Drop for MetricsPage {
    fn drop(&mut self) {
        self.server.stop();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Server {
    fn run(&self, number: usize) {
        while !self.stop.is_cancelled() {
            if let Err(e) = self.next_client(number) {
                // For example out of descriptors: that is temporary, but does not pass immediately.
                log::debug!("metrics: {e}");
                let _ = self.stop.signal().recv_timeout(Duration::from_millis(10));
            }
        }
    }

    /// Waits for a client and serves it.
    fn next_client(&self, number: usize) -> io::Result<()> {
        let (client, from) = self.listener.accept()?;
        self.clients.lock()[number] = Some(client.try_clone()?);
        // `stop` ends the clients that are in the list by then.
        if !self.stop.is_cancelled() {
            if let Err(e) = self.answer(client) {
                log::debug!("metrics: {from}: {e}");
            }
        }
        self.clients.lock()[number] = None;
        Ok(())
    }

    fn answer(&self, client: TcpStream) -> io::Result<()> {
        let mut client = Timed { stream: client, until: Instant::now() + LIMIT };
        let tls = self.tls.read().clone();
        let Some(tls) = tls else {
            self.converse(&mut client, true)?;
            return client.stream.shutdown(Shutdown::Write);
        };
        let ssl = Ssl::new(&tls.context)?;
        let mut secured = ssl.accept(client).map_err(|e| io::Error::other(format!("TLS: {e}")))?;
        let certified = tls.certified == Certified::None || secured.ssl().peer_certificate().is_some();
        self.converse(&mut secured, certified)?;
        secured.shutdown().map(drop).map_err(io::Error::other)
    }

    /// Reads a request and answers it. `certified` states whether the client may see the metrics.
    fn converse(&self, client: &mut (impl Read + Write), certified: bool) -> io::Result<()> {
        let request = read_head(client)?;
        let mut words = request.split(|b| b.is_ascii_whitespace());
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let text = |status: &'static str, body: &str| (status, "text/plain; charset=utf-8", body.to_owned());
        let (status, kind, body) = match (method, path) {
            (b"GET" | b"HEAD", b"/metrics" | b"/") if !certified => {
                text("401 Unauthorized", "the metrics require a client certificate\n")
            }
            (b"GET" | b"HEAD", b"/metrics" | b"/") => {
                ("200 OK", "text/plain; version=0.0.4; charset=utf-8", (self.pages.metrics)())
            }
            (b"GET" | b"HEAD", b"/healthz") => {
                let health = (self.pages.health)();
                let status = if health.is_ok() { "200 OK" } else { "503 Service Unavailable" };
                (status, "application/json", health.json())
            }
            (b"GET" | b"HEAD", _) => text("404 Not Found", "the pages are /metrics and /healthz\n"),
            _ => text("405 Method Not Allowed", "only GET\n"),
        };
        let length = body.len();
        let mut answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        if method != b"HEAD" {
            answer += &body;
        }
        client.write_all(answer.as_bytes())?;
        client.flush()
    }

    /// Ends the listener and all clients: their threads then see that this has stopped.
    fn stop(&self) {
        self.stop.cancel();
        // On Linux this ends waiting in `accept`.
        if let Ok(listener) = self.listener.try_clone() {
            let _ = TcpStream::from(OwnedFd::from(listener)).shutdown(Shutdown::Both);
        }
        for client in self.clients.lock().iter().flatten() {
            let _ = client.shutdown(Shutdown::Both);
        }
    }
}

/// Reads the request up to the empty line.
fn read_head(client: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() > LONGEST_REQUEST {
            return Err(io::Error::new(ErrorKind::InvalidData, "the request is too long"));
        }
        match client.read(&mut piece)? {
            0 => break,
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    Ok(head)
}

/// A client whose reads and writes all end by a time.
#[derive(Debug)]
struct Timed {
    stream: TcpStream,
    until: Instant,
}

impl Timed {
    fn left(&self) -> io::Result<Option<Duration>> {
        match self.until.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::Error::new(ErrorKind::TimedOut, "the client is too slow")),
            left => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(self.left()?)?;
        self.stream.read(buffer)
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(self.left()?)?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
