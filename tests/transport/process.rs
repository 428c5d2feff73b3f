//! Effects on the process: threads, processor time, exit. Each test runs in a separate child process.

use super::footprint::{all_descriptors_but, serving};
use super::net::*;
use bytes::Bytes;
use fabric_gossip::testing::ThreadFaults;
use fabric_gossip::transport::c_core::CoreTransport;
use fabric_gossip::transport::c_core::Options;
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::Transport;
use fabric_gossip::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// With three or fewer the core aborts the process.
#[test]
fn too_few_descriptors_are_an_error_before_the_core_is_entered() {
    in_own_process!();
    let start = || core_with(None, &Limits::default()).and_then(|core| core.listen("127.0.0.1:0", echo()));
    let mut worked = Vec::new();
    for free in 0..12 {
        let taken = all_descriptors_but(free);
        let started = start();
        drop(taken);
        let Err(error) = started else {
            worked.push(free);
            continue;
        };
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        for part in ["needs 8 free file descriptors", &format!("only {free} "), "RLIMIT_NOFILE is ", "ulimit -n"] {
            assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
        }
    }
    assert_eq!(worked, [8, 9, 10, 11]);
}

/// Without its timer thread the core does not come back from its shutdown.
#[test]
fn threads_that_do_not_start_are_an_error_before_the_core_is_entered() {
    in_own_process!();
    let faults = ThreadFaults::new(|name| name == "gossip-probe");
    let Err(error) = CoreTransport::new(None, Limits::default(), Options::default()) else { panic!("it started") };
    assert_eq!(error.kind(), ErrorKind::Full, "{error}");
    for part in ["only 0 could be started", "RLIMIT_NPROC", "Resource temporarily unavailable", "ulimit -u"] {
        assert!(error.to_string().contains(part), "{part:?} is not in: {error}");
    }
    drop(faults);
    core(None);
}

/// Two threads that poll one connection would wake each other for every message.
#[test]
fn the_polling_thread_rests_while_there_is_traffic_and_lets_nobody_wait_for_it() {
    in_own_process!();
    let (tls, server) = serving();
    let stream = open(Some(&tls), server.local_addr());
    let round_trips = |count| {
        for _ in 0..count {
            stream.send(Bytes::from_static(b"x")).unwrap();
            next(&stream);
        }
    };
    // It goes to rest with these.
    round_trips(2_000);
    let before = switches("gossip-poll");
    round_trips(4_000);
    let rested = switches("gossip-poll") - before;
    assert!(rested < 2_000, "it was woken {rested} times in 4,000 round trips");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                round_trips(100);
            }
        });
        for _ in 0..10 {
            let other = open(Some(&tls), server.local_addr());
            other.send(Bytes::from_static(b"y")).unwrap();
            assert_eq!(next(&other), "y");
        }
        done.store(true, Ordering::Relaxed);
    });
    eventually("it sleeps until something happens", || {
        let before = switches("gossip-poll");
        // Nothing arrives within this time.
        assert!(matches!(stream.recv(Some(Duration::from_millis(50))), Ok(None)));
        switches("gossip-poll") == before
    });
    assert!(server.stop(Duration::ZERO));
}

/// How often the thread of this name has gone to sleep.
fn switches(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|task| task.path());
    let read = |file: std::path::PathBuf| std::fs::read_to_string(file).unwrap_or_default();
    let task = tasks.into_iter().find(|task| read(task.join("comm")).trim() == name).expect(name);
    let status = read(task.join("status"));
    let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    line.trim().parse().unwrap()
}
