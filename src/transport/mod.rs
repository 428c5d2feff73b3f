//! Everything below a message's bytes: connections, streams, TLS.
//!
//! The communication layer sees the traits of this module only. A [`Transport`] dials and listens; a [`Connection`] is what
//! a dial makes; a [`Stream`] is one bidirectional gossip stream on it; a [`Server`] hands accepted streams to an
//! [`Acceptor`]. A message is one serialized `gossip.Envelope`.
//!
//! Implementations:
//!
//! | | |
//! |---|---|
//! | `c_core` | gRPC's C core, with the feature `grpc` |
//! | `host` | a service on a host's own grpcio server, with the feature `host-server` |
//! | [`testing::MemoryNetwork`](crate::testing::MemoryNetwork) | a network in memory, with the feature `testing` |
//!
//! A new implementation provides the four traits and passes the suite in `tests/transport`, which runs over each of them.

#[cfg(feature = "grpc")]
pub mod c_core;
#[cfg(feature = "testing")]
pub(crate) mod faults;
#[cfg(feature = "host-server")]
pub mod host;
mod limits;
#[cfg(feature = "testing")]
pub(crate) mod memory;
mod server_name;
#[cfg(feature = "grpc")]
mod serving;
mod status;
#[cfg(feature = "grpc")]
mod tcp_info;
#[cfg_attr(not(feature = "grpc"), allow(dead_code))]
mod tls;

pub use limits::Limits;
pub use server_name::check_server_name;
pub use status::{code, Status, StreamEnd};
pub use tls::{ClientAuth, Pem, Tls, TlsConfig};

use crate::cancel::Cancel;
use crate::error::Result;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The path of Fabric's Ping method.
#[cfg(feature = "grpc")]
const PING: &str = "/gossip.Gossip/Ping";
/// The path of Fabric's stream of gossip messages.
#[cfg(feature = "grpc")]
const GOSSIP_STREAM: &str = "/gossip.Gossip/GossipStream";

/// Creates the transport that is used where none is given.
///
/// # Errors
/// Those of the transport; [`ErrorKind::Config`](crate::ErrorKind::Config) if the library was built without any.
pub(crate) fn default_transport(tls: Option<Tls>, limits: Limits) -> Result<Arc<dyn Transport>> {
    #[cfg(feature = "grpc")]
    {
        Ok(Arc::new(c_core::CoreTransport::new(tls, limits, c_core::Options::default())?))
    }
    #[cfg(not(feature = "grpc"))]
    {
        let _ = (tls, limits);
        let text = "no transport is given, and the library was built without one (feature grpc)";
        Err(crate::error::Error::new(crate::error::ErrorKind::Config, text))
    }
}

/// The way to other peers, and theirs to this one.
pub trait Transport: Send + Sync {
    /// Connects to `host:port`. Blocks for at most `timeout`; `cancel` ends that wait, and later waits of the returned
    /// connection. A connection that is refused is an error immediately.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) with the cause,
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) after `cancel`,
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a malformed endpoint.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>>;

    /// Listens on `host:port` (port 0: a free one), answers Pings, and gives each gossip stream to `acceptor` on a thread of
    /// its own.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a malformed address or missing certificate,
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) if the address cannot be bound,
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if no thread or descriptor can be had.
    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>>;

    /// Returns whether connections are encrypted. Without encryption, connection messages can be replayed.
    fn is_encrypted(&self) -> bool {
        true
    }

    /// Returns when the TLS certificates in use expire, the first of them; `None` if there is none.
    fn certificate_expires(&self) -> Option<SystemTime> {
        None
    }

    /// Returns when a sender's own thread writes, rather than the peer's writer thread.
    fn inline_writes(&self) -> InlineWrites {
        InlineWrites::default()
    }
}

/// When a sender's own thread writes to an idle stream. That saves waking the writer thread, which is good for a
/// conversation and bad for a burst, whose messages the writer sends together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InlineWrites {
    /// Largest message to write inline, in bytes: writing a larger one takes longer than waking the writer. 4 KiB.
    pub max_size: usize,
    /// A message after a pause this long is no part of a burst: shorter than a round trip, longer than a sender takes from
    /// one message to the next. 15 µs.
    pub burst_gap: Duration,
    /// After a pause this long a message is written inline even if the peer has not answered since the last one: longer than
    /// a sender to many peers takes from one message to the next. 20 ms.
    pub silence: Duration,
}

impl Default for InlineWrites {
    fn default() -> Self {
        InlineWrites { max_size: 4 << 10, burst_gap: Duration::from_micros(15), silence: Duration::from_millis(20) }
    }
}

impl InlineWrites {
    /// Returns whether a message of this size is written inline, after this pause, by whether the peer has answered since
    /// the last message.
    pub fn allows(&self, size: usize, pause: Duration, answered: bool) -> bool {
        size <= self.max_size && (pause > self.silence || answered && pause > self.burst_gap)
    }
}

/// A running server. Dropping it stops it, without grace.
pub trait Server: Send + Sync {
    /// Returns the address with the port that was bound, `host:port`.
    fn local_addr(&self) -> &str;

    /// Returns the number of streams that are being served.
    fn serving(&self) -> usize;

    /// Stops: nothing more is accepted, streams may end by themselves for `grace` and are cancelled then. Blocks until every
    /// thread has ended, for at most the grace and a bound that the implementation states. Returns whether all ended in
    /// time; the rest ends later on its own threads. Further calls do nothing.
    fn stop(&self, grace: Duration) -> bool;
}

/// A connection to one endpoint, made by [`Transport::dial`]. Dropping it closes the connection as soon as the streams
/// opened on it are gone too.
pub trait Connection: Send {
    /// Calls Ping, and blocks for at most `timeout` until it is answered.
    fn ping(&self, timeout: Duration) -> Result<()>;

    /// Opens the gossip stream. `limit` bounds its whole life; `None` does not.
    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>>;
}

/// Serves accepted streams.
pub trait Acceptor: Send + Sync {
    /// Serves one accepted stream, on a thread of its own, for as long as it lives. The stream ends with the status that is
    /// returned, if it has not ended yet.
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status;
}

/// The two ends of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// The remote socket address, `ip:port`.
    pub remote_addr: String,
    /// DER of the leaf certificate that the remote side presented in TLS.
    pub remote_cert: Option<Bytes>,
    /// DER of the leaf certificate that this side presented in TLS.
    pub local_cert: Option<Bytes>,
    /// Whether the connection is encrypted with TLS at all.
    pub tls: bool,
}

/// Messages to be written to a stream, one after the other.
///
/// The implementation calls [`next`](Self::next) for each, may do so for the following ones before the first is written, and
/// calls [`written`](Self::written) in the same order. Messages that were not reported as written when
/// [`Stream::send_all`] fails stay with the source.
pub trait Outgoing {
    /// Returns the next message; `None` if there is none now.
    fn next(&mut self) -> Option<Bytes>;

    /// Takes note that the oldest message not yet written has been written, that is, handed to the connection.
    fn written(&mut self);

    /// Returns whether a write that makes no progress is to be given up. Called about every
    /// [`poll_interval`](Self::poll_interval).
    fn expired(&mut self) -> bool;

    /// Returns how often [`expired`](Self::expired) is to be called.
    fn poll_interval(&self) -> Duration;
}

/// One bidirectional gossip stream, dialled or accepted.
///
/// One thread at a time may be on the sending side (`start_send`, `wait_sent`, `try_send`, `send_all`, `finish`) and one on
/// the receiving side (`recv`, `recv_limited`, `recv_batch`); `cancel` and `info` are for any. Dropping the last handle
/// cancels what is still open and releases all.
pub trait Stream: Send + Sync {
    /// Starts to write a message and returns without waiting. [`wait_sent`](Stream::wait_sent) must return `true` before
    /// the next one is started.
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd>;

    /// Waits until the started write is done (`true`), for at most `timeout` (`None`: without limit; zero: not at all).
    /// `false` means that it is still under way. `true` immediately if none was started. An error does not prove that the
    /// message did not arrive: the other side may have read it and then ended the stream.
    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd>;

    /// Writes a message and waits until that is done.
    fn send(&self, message: Bytes) -> Result<(), StreamEnd> {
        self.start_send(message)?;
        self.wait_sent(None).map(drop)
    }

    /// Writes a message without being able to block; `false` if the write is still under way, to be waited for with
    /// [`wait_sent`](Stream::wait_sent). An implementation may look for a few microseconds whether it is done.
    fn try_send(&self, message: Bytes) -> Result<bool, StreamEnd> {
        self.start_send(message)?;
        self.wait_sent(Some(Duration::ZERO))
    }

    /// Writes everything that `outgoing` has, together where that is cheaper, until it has nothing more. Cancels the stream
    /// and returns [`StreamEnd::Local`] if `outgoing` says that a write is to be given up.
    fn send_all(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        while let Some(message) = outgoing.next() {
            self.start_send(message)?;
            self.await_sent(outgoing)?;
            outgoing.written();
        }
        Ok(())
    }

    /// Waits for a started write as [`send_all`](Stream::send_all) does.
    fn await_sent(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        while !self.wait_sent(Some(outgoing.poll_interval()))? {
            if outgoing.expired() {
                self.cancel();
                return Err(StreamEnd::Local);
            }
        }
        Ok(())
    }

    /// Returns the next message, waiting at most `timeout` for it (`None`: without limit). `Ok(None)` means that none came
    /// in time; the call can be repeated and nothing is lost. After an `Err` every further call returns the same.
    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd>;

    /// Returns the next message as [`recv`](Stream::recv) does, if it has at most `max` bytes. Otherwise it returns
    /// [`StreamEnd::TooLarge`]: with the size if all of the message has been received, and then the stream is the caller's to
    /// end; without a size if the message was given up before, and then the stream is cancelled.
    fn recv_limited(&self, timeout: Duration, max: usize) -> Result<Option<Bytes>, StreamEnd> {
        limited(self.recv(Some(timeout))?, max)
    }

    /// Waits without limit for a message, then adds it, and those at hand behind it up to [`MAX_BATCH`] bytes, to `messages`.
    fn recv_batch(&self, messages: &mut Vec<Bytes>) -> Result<(), StreamEnd> {
        let mut bytes = 0;
        let mut next = self.recv(None)?;
        while let Some(message) = next {
            bytes += message.len();
            messages.push(message);
            if bytes >= MAX_BATCH {
                break;
            }
            // The end, if it is that, comes again.
            next = self.recv(Some(Duration::ZERO)).unwrap_or_default();
        }
        Ok(())
    }

    /// Says that nothing more comes from this side, after everything sent before: a dialled stream half-closes and can still
    /// be read to its end; an accepted one ends with `status`.
    fn finish(&self, status: &Status) -> Result<(), StreamEnd>;

    /// Ends the stream immediately, in both directions. Messages under way fail with [`StreamEnd::Local`]. Does not block.
    fn cancel(&self);

    /// Returns what is known of the two ends.
    fn info(&self) -> &StreamInfo;
}

/// Bytes after which [`Stream::recv_batch`] takes no further message: a few times HTTP/2's first window.
pub const MAX_BATCH: usize = 256 << 10;

/// Refuses a message above the limit.
fn limited(message: Option<Bytes>, max: usize) -> Result<Option<Bytes>, StreamEnd> {
    match message {
        Some(message) if message.len() > max => Err(StreamEnd::TooLarge(Some(message.len()))),
        message => Ok(message),
    }
}
