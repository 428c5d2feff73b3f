//! Which library this is.
#![allow(dead_code)] // The header's constants are for C.

use super::text::gossip_str;

/// The version that this header belongs to, its first number: another one means another interface. (Before 1.0 the same
/// goes for the second number.)
pub const GOSSIP_VERSION_MAJOR: u32 = 0;
/// Its second number: a larger one has more.
pub const GOSSIP_VERSION_MINOR: u32 = 1;
/// Its third number.
pub const GOSSIP_VERSION_PATCH: u32 = 0;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The version of the library that runs, such as `0.1.0`; to be compared with that of the header. Valid for ever.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub extern "C" fn gossip_version() -> gossip_str {
    gossip_str { data: VERSION.as_ptr().cast(), len: VERSION.len() - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_version_of_the_package() {
        let header = format!("{GOSSIP_VERSION_MAJOR}.{GOSSIP_VERSION_MINOR}.{GOSSIP_VERSION_PATCH}\0");
        assert_eq!(header, VERSION);
    }
}
