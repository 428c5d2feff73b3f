//! Skipping of tests that cannot run on this machine.

/// Reports that a check is skipped, and why: prints a line that begins with `SKIPPED`.
///
/// # Panics
///
/// Panics if the environment variable `STRICT` is `1`: a skipped check is then a failure.
pub fn skip(check: &str, reason: &str) {
    let strict = std::env::var_os("STRICT").is_some_and(|strict| strict == "1");
    assert!(!strict, "{check}: {reason} (STRICT=1 does not allow to skip it)");
    println!("SKIPPED: {check}: {reason}");
}
