//! Version of the library.
#![allow(dead_code)] // The header's constants are for C.

use super::text::gossip_str;

/// Major version of the library that this header belongs to. A different one means a different interface. (Before 1.0
/// the same applies to the minor version.)
pub const GOSSIP_VERSION_MAJOR: u32 = 0;
/// Minor version. A larger one has additions.
pub const GOSSIP_VERSION_MINOR: u32 = 1;
/// Patch version.
pub const GOSSIP_VERSION_PATCH: u32 = 0;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// Returns the version of the library at run time, such as `0.1.0`, for comparison with that of the header. Valid for
/// the lifetime of the process.
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
