//! Status codes and the ways in which calls and streams end.

use std::fmt;

/// A gRPC status: code and text. A handler error without a code travels as [`code::UNKNOWN`], as with grpc-go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status code, usually one of [`code`].
    pub code: i32,
    /// The text. It travels percent-encoded, so any character is allowed.
    pub message: String,
}

impl Status {
    /// Creates a status.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Status { code, message: message.into() }
    }

    /// Creates the status of success.
    pub fn ok() -> Self {
        Status::new(code::OK, "")
    }

    /// Creates the status of an error that has no code.
    pub fn unknown(message: impl Into<String>) -> Self {
        Status::new(code::UNKNOWN, message)
    }
}

/// The status codes used here, as numbered by gRPC's specification.
pub mod code {
    /// Success.
    pub const OK: i32 = 0;
    /// Cancelled, by either side.
    pub const CANCELLED: i32 = 1;
    /// An error that has no code.
    pub const UNKNOWN: i32 = 2;
    /// A time limit passed.
    pub const DEADLINE_EXCEEDED: i32 = 4;
    /// No capacity: too many calls, or a message above the limit.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// The method is not served here.
    pub const UNIMPLEMENTED: i32 = 12;
    /// The implementation failed, independently of the input.
    pub const INTERNAL: i32 = 13;
    /// The connection could not be made, or is gone.
    pub const UNAVAILABLE: i32 = 14;
}

/// Reason why a stream carries no more messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The remote side ended it: with this status on a dialled stream, by half-closing (status OK) on an accepted one.
    Remote(Status),
    /// The connection is gone. On an accepted stream the remote side may also have cancelled; the two cannot be
    /// distinguished.
    Lost(Status),
    /// This side ended it: cancelled, finished, or reached its time limit.
    Local,
    /// A message exceeded the limit of [`Stream::recv_limited`](super::Stream::recv_limited). Holds its size in bytes,
    /// or `None` if this side ended the stream before the whole message had arrived.
    TooLarge(Option<usize>),
}

impl StreamEnd {
    /// Returns the text of the remote side's refusal, if the stream ended with one. A cancellation is not a refusal: a
    /// peer cancels to end a stream that it had accepted.
    pub fn refusal(&self) -> Option<&str> {
        match self {
            StreamEnd::Remote(status) if status.code != code::OK && status.code != code::CANCELLED => {
                Some(&status.message)
            }
            _ => None,
        }
    }

    /// Returns whether the remote side cancelled a stream that this side dialled.
    pub fn is_cancellation(&self) -> bool {
        matches!(self, StreamEnd::Remote(status) if status.code == code::CANCELLED)
    }
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamEnd::Remote(s) if s.code == code::OK => f.write_str("the peer closed the stream"),
            StreamEnd::Remote(s) => write!(f, "the peer ended the stream: {}", s.message),
            StreamEnd::Lost(s) => write!(f, "connection lost: {}", s.message),
            StreamEnd::Local => f.write_str("closed by us"),
            StreamEnd::TooLarge(Some(size)) => write!(f, "a message of {size} bytes is too large"),
            StreamEnd::TooLarge(None) => f.write_str("closed by us: a message that has not ended yet is too large"),
        }
    }
}
