//! Threads that do not start and file descriptors that are not available: every place that asks for one fails with an
//! error that says so, nothing hangs or spins, nothing is lost without a report, and the next attempt works. One test at a
//! time: the faults are those of the process. `tests/descriptor_faults.rs` really takes the descriptors of a process
//! away.
//!
//! `FABRIC_GOSSIP_THREAD_SEEDS` sets how many seeds are run over each form of network (60).

#[path = "../common/mod.rs"]
mod common;

use common::*;
use fabric_gossip::comm::{AckHandle, Comm, Event, RemotePeer, SendResult};
use fabric_gossip::internals::random::{Random, SeededRandom};
use fabric_gossip::testing::{live_objects, DescriptorFaults, ThreadFaults};
use fabric_gossip::ErrorKind;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// The library's kinds of threads, by the start of their names.
const KINDS: [&str; 5] = ["gossip-write", "gossip-read", "gossip-ids", "gossip-stop", "memory-in"];
#[cfg(feature = "c-core")]
const KINDS_OVER_GRPC: [&str; 3] = ["gossip-in", "gossip-accept", "gossip-poll"];
#[cfg(feature = "http2")]
const KINDS_OVER_HTTP2: [&str; 3] = ["gossip-in", "gossip-accept", "gossip-steward"];

/// The places where the library, or the C core for it, needs a descriptor. Not among them are the files that a host names,
/// and reads that only make an error more exact: the numbers of threads, from `/proc`.
const PLACES: [&str; 2] = ["memory dial", "memory accept"];
#[cfg(feature = "c-core")]
const PLACES_OVER_GRPC: [&str; 3] = ["dial", "accept", "listen"];
#[cfg(feature = "http2")]
const PLACES_OVER_HTTP2: [&str; 3] = ["dial", "accept", "listen"];

/// How much longer than its limit a call may take.
const SLACK: Duration = Duration::from_millis(200);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock()
}

/// Checks that a call with this limit is over in time.
fn within<T>(limit: Duration, what: &str, call: impl FnOnce() -> T) -> T {
    within_slack(limit, SLACK, what, call)
}

fn over_every_form(test: impl Fn(&dyn Fn(&str) -> Node)) {
    let memory = Memory::new();
    test(&|name| memory.node(name));
    #[cfg(feature = "c-core")]
    {
        let grpc = Grpc::new();
        test(&|name| grpc.node(name));
    }
    #[cfg(feature = "http2")]
    {
        let http2 = Nghttp2::new();
        test(&|name| http2.node(name));
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
        eventually(&format!("seed {seed}: nothing is alive"), || live_objects().is_empty());
    }
    let struck = ThreadFaults::struck();
    let missed: Vec<_> =
        KINDS.iter().filter(|kind| struck.get(**kind).is_none_or(|(_, refused)| *refused == 0)).collect();
    assert!(seeds < 60 || missed.is_empty(), "never refused: {missed:?} of {struck:?}");
    let sockets: Vec<&str> = Vec::new();
    #[cfg(feature = "c-core")]
    let sockets = [sockets, KINDS_OVER_GRPC.into()].concat();
    #[cfg(feature = "http2")]
    let sockets = [sockets, KINDS_OVER_HTTP2.into()].concat();
    for kind in sockets {
        assert!(
            seeds < 60 || struck.get(kind).is_some_and(|(asked, _)| *asked > 0),
            "never asked for: {kind} {struck:?}"
        );
    }
    let descriptors = DescriptorFaults::struck();
    let places: Vec<&str> = PLACES.into();
    #[cfg(feature = "c-core")]
    let places = [places, PLACES_OVER_GRPC.into()].concat();
    #[cfg(feature = "http2")]
    let places = [places, PLACES_OVER_HTTP2.into()].concat();
    let missed: Vec<_> =
        places.iter().filter(|place| descriptors.get(**place).is_none_or(|(_, refused)| *refused == 0)).collect();
    assert!(seeds < 60 || missed.is_empty(), "never refused: {missed:?} of {descriptors:?}");
    // The C core is started once, and other transports watch their sockets, before there are faults; and nothing here asks
    // how much has arrived.
    let elsewhere = ["core", "epoll", "arrivals"];
    let unknown: Vec<_> = descriptors
        .keys()
        .filter(|place| !places.contains(&place.as_str()) && !elsewhere.contains(&place.as_str()))
        .collect();
    assert!(unknown.is_empty(), "places that are not listed: {unknown:?}");
    println!("{seeds} seeds over each form; asked for and refused: {struck:?} {descriptors:?}");
    let unknown: BTreeMap<_, _> =
        struck.iter().filter(|(kind, _)| !kind.starts_with("gossip-") && *kind != "memory-in").collect();
    assert!(unknown.is_empty(), "threads with other names: {unknown:?}");
}

/// Three peers send to each other while threads do not start, descriptors are not to be had, or both, with some probability;
/// then all stop.
fn run(seed: u64, node: &dyn Fn(&str) -> Node) {
    let peers: Vec<Node> = ["a", "b", "c"].iter().map(|name| node(name)).collect();
    let events: Vec<_> = peers.iter().map(|peer| peer.events()).collect();
    let mut rates = SeededRandom::new(seed);
    let [of_threads, of_descriptors] = [0, 1].map(|kind| match seed % 3 {
        only if only != 2 && only != kind => 0,
        _ => rates.below(600),
    });
    let strikes = |salt, rate| {
        let random = Mutex::new(SeededRandom::new(seed ^ salt));
        move |_: &str| random.lock().below(1000) < rate
    };
    thread::scope(|scope| {
        let acknowledging: Vec<_> = peers
            .iter()
            .map(|peer| {
                let inbox = peer.inbox();
                scope.spawn(move || inbox.iter().filter(|received| received.ack(None).is_ok()).count() as u64)
            })
            .collect();
        let faults =
            (ThreadFaults::new(strikes(0x7ead, of_threads)), DescriptorFaults::new(strikes(0xde5c, of_descriptors)));
        let sent: Vec<thread::Result<Sent>> = thread::scope(|senders| {
            let sending = |from| senders.spawn(move || send_to_others(seed, from));
            let sending: Vec<_> = (0..peers.len()).map(|from| (from, &peers)).map(sending).collect();
            sending.into_iter().map(|sender| sender.join()).collect()
        });
        let unexplained = others_start_or_say_why();
        thread::scope(|stops| peers.iter().for_each(|peer| drop(stops.spawn(|| peer.stop()))));
        drop(faults);
        let acknowledged: Vec<u64> = acknowledging.into_iter().map(|thread| thread.join().unwrap()).collect();
        // Only here, since a thread that fails would otherwise leave the others waiting.
        let sent = sent.into_iter().map(|sent| sent.unwrap_or_else(|panic| resume_unwind(panic)));
        assert!(unexplained.is_empty(), "seed {seed}: these errors do not say why: {unexplained:?}");
        for (((peer, events), sent), acknowledged) in peers.iter().zip(&events).zip(sent).zip(acknowledged) {
            let undelivered: usize = events
                .iter()
                .map(|event| match event {
                    Event::Undelivered { messages, written: false, .. } => messages.len(),
                    _ => 0,
                })
                .sum();
            let found = peer.metrics().gossip_comm_messages_sent + undelivered as u64;
            let least = sent.accepted + acknowledged;
            assert!(
                (least..=least + sent.perhaps).contains(&found),
                "seed {seed}, {}: {found} written or reported of {least}, and perhaps {}",
                peer.name,
                sent.perhaps
            );
            for handle in sent.handles {
                // A second request after the outcome returns that the Comm has stopped.
                let stopped =
                    |result: &SendResult| result.error.as_ref().is_some_and(|e| e.kind() == ErrorKind::Stopped);
                let told: Vec<_> = (0..3).filter_map(|_| handle.wait(Duration::ZERO)).collect();
                let outcomes = told.iter().filter(|result| !stopped(result)).count();
                assert!(told.len() == 3 && outcomes <= 1, "seed {seed}, {}: {outcomes} outcomes", peer.name);
            }
            let none_is_open = || (peer.connection_count(), peer.open_connections()) == (0, 0);
            match peer.local_addr() {
                Some(_) => assert!(none_is_open(), "seed {seed}, {}: connections are open after the stop", peer.name),
                // The threads that serve streams are the network's.
                None => eventually(&format!("seed {seed}, {}: no connection is open", peer.name), none_is_open),
            }
        }
    });
    drop((events, peers));
    eventually(&format!("seed {seed}: no thread is left"), || library_threads().is_empty());
}

/// The messages that one peer sent.
#[derive(Default)]
struct Sent {
    accepted: u64,
    /// Sends that wait for acknowledgements do not report whether the message was accepted.
    perhaps: u64,
    handles: Vec<AckHandle>,
}

/// Sends to the other peers under both of their names. No call takes longer than its limit.
fn send_to_others(seed: u64, (from, peers): (usize, &Vec<Node>)) -> Sent {
    let mut random = SeededRandom::new(seed ^ from as u64);
    let (peer, mut sent) = (&peers[from], Sent::default());
    let block = |n| fabric_gossip::message::data(n, "channel", n, "block");
    for n in 0..30 {
        let other = &peers[(from + 1 + random.below(2) as usize) % 3];
        let name = if random.below(2) == 0 { other.peer() } else { other.address() };
        match random.below(10) {
            0 => peer.close_conn(&name),
            1 => drop(within(ms(20), "connect", || peer.connect(&name, ms(20)))),
            2 => thread::yield_now(),
            3 => {
                let results = within(ms(5), "send_with_ack", || peer.send_with_ack(block(n), ms(5), 1, &[name]));
                assert_eq!(results.len(), 1, "one outcome");
                sent.perhaps += 1;
            }
            4 => {
                let handle = within(ms(5), "send_tracked", || peer.send_tracked(block(n), ms(5), &name));
                sent.accepted += u64::from(handle.is_ok());
                sent.handles.extend(handle.ok());
            }
            _ => {
                let send = || peer.send_timeout(&data(n), ms(5), std::slice::from_ref(&name)).is_ok();
                sent.accepted += u64::from(within(ms(5), "send", send));
            }
        }
    }
    sent
}

/// Starts and stops others. One that cannot have its own threads, or its socket, does not start, and says why: returns the
/// errors that do not.
fn others_start_or_say_why() -> Vec<String> {
    let builder = || Comm::builder(identity("d"), World::default().crypto("d"), Arc::new(World::default()));
    let mut unexplained = Vec::new();
    let mut judge = |started: fabric_gossip::Result<Comm>| match started.map_err(|e| e.to_string()) {
        Ok(comm) => comm.stop(),
        Err(text) if text.contains("cannot start a thread") || text.contains("Too many open files") => {}
        Err(text) => unexplained.push(text),
    };
    judge(builder().transport(Memory::new().transport("d", Security::Mutual)).start());
    #[cfg(any(feature = "c-core", feature = "http2"))]
    judge(builder().listen("127.0.0.1:0").tls(sockets::tls("d")).start());
    unexplained
}

#[test]
#[cfg(feature = "c-core")]
fn what_lacks_a_descriptor_over_the_c_core_says_so_and_works_again_after_that() {
    what_lacks_a_descriptor_says_so(&Grpc::new());
}

#[test]
#[cfg(feature = "http2")]
fn what_lacks_a_descriptor_over_http2_says_so_and_works_again_after_that() {
    what_lacks_a_descriptor_says_so(&Nghttp2::new());
}

#[cfg(any(feature = "c-core", feature = "http2"))]
fn what_lacks_a_descriptor_says_so(net: &impl Form) {
    let _alone = alone();
    let (node, peer) = (net.node("node"), net.node("peer"));
    let limit = Duration::from_secs(2);
    let lacking = |place: &'static str| DescriptorFaults::new(move |at| at == place);
    for place in ["dial", "accept"] {
        let faults = lacking(place);
        let error = within(limit, place, || node.connect(&peer.peer(), limit)).unwrap_err();
        assert!(place == "accept" || names_the_limit(&error), "{place}: {error}");
        drop(faults);
        node.connect(&peer.peer(), PATIENCE).unwrap();
        node.close_conn(&peer.peer());
        eventually("it is closed", || node.open_connections() + peer.open_connections() == 0);
    }
    let start = || net.builder("other").listen("127.0.0.1:0").tls(sockets::tls("other")).start();
    let faults = lacking("listen");
    let error = start().expect_err("it listens without a descriptor");
    assert!(names_the_limit(&error), "{error}");
    drop(faults);
    start().unwrap().stop();
}

#[test]
#[cfg(feature = "http2")]
fn a_transport_that_lacks_a_descriptor_to_watch_sockets_says_so_and_works_after_that() {
    use fabric_gossip::transport::{http2, Limits};
    let _alone = alone();
    let transport = http2::Http2Transport::new(None, Limits::default(), http2::Options::default()).unwrap();
    let faults = DescriptorFaults::new(|at| at == "epoll");
    let error = transport.listen_without_service("127.0.0.1:0").err().expect("it listens without a descriptor");
    assert!(names_the_limit(&error), "{error}");
    drop(faults);
    drop(transport.listen_without_service("127.0.0.1:0").unwrap());
}

#[cfg(any(feature = "c-core", feature = "http2"))]
fn names_the_limit(error: &fabric_gossip::Error) -> bool {
    ["Too many open files", "RLIMIT_NOFILE is ", "ulimit -n"].iter().all(|part| error.to_string().contains(part))
}

#[test]
fn callers_wait_without_using_the_processor_while_neither_threads_nor_descriptors_are_to_be_had() {
    let _alone = alone();
    let memory = Memory::new();
    waits_without_using_the_processor(&memory);
    #[cfg(feature = "c-core")]
    waits_without_using_the_processor(&Grpc::new());
    #[cfg(feature = "http2")]
    waits_without_using_the_processor(&Nghttp2::new());
}

fn waits_without_using_the_processor(net: &impl Form) {
    let (node, mute) = (net.node("node"), net.mute());
    let silent = RemotePeer::new(&mute.endpoint);
    // Its writer waits for the handshake, so the queue stays as full as it is.
    let accepted = (0..10_000).take_while(|n| node.send(&data(*n), from_ref(&silent)).is_ok()).count();
    assert!(accepted < 10_000, "the queue is never full");
    let faults = (ThreadFaults::new(|_| true), DescriptorFaults::new(|_| true));
    let limit = Duration::from_secs(2);
    let begun = cpu_time();
    let block = || fabric_gossip::message::data(1, "channel", 1, "block");
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                within(limit, "send_timeout", || node.send_timeout(&data(1), limit, from_ref(&silent)).is_err())
            });
            scope.spawn(|| within(limit, "connect", || node.connect(&silent, limit).is_err()));
            scope.spawn(|| within(limit, "send_with_ack", || node.send_with_ack(block(), limit, 1, from_ref(&silent))));
            scope.spawn(|| within(limit, "send_tracked", || node.send_tracked(block(), limit, &silent).is_err()));
        }
        scope.spawn(|| within(limit, "flush", || node.flush(limit).is_err()));
        // A host that tries again and again, with a pause, does not make the library spin either.
        scope.spawn(|| {
            let until = Instant::now() + limit;
            while Instant::now() < until {
                let other = net.refused();
                let _ =
                    within(ms(50), "send", || node.send_timeout(&data(1), ms(50), &[RemotePeer::new(&other.endpoint)]));
                thread::park_timeout(ms(50));
            }
        });
    });
    let used = cpu_time() - begun;
    assert!(used <= limit / 20, "{used:?} of processor time in {limit:?}");
    drop(faults);
    node.stop();
}

/// The names of the threads of communication layers in this process.
fn library_threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| ["gossip-write", "gossip-read", "gossip-ids", "gossip-stop"].contains(&name.trim()))
        .collect()
}
