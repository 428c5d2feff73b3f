//! gRPC, called synchronously: a thin, safe layer over gRPC's C core.
//!
//! The thread that starts an operation waits for it, and polls the socket while it waits, so a message crosses no thread
//! boundary on its way. (If two threads wait on one call, one of them polls for both.) Nothing here knows of gossip.
//!
//! [`Channel`] dials; [`Unary`] and [`Stream`] are calls on it; [`Server`] accepts. [`Tls`] holds the certificates of
//! both directions and can be changed while they run, [`Options`] every setting.
//!
//! # Ends and their bounds
//!
//! Cancelling wakes whoever receives at once. It does not complete a write that waits for a full socket: the C core
//! ends that one only with the connection, which a peer that is frozen keeps open until TCP's user timeout, and that is
//! [`Options::keepalive_timeout`]. No thread waits for it: one that blocks in a write looks every quarter of a second
//! whether the call was cancelled, leaves the operation and its memory to the call, and the last handle hands them to
//! a *reaper* thread, which exists only while there is something to collect.
// All of the C core's raw interface is wrapped in this module; every block states what makes it sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod arrived;
mod call;
mod channel;
mod credentials;
mod headroom;
mod library;
mod listener;
mod options;
mod peer;
mod poller;
mod queue;
mod reaper;
mod resets;
mod server;
mod server_name;
mod slice;
mod status;
mod stream;
mod unary;

pub(crate) use arrived::Arrived;
pub use channel::Channel;
pub use credentials::{ClientAuth, Pem, Tls, TlsConfig};
pub use library::core_version;
#[cfg(feature = "host-server")]
pub(crate) use library::prepare_tls;
pub use options::Options;
pub use peer::Peer;
#[cfg(feature = "host-server")]
pub(crate) use peer::{der, plain};
pub use server::{Handler, Method, Server};
pub use server_name::check_server_name;
pub use status::{code, End, Status};
pub use stream::Stream;
pub use unary::Unary;
