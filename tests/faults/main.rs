//! Peers that talk over a network with faults: accepted messages are accounted for, and nothing is left behind.
//!
//! `FABRIC_GOSSIP_FAULT_SEEDS` sets how many seeds are run, `FABRIC_GOSSIP_FAULT_SEED` repeats a single one.

#[path = "../common/mod.rs"]
mod common;

use common::{cert, eventually, id, identity, ms, signature, Form, Memory, Security, PATIENCE};
use crossbeam_channel::{bounded, RecvTimeoutError};
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, Event, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::{CommConfig, SubscriptionOptions, WhenFull};
use fabric_gossip::crypto::CryptoService;
use fabric_gossip::internals::random::{Random, SeededRandom};
use fabric_gossip::message::{self, Content, GossipMessage, SignedMessage};
use fabric_gossip::testing::{live_objects, FaultRates, Faults};
use fabric_gossip::ErrorKind;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// Seeds run at a time: they mostly wait.
const AT_A_TIME: u64 = 8;
const SENDERS: u64 = 2;
const CONN_TIMEOUT: Duration = Duration::from_millis(60);

#[test]
fn whatever_happens_on_the_way_every_accepted_message_is_accounted_for_and_nothing_is_left() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let seeds = match number("FABRIC_GOSSIP_FAULT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FABRIC_GOSSIP_FAULT_SEEDS").unwrap_or(1000),
    };
    let begun = Instant::now();
    let total = Mutex::new(Tally::default());
    let mut next = seeds.start;
    while next < seeds.end {
        let batch = next..seeds.end.min(next + AT_A_TIME);
        let running = Mutex::new(batch.clone().collect::<Vec<_>>());
        let (ended, end) = bounded::<()>(0);
        thread::scope(|scope| {
            let (running, total) = (&running, &total);
            scope.spawn(move || {
                if end.recv_timeout(PATIENCE * 3) == Err(RecvTimeoutError::Timeout) {
                    // Nothing else ends threads that hang.
                    eprintln!("these seeds do not end: {:?}, threads: {:?}", running.lock(), library_threads());
                    std::process::exit(1);
                }
            });
            for seed in batch.clone() {
                let ended = ended.clone();
                scope.spawn(move || match catch_unwind(AssertUnwindSafe(|| Run::new(seed).run())) {
                    Ok(tally) => {
                        total.lock().add(&tally);
                        running.lock().retain(|running| *running != seed);
                        drop(ended);
                    }
                    Err(panic) => {
                        eprintln!("this was seed {seed}: FABRIC_GOSSIP_FAULT_SEED={seed} repeats it");
                        resume_unwind(panic);
                    }
                });
            }
            drop(ended);
        });
        eventually(&format!("no thread is left of seeds {batch:?}"), || library_threads().is_empty());
        assert_eq!(live_objects(), [], "alive after the stop of seeds {batch:?}");
        next = batch.end;
    }
    println!("{} seeds in {:.1?}: {:?}", seeds.end - seeds.start, begun.elapsed(), total.lock());
}

/// The names of the library's threads in this process.
fn library_threads() -> Vec<String> {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Vec::new() };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("gossip-") || name.starts_with("memory-"))
        .collect()
}

/// The totals of all runs.
#[derive(Debug, Default)]
struct Tally {
    accepted: usize,
    received: usize,
    undelivered: usize,
    acknowledged: usize,
    refusals: u64,
    delays: u64,
    stalls: u64,
    corrupted: u64,
    cuts: u64,
    starved: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.accepted += other.accepted;
        self.received += other.received;
        self.undelivered += other.undelivered;
        self.acknowledged += other.acknowledged;
        self.refusals += other.refusals;
        self.delays += other.delays;
        self.stalls += other.stalls;
        self.corrupted += other.corrupted;
        self.cuts += other.cuts;
        self.starved += other.starved;
    }
}

/// One seed: a few peers, each with two threads that send and one that receives.
struct Run {
    seed: u64,
    net: Memory,
    peers: Vec<Peer>,
    /// Nothing is lost in transit: then everything accepted must arrive.
    gentle: bool,
    /// Sends that wait for acknowledgements count as accepted or not without saying which.
    exact: bool,
    stop_under_fire: bool,
}

struct Peer {
    name: String,
    endpoint: String,
    comm: Comm,
    faults: Faults,
    crypto: Weak<dyn CryptoService>,
    log: Mutex<Log>,
}

/// The observations of one peer, by the number of the message.
#[derive(Default)]
struct Log {
    /// How many peers took it.
    accepted: HashMap<u64, usize>,
    /// How many peers may have taken it.
    perhaps: HashMap<u64, usize>,
    acknowledged: HashMap<u64, usize>,
    acks_sent: usize,
    received: Vec<u64>,
    /// Messages out of order on one connection.
    disorder: Vec<(u64, u64)>,
}

/// Sender, receiver of a message with one receiver (or all ones), sending thread, count.
fn number(from: usize, thread: u64, count: u64) -> u64 {
    (from as u64) << 40 | thread << 32 | count
}

fn sender_of(number: u64) -> usize {
    (number >> 40) as usize
}

/// A message that shows whether it was changed in transit.
fn message(number: u64, size: usize) -> GossipMessage {
    let mut content = signature(b"intact", &number.to_be_bytes());
    content.resize(content.len() + size, 7);
    message::data(number, "channel", number, content)
}

/// Returns its number, if it is unchanged.
fn intact(message: &SignedMessage) -> Option<u64> {
    let Some(Content::DataMsg(data)) = message.content() else { return None };
    let payload = data.payload.as_ref()?;
    let check = signature(b"intact", &payload.seq_num.to_be_bytes());
    (payload.data.starts_with(&check) && payload.data[check.len()..].iter().all(|b| *b == 7)).then_some(payload.seq_num)
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut random = SeededRandom::new(seed);
        let net = Memory::new();
        let gentle = random.below(8) == 0;
        let mut peers = Vec::new();
        for n in 0..2 + random.below(3) {
            let mut rate = |most: u64| random.below(most) as u32;
            let mut rates = FaultRates { delay: rate(200), longest_delay: ms(3), ..Default::default() };
            if !gentle {
                rates.refuse = rate(200);
                rates.stall = rate(20);
                rates.corrupt = rate(30);
                rates.cut = rate(60);
                rates.starve = rate(150);
            }
            let faults = Faults::new(random.next_u64(), rates, Arc::new(SystemClock));
            let mut config = CommConfig::default();
            config.conn_timeout = if gentle { PATIENCE } else { CONN_TIMEOUT };
            config.dial_timeout = config.conn_timeout;
            config.send_buff_size = 2 + random.below(20) as usize;
            config.send_buff_bytes = 8 << 10;
            config.event_buff_size = 1 << 16;
            peers.push(Peer::start(&net, &format!("peer{n}"), faults, config));
        }
        let exact = random.below(2) == 0;
        Run { seed, net, peers, gentle, exact, stop_under_fire: !gentle && random.below(2) == 0 }
    }

    fn run(self) -> Tally {
        let undelivered = thread::scope(|scope| {
            let watchers: Vec<_> = self
                .peers
                .iter()
                .map(|peer| {
                    let (events, inbox) = (peer.comm.events(), self.inbox(peer));
                    scope.spawn(move || self_receive(peer, &inbox));
                    scope.spawn(move || reported(&events))
                })
                .collect();
            thread::scope(|senders| {
                for (from, peer) in self.peers.iter().enumerate() {
                    for thread in 0..SENDERS {
                        let run = &self;
                        senders.spawn(move || run.send(from, peer, thread));
                    }
                }
                if self.stop_under_fire {
                    let random = &mut SeededRandom::new(self.seed ^ 77);
                    pause(random, 20_000);
                    self.stop(&self.peers[random.below(self.peers.len() as u64) as usize]);
                }
            });
            if !self.stop_under_fire {
                self.peers.iter().for_each(|peer| peer.faults.calm());
                self.everybody_reaches_everybody();
                if self.gentle {
                    self.everything_arrives();
                }
            }
            thread::scope(|stops| {
                self.peers.iter().for_each(|peer| drop(stops.spawn(|| self.stop(peer))));
            });
            watchers.into_iter().map(|w| w.join().expect("the events")).collect::<Vec<_>>()
        });
        let tally = self.account(&undelivered);
        for peer in &self.peers {
            assert_eq!((peer.comm.connection_count(), peer.comm.flush(ms(0)).is_ok()), (0, true));
            // The threads that serve streams are the network's.
            let none_is_open = || peer.comm.open_connections() == 0;
            eventually(&format!("seed {}, {}: no connection is open", self.seed, peer.name), none_is_open);
            self.net.leave(&peer.endpoint);
        }
        let left: Vec<_> = self.peers.iter().map(|peer| peer.crypto.clone()).collect();
        let seed = self.seed;
        drop(self);
        eventually(&format!("seed {seed}: nothing holds a peer any more"), || {
            left.iter().all(|c| c.strong_count() == 0)
        });
        tally
    }

    fn inbox(&self, peer: &Peer) -> Subscription<ReceivedMessage> {
        let options = match self.gentle {
            true => SubscriptionOptions::default().when_full(WhenFull::Wait(None)),
            false => SubscriptionOptions::default().capacity(8).when_full(WhenFull::Wait(Some(ms(5)))),
        };
        peer.comm.subscribe_with(options, |_| true)
    }

    fn stop(&self, peer: &Peer) {
        let begun = Instant::now();
        peer.comm.stop();
        let took = begun.elapsed();
        assert!(self.gentle || took < CONN_TIMEOUT * 3 + Duration::from_secs(10), "stopping took {took:?}");
    }

    /// Runs one sending thread.
    fn send(&self, from: usize, peer: &Peer, thread: u64) {
        let mut random = SeededRandom::new(self.seed ^ number(from, thread, 1 << 20));
        let mut handles = Vec::new();
        // Several threads name a peer in both ways at the same time.
        let by_address = random.below(3) == 0;
        for count in 0..40 {
            let others: Vec<_> = self.peers.iter().filter(|p| p.name != peer.name).collect();
            let other = others[random.below(others.len() as u64) as usize];
            // Order is kept for a peer under one name: each thread sticks to one.
            let named = |other: &Peer| match by_address {
                true => RemotePeer::new(&other.endpoint),
                false => RemotePeer::with_id(&other.endpoint, id(&other.name)),
            };
            let to = named(other);
            let number = number(from, thread, count);
            let size = if random.below(8) == 0 { 6000 } else { random.below(100) as usize };
            let signed = SignedMessage::noop_sign(message(number, size)).unwrap();
            match random.below(20) {
                0..=6 => {
                    let many = random.below(4) == 0;
                    let targets = if many { others.iter().map(|o| named(o)).collect() } else { vec![to] };
                    let refused = peer.comm.send(&signed, &targets).err().map_or(0, |e| e.not_sent.len());
                    peer.accepted(number, targets.len() - refused);
                }
                7..=9 => {
                    let taken = peer.comm.send_timeout(&signed, ms(random.below(4)), &[to]).is_ok();
                    peer.accepted(number, taken.into());
                }
                10..=13 => match peer.comm.send_tracked(message(number, size), ms(random.below(4)), &to) {
                    Ok(handle) => {
                        peer.accepted(number, 1);
                        handles.push((number, handle));
                    }
                    Err(e) => assert!(matches!(e.kind(), ErrorKind::Full | ErrorKind::Stopped), "{e}"),
                },
                14 if !self.exact => {
                    let targets: Vec<_> = others.iter().map(|o| named(o)).collect();
                    peer.log.lock().perhaps.insert(number, targets.len());
                    let results = peer.comm.send_with_ack(message(number, size), ms(10), targets.len(), &targets);
                    assert_eq!(results.len(), targets.len(), "one outcome for each");
                    *peer.log.lock().acknowledged.entry(number).or_default() += results.ack_count();
                }
                15 if !self.gentle => peer.comm.close_conn(&to),
                16 if !self.gentle => self.net.network.cut(&other.endpoint),
                17 => drop(peer.comm.handshake(&to).is_ok()),
                _ => pause(&mut random, 2000),
            }
        }
        for (number, handle) in handles {
            let outcome = handle.wait(ms(random.below(20)));
            if outcome.is_some_and(|result| result.error.is_none()) {
                *peer.log.lock().acknowledged.entry(number).or_default() += 1;
                let again = handle.wait(Duration::ZERO);
                assert!(again.is_none_or(|r| r.error.is_some_and(|e| e.kind() == ErrorKind::Stopped)), "two outcomes");
            }
        }
    }

    /// Without faults, every peer delivers a message to every other and receives an answer.
    fn everybody_reaches_everybody(&self) {
        for (from, peer) in self.peers.iter().enumerate() {
            for (to, other) in self.peers.iter().enumerate().filter(|(to, _)| *to != from) {
                let mut tries = 0;
                let target = RemotePeer::with_id(&other.endpoint, id(&other.name));
                eventually(&format!("seed {}: {from} reaches {to}", self.seed), || {
                    tries += 1;
                    let number = number(from, SENDERS, (to as u64) << 16 | tries);
                    peer.log.lock().perhaps.insert(number, 1);
                    let results =
                        peer.comm.send_with_ack(message(number, 1), ms(500), 1, std::slice::from_ref(&target));
                    results.ack_count() == 1
                });
            }
        }
    }

    /// With nothing lost in transit, everything accepted arrives: waits for it. The accounts show whether it did.
    fn everything_arrives(&self) {
        let accepted: usize = self.peers.iter().map(|p| p.log.lock().accepted.values().sum::<usize>()).sum();
        let arrived = || -> usize {
            let expected = |log: &Log| log.received.iter().filter(|n| *n >> 32 & 0xff < SENDERS).count();
            self.peers.iter().map(|p| expected(&p.log.lock())).sum()
        };
        let limit = Instant::now() + Duration::from_secs(5);
        while arrived() < accepted && Instant::now() < limit {
            thread::park_timeout(ms(1));
        }
    }

    /// Compares the accepted, reported and received messages.
    fn account(&self, undelivered: &[Vec<(Option<u64>, bool)>]) -> Tally {
        let mut tally = Tally::default();
        let corrupted: u64 = self.peers.iter().map(|peer| peer.faults.struck()[3]).sum();
        let mut received: HashMap<u64, usize> = HashMap::new();
        for peer in &self.peers {
            peer.log.lock().received.iter().for_each(|number| *received.entry(*number).or_default() += 1);
        }
        for (from, (peer, reported)) in self.peers.iter().zip(undelivered).enumerate() {
            let log = peer.log.lock();
            let who = format!("seed {}, {}", self.seed, peer.name);
            assert!(log.disorder.is_empty(), "{who}: wrong order on a connection: {:x?}", log.disorder);
            let accepted: usize = log.accepted.values().sum();
            let perhaps: usize = log.perhaps.values().sum();
            let written = peer.comm.metrics().gossip_comm_messages_sent as usize;
            let least = accepted + log.acks_sent;
            let unwritten = reported.iter().filter(|(_, written)| !written).count();
            let found = written + unwritten;
            assert!(
                (least..=least + perhaps).contains(&found),
                "{who}: accepted {accepted}, perhaps {perhaps}, acknowledgements {}; written {written}, reported {}, \
                 {unwritten} of them unwritten",
                log.acks_sent,
                reported.len(),
            );
            if self.gentle {
                let arrived: usize = log.accepted.keys().map(|n| received.get(n).copied().unwrap_or(0)).sum();
                let of_these = |(n, _): &&(Option<u64>, bool)| n.is_some_and(|n| log.accepted.contains_key(&n));
                let undelivered = reported.iter().filter(of_these).count();
                assert_eq!((arrived, undelivered), (accepted, 0), "{who}: arrived and undelivered of those accepted");
            }
            // A stream that ends over a corrupted message was read up to that.
            let surely = |(number, written): &(Option<u64>, bool)| number.filter(|_| !written || corrupted == 0);
            let mut reports: HashMap<u64, usize> = HashMap::new();
            reported.iter().filter_map(surely).for_each(|number| *reports.entry(number).or_default() += 1);
            for (number, reports) in &reports {
                let taken = log.accepted.get(number).or(log.perhaps.get(number)).copied().unwrap_or(0);
                let arrived = received.get(number).copied().unwrap_or(0);
                let acknowledged = log.acknowledged.get(number).copied().unwrap_or(0);
                assert!(
                    reports + arrived <= taken,
                    "{who}: {number:x} taken {taken}, reported {reports}, {arrived} came; {:x?}",
                    reported
                );
                assert!(reports + acknowledged <= taken, "{who}: {number:x} both acknowledged and reported");
            }
            for (number, arrived) in received.iter().filter(|(number, _)| sender_of(**number) == from) {
                let taken = log.accepted.get(number).or(log.perhaps.get(number)).copied().unwrap_or(0);
                assert!(*arrived <= taken, "{who}: {number:x} taken {taken}, arrived {arrived}");
                let acknowledged = log.acknowledged.get(number).copied().unwrap_or(0);
                // A message changed in transit can be acknowledged all the same.
                assert!(
                    acknowledged <= *arrived || corrupted > 0,
                    "{who}: {number:x} acknowledged {acknowledged}, arrived {arrived}"
                );
            }
            let [refusals, delays, stalls, corrupted, cuts, starved] = peer.faults.struck();
            tally.add(&Tally {
                accepted,
                received: log.received.len(),
                undelivered: reported.len(),
                acknowledged: log.acknowledged.values().sum(),
                refusals,
                delays,
                stalls,
                corrupted,
                cuts,
                starved,
            });
        }
        tally
    }
}

impl Peer {
    fn start(net: &Memory, name: &str, faults: Faults, config: CommConfig) -> Peer {
        let crypto = net.world().crypto(name);
        let comm = Comm::builder(identity(name), crypto.clone(), Arc::new(net.world().clone()))
            .config(config)
            .transport(faults.on(net.transport(name, Security::Mutual)))
            .start()
            .unwrap();
        let endpoint = format!("{name}:1");
        net.network.listen(&endpoint, cert(name, Security::Mutual), comm.acceptor());
        let crypto = Arc::downgrade(&crypto);
        Peer { name: name.into(), endpoint, comm, faults, crypto, log: Mutex::default() }
    }

    fn accepted(&self, number: u64, peers: usize) {
        if peers > 0 {
            self.log.lock().accepted.insert(number, peers);
        }
    }
}

/// Receives until the peer stops, acknowledges messages, and checks the order on each connection.
fn self_receive(peer: &Peer, inbox: &Subscription<ReceivedMessage>) {
    let mut random = SeededRandom::new(sender_of(peer.name.len() as u64) as u64);
    // A message of each connection is kept, so that none has the address of another.
    let mut last: HashMap<(usize, u64), (u64, ReceivedMessage)> = HashMap::new();
    for received in inbox.iter() {
        let acked = received.ack((random.below(10) == 0).then_some("no")).is_ok();
        let mut log = peer.log.lock();
        log.acks_sent += usize::from(acked);
        let Some(number) = intact(received.message()) else { continue };
        log.received.push(number);
        drop(log);
        let connection = std::ptr::from_ref(received.connection_info()) as usize;
        if let Some((before, _)) = last.insert((connection, number >> 32), (number, received)) {
            if before >= number {
                peer.log.lock().disorder.push((before, number));
            }
        }
        if random.below(20) == 0 {
            pause(&mut random, 8000);
        }
    }
}

/// The numbers of the messages that were reported undelivered; acknowledgements have none.
/// The messages that were reported as undelivered, and whether they had been written before.
fn reported(events: &Subscription<Event>) -> Vec<(Option<u64>, bool)> {
    let mut numbers = Vec::new();
    for event in events.iter() {
        if let Event::Undelivered { messages, written, .. } = event {
            numbers.extend(messages.iter().map(|message| (intact(message), written)));
        }
    }
    assert_eq!(events.missed(), 0, "too many events to account for");
    numbers
}

/// Waits at most `longest` microseconds.
fn pause(random: &mut SeededRandom, longest: u64) {
    thread::park_timeout(Duration::from_micros(random.below(longest)));
}
