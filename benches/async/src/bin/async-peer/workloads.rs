//! The workloads with both ends in this process, each with its own connections.

use crate::layer::{self, acknowledge, receive_all, round_trips, send_all, visits, wait, warm, Layer, VISITORS};
use crate::options::{Options, Order, Runtimes};
use crate::{figure, machine, Figure, Outcome};
use bytes::Bytes;
use gossip_async::testing::{free_identity, Free};
use gossip_async::wire::Content;
use gossip_async::{Comm, ReceivedMessage, RemotePeer, SubscriptionOptions};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub fn measure(options: &Options, order: &Order) -> Outcome<Vec<Figure>> {
    match order.name.as_str() {
        "throughput" => throughput(options, order.need("size")?, order.need("count")?),
        "both-ways" => both_ways(options, order.need("size")?, order.need("count")?),
        "round-trip" => round_trip(options, order.need("size")?, order.need("count")?, order.number("load")),
        "handshake" => handshake(options, order.need("count")?),
        "fan-out" => fan_out(options, order.need("connections")?, order.need("size")?, order.need("count")?),
        "connections" => connections(options, order.need("connections")?, order.need("size")?, order.need("count")?),
        "churn" => churn(options, order.need("count")?),
        "slow-subscriber" => slow_subscriber(options, order.need("size")?, order.need("count")?),
        "blocking-host" => blocking_host(options, order),
        name => Err(format!("unknown order {name}")),
    }
}

pub fn rate(count: usize, took: Duration) -> Figure {
    figure("rate", "messages/s", count as f64 / took.as_secs_f64())
}

pub fn connections_rate(count: usize, took: Duration) -> Figure {
    figure("rate", "connections/s", count as f64 / took.as_secs_f64())
}

/// Of both ends together.
fn cpu(count: usize, before: Duration) -> Figure {
    figure("cpu", "us/message", (machine::cpu() - before).as_secs_f64() * 1e6 / count as f64)
}

pub fn percentiles(mut times: Vec<f64>) -> Vec<Figure> {
    times.sort_by(f64::total_cmp);
    let at = |per_mille: usize| times[(times.len() * per_mille / 1000).min(times.len() - 1)];
    vec![figure("p50", "us", at(500)), figure("p99", "us", at(990)), figure("p99.9", "us", at(999))]
}

fn throughput(options: &Options, size: usize, count: usize) -> Outcome<Vec<Figure>> {
    let payload = Bytes::from(vec![7; size]);
    let Layer { from, to, peer, mut received, runtimes } = Layer::new(options);
    wait(&runtimes.to, warm(&from, &peer, &mut received, &payload));
    let before = machine::cpu();
    let started = Instant::now();
    let receiver = runtimes.to.spawn(receive_all(received, count));
    let sender = runtimes.from.spawn(send_all(from.clone(), peer.clone(), payload, count));
    wait(&runtimes.from, sender).map_err(|e| e.to_string())?;
    let ended = wait(&runtimes.to, receiver).map_err(|e| e.to_string())?;
    let figures = vec![rate(count, ended - started), cpu(count, before)];
    let received = to.accept(|_| false);
    Layer { from, to, peer, received, runtimes }.end();
    Ok(figures)
}

/// Each end sends and receives at the same time, over one connection: the messages of both count.
fn both_ways(options: &Options, size: usize, count: usize) -> Outcome<Vec<Figure>> {
    let payload = Bytes::from(vec![7; size]);
    let Layer { from, to, peer, mut received, runtimes } = Layer::new(options);
    wait(&runtimes.to, warm(&from, &peer, &mut received, &payload));
    let back = RemotePeer { endpoint: String::new(), pki_id: Some(from.pki_id().clone()) };
    let answers = from.accept(|_| true);
    let before = machine::cpu();
    let started = Instant::now();
    let receivers = [runtimes.to.spawn(receive_all(received, count)), runtimes.from.spawn(receive_all(answers, count))];
    let senders = [
        runtimes.from.spawn(send_all(from.clone(), peer.clone(), payload.clone(), count)),
        runtimes.to.spawn(send_all(to.clone(), back, payload, count)),
    ];
    for sender in senders {
        wait(&runtimes.from, sender).map_err(|e| e.to_string())?;
    }
    let mut ended = started;
    for receiver in receivers {
        ended = ended.max(wait(&runtimes.to, receiver).map_err(|e| e.to_string())?);
    }
    let figures = vec![rate(2 * count, ended - started), cpu(2 * count, before)];
    let received = to.accept(|_| false);
    Layer { from, to, peer, received, runtimes }.end();
    Ok(figures)
}

/// With `load`, another peer meanwhile sends messages of that size to the same receiver as fast as it can.
fn round_trip(options: &Options, size: usize, count: usize, load: Option<usize>) -> Outcome<Vec<Figure>> {
    let Layer { from, to, peer, received, runtimes } = Layer::new(options);
    runtimes.to.spawn(acknowledge(received, None));
    let noise = load.map(|size| {
        let other = layer::start(options, (free_identity("other"), Arc::new(Free)), false, &runtimes.from);
        (runtimes.from.spawn(send_all(other.clone(), peer.clone(), vec![7; size].into(), usize::MAX)), other)
    });
    if noise.is_some() {
        wait(&runtimes.to, to.wait_for_connections(1));
    }
    let before = machine::cpu();
    let times = wait(&runtimes.from, runtimes.from.spawn(round_trips(from.clone(), peer.clone(), size, count)));
    let spent = cpu(count, before);
    let mut figures = percentiles(times.map_err(|e| e.to_string())?);
    if let Some((noise, other)) = noise {
        noise.abort();
        drop(other);
    } else {
        figures.push(spent);
    }
    let received = to.accept(|_| false);
    Layer { from, to, peer, received, runtimes }.end();
    Ok(figures)
}

/// Probing handshakes: dial, TLS, Ping, gossip handshake with real certificates and signatures both ways.
fn handshake(options: &Options, count: usize) -> Outcome<Vec<Figure>> {
    let layer = Layer::with_msp(options);
    let (from, peer, id) = (layer.from.clone(), layer.peer.clone(), layer.to.pki_id().clone());
    let before = machine::cpu();
    let times = layer.runtimes.from.spawn(async move {
        let mut times = Vec::with_capacity(count);
        for _ in 0..count {
            let started = Instant::now();
            let handshake = from.handshake(&peer).await.map_err(|e| e.to_string())?;
            assert!(handshake.confirmed && handshake.info.id == id);
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok::<_, String>(times)
    });
    let times = wait(&layer.runtimes.from, times).map_err(|e| e.to_string())??;
    let total: f64 = times.iter().sum();
    let mut figures = percentiles(times);
    figures.push(figure("rate", "handshakes/s", count as f64 / total * 1e6));
    figures.push(cpu(count, before));
    layer.end();
    Ok(figures)
}

/// One sends every message to all others.
fn fan_out(options: &Options, peers: usize, size: usize, count: usize) -> Outcome<Vec<Figure>> {
    let runtimes = Runtimes::new(options);
    let payload = Bytes::from(vec![7; size]);
    let from = layer::start(options, (free_identity("from"), Arc::new(Free)), false, &runtimes.from);
    let others: Vec<Comm> = (0..peers)
        .map(|n| layer::start(options, (free_identity(&format!("to {n}")), Arc::new(Free)), true, &runtimes.to))
        .collect();
    let to: Vec<RemotePeer> =
        others.iter().map(|other| RemotePeer::new(other.local_addr().expect("it listens").to_string())).collect();
    let mut received: Vec<_> = others.iter().map(|other| other.accept(|_| true)).collect();
    for (peer, received) in to.iter().zip(&mut received) {
        wait(&runtimes.to, warm(&from, peer, received, &payload));
    }
    let before = machine::cpu();
    let started = Instant::now();
    let receivers: Vec<_> = received.into_iter().map(|r| runtimes.to.spawn(receive_all(r, count))).collect();
    let sender = from.clone();
    let sender = runtimes.from.spawn(async move {
        for number in 0..count as u64 {
            sender.send_timeout(&layer::data(number, &payload), layer::PATIENCE, &to).await.expect("sent");
        }
    });
    wait(&runtimes.from, sender).map_err(|e| e.to_string())?;
    let mut ended = started;
    for receiver in receivers {
        ended = ended.max(wait(&runtimes.to, receiver).map_err(|e| e.to_string())?);
    }
    Ok(vec![rate(count * peers, ended - started), cpu(count * peers, before)])
}

/// Many peers, each its own identity and connection, send to one at the same time, each `count` messages. Fairness is
/// measured when half of all has arrived: the messages from the slowest, as a part of those from the fastest.
fn connections(options: &Options, peers: usize, size: usize, count: usize) -> Outcome<Vec<Figure>> {
    let runtimes = Runtimes::new(options);
    let payload = Bytes::from(vec![7; size]);
    let to = layer::start(options, (free_identity("to"), Arc::new(Free)), true, &runtimes.to);
    let peer = RemotePeer::new(to.local_addr().expect("it listens").to_string());
    let mut received = to.accept(|_| true);
    let counts: Arc<Vec<AtomicU64>> = Arc::new((0..peers).map(|_| AtomicU64::new(0)).collect());
    let senders: Vec<Comm> = (0..peers)
        .map(|n| layer::start(options, (free_identity(&format!("{n:06}")), Arc::new(Free)), false, &runtimes.from))
        .collect();
    let started = Instant::now();
    for sender in &senders {
        wait(&runtimes.from, warm(sender, &peer, &mut received, &payload));
    }
    let connected = started.elapsed();
    let before = machine::cpu();
    let started = Instant::now();
    let total = (peers * count) as u64;
    let receiver = runtimes.to.spawn({
        let counts = counts.clone();
        async move {
            let mut fairness = 0.0;
            for n in 1..=total {
                let message = received.recv().await.expect("arrives");
                let Some(Content::DataMsg(_)) = message.message().content() else { continue };
                let name = &message.connection_info().identity[..6];
                let from: usize = std::str::from_utf8(name).ok().and_then(|s| s.parse().ok()).unwrap_or(0);
                counts[from].fetch_add(1, Relaxed);
                if n == total / 2 {
                    let counts = counts.iter().map(|c| c.load(Relaxed) as f64);
                    fairness = counts.clone().fold(f64::MAX, f64::min) / counts.fold(1.0, f64::max);
                }
            }
            (Instant::now(), fairness, received.missed())
        }
    });
    let sending: Vec<_> = senders
        .iter()
        .map(|sender| runtimes.from.spawn(send_all(sender.clone(), peer.clone(), payload.clone(), count)))
        .collect();
    for sending in sending {
        wait(&runtimes.from, sending).map_err(|e| e.to_string())?;
    }
    let (ended, fairness, missed) = wait(&runtimes.to, receiver).map_err(|e| e.to_string())?;
    assert_eq!(missed, 0);
    Ok(vec![
        rate(total as usize, ended - started),
        cpu(total as usize, before),
        figure("fairness", "slowest/fastest", fairness),
        figure("connect", "connections/s", peers as f64 / connected.as_secs_f64()),
        figure("resident", "bytes", machine::resident() as f64),
        figure("threads", "threads", machine::threads() as f64),
    ])
}

/// Peers connect, send an acknowledged message and disconnect, one after the other.
fn churn(options: &Options, count: usize) -> Outcome<Vec<Figure>> {
    let runtimes = Runtimes::new(options);
    let start = |name: &str, listen, on| layer::start(options, (free_identity(name), Arc::new(Free)), listen, on);
    let to = start("to", true, &runtimes.to);
    let peer = RemotePeer::new(to.local_addr().expect("it listens").to_string());
    runtimes.to.spawn(acknowledge(to.accept(|_| true), None));
    let visitors = (0..VISITORS).map(|n| start(&format!("{n}"), false, &runtimes.from)).collect();
    let before = machine::cpu();
    let took =
        wait(&runtimes.from, runtimes.from.spawn(visits(visitors, peer, count))).map_err(|e| e.to_string())??;
    let figures = vec![connections_rate(count, took), cpu(count, before)];
    wait(&runtimes.to, runtimes.to.spawn(async move { to.stop().await })).map_err(|e| e.to_string())?;
    Ok(figures)
}

/// One subscriber never receives and drops; the rate is that of the one beside it.
fn slow_subscriber(options: &Options, size: usize, count: usize) -> Outcome<Vec<Figure>> {
    let payload = Bytes::from(vec![7; size]);
    let Layer { from, to, peer, mut received, runtimes } = Layer::new(options);
    let never = SubscriptionOptions { wait: Duration::ZERO, ..SubscriptionOptions::default() };
    let slow = to.subscribe_with(&never, |_| true);
    wait(&runtimes.to, warm(&from, &peer, &mut received, &payload));
    let started = Instant::now();
    let receiver = runtimes.to.spawn(receive_all(received, count));
    let sender = runtimes.from.spawn(send_all(from.clone(), peer.clone(), payload, count));
    wait(&runtimes.from, sender).map_err(|e| e.to_string())?;
    let ended = wait(&runtimes.to, receiver).map_err(|e| e.to_string())?;
    Ok(vec![rate(count, ended - started), figure("missed", "messages", slow.missed() as f64)])
}

/// The receiving program blocks, `block` microseconds for each message of some peers, which send as fast as they can: it
/// waits for a disk, say, in the task that has that peer's subscription. Acknowledged sends of another peer, which another
/// task answers immediately, are measured, for a few seconds at most. With `pool` the blocking code runs where tokio
/// wants it, otherwise in the task, as code that does not know does.
fn blocking_host(options: &Options, order: &Order) -> Outcome<Vec<Figure>> {
    let (peers, size, count) = (order.need("connections")?, order.need("size")?, order.need("count")?);
    let (block, limit) = (Duration::from_micros(order.need("block")? as u64), order.need("seconds")?);
    let pool = order.number("pool") == Some(1);
    let runtimes = Runtimes::new(options);
    let start = |name: &str, listen, on| layer::start(options, (free_identity(name), Arc::new(Free)), listen, on);
    let to = start("to", true, &runtimes.to);
    let peer = RemotePeer::new(to.local_addr().expect("it listens").to_string());
    let comes_from =
        |message: &ReceivedMessage, name: &str| message.connection_info().identity.starts_with(name.as_bytes());
    runtimes.to.spawn(acknowledge(to.accept(move |message| comes_from(message, "from")), None));
    // The connection to be measured is there before others block.
    let from = start("from", false, &runtimes.from);
    wait(&runtimes.from, round_trips(from.clone(), peer.clone(), 100, 1));
    let (handled, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = Vec::new();
    for n in 0..peers {
        let name = format!("{n:06}");
        let other = start(&name, false, &runtimes.from);
        let mut slow = to.accept(move |message| comes_from(message, &name));
        let (handled, done) = (handled.clone(), done.clone());
        tasks.push(runtimes.to.spawn(async move {
            while slow.recv().await.is_some() && !done.load(Relaxed) {
                if pool {
                    tokio::task::spawn_blocking(move || std::thread::sleep(block)).await.expect("no panic");
                } else {
                    std::thread::sleep(block);
                }
                handled.fetch_add(1, Relaxed);
            }
        }));
        tasks.push(runtimes.from.spawn(send_all(other, peer.clone(), vec![7; size].into(), usize::MAX)));
    }
    while handled.load(Relaxed) < peers as u64 && !tasks.iter().any(|task| task.is_finished()) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let before = handled.load(Relaxed);
    let started = Instant::now();
    let times = runtimes.from.spawn(async move {
        let mut times = Vec::new();
        while times.len() < count && started.elapsed() < Duration::from_secs(limit as u64) {
            times.extend(round_trips(from.clone(), peer.clone(), 100, 1).await);
        }
        times
    });
    let times = wait(&runtimes.from, times).map_err(|e| e.to_string())?;
    let took = started.elapsed();
    let handled = (handled.load(Relaxed) - before) as f64;
    done.store(true, Relaxed);
    tasks.iter().for_each(|task| task.abort());
    let mut figures = percentiles(times);
    figures.push(figure("handled", "messages/s", handled / took.as_secs_f64()));
    wait(&runtimes.to, runtimes.to.spawn(async move { to.stop().await })).map_err(|e| e.to_string())?;
    Ok(figures)
}
