//! Whole networks on virtual time, of the core that real nodes run.

use fabric_gossip::testing::{Links, Simulator, SimulatorConfig};
use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A network of `nodes` nodes that all bootstrap from the first.
fn network(seed: u64, nodes: usize) -> Simulator {
    network_of(SimulatorConfig { seed, ..SimulatorConfig::default() }, nodes)
}

fn network_of(config: SimulatorConfig, nodes: usize) -> Simulator {
    let mut simulator = Simulator::new(config);
    for _ in 0..nodes {
        simulator.add_node(&[0]).expect("a node");
    }
    simulator
}

fn timed<T>(what: &str, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = run();
    println!("{what}: {:.1} s of real time", start.elapsed().as_secs_f64());
    result
}

fn lossy(per_mille: u64) -> Links {
    Links { loss_per_mille: per_mille, ..Links::default() }
}

#[test]
fn a_hundred_nodes_started_together_know_each_other_sooner_than_serf() {
    let mut simulator = network(1, 100);
    let converged = timed("100 nodes", || simulator.run_until_complete(s(60))).expect("full membership");
    println!("{}", simulator.report());
    assert!(converged < s(2), "Serf takes 2 s, this took {converged:?}");
}

/// This and the next one take minutes of computing, so they are run with those tests that need no network alone.
#[cfg(not(feature = "c-core"))]
#[test]
fn a_thousand_nodes_reach_full_membership_and_a_killed_one_is_dead_everywhere_in_time() {
    let mut simulator = network(2, 1000);
    timed("1,000 nodes", || simulator.run_until_complete(s(60))).expect("full membership");
    println!("{}", simulator.report());
    simulator.kill(100);
    let config = fabric_gossip::node::NodeConfig::default().discovery;
    // Expiry counts from when a node first heard the last that the dead one said. If that was a heartbeat, gossip brings
    // it to nearly all immediately. If it was a membership request, only those that were asked have it, and the others
    // learn it from the members that they ask: four times as many with every sync interval, so a thousand in five or
    // six.
    let spread = 6 * config.sync_interval.expect("a sync interval");
    let limit = config.alive_expiration_timeout + config.alive_expiration_check_interval + spread;
    let noticed = timed("until it is dead", || simulator.run_until(limit, Simulator::is_complete));
    println!("dead everywhere {noticed:?} after it was gone");
    assert!(noticed.expect("dead everywhere") > config.alive_expiration_timeout - config.alive_time_interval);
    assert_eq!(simulator.report().false_deaths, 0);
}

#[cfg(not(feature = "c-core"))]
#[test]
fn two_hundred_nodes_that_lose_a_tenth_take_nobody_for_dead_in_an_hour() {
    let config = SimulatorConfig { seed: 3, links: lossy(100), ..SimulatorConfig::default() };
    let mut simulator = network_of(config, 200);
    timed("200 nodes, 10 % lost, an hour", || {
        simulator.run_until_complete(s(60)).expect("full membership");
        simulator.run_for(s(3600));
    });
    println!("{}", simulator.report());
    assert!(simulator.is_complete());
    assert_eq!(simulator.report().false_deaths, 0);
}

#[test]
fn two_halves_that_were_parted_find_each_other_again() {
    let mut simulator = network(4, 100);
    simulator.run_until_complete(s(60)).expect("full membership");
    simulator.partition(|number| (number % 2) as u32);
    let halves = |simulator: &Simulator| (0..100).all(|it| simulator.node(it).is_some_and(|it| it.alive_count() == 49));
    simulator.run_until(s(60), halves).expect("each half sees itself");
    simulator.run_for(s(60));
    assert!(halves(&simulator));
    simulator.heal();
    let healed = simulator.run_until(s(120), Simulator::is_complete).expect("full membership again");
    println!("whole again in {healed:?}");
    assert_eq!(simulator.report().false_deaths, 0);
}

#[test]
fn the_same_run_gives_the_same_trace() {
    let run = |seed| {
        let links = Links { duplication_per_mille: 20, ..lossy(50) };
        let mut simulator = network_of(SimulatorConfig { seed, links, ..SimulatorConfig::default() }, 50);
        simulator.run_for(s(30));
        simulator.kill(7);
        simulator.stop(8);
        simulator.run_for(s(40));
        simulator.restart(7, false).expect("a node");
        simulator.restart(8, true).expect("a node");
        simulator.run_for(s(60));
        (simulator.trace(), simulator.report().messages, simulator.is_complete())
    };
    let (trace, messages, complete) = run(5);
    assert!(complete);
    assert_eq!(run(5), (trace, messages, true));
    assert_ne!(run(6).0, trace);
}

#[test]
fn links_lose_duplicate_and_part_as_told() {
    let sent = |links: Links, groups: u32| {
        let mut simulator = network_of(SimulatorConfig { seed: 9, links, ..SimulatorConfig::default() }, 10);
        simulator.run_until_complete(s(60)).expect("full membership");
        simulator.partition(|number| number as u32 % groups);
        simulator.run_for(s(1));
        let arrived = Rc::new(Cell::new(0));
        simulator.observe({
            let arrived = arrived.clone();
            move |from, to, _| {
                assert_eq!(from as u32 % groups, to as u32 % groups);
                arrived.set(arrived.get() + 1);
            }
        });
        simulator.reset_report();
        simulator.run_for(s(20));
        arrived.get() * 100 / simulator.report().messages.iter().sum::<u64>()
    };
    assert_eq!(sent(Links::default(), 1), 100);
    assert!((80..=100).contains(&sent(lossy(100), 1)));
    assert!((110..=130).contains(&sent(Links { duplication_per_mille: 200, ..Links::default() }, 1)));
    assert!((30..=70).contains(&sent(Links::default(), 2)));
}
