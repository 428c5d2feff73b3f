//! The layer below a message's bytes: connections, streams, TLS.
//!
//! The communication layer uses only the traits of this module. A [`Transport`] dials and listens. A [`Connection`] is
//! the result of a dial. A [`Stream`] is one bidirectional gossip stream on a connection. A [`Server`] hands accepted
//! streams to an [`Acceptor`]. A message is one serialized `gossip.Envelope`.
//!
//! Implementations:
//!
//! | | |
//! |---|---|
//! | `c_core` | gRPC's C core, with the feature `c-core` |
//! | `http2` | nghttp2 and OpenSSL on blocking sockets, with the feature `http2` |
//! | `host` | a service on a host's own grpcio server, with the feature `host-server` |
//! | [`testing::MemoryNetwork`](crate::testing::MemoryNetwork) | an in-memory network, with the feature `testing` |
//!
//! # Choosing a transport
//!
//! [`CommBuilder::tls`](crate::CommBuilder::tls) and [`CommBuilder::limits`](crate::CommBuilder::limits) configure the
//! default transport: `c_core` if the feature `c-core` is enabled, otherwise `http2`. To use another one, or to set its
//! options, create it and pass it to [`CommBuilder::transport`](crate::CommBuilder::transport):
//!
//! ```
//! # use fabric_gossip::{transport::{Limits, Tls}, CommBuilder, Result};
//! # #[cfg(feature = "http2")]
//! use fabric_gossip::transport::http2::{Http2Transport, Options};
//! # use std::sync::Arc;
//!
//! # #[cfg(feature = "http2")]
//! fn over_http2(builder: CommBuilder, tls: Tls) -> Result<CommBuilder> {
//!     let transport = Http2Transport::new(Some(tls), Limits::default(), Options::default())?;
//!     Ok(builder.transport(Arc::new(transport)))
//! }
//! ```
//!
//! Both transports speak the same protocol: the two ends of a connection can use different ones.
//!
//! # Implementing a transport
//!
//! A new implementation provides the four traits and passes the suite in `tests/transport`, which runs over every
//! implementation.

#[cfg(feature = "c-core")]
pub mod c_core;
#[cfg(feature = "testing")]
pub(crate) mod faults;
#[cfg(feature = "host-server")]
pub mod host;
#[cfg(feature = "http2")]
pub mod http2;
mod limits;
#[cfg(any(feature = "c-core", feature = "http2"))]
mod listen_address;
#[cfg(feature = "testing")]
pub(crate) mod memory;
mod server_name;
#[cfg(any(feature = "c-core", feature = "http2"))]
mod serving;
mod status;
#[cfg(feature = "c-core")]
mod tcp_info;
#[cfg_attr(not(any(feature = "c-core", feature = "http2")), allow(dead_code))]
mod tls;

pub use limits::Limits;
pub use server_name::check_server_name;
#[doc(hidden)]
pub use status::{code, Status, StreamEnd};
pub use tls::{ClientAuth, Pem, Tls, TlsConfig};

use crate::cancel::Cancel;
use crate::error::Result;
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The path of Fabric's Ping method.
#[cfg(any(feature = "c-core", feature = "http2"))]
const PING: &str = "/gossip.Gossip/Ping";
/// The path of Fabric's stream of gossip messages.
#[cfg(any(feature = "c-core", feature = "http2"))]
const GOSSIP_STREAM: &str = "/gossip.Gossip/GossipStream";

/// Creates the default transport: the C core where it is compiled in, otherwise HTTP/2 over nghttp2.
///
/// # Errors
/// The errors of the transport; [`ErrorKind::Config`](crate::ErrorKind::Config) if the library was built without any
/// transport.
pub(crate) fn default_transport(tls: Option<Tls>, limits: Limits) -> Result<Arc<dyn Transport>> {
    #[cfg(feature = "c-core")]
    {
        Ok(Arc::new(c_core::CoreTransport::new(tls, limits, c_core::Options::default())?))
    }
    #[cfg(all(feature = "http2", not(feature = "c-core")))]
    {
        Ok(Arc::new(http2::Http2Transport::new(tls, limits, http2::Options::default())?))
    }
    #[cfg(not(any(feature = "c-core", feature = "http2")))]
    {
        let _ = (tls, limits);
        let text = "no transport is given, and the library was built without one (features c-core, http2)";
        Err(crate::error::Error::new(crate::error::ErrorKind::Config, text))
    }
}

/// Connects this peer to other peers, in both directions. Pass one to
/// [`CommBuilder::transport`](crate::CommBuilder::transport).
///
/// The methods with which the communication layer uses it, and the traits of connections and streams, are hidden from
/// the documentation: they are an interface inside this repository and not covered by semantic versioning.
pub trait Transport: Send + Sync {
    /// Connects to `host:port`. Blocks for at most `timeout`; `cancel` ends that wait and later waits of the returned
    /// connection. A refused connection returns an error immediately.
    ///
    /// # Errors
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) with the cause,
    /// [`ErrorKind::Stopped`](crate::ErrorKind::Stopped) after `cancel`,
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a malformed endpoint.
    #[doc(hidden)]
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Connection>>;

    /// Listens on `host:port` (port 0: a free port), answers Pings, and passes each gossip stream to `acceptor` on a
    /// separate thread.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a malformed address or a missing certificate,
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) if the address cannot be bound,
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if no thread or file descriptor is available.
    #[doc(hidden)]
    fn listen(&self, address: &str, acceptor: Arc<dyn Acceptor>) -> Result<Box<dyn Server>>;

    /// Returns whether connections are encrypted. Without encryption, connection messages can be replayed.
    fn is_encrypted(&self) -> bool {
        true
    }

    /// Returns the earliest expiry time of the TLS certificates in use; `None` if there are none.
    fn certificate_expires(&self) -> Option<SystemTime> {
        None
    }

    /// Returns how long a thread that waits for messages or acknowledgements polls before it sleeps; 0 by default.
    #[doc(hidden)]
    fn spin(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the conditions under which a sender's own thread writes instead of the peer's writer thread.
    #[doc(hidden)]
    fn inline_writes(&self) -> InlineWrites {
        InlineWrites::default()
    }
}

/// Conditions under which a sender's own thread writes to an idle stream. An inline write saves waking the writer
/// thread. That is good for a conversation, but bad for a burst, whose messages the writer sends together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[doc(hidden)]
pub struct InlineWrites {
    /// Maximum size of a message to write inline, in bytes: 4 KiB. Writing a larger one takes longer than waking the
    /// writer.
    pub max_size: usize,
    /// Minimum time since the last message for writing inline, if the peer has sent something since then: 15 µs. A
    /// message after a shorter pause counts as part of a burst and goes to the writer thread. Suitable values are
    /// longer than the gap between two consecutive messages of one sender, and shorter than a round trip.
    pub burst_gap: Duration,
    /// Time since the last message after which a message is written inline even if the peer has sent nothing since
    /// then: 20 ms, unless a message to another peer precedes it by less than `burst_gap`.
    pub silence: Duration,
}

impl Default for InlineWrites {
    fn default() -> Self {
        InlineWrites { max_size: 4 << 10, burst_gap: Duration::from_micros(15), silence: Duration::from_millis(20) }
    }
}

impl InlineWrites {
    /// Returns whether to write a message of this size inline, given the pause before it, whether the peer has answered
    /// since the last message, and the time since a message to any peer: messages to many peers in turn are a burst.
    pub fn allows(&self, size: usize, pause: Duration, answered: bool, any: Duration) -> bool {
        let alone = pause > self.silence && any > self.burst_gap;
        size <= self.max_size && (alone || answered && pause > self.burst_gap)
    }
}

/// A running server. Dropping it stops it, without grace.
#[doc(hidden)]
pub trait Server: Send + Sync {
    /// Returns the address with the actual port, `host:port`.
    fn local_addr(&self) -> &str;

    /// Returns the number of streams being served.
    fn serving(&self) -> usize;

    /// Stops the server: it accepts nothing more, lets streams finish for `grace`, then cancels them. Blocks until
    /// every thread has ended, for at most the grace and a bound that the implementation states. Returns whether all
    /// threads ended in time; the rest end later. Further calls have no effect.
    fn stop(&self, grace: Duration) -> bool;
}

/// A connection to one endpoint, made by [`Transport::dial`]. Dropping it closes the connection as soon as the streams
/// opened on it are dropped too.
#[doc(hidden)]
pub trait Connection: Send {
    /// Calls Ping and waits for the answer, for at most `timeout`.
    fn ping(&self, timeout: Duration) -> Result<()>;

    /// Opens the gossip stream. `limit` bounds its total lifetime; `None` means no limit.
    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>>;
}

/// Serves accepted streams.
#[doc(hidden)]
pub trait Acceptor: Send + Sync {
    /// Serves one accepted stream, on a separate thread, for the stream's lifetime. The stream ends with the returned
    /// status if it has not ended yet.
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status;
}

/// The two ends of a stream.
#[derive(Clone, Debug, Default)]
#[doc(hidden)]
pub struct StreamInfo {
    /// The remote socket address, `ip:port`.
    pub remote_addr: String,
    /// DER of the leaf certificate that the remote side presented in TLS.
    pub remote_cert: Option<Bytes>,
    /// DER of the leaf certificate that this side presented in TLS.
    pub local_cert: Option<Bytes>,
    /// Whether the connection is encrypted with TLS.
    pub tls: bool,
}

/// Source of messages to write to a stream in sequence.
///
/// The implementation calls [`next`](Self::next) for each message, possibly for further messages before the first is
/// written, and calls [`written`](Self::written) in the same order. If [`Stream::send_all`] fails, messages not
/// reported as written stay with the source.
#[doc(hidden)]
pub trait Outgoing {
    /// Returns the next message; `None` if there is none at the moment.
    fn next(&mut self) -> Option<Bytes>;

    /// Records that the oldest unwritten message has been written, that is, handed to the connection.
    fn written(&mut self);

    /// Returns whether to give up a write that makes no progress. Called about every
    /// [`poll_interval`](Self::poll_interval).
    fn expired(&mut self) -> bool;

    /// Returns the interval at which to call [`expired`](Self::expired).
    fn poll_interval(&self) -> Duration;
}

/// One bidirectional gossip stream, dialled or accepted.
///
/// At most one thread at a time may use the sending side (`start_send`, `wait_sent`, `try_send`, `send_all`, `finish`),
/// and one the receiving side (`recv`, `recv_limited`, `recv_batch`). Any thread may call `cancel` and `info`. Dropping
/// the last handle cancels open operations and releases everything.
#[doc(hidden)]
pub trait Stream: Send + Sync {
    /// Starts to write a message and returns without waiting. [`wait_sent`](Stream::wait_sent) must return `true`
    /// before the next write is started.
    fn start_send(&self, message: Bytes) -> Result<(), StreamEnd>;

    /// Waits until the started write is complete (`true`), for at most `timeout` (`None`: without limit; zero: no
    /// wait). Returns `false` if it is still under way, and `true` immediately if none was started. An error does not
    /// prove that the message did not arrive: the other side may have read it and then ended the stream.
    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd>;

    /// Writes a message and waits until the write is complete.
    fn send(&self, message: Bytes) -> Result<(), StreamEnd> {
        self.start_send(message)?;
        self.wait_sent(None).map(drop)
    }

    /// Writes a message without blocking. Returns `false` if the write is still under way; then wait for it with
    /// [`wait_sent`](Stream::wait_sent). An implementation may poll for a few microseconds.
    fn try_send(&self, message: Bytes) -> Result<bool, StreamEnd> {
        self.start_send(message)?;
        self.wait_sent(Some(Duration::ZERO))
    }

    /// Writes messages from `outgoing` until it has no more, and batches them where that is cheaper. If `outgoing`
    /// gives up a write, cancels the stream and returns [`StreamEnd::Local`].
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

    /// Returns the next message, waiting at most `timeout` for it (`None`: without limit). Returns `Ok(None)` if none
    /// arrived in time; the call can be repeated and nothing is lost. After an `Err`, every further call returns the
    /// same error.
    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd>;

    /// Returns the next message as [`recv`](Stream::recv) does, if it has at most `max` bytes. Otherwise returns
    /// [`StreamEnd::TooLarge`]. If the size of the message is known, the error has it, and the caller must end the stream.
    /// If reception was abandoned before, the error has no size, and the stream has been cancelled.
    fn recv_limited(&self, timeout: Duration, max: usize) -> Result<Option<Bytes>, StreamEnd> {
        limited(self.recv(Some(timeout))?, max)
    }

    /// Waits without limit for a message, then appends it to `messages`, with those already available behind it, up to
    /// [`MAX_BATCH`] bytes.
    fn recv_batch(&self, messages: &mut Vec<Bytes>) -> Result<(), StreamEnd> {
        let mut bytes = 0;
        let mut next = self.recv(None)?;
        while let Some(message) = next {
            bytes += message.len();
            messages.push(message);
            if bytes >= MAX_BATCH {
                break;
            }
            // If this is the end of the stream, the next call returns it again.
            next = self.recv(Some(Duration::ZERO)).unwrap_or_default();
        }
        Ok(())
    }

    /// Ends this side of the stream after everything sent before. A dialled stream half-closes and can still be read to
    /// its end; an accepted stream ends with `status`.
    fn finish(&self, status: &Status) -> Result<(), StreamEnd>;

    /// Ends the stream immediately, in both directions. Messages under way fail with [`StreamEnd::Local`]. Does not
    /// block.
    fn cancel(&self);

    /// Returns information about the two ends.
    fn info(&self) -> &StreamInfo;
}

/// Size in bytes after which [`Stream::recv_batch`] takes no further message: a few times HTTP/2's initial window.
#[doc(hidden)]
pub const MAX_BATCH: usize = 256 << 10;

/// Rejects a message above the limit.
fn limited(message: Option<Bytes>, max: usize) -> Result<Option<Bytes>, StreamEnd> {
    match message {
        Some(message) if message.len() > max => Err(StreamEnd::TooLarge(Some(message.len()))),
        message => Ok(message),
    }
}
