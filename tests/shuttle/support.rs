//! Peers in a network whose threads the model checker schedules, and the accounts of their messages.

use crate::fake::World;
use fabric_gossip::clock::Clock;
use fabric_gossip::comm::{Comm, Event, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::testing::{MemoryNetwork, VirtualClock};
use fabric_gossip::Result;
use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler};
use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::{thread, Config, Runner};
use std::ops::{Deref, RangeInclusive};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Limits that are reached only by moving the clock that far.
pub const LIMIT: Duration = Duration::from_secs(3600);

/// How many times one of the threads can be made to lose its turn where it hurts, in a run of the PCT scheduler.
const DEPTH: usize = 3;

/// Runs `test` with many schedules, or with the one that is given in the environment.
pub fn check(test: fn()) {
    let number = |name: &str, default| std::env::var(name).map_or(default, |n| n.parse().expect(name));
    let mut config = Config::new();
    config.stack_size = 256 << 10;
    if let Ok(schedule) = std::env::var("FABRIC_GOSSIP_SHUTTLE_SCHEDULE") {
        let schedule = std::fs::read_to_string(&schedule).unwrap_or(schedule);
        Runner::new(ReplayScheduler::new_from_encoded(schedule.trim()), config).run(test);
        return;
    }
    let seed = number("FABRIC_GOSSIP_SHUTTLE_SEED", 1);
    let runs = number("FABRIC_GOSSIP_SHUTTLE_RUNS", 300) as usize;
    Runner::new(RandomScheduler::new_from_seed(seed, runs), config.clone()).run(test);
    Runner::new(PctScheduler::new_from_seed(seed, DEPTH, runs), config).run(test);
}

pub fn id(name: &str) -> PkiId {
    PkiId::from(name.as_bytes())
}

pub fn data(nonce: u64) -> SignedMessage {
    SignedMessage::noop_sign(message::data(nonce, "channel", nonce, "block")).unwrap()
}

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A closure to run on a separate thread.
pub type Task<'a, T> = Box<dyn FnOnce() -> T + Send + 'a>;

pub fn task<'a, T>(run: impl FnOnce() -> T + Send + 'a) -> Task<'a, T> {
    Box::new(run)
}

/// Runs these at the same time. (The model checker's scope wakes the thread that opened it when the last of its threads
/// ends, whatever that one waits for just then: so it does nothing but wait for that.)
pub fn together<'a, T: Send + 'a, const N: usize>(tasks: [Task<'a, T>; N]) -> [T; N] {
    let mut results = [const { None }; N];
    thread::scope(|scope| {
        for (result, task) in results.iter_mut().zip(tasks) {
            scope.spawn(move || *result = Some(task()));
        }
    });
    results.map(|result| result.expect("it ran"))
}

/// Waits for a condition that no event reports.
pub fn eventually(mut so: impl FnMut() -> bool) {
    while !so() {
        thread::yield_now();
    }
}

/// A network and its peers.
pub struct Net {
    pub network: MemoryNetwork,
    pub clock: VirtualClock,
    world: World,
}

pub struct Node {
    comm: Comm,
    name: String,
    pub endpoint: String,
    events: Subscription<Event>,
    crypto: Weak<dyn CryptoService>,
}

impl Deref for Node {
    type Target = Comm;

    fn deref(&self) -> &Comm {
        &self.comm
    }
}

impl Net {
    pub fn new() -> Self {
        let clock = VirtualClock::new();
        Net { network: MemoryNetwork::new(Arc::new(clock.clone())), clock, world: World::default() }
    }

    pub fn node(&self, name: &str) -> Node {
        self.node_with(name, "1", |_| {})
    }

    pub fn node_with(&self, name: &str, port: &str, adjust: impl FnOnce(&mut CommConfig)) -> Node {
        let mut config = CommConfig::default();
        (config.dial_timeout, config.conn_timeout) = (LIMIT, LIMIT);
        adjust(&mut config);
        let crypto: Arc<dyn CryptoService> = Arc::new(Offline(self.world.crypto(name)));
        let weak = Arc::downgrade(&crypto);
        let comm = Comm::builder(PeerIdentity::from(name.as_bytes()), crypto, Arc::new(self.world.clone()))
            .config(config)
            .clock(Arc::new(self.clock.clone()))
            .transport(self.network.transport(None))
            .start()
            .unwrap();
        let endpoint = format!("{name}:{port}");
        self.network.listen(&endpoint, None, comm.acceptor());
        let events = comm.events();
        Node { comm, name: name.into(), endpoint, events, crypto: weak }
    }

    /// Moves time on, again and again, while `run` runs.
    pub fn ticking<T>(&self, step: Duration, run: impl FnOnce() -> T) -> T {
        let over = Arc::new(AtomicBool::new(false));
        let ticker = thread::spawn({
            let (over, clock) = (over.clone(), self.clock.clone());
            move || {
                while !over.load(Ordering::SeqCst) {
                    clock.advance(step);
                    thread::yield_now();
                }
            }
        });
        let result = run();
        over.store(true, Ordering::SeqCst);
        ticker.join().unwrap();
        result
    }

    /// Stops a peer: all that it accepted was written or reported undelivered, and nothing of it is left. How many were
    /// reported.
    pub fn end(&self, node: Node, accepted: u64) -> u64 {
        self.end_within(node, accepted..=accepted)
    }

    /// The same where messages not written may have been reported in another way.
    pub fn end_within(&self, node: Node, accepted: RangeInclusive<u64>) -> u64 {
        let Node { comm, endpoint, events, crypto, .. } = node;
        comm.stop();
        let undelivered: u64 = events
            .iter()
            .map(|event| match event {
                Event::Undelivered { messages, written: false, .. } => messages.len() as u64,
                _ => 0,
            })
            .sum();
        let written = comm.metrics().gossip_comm_messages_sent;
        let found = written + undelivered;
        assert!(accepted.contains(&found), "accepted {accepted:?}, written {written}, undelivered {undelivered}");
        assert_eq!((comm.connection_count(), events.missed()), (0, 0));
        self.network.unlisten(&endpoint);
        drop((comm, events));
        eventually(|| crypto.strong_count() == 0);
        undelivered
    }
}

impl Node {
    pub fn peer(&self) -> RemotePeer {
        RemotePeer::with_id(&self.endpoint, id(&self.name))
    }

    pub fn address(&self) -> RemotePeer {
        RemotePeer::new(&self.endpoint)
    }

    pub fn inbox(&self) -> Subscription<ReceivedMessage> {
        self.subscribe(|_| true)
    }

    /// Sends these, which must be accepted.
    pub fn send_all(&self, to: &RemotePeer, nonces: impl IntoIterator<Item = u64>) {
        for nonce in nonces {
            self.send(&data(nonce), std::slice::from_ref(to)).unwrap();
        }
    }

    /// Sends these until one is not accepted because of a stop: how many were.
    pub fn send_until_stopped(&self, to: &RemotePeer, nonces: impl IntoIterator<Item = u64>) -> u64 {
        let sent = nonces.into_iter().take_while(|&nonce| self.send(&data(nonce), std::slice::from_ref(to)).is_ok());
        sent.count() as u64
    }
}

/// Reads the nonces of `count` messages, which must arrive.
pub fn nonces(inbox: &Subscription<ReceivedMessage>, count: usize) -> Vec<u64> {
    (0..count).map(|_| inbox.recv().unwrap().message().nonce()).collect()
}

/// Without an expiry, which would be a moment of the system's clock.
struct Offline(Arc<dyn CryptoService>);

impl CryptoService for Offline {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.0.pki_id(identity)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.0.validate_identity(identity)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.0.sign(message)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        self.0.verify(identity, signature, message)
    }

    fn expiration(&self, _: &PeerIdentity) -> Result<Option<std::time::SystemTime>> {
        Ok(None)
    }
}

/// The clock, for code that takes one itself.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(VirtualClock::new())
}
