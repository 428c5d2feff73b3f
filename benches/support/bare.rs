//! The bare transport: the streams that the layer stands on, a queue, and a thread each way. No protobuf, no
//! demultiplexer, no subscriber.

use super::crypto::Certificates;
use super::{Kind, PATIENCE};
use bytes::Bytes;
use crossbeam_channel::{bounded, Receiver, Sender};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::{Acceptor, Outgoing, Server, Status, Stream, StreamEnd, Transport};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Messages that wait for the writer: as many as in the layer's own queue.
const QUEUE: usize = 200;

pub struct Bare {
    stream: Arc<dyn Stream>,
    /// If the two sides are apart.
    threads: Option<Threads>,
    far: Arc<Far>,
    arrived: Receiver<Instant>,
    transport: Arc<dyn Transport>,
    server: Box<dyn Server>,
}

/// The threads of the dialling end: one writes queued messages, one reads.
struct Threads {
    queue: Sender<Bytes>,
    replies: Receiver<Bytes>,
    running: [JoinHandle<()>; 2],
}

/// The far end: counts messages, or sends them back.
struct Far {
    /// Number of further messages before it reports; 0: it echoes.
    left: AtomicUsize,
    arrived: Sender<Instant>,
}

impl Acceptor for Far {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        let mut batch = Vec::new();
        while stream.recv_batch(&mut batch).is_ok() {
            for message in batch.drain(..) {
                match self.left.load(Ordering::Relaxed) {
                    0 if stream.send(message).is_err() => return Status::ok(),
                    0 => {}
                    left => {
                        if left == 1 {
                            let _ = self.arrived.send(Instant::now());
                        }
                        self.left.store(left - 1, Ordering::Relaxed);
                    }
                }
            }
        }
        Status::ok()
    }
}

impl Bare {
    /// The caller itself sends and receives.
    pub fn alone(certificates: &Certificates, kind: Kind) -> Bare {
        let (arrived, arrivals) = bounded(1);
        let far = Arc::new(Far { left: AtomicUsize::new(0), arrived });
        let transport = kind.transport(certificates.tls());
        let server = transport.listen("127.0.0.1:0", far.clone()).expect("a server");
        let stream = open(&*transport, &*server);
        Bare { stream, threads: None, far, arrived: arrivals, transport, server }
    }

    /// The caller hands to a thread that writes, and is handed to by one that reads.
    pub fn apart(certificates: &Certificates, kind: Kind) -> Bare {
        let bare = Bare::alone(certificates, kind);
        let threads = Some(Threads::start(&bare.stream));
        Bare { threads, ..bare }
    }

    fn send(&self, payload: &[u8]) {
        let message = Bytes::copy_from_slice(payload);
        match &self.threads {
            Some(threads) => threads.queue.send(message).expect("the writer lives"),
            None => self.stream.send(message).expect("sent"),
        }
    }

    fn recv(&self) {
        match &self.threads {
            Some(threads) => drop(threads.replies.recv_timeout(PATIENCE).expect("comes back")),
            None => receive(&*self.stream).expect("comes back"),
        }
    }

    /// Sends this many messages as fast as it goes: the time until the last one was received.
    pub fn stream(&self, size: usize, count: usize) -> Duration {
        let payload = vec![7; size];
        self.send(&payload);
        self.recv();
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
            self.recv();
            started.elapsed().as_secs_f64() * 1e6
        };
        (0..count).map(round_trip).collect()
    }

    /// Dials, with TLS, and has a Ping answered: the time in microseconds.
    pub fn dial(&self) -> f64 {
        let started = Instant::now();
        let client = self.transport.dial(self.server.local_addr(), PATIENCE, &Cancel::new()).expect("connects");
        client.ping(PATIENCE).expect("answers");
        started.elapsed().as_secs_f64() * 1e6
    }

    /// A new connection, and a message each way over it: the time in microseconds.
    pub fn connect(&self) -> f64 {
        let started = Instant::now();
        let stream = open(&*self.transport, &*self.server);
        stream.send(Bytes::from_static(b"hello")).expect("sent");
        receive(&*stream).expect("comes back");
        let took = started.elapsed().as_secs_f64() * 1e6;
        stream.cancel();
        took
    }
}

fn open(transport: &dyn Transport, server: &dyn Server) -> Arc<dyn Stream> {
    let client = transport.dial(server.local_addr(), PATIENCE, &Cancel::new()).expect("connects");
    client.ping(PATIENCE).expect("answers");
    client.open(None).expect("opens")
}

fn receive(stream: &dyn Stream) -> Result<(), StreamEnd> {
    while stream.recv(Some(PATIENCE))?.is_none() {}
    Ok(())
}

/// A message, and those that are queued behind it.
struct Queued<'a> {
    first: Option<Bytes>,
    queue: &'a Receiver<Bytes>,
}

impl Outgoing for Queued<'_> {
    fn next(&mut self) -> Option<Bytes> {
        self.first.take().or_else(|| self.queue.try_recv().ok())
    }

    fn written(&mut self) {}

    fn expired(&mut self) -> bool {
        false
    }

    fn poll_interval(&self) -> Duration {
        PATIENCE
    }
}

impl Threads {
    fn start(stream: &Arc<dyn Stream>) -> Threads {
        let (queue, queued) = bounded::<Bytes>(QUEUE);
        let (reply, replies) = bounded(QUEUE);
        let writer = {
            let stream = stream.clone();
            move || {
                while let Ok(message) = queued.recv() {
                    if stream.send_all(&mut Queued { first: Some(message), queue: &queued }).is_err() {
                        break;
                    }
                }
                let _ = stream.finish(&Status::ok());
            }
        };
        let reader = {
            let stream = stream.clone();
            move || loop {
                match stream.recv(None) {
                    Ok(Some(message)) => drop(reply.send(message)),
                    Ok(None) => {}
                    Err(_) => break,
                }
            }
        };
        let thread = |name: &str| thread::Builder::new().name(name.into());
        let running = [
            thread("bare-write").spawn(writer).expect("a thread"),
            thread("bare-read").spawn(reader).expect("a thread"),
        ];
        Threads { queue, replies, running }
    }
}

impl Bare {
    /// Ends the connection.
    pub fn end(mut self) {
        if let Some(Threads { queue, running, .. }) = self.threads.take() {
            drop(queue);
            running.into_iter().for_each(|thread| thread.join().expect("no panic"));
        }
        self.stream.cancel();
        self.server.stop(Duration::from_secs(1));
    }
}
