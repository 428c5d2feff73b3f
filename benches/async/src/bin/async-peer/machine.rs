//! The resources that a process uses, as reported by Linux: the same as the main benchmark's.

use std::fs::read_to_string;
use std::time::Duration;

/// Clock ticks per second in `/proc`: 100 on every Linux.
const TICKS: u64 = 100;

/// User and system time of this process, all threads.
pub fn cpu() -> Duration {
    let stat = read_to_string("/proc/self/stat").unwrap_or_default();
    // The name, in brackets, may contain anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split(' ').skip(11).take(2).map(number).sum();
    Duration::from_millis(ticks * (1000 / TICKS))
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    status("VmRSS:") * 1024
}

/// How many threads it has.
pub fn threads() -> u64 {
    status("Threads:")
}

fn status(field: &str) -> u64 {
    let status = read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|line| line.strip_prefix(field));
    value.and_then(|v| v.split_whitespace().next()).map_or(0, number)
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}
