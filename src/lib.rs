//! Hyperledger Fabric's gossip networking for synchronous programs.
//!
//! A [`Node`] is a peer of the network: it maintains the membership, pulls identities, joins channels and disseminates
//! their messages. The [`Comm`] below it can also be used alone. It holds mutually authenticated gRPC streams to other
//! peers, sends and receives signed gossip messages over them, waits for acknowledgements, and stores the identities of
//! the peers it has met. Both speak Fabric's wire protocol and run on OS threads, without an async runtime. The
//! [transport](transport#choosing-a-transport) below them is gRPC's C core, or HTTP/2 over nghttp2.
//!
//! # Example: two peers
//!
//! This example runs on the [in-memory network](testing::MemoryNetwork) that tests use. On a real network,
//! [`listen`](CommBuilder::listen) and [`tls`](CommBuilder::tls) replace the lines about the network; see
//! `examples/two_peers.rs`.
//!
//! ```
//! use fabric_gossip::clock::SystemClock;
//! use fabric_gossip::message::{self, Content};
//! use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
//! use fabric_gossip::testing::{cryptogen::Org, MemoryNetwork};
//! use fabric_gossip::{Comm, RemotePeer, Result};
//! use std::path::Path;
//! use std::sync::Arc;
//! use std::time::{Duration, SystemTime};
//!
//! fn peer(msp_folder: &Path, network: &MemoryNetwork, endpoint: &str) -> Result<Comm> {
//!     let msp = Arc::new(Msp::load(msp_folder, "Org1MSP")?);
//!     let signer = SigningIdentity::load(&msp, msp_folder, SystemTime::now())?;
//!     let identity = signer.serialize();
//!     let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
//!     let comm = Comm::builder(identity, crypto.clone(), crypto).transport(network.transport(None)).start()?;
//!     network.listen(endpoint, None, comm.acceptor());
//!     Ok(comm)
//! }
//!
//! # fn main() -> Result<()> {
//! let network = MemoryNetwork::new(Arc::new(SystemClock));
//! let org = Org::new("Org1MSP", "org1.example.com")?;
//! # let folder = std::env::temp_dir().join(format!("fabric-gossip-doc-{}", std::process::id()));
//! org.peer("peer0")?.write_msp(folder.join("peer0"))?;
//! org.peer("peer1")?.write_msp(folder.join("peer1"))?;
//! let peer0 = peer(&folder.join("peer0"), &network, "peer0:7051")?;
//! let peer1 = peer(&folder.join("peer1"), &network, "peer1:7051")?;
//! # std::fs::remove_dir_all(&folder).unwrap();
//!
//! // peer1 acknowledges every block that it receives.
//! let blocks = peer1.subscribe(|m| matches!(m.message().content(), Some(Content::DataMsg(_))));
//! let receiver = std::thread::spawn(move || blocks.iter().map(|m| m.ack(None)).filter(Result::is_ok).count());
//!
//! let block = message::data(0, "mychannel", 1, "the block");
//! let result = peer0.send_with_ack(block, Duration::from_secs(5), 1, &[RemotePeer::new("peer1:7051")]);
//! assert_eq!(result.ack_count(), 1);
//!
//! // Stopping ends all subscriptions, and with them the loop above.
//! peer1.stop();
//! assert_eq!(receiver.join().unwrap(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Each type in a few lines
//!
//! These functions compile with the default features. An identity, from the MSP folders that `cryptogen` and
//! `fabric-ca-client` create ([`msp`]):
//!
//! ```
//! use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
//! use fabric_gossip::{PeerIdentity, Result};
//! use std::{sync::Arc, time::SystemTime};
//!
//! fn identity() -> Result<(PeerIdentity, Arc<MspCryptoService>)> {
//!     let msp = Arc::new(Msp::load("peer0/msp", "Org1MSP")?);
//!     let signer = SigningIdentity::load(&msp, "peer0/msp", SystemTime::now())?;
//!     let identity = signer.serialize();
//!     let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
//!     crypto.trust(Arc::new(Msp::load("org2/msp", "Org2MSP")?)); // accepts peers of another organisation, too
//!     Ok((identity, crypto))
//! }
//! ```
//!
//! TLS in both directions, for clients of one authority ([`transport::Tls`]); the module [`transport`] has an example of
//! the choice of a transport:
//!
//! ```
//! use fabric_gossip::transport::{ClientAuth, Pem, Tls, TlsConfig};
//!
//! fn tls() -> fabric_gossip::Result<Tls> {
//!     let roots = Pem::file("tls/ca.crt")?;
//!     let config = TlsConfig::new(Pem::file("tls/server.crt")?, Pem::file("tls/server.key")?, roots.clone());
//!     Tls::new(config.client_auth(ClientAuth::Verify(roots)))
//! }
//! ```
//!
//! A [`Comm`] with both, which sends a block and waits for the acknowledgement of one peer:
//!
//! ```
//! use fabric_gossip::{message, msp::MspCryptoService, transport::Tls, Comm, PeerIdentity, RemotePeer, Result};
//! use std::{sync::Arc, time::Duration};
//!
//! fn send(identity: PeerIdentity, crypto: Arc<MspCryptoService>, tls: Tls) -> Result<()> {
//!     let comm = Comm::builder(identity, crypto.clone(), crypto).listen("0.0.0.0:7051").tls(tls).start()?;
//!     let block = message::data(0, "mychannel", 1, "the block");
//!     let result = comm.send_with_ack(block, Duration::from_secs(3), 1, &[RemotePeer::new("peer1:7051")]);
//!     println!("{result}");
//!     comm.stop();
//!     Ok(())
//! }
//! ```
//!
//! A [`Subscription`] to the [messages](SignedMessage) that a predicate selects:
//!
//! ```
//! use fabric_gossip::{message::Content, Comm, Result};
//!
//! fn receive(comm: &Comm) -> Result<()> {
//!     for received in comm.subscribe(|m| matches!(m.message().content(), Some(Content::DataMsg(_)))).iter() {
//!         println!("{} sent {}", received.connection_info().endpoint, received.message());
//!         received.ack(None)?;
//!     }
//!     Ok(()) // the comm is stopped
//! }
//! ```
//!
//! A [`Node`], which adds membership and channels to a [`Comm`], and its [`metrics`]:
//!
//! ```
//! use fabric_gossip::{msp::MspCryptoService, transport::Tls, Node, PeerIdentity, Result};
//! use std::{sync::Arc, time::Duration};
//!
//! fn join(identity: PeerIdentity, crypto: Arc<MspCryptoService>, tls: Tls) -> Result<Node> {
//!     let node = Node::builder(identity, crypto.clone(), crypto)
//!         .comm(|comm| comm.listen("0.0.0.0:7051").tls(tls))
//!         .endpoint("peer0.org1.example.com:7051")
//!         .bootstrap(["peer1.org1.example.com:7051"])
//!         .start()?;
//!     node.wait_for_members(1, Duration::from_secs(20))?;
//!     print!("{}{}", node.comm().metrics().to_prometheus(), node.metrics().to_prometheus());
//!     Ok(node)
//! }
//! ```
//!
//! An [`Error`], whose [kind](ErrorKind) a program branches on; its text names the peer, the step and the reason:
//!
//! ```
//! use fabric_gossip::{Comm, ErrorKind, RemotePeer, Result};
//! use std::time::Duration;
//!
//! fn is_reachable(comm: &Comm, peer: &RemotePeer) -> Result<bool> {
//!     match comm.connect(peer, Duration::from_secs(5)) {
//!         Ok(_) => Ok(true),
//!         Err(e) if matches!(e.kind(), ErrorKind::Unreachable | ErrorKind::Timeout) => Ok(false), // later, perhaps
//!         Err(e) => Err(e),
//!     }
//! }
//! ```
//!
//! # Modules
//!
//! | Module | Content |
//! |---|---|
//! | [`comm`] | [`Comm`]: dial, send, acknowledge, receive, stop |
//! | [`message`] | [`SignedMessage`]: sign, verify, tags, comparison, text form, and constructors for common messages |
//! | [`crypto`] | [`PkiId`], [`PeerIdentity`], and the two services that a host can replace |
//! | [`msp`] | the usual crypto service: X.509 organisations, validated by Fabric's rules |
//! | [`node`] | [`Node`]: membership, identity pull, channels and forwarding |
//! | [`identity`] | [`IdentityMapper`]: maps a PKI-ID to its identity and organisation until the identity expires |
//! | [`config`] | [`CommConfig`] and the bounds of subscriptions, with Fabric's defaults |
//! | [`error`] | [`Error`]: the kind of failure, the peer, the step and the reason |
//! | [`metrics`] | counters, under Fabric's names where Fabric has them |
//! | [`transport`] | connections and streams below a message's bytes: the traits, TLS, limits, and the two transports: gRPC's C core and HTTP/2 |
//! | [`clock`], [`cancel`] | time that tests can control, and cancellation |
//! | [`proto`] | the generated protobuf types; not covered by semantic versioning |
//! | `testing` | test organisations, a manual clock, an in-memory network, a simulator of whole networks |
//!
//! # Threads and blocking
//!
//! Each peer with a message queue has a writer thread, which also dials. Each stream has a reader thread. Each `Comm`
//! with its own server has an accepting thread, and each identity mapper has a thread that removes expired identities.
//! A node has one more thread for decisions and two for signing and verification. No thread is started per message or
//! per subscription. The C core runs a few threads as well. [`Comm::stop`] and [`Node::stop`] join all of them within
//! the bound stated there.
//!
//! [`Comm::send`], [`ReceivedMessage::respond`] and [`ReceivedMessage::ack`] never block: a message that does not fit
//! is returned as an error. Every blocking call takes a limit as an argument or from [`CommConfig`]:
//! [`Comm::send_timeout`], [`Comm::send_with_ack`], [`Comm::flush`], [`Comm::connect`], [`Comm::probe`],
//! [`Comm::handshake`], [`Node::wait_for_members`], [`Node::send_by_criteria`]. [`Subscription::recv`] blocks until the
//! publisher stops. Predicates passed to [`Comm::subscribe`] run on reader threads and must not block.
//!
//! # Side effects
//!
//! The library does not change the environment, signal handlers, the working directory or the global logger. It logs
//! through the [`log`] facade. The C core reads its own environment variables (`GRPC_POLL_STRATEGY` and others) at the
//! first call into it, so set them before that call; the README recommends values.
//!
//! # Types of other crates
//!
//! Signatures contain `bytes::Bytes` (1.x), the `Receiver` of `crossbeam_channel` (0.5, in [`clock::Clock`]) and the
//! generated messages of [`proto`], which use `protobuf` (3.x). A change to another major version of `bytes` or
//! `crossbeam_channel` is a breaking change of this crate; the messages are exempt from semantic versioning.
//!
//! # Features
//!
//! - `c-core` (default): the transport over gRPC's C core. It depends on `grpcio-sys`, whose C++ sources need CMake and
//!   take minutes to compile.
//! - `http2` (default): the transport over nghttp2 and OpenSSL. It depends on `libnghttp2-sys`, whose C sources take
//!   seconds to compile.
//!
//!   With both, the default transport is the C core. With neither, everything except the real network builds and runs
//!   over the in-memory network.
//! - `host-server`: the gossip service on a server that the host builds with `grpcio` (`transport::host`). It depends on
//!   `grpcio` and the futures crates, but on no runtime.
//! - `testing`: the module `testing`.
//!
//! The command-line tool, the C interface and the Python module are separate packages.
#![deny(unsafe_code)]
#![warn(missing_docs, missing_debug_implementations)]

pub mod cancel;
pub mod clock;
pub mod comm;
pub mod config;
pub mod crypto;
mod discovery;
pub mod error;
pub mod identity;
mod journal;
pub mod message;
pub mod metrics;
pub mod msp;
pub mod node;
pub mod proto;
mod random;
mod spin;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
mod yaml;

/// Items for the other packages of this repository and for its tests. Not part of the public API, and not covered by
/// semantic versioning.
#[doc(hidden)]
pub mod internals {
    pub use crate::comm::conn_message::{ConnMessage, MAX_CONN_MESSAGE};
    pub use crate::comm::threads::LibraryThread;
    pub use crate::comm::{ByteSize, Demux};
    pub use crate::msp::OwnKey;
    pub use crate::sync::spawn;

    pub mod discovery {
        pub use crate::discovery::*;
    }

    pub mod message {
        pub use crate::message::channel::{state_info, state_info_pull_request, state_info_snapshot};
        pub use crate::message::compare::{compare, InvalidationResult};
        pub use crate::message::envelope::verify;
        pub use crate::message::new::{ack, conn, data, empty};
        pub use crate::message::pki::{channel_mac, pki_id_text};
        pub use crate::message::pull::{data_digest, data_request, data_update, hello, peer_identity};
    }

    pub mod node {
        pub use crate::node::core::{Context, Criteria, NodeCore};
        pub use crate::node::emitter::Emitter;
        pub use crate::node::filter::select_peers;
        pub use crate::node::identities::Identities;
        pub mod identities {
            pub use crate::node::identities::{verify, verify_identity_message};
        }
        pub use crate::node::peers::{AlivePeer, AlivePeers};
        pub use crate::node::pull::{PullEngine, PullSend, PullStep};
    }

    pub mod random {
        pub use crate::random::*;
    }

    pub mod yaml {
        pub use crate::yaml::*;
    }
}

pub use comm::{AggregatedSendResult, Comm, CommBuilder, Event, ReceivedMessage, RemotePeer, SendResult, Subscription};
pub use config::CommConfig;
pub use crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
pub use error::{Error, ErrorKind, Result};
pub use identity::IdentityMapper;
pub use message::SignedMessage;
pub use node::{Node, NodeBuilder};

/// Compiles and runs the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
