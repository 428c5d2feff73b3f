//! The HTTP pages for Prometheus and for health checks: one client at a time, with small limits for time and bytes.

use crate::failure::{Failure, Result};
use crate::stop::spawn;
use fabric_gossip::cancel::Cancel;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limits of a client: the time, and the size of its request in bytes.
const LIMIT: Duration = Duration::from_secs(2);
const LONGEST_REQUEST: usize = 8 << 10;

/// The page, served until this is dropped.
pub struct MetricsPage {
    stop: Cancel,
    /// The listening address; connecting to it wakes the thread.
    address: String,
    thread: Option<JoinHandle<()>>,
}

impl MetricsPage {
    /// Serves the result of `page` at `http://address/metrics`, and `ok` at `/healthz`.
    pub fn serve(address: &str, page: impl Fn() -> String + Send + 'static) -> Result<MetricsPage> {
        let failed = |e: std::io::Error| Failure::usage(format!("--metrics {address}: cannot listen: {e}"));
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let stop = Cancel::new();
        let stopping = stop.clone();
        let thread = spawn("metrics", move || {
            for client in listener.incoming() {
                if stopping.is_cancelled() {
                    return;
                }
                match client.and_then(|client| answer(client, &page)) {
                    Ok(()) => {}
                    // For example out of descriptors: that is temporary, but does not pass immediately.
                    Err(e) => {
                        log::debug!("metrics: {e}");
                        let _ = stopping.signal().recv_timeout(Duration::from_millis(10));
                    }
                }
            }
        })?;
        Ok(MetricsPage { stop, address, thread: Some(thread) })
    }

    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for MetricsPage {
    fn drop(&mut self) {
        self.stop.cancel();
        let woken = TcpStream::connect(&self.address).is_ok();
        if let Some(thread) = self.thread.take().filter(|_| woken) {
            let _ = thread.join();
        }
    }
}

fn answer(mut client: TcpStream, page: &impl Fn() -> String) -> std::io::Result<()> {
    client.set_write_timeout(Some(LIMIT))?;
    let request = read_head(&mut client)?;
    let mut words = request.split(|b| b.is_ascii_whitespace());
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (status, body) = match (method, path) {
        (b"GET" | b"HEAD", b"/metrics" | b"/") => ("200 OK", page()),
        (b"GET" | b"HEAD", b"/healthz") => ("200 OK", "ok\n".to_owned()),
        (b"GET" | b"HEAD", _) => ("404 Not Found", "the pages are /metrics and /healthz\n".to_owned()),
        _ => ("405 Method Not Allowed", "only GET\n".to_owned()),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    );
    client.write_all(head.as_bytes())?;
    if method != b"HEAD" {
        client.write_all(body.as_bytes())?;
    }
    client.shutdown(Shutdown::Write)
}

/// Reads the request up to the empty line.
fn read_head(client: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let until = Instant::now() + LIMIT;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || head.len() > LONGEST_REQUEST {
            return Err(std::io::Error::new(ErrorKind::InvalidData, "the request is too slow or too long"));
        }
        client.set_read_timeout(Some(left))?;
        match client.read(&mut piece)? {
            0 => break,
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    Ok(head)
}
