//! How calls end.

/// A gRPC status: code and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The status code, one of [`code`] as a rule.
    pub code: i32,
    /// The text; travels percent-encoded, so any character is allowed.
    pub message: String,
}

impl Status {
    /// A status.
    pub fn new(code: i32, message: impl Into<String>) -> Self {
        Status { code, message: message.into() }
    }
}

/// The status codes that matter here.
pub mod code {
    /// Success.
    pub const OK: i32 = 0;
    /// Cancelled, by either side.
    pub const CANCELLED: i32 = 1;
    /// A limit of time passed.
    pub const DEADLINE_EXCEEDED: i32 = 4;
    /// No room: too many calls, or a message above the limit.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// The method is not served here.
    pub const UNIMPLEMENTED: i32 = 12;
    /// The C core failed in a way that is nobody's input.
    pub const INTERNAL: i32 = 13;
    /// The connection could not be made, or is gone.
    pub const UNAVAILABLE: i32 = 14;
}

/// Why a [`Stream`](super::Stream) carries nothing more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The remote side ended it: with this status on a dialled stream, by half-closing (OK) on an accepted one.
    Remote(Status),
    /// The connection is gone (a dialled stream with status UNAVAILABLE: refused, reset, keepalive failed, server
    /// stopped), or on an accepted stream, where the two look alike, the remote side cancelled.
    Lost(Status),
    /// We ended it: cancelled, finished, or past its limit.
    Local,
}
