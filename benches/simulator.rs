//! How a network of nodes behaves as it grows, on virtual time: `cargo bench --bench simulator -- 100 1000 5000`.
//!
//! For each number of nodes: how long it takes until all know all, and the traffic of each node in a minute of
//! quiet; virtual time against real time, and the memory of the process. `--loss PER_MILLE` loses messages, `--seconds
//! N` is how long the quiet lasts.

use fabric_gossip::testing::{Links, Simulator, SimulatorConfig};
use std::time::{Duration, Instant};

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| arg != "--bench" && arg != "--test").peekable();
    let (mut sizes, mut loss, mut seconds) = (Vec::new(), 0, 60);
    while let Some(arg) = args.next() {
        let mut number = || args.next().and_then(|number| number.parse().ok()).expect("a number");
        match arg.as_str() {
            "--loss" => loss = number(),
            "--seconds" => seconds = number(),
            size => sizes.push(size.parse::<usize>().expect("a number of nodes")),
        }
    }
    if sizes.is_empty() {
        sizes = vec![20];
    }
    println!(
        "nodes  complete   messages/node  KiB/node  then/s: messages  KiB  false deaths  real s  real/virtual  MiB"
    );
    for nodes in sizes {
        run(nodes, loss, Duration::from_secs(seconds));
    }
}

fn run(nodes: usize, loss: u64, quiet: Duration) {
    let links = Links { loss_per_mille: loss, ..Links::default() };
    let mut simulator = Simulator::new(SimulatorConfig { links, ..SimulatorConfig::default() });
    let start = Instant::now();
    for _ in 0..nodes {
        simulator.add_node(&[0]).expect("a node");
    }
    let complete = simulator.run_until_complete(Duration::from_secs(300));
    let first = simulator.report();
    let converging = start.elapsed();
    simulator.reset_report();
    simulator.run_for(quiet);
    let then = simulator.report();
    let (real, seconds) = (start.elapsed().as_secs_f64(), quiet.as_secs().max(1));
    println!(
        "{nodes:5}  {:>7}  {:14}  {:8}  {:16}  {:3}  {:12}  {:.1} + {:.1}  {:.3}  {:4}",
        complete.map_or("never".into(), |it| format!("{:.1} s", it.as_secs_f64())),
        first.mean_messages(),
        first.mean_bytes() >> 10,
        then.mean_messages() / seconds,
        (then.mean_bytes() >> 10) / seconds,
        first.false_deaths + then.false_deaths,
        converging.as_secs_f64(),
        real - converging.as_secs_f64(),
        real / simulator.elapsed().as_secs_f64(),
        resident_mib(),
    );
}

/// The memory of this process; 0 where there is no `/proc`.
fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default() >> 10
}
