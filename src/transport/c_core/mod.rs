//! gRPC's C core, called synchronously.
//!
//! The thread that starts an operation also waits for it and polls the socket meanwhile, so a message crosses no thread
//! boundary. (If two threads wait on one call, one of them polls for both.) Only `gossip.rs` is specific to gossip.
//!
//! `Channel` dials; `Unary` and `CallStream` are calls on it; `CoreServer` accepts. [`Options`] holds the core's
//! settings that are not among the [`Limits`](super::Limits).
//!
//! # Cancellation and its time bounds
//!
//! Cancelling wakes receivers immediately. It does not complete a write that waits for a full socket: the C core ends
//! such a write only with the connection, which a frozen peer keeps open until TCP's user timeout, that is,
//! [`Limits::keepalive_timeout`](super::Limits::keepalive_timeout). No thread waits that long. A thread that blocks in
//! a write checks every 250 ms whether the call was cancelled, and leaves the operation and its memory to the call. The
//! last handle passes them to a *reaper* thread, which exists only while there is something to release.
// This module wraps all of the C core's raw interface; every block states why it is sound.
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
