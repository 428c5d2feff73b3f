//! The process around it: threads, processor time, exit. Each runs in a child process of its own.

use crate::certs::Authority;
use crate::support::*;
use bytes::Bytes;
use fabric_gossip::rpc::Options;
use std::process::Command;
use std::time::Duration;

/// Runs one ignored test of this file in a process of its own.
fn in_a_child(test: &str) {
    let exe = std::env::current_exe().unwrap();
    let out =
        Command::new(exe).args(["--exact", "--ignored", "--nocapture", &format!("process::{test}")]).output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("running 1 test"), "{test}: {:?}\n{text}", out.status);
}

#[test]
fn exit_with_live_connections() {
    (0..20).for_each(|_| in_a_child("child_exits"));
}

#[test]
#[ignore = "run by exit_with_live_connections"]
fn child_exits() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let server = start(Some(&tls), &Options::default(), echo());
    let streams: Vec<_> = (0..10).map(|_| open(Some(&tls), server.local_addr())).collect();
    for stream in &streams {
        let stream = stream.clone();
        std::thread::spawn(move || loop {
            stream.send(Bytes::from(vec![1; 1000]), false).unwrap();
            next(&stream);
        });
    }
    std::thread::sleep(Duration::from_millis(50));
    std::process::exit(0);
}

#[test]
fn an_idle_connection_uses_no_processor_time() {
    in_a_child("child_idles");
}

#[test]
#[ignore = "run by an_idle_connection_uses_no_processor_time"]
fn child_idles() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let server = start(Some(&tls), &Options::default(), echo());
    let streams: Vec<_> = (0..5).map(|_| open(Some(&tls), server.local_addr())).collect();
    for stream in &streams {
        stream.send(Bytes::from_static(b"x"), false).unwrap();
        next(stream);
        let stream = stream.clone();
        std::thread::spawn(move || stream.recv(None));
    }
    std::thread::sleep(Duration::from_millis(100));
    let before = ticks();
    std::thread::sleep(Duration::from_secs(2));
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
    in_a_child("child_cycles");
}

#[test]
#[ignore = "run by nothing_is_left_after_many_cycles"]
fn child_cycles() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let cycle = || {
        let server = start(Some(&tls), &Options::default(), echo());
        let stream = open(Some(&tls), server.local_addr());
        stream.send(Bytes::from_static(b"x"), false).unwrap();
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
