//! Measures the HTTP/2 transport alone, with mutual TLS on loopback: messages per second, round trips, connections.
//!
//! `cargo bench --no-default-features --features http2 --bench http2`. Without `--bench` it runs a moment only, as a test.

use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::http2::{Http2Transport, Options};
use fabric_gossip::transport::{Acceptor, Limits, Outgoing, Pem, Server, Status, Stream, Tls, TlsConfig, Transport};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{mpsc, Arc};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);

/// Counts messages and reports the last one, or sends them back.
struct Far {
    /// Number of messages after which to report; 0: echo.
    left: AtomicUsize,
    done: mpsc::SyncSender<Instant>,
}

impl Acceptor for Far {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        let mut messages = Vec::new();
        while stream.recv_batch(&mut messages).is_ok() {
            for message in messages.drain(..) {
                match self.left.load(Ordering::Relaxed) {
                    0 => drop(stream.send(message)),
                    left => {
                        self.left.store(left - 1, Ordering::Relaxed);
                        if left == 1 {
                            let _ = self.done.send(Instant::now());
                        }
                    }
                }
            }
        }
        Status::ok()
    }
}

/// A number of equal messages.
struct Messages {
    message: Bytes,
    left: usize,
}

impl Outgoing for Messages {
    fn next(&mut self) -> Option<Bytes> {
        self.left = self.left.checked_sub(1)?;
        Some(self.message.clone())
    }

    fn written(&mut self) {}

    fn expired(&mut self) -> bool {
        false
    }

    fn poll_interval(&self) -> Duration {
        PATIENCE
    }
}

struct Bench {
    transport: Http2Transport,
    server: Box<dyn Server>,
    far: Arc<Far>,
    done: mpsc::Receiver<Instant>,
}

impl Bench {
    fn open(&self) -> Arc<dyn Stream> {
        let connection = self.transport.dial(self.server.local_addr(), PATIENCE, &Cancel::new()).expect("connects");
        connection.ping(PATIENCE).expect("answers");
        connection.open(None).expect("opens")
    }

    fn throughput(&self, size: usize, count: usize) {
        let stream = self.open();
        let reader = {
            let stream = stream.clone();
            std::thread::spawn(move || while let Ok(Some(_)) = stream.recv(None) {})
        };
        self.far.left.store(count, Ordering::Relaxed);
        let (started, used) = (Instant::now(), processor_time());
        stream.send_all(&mut Messages { message: vec![7; size].into(), left: count }).expect("sent");
        let took = (self.done.recv_timeout(PATIENCE).expect("all arrive") - started).as_secs_f64();
        let used = (processor_time() - used).as_secs_f64() * 1e6 / count as f64;
        let rate = count as f64 / took;
        println!(
            "{size:>8} B: {rate:>10.0} messages/s {:>7.1} MB/s, {used:.2} µs of processor",
            rate * size as f64 / 1e6
        );
        stream.cancel();
        reader.join().expect("no panic");
    }

    fn round_trips(&self, count: usize, pause: Duration) {
        let stream = self.open();
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                std::thread::sleep(pause);
                let started = Instant::now();
                stream.send(Bytes::from_static(&[7; 100])).expect("sent");
                while stream.recv(Some(PATIENCE)).expect("comes back").is_none() {}
                started.elapsed()
            })
            .collect();
        times.sort();
        let (p50, p99) = (times[count / 2], times[count * 99 / 100]);
        println!("round trip of 100 B, pause {pause:?}: p50 {p50:.1?}, p99 {p99:.1?}");
    }

    fn connections(&self, count: usize) {
        let mut times: Vec<Duration> = (0..count)
            .map(|_| {
                let started = Instant::now();
                let stream = self.open();
                let took = started.elapsed();
                stream.cancel();
                took
            })
            .collect();
        times.sort();
        println!("connection with TLS and Ping: p50 {:.2?}, p99 {:.2?}", times[count / 2], times[count * 99 / 100]);
    }
}

/// User and system time of this process.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

fn main() {
    let scale = if std::env::args().any(|argument| argument == "--bench") { 1 } else { 100 };
    let org = Org::new("BenchMSP", "bench.example.com").expect("an organisation");
    let member = org.peer("peer0").expect("a peer");
    let pem = |text: String| Pem::new("bench", text);
    let config = TlsConfig::new(pem(member.tls_cert), pem(member.tls_key), pem(member.tls_ca_cert));
    let tls = Tls::new(config).expect("certificates");
    let mut options = Options::default();
    if let Some(spin) = std::env::var("SPIN").ok().and_then(|text| text.parse().ok()) {
        options.spin = Duration::from_micros(spin);
    }
    let transport = Http2Transport::new(Some(tls), Limits::default(), options).expect("a transport");
    let (done, reports) = mpsc::sync_channel(1);
    let far = Arc::new(Far { left: AtomicUsize::new(0), done });
    let server = transport.listen("127.0.0.1:0", far.clone()).expect("a server");
    let bench = Bench { transport, server, far, done: reports };
    for (size, count) in [(100, 2_000_000), (1024, 500_000), (64 << 10, 20_000), (1 << 20, 1_500)] {
        bench.throughput(size, count / scale);
    }
    for pause in [Duration::ZERO, Duration::from_millis(15), Duration::from_millis(30)] {
        bench.round_trips(if pause.is_zero() { 20_000 / scale } else { 200 / scale.min(20) }, pause);
    }
    bench.connections(300 / scale);
}
