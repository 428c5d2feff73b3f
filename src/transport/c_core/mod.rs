//! gRPC's C core, called synchronously.
//!
//! The thread that starts an operation waits for it, and polls the socket while it waits, so a message crosses no thread
//! boundary on its way. (If two threads wait on one call, one of them polls for both.) Only `gossip.rs` knows of gossip.
//!
//! `Channel` dials; `Unary` and `CallStream` are calls on it; `CoreServer` accepts. [`Options`] has the settings of the
//! core that are not among the [`Limits`](super::Limits).
//!
//! # Ends and their bounds
//!
//! Cancelling wakes whoever receives at once. It does not complete a write that waits for a full socket: the C core
//! ends that one only with the connection, which a peer that is frozen keeps open until TCP's user timeout, and that is
//! [`Limits::keepalive_timeout`](super::Limits::keepalive_timeout). No thread waits for it: one that blocks in a write looks every quarter of a second
//! whether the call was cancelled, leaves the operation and its memory to the call, and the last handle hands them to
//! a *reaper* thread, which exists only while there is something to collect.
// All of the C core's raw interface is wrapped in this module; every block states what makes it sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod call;
mod channel;
mod credentials;
mod gossip;
mod headroom;
mod library;
mod listener;
mod options;
mod peer;
mod poller;
mod queue;
mod rapid_reset;
mod reaper;
mod server;
mod slice;
mod stream;
mod unary;

pub use gossip::CoreTransport;
pub use library::core_version;
#[cfg(feature = "host-server")]
pub(crate) use library::prepare_tls;
#[cfg(feature = "host-server")]
pub(crate) use options::server_arguments;
pub use options::Options;
#[cfg(feature = "host-server")]
pub(super) use peer::{der, plain};
