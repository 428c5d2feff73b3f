//! The error type of the whole library: the kind of failure ([`ErrorKind`]), the peer, the step, and the reason.
//!
//! [`Error::message`] is the reason alone. Where Fabric defines a text for a failure, the reason is exactly Fabric's
//! text (which travels as a gRPC status or in an acknowledgement). The peer and the step are separate fields; only
//! [`Display`](fmt::Display) combines them.

use std::error::Error as StdError;
use std::fmt;

/// Result with this library's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kind of an [`Error`], for programs to branch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting, file or argument is invalid; nothing was attempted.
    Config,
    /// The component is stopped or stopping.
    Stopped,
    /// A time limit passed.
    Timeout,
    /// No connection could be made: nothing listens at the address, the name is unknown, TLS failed, or the peer does
    /// not answer.
    Unreachable,
    /// The connection ended: closed by the peer, lost, or closed by us.
    Disconnected,
    /// The peer or a local policy refused: authentication failed, or the peer ended the stream with an error.
    Refused,
    /// The peer violated the protocol.
    Protocol,
    /// An identity is unknown, invalid, expired or not the expected one.
    Identity,
    /// A signature is missing, malformed or wrong.
    Signature,
    /// A bounded queue or table has no room.
    Full,
    /// A message exceeds a size limit.
    TooLarge,
    /// The peer acknowledged the message with an error.
    Nack,
    /// This message was already acknowledged.
    AlreadyAcknowledged,
    /// The cryptography library or the C core failed, independently of any input.
    Internal,
}

impl ErrorKind {
    /// Every kind, in declaration order.
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

    /// Returns the kind as a metrics label.
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
pub struct Error(Box<Details>);

struct Details {
    kind: ErrorKind,
    message: String,
    peer: Option<String>,
    step: Option<&'static str>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error with this kind and reason.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Details { kind, message: message.into(), peer: None, step: None, source: None }))
    }

    /// Names the peer that the failure concerns: an endpoint, a PKI-ID, or both. The first peer named is kept.
    #[must_use]
    pub fn with_peer(mut self, peer: impl fmt::Display) -> Self {
        self.0.peer.get_or_insert_with(|| peer.to_string());
        self
    }

    /// Names the step that failed (`dial`, `ping`, `handshake`, …). The first, innermost step named is kept.
    #[must_use]
    pub fn with_step(mut self, step: &'static str) -> Self {
        self.0.step.get_or_insert(step);
        self
    }

    /// Attaches the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the reason alone, without peer and step.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the peer that the failure concerns, if known.
    pub fn peer(&self) -> Option<&str> {
        self.0.peer.as_deref()
    }

    /// Returns the step that failed, if known.
    pub fn step(&self) -> Option<&'static str> {
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
        let e = Error::new(ErrorKind::Refused, "no TLS certificate")
            .with_step("handshake")
            .with_peer("h:1")
            .with_step("send");
        assert_eq!(e.to_string(), "h:1: handshake: no TLS certificate");
        assert_eq!(e.message(), "no TLS certificate");
        assert_eq!((e.kind(), e.step(), e.peer()), (ErrorKind::Refused, Some("handshake"), Some("h:1")));
    }
}
