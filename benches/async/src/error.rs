//! Errors.

use std::fmt;

/// The result of a fallible operation.
pub type Result<T> = std::result::Result<T, Error>;

/// The kind of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A wrong setting.
    Config,
    /// The peer cannot be reached, or the connection to it ended.
    Disconnected,
    /// There is no room in a queue.
    Full,
    /// The identity is not the expected one, or is not valid.
    Identity,
    /// The peer acknowledged with an error.
    Nack,
    /// The peer does not keep to the protocol.
    Protocol,
    /// The peer refused us, or we it.
    Refused,
    /// [`Comm::stop`](crate::Comm::stop) was called.
    Stopped,
    /// It took too long.
    Timeout,
    /// A message is larger than the limit.
    TooLarge,
    /// The message was acknowledged before.
    AlreadyAcknowledged,
}

/// A failure: its kind, and a text. Cheap to clone, since one failure can be that of many queued messages.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: std::sync::Arc<str>,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<std::sync::Arc<str>>) -> Error {
        Error { kind, message: message.into() }
    }

    /// Returns the kind of the failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the description. Text that goes over the wire is Fabric's.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn stopping() -> Error {
        Error::new(ErrorKind::Stopped, "comm is stopping")
    }

    pub(crate) fn status(&self) -> tonic::Status {
        tonic::Status::unknown(self.message())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// The stream failed: the peer's own words, if it said any.
impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        let kind = match status.code() {
            tonic::Code::Unknown | tonic::Code::ResourceExhausted if !status.message().is_empty() => ErrorKind::Refused,
            tonic::Code::OutOfRange => ErrorKind::TooLarge,
            tonic::Code::DeadlineExceeded => ErrorKind::Timeout,
            _ => ErrorKind::Disconnected,
        };
        Error::new(kind, status.message())
    }
}
