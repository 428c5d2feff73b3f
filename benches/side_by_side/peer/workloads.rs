//! The workloads with both ends in this process, each with its own connections.

use super::ends::{
    acknowledge, address, free, receive_all, round_trips, send_all, send_on, send_to_all, sequence, visits,
    wait_for_connections, warm, Members, Pair, VISITORS,
};
use super::{cpu, percentiles, rate, Figure, Order, Outcome};
use crate::support::layer::wait_until;
use crate::support::machine::{self, Usage};
use crate::support::PATIENCE;
use bytes::Bytes;
use fabric_gossip::config::{SubscriptionOptions, WhenFull};
use fabric_gossip::{Comm, ReceivedMessage, RemotePeer, Subscription};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, Builder};
use std::time::{Duration, Instant};

pub fn measure(members: &Members, order: &Order) -> Outcome<Vec<Figure>> {
    match order.name.as_str() {
        "throughput" => Ok(throughput(members, order.need("size")?, order.need("count")?)),
        "both-ways" => Ok(both_ways(members, order.need("size")?, order.need("count")?)),
        "round-trip" => round_trip(members, order.need("size")?, order.need("count")?, order.number("load")),
        "handshake" => handshake(members, order.need("count")?),
        "fan-out" => Ok(fan_out(members, order.need("connections")?, order.need("size")?, order.need("count")?)),
        "connections" => {
            Ok(connections(members, order.need("connections")?, order.need("size")?, order.need("count")?))
        }
        "churn" => churn(members, order.need("count")?),
        "slow-subscriber" => Ok(slow_subscriber(members, order.need("size")?, order.need("count")?)),
        "blocking-host" => blocking_host(members, order),
        name => Err(format!("unknown order {name}")),
    }
}

fn throughput(members: &Members, size: usize, count: usize) -> Vec<Figure> {
    let payload = Bytes::from(vec![7; size]);
    let pair = Pair::new(members);
    warm(&pair.from, &pair.peer, &pair.received, &payload);
    let usage = Usage::now();
    let started = Instant::now();
    let ended = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_all(&pair.received, count));
        send_all(&pair.from, &pair.peer, &payload, count);
        receiver.join().expect("all arrived")
    });
    let figures = vec![rate(count, ended - started), cpu(count, &usage)];
    pair.end();
    figures
}

/// Each end sends and receives at the same time, over one connection: the messages of both count.
fn both_ways(members: &Members, size: usize, count: usize) -> Vec<Figure> {
    let payload = Bytes::from(vec![7; size]);
    let pair = Pair::new(members);
    warm(&pair.from, &pair.peer, &pair.received, &payload);
    let back = RemotePeer::with_id("", pair.from.pki_id().clone());
    let answers = pair.from.subscribe(|_| true);
    let usage = Usage::now();
    let started = Instant::now();
    let ended = thread::scope(|scope| {
        let receivers = [&pair.received, &answers].map(|at| scope.spawn(move || receive_all(at, count)));
        scope.spawn(|| send_all(&pair.to, &back, &payload, count));
        send_all(&pair.from, &pair.peer, &payload, count);
        receivers.map(|receiver| receiver.join().expect("all arrived")).into_iter().max()
    });
    let figures = vec![rate(2 * count, ended.expect("two") - started), cpu(2 * count, &usage)];
    pair.end();
    figures
}

/// With `load`, another peer meanwhile sends messages of that size to the same receiver as fast as it can.
fn round_trip(members: &Members, size: usize, count: usize, load: Option<usize>) -> Outcome<Vec<Figure>> {
    let pair = Pair::new(members);
    let other = load.map(|_| members.start(free("other"), false));
    let noise = Bytes::from(vec![7; load.unwrap_or(0)]);
    thread::scope(|scope| {
        scope.spawn(|| acknowledge(&pair.received, None));
        if let Some(other) = &other {
            scope.spawn(|| send_on(other, &pair.peer, &noise));
            wait_for_connections(&pair.to, 1);
        }
        let usage = Usage::now();
        let times = round_trips(&pair.from, &pair.peer, size, count);
        let spent = cpu(count, &usage);
        if let Some(other) = &other {
            other.stop();
        }
        pair.end();
        let mut figures = percentiles(times?);
        if other.is_none() {
            figures.push(spent);
        }
        Ok(figures)
    })
}

/// Probing handshakes: dial, TLS, Ping, gossip handshake with real certificates and signatures both ways.
fn handshake(members: &Members, count: usize) -> Outcome<Vec<Figure>> {
    let pair = Pair::real(members);
    let usage = Usage::now();
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let handshake = pair.from.handshake(&pair.peer).map_err(|e| e.to_string())?;
        times.push(started.elapsed().as_secs_f64() * 1e6);
        assert!(handshake.confirmed && handshake.info.id == *pair.to.pki_id());
    }
    let total: f64 = times.iter().sum();
    let mut figures = percentiles(times);
    figures.push(("rate", "handshakes/s", count as f64 / total * 1e6));
    figures.push(cpu(count, &usage));
    pair.end();
    Ok(figures)
}

/// One sends every message to all others.
fn fan_out(members: &Members, peers: usize, size: usize, count: usize) -> Vec<Figure> {
    let payload = Bytes::from(vec![7; size]);
    let from = members.start(free("from"), false);
    let others: Vec<Comm> = (0..peers).map(|n| members.start(free(&format!("to {n}")), true)).collect();
    let to: Vec<RemotePeer> = others.iter().map(address).collect();
    let received: Vec<_> = others.iter().map(|other| other.subscribe(|_| true)).collect();
    for (peer, received) in to.iter().zip(&received) {
        warm(&from, peer, received, &payload);
    }
    let usage = Usage::now();
    let started = Instant::now();
    let ended = thread::scope(|scope| {
        let receivers: Vec<_> = received.iter().map(|at| scope.spawn(move || receive_all(at, count))).collect();
        send_to_all(&from, &to, &payload, count);
        receivers.into_iter().map(|receiver| receiver.join().expect("all arrived")).max()
    });
    let figures = vec![rate(count * peers, ended.expect("a peer") - started), cpu(count * peers, &usage)];
    from.stop();
    figures
}

/// Many peers, each its own identity and connection, send to one at the same time, each `count` messages. Fairness is
/// measured when half of all has arrived: the messages from the slowest, as a part of those from the fastest.
fn connections(members: &Members, peers: usize, size: usize, count: usize) -> Vec<Figure> {
    let payload = Bytes::from(vec![7; size]);
    let to = members.start(free("to"), true);
    let (peer, received) = (address(&to), to.subscribe(|_| true));
    let senders: Vec<Comm> = (0..peers).map(|n| members.start(free(&format!("{n:06}")), false)).collect();
    let started = Instant::now();
    senders.iter().for_each(|sender| warm(sender, &peer, &received, &payload));
    let connected = started.elapsed();
    let usage = Usage::now();
    let started = Instant::now();
    let (ended, fairness) = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_from(&received, peers, count));
        for sender in &senders {
            // A program with this many senders would not give each the stack of a main thread either.
            let sending = Builder::new().stack_size(256 << 10);
            let sending = sending.spawn_scoped(scope, || send_all(sender, &peer, &payload, count));
            sending.expect("a thread");
        }
        receiver.join().expect("all arrived")
    });
    let total = peers * count;
    let figures = vec![
        rate(total, ended - started),
        cpu(total, &usage),
        ("fairness", "slowest/fastest", fairness),
        ("connect", "connections/s", peers as f64 / connected.as_secs_f64()),
        ("resident", "bytes", machine::resident() as f64),
        ("threads", "threads", machine::threads() as f64),
    ];
    senders.iter().for_each(Comm::stop);
    to.stop();
    figures
}

fn receive_from(received: &Subscription<ReceivedMessage>, peers: usize, count: usize) -> (Instant, f64) {
    let total = peers * count;
    let mut counts = vec![0_u64; peers];
    let mut fairness = 0.0;
    for n in 1..=total {
        let message = received.recv_timeout(PATIENCE).expect("arrives");
        if sequence(&message).is_none() {
            continue;
        }
        let name = &message.connection_info().identity.as_ref()[..6];
        let from: usize = std::str::from_utf8(name).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
        counts[from] += 1;
        if n == total / 2 {
            let (slowest, fastest) = (counts.iter().min(), counts.iter().max());
            fairness = *slowest.expect("a peer") as f64 / (*fastest.expect("a peer")).max(1) as f64;
        }
    }
    assert_eq!(received.missed(), 0);
    (Instant::now(), fairness)
}

/// Peers connect, send an acknowledged message and disconnect, one after the other.
fn churn(members: &Members, count: usize) -> Outcome<Vec<Figure>> {
    let to = members.start(free("to"), true);
    let (peer, received) = (address(&to), to.subscribe(|_| true));
    let visitors: Vec<Comm> = (0..VISITORS).map(|n| members.start(free(&format!("{n}")), false)).collect();
    thread::scope(|scope| {
        scope.spawn(|| acknowledge(&received, None));
        let usage = Usage::now();
        let figures = visits(&visitors, &peer, count).map(|rate| vec![rate, cpu(count, &usage)]);
        visitors.iter().chain([&to]).for_each(Comm::stop);
        figures
    })
}

/// One subscriber never receives and drops; the rate is that of the one beside it.
fn slow_subscriber(members: &Members, size: usize, count: usize) -> Vec<Figure> {
    let payload = Bytes::from(vec![7; size]);
    let pair = Pair::new(members);
    let slow = pair.to.subscribe_with(SubscriptionOptions::default().when_full(WhenFull::Drop), |_| true);
    warm(&pair.from, &pair.peer, &pair.received, &payload);
    let started = Instant::now();
    let ended = thread::scope(|scope| {
        let receiver = scope.spawn(|| receive_all(&pair.received, count));
        send_all(&pair.from, &pair.peer, &payload, count);
        receiver.join().expect("all arrived")
    });
    let figures = vec![rate(count, ended - started), ("missed", "messages", slow.missed() as f64)];
    pair.end();
    figures
}

/// The receiving program blocks, `block` microseconds for each message of some peers, which send as fast as they can: it
/// waits for a disk, say, in the thread that has that peer's subscription. Acknowledged sends of another peer, which
/// another thread answers immediately, are measured, for a few seconds at most. (Where the async variant can use a
/// pool, `pool`, this one does the same as ever.)
fn blocking_host(members: &Members, order: &Order) -> Outcome<Vec<Figure>> {
    let (peers, size, count) = (order.need("connections")?, order.need("size")?, order.need("count")?);
    let (block, limit) = (Duration::from_micros(order.need("block")? as u64), order.need("seconds")?);
    let to = members.start(free("to"), true);
    let comes_from = |message: &ReceivedMessage, name: &str| {
        message.connection_info().identity.as_ref().starts_with(name.as_bytes())
    };
    let (peer, prompt) = (address(&to), to.accept(move |message| comes_from(message, "from")));
    let others: Vec<(Comm, Subscription<ReceivedMessage>)> = (0..peers)
        .map(|n| format!("{n:06}"))
        .map(|name| (members.start(free(&name), false), to.accept(move |message| comes_from(message, &name))))
        .collect();
    let from = members.start(free("from"), false);
    let payload = Bytes::from(vec![7; size]);
    let (handled, done) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| acknowledge(&prompt, None));
        // The connection to be measured is there before others block.
        let mut outcome = round_trips(&from, &peer, 100, 1).map(drop);
        for (other, slow) in &others {
            scope.spawn(|| {
                for _ in slow.iter().take_while(|_| !done.load(Relaxed)) {
                    thread::sleep(block);
                    handled.fetch_add(1, Relaxed);
                }
            });
            scope.spawn(|| send_on(other, &peer, &payload));
        }
        wait_until(|| handled.load(Relaxed) >= peers as u64);
        let before = handled.load(Relaxed);
        let started = Instant::now();
        let mut times = Vec::new();
        while outcome.is_ok() && times.len() < count && started.elapsed() < Duration::from_secs(limit as u64) {
            outcome = round_trips(&from, &peer, 100, 1).map(|one| times.extend(one));
        }
        let took = started.elapsed();
        let handled = (handled.load(Relaxed) - before) as f64;
        // Messages not handled by now need not be handled.
        done.store(true, Relaxed);
        others.iter().map(|(other, _)| other).chain([&from, &to]).for_each(Comm::stop);
        outcome?;
        let mut figures = percentiles(times);
        figures.push(("handled", "messages/s", handled / took.as_secs_f64()));
        Ok(figures)
    })
}
