//! The environment of the run, and the size of the programs.

use crate::results::Record;
use crate::support::machine;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn hardware() -> String {
    format!("{}. {}", machine::text(), said("date", &["-u", "+%F %H:%M UTC"]))
}

/// Describes time, machine and versions as text.
pub fn describe() -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let commit = said("git", &["-C", root, "rev-parse", "--short=12", "HEAD"]);
    let changed = !said("git", &["-C", root, "status", "--porcelain"]).is_empty();
    let changed = if changed { ", with changes that are not committed" } else { "" };
    format!(
        "{} at the start. Commit {commit}{changed}. {}, gRPC {}, {}.",
        hardware(),
        said("rustc", &["--version"]),
        fabric_gossip::transport::c_core::core_version(),
        openssl::version::version(),
    )
}

fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    output.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// How large the programs are without symbols, and the system's libraries that ours needs beside it.
pub fn binaries(ours: &Path, theirs: Option<&Path>, scratch: &Path) -> Vec<Record> {
    let record = |variant: &str, metric: &str, value: u64| Record {
        workload: "binary".into(),
        size: 0,
        connections: 1,
        variant: variant.into(),
        metric: metric.into(),
        unit: "bytes".into(),
        value: value as f64,
        round: 0,
    };
    let mut records = Vec::new();
    for (variant, program) in [("http2", Some(ours)), ("async", theirs)] {
        if let Some(bytes) = program.and_then(|program| stripped(program, scratch)) {
            records.push(record(variant, "program", bytes));
        }
    }
    records.push(record("http2", "libraries", libraries().iter().filter_map(|file| length(file)).sum()));
    records
}

fn length(file: &Path) -> Option<u64> {
    Some(std::fs::metadata(file).ok()?.len())
}

/// `None` if there is no `strip`: symbols would be half of it.
fn stripped(program: &Path, scratch: &Path) -> Option<u64> {
    let copy = scratch.join("stripped");
    let status = Command::new("strip").arg("-o").arg(&copy).arg(program).status();
    let bytes = status.is_ok_and(|status| status.success()).then(|| length(&copy)).flatten();
    let _ = std::fs::remove_file(copy);
    bytes
}

/// OpenSSL, as this process has it loaded.
fn libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let path = |line: &str| line.split_whitespace().nth(5).map(PathBuf::from);
    let mut files: Vec<PathBuf> = maps.lines().filter_map(path).collect();
    files.retain(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libssl") || name.starts_with("libcrypto")
    });
    files.sort();
    files.dedup();
    files
}
