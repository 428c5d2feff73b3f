//! Processes without a free file descriptor: connections continue, failures state the reason, everything is reported,
//! and stopping needs no descriptor. Each test has its own process, whose descriptors are really taken away.
//!
//! `FABRIC_GOSSIP_DESCRIPTOR_SEEDS` sets how many seeds are run (10).
#![cfg(feature = "c-core")]

mod common;

use common::*;
use fabric_gossip::comm::{Event, RemotePeer};
use fabric_gossip::internals::random::{Random, SeededRandom};
use parking_lot::Mutex;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Set in a child process: the test is to do its work there.
const CHILD: &str = "FABRIC_GOSSIP_TEST_CHILD";

/// The limit of descriptors in a child process.
const DESCRIPTORS: usize = 256;

/// Runs `test`, which is the calling test itself, in a separate process. Returns `true` in that process.
fn is_child_or_run_it(test: &str) -> bool {
    if std::env::var_os(CHILD).is_some() {
        return true;
    }
    let shell = format!("ulimit -n {DESCRIPTORS}; exec \"$0\" \"$@\"");
    let exe = std::env::current_exe().unwrap();
    let mut child = Command::new("sh");
    child.args(["-c", &shell]).arg(exe).args(["--exact", "--nocapture", test]).env(CHILD, "1");
    let out = child.output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && text.contains("running 1 test"), "{test}: {:?}\n{text}", out.status);
    false
}

/// Takes every free descriptor of this process.
fn all_descriptors() -> Vec<UnixDatagram> {
    std::iter::from_fn(|| UnixDatagram::unbound().ok()).collect()
}

/// Keeps the lines that are logged.
struct Log(Mutex<Vec<String>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("fabric_gossip")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

#[test]
fn without_a_free_descriptor_what_is_connected_goes_on_and_everything_is_reported_and_stops() {
    if !is_child_or_run_it("without_a_free_descriptor_what_is_connected_goes_on_and_everything_is_reported_and_stops") {
        return;
    }
    log::set_logger(&LOG).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let net = Grpc::new();
    let [node, peer, other] = ["node", "peer", "other"].map(|name| net.node(name));
    let (events, inbox) = (node.events(), peer.inbox());
    node.connect(&peer.peer(), PATIENCE).unwrap();

    let taken = all_descriptors();
    assert!(taken.len() > DESCRIPTORS / 4);
    // Nothing more is asked for where there is a connection already.
    thread::scope(|scope| {
        scope.spawn(|| inbox.recv().unwrap().ack(None).unwrap());
        let message = fabric_gossip::message::data(1, "channel", 1, "block");
        let results = node.send_with_ack(message, PATIENCE, 1, &[peer.peer()]);
        assert_eq!(results.ack_count(), 1, "{results}");
    });
    // A dial fails, with an event, a line in the log, and a count.
    node.send(&data(2), &[other.peer()]).unwrap();
    let (error, nonces) = await_undelivered(&events);
    assert_eq!(nonces, [2]);
    let failed = await_event(&events, |event| match event {
        Event::DialFailed { error, .. } => Some(error.to_string()),
        _ => None,
    });
    let logged = LOG.0.lock().join("\n");
    for text in [&error.to_string(), &failed, &logged] {
        assert!(text.contains("RLIMIT_NOFILE is 256") && text.contains("ulimit -n"), "{text}");
    }
    let metrics = node.metrics();
    assert_eq!((metrics.gossip_comm_messages_sent, node.connection_count()), (1, 1));
    // The end of a connection is noticed, and each stop comes back in time.
    let stop = |node: &Node| {
        let begun = Instant::now();
        node.stop();
        assert!(begun.elapsed() < Duration::from_secs(5), "stopping {} took {:?}", node.name, begun.elapsed());
        assert_eq!((node.connection_count(), node.open_connections()), (0, 0));
    };
    stop(&peer);
    await_disconnected(&events, "peer");
    stop(&node);
    stop(&other);
    assert!(UnixDatagram::unbound().is_ok(), "the stopped ones gave theirs back");
}

#[test]
fn descriptors_that_come_and_go_lose_nothing_and_hold_up_nothing() {
    if !is_child_or_run_it("descriptors_that_come_and_go_lose_nothing_and_hold_up_nothing") {
        return;
    }
    let seeds = std::env::var("FABRIC_GOSSIP_DESCRIPTOR_SEEDS").map_or(10, |text| text.parse().expect("a number"));
    (0..seeds).for_each(come_and_go);
}

/// Three peers connect, send and disconnect while the free descriptors are taken and given back.
fn come_and_go(seed: u64) {
    let net = Grpc::new();
    let limit = ms(500);
    let peers = ["a", "b", "c"].map(|name| {
        net.node_with(name, |config| {
            config.dial_timeout = limit;
            config.conn_timeout = limit;
        })
    });
    let events = peers.each_ref().map(|peer| peer.events());
    let over = AtomicBool::new(false);
    let accepted: Vec<u64> = thread::scope(|scope| {
        scope.spawn(|| {
            let mut random = SeededRandom::new(seed);
            let mut taken = Vec::new();
            while !over.load(Ordering::SeqCst) {
                taken.extend(all_descriptors());
                // All but a few, for a moment.
                taken.truncate(taken.len().saturating_sub(random.below(12) as usize));
                thread::park_timeout(ms(random.below(20)));
                if random.below(3) == 0 {
                    taken.clear();
                    thread::park_timeout(ms(random.below(20)));
                }
            }
        });
        let peers = &peers;
        let send = move |from: usize| {
            let mut random = SeededRandom::new(seed ^ from as u64);
            let mut accepted = 0;
            for n in 0..60 {
                let (peer, other) = (&peers[from], &peers[(from + 1 + random.below(2) as usize) % 3]);
                let name = if random.below(2) == 0 { other.peer() } else { other.address() };
                within_slack(ms(20), ms(200), "a call", || match random.below(6) {
                    0 => peer.close_conn(&name),
                    1 => drop(peer.connect(&name, ms(20))),
                    _ => accepted += u64::from(peer.send_timeout(&data(n), ms(20), from_ref(&name)).is_ok()),
                });
            }
            accepted
        };
        let senders = [0, 1, 2].map(|from| scope.spawn(move || send(from)));
        let accepted = senders.map(|sender| sender.join());
        over.store(true, Ordering::SeqCst);
        accepted.map(|accepted| accepted.unwrap()).into()
    });
    // With descriptors every peer is reachable again: connections that could not be accepted meanwhile are now.
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        let to = RemotePeer::with_id(&peers[to].endpoint, peers[to].id());
        eventually(&format!("seed {seed}: {from} reaches {to}"), || {
            peers[from].connect(&to, Duration::from_secs(2)).is_ok()
        });
    }
    thread::scope(|scope| {
        for ((peer, events), accepted) in peers.iter().zip(&events).zip(accepted) {
            scope.spawn(move || {
                stop_and_account(peer, events, accepted);
                assert_eq!((peer.connection_count(), peer.open_connections()), (0, 0));
            });
        }
    });
}

/// Every request to the system for a descriptor has a hook for the tests, so that no place is missing in their faults. The tool's page
/// for Prometheus is no part of the library.
#[test]
fn every_request_for_a_descriptor_can_be_made_to_fail() {
    const REQUESTS: [&str; 6] = [
        "UnixDatagram::",
        "UnixStream::pair",
        "TcpListener::bind",
        "read_dir(\"/proc/self/fd",
        "add_http2_port(",
        "pub fn wait_connected",
    ];
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![source];
    let mut asking = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.extend((!entry.ends_with("bin")).then_some(entry));
                continue;
            }
            let text = std::fs::read_to_string(&entry).unwrap_or_default();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let requests = REQUESTS.iter().any(|request| text.contains(request));
            if requests && !text.contains("descriptor(") {
                asking.push(entry);
            }
        }
    }
    assert!(
        asking.is_empty(),
        "these ask for descriptors, and `sync::descriptor` does not stand before it: {asking:?}"
    );
}
