//! Threads that do not start: every place where one is asked for fails with an error that says so, nothing hangs or spins,
//! nothing is lost without a report, and the next attempt works. One test at a time: the faults are those of the process.
//!
//! `FABRIC_GOSSIP_THREAD_SEEDS` sets how many seeds are run over each form of network (60).

#[path = "../common/mod.rs"]
mod common;

use common::*;
use fabric_gossip::comm::{Comm, Event, RemotePeer};
use fabric_gossip::random::{Random, SeededRandom};
use fabric_gossip::testing::ThreadFaults;
use fabric_gossip::ErrorKind;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// The library's kinds of threads, by the start of their names.
const KINDS: [&str; 5] = ["gossip-write", "gossip-read", "gossip-ids", "gossip-stop", "memory-in"];
#[cfg(feature = "grpc")]
const KINDS_OVER_GRPC: [&str; 3] = ["gossip-in", "gossip-accept", "gossip-poll"];

/// How much longer than its limit a call may take.
const SLACK: Duration = Duration::from_millis(200);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock()
}

/// Checks that a call with this limit is over in time.
fn within<T>(limit: Duration, what: &str, call: impl FnOnce() -> T) -> T {
    let begun = Instant::now();
    let result = call();
    let took = begun.elapsed();
    assert!(took <= limit + SLACK, "{what} took {took:?}, its limit is {limit:?}");
    result
}

fn over_every_form(test: impl Fn(&dyn Fn(&str) -> Node)) {
    let memory = Memory::new();
    test(&|name| memory.node(name));
    #[cfg(feature = "grpc")]
    {
        let grpc = Grpc::new();
        test(&|name| grpc.node(name));
    }
}

#[test]
fn sends_fail_with_the_cause_while_no_thread_can_be_started_and_work_again_after_that() {
    let _alone = alone();
    over_every_form(|node| {
        let (node, peer) = (node("node"), node("peer"));
        let inbox = peer.inbox();
        let events = node.events();
        let to = [peer.peer()];
        {
            let _faults = ThreadFaults::new(|kind| kind == "gossip-write");
            let limit = Duration::from_secs(1);
            let begun = cpu_time();
            let refused = within(ms(0), "send", || node.send(&data(1), &to)).unwrap_err();
            let error = &refused.not_sent[0].error;
            assert_eq!((error.kind(), refused.not_sent[0].message.nonce()), (ErrorKind::Full, 1));
            for part in ["cannot start a thread (gossip-write)", "threads run in this process", "limit", "ulimit -u"] {
                assert!(error.to_string().contains(part), "{error}");
            }
            assert!(within(limit, "send_timeout", || node.send_timeout(&data(2), limit, &to)).is_err());
            let error = within(limit, "connect", || node.connect(&to[0], limit)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            let message = || fabric_gossip::message::data(3, "channel", 3, "block");
            let results = within(limit, "send_with_ack", || node.send_with_ack(message(), limit, 1, &to));
            assert_eq!(results[0].error.as_ref().map(|e| e.kind()), Some(ErrorKind::Full));
            let error = within(limit, "send_tracked", || node.send_tracked(message(), limit, &to[0])).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Full, "{error}");
            assert!(cpu_time() - begun < ms(100), "it does not spin");
        }
        let told = await_event(&events, |event| match event {
            Event::OutOfThreads { error } => Some(error.to_string()),
            _ => None,
        });
        assert!(told.contains("cannot start a thread"), "{told}");
        eventually("the next send starts one", || node.send(&data(9), &to).is_ok());
        assert_eq!(next_nonce(&inbox), 9);
    });
}

/// The processor time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    // utime and stime, in hundredths of a second.
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

#[test]
fn a_peer_whose_writer_does_not_start_is_refused_and_gets_in_later() {
    let _alone = alone();
    over_every_form(|node| {
        let (node, peer) = (node("node"), node("peer"));
        let (events, theirs) = (node.events(), peer.events());
        let inbox = node.inbox();
        // The dialler has its own already.
        peer.send(&data(1), &[RemotePeer::new(&node.endpoint)]).unwrap();
        assert_eq!(next_nonce(&inbox), 1);
        peer.close_conn(&RemotePeer::new(&node.endpoint));
        eventually("the connection is over", || node.connection_count() + peer.connection_count() == 0);
        let first = std::sync::atomic::AtomicBool::new(true);
        let faults = ThreadFaults::new(move |kind| {
            kind == "gossip-write" && !first.swap(false, std::sync::atomic::Ordering::SeqCst)
        });
        peer.send(&data(2), &[RemotePeer::new(&node.endpoint)]).unwrap();
        let (error, inbound) = await_refused(&events);
        assert!(inbound && error.to_string().contains("cannot start a thread (gossip-write)"), "{error}");
        let (error, _) = await_refused(&theirs);
        assert!(error.message().contains("cannot start a thread"), "{error}");
        drop(faults);
        assert_eq!((node.connection_count(), node.open_connections()), (0, 0));
        eventually("it gets in", || {
            let _ = peer.send(&data(3), &[RemotePeer::new(&node.endpoint)]);
            matches!(inbox.recv_timeout(ms(200)), Ok(message) if message.message().nonce() == 3)
        });
    });
}

#[test]
fn a_dial_whose_reader_does_not_start_is_reported_before_anything_is_sent() {
    let _alone = alone();
    over_every_form(|node| {
        let (node, peer) = (node("node"), node("peer"));
        let (events, theirs) = (node.events(), peer.events());
        let faults = ThreadFaults::new(|kind| kind == "gossip-read");
        node.send(&data(1), &[peer.peer()]).unwrap();
        let (error, nonces) = await_undelivered(&events);
        assert_eq!((error.kind(), nonces), (ErrorKind::Full, vec![1]));
        assert!(error.to_string().contains("cannot start a thread (gossip-read)"), "{error}");
        drop(faults);
        let told = std::iter::from_fn(|| theirs.try_recv().ok().flatten());
        let connected = told.into_iter().any(|event| matches!(event, Event::Connected { .. }));
        assert!(!connected, "a peer without a reader did not introduce itself");
    });
}

#[test]
fn whatever_does_not_start_everything_accepted_is_accounted_for_and_nothing_is_left() {
    let _alone = alone();
    let seeds = std::env::var("FABRIC_GOSSIP_THREAD_SEEDS").map_or(60, |text| text.parse().expect("a number"));
    for seed in 0..seeds {
        over_every_form(|node| run(seed, node));
    }
    let struck = ThreadFaults::struck();
    let missed: Vec<_> =
        KINDS.iter().filter(|kind| struck.get(**kind).is_none_or(|(_, refused)| *refused == 0)).collect();
    assert!(seeds < 60 || missed.is_empty(), "never refused: {missed:?} of {struck:?}");
    #[cfg(feature = "grpc")]
    for kind in KINDS_OVER_GRPC {
        assert!(
            seeds < 60 || struck.get(kind).is_some_and(|(asked, _)| *asked > 0),
            "never asked for: {kind} {struck:?}"
        );
    }
    let unknown: BTreeMap<_, _> =
        struck.iter().filter(|(kind, _)| !kind.starts_with("gossip-") && *kind != "memory-in").collect();
    assert!(unknown.is_empty(), "threads with other names: {unknown:?}");
}

/// Three peers send to each other while threads fail to start with some probability; then all stop.
fn run(seed: u64, node: &dyn Fn(&str) -> Node) {
    let peers: Vec<Node> = ["a", "b", "c"].iter().map(|name| node(name)).collect();
    let inboxes: Vec<_> = peers.iter().map(Node::inbox).collect();
    let events: Vec<_> = peers.iter().map(|peer| peer.events()).collect();
    let rate = SeededRandom::new(seed).below(600);
    let random = Mutex::new(SeededRandom::new(seed ^ 0x7ead));
    let faults = ThreadFaults::new(move |_| random.lock().below(1000) < rate);
    let accepted: Vec<u64> = thread::scope(|scope| {
        let senders: Vec<_> = peers
            .iter()
            .enumerate()
            .map(|(from, peer)| {
                let peers = &peers;
                scope.spawn(move || {
                    let mut random = SeededRandom::new(seed ^ from as u64);
                    let mut accepted = 0;
                    for n in 0..30 {
                        let other = &peers[(from + 1 + random.below(2) as usize) % 3];
                        let name = if random.below(2) == 0 { other.peer() } else { other.address() };
                        match random.below(8) {
                            0 => peer.close_conn(&name),
                            1 => drop(within(ms(20), "connect", || peer.connect(&name, ms(20)))),
                            2 => thread::yield_now(),
                            _ => {
                                accepted += u64::from(within(ms(5), "send", || {
                                    peer.send_timeout(&data(n), ms(5), std::slice::from_ref(&name)).is_ok()
                                }))
                            }
                        }
                    }
                    accepted
                })
            })
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    });
    // A Comm that cannot have its own threads does not start, and says why.
    let started = Comm::builder(identity("d"), World::default().crypto("d"), std::sync::Arc::new(World::default()))
        .transport(Memory::new().transport("d", Security::Mutual))
        .start();
    match started {
        Ok(comm) => comm.stop(),
        Err(e) => assert!(e.to_string().contains("cannot start a thread"), "{e}"),
    }
    thread::scope(|scope| peers.iter().for_each(|peer| drop(scope.spawn(|| peer.stop()))));
    drop(faults);
    for ((peer, events), accepted) in peers.iter().zip(&events).zip(accepted) {
        let undelivered: usize = events
            .iter()
            .map(|event| match event {
                Event::Undelivered { messages, written: false, .. } => messages.len(),
                _ => 0,
            })
            .sum();
        let written = peer.metrics().gossip_comm_messages_sent;
        assert_eq!(written + undelivered as u64, accepted, "seed {seed}, {}: written {written}", peer.name);
        assert_eq!((peer.connection_count(), peer.open_connections()), (0, 0), "seed {seed}, {}", peer.name);
    }
    drop((inboxes, peers));
    eventually(&format!("seed {seed}: no thread is left"), || library_threads().is_empty());
}

/// The names of the threads of communication layers in this process.
fn library_threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| ["gossip-write", "gossip-read", "gossip-ids", "gossip-stop"].contains(&name.trim()))
        .collect()
}
