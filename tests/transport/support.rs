//! Shared code of the tests of all transports: acceptors, certificates, a proxy that can freeze.

use crate::certs::{Authority, Leaf};
use bytes::Bytes;
use crossbeam_channel::{unbounded, Receiver, Sender};
use fabric_gossip::transport::{Acceptor, Pem, Status, Stream, StreamEnd, Tls, TlsConfig};
use parking_lot::Mutex;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub const SOON: Duration = Duration::from_secs(10);

pub type Dyn = Arc<dyn Stream>;

/// Gives each accepted stream to a closure.
pub struct Serve<F>(pub F);

impl<F: Fn(Dyn) -> Status + Send + Sync> Acceptor for Serve<F> {
    fn gossip_stream(&self, stream: Dyn) -> Status {
        (self.0)(stream)
    }
}

pub fn serve(f: impl Fn(Dyn) -> Status + Send + Sync + 'static) -> Arc<dyn Acceptor> {
    Arc::new(Serve(f))
}

/// Sends received messages back.
pub fn echo() -> Arc<dyn Acceptor> {
    serve(|stream| {
        while let Ok(Some(message)) = stream.recv(None) {
            if stream.send(message).is_err() {
                break;
            }
        }
        Status::ok()
    })
}

/// How many messages a stream brought, and how it ended.
pub type Ends = Receiver<(usize, StreamEnd)>;

/// Reports each stream and how its reading ended, with the messages received.
pub fn report() -> (Arc<dyn Acceptor>, Receiver<Dyn>, Ends) {
    let (streams, accepted): (Sender<Dyn>, _) = unbounded();
    let (ends, ended) = unbounded();
    let acceptor = serve(move |stream| {
        let _ = streams.send(stream.clone());
        let mut count = 0;
        loop {
            match stream.recv(None) {
                Ok(Some(_)) => count += 1,
                Ok(None) => unreachable!("no timeout was given"),
                Err(end) => {
                    let _ = ends.send((count, end));
                    return Status::ok();
                }
            }
        }
    });
    (acceptor, accepted, ended)
}

pub fn config(leaf: &Leaf, roots: &Authority) -> TlsConfig {
    TlsConfig::new(
        Pem::new("cert", leaf.cert.clone()),
        Pem::new("key", leaf.key.clone()),
        Pem::new("roots", roots.pem()),
    )
}

pub fn tls(leaf: &Leaf, roots: &Authority) -> Tls {
    Tls::new(config(leaf, roots)).unwrap()
}

/// Receives one message, which must come.
pub fn next(stream: &Dyn) -> Bytes {
    stream.recv(Some(SOON)).expect("a message, not the end").expect("a message in time")
}

/// The end of a stream, which must come.
pub fn end_of(stream: &Dyn) -> StreamEnd {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        if let Err(end) = stream.recv(Some(SOON)) {
            return end;
        }
    }
    panic!("the stream did not end");
}

/// How many threads of this process have a name that begins with `prefix`.
pub fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|t| std::fs::read_to_string(t.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with(prefix)).count()
}

/// Waits until it holds.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until, "did not come true: {what}");
        std::thread::yield_now();
    }
}

/// A TCP proxy that can stop reading and writing, with both connections open.
pub struct Proxy {
    pub endpoint: String,
    frozen: Arc<AtomicBool>,
    pub connections: Arc<AtomicUsize>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub fn to(target: &str) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let (frozen, connections) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (target, flag, count) = (target.to_owned(), frozen.clone(), connections.clone());
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let all = sockets.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, server) = (client.unwrap(), TcpStream::connect(&target).unwrap());
                count.fetch_add(1, Ordering::SeqCst);
                all.lock().extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let flag = flag.clone();
                    std::thread::spawn(move || pump(from, to, &flag));
                }
            }
        });
        Proxy { endpoint, frozen, connections, sockets }
    }

    /// Closes all connections.
    pub fn cut(&self) {
        self.sockets.lock().iter().for_each(|socket| drop(socket.shutdown(Shutdown::Both)));
    }

    pub fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, frozen: &AtomicBool) {
    let mut buffer = [0; 16384];
    loop {
        while frozen.load(Ordering::SeqCst) {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        match from.read(&mut buffer) {
            Ok(n) if n > 0 && !frozen.load(Ordering::SeqCst) => {
                if to.write_all(&buffer[..n]).is_err() {
                    break;
                }
            }
            Ok(n) if n > 0 => {}
            _ => break,
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
