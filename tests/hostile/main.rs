//! Hostile peers, each against a peer with default settings in a separate process: their cost to it in memory,
//! threads and descriptors, and to a well-behaved peer that sends it messages and has them acknowledged.
//!
//! Every attack runs over each transport that the library has. Meanwhile new well-behaved peers connect, too.
//!
//! An attack continues until it has completed its action a number of times, and the well-behaved peer has had its round
//! trips. `make hostile` lets each last longer and prints the table.
#![cfg(all(any(feature = "c-core", feature = "http2"), target_os = "linux"))]

#[path = "../common/mod.rs"]
mod common;

mod attack;
mod cases;
mod floods;
mod victim;
#[cfg(feature = "http2")]
mod violations;

use attack::Attack;
use common::{eventually, PATIENCE};
use fabric_gossip::message;
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::{Comm, RemotePeer};
use parking_lot::Mutex;
use std::slice::from_ref;
use std::thread;
use std::time::{Duration, Instant};
use victim::{Over, Usage, Victim, ASKED, MSP_ID};

/// How long each attack lasts at least, in seconds; the results are then printed as rows of a table.
const SECONDS: &str = "FABRIC_GOSSIP_HOSTILE_SECONDS";

/// The median of the well-behaved peer's round trips stays below this during an attack, and a tenth of it afterwards.
/// Undisturbed it is below a millisecond; the rest is for machines with other things to do, the attack's own side among
/// them. A peer that waits for a hostile peer's limits, of two seconds and more, is above it.
const SLOW: Duration = Duration::from_secs(1);

/// Number of threads that the C core may have started meanwhile.
const CORE_THREADS: u64 = 8;

/// The most that any attack may cost over HTTP/2 by nghttp2, in MiB.
const HTTP2_MIB: u64 = 64;

/// Number of round trips between two handshakes of new well-behaved peers.
const NEWCOMER_EVERY: usize = 100;

/// One test for each transport and each of these functions.
#[macro_export]
macro_rules! for_each_victim {
    // Attacks on limits that only this transport has.
    (http2: $($name:ident),* $(,)?) => {
        #[cfg(feature = "http2")]
        mod http2 {
            $(#[test]
            fn $name() {
                super::$name($crate::victim::Over::Http2);
            })*
        }
    };
    ($($name:ident),* $(,)?) => {
        #[cfg(feature = "c-core")]
        mod c_core {
            $(#[test]
            fn $name() {
                super::$name($crate::victim::Over::CCore);
            })*
        }
        $crate::for_each_victim!(http2: $($name),*);
    };
}

/// One at a time: they measure.
pub static TURN: Mutex<()> = Mutex::new(());

/// An attack, and its permitted cost.
struct Case {
    what: &'static str,
    /// Hostile threads.
    by: usize,
    /// The action of each peer until the attack is over; returning early is no error, it is started again.
    attack: fn(&Attack) -> std::io::Result<()>,
    /// Minimum number of repetitions, as the attack counts them.
    times: u64,
    /// At most this much more memory over the C core.
    mib: u64,
    /// At most this much more memory over HTTP/2 by nghttp2.
    http2_mib: u64,
    /// At most this many more threads.
    threads: u64,
    /// At most this many more descriptors.
    descriptors: u64,
    /// The victim's memory quota in MiB, if it is not the default. Near it, anybody's messages may be lost.
    quota: Option<u64>,
}

/// The well-behaved peer's way to the victim.
struct Witness {
    comm: Comm,
    victim: RemotePeer,
    nonce: u64,
    patience: Duration,
}

impl Witness {
    fn new(org: &Org, name: &str, endpoint: &str, patience: Duration) -> Self {
        let member = org.peer(name).unwrap();
        let crypto = org.crypto_service(&member, &[]).unwrap();
        let comm = Comm::builder(member.identity(), crypto.clone(), crypto).tls(tls_of(&member)).start().unwrap();
        Witness { comm, victim: RemotePeer::new(endpoint), nonce: 0, patience }
    }

    /// `None` if no acknowledgement came.
    fn round_trip(&mut self) -> Option<Duration> {
        self.nonce += 1;
        let message = message::data(self.nonce, ASKED, self.nonce, vec![7; 100]);
        let start = Instant::now();
        let result = self.comm.send_with_ack(message, self.patience, 1, from_ref(&self.victim));
        (result.ack_count() == 1).then(|| start.elapsed())
    }

    fn round_trips(&mut self, count: usize) -> Times {
        Times::of((0..count).map(|_| self.round_trip().expect("nothing disturbs it")).collect())
    }
}

/// The TLS material of a member.
fn tls_of(member: &Member) -> Tls {
    let pem = |name: &str, text: &String| Pem::new(name, text.clone());
    let (cert, key) = (pem("certificate", &member.tls_cert), pem("key", &member.tls_key));
    Tls::new(TlsConfig::new(cert, key, pem("roots", &member.tls_ca_cert))).unwrap()
}

/// Round trips.
#[derive(Clone, Copy, Debug)]
struct Times {
    median: Duration,
    p99: Duration,
    count: usize,
}

impl Times {
    fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let at = |percent: usize| all[(all.len() - 1) * percent / 100];
        Times { median: at(50), p99: at(99), count: all.len() }
    }
}

/// Runs the attack and compares the victim's resources with the permitted cost.
fn hold_out(over: Over, case: &Case) {
    let _turn = TURN.lock();
    let lasting = Duration::from_secs(std::env::var(SECONDS).map_or(0, |seconds| seconds.parse().expect(SECONDS)));
    let org = Org::new(MSP_ID, "test.example.com").unwrap();
    let mut victim = Victim::start(&org, over, case.quota);
    // Where messages can be lost there is no use in waiting for long.
    let patience = if case.quota.is_some() { PATIENCE / 15 } else { PATIENCE };
    let mut witness = Witness::new(&org, "witness", &victim.endpoint, patience);
    witness.round_trips(200);
    let before = witness.round_trips(500);
    let calm = victim.usage();
    victim.reset_peak();

    let attack = Attack::new(&victim.other_endpoint, &org);
    let (during, lost, peak, newcomers) = thread::scope(|scope| {
        for _ in 0..case.by {
            scope.spawn(|| attack.repeat(case.attack));
        }
        let _over = attack.until_dropped();
        let start = Instant::now();
        let (mut times, mut lost, mut peak) = (Vec::new(), 0, Usage::default());
        let mut newcomers = Newcomers::default();
        while attack.count() < case.times || times.len() < 100 || start.elapsed() < lasting {
            let done = attack.count();
            assert!(start.elapsed() < 2 * PATIENCE + lasting, "the attack did only {done} of {}", case.times);
            match witness.round_trip() {
                Some(time) => times.push(time),
                None => lost += 1,
            }
            peak = peak.max(victim.usage());
            if (times.len() + lost) % NEWCOMER_EVERY == 50 {
                newcomers.record(Witness::new(&org, &attack.name(), &victim.endpoint, patience).round_trip());
            }
        }
        (Times::of(times), lost, peak, newcomers)
    });

    let calmed = Instant::now();
    while witness.round_trip().is_none() {
        assert!(calmed.elapsed() < PATIENCE, "the well-behaved peer does not get through any more");
    }
    eventually("the victim is as it was before", || {
        let (left, [connections, unauthenticated]) = (victim.usage(), victim.gauges());
        // The C core's own threads come and go.
        let threads = left.threads <= calm.threads + CORE_THREADS;
        threads && left.descriptors <= calm.descriptors + 2 && (connections, unauthenticated) == (1, 0)
    });
    let after = witness.round_trips(500);

    let mib = peak.peak_kib.saturating_sub(calm.resident_kib) / 1024;
    let threads = peak.threads.saturating_sub(calm.threads);
    let descriptors = peak.descriptors.saturating_sub(calm.descriptors);
    println!(
        "\n| {} | {over} | {} | {mib} MiB | {threads} | {descriptors} | {:.1?} | {:.1?}, {:.1?} | {:.1?} | {lost} of {} | {:.0?}, {} of {} failed |",
        case.what,
        attack.count(),
        before.median,
        during.median,
        during.p99,
        after.median,
        during.count + lost,
        newcomers.slowest,
        newcomers.failed,
        newcomers.tried,
    );
    let most = if over == Over::Http2 { case.http2_mib } else { case.mib };
    assert!(mib <= most, "{mib} MiB of memory, at most {most} expected");
    assert!(threads <= case.threads, "{threads} threads, at most {} expected", case.threads);
    assert!(descriptors <= case.descriptors, "{descriptors} descriptors, at most {} expected", case.descriptors);
    assert!(during.median <= SLOW, "round trips of {:?}, before: {:?}", during.median, before.median);
    assert!(after.median <= SLOW / 10, "round trips of {:?} afterwards, before: {:?}", after.median, before.median);
    // Messages not written because the connection was reset are reported; those already written are lost.
    // Near its quota, the C core resets streams of anybody.
    let may_lose = case.quota.is_some() && over == Over::CCore;
    assert!(lost == 0 || may_lose, "{lost} messages of the well-behaved peer were lost");
    // The C core makes no promise for those that connect meanwhile.
    assert!(newcomers.failed == 0 || over == Over::CCore, "{newcomers:?}");
}

/// Well-behaved peers that connected during an attack, each with one round trip.
#[derive(Debug, Default)]
struct Newcomers {
    tried: u32,
    failed: u32,
    /// The longest time from the dial to the acknowledgement.
    slowest: Duration,
}

impl Newcomers {
    fn record(&mut self, took: Option<Duration>) {
        self.tried += 1;
        match took {
            Some(took) => self.slowest = self.slowest.max(took),
            None => self.failed += 1,
        }
    }
}
