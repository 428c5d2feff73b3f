//! Codes to branch on, and the error object with the whole story.

use super::handle::Owned;
use super::text::{gossip_str, Text};
use gossip::error::{Error, ErrorKind};

/// How a call went. Numbers are never reused, and new ones are added at the end: a program has to expect numbers that it
/// does not know.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum gossip_result {
    /// It did what it should.
    GOSSIP_OK = 0,
    /// A pointer that must not be NULL is. Nothing was tried.
    GOSSIP_NULL_POINTER = 1,
    /// Text is not UTF-8. Nothing was tried.
    GOSSIP_INVALID_UTF8 = 2,
    /// An argument makes no sense: an unknown name, a number out of range, a structure of unknown size. Nothing was
    /// tried.
    GOSSIP_INVALID_ARGUMENT = 3,
    /// A fault in the library, which it survived. Please report it.
    GOSSIP_PANIC = 4,
    /// A setting or file is wrong. Nothing was tried.
    GOSSIP_CONFIG = 100,
    /// The component was stopped, or the subscription has ended and everything left was received.
    GOSSIP_STOPPED = 101,
    /// A limit of time passed.
    GOSSIP_TIMEOUT = 102,
    /// No connection could be made: nobody listens, the name is unknown, TLS failed, the peer does not answer.
    GOSSIP_UNREACHABLE = 103,
    /// The connection ended: closed by the peer, lost, or closed by us.
    GOSSIP_DISCONNECTED = 104,
    /// The peer, or our own rules about it, refused: authentication failed or it ended the stream with an error.
    GOSSIP_REFUSED = 105,
    /// The peer sent something that breaks the protocol, or a message is malformed.
    GOSSIP_PROTOCOL = 106,
    /// An identity is unknown, invalid, expired or not the expected one.
    GOSSIP_IDENTITY = 107,
    /// A signature is missing, malformed or wrong.
    GOSSIP_SIGNATURE = 108,
    /// A bounded queue or table has no room. Later there may be.
    GOSSIP_FULL = 109,
    /// A message exceeds a limit of size.
    GOSSIP_TOO_LARGE = 110,
    /// The peer acknowledged with an error of its own.
    GOSSIP_NACK = 111,
    /// The acknowledgement of this message was already given.
    GOSSIP_ALREADY_ACKNOWLEDGED = 112,
    /// The cryptography library, the operating system or the C core failed in a way that is nobody's input.
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
            // The compiler asks for it; a test checks that no kind comes here.
            _ => gossip_result::GOSSIP_INTERNAL,
        }
    }
}

/// What went wrong: a code to branch on, the whole text for a person, and its parts. Where a call concerns several peers,
/// there is one part of it for each of them that failed.
pub struct gossip_error {
    code: gossip_result,
    message: Text,
    reason: Text,
    peer: Text,
    step: Text,
    /// The place of the peer in the caller's array.
    index: usize,
    parts: Vec<gossip_error>,
}

impl Owned for gossip_error {}

/// What something gives that can fail.
pub(super) type Outcome<T> = Result<T, Box<gossip_error>>;

impl gossip_error {
    pub(super) fn new(code: gossip_result, text: impl Into<String>) -> Box<gossip_error> {
        let text = Text::from(text);
        let none = || Text::from("");
        let (message, reason) = (text.clone(), text);
        Box::new(gossip_error { code, message, reason, peer: none(), step: none(), index: 0, parts: Vec::new() })
    }

    /// The failure of one peer among several.
    pub(super) fn part(index: usize, error: &Error) -> gossip_error {
        gossip_error { index, ..gossip_error::from(error) }
    }

    /// The failure of several peers: with the code of the first, and this text.
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
            peer: error.peer_name().unwrap_or_default().into(),
            step: error.step_name().unwrap_or_default().into(),
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

/// The name of a code, such as `GOSSIP_TIMEOUT`; `unknown` for a number that is none. Valid for ever.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub extern "C" fn gossip_result_name(code: u32) -> gossip_str {
    let name = ALL.iter().find(|(known, _)| *known as u32 == code).map_or(c"unknown", |(_, name)| name);
    gossip_str { data: name.as_ptr(), len: name.count_bytes() }
}

macro_rules! all {
    ($($name:ident)*) => {
        /// Every code, with its name.
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

/// The error's code: what the call returned. `GOSSIP_OK` for NULL.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_code(error: *const gossip_error) -> gossip_result {
    super::look(error, gossip_result::GOSSIP_OK, |error| error.code)
}

/// The whole message: the peer, the step, and what went wrong.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_message(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.message.as_str())
}

/// What went wrong, without the peer and the step. Where Fabric has a text of its own for it, exactly that.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_reason(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.reason.as_str())
}

/// The peer it is about: an endpoint, a PKI-ID, or both. Empty where none is known.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_peer(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.peer.as_str())
}

/// The step that failed, such as `dial`, `ping` or `handshake`. Empty where none is known.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_step(error: *const gossip_error) -> gossip_str {
    super::look(error, gossip_str::EMPTY, |error| error.step.as_str())
}

/// How many parts it has: one for each peer that failed, where a call concerned several.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_part_count(error: *const gossip_error) -> usize {
    super::look(error, 0, |error| error.parts.len())
}

/// One part, which belongs to the error; NULL beyond the last one.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_part(error: *const gossip_error, index: usize) -> *const gossip_error {
    super::look(error, std::ptr::null(), |error| {
        error.parts.get(index).map_or(std::ptr::null(), |part| part as *const _)
    })
}

/// For a part: the place of its peer in the array that the call was given. 0 otherwise.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_error_peer_index(error: *const gossip_error) -> usize {
    super::look(error, 0, |error| error.index)
}

/// Frees an error, and with it its parts. NULL is nothing.
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
            // SAFETY: what it gives is valid for ever and ends with a zero byte.
            unsafe { std::ffi::CStr::from_ptr(name.data) }.to_str().unwrap()
        };
        assert_eq!([name(0), name(113), name(99)], ["GOSSIP_OK", "GOSSIP_INTERNAL", "unknown"]);
    }
}
