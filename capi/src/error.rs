//! Result codes and the error object with the details.

use super::handle::Owned;
use super::text::{gossip_str, Text};
use gossip::error::{Error, ErrorKind};

/// Result of a call. Numbers are never reused, and new ones are added at the end: a program must expect numbers that it
/// does not know.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gossip_result {
    /// Success.
    GOSSIP_OK = 0,
    /// A required pointer is NULL. Nothing was attempted.
    GOSSIP_NULL_POINTER = 1,
    /// A text is not UTF-8. Nothing was attempted.
    GOSSIP_INVALID_UTF8 = 2,
    /// An argument is invalid: an unknown name, a number out of range, a structure of unknown size. Nothing was
    /// attempted.
    GOSSIP_INVALID_ARGUMENT = 3,
    /// An internal fault of the library, from which it recovered. Please report it.
    GOSSIP_PANIC = 4,
    /// A setting or file is wrong. Nothing was attempted.
    GOSSIP_CONFIG = 100,
    /// The component was stopped, or the subscription has ended and everything left in it was received.
    GOSSIP_STOPPED = 101,
    /// A time limit passed.
    GOSSIP_TIMEOUT = 102,
    /// No connection could be made: nothing listens at the address, the name is unknown, TLS failed, or the peer does
    /// not answer.
    GOSSIP_UNREACHABLE = 103,
    /// The connection ended: closed by the peer, lost, or closed by us.
    GOSSIP_DISCONNECTED = 104,
    /// The peer refused us, or we refused the peer: authentication failed, or the peer ended the stream with an error.
    GOSSIP_REFUSED = 105,
    /// The peer violated the protocol, or a message is malformed.
    GOSSIP_PROTOCOL = 106,
    /// An identity is unknown, invalid, expired or not the expected one.
    GOSSIP_IDENTITY = 107,
    /// A signature is missing, malformed or wrong.
    GOSSIP_SIGNATURE = 108,
    /// A bounded queue or table is full. A later attempt may succeed.
    GOSSIP_FULL = 109,
    /// A message exceeds a size limit.
    GOSSIP_TOO_LARGE = 110,
    /// The peer acknowledged the message with an error.
    GOSSIP_NACK = 111,
    /// This message was already acknowledged.
    GOSSIP_ALREADY_ACKNOWLEDGED = 112,
    /// The cryptography library, the operating system or the C core failed for a reason that no input caused.
    GOSSIP_INTERNAL = 113,
}

impl From<ErrorKind> for gossip_result {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Config => gossip_result::GOSSIP_CONFIG,
            ErrorKind::Stopped => gossip_result::GOSSIP_STOPPED,
            ErrorKind::Timeout => gossip_result::GOSSIP_TIMEOUT,
            ErrorKind::Unreachable => gossip_result::GOSSIP_UNREACHABLE,
            ErrorKind::Disconnected => gossip_result::GOSSIP_DISCONNECTED,
            ErrorKind::Refused => gossip_result::GOSSIP_REFUSED,
            ErrorKind::Protocol => gossip_result::GOSSIP_PROTOCOL,
            ErrorKind::Identity => gossip_result::GOSSIP_IDENTITY,
            ErrorKind::Signature => gossip_result::GOSSIP_SIGNATURE,
            ErrorKind::Full => gossip_result::GOSSIP_FULL,
            ErrorKind::TooLarge => gossip_result::GOSSIP_TOO_LARGE,
            ErrorKind::Nack => gossip_result::GOSSIP_NACK,
            ErrorKind::AlreadyAcknowledged => gossip_result::GOSSIP_ALREADY_ACKNOWLEDGED,
            ErrorKind::Internal => gossip_result::GOSSIP_INTERNAL,
            // Required because the enum is non-exhaustive; a test checks that no kind reaches it.
            _ => gossip_result::GOSSIP_INTERNAL,
        }
    }
}

/// Details of a failure: a code to branch on, a human-readable message, and parts. For a call that concerns several
/// peers there is one part for each peer that failed.
pub struct gossip_error {
    code: gossip_result,
    message: Text,
    reason: Text,
    peer: Text,
    step: Text,
    /// The index of the peer in the caller's array.
    index: usize,
    parts: Vec<gossip_error>,
}

impl Owned for gossip_error {}

/// Result of an operation that can fail.
pub(super) type Outcome<T> = Result<T, Box<gossip_error>>;

impl gossip_error {
    pub(super) fn new(code: gossip_result, text: impl Into<String>) -> Box<gossip_error> {
        let text = Text::from(text);
        let none = || Text::from("");
        let (message, reason) = (text.clone(), text);
        Box::new(gossip_error { code, message, reason, peer: none(), step: none(), index: 0, parts: Vec::new() })
    }

    /// Creates the error of one peer among several.
    pub(super) fn part(index: usize, error: &Error) -> gossip_error {
        gossip_error { index, ..gossip_error::from(error) }
    }

    /// Creates the error of a message that did not reach its peer. Its code is not GOSSIP_TIMEOUT, which the caller takes
    /// for an answer that may still come.
    pub(super) fn undelivered(error: &Error) -> Box<gossip_error> {
        let code = match error.kind() {
            ErrorKind::Timeout => gossip_result::GOSSIP_UNREACHABLE,
            kind => kind.into(),
        };
        Box::new(gossip_error { code, ..gossip_error::from(error) })
    }

    /// Creates the error of several peers, with the code of the first part and this text.
    pub(super) fn of_parts(text: String, parts: Vec<gossip_error>) -> Box<gossip_error> {
        let code = parts.first().map_or(gossip_result::GOSSIP_INTERNAL, |part| part.code);
        let mut error = gossip_error::new(code, text);
        error.parts = parts;
        error
    }

    pub(super) fn code(&self) -> gossip_result {
        self.code
    }
}

impl From<&Error> for gossip_error {
    fn from(error: &Error) -> Self {
        gossip_error {
            code: error.kind().into(),
            message: error.to_string().into(),
            reason: error.message().into(),
            peer: error.peer().unwrap_or_default().into(),
            step: error.step().unwrap_or_default().into(),
            index: 0,
            parts: Vec::new(),
        }
    }
}

impl From<Error> for Box<gossip_error> {
    fn from(error: Error) -> Self {
        Box::new(gossip_error::from(&error))
    }
}

/// Returns the name of a code, such as `GOSSIP_TIMEOUT`; `unknown` for a number that is not a code. Valid for the
/// lifetime of the process.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub extern "C" fn gossip_result_name(code: u32) -> gossip_str {
    let name = ALL.iter().find(|(known, _)| *known as u32 == code).map_or(c"unknown", |(_, name)| name);
    gossip_str { data: name.as_ptr(), len: name.count_bytes() }
}

macro_rules! all {
    ($($name:ident)*) => {
        /// All codes with their names.
        const ALL: &[(gossip_result, &std::ffi::CStr)] = &[$((
            gossip_result::$name,
            match std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => unreachable!(),
            },
        )),*];
    };
}

all! {
    GOSSIP_OK GOSSIP_NULL_POINTER GOSSIP_INVALID_UTF8 GOSSIP_INVALID_ARGUMENT GOSSIP_PANIC GOSSIP_CONFIG GOSSIP_STOPPED
    GOSSIP_TIMEOUT GOSSIP_UNREACHABLE GOSSIP_DISCONNECTED GOSSIP_REFUSED GOSSIP_PROTOCOL GOSSIP_IDENTITY
    GOSSIP_SIGNATURE GOSSIP_FULL GOSSIP_TOO_LARGE GOSSIP_NACK GOSSIP_ALREADY_ACKNOWLEDGED GOSSIP_INTERNAL
}

/// Returns the error's code, the same one that the call returned; `GOSSIP_OK` for NULL.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_code(error: *const gossip_error) -> gossip_result {
    super::look(error, gossip_result::GOSSIP_OK, |error| error.code)
}

/// Returns the whole message: the peer, the step, and the reason.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_message(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.message.as_str())
}

/// Returns the reason without the peer and the step. Where Fabric has a text for it, this is exactly that text.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_reason(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.reason.as_str())
}

/// Returns the peer that the error concerns: an endpoint, a PKI-ID, or both. Empty if none is known.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_peer(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.peer.as_str())
}

/// Returns the step that failed, such as `dial`, `ping` or `handshake`. Empty if none is known.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_step(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.step.as_str())
}

/// Returns the number of parts: one for each peer that failed, where a call concerned several.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_part_count(error: *const gossip_error) -> usize {
    super::look(error, 0, |error| error.parts.len())
}

/// Returns a part by its index. The part belongs to the error. NULL beyond the last one.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_part(error: *const gossip_error, index: usize) -> *const gossip_error {
    super::look(error, std::ptr::null(), |error| {
        error.parts.get(index).map_or(std::ptr::null(), |part| part as *const _)
    })
}

/// Returns, for a part, the index of its peer in the array that was given to the call. 0 otherwise.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_peer_index(error: *const gossip_error) -> usize {
    super::look(error, 0, |error| error.index)
}

/// Frees an error and its parts. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_free(error: *mut gossip_error) {
    gossip_error::free(error);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_a_code_of_its_own() {
        let codes: std::collections::BTreeSet<_> =
            ErrorKind::ALL.iter().map(|kind| gossip_result::from(*kind) as u32).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| ALL.iter().any(|(known, _)| *known as u32 == *code)));
    }

    #[test]
    fn a_code_has_a_name_and_another_number_has_none() {
        let name = |code| {
            let name = gossip_result_name(code);
            // SAFETY: the result is valid for the lifetime of the process and ends with a zero byte.
            unsafe { std::ffi::CStr::from_ptr(name.data) }.to_str().unwrap()
        };
        assert_eq!([name(0), name(113), name(99)], ["GOSSIP_OK", "GOSSIP_INTERNAL", "unknown"]);
    }
}
