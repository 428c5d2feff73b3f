//! Several nodes that find each other.

use crate::net::{endpoint, id, internal, name_of, requester, row_config, Net, MS, SEC};
use fabric_gossip::internals::discovery::{Change, Disclosure, DiscoveryConfig, Event};
use fabric_gossip::message::Content;

fn with_sync() -> DiscoveryConfig {
    let mut config = row_config();
    config.sync_interval = Some(SEC);
    config
}

/// `count` nodes that know each other, through the first one.
fn together(count: usize, config: &DiscoveryConfig) -> Net {
    let mut net = Net::new();
    net.add_nodes("n", count, config);
    for node in 1..count {
        net.connect(node, &endpoint("n0"));
    }
    net.eventually("full membership", |net| net.all_see(count - 1));
    net
}

#[test]
fn d5_a_ring_of_nodes_that_connect_to_foreign_ones_becomes_one_network() {
    let mut net = Net::new();
    net.add_nodes("n", 10, &row_config());
    for node in 0..10 {
        net.nodes[node].same_org = false;
        net.connect(node, &endpoint(&format!("n{}", (node + 1) % 10)));
    }
    net.eventually("the last one sees all", |net| net.sees(9).len() == 9);
    for node in &net.nodes {
        let first = node.sent.iter().find_map(|(_, _, message)| requester(message)).expect("a request");
        assert!(first.envelope().secret.is_none(), "{} tells its internal endpoint", node.name);
    }
}

#[test]
fn d7_a_node_that_is_alone_signs_nothing() {
    let mut net = Net::new();
    let n = net.add("n", &with_sync());
    net.run_for(10 * 300 * MS);
    net.sync(n, 10_000);
    net.run_for(SEC);
    assert_eq!((net.nodes[n].signed, net.nodes[n].sent.len()), (0, 0));
}

#[test]
fn d11_a_response_lists_the_dead() {
    let mut net = together(3, &row_config());
    net.stop(2);
    net.eventually("dead", |net| net.knows_dead(0) == ["n2"] && net.knows_dead(1) == ["n2"]);
    net.nodes[0].received.clear();
    net.sync(0, 10);
    net.eventually("a response", |net| net.responses(0) == [(2, 1)]);
}

#[test]
fn d12_metadata_and_endpoint_updates_are_seen_by_all() {
    let mut net = together(5, &row_config());
    for node in 0..5 {
        let discovery = &mut net.nodes[node].discovery;
        discovery.update_metadata("bla bla".as_bytes().to_vec());
        discovery.update_endpoint(&format!("moved{node}:7051")).unwrap();
    }
    net.eventually("updates everywhere", |net| {
        net.nodes.iter().all(|node| {
            let members = node.discovery.membership();
            members.len() == 4
                && members.iter().all(|it| &it.metadata[..] == b"bla bla" && it.endpoint.starts_with("moved"))
        })
    });
    let updated = |change: &Change| matches!(change, Change::Updated(_));
    assert!(net.nodes.iter().all(|node| node.changes.iter().filter(|it| updated(it)).count() == 4));
}

#[test]
fn d13_without_push_sync_alone_gives_full_membership() {
    let mut net = Net::new();
    net.add_nodes("n", 10, &row_config());
    (0..10).for_each(|node| net.nodes[node].push = 0);
    (1..10).for_each(|node| net.connect(node, &endpoint("n0")));
    for _ in 0..12 {
        net.run_for(SEC);
        (0..10).for_each(|node| net.sync(node, 9));
    }
    assert!(net.all_see(9));
}

#[test]
fn d15_who_stops_is_dead_for_the_others() {
    let mut net = together(5, &row_config());
    [3, 4].iter().for_each(|&node| net.stop(node));
    let took = net.eventually("two are left", |net| net.all_see(2));
    assert!(took <= 3 * SEC + 2 * 300 * MS, "took {took:?}");
    assert!((0..3).all(|node| net.knows_dead(node) == ["n3", "n4"]));
    let closed = |node: usize, name: &str| net.nodes[node].closed.iter().any(|it| it == name);
    assert!((0..3).all(|node| closed(node, "n3") && closed(node, "n4")));
}

#[test]
fn d16_nodes_whose_bootstrap_peers_come_late_all_find_each_other() {
    let mut net = Net::new();
    let config = with_sync();
    net.add_nodes("n", 13, &config);
    for node in 0..13 {
        ["boot0", "boot1"].iter().for_each(|boot| net.connect(node, &endpoint(boot)));
    }
    net.run_for(SEC);
    let boot0 = net.add("boot0", &config);
    let boot1 = net.add("boot1", &config);
    net.connect(boot0, &endpoint("boot1"));
    net.connect(boot1, &endpoint("boot0"));
    net.eventually("full membership", |net| net.all_see(14));
    for node in &net.nodes {
        for member in node.discovery.membership() {
            let name = name_of(&member.pki_id);
            assert_eq!((&member.endpoint, &member.internal_endpoint), (&endpoint(&name), &internal(&name)));
            assert_eq!(node.discovery.lookup(&member.pki_id), Some(member));
        }
    }
}

#[test]
fn d17_a_node_whose_bootstrap_peer_is_itself_stops() {
    let mut net = Net::new();
    let n = net.add("n", &with_sync());
    net.connect(n, &internal("n"));
    net.run_for(SEC);
    net.nodes[n].discovery.stop();
    assert_eq!(net.nodes[n].discovery.next_timeout(), None);
}

#[test]
fn d18_no_node_connects_to_itself() {
    let mut net = Net::new();
    let n = net.add("n", &with_sync());
    for own in ["localhost:7051", "127.0.0.1:7051", "n:7051", "n.internal:7051"] {
        net.connect(n, own);
    }
    net.run_for(3 * SEC);
    let node = &net.nodes[n];
    assert!(node.identified.is_empty() && node.sent.is_empty() && node.pinged.is_empty());
    assert!(node.discovery.seeds().is_empty());
}

#[test]
fn a_seed_that_turns_out_to_be_the_node_itself_is_left_alone() {
    let mut net = Net::new();
    let n = net.add("n", &row_config());
    net.nodes[n].discovery.update_endpoint("other.name:7051").unwrap();
    net.connect(n, &endpoint("n"));
    net.run_for(30 * SEC);
    assert_eq!((net.nodes[n].identified.len(), net.nodes[n].sent.len()), (1, 0));
    assert!(net.nodes[n].discovery.seeds()[0].connected);
}

#[test]
fn d19_groups_become_one_through_a_node_that_knows_them_all() {
    let mut net = Net::new();
    let config = with_sync();
    for group in ["a", "b", "c"] {
        let first = net.add_nodes(group, 4, &config);
        (1..4).for_each(|i| net.connect(first + i, &endpoint(&format!("{group}0"))));
    }
    net.eventually("three groups", |net| net.all_see(3));
    let connector = net.add("connector", &config);
    ["a0", "b0", "c0"].iter().for_each(|boot| net.connect(connector, &endpoint(boot)));
    net.eventually("one network", |net| net.all_see(12));
    net.stop(connector);
    net.eventually("without the connector", |net| net.all_see(11));
}

/// Nodes 0 to 4 are one group, 5 to 9 the other.
fn number(name: &str) -> u32 {
    name.trim_start_matches('n').parse().unwrap()
}

/// Across groups only nodes with even numbers know of each other, and not each other's internal endpoints.
fn even_across(remote: &str, member: &str) -> Disclosure {
    let (remote, member) = (number(remote), number(member));
    match remote / 5 == member / 5 {
        true => Disclosure::Whole,
        false if remote % 2 == 0 && member % 2 == 0 => Disclosure::WithoutSecret,
        false => Disclosure::Nothing,
    }
}

fn may_know(node: u32, other: u32) -> bool {
    node != other && (node / 5 == other / 5 || (node % 2 == 0 && other % 2 == 0))
}

fn two_groups() -> Net {
    let mut net = Net::new();
    net.policy = even_across;
    net.add_nodes("n", 10, &with_sync());
    for node in 0..10 {
        net.nodes[node].push = 0;
        let boot = if node < 5 { "n0" } else { "n5" };
        net.connect(node, &endpoint(boot));
    }
    for (node, other) in [(0, "n6"), (6, "n0"), (2, "n8")] {
        net.nodes[node].same_org = false;
        net.connect(node, &endpoint(other));
    }
    net
}

fn known(net: &Net, node: u32) -> Vec<u32> {
    let mut known: Vec<u32> = net.sees(node as usize).iter().map(|name| number(name)).collect();
    known.sort_unstable();
    known
}

#[test]
fn d20_with_a_disclosure_policy_each_node_knows_whom_it_may() {
    let mut net = two_groups();
    let allowed = |node: u32| (0..10).filter(|other| may_know(node, *other)).collect::<Vec<u32>>();
    assert_eq!((allowed(0), allowed(1)), (vec![1, 2, 3, 4, 6, 8], vec![0, 2, 3, 4]));
    net.eventually("exactly the allowed", |net| (0..10).all(|node| known(net, node) == allowed(node)));
    for _ in 0..10 {
        net.run_for(SEC);
        for node in 0..10 {
            assert_eq!(known(&net, node), allowed(node));
            for member in net.nodes[node as usize].discovery.membership() {
                let across = number(&name_of(&member.pki_id)) / 5 != node / 5;
                assert_eq!(member.internal_endpoint.is_empty(), across, "node {node}: {member}");
            }
        }
    }
}

#[test]
fn d21_a_death_is_known_to_those_who_knew_the_dead() {
    let mut net = two_groups();
    net.eventually("known", |net| {
        (0..10).all(|node| known(net, node) == (0..10).filter(|o| may_know(node, *o)).collect::<Vec<_>>())
    });
    net.stop(0);
    net.run_for(6 * SEC);
    for node in 1..10 {
        let expected: &[&str] = if may_know(node, 0) { &["n0"] } else { &[] };
        assert_eq!(net.knows_dead(node as usize), expected, "node {node}");
    }
}

/// How often a node pinged another during the next ten reconnect intervals.
fn pings(net: &mut Net, node: usize, at: &str) -> usize {
    net.nodes[node].pinged.clear();
    net.run_for(10 * 3 * SEC);
    net.nodes[node].pinged.iter().filter(|(_, endpoint)| *endpoint == internal(at)).count()
}

#[test]
fn d22_the_dead_are_pinged_each_reconnect_interval() {
    let mut net = together(3, &row_config());
    net.stop(1);
    net.eventually("dead", |net| net.knows_dead(0) == ["n1"] && net.knows_dead(2) == ["n1"]);
    for node in [0, 2] {
        let count = pings(&mut net, node, "n1");
        // An interval passes between the end of a round and the next one.
        assert!((9..=10).contains(&count), "node {node}: {count}");
    }
}

#[test]
fn d23_a_pki_id_that_is_no_more_is_not_pinged_any_more() {
    let mut net = together(3, &row_config());
    net.stop(1);
    net.eventually("dead", |net| net.knows_dead(0) == ["n1"] && net.knows_dead(2) == ["n1"]);
    net.handle(0, Event::IdentitySwitch(id("n1")));
    assert_eq!(pings(&mut net, 0, "n1"), 0);
    assert!(pings(&mut net, 2, "n1") >= 9);
}

#[test]
fn d24_of_who_stays_away_no_trace_is_left() {
    let mut config = with_sync();
    config.reconnect_interval = 60 * SEC;
    let mut net = together(4, &config);
    // The first one is a seed; those who stop are not.
    [2, 3].iter().for_each(|&node| net.stop(node));
    net.run_for(25 * 3 * SEC);
    for node in [0, 1] {
        let discovery = &net.nodes[node].discovery;
        assert_eq!((discovery.alive_count(), discovery.dead().len()), (1, 0));
        for name in ["n2", "n3"] {
            assert!(discovery.lookup(&id(name)).is_none());
            let live = discovery.message_store(net.now()).any(|(it, _, expired)| *it == id(name) && !expired);
            assert!(!live, "{name} is still in the store of {node}");
        }
    }
}

#[test]
fn d32_a_survivor_is_found_again_by_those_who_restart() {
    let mut config = with_sync();
    config.alive_expiration_timeout = 600 * MS;
    let mut net = together(3, &config);
    [0, 1].iter().for_each(|&node| net.stop(node));
    net.run_for(20 * 600 * MS + SEC);
    assert!(net.sees(2).is_empty(), "the survivor is alone");
    [0, 1].iter().for_each(|&node| net.restart(node, &config));
    net.connect(1, &endpoint("n0"));
    net.eventually("all three", |net| net.all_see(2));
}

#[test]
fn d33_an_anchor_is_never_forgotten() {
    let mut config = with_sync();
    config.msg_expiration_factor = 5;
    let mut net = together(3, &config);
    [0, 1].iter().for_each(|&node| net.stop(node));
    net.run_for(5 * 3 * SEC + 5 * SEC);
    assert_eq!(net.knows_dead(2), ["n0"], "the anchor alone");
    let forgotten = |change: &&Change| matches!(change, Change::Forgotten(_));
    let forgotten: Vec<&Change> = net.nodes[2].changes.iter().filter(forgotten).collect();
    assert!(matches!(&forgotten[..], [Change::Forgotten(it)] if it.pki_id == id("n1")), "{forgotten:?}");
    [0, 1].iter().for_each(|&node| net.restart(node, &config));
    net.connect(1, &endpoint("n0"));
    net.eventually("all three", |net| net.all_see(2));
}

#[test]
fn u12_a_stopped_store_expires_nothing_and_stops_twice() {
    let mut net = together(2, &row_config());
    net.nodes[0].discovery.stop();
    net.nodes[0].discovery.stop();
    let changes = net.nodes[0].changes.len();
    net.run_for(100 * SEC);
    net.handle(0, Event::Timeout);
    assert_eq!(net.nodes[0].changes.len(), changes);
    assert_eq!(net.nodes[0].discovery.records().count(), 1, "the table is as it was");
    assert!(net.nodes[0].discovery.membership().is_empty(), "but nobody is a member");
}

#[test]
fn nodes_that_start_together_know_each_other_before_the_first_usual_sync() {
    let config = DiscoveryConfig::default();
    let mut net = Net::new();
    net.add_nodes("n", 50, &config);
    (0..50).for_each(|node| net.nodes[node].push = 3);
    for node in 1..50 {
        net.run_for(10 * MS);
        net.connect(node, &endpoint("n0"));
    }
    let took = net.eventually("full membership", |net| net.all_see(49));
    println!("50 nodes know each other {took:?} after the last of them started");
    assert!(took <= 3 * SEC, "took {took:?}, the usual interval is 4 s");
    // Soon they ask each other no more often than Fabric's peers do.
    net.run_for(20 * SEC);
    net.nodes.iter_mut().for_each(|node| node.sent.clear());
    net.run_for(40 * SEC);
    let request = |message: &fabric_gossip::SignedMessage| matches!(message.content(), Some(Content::MemReq(_)));
    for node in &net.nodes {
        let count = node.sent.iter().filter(|(_, _, message)| request(message)).count();
        assert_eq!(count, 30, "{}: three each four seconds", node.name);
    }
}

#[test]
fn the_same_run_gives_the_same_messages() {
    let run = || {
        let mut net = together(10, &with_sync());
        (0..10).for_each(|node| net.nodes[node].push = 2);
        [7, 8].iter().for_each(|&node| net.stop(node));
        net.run_for(20 * SEC);
        let sent = |node: crate::net::Node| {
            let sent = node.sent.into_iter().map(|(at, to, message)| (at, to, message.wire()));
            (sent.collect::<Vec<_>>(), node.gossiped.len(), node.forwarded.len(), node.pinged, node.changes)
        };
        net.nodes.into_iter().map(sent).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}
