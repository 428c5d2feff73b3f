//! Traffic between honest peers.

use super::network::{Network, Peer, REFUSAL, UNWANTED};
use super::{Found, PATIENCE};
use crate::values::{grouped, micros, short};
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::{AckHandle, Event, Subscription};
use fabric_gossip::crypto::PkiId;
use fabric_gossip::message;
use serde_json::json;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

const CHANNEL: &str = "demo";
const SIZE: usize = 1024;

/// Maximum number of messages of one peer in flight.
const WINDOW: usize = 512;

/// Does a handshake between each pair of peers.
pub fn handshakes(network: &Network) -> Found {
    let begin = Instant::now();
    let mut count = 0;
    for from in &network.peers {
        for to in others(network, from) {
            let failed = |why: &str| format!("the handshake of {} with {} failed: {why}", from.name, to.name);
            let handshake = from.comm().handshake(&to.remote()).map_err(|e| failed(&e.to_string()))?;
            if !handshake.confirmed {
                return Err(failed("the peer did not confirm it"));
            }
            count += 1;
        }
    }
    let each = begin.elapsed() / count;
    let text = format!("Every peer authenticates to every other: {count} handshakes, {} each.", short(each));
    Ok((text, json!({"handshakes": count, "elapsed_us": micros(each * count)})))
}

/// Sends messages from every peer to every other one, all at the same time.
pub fn messages(network: &Network, each: u64, stop: &Cancel) -> Found {
    let begin = Instant::now();
    let results: Vec<Result<u64, String>> = thread::scope(|scope| {
        let senders: Vec<_> = network
            .peers
            .iter()
            .map(|from| {
                let send = move || send_to_all(from, &others(network, from), each, stop);
                thread::Builder::new()
                    .spawn_scoped(scope, send)
                    .map_err(|e| format!("cannot start a thread for sending: {e}; raise the limit (ulimit -u)"))
            })
            .collect();
        let join = |sender: ScopedJoinHandle<_>| sender.join().unwrap_or_else(|_| Err("a sender failed".into()));
        senders.into_iter().map(|sender| sender.and_then(join)).collect()
    });
    let acknowledged: u64 = results.into_iter().sum::<Result<u64, String>>()?;
    let took = begin.elapsed();
    let arrived: u64 = network.peers.iter().map(|p| p.received.count.load(Ordering::Relaxed)).sum();
    if arrived != acknowledged {
        return Err(format!("{} messages were acknowledged, but {} arrived", grouped(acknowledged), grouped(arrived)));
    }
    if let Some(peer) = network.peers.iter().find(|p| !p.received.order.lock().kept()) {
        return Err(format!("at {} messages arrived out of order", peer.name));
    }
    let rate = (acknowledged as f64 / took.as_secs_f64()) as u64;
    let text = format!(
        "Every peer sends {} messages of 1 KiB to every other: all {} arrive in order and are acknowledged ({} a second).",
        grouped(each),
        grouped(acknowledged),
        grouped(rate)
    );
    Ok((
        text,
        json!({"messages": arrived, "acked": acknowledged, "bytes_each": SIZE, "in_order": true,
                     "per_second": rate, "elapsed_us": micros(took)}),
    ))
}

fn others<'a>(network: &'a Network, peer: &Peer) -> Vec<&'a Peer> {
    network.peers.iter().filter(|p| p.name != peer.name).collect()
}

/// Sends messages to all, and returns the number of acknowledgements; fewer than all is an error.
fn send_to_all(from: &Peer, to: &[&Peer], each: u64, stop: &Cancel) -> Result<u64, String> {
    let comm = from.comm();
    let payload = Bytes::from(vec![0; SIZE]);
    let remotes: Vec<_> = to.iter().map(|peer| peer.remote()).collect();
    let mut pending: VecDeque<AckHandle> = VecDeque::new();
    let mut acknowledged = 0;
    let mut settle = |handle: AckHandle| match handle.finish(PATIENCE).error {
        None => {
            acknowledged += 1;
            Ok(())
        }
        Some(e) => Err(format!("a message of {} was not acknowledged: {e}", from.name)),
    };
    for seq in 0..each {
        for remote in &remotes {
            if stop.is_cancelled() {
                return Err("stopped".into());
            }
            let data = message::data(0, CHANNEL, seq, payload.clone());
            pending.push_back(comm.send_tracked(data, PATIENCE, remote).map_err(|e| e.to_string())?);
            if pending.len() > WINDOW {
                pending.pop_front().map_or(Ok(()), &mut settle)?;
            }
        }
    }
    pending.into_iter().try_for_each(&mut settle)?;
    Ok(acknowledged)
}

/// Sends a message that a peer refuses.
pub fn nack(network: &Network) -> Found {
    let (Some(from), Some(to)) = (network.peers.first(), network.peers.last()) else { return Err("no peers".into()) };
    let data = message::data(0, CHANNEL, 0, UNWANTED);
    let results = from.comm().send_with_ack(data, PATIENCE, 1, &[to.remote()]);
    match results.first().and_then(|r| r.error.as_ref()).map(|e| e.message()) {
        Some(REFUSAL) => {
            let text = format!("A message that {} rejects is reported as refused: \"{REFUSAL}\".", to.name);
            Ok((text, json!({"error": REFUSAL})))
        }
        Some(other) => Err(format!("a rejected message was reported with another error: {other}")),
        None => Err("a rejected message was reported as acknowledged".into()),
    }
}

pub fn deliver_one(from: &Peer, to: &Peer) -> Result<(), String> {
    let data = message::data(0, CHANNEL, 0, &b"welcome back"[..]);
    let results = from.comm().send_with_ack(data, PATIENCE, 1, &[to.remote()]);
    match results.first().and_then(|r| r.error.as_ref()) {
        None => Ok(()),
        Some(e) => Err(format!("{} does not reach {}: {e}", from.name, to.name)),
    }
}

pub fn await_disconnect(events: &Subscription<Event>, pki_id: &PkiId) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left == Duration::ZERO {
            return Err(format!("nothing within {}", short(PATIENCE)));
        }
        match events.recv_timeout(left) {
            Ok(Event::Disconnected { info, .. }) if info.id == *pki_id => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(e.message().to_owned()),
        }
    }
}
