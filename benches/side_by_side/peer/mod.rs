//! Our side as a separate process. It reads orders from its input, a line each: a name, and `key=value` pairs. Each is
//! carried out immediately; the result is printed as JSON, an object a line, with `done` after the last one, or
//! `error` and a reason. It ends with its input. The async variant's program understands the same orders and prints
//! the same (`benches/async/README.md` lists them).
//!
//! It is several variants: `http2` and `c-core`, which are the library over either transport; `bare-http2` and
//! `bare-c-core`, the transports without the layer; and `plain-tls`, two threads and OpenSSL. The latter three understand
//! the orders that they can carry out.

mod ends;
mod floor;
mod process;
mod workloads;

use crate::results::Record;
use crate::support::{machine, Kind};
use ends::Members;
use fabric_gossip::RemotePeer;
use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Duration;

type Outcome<T = ()> = Result<T, String>;

/// One measured value: metric, unit, value.
type Figure = (&'static str, &'static str, f64);

/// A line of input.
struct Order {
    name: String,
    pairs: Vec<(String, String)>,
}

impl Order {
    fn from(line: &str) -> Order {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap_or_default().to_owned();
        let pairs = words.filter_map(|word| word.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect();
        Order { name, pairs }
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.pairs.iter().find(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.text(key).and_then(|value| value.parse().ok())
    }

    fn need(&self, key: &str) -> Outcome<usize> {
        self.number(key).ok_or_else(|| format!("{} needs {key}=", self.name))
    }

    /// Returns the peer of `endpoint=`.
    fn peer(&self) -> Outcome<RemotePeer> {
        self.peers().map(|mut peers| peers.swap_remove(0))
    }

    /// Returns the peers of `endpoint=`, which are separated by commas; at least one.
    fn peers(&self) -> Outcome<Vec<RemotePeer>> {
        let endpoints = self.text("endpoint").ok_or_else(|| format!("{} needs endpoint=", self.name))?;
        Ok(endpoints.split(',').map(RemotePeer::new).collect())
    }
}

/// The parsed arguments of a child.
pub struct Arguments {
    pub variant: String,
    /// The folders of the two members.
    pub from: PathBuf,
    pub to: PathBuf,
}

/// Carries out orders as the variant that the arguments name, until the input ends.
pub fn run(arguments: &Arguments) {
    let variant = &arguments.variant;
    if let Some(kind) = Kind::named(variant) {
        let members = Members::read(arguments, kind);
        let mut process = process::Process::new(&members);
        obey(variant, |order| match process.carry_out(order) {
            Some(outcome) => outcome,
            None => workloads::measure(&members, order),
        });
    } else {
        obey(variant, |order| floor::measure(variant, order));
    }
}

fn obey(variant: &str, mut carry_out: impl FnMut(&Order) -> Outcome<Vec<Figure>>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let order = Order::from(&line);
        if order.name.is_empty() {
            continue;
        }
        let outcome = carry_out(&order);
        let mut output = std::io::stdout().lock();
        let said = match outcome {
            Ok(figures) => {
                let mut lines = figures.iter().map(|figure| record(variant, &order, *figure).json());
                lines.try_for_each(|line| writeln!(output, "{line}")).and_then(|()| writeln!(output, "done"))
            }
            Err(error) => writeln!(output, "error {}", error.replace('\n', " ")),
        };
        if said.and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

fn record(variant: &str, order: &Order, (metric, unit, value): Figure) -> Record {
    let number = |key| order.number(key).map(|n| n as u64);
    Record {
        workload: order.name.clone(),
        size: number("size").unwrap_or(0),
        connections: number("connections").unwrap_or(1),
        variant: variant.into(),
        metric: metric.into(),
        unit: unit.into(),
        value,
        round: number("round").unwrap_or(0),
    }
}

/// Returns the rate of messages.
fn rate(count: usize, took: Duration) -> Figure {
    ("rate", "messages/s", count as f64 / took.as_secs_f64())
}

/// Of both ends together.
fn cpu(count: usize, usage: &machine::Usage) -> Figure {
    ("cpu", "us/message", usage.cpu().as_secs_f64() * 1e6 / count as f64)
}

fn percentiles(mut times: Vec<f64>) -> Vec<Figure> {
    times.sort_by(f64::total_cmp);
    let at = |per_mille| crate::statistics::at(&times, per_mille);
    vec![("p50", "us", at(500)), ("p99", "us", at(990)), ("p99.9", "us", at(999))]
}
