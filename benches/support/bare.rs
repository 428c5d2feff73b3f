//! The bare transport: the streams that the layer stands on, a queue, and a thread each way. No protobuf, no
//! demultiplexer, no subscriber.

use super::crypto::Certificates;
use super::PATIENCE;
use bytes::Bytes;
use crossbeam_channel::{bounded, Receiver, Sender};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::grpc::{GrpcServer, GrpcTransport};
use fabric_gossip::comm::stream::{Acceptor, Status, Stream, StreamEnd, Transport};
use fabric_gossip::rpc::Options;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Messages that wait for the writer.
const QUEUE: usize = 20;

pub struct Bare {
    queue: Option<Sender<Bytes>>,
    replies: Receiver<Bytes>,
    threads: Vec<JoinHandle<()>>,
    /// Used by one thread alone, that sends and receives.
    alone: Arc<dyn Stream>,
    apart: Arc<dyn Stream>,
    far: Arc<Far>,
    arrived: Receiver<Instant>,
    transport: GrpcTransport,
    server: GrpcServer,
}

/// The far end: counts messages, or sends them back.
struct Far {
    /// After how many more messages it tells; 0: it echoes.
    left: AtomicUsize,
    arrived: Sender<Instant>,
}

impl Acceptor for Far {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        while let Ok(received) = stream.recv(None) {
            let Some(message) = received else { continue };
            match self.left.load(Ordering::Relaxed) {
                0 if stream.send(message, false).is_err() => break,
                0 => {}
                left => {
                    if left == 1 {
                        let _ = self.arrived.send(Instant::now());
                    }
                    self.left.store(left - 1, Ordering::Relaxed);
                }
            }
        }
        Status::ok()
    }
}

impl Bare {
    pub fn new(certificates: &Certificates) -> Bare {
        let (arrived, arrivals) = bounded(1);
        let far = Arc::new(Far { left: AtomicUsize::new(0), arrived });
        let options = Options::default();
        let server = GrpcServer::start("127.0.0.1:0", options.clone(), Some(certificates.tls()), far.clone());
        let server = server.expect("a server");
        let transport = GrpcTransport::new(Some(certificates.tls()), options).expect("a transport");
        let (apart, alone) = (open(&transport, &server), open(&transport, &server));
        let (queue, queued) = bounded::<Bytes>(QUEUE);
        let (reply, replies) = bounded(QUEUE);
        let writer = {
            let stream = apart.clone();
            move || {
                while let Ok(message) = queued.recv() {
                    // Nobody else takes from the queue.
                    if stream.send(message, !queued.is_empty()).is_err() {
                        break;
                    }
                }
                let _ = stream.finish(&Status::ok());
            }
        };
        let reader = {
            let stream = apart.clone();
            move || loop {
                match stream.recv(None) {
                    Ok(Some(message)) => drop(reply.send(message)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        };
        let thread = |name: &str| thread::Builder::new().name(name.into());
        let threads = vec![
            thread("bare-write").spawn(writer).expect("a thread"),
            thread("bare-read").spawn(reader).expect("a thread"),
        ];
        Bare { queue: Some(queue), replies, threads, alone, apart, far, arrived: arrivals, transport, server }
    }

    fn send(&self, payload: &[u8]) {
        let message = Bytes::copy_from_slice(payload);
        self.queue.as_ref().and_then(|queue| queue.send(message).ok()).expect("the writer lives");
    }

    /// Sends this many messages as fast as it goes: the time until the last one was received.
    pub fn stream(&self, size: usize, count: usize) -> Duration {
        let payload = vec![7; size];
        self.send(&payload);
        self.replies.recv_timeout(PATIENCE).expect("comes back");
        self.far.left.store(count, Ordering::Relaxed);
        let started = Instant::now();
        (0..count).for_each(|_| self.send(&payload));
        self.arrived.recv_timeout(PATIENCE).expect("all arrive") - started
    }

    /// There and back: the time of each in microseconds.
    pub fn round_trips(&self, size: usize, count: usize) -> Vec<f64> {
        let payload = vec![7; size];
        let round_trip = |_| {
            let started = Instant::now();
            self.send(&payload);
            self.replies.recv_timeout(PATIENCE).expect("comes back");
            started.elapsed().as_secs_f64() * 1e6
        };
        (0..count).map(round_trip).collect()
    }

    /// The same, but the caller itself sends and receives.
    pub fn round_trips_on_one_thread(&self, size: usize, count: usize) -> Vec<f64> {
        let payload = vec![7; size];
        let round_trip = |_| {
            let started = Instant::now();
            echo(&*self.alone, &payload).expect("comes back");
            started.elapsed().as_secs_f64() * 1e6
        };
        (0..count).map(round_trip).collect()
    }

    /// A new connection, and a message each way over it: the time in microseconds.
    pub fn connect(&self) -> f64 {
        let started = Instant::now();
        let stream = open(&self.transport, &self.server);
        echo(&*stream, b"hello").expect("comes back");
        let took = started.elapsed().as_secs_f64() * 1e6;
        stream.cancel();
        took
    }
}

fn open(transport: &GrpcTransport, server: &GrpcServer) -> Arc<dyn Stream> {
    let client = transport.dial(server.local_addr(), PATIENCE, &Cancel::new()).expect("connects");
    client.ping(PATIENCE).expect("answers");
    client.open(None).expect("opens")
}

fn echo(stream: &dyn Stream, payload: &[u8]) -> Result<(), StreamEnd> {
    stream.send(Bytes::copy_from_slice(payload), false)?;
    while stream.recv(Some(PATIENCE))?.is_none() {}
    Ok(())
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.queue = None;
        self.alone.cancel();
        let threads = std::mem::take(&mut self.threads);
        threads.into_iter().for_each(|thread| drop(thread.join()));
        self.apart.cancel();
        self.server.stop(Duration::from_secs(1));
    }
}
