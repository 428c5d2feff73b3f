//! Whole networks on virtual time, of the core that real nodes run.

use fabric_gossip::testing::{Simulator, SimulatorConfig};
use std::time::{Duration, Instant};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// So many nodes that all bootstrap from the first.
fn network(seed: u64, nodes: usize) -> Simulator {
    let mut simulator = Simulator::new(SimulatorConfig { seed, ..SimulatorConfig::default() });
    (0..nodes).for_each(|_| drop(simulator.add_node(&[0]).expect("a node")));
    simulator
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:.1} s of real time", start.elapsed().as_secs_f64());
    result
}

#[test]
fn a_hundred_nodes_know_each_other() {
    let mut simulator = network(1, 100);
    timed("100 nodes", || simulator.run_until_complete(s(60)).expect("full membership"));
    println!("{}", simulator.report());
}
