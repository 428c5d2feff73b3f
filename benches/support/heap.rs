//! Memory that the process has allocated.

/// Returns the number of bytes that are allocated with malloc, by Rust code, the gRPC C core and OpenSSL alike. Chunks in the
/// thread caches of glibc count as allocated. Returns 0 where the C library does not say.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn in_use() -> usize {
    // SAFETY: takes no arguments and locks each arena while it counts.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn in_use() -> usize {
    0
}
