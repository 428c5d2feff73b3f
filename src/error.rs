//! One error type for the whole library: what went wrong ([`ErrorKind`]), with whom, at which step, and why.
//!
//! [`Error::message`] is the bare reason. Where Fabric has a text of its own for a failure, it is exactly Fabric's
//! (that text travels as gRPC status or in an acknowledgement); the peer and the step stand beside it and only
//! [`Display`](fmt::Display) joins them.

use std::error::Error as StdError;
use std::fmt;

/// Shorthand for a result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure an [`Error`] is: what a program branches on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, file or argument is wrong; nothing was tried.
    Config,
    /// The component was stopped, or is stopping.
    Stopped,
    /// A limit of time passed.
    Timeout,
    /// No connection could be made: nobody listens, the name is unknown, TLS failed, the peer does not answer.
    Unreachable,
    /// The connection ended: closed by the peer, lost, or closed by us.
    Disconnected,
    /// The peer, or our own rules about it, refused: authentication failed or it ended the stream with an error.
    Refused,
    /// The peer sent something that breaks the protocol.
    Protocol,
    /// An identity is unknown, invalid, expired or not the expected one.
    Identity,
    /// A signature is missing, malformed or wrong.
    Signature,
    /// A bounded queue or table has no room.
    Full,
    /// A message exceeds a limit of size.
    TooLarge,
    /// The peer acknowledged with an error of its own.
    Nack,
    /// The acknowledgement of this message was already given.
    AlreadyAcknowledged,
    /// The cryptography library or the C core failed in a way that is nobody's input.
    Internal,
}

impl ErrorKind {
    /// All of them, in their order.
    #[doc(hidden)]
    pub const ALL: [ErrorKind; 14] = [
        ErrorKind::Config,
        ErrorKind::Stopped,
        ErrorKind::Timeout,
        ErrorKind::Unreachable,
        ErrorKind::Disconnected,
        ErrorKind::Refused,
        ErrorKind::Protocol,
        ErrorKind::Identity,
        ErrorKind::Signature,
        ErrorKind::Full,
        ErrorKind::TooLarge,
        ErrorKind::Nack,
        ErrorKind::AlreadyAcknowledged,
        ErrorKind::Internal,
    ];

    /// As a metrics label.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Config => "config",
            ErrorKind::Stopped => "stopped",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Unreachable => "unreachable",
            ErrorKind::Disconnected => "disconnected",
            ErrorKind::Refused => "refused",
            ErrorKind::Protocol => "protocol",
            ErrorKind::Identity => "identity",
            ErrorKind::Signature => "signature",
            ErrorKind::Full => "full",
            ErrorKind::TooLarge => "too_large",
            ErrorKind::Nack => "nack",
            ErrorKind::AlreadyAcknowledged => "already_acknowledged",
            ErrorKind::Internal => "internal",
        }
    }
}

/// A failure. See the [module documentation](self).
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    peer: Option<String>,
    step: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind with this reason.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), peer: None, step: None, source: None }))
    }

    /// Names the peer that the failure is about: an endpoint, a PKI-ID, or both. The first one named stays.
    #[must_use]
    pub fn peer(mut self, peer: impl fmt::Display) -> Self {
        self.0.peer.get_or_insert_with(|| peer.to_string());
        self
    }

    /// Names the step that failed (`dial`, `ping`, `handshake`, …). The first one named, the innermost, stays.
    #[must_use]
    pub fn step(mut self, step: &'static str) -> Self {
        self.0.step.get_or_insert(step);
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The reason alone, without peer and step.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The peer it is about, where one is known.
    pub fn peer_name(&self) -> Option<&str> {
        self.0.peer.as_deref()
    }

    /// The step that failed, where one is known.
    pub fn step_name(&self) -> Option<&'static str> {
        self.0.step
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(peer) = &self.0.peer {
            write!(f, "{peer}: ")?;
        }
        if let Some(step) = self.0.step {
            write!(f, "{step}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_at_its_place() {
        ErrorKind::ALL.iter().enumerate().for_each(|(place, kind)| assert_eq!(*kind as usize, place));
    }

    #[test]
    fn names_peer_and_step_but_keeps_the_bare_text() {
        let e = Error::new(ErrorKind::Refused, "no TLS certificate").step("handshake").peer("h:1").step("send");
        assert_eq!(e.to_string(), "h:1: handshake: no TLS certificate");
        assert_eq!(e.message(), "no TLS certificate");
        assert_eq!((e.kind(), e.step_name(), e.peer_name()), (ErrorKind::Refused, Some("handshake"), Some("h:1")));
    }
}
