//! Hyperledger Fabric's gossip networking for programs that are not async.
//!
//! A [`Node`] is a peer of the network: it keeps the membership, pulls identities, joins channels and spreads their
//! messages. The [`Comm`] under it, of use by itself, holds mutually authenticated gRPC streams to other peers, sends and
//! receives signed gossip messages over them, waits for acknowledgements, and keeps the identities of those it met. Both
//! speak Fabric's wire protocol and run on OS threads over gRPC's C core, without any async runtime.
//!
//! # Two peers that talk
//!
//! This runs on the [network in memory](testing::MemoryNetwork) that tests use. Over a real network the lines about
//! the network become [`listen`](CommBuilder::listen) and [`tls`](CommBuilder::tls); `examples/two_peers.rs` does that.
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
//! // peer1 acknowledges every block that it gets.
//! let blocks = peer1.accept(|m| matches!(m.message().content(), Some(Content::DataMsg(_))));
//! let receiver = std::thread::spawn(move || blocks.iter().map(|m| m.ack(None)).filter(Result::is_ok).count());
//!
//! let block = message::data(0, "mychannel", 1, "the block");
//! let result = peer0.send_with_ack(block, Duration::from_secs(5), 1, &[RemotePeer::new("peer1:7051")]);
//! assert_eq!(result.ack_count(), 1);
//!
//! // Stopping ends subscriptions, and with them the loop above.
//! peer1.stop();
//! assert_eq!(receiver.join().unwrap(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! | Module | What |
//! |---|---|
//! | [`comm`] | [`Comm`]: dial, send, acknowledge, receive, stop;  |
//! | [`message`] | [`SignedMessage`]: sign, verify, tags, comparison, text form, and constructors of common messages |
//! | [`crypto`] | [`PkiId`], [`PeerIdentity`], and the two services that a host can replace |
//! | [`msp`] | the usual crypto service: X.509 organisations, judged as Fabric judges them |
//! | [`node`] | [`Node`], and the [`NodeCore`](node::NodeCore) in it: membership, identity pull, channels and forwarding, without threads |
//! | [`discovery`] | [`Discovery`](discovery::Discovery): the membership as a state machine without threads |
//! | [`identity`] | [`IdentityMapper`]: which identity and organisation is behind a PKI-ID, until it expires |
//! | [`config`] | [`CommConfig`] and the bounds of subscriptions, with Fabric's defaults |
//! | [`error`] | [`Error`]: what went wrong, with whom, at which step |
//! | [`metrics`] | counters, under Fabric's names where Fabric has them |
//! | [`transport`] | connections and streams below a message's bytes: the traits, TLS, limits, gRPC's C core |
//! | [`pubsub`] | topics with a deadline |
//! | [`msgstore`] | messages that supersede one another, and that expire |
//! | [`clock`], [`random`], [`cancel`] | time that tests can move, random numbers that they can repeat, and the signal that ends waiting |
//! | [`proto`] | the generated protobuf types; not covered by semantic versioning |
//! | `testing` | test organisations, a clock moved by hand, a network in memory, a simulator of whole networks |
//!
//! # Threads and blocking
//!
//! A peer that something is sent to has a writer thread, which also dials; each stream has a reader thread; each `Comm`
//! with a server of its own has one that accepts, and each identity mapper one that forgets. A node has one more that
//! decides and two that sign and verify. None is started per message or per subscription. A few more belong to the C
//! core. All of them are joined by [`Comm::stop`] or [`Node::stop`], within the bound that is stated there.
//!
//! [`Comm::send`], [`ReceivedMessage::respond`] and [`ReceivedMessage::ack`] never block: what has no room comes back as
//! an error. What blocks has a limit in its arguments or in [`CommConfig`]: [`Comm::send_timeout`],
//! [`Comm::send_with_ack`], [`Comm::flush`], [`Comm::connect`], [`Comm::probe`], [`Comm::handshake`],
//! [`Node::wait_for_members`], [`Node::send_by_criteria`]. [`Subscription::recv`] waits until the
//! publisher stops. Predicates given to [`Comm::accept`] run on reader threads and must not block.
//!
//! # Side effects
//!
//! None on the environment, on signal handlers, on the working directory or on the global logger: what there is to say
//! goes to the [`log`] facade. The C core reads its own variables from the environment (`GRPC_POLL_STRATEGY` and others)
//! at the first call into it; whoever wants to set them does so before, and the README says which to choose.
//!
//! # Features
//!
//! - `grpc` (default): the real network. It brings in `grpcio-sys`, whose C++ sources take minutes to compile. Without it
//!   everything but [`rpc`](#what-is-where) and the gRPC transport builds, and runs over the network in memory.
//! - `host-server`: the gossip service on a server that the host builds with `grpcio` (`comm::host`). It brings in `grpcio`
//!   and the futures crates; no runtime.
//! - `testing`: the module `testing`.
//!
//! The command-line tool, the C interface and the Python module are packages of their own beside this one.
#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod cancel;
pub mod clock;
pub mod comm;
pub mod config;
pub mod crypto;
pub mod discovery;
pub mod error;
pub mod identity;
mod journal;
pub mod message;
pub mod metrics;
pub mod msgstore;
pub mod msp;
pub mod node;
pub mod proto;
pub mod pubsub;
pub mod random;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
pub mod transport;
#[doc(hidden)]
pub mod yaml;

/// Items that the C interface uses beside the public API. No part of it, and not covered by semantic versioning.
#[doc(hidden)]
pub mod internals {
    pub use crate::comm::threads::LibraryThread;
    pub use crate::msp::OwnKey;
    pub use crate::sync::spawn;
}

pub use comm::{AggregatedSendResult, Comm, CommBuilder, Event, ReceivedMessage, RemotePeer, SendResult, Subscription};
pub use config::CommConfig;
pub use crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
pub use error::{Error, ErrorKind, Result};
pub use identity::IdentityMapper;
pub use message::SignedMessage;
pub use node::{Node, NodeBuilder};

/// Compiles and runs the README's examples.
#[cfg(all(doctest, feature = "grpc", feature = "testing"))]
#[doc = include_str!("../README.md")]
pub struct Readme;
