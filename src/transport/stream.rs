//! The narrow interface between the communication layer and what carries its bytes.
//!
//! Three forms stand behind it: gRPC's C core, a service on a host's own gRPC server, and a network in memory for
//! tests. A message here is one serialized `gossip.Envelope`.

use crate::cancel::Cancel;
use crate::error::Result;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A gRPC status: code and text. Code 0 is OK; a handler's plain error travels as 2 (UNKNOWN), as with grpc-go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The gRPC status code.
    pub code: i32,
    /// The text.
    pub message: String,
}

impl Status {
    /// Code 0.
    pub fn ok() -> Self {
        Status { code: 0, message: String::new() }
    }

    /// Code 2 with this text.
    pub fn unknown(message: impl Into<String>) -> Self {
        Status { code: 2, message: message.into() }
    }
}

/// Why a stream carries nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The remote side ended it: with this status on a stream we dialled; by half-closing (status OK) on one we accepted.
    Remote(Status),
    /// The connection under it is gone, or (on an accepted stream, where the two look alike) the remote side cancelled.
    Lost(Status),
    /// We ended it.
    Local,
}

/// gRPC's CANCELLED.
const CANCELLED: i32 = 1;

impl StreamEnd {
    /// Returns the text with which the remote side refused, if that is how the stream ended. A cancellation is none: that
    /// is how a peer ends a stream that it had accepted.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            StreamEnd::Remote(status) if status.code != 0 && status.code != CANCELLED => Some(&status.message),
            _ => None,
        }
    }

    /// Whether the remote side cancelled a stream that we dialled.
    pub fn is_cancellation(&self) -> bool {
        matches!(self, StreamEnd::Remote(status) if status.code == CANCELLED)
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamEnd::Remote(s) if s.code == 0 => f.write_str("the peer closed the stream"),
            StreamEnd::Remote(s) => write!(f, "the peer ended the stream: {}", s.message),
            StreamEnd::Lost(s) => write!(f, "connection lost: {}", s.message),
            StreamEnd::Local => f.write_str("closed by us"),
        }
    }
}

/// What is known of the two ends of a stream.
#[derive(Clone, Debug, Default)]
pub struct StreamInfo {
    /// The remote socket address, `ip:port`.
    pub remote_addr: String,
    /// DER of the leaf certificate that the remote side presented in TLS.
    pub remote_cert: Option<Bytes>,
    /// DER of the leaf certificate that we presented in TLS.
    pub local_cert: Option<Bytes>,
    /// Whether the connection is encrypted with TLS at all.
    pub tls: bool,
}

/// One bidirectional gossip stream, dialled or accepted.
///
/// One thread at a time may be on the sending side (`start_send`, `wait_sent`, `finish`) and one on the receiving side
/// (`recv`); `cancel` and `info` are for any. Dropping the last handle cancels what is still open and releases all.
pub trait Stream: Send + Sync {
    /// Starts to write a message and returns without waiting. A started write must be waited for with [`wait_sent`]
    /// before the next one is started. `more` promises that the caller already holds the next message and sends it at
    /// once; without that promise kept, the message may not leave.
    ///
    /// [`wait_sent`]: Stream::wait_sent
    fn start_send(&self, message: Bytes, more: bool) -> Result<(), StreamEnd>;

    /// Waits until the started write is done (`true`), for at most `timeout` (`None`: for ever; zero: not at all).
    /// `false` means that it is still under way. `true` at once if none was started. An error does not prove that the
    /// message did not arrive: the other side may have read it and then ended the stream.
    fn wait_sent(&self, timeout: Option<Duration>) -> Result<bool, StreamEnd>;

    /// Writes a message and waits until that is done.
    fn send(&self, message: Bytes, more: bool) -> Result<(), StreamEnd> {
        self.start_send(message, more)?;
        self.wait_sent(None).map(|_| ())
    }

    /// The next message, waiting at most `timeout` for it (`None`: for ever). `Ok(None)` means that none came in time;
    /// the call can be repeated and nothing is lost. After an `Err` every further call gives the same.
    fn recv(&self, timeout: Option<Duration>) -> Result<Option<Bytes>, StreamEnd>;

    /// The next message if it is at hand. Waits for nothing, and need not look whether the connection has more: only a
    /// [`recv`](Self::recv) after it does.
    fn try_recv(&self) -> Result<Option<Bytes>, StreamEnd> {
        self.recv(Some(Duration::ZERO))
    }

    /// Says that nothing more comes from us, after everything sent before: a dialled stream half-closes and can still
    /// be read to its end; an accepted one ends with `status`.
    fn finish(&self, status: &Status) -> Result<(), StreamEnd>;

    /// Ends the stream at once, in both directions. What is under way fails with [`StreamEnd::Local`]. Does not block.
    fn cancel(&self);

    /// The two ends.
    fn info(&self) -> &StreamInfo;

    /// What counts the bytes that arrive on the connection under the stream, if anything does. Costs nothing to ask for.
    fn arrivals(&self) -> Option<&dyn Arrivals> {
        None
    }
}

/// Counts the bytes that arrive on a connection, whatever they are part of: also that of a message of which nothing is
/// to be seen before it is complete.
pub trait Arrivals {
    /// How many so far; `None` if that cannot be found out.
    fn bytes(&self) -> Option<u64>;
}

/// How to reach other peers, and how they reach us.
pub trait Transport: Send + Sync {
    /// Connects to `host:port`, for at most `timeout`. A refusal is reported at once. `cancel` ends the wait, and later
    /// waits of the returned client.
    fn dial(&self, endpoint: &str, timeout: Duration, cancel: &Cancel) -> Result<Box<dyn Client>>;
}

/// A connection to one endpoint, made anew by [`Transport::dial`]. Dropping it closes the connection as soon as the
/// streams opened on it are gone too.
pub trait Client: Send {
    /// The Ping call.
    fn ping(&self, timeout: Duration) -> Result<()>;

    /// Opens the gossip stream. `limit` bounds its whole life; `None` does not.
    fn open(&self, limit: Option<Duration>) -> Result<Arc<dyn Stream>>;
}

/// Who serves accepted streams.
pub trait Acceptor: Send + Sync {
    /// Serves one accepted stream, on a thread of its own, for as long as it lives. The status that is returned is what
    /// the stream ends with, if it has not ended yet.
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status;
}
