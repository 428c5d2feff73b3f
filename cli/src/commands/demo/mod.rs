//! `demo`: demonstrates the library without any setup, with real peers, certificates and connections.

mod impostor;
mod membership;
mod network;
mod traffic;

use crate::failure::{Failure, Result};
use crate::output::{printable, Progress};
use crate::values::{micros, short};
use crate::Context;
use clap::Args;
use membership::Nodes;
use network::{Network, Peer};
use serde_json::{json, Value};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time limit for operations that normally take milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// Number of steps of a demonstration with more than two peers.
const STEPS: u64 = 14;

/// Demonstrate the library without any setup: peers of two organisations connect, exchange messages, and reject
/// impostors
#[derive(Args)]
pub struct DemoArgs {
    /// Number of peers, in two organisations
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=32))]
    peers: u16,
    /// Number of messages that each peer sends to each other one
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    messages: u64,
}

/// Result of a step: a text, and its figures in JSON. The error describes the deviation.
type Found = Result<(String, Value), String>;

pub fn run(context: &Context, args: &DemoArgs) -> Result<()> {
    let begin = Instant::now();
    let mut demo = Demo { context, taken: 0, failed: 0, progress: Some(context.out.progress("steps", STEPS)) };
    demo.say(&format!(
        "{} peers of two organisations, on this machine, over mutual TLS (transport {}):\n",
        args.peers, context.transport
    ));
    let walked = demo.walk(args);
    demo.progress = None;
    let (took, failed) = (begin.elapsed(), demo.failed);
    let error = match (&walked, failed) {
        (Err(_), _) => Some(context.interrupted.reason().to_owned()),
        (Ok(()), 0) => None,
        (Ok(()), _) => Some("a step failed".to_owned()),
    };
    context.out.line(
        || json!({"event": "demo", "ok": error.is_none(), "failed": failed, "elapsed_us": micros(took), "error": error}),
        || match failed {
            _ if walked.is_err() => "\nStopped before the end.".to_owned(),
            0 => format!("\nAll steps passed in {}.", short(took)),
            n => format!("\nSteps that failed: {n}."),
        },
    );
    match failed {
        0 => walked,
        _ => Err(Failure::Reported),
    }
}

struct Demo<'a> {
    context: &'a Context,
    taken: u64,
    failed: usize,
    progress: Option<Progress>,
}

impl Demo<'_> {
    fn walk(&mut self, args: &DemoArgs) -> Result<()> {
        let begin = Instant::now();
        let network = match Network::start(usize::from(args.peers), self.context.transport) {
            Ok(network) => network,
            Err(e) => return self.step("identities", Err(e)),
        };
        self.step("identities", Ok(identities(&network, begin.elapsed())))?;
        self.step("handshakes", traffic::handshakes(&network))?;
        self.step("messages", traffic::messages(&network, args.messages, &self.context.stop))?;
        self.step("nack", traffic::nack(&network))?;
        self.step("stranger", impostor::stranger(&network))?;
        self.step("stolen_identity", impostor::thief(&network))?;
        self.step("replayed_greeting", impostor::replay(&network))?;
        let Some((leaver, others)) = network.peers.split_last() else { return Ok(()) };
        self.step("stopped", stopped(leaver, others))?;
        self.step("returned", returned(leaver, others))?;
        self.membership(&network)
    }

    /// Runs the second part, with the peers as nodes.
    fn membership(&mut self, network: &Network) -> Result<()> {
        let (nodes, found) = Nodes::form(network);
        self.step("membership", found)?;
        let Ok(nodes) = nodes else { return Ok(()) };
        self.step("organisations", nodes.meet())?;
        if nodes.is_worth_it() {
            self.step("gossip", nodes.spread())?;
            self.step("died", nodes.lose_one())?;
            self.step("came_back", nodes.take_back())?;
        }
        Ok(())
    }

    fn say(&self, text: &str) {
        self.context.out.note(|| text.to_owned());
    }

    fn step(&mut self, name: &str, found: Found) -> Result<()> {
        if self.context.stop.is_cancelled() {
            return Err(Failure::Stopped);
        }
        let (ok, text, figures) = match found {
            Ok((text, figures)) => (true, text, figures),
            Err(why) => (false, why, json!({})),
        };
        self.failed += usize::from(!ok);
        self.taken += 1;
        if let Some(progress) = &self.progress {
            progress.set(self.taken);
        }
        let text = printable(&text);
        self.context.out.line(
            || {
                let mut line = json!({"event": "step", "name": name, "ok": ok});
                for (key, value) in figures.as_object().into_iter().flatten() {
                    line[key] = value.clone();
                }
                line["text"] = json!(text);
                line
            },
            || format!("{} {text}", if ok { '✔' } else { '✘' }),
        );
        Ok(())
    }
}

fn identities(network: &Network, took: Duration) -> (String, Value) {
    let names: Vec<&str> = network.peers.iter().map(|p| p.name.as_str()).collect();
    let text = format!(
        "Each organisation has its own certificate authorities, and they issued each peer's identity ({}).",
        short(took)
    );
    (text, json!({"peers": names, "elapsed_us": micros(took)}))
}

/// Formats a number of peers: `peer0 knows it`, `the other 3 know it`.
fn all_of(peers: &[Peer], one: &str, several: &str) -> String {
    match peers {
        [peer] => format!("{} {one}", peer.name),
        _ => format!("the other {} {several}", peers.len()),
    }
}

/// Stops a peer. Measures how long it takes until all others notice.
fn stopped(leaver: &Peer, others: &[Peer]) -> Found {
    let watches: Vec<_> = others.iter().map(|peer| (peer, peer.comm().events())).collect();
    let begin = Instant::now();
    let stopping = leaver.comm();
    let stop = spawn("demo-stop", move || stopping.stop())?;
    let mut slowest = Duration::ZERO;
    for (peer, events) in &watches {
        traffic::await_disconnect(events, &leaver.me.pki_id)
            .map_err(|why| format!("{} did not notice that {} was stopped: {why}", peer.name, leaver.name))?;
        slowest = slowest.max(begin.elapsed());
    }
    let _ = stop.join();
    let text = format!("{} stops: {} within {}.", leaver.name, all_of(others, "knows it", "know it"), short(slowest));
    Ok((text, json!({"peer": leaver.name, "noticed_by": others.len(), "elapsed_us": micros(slowest)})))
}

/// Restarts a peer. Measures how long it takes until all others have delivered a message to it.
fn returned(leaver: &Peer, others: &[Peer]) -> Found {
    let begin = Instant::now();
    leaver.restart()?;
    for peer in others {
        traffic::deliver_one(peer, leaver)?;
    }
    let took = begin.elapsed();
    let reach = all_of(others, "delivers a message", "deliver a message each");
    let text = format!("{} comes back: {reach} to it within {}.", leaver.name, short(took));
    Ok((text, json!({"peer": leaver.name, "reached_by": others.len(), "elapsed_us": micros(took)})))
}

/// Starts a thread of the demonstration.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, String> {
    crate::stop::spawn(name, run).map_err(|e| e.text().unwrap_or_default().to_owned())
}
