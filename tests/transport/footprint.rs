//! What a transport takes of its process: threads, descriptors, memory, processor time, and an orderly exit. Each runs in a
//! child process of its own.

use super::net::*;
use crate::certs::Authority;
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::{Limits, Server, Tls, Transport};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Duration;

/// Takes every descriptor of this process but `free`. The limit should be low.
pub fn all_descriptors_but(free: usize) -> Vec<UnixDatagram> {
    let mut taken: Vec<_> = std::iter::from_fn(|| UnixDatagram::unbound().ok()).collect();
    taken.truncate(taken.len() - free);
    taken
}

/// A server that echoes, and the certificates to reach it with.
pub fn serving() -> (Tls, Box<dyn Server>) {
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
    eventually("all threads end with the last object", || threads_named("") <= 2);
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
