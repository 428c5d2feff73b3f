//! User code that the library calls may call the library: every public function from every kind of callback.

#[path = "../common/mod.rs"]
mod common;

use common::{live, *};
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, RemotePeer};
use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::node::{ChannelOrgs, Node as Gossip, SeedRole, SendCriteria};
use fabric_gossip::testing::locks_held;
use fabric_gossip::Result;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{mpsc, Arc, OnceLock};
use std::time::{Duration, SystemTime};

/// How long a callback may take that calls everything once.
const LIMIT: Duration = Duration::from_secs(5);

for_each_transport!(
    every_function_of_comm_can_be_called_from_every_callback,
    comm_can_be_stopped_from_every_callback,
    every_function_of_a_node_can_be_called_from_every_callback,
    a_node_can_be_stopped_from_every_callback,
);

/// The action of every callback of one test, done once for each kind of callback.
#[derive(Clone)]
struct Callbacks(Arc<Shared>);

struct Shared {
    /// The action; set once everything is set up.
    act: OnceLock<Box<dyn Fn() + Send + Sync>>,
    seen: Mutex<BTreeSet<&'static str>>,
    done: Mutex<mpsc::Sender<&'static str>>,
}

impl Callbacks {
    fn new() -> (Self, mpsc::Receiver<&'static str>) {
        let (done, finished) = mpsc::channel();
        (Callbacks(Arc::new(Shared { act: OnceLock::new(), seen: Mutex::default(), done: Mutex::new(done) })), finished)
    }

    fn act(&self, act: impl Fn() + Send + Sync + 'static) {
        assert!(self.0.act.set(Box::new(act)).is_ok());
    }

    /// To be called by a callback of this kind.
    fn on(&self, kind: &'static str) {
        let Some(act) = self.0.act.get() else { return };
        // A callback that is called from within another one has nothing to add.
        if !self.0.seen.lock().insert(kind) {
            return;
        }
        act();
        // The test may have ended, having seen the kinds that it waits for.
        let _ = self.0.done.lock().send(kind);
    }
}

/// The log of this process: nothing is logged with a lock held, and loggers may call the library.
struct Log;

static ON_LOG: Mutex<Vec<Callbacks>> = Mutex::new(Vec::new());
static UNDER_A_LOCK: AtomicUsize = AtomicUsize::new(0);

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("fabric_gossip")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if locks_held() > 0 {
            eprintln!("logged with a lock held: {}", record.args());
            UNDER_A_LOCK.fetch_add(1, Ordering::SeqCst);
        }
        let callbacks = ON_LOG.lock().clone();
        callbacks.iter().for_each(|callbacks| callbacks.on("log"));
    }

    fn flush(&self) {}
}

fn with_log(callbacks: &Callbacks) {
    static SET: OnceLock<()> = OnceLock::new();
    SET.get_or_init(|| {
        log::set_logger(&Log).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
    ON_LOG.lock().push(callbacks.clone());
}

/// Cryptography that reports each call.
struct Crypto {
    inner: Arc<dyn CryptoService>,
    world: World,
    callbacks: Callbacks,
}

impl CryptoService for Crypto {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.callbacks.on("pki_id");
        self.inner.pki_id(identity)
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.callbacks.on("validate_identity");
        self.inner.validate_identity(identity)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        self.callbacks.on("sign");
        self.inner.sign(message)
    }

    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        self.callbacks.on("verify");
        self.inner.verify(identity, signature, message)
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        self.callbacks.on("expiration");
        self.inner.expiration(identity)
    }
}

impl SecurityAdvisor for Crypto {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        self.callbacks.on("org_by_peer_identity");
        self.world.org_by_peer_identity(identity)
    }
}

fn crypto(net: &impl Form, name: &str, callbacks: &Callbacks) -> Arc<Crypto> {
    let (inner, world) = (net.world().crypto(name), net.world().clone());
    Arc::new(Crypto { inner, world, callbacks: callbacks.clone() })
}

const COMM_CALLBACKS: [&str; 9] = [
    "pki_id",
    "validate_identity",
    "sign",
    "verify",
    "expiration",
    "org_by_peer_identity",
    "log",
    "message waker",
    "predicate",
];

/// A Comm all of whose callbacks are these, a peer of it, and the values to keep alive.
fn comm(net: &impl Form, callbacks: &Callbacks) -> (Comm, Node, Vec<Box<dyn std::any::Any>>) {
    let crypto = crypto(net, "node", callbacks);
    let purging = callbacks.clone();
    let mapper = IdentityMapper::new(
        IdentityConfig::default(),
        crypto.clone(),
        crypto.clone(),
        Arc::new(SystemClock),
        identity("node"),
        move |_, _| purging.on("purge"),
    );
    let builder = Comm::builder(identity("node"), crypto.clone(), crypto).identity_mapper(mapper.unwrap());
    let (comm, endpoint) = net.start("node", Security::Mutual, builder);
    let peer = net.node("peer");
    let messages = comm.accept({
        let callbacks = callbacks.clone();
        move |_| {
            callbacks.on("predicate");
            true
        }
    });
    let events = comm.events();
    let dead = comm.presumed_dead();
    let switched = comm.identity_switch();
    let waker = |kind: &'static str| {
        let callbacks = callbacks.clone();
        move || callbacks.on(kind)
    };
    messages.on_ready(waker("message waker"));
    events.on_ready(waker("event waker"));
    dead.on_ready(waker("presumed-dead waker"));
    switched.on_ready(waker("identity-switch waker"));
    (comm, peer, vec![Box::new(messages), Box::new(events), Box::new(dead), Box::new(switched), Box::new(endpoint)])
}

/// Makes each callback of a Comm be called.
fn provoke(net: &impl Form, comm: &Comm, peer: &Node) {
    let nobody = RemotePeer::with_id(&net.refused().endpoint, id("nobody"));
    let _ = comm.send(&data(1), &[peer.peer(), nobody]);
    let own = RemotePeer::new(comm.local_addr().unwrap_or("node:1"));
    let _ = peer.send(&data(2), &[own]);
    comm.identity_mapper().put(&id("gone"), &identity("gone")).ok();
    net.world().revoke("gone");
    comm.identity_mapper().suspect_peers(|identity| identity.as_bytes() == b"gone");
}

fn call_all_of_comm(comm: &Comm, peer: &RemotePeer, nobody: &RemotePeer) {
    let short = ms(5);
    assert!(!comm.pki_id().is_empty());
    let _ = comm.local_addr();
    let _ = format!("{:?}", comm.identity_mapper());
    comm.identity_mapper().suspect_peers(|_| false);
    let _ = comm.identity_mapper().put(&id("another"), &identity("another"));
    let _ = comm.identity_mapper().identity_info();
    drop((comm.subscribe(|_| true), comm.events(), comm.presumed_dead(), comm.identity_switch()));
    let _ = (comm.connections(), comm.connection_count(), comm.metrics(), comm.acceptor());
    let _ = comm.send(&data(3), std::slice::from_ref(peer));
    let _ = comm.send_timeout(&data(4), short, std::slice::from_ref(peer));
    let _ = comm.send_with_ack(message_of(5), short, 1, std::slice::from_ref(peer));
    if let Ok(handle) = comm.send_tracked(message_of(6), short, peer) {
        let _ = handle.wait(short);
    }
    let _ = comm.flush(short);
    let _ = comm.connect(peer, short);
    let _ = comm.probe(nobody);
    let _ = comm.handshake(nobody);
    let _ = comm.dial(&nobody.endpoint);
    comm.close_conn(nobody);
}

fn message_of(n: u64) -> fabric_gossip::message::GossipMessage {
    fabric_gossip::message::data(n, "channel", n, "block")
}

/// Waits until each of these kinds of callback has done everything.
fn await_all(finished: &mpsc::Receiver<&'static str>, kinds: &[&'static str], mut provoke: impl FnMut()) {
    let mut missing: BTreeSet<_> = kinds.iter().copied().collect();
    while !missing.is_empty() {
        provoke();
        match finished.recv_timeout(LIMIT) {
            Ok(kind) => drop(missing.remove(kind)),
            Err(_) => panic!("these callbacks were not called, or hang: {missing:?}"),
        }
        while let Ok(kind) = finished.try_recv() {
            missing.remove(kind);
        }
    }
    assert_eq!(UNDER_A_LOCK.load(Ordering::SeqCst), 0, "logged with a lock held");
}

fn every_function_of_comm_can_be_called_from_every_callback(net: &impl Form) {
    let (callbacks, finished) = Callbacks::new();
    with_log(&callbacks);
    let (comm, peer, kept) = comm(net, &callbacks);
    let nobody = RemotePeer::new(&net.refused().endpoint);
    callbacks.act({
        let (comm, peer) = (comm.clone(), peer.peer());
        move || call_all_of_comm(&comm, &peer, &nobody)
    });
    let mut kinds = Vec::from(COMM_CALLBACKS);
    kinds.extend(["event waker", "presumed-dead waker", "purge"]);
    // A message to it must use its own connection if it has no server.
    await_all(&finished, &kinds, || {
        provoke(net, &comm, &peer);
        if let Some(info) = peer.connections().first() {
            let _ = peer.send(&data(7), &[RemotePeer::with_id("", info.id.clone())]);
        }
        let _ = comm.connect(&peer.peer(), PATIENCE);
        comm.close_conn(&peer.peer());
    });
    comm.stop();
    drop(kept);
}

fn comm_can_be_stopped_from_every_callback(net: &impl Form) {
    let mut kinds = Vec::from(COMM_CALLBACKS);
    kinds.extend(["event waker", "presumed-dead waker", "purge"]);
    for kind in kinds {
        let (callbacks, finished) = Callbacks::new();
        with_log(&callbacks);
        let (comm, peer, kept) = comm(net, &callbacks);
        let stopped = Arc::new(AtomicBool::new(false));
        callbacks.act({
            let (comm, stopped) = (comm.clone(), stopped.clone());
            move || {
                // Whichever comes first: all of them stop it.
                comm.stop();
                stopped.store(true, Ordering::SeqCst);
            }
        });
        let watchdog = watch(kind);
        while !stopped.load(Ordering::SeqCst) {
            provoke(net, &comm, &peer);
            if let Some(info) = peer.connections().first() {
                let _ = peer.send(&data(7), &[RemotePeer::with_id("", info.id.clone())]);
            }
            let _ = finished.recv_timeout(ms(10));
        }
        // From here it waits for the end of the stop.
        comm.stop();
        assert_eq!((comm.connection_count(), comm.open_connections()), (0, 0));
        drop((kept, watchdog));
    }
}

/// Ends the process and names the call that hung: a thread that waits for itself cannot be ended otherwise.
fn watch(kind: &'static str) -> impl Drop {
    struct Watchdog(Option<mpsc::Sender<()>>);
    impl Drop for Watchdog {
        fn drop(&mut self) {
            self.0.take();
        }
    }
    let (alive, ended) = mpsc::channel::<()>();
    std::thread::spawn(move || {
        if ended.recv_timeout(LIMIT * 4) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("a stop from this callback hangs: {kind}");
            std::process::exit(1);
        }
    });
    Watchdog(Some(alive))
}

const NODE_CALLBACKS: [&str; 5] = ["notice waker", "gossip predicate", "gossip waker", "block verifier", "log"];

fn nodes(net: &impl Form, callbacks: &Callbacks) -> (live::Peer, live::Peer, Vec<Box<dyn std::any::Any>>) {
    let first = live::start(net, "first", &[]);
    let node = live::start_at(net, "node", None, |builder| {
        let verifying = callbacks.clone();
        builder.bootstrap([&*first.endpoint]).block_verifier(move |_| {
            verifying.on("block verifier");
            Ok(())
        })
    });
    let blocks = node.accept({
        let callbacks = callbacks.clone();
        move |_| {
            callbacks.on("gossip predicate");
            true
        }
    });
    let notices = node.notices();
    let waker = |kind: &'static str| {
        let callbacks = callbacks.clone();
        move || callbacks.on(kind)
    };
    blocks.on_ready(waker("gossip waker"));
    notices.on_ready(waker("notice waker"));
    for peer in [&first, &node] {
        let orgs = ChannelOrgs([(OrgId::new("everybody"), Vec::new())].into());
        peer.join_channel(live::CHANNEL, orgs).unwrap();
    }
    (first, node, vec![Box::new(blocks), Box::new(notices)])
}

fn provoke_node(first: &live::Peer, number: u64) {
    let _ = first.gossip(fabric_gossip::message::data(0, live::CHANNEL, number, "block"));
    first.update_metadata(number.to_string());
}

fn call_all_of_node(node: &Gossip, seed: &str) {
    let peer = RemotePeer::new(seed);
    call_all_of_comm(node.comm(), &peer, &RemotePeer::new("127.0.0.1:1"));
    let _ = (node.self_member(), node.peers(), node.dead(), node.lookup(&id("first")), node.seeds());
    let _ = (node.channel_peers(live::CHANNEL.as_bytes()), node.identity_info(), node.metrics());
    let _ = node.connect(seed, SeedRole::Any);
    node.initiate_sync(1);
    node.update_metadata("other");
    let _ = node.update_endpoint(&node.self_member().endpoint);
    node.suspect_peers(|_| {
        let _ = node.peers();
        false
    });
    let orgs = ChannelOrgs([(OrgId::new("everybody"), Vec::new())].into());
    let _ = node.join_channel("another", orgs);
    let _ = node.leave_channel(b"another");
    let _ = node.update_ledger_height(live::CHANNEL.as_bytes(), 1);
    let _ = node.gossip(message_of(9));
    let _ = node.send(&data(1), &[peer]);
    let criteria = SendCriteria { timeout: ms(5), min_ack: 0, max_peers: 1, ..Default::default() };
    let _ = node.send_by_criteria(message_of(10), &criteria, |_| node.lookup(&id("first")).is_some());
    drop((node.subscribe(|_| true), node.notices()));
    let _ = node.wait_for_members(1, ms(5));
}

fn every_function_of_a_node_can_be_called_from_every_callback(net: &impl Form) {
    let (callbacks, finished) = Callbacks::new();
    with_log(&callbacks);
    let (first, node, kept) = nodes(net, &callbacks);
    node.wait_for_members(1, PATIENCE).unwrap();
    callbacks.act({
        let (node, seed) = (node.node.clone(), first.endpoint.clone());
        move || call_all_of_node(&node, &seed)
    });
    let mut number = 0;
    await_all(&finished, &NODE_CALLBACKS, || {
        number += 1;
        provoke_node(&first, number);
    });
    node.stop();
    drop(kept);
}

fn a_node_can_be_stopped_from_every_callback(net: &impl Form) {
    for kind in NODE_CALLBACKS {
        let (callbacks, finished) = Callbacks::new();
        with_log(&callbacks);
        let (first, node, kept) = nodes(net, &callbacks);
        node.wait_for_members(1, PATIENCE).unwrap();
        callbacks.act({
            let node = node.node.clone();
            move || node.stop()
        });
        let _watchdog = watch(kind);
        let mut number = 0;
        while finished.recv_timeout(ms(10)).is_err() {
            number += 1;
            provoke_node(&first, number);
        }
        node.stop();
        assert_eq!(node.comm().open_connections(), 0);
        drop(kept);
    }
}
