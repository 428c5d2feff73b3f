//! Properties of the machine, and the resources that a process uses, as reported by Linux.

use serde_json::{json, Value};
use std::fs::read_to_string;
use std::time::Duration;

/// Clock ticks per second in `/proc`: 100 on every Linux.
const TICKS: u64 = 100;

pub fn describe() -> Value {
    json!({ "cpu": cpu_model(), "cores": cores(), "kernel": kernel(), "load": load() })
}

pub fn text() -> String {
    format!("{} cores of {}, Linux {}, load average {}", cores(), cpu_model(), kernel(), load())
}

fn cpu_model() -> String {
    let info = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name"));
    model.and_then(|m| m.split_once(": ")).map_or("an unknown processor".into(), |(_, name)| name.trim().to_owned())
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn kernel() -> String {
    read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// The load average of the last minute.
pub fn load() -> String {
    read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}

/// Processor time since some moment.
pub struct Usage {
    ours: u64,
    busy: u64,
    all: u64,
}

impl Usage {
    pub fn now() -> Usage {
        let stat = read_to_string("/proc/stat").unwrap_or_default();
        let times: Vec<u64> = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).map(number).collect();
        let all: u64 = times.iter().take(8).sum();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        Usage { ours: ticks(), busy: all - idle, all }
    }

    /// Of this process, all threads, user and system.
    pub fn cpu(&self) -> Duration {
        Duration::from_millis((ticks() - self.ours) * (1000 / TICKS))
    }

    /// Usage of the machine by other processes, in percent; a child counts as other until it has ended.
    pub fn others(&self) -> f64 {
        let now = Usage::now();
        let theirs = (now.busy - self.busy).saturating_sub(now.ours - self.ours);
        theirs as f64 / (now.all - self.all).max(1) as f64 * 100.0
    }
}

/// User and system time of this process and its ended children.
fn ticks() -> u64 {
    ticks_of("self")
}

fn ticks_of(process: &str) -> u64 {
    let stat = read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The name, in brackets, may contain anything.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    fields.split(' ').skip(11).take(4).map(number).sum()
}

/// Processor time of this process in nanoseconds, in steps of 10 ms. Unlike [`cpu_nanos`], asking costs little with
/// thousands of threads.
pub fn process_nanos() -> u64 {
    ticks() * (1_000_000_000 / TICKS)
}

/// Processor time of another process, its ended threads included, in nanoseconds in steps of 10 ms.
pub fn nanos_of(process: u32) -> u64 {
    ticks_of(&process.to_string()) * (1_000_000_000 / TICKS)
}

/// Processor time of the threads that live now, more exact than ticks.
pub fn cpu_nanos() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let times = tasks.filter_map(|task| read_to_string(task.path().join("schedstat")).ok());
    times.map(|text| text.split(' ').next().map_or(0, number)).sum()
}

/// Resident memory of this process in bytes.
pub fn resident() -> u64 {
    status("VmRSS:") * 1024
}

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
