//! Fabric's gossip communication layer on tonic and tokio: the reference that the thread-based layer of `fabric-gossip`
//! is compared with, written to be as good as that.
//!
//! A [`Comm`] holds mutually authenticated gRPC streams to other peers, one for each. [`Comm::send`] queues a message for
//! a peer, which is dialled if need be; [`Comm::accept`] subscribes to incoming messages; [`Comm::send_with_ack`] waits
//! for acknowledgements. Wire protocol, limits and the meaning of every call are those of `fabric_gossip::Comm`; where
//! they differ, the README says so.
//!
//! Tasks per connection: one that reads it, and those of hyper, which are one that drives the connection and one that
//! drives the stream's body. There is no writer: the peer's queue *is* the body of the request or the response.
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// A message that a queue does not accept is returned by value, as from tokio's channels.
#![allow(clippy::result_large_err)]

pub mod ack;
pub mod bounded;
pub mod comm;
pub mod config;
mod conn_store;
pub mod connection;
pub mod crypto;
pub mod demux;
mod dial;
mod error;
mod handshake;
mod outbound;
mod server;
pub mod testing;
pub mod tls;
#[cfg(feature = "openssl")]
mod tls_openssl;
mod transport;
pub mod wire;

pub use ack::AggregatedSendResult;
pub use comm::{Comm, CommBuilder, Handshake, RemotePeer};
pub use config::{Config, SubscriptionOptions};
pub use connection::{ConnectionInfo, ReceivedMessage};
pub use crypto::{Crypto, PkiId};
pub use demux::Subscription;
pub use error::{Error, ErrorKind, Result};
pub use wire::SignedMessage;
