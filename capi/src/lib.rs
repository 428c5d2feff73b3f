//! The C interface: what `include/fabric_gossip.h` declares. Its conventions stand at the head of that header, which
//! `cargo xtask header` generates from the doc comments here.
//!
//! One file per noun. `handle` and `text` are where pointers from C become references, `guard` keeps panics out of C,
//! `error` numbers the codes. Every function is `unsafe` for the same reason, that it takes pointers from C, and sound
//! for the same reason, the contract in the header: see `handle`. Nothing else in here is unsafe but the calls of the
//! host's functions, in `host`.
#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]

// In the order in which the header shows them.
mod version;

mod error;

mod text;

mod log;

mod msp;

mod crypto;
mod host;
mod signer;

mod tls;

mod config;

mod message;

mod event;
mod peer;
mod subscription;

mod comm;

mod ack;

mod node;

mod list;

mod metrics;

mod guard;
mod handle;
mod ready;

use error::gossip_result;

/// A time span in nanoseconds: `5 * GOSSIP_SECOND`.
pub type gossip_duration = u64;

/// As a timeout: no limit. Its name in C, as those of the units, stands in cbindgen.toml.
const GOSSIP_FOREVER: gossip_duration = u64::MAX;

/// A century: as good as for ever, and within what any clock can count to.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);

fn duration(nanoseconds: gossip_duration) -> std::time::Duration {
    std::time::Duration::from_nanos(nanoseconds).min(LONGEST)
}

fn nanoseconds(duration: std::time::Duration) -> gossip_duration {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What a function that only looks at a handle gives: of NULL, `otherwise`.
unsafe fn look<T, R>(handle: *const T, otherwise: R, at: impl FnOnce(&T) -> R) -> R {
    // SAFETY: as asked of our caller.
    let Ok(handle) = (unsafe { handle::get(handle, "") }) else { return otherwise };
    guard::quietly(otherwise, || at(handle))
}

fn invalid(text: impl Into<String>) -> Box<error::gossip_error> {
    error::gossip_error::new(gossip_result::GOSSIP_INVALID_ARGUMENT, text)
}

fn null(name: &str) -> Box<error::gossip_error> {
    error::gossip_error::new(gossip_result::GOSSIP_NULL_POINTER, format!("{name} is NULL"))
}
