//! The C interface declared in `include/fabric_gossip.h`. Its conventions are at the head of that header, which `cargo
//! xtask header` generates from the doc comments here.
//!
//! One file per topic. `handle` and `text` turn pointers from C into references, `guard` keeps panics out of C, `error`
//! numbers the codes. Every function is `unsafe` because it takes pointers from C, and sound under the contract in the
//! header: see `handle`. The only other unsafe code is the calls of the host's functions, in `host`.
#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]

// In the order of the header.
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

mod channel_member;

mod metrics;

mod guard;
mod handle;
mod ready;
mod transport;

use error::gossip_result;

/// A time span in nanoseconds: `5 * GOSSIP_SECOND`.
pub type gossip_duration = u64;

/// No limit, as a timeout. Its name in C, like those of the units, is in cbindgen.toml.
const GOSSIP_FOREVER: gossip_duration = u64::MAX;

/// A century: practically unlimited, and within the range of any clock.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(100 * 365 * 24 * 3600);

fn duration(nanoseconds: gossip_duration) -> std::time::Duration {
    std::time::Duration::from_nanos(nanoseconds).min(LONGEST)
}

fn nanoseconds(duration: std::time::Duration) -> gossip_duration {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Runs a function that only reads a handle; returns `otherwise` for NULL.
unsafe fn look<T, R>(handle: *const T, otherwise: R, at: impl FnOnce(&T) -> R) -> R {
    // SAFETY: required of our caller.
    let Ok(handle) = (unsafe { handle::get(handle, "") }) else { return otherwise };
    guard::quietly(otherwise, || at(handle))
}

fn invalid(text: impl Into<String>) -> Box<error::gossip_error> {
    error::gossip_error::new(gossip_result::GOSSIP_INVALID_ARGUMENT, text)
}

fn null(name: &str) -> Box<error::gossip_error> {
    error::gossip_error::new(gossip_result::GOSSIP_NULL_POINTER, format!("{name} is NULL"))
}
