//! TLS over loopback and nothing else: OpenSSL, one thread that writes and one that reads, blocking. No gRPC, no queue, no
//! framing beyond the fixed size of a message; each message is one write.

use crate::support::crypto::Certificates;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslConnector, SslContextBuilder, SslMethod, SslStream, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::X509;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub struct PlainTls {
    near: SslStream<TcpStream>,
    far: SslStream<TcpStream>,
    connector: SslConnector,
    address: SocketAddr,
    /// Accepts the connections of [`connect`](Self::connect); ends with a connection that is not TLS.
    acceptor: Option<JoinHandle<()>>,
}

impl PlainTls {
    pub fn new(certificates: &Certificates) -> PlainTls {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).expect("OpenSSL");
        mutual(&mut connector, certificates);
        let connector = connector.build();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).expect("OpenSSL");
        mutual(&mut acceptor, certificates);
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it listens");
        let first = thread::spawn({
            let (listener, acceptor) = (listener.try_clone().expect("a handle"), acceptor.clone());
            move || accept(&listener, &acceptor).expect("a client")
        });
        let mut near = dial(address, &connector);
        near.read_exact(&mut [0]).expect("a byte");
        let far = first.join().expect("accepts");
        let others = thread::spawn(move || while accept(&listener, &acceptor).is_some() {});
        PlainTls { near, far, connector, address, acceptor: Some(others) }
    }

    /// Sends this many messages as fast as it goes: the time until the last one was received.
    pub fn stream(&mut self, size: usize, count: usize) -> Duration {
        let PlainTls { near, far, .. } = self;
        let started = Instant::now();
        let ended = thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let mut buffer = vec![0; size];
                (0..count).for_each(|_| far.read_exact(&mut buffer).expect("arrives"));
                Instant::now()
            });
            let payload = vec![7; size];
            (0..count).for_each(|_| near.write_all(&payload).expect("sent"));
            reader.join().expect("all arrived")
        });
        ended - started
    }

    /// There and back: the time of each in microseconds.
    pub fn round_trips(&mut self, size: usize, count: usize) -> Vec<f64> {
        let PlainTls { near, far, .. } = self;
        thread::scope(|scope| {
            scope.spawn(move || {
                let mut buffer = vec![0; size];
                for _ in 0..count {
                    far.read_exact(&mut buffer).expect("arrives");
                    far.write_all(&buffer).expect("sent");
                }
            });
            let mut buffer = vec![7; size];
            let round_trip = |_| {
                let started = Instant::now();
                near.write_all(&buffer).expect("sent");
                near.read_exact(&mut buffer).expect("comes back");
                started.elapsed().as_secs_f64() * 1e6
            };
            (0..count).map(round_trip).collect()
        })
    }

    /// A new connection with certificates both ways: the time in microseconds.
    pub fn connect(&self) -> f64 {
        let started = Instant::now();
        let mut stream = dial(self.address, &self.connector);
        // Only now has the other side verified us too.
        stream.read_exact(&mut [0]).expect("a byte");
        started.elapsed().as_secs_f64() * 1e6
    }
}

impl Drop for PlainTls {
    fn drop(&mut self) {
        drop(TcpStream::connect(self.address));
        self.acceptor.take().map(JoinHandle::join);
    }
}

/// The same pair on both sides, and both verify.
fn mutual(context: &mut SslContextBuilder, certificates: &Certificates) {
    let member = &certificates.member;
    let cert = |pem: &str| X509::from_pem(pem.as_bytes()).expect("sound PEM");
    context.set_certificate(&cert(&member.tls_cert)).expect("a certificate");
    context.set_private_key(&PKey::private_key_from_pem(member.tls_key.as_bytes()).expect("sound PEM")).expect("a key");
    let mut roots = X509StoreBuilder::new().expect("OpenSSL");
    roots.add_cert(cert(&member.tls_ca_cert)).expect("a root");
    context.set_cert_store(roots.build());
    context.set_verify(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT);
}

fn dial(address: SocketAddr, connector: &SslConnector) -> SslStream<TcpStream> {
    let stream = TcpStream::connect(address).expect("connects");
    stream.set_nodelay(true).expect("a socket");
    connector.connect("127.0.0.1", stream).expect("TLS")
}

/// `None` if it was not TLS.
fn accept(listener: &TcpListener, acceptor: &SslAcceptor) -> Option<SslStream<TcpStream>> {
    let (stream, _) = listener.accept().ok()?;
    stream.set_nodelay(true).ok()?;
    let mut stream = acceptor.accept(stream).ok()?;
    stream.write_all(&[0]).ok()?;
    Some(stream)
}
