//! The forms over transports that use sockets, with mutual TLS on loopback.

use super::http2::{serve_silently, Http2};
use super::{Form, Link, Security, Served, World};
use fabric_gossip::comm::{Comm, CommBuilder};
use fabric_gossip::message::SignedMessage;
use fabric_gossip::node::{Node, NodeBuilder};
use fabric_gossip::testing::cryptogen::{Member, Org};
#[cfg(feature = "c-core")]
use fabric_gossip::transport::c_core;
#[cfg(feature = "http2")]
use fabric_gossip::transport::http2;
use fabric_gossip::transport::{Acceptor, Limits, Pem, Tls, TlsConfig, Transport};
use parking_lot::Mutex;
use std::any::Any;
use std::io::{Read, Write};
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

/// One organisation issues all TLS certificates of the tests: peers are identified by the gossip handshake only.
static ORG: LazyLock<Org> = LazyLock::new(|| Org::new("TestMSP", "test.example.com").unwrap());

const ANY_PORT: &str = "127.0.0.1:0";

/// A transport that uses sockets.
pub trait Kind: Sync + 'static {
    fn transport(tls: Option<Tls>) -> Arc<dyn Transport>;
}

/// gRPC's C core.
#[cfg(feature = "c-core")]
pub struct CoreKind;

#[cfg(feature = "c-core")]
impl Kind for CoreKind {
    fn transport(tls: Option<Tls>) -> Arc<dyn Transport> {
        Arc::new(c_core::CoreTransport::new(tls, Limits::default(), c_core::Options::default()).unwrap())
    }
}

/// nghttp2 and OpenSSL.
#[cfg(feature = "http2")]
pub struct Http2Kind;

#[cfg(feature = "http2")]
impl Kind for Http2Kind {
    fn transport(tls: Option<Tls>) -> Arc<dyn Transport> {
        Arc::new(http2::Http2Transport::new(tls, Limits::default(), http2::Options::default()).unwrap())
    }
}

/// Peers over gRPC's C core.
#[cfg(feature = "c-core")]
pub type Grpc = Sockets<CoreKind>;

/// Peers over nghttp2 and OpenSSL.
#[cfg(feature = "http2")]
pub type Nghttp2 = Sockets<Http2Kind>;

/// Peers that listen on free ports of the loopback interface.
pub struct Sockets<K> {
    world: World,
    kind: PhantomData<fn() -> K>,
}

/// A member of the organisation with this name, or one like it.
pub fn member(name: &str) -> Member {
    // Names of peers in tests may be anything; those of certificates may not.
    ORG.peer(&name.replace(|c: char| !c.is_ascii_alphanumeric(), "-")).unwrap()
}

/// The certificates of one peer.
pub fn tls(name: &str) -> Tls {
    tls_of(name, member(name))
}

pub fn tls_of(name: &str, member: Member) -> Tls {
    let pem = |what: &str, text: String| Pem::new(format!("{what} of {name}"), text);
    let (cert, key) = (pem("certificate", member.tls_cert), pem("key", member.tls_key));
    Tls::new(TlsConfig::new(cert, key, pem("roots", member.tls_ca_cert))).unwrap()
}

fn tls_if(name: &str, security: Security) -> Option<Tls> {
    (security == Security::Mutual).then(|| tls(name))
}

impl<K: Kind> Form for Sockets<K> {
    fn new() -> Self {
        Sockets { world: World::default(), kind: PhantomData }
    }

    fn world(&self) -> &World {
        &self.world
    }

    fn start(&self, name: &str, security: Security, builder: CommBuilder) -> (Comm, String) {
        let builder = builder.listen(ANY_PORT).transport(K::transport(tls_if(name, security)));
        let comm = builder.start().unwrap();
        let endpoint = comm.local_addr().unwrap().to_owned();
        (comm, endpoint)
    }

    fn start_node(&self, name: &str, at: Option<&str>, builder: NodeBuilder) -> (Node, String) {
        let transport = K::transport(Some(tls(name)));
        let node = builder.comm(|comm| comm.listen(at.unwrap_or(ANY_PORT)).transport(transport)).start().unwrap();
        let endpoint = node.comm().local_addr().unwrap().to_owned();
        (node, endpoint)
    }

    fn leave(&self, _: &str) {}

    fn transport(&self, name: &str, security: Security) -> Arc<dyn Transport> {
        K::transport(tls_if(name, security))
    }

    fn intrude(&self, endpoint: &str, message: &SignedMessage) -> Box<dyn Any> {
        let mut connection = Http2::connect(endpoint, None).unwrap();
        let stream = connection.open().unwrap();
        connection.message(stream, &message.wire()).unwrap();
        Box::new(connection)
    }

    fn serve(&self, name: &str, security: Security, acceptor: Arc<dyn Acceptor>) -> Served {
        let server = self.transport(name, security).listen(ANY_PORT, acceptor).unwrap();
        Served::new(server.local_addr().to_owned()).keeping(server)
    }

    fn serve_without_ping(&self) -> Served {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        serve_silently(listener, &member("mute"));
        Served::new(endpoint)
    }

    fn mute(&self) -> Served {
        // The system completes connections that have not been accepted yet.
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        Served::new(listener.local_addr().unwrap().to_string()).keeping(listener)
    }

    fn refused(&self) -> Served {
        // A port that is taken, by a connection, and not listened on.
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let endpoint = connection.local_addr().unwrap().to_string();
        Served::new(endpoint).keeping(connection).keeping(listener)
    }

    fn link(&self, to: &str) -> Link {
        let proxy = Arc::new(Proxy::start(to.parse().unwrap()));
        let (cut, close) = (proxy.clone(), proxy.clone());
        Link {
            endpoint: proxy.address.to_string(),
            cut: Box::new(move || cut.cut()),
            close: Box::new(move || close.close()),
        }
    }
}

/// Passes bytes on between two sockets, for as long as it is let.
struct Proxy {
    address: SocketAddr,
    closed: Arc<AtomicBool>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind(ANY_PORT).unwrap();
        let address = listener.local_addr().unwrap();
        let (closed, sockets) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let proxy = Proxy { address, closed: closed.clone(), sockets: sockets.clone() };
        thread::spawn(move || {
            for inbound in listener.incoming().map_while(Result::ok) {
                if closed.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(outbound) = TcpStream::connect(to) else { continue };
                let mut kept = sockets.lock();
                for (from, to) in [(&inbound, &outbound), (&outbound, &inbound)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    kept.push(from.try_clone().unwrap());
                    thread::spawn(move || pass_on(from, to));
                }
            }
        });
        proxy
    }

    fn cut(&self) {
        for socket in self.sockets.lock().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn close(&self) {
        if !self.closed.swap(true, Ordering::SeqCst) {
            // Wakes the accepting thread, so that it releases the port.
            let _ = TcpStream::connect(self.address);
        }
        self.cut();
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}
