//! Seeds: contacted immediately, retried until they answer, never forgotten.

use crate::net::{alive, endpoint, id, mem_res, requester, row_config, Net, MS, SEC};
use fabric_gossip::internals::discovery::{Event, Seed};
use fabric_gossip::message::{Content, SignedMessage};
use fabric_gossip::ErrorKind;
use std::time::Duration;

fn seed(net: &Net) -> Seed {
    net.nodes[0].discovery.seeds().remove(0)
}

/// A node, and a seed `s` that is there but never answers.
fn silent_seed() -> Net {
    let mut net = Net::new();
    net.add("n", &row_config());
    let seed = net.add("s", &row_config());
    net.nodes[seed].discovery.stop();
    net.connect(0, &endpoint("s"));
    net.run_for(100 * MS);
    net
}

/// Fabric takes any response with the nonce for an answer.
#[test]
fn d36_only_a_valid_answer_of_the_seed_stops_the_requests() {
    let mut net = silent_seed();
    let nonce = net.nodes[0].sent[0].2.nonce();
    assert_ne!(nonce, 0);
    let mut forged = alive("s", 7, 1).envelope().clone();
    forged.signature = vec![1].into();
    let forged = SignedMessage::from_envelope(Some(forged)).unwrap();
    let garbage = SignedMessage::noop_sign(fabric_gossip::message::empty(0)).unwrap();
    for useless in [
        mem_res(nonce, &[], &[]),
        mem_res(nonce, &[garbage], &[]),
        mem_res(nonce, &[forged], &[]),
        mem_res(nonce, &[alive("other", 7, 1)], &[]),
        mem_res(nonce, &[], &[alive("s", 7, 0)]),
        mem_res(nonce + 1, &[alive("s", 7, 1)], &[]),
    ] {
        net.receive(0, &useless);
        assert!(!seed(&net).connected);
    }
    net.run_for(10 * SEC);
    let sent = net.nodes[0].sent.len();
    assert!(sent >= 3, "only {sent} requests");
    net.receive(0, &mem_res(nonce, &[alive("s", 7, 2)], &[]));
    assert_eq!((seed(&net).connected, seed(&net).last_error), (true, None));
    let asked = |net: &Net| net.nodes[0].sent.iter().filter(|(_, _, it)| it.nonce() == nonce).count();
    let before = asked(&net);
    net.run_for(60 * SEC);
    assert_eq!(asked(&net), before);
}

#[test]
fn an_answer_that_says_nothing_new_counts_too() {
    for sequence in [3, 2] {
        let mut net = silent_seed();
        let nonce = net.nodes[0].sent[0].2.nonce();
        net.receive(0, &alive("s", 7, 3));
        net.receive(0, &mem_res(nonce, &[alive("s", 7, sequence)], &[]));
        assert!(seed(&net).connected, "{sequence}");
    }
}

#[test]
fn an_unreachable_seed_is_tried_at_growing_intervals_and_for_ever() {
    let mut net = Net::new();
    net.add("n", &row_config());
    net.connect(0, &endpoint("nobody"));
    net.run_for(100 * SEC);
    let tries: Vec<Duration> = net.nodes[0].identified.iter().map(|(at, _)| *at).collect();
    assert_eq!(tries[0], Duration::ZERO, "the first one at once");
    let waits: Vec<Duration> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (n, wait) in waits.iter().enumerate() {
        let longest = (500 * MS * (1 << n.min(10))).min(3 * SEC);
        assert!((longest / 2..=longest + MS).contains(wait), "wait {n}: {wait:?}");
    }
    assert!(waits.len() > 30, "it goes on");
    let seed = seed(&net);
    assert_eq!((seed.endpoint.as_str(), seed.last_error.as_deref()), ("nobody:7051", Some("connection refused")));
    assert_eq!(seed.attempts as usize, tries.len());
    assert!(seed.next_attempt.unwrap() > net.now());
}

#[test]
fn a_silent_seed_shows_why_it_is_tried_again() {
    let mut net = silent_seed();
    assert_eq!((seed(&net).attempts, seed(&net).last_error), (0, None));
    net.run_for(3 * SEC);
    let seed = seed(&net);
    assert_eq!(seed.last_error.as_deref(), Some("no answer to the membership request"));
    assert_eq!(seed.pki_id, Some(id("s")));
}

#[test]
fn a_wrong_seed_is_an_error_that_names_it_and_the_others_are_contacted() {
    let mut net = Net::new();
    let mut config = row_config();
    config.max_seeds = 2;
    net.add("n", &config);
    for wrong in ["", "nowhere", "host:port", "a:b:7051", "host:70000"] {
        let e = net.with(0, |discovery, cx| discovery.connect(wrong, cx)).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(e.message().contains(&format!("'{wrong}'")), "{e}");
    }
    ["a:1", "b:1", "a:1"].iter().for_each(|right| net.connect(0, right));
    assert_eq!(net.nodes[0].identified.len(), 2);
    let e = net.with(0, |discovery, cx| discovery.connect("c:1", cx)).unwrap_err();
    assert_eq!((e.kind(), e.peer()), (ErrorKind::Full, Some("c:1")));
    net.nodes[0].discovery.remove_seed("b:1");
    net.connect(0, "c:1");
}

#[test]
fn a_seed_whose_pki_id_is_no_more_is_looked_for_again() {
    let mut net = Net::new();
    net.add_nodes("n", 2, &row_config());
    net.connect(0, &endpoint("n1"));
    net.eventually("connected", |net| seed(net).connected && net.all_see(1));
    net.handle(0, Event::IdentitySwitch(id("n1")));
    assert!(!seed(&net).connected);
    net.run_for(SEC);
    assert!(seed(&net).connected);
    assert_eq!(net.nodes[0].identified.len(), 2);
}

#[test]
fn a_request_that_cannot_be_signed_is_tried_again_after_a_wait() {
    let mut net = Net::new();
    net.add_nodes("n", 2, &row_config());
    net.nodes[0].can_sign = false;
    net.connect(0, &endpoint("n1"));
    net.run_for(SEC);
    let failed = seed(&net);
    assert!(failed.last_error.unwrap().contains("the key is locked"));
    assert!((2..=4).contains(&failed.attempts), "{} attempts in a second", failed.attempts);
    net.nodes[0].can_sign = true;
    net.eventually("connected", |net| seed(net).connected);
}

#[test]
fn weakness_29_each_request_to_a_seed_is_a_new_one_with_the_same_nonce() {
    let mut net = silent_seed();
    net.run_for(30 * SEC);
    let sent: Vec<&SignedMessage> = net.nodes[0].sent.iter().map(|(_, _, message)| message).collect();
    assert!(sent.len() > 5);
    assert!(sent.iter().all(|message| message.nonce() == sent[0].nonce()));
    let sequence = |message: &SignedMessage| match requester(message).unwrap().content() {
        Some(Content::AliveMsg(alive)) => alive.timestamp.seq_num,
        _ => panic!("not alive"),
    };
    let sequences: Vec<u64> = sent.iter().map(|message| sequence(message)).collect();
    assert!(sequences.windows(2).all(|pair| pair[0] < pair[1]), "{sequences:?}");
    // The first retry does not wait for long: the time to answer, and at most the first wait.
    assert!(net.nodes[0].sent[1].0 <= 2 * SEC + 500 * MS + 10 * MS);
}
