//! The process around it: threads, processor time, exit. Each runs in a child process of its own.

use super::net::*;
use crate::certs::Authority;
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::testing::ThreadFaults;
use fabric_gossip::transport::c_core::CoreTransport;
use fabric_gossip::transport::c_core::Options;
use fabric_gossip::transport::Server;
use fabric_gossip::transport::Transport;
use fabric_gossip::transport::{Limits, Tls};
use fabric_gossip::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Takes every descriptor of this process but `free`. The limit should be low.
fn all_descriptors_but(free: usize) -> Vec<UnixDatagram> {
    let mut taken: Vec<_> = std::iter::from_fn(|| UnixDatagram::unbound().ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

/// A server that echoes, and the certificates to reach it with.
fn serving() -> (Tls, Box<dyn Server>) {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let server = start(Some(&tls), &Limits::default(), echo());
    (tls, server)
}

#[test]
fn exit_with_live_connections() {
    // It went wrong one time in fifteen where OpenSSL cleaned up at exit.
    in_own_process!(20);
    let (tls, server) = serving();
    let streams: Vec<_> = (0..10).map(|_| open(Some(&tls), server.local_addr())).collect();
    let answers = Arc::new(AtomicUsize::new(0));
    for stream in &streams {
        let (stream, answers) = (stream.clone(), answers.clone());
        std::thread::spawn(move || loop {
            stream.send(Bytes::from(vec![1; 1000])).unwrap();
            next(&stream);
            answers.fetch_add(1, Ordering::SeqCst);
        });
    }
    eventually("all of them are at it", || answers.load(Ordering::SeqCst) >= 100 * streams.len());
    std::process::exit(0);
}

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

#[test]
fn a_dial_that_fails_for_lack_of_descriptors_names_them() {
    in_own_process!();
    let (_, server) = serving();
    let transport = core(None);
    let dial = || transport.dial(server.local_addr(), Duration::from_secs(1), &Cancel::new()).err();
    for free in [0, 1] {
        let taken = all_descriptors_but(free);
        let error = dial().expect("nothing answers in plain text").to_string();
        drop(taken);
        assert!(error.contains("RLIMIT_NOFILE is ") && error.contains("ulimit -n"), "with {free}: {error}");
    }
    let error = dial().expect("nothing answers in plain text").to_string();
    assert!(!error.contains("RLIMIT_NOFILE"), "{error}");
}

#[test]
fn an_idle_connection_uses_no_processor_time() {
    in_own_process!();
    let (tls, server) = serving();
    let streams: Vec<_> = (0..5).map(|_| open(Some(&tls), server.local_addr())).collect();
    for stream in &streams {
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(stream);
        let stream = stream.clone();
        std::thread::spawn(move || stream.recv(None));
    }
    let quiet = open(Some(&tls), server.local_addr());
    let before = ticks();
    // A read with a limit is one more wait that uses none.
    assert!(matches!(quiet.recv(Some(Duration::from_secs(2))), Ok(None)));
    let used = ticks() - before;
    assert!(used <= 4, "{used} ticks of 10 ms in 2 s");
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

/// User and system time of this process, in ticks of 10 ms.
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn nothing_is_left_after_many_cycles() {
    in_own_process!();
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let cycle = || {
        let server = start(Some(&tls), &Limits::default(), echo());
        let stream = open(Some(&tls), server.local_addr());
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(&stream);
        assert!(server.stop(Duration::ZERO));
    };
    let count = |of: &str| std::fs::read_dir(format!("/proc/self/{of}")).unwrap().count();
    cycle();
    eventually("the core's threads end with the last object", || threads_named("") <= 2);
    let (files, memory) = (count("fd"), resident());
    (0..200).for_each(|_| cycle());
    eventually("all threads end", || threads_named("") <= 2);
    assert!(count("fd") <= files + 2, "{files} file descriptors became {}", count("fd"));
    let grown = resident().saturating_sub(memory);
    assert!(grown < 20 << 10, "{grown} KiB more after 200 cycles");
}

/// Resident memory in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
