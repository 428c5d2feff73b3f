//! One node and the messages that it gets.

use crate::net::{
    alive, alive_unsigned, endpoint, everything, id, mem_req, mem_res, requester, row_config, sign, with_tag, Net, MS,
    SEC,
};
use fabric_gossip::internals::discovery::{Change, Disclosure, Event, State};
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::proto::gossip::{Empty, Envelope};
use std::time::Duration;

fn node() -> Net {
    let mut net = Net::new();
    net.add("n", &row_config());
    net
}

/// Returns the entry of a peer in the table: state and time.
fn state(net: &Net, name: &str) -> Option<(State, u64, u64)> {
    let mut records = net.nodes[0].discovery.records();
    let found = records.find(|(record, _)| record.member.pki_id == id(name));
    found.map(|(record, state)| (state, record.time.incarnation, record.time.sequence))
}

/// Returns the content of the message store, sorted: name, sequence, expired.
fn store(net: &Net, node: usize) -> Vec<(String, u64, bool)> {
    let all = net.nodes[node].discovery.message_store(net.now());
    let mut all: Vec<_> = all.map(|(id, time, expired)| (crate::net::name_of(id), time.sequence, expired)).collect();
    all.sort();
    all
}

#[test]
fn d4_what_is_not_about_membership_is_ignored() {
    let mut net = node();
    let data = SignedMessage::noop_sign(message::data(0, "channel", 1, "block")).unwrap();
    let nothing = SignedMessage::from_envelope(Some(Default::default())).unwrap();
    let empty = SignedMessage::noop_sign(with_tag(0, Content::Empty(Empty::default()))).unwrap();
    for message in [data, nothing, empty] {
        net.receive(0, &message);
    }
    let node = &net.nodes[0];
    assert!(node.changes.is_empty() && node.sent.is_empty() && node.forwarded.is_empty() && node.verified == 0);
}

#[test]
fn d6_a_request_has_a_secret_envelope_if_the_internal_endpoint_may_be_known() {
    for same_org in [true, false] {
        let mut net = node();
        net.nodes[0].same_org = same_org;
        net.add("seed", &row_config());
        net.connect(0, &endpoint("seed"));
        net.run_for(100 * MS);
        let own = requester(&net.nodes[0].sent[0].2).unwrap();
        assert_eq!(own.envelope().secret.is_some(), same_org);
        assert_eq!(own.internal_endpoint(), if same_org { "n.internal:7051" } else { "" });
    }
}

#[test]
fn d8_authenticity_is_checked_of_what_the_store_would_accept() {
    let mut net = node();
    let messages = [(1, true), (2, true), (2, false), (1, false), (4, true), (3, false), (5, true)];
    for (sequence, checked) in messages {
        let before = net.nodes[0].verified;
        net.receive(0, &alive("a", 7, sequence));
        assert_eq!(net.nodes[0].verified - before, usize::from(checked), "{sequence}");
    }
    assert_eq!(net.nodes[0].forwarded.len(), 4);
}

/// Fabric verifies it each time.
#[test]
fn d9_a_request_with_a_message_whose_verdict_is_known_is_answered_without_another_verification() {
    let mut net = node();
    let message = alive("a", 7, 1);
    net.receive(0, &mem_req(1, &message));
    net.receive(0, &message);
    net.receive(0, &mem_req(2, &message));
    net.receive(0, &mem_req(3, &message.without_secret()));
    assert_eq!(net.nodes[0].verified, 1);
    let nonces: Vec<u64> = net.nodes[0].sent.iter().map(|(_, _, answer)| answer.nonce()).collect();
    assert_eq!(nonces, [1, 2, 3]);
    // Another secret envelope is another message.
    let forged = alive("a", 7, 1).sign_secret("evil:1", |_| Ok(vec![1])).unwrap();
    net.receive(0, &mem_req(4, &forged));
    assert_eq!((net.nodes[0].verified, net.nodes[0].sent.len()), (2, 3));
}

#[test]
fn d10_what_a_response_repeats_is_not_verified_again() {
    let mut net = node();
    let (a, b, c) = (alive("a", 7, 1), alive("b", 7, 1), alive("c", 7, 1));
    // Ourselves too: every response contains us.
    let own = alive("n", 5, 1);
    let response = mem_res(0, &[a.clone(), own, b.clone()], &[c.clone()]);
    net.receive(0, &response);
    assert_eq!(net.nodes[0].verified, 3);
    [a, b, c].iter().for_each(|message| net.receive(0, message));
    assert_eq!(store(&net, 0).len(), 3);
    net.receive(0, &response);
    net.receive(0, &response);
    assert_eq!(net.nodes[0].verified, 3);
    assert_eq!((net.sees(0), net.knows_dead(0)), (vec!["a".into(), "b".into()], vec!["c".into()]));
}

#[test]
fn d25_a_member_whose_message_had_no_secret_envelope_is_forgotten_like_any_other() {
    let mut net = node();
    net.receive(0, &alive("foo", 7, 1).without_secret());
    net.run_for(21 * 3 * SEC);
    assert_eq!(state(&net, "foo").unwrap().0, State::Forgotten);
    let removed =
        |change: &Change| matches!(change, Change::Forgotten(it) if it.to_string().starts_with("Endpoint: foo"));
    assert!(net.nodes[0].changes.iter().any(removed));
}

/// Three nodes that hear of each other and of no other peer.
fn isolated() -> (Net, Vec<SignedMessage>) {
    let mut net = Net::new();
    net.cut = |_, _| true;
    net.add_nodes("n", 3, &row_config());
    let messages: Vec<SignedMessage> = (0..3).map(|i| alive(&format!("n{i}"), 7, 10)).collect();
    for node in 0..3 {
        messages.iter().for_each(|message| net.receive(node, message));
    }
    (net, messages)
}

#[test]
fn d26_alive_messages_of_others_are_in_the_tables_and_in_the_store() {
    let (net, _) = isolated();
    for node in 0..3 {
        let others: Vec<String> = (0..3).filter(|i| *i != node).map(|i| format!("n{i}")).collect();
        assert_eq!(net.sees(node), others);
        let stored: Vec<String> = store(&net, node).into_iter().map(|(name, ..)| name).collect();
        assert_eq!(stored, others);
        assert!(others.iter().all(|name| net.nodes[node].discovery.lookup(&id(name)).is_some()));
    }
}

#[test]
fn d27_newer_messages_replace_older_ones_in_the_store() {
    let (mut net, _) = isolated();
    for node in 0..3 {
        (0..3).for_each(|i| net.receive(node, &alive(&format!("n{i}"), 7, 11)));
        let stored = store(&net, node);
        assert_eq!(stored.len(), 2);
        assert!(stored.iter().all(|(_, sequence, expired)| *sequence == 11 && !expired));
    }
}

#[test]
fn d28_after_the_ttl_all_tables_are_empty() {
    let (mut net, _) = isolated();
    net.run_for(25 * 3 * SEC);
    for node in 0..3 {
        assert!(net.sees(node).is_empty() && net.knows_dead(node).is_empty());
        assert!(store(&net, node).iter().all(|(.., expired)| *expired));
        assert!((0..3)
            .filter(|i| *i != node)
            .all(|i| net.nodes[node].discovery.lookup(&id(&format!("n{i}"))).is_none()));
    }
}

#[test]
fn d29_old_messages_bring_nobody_back() {
    let (mut net, messages) = isolated();
    net.run_for(25 * 3 * SEC);
    for node in 0..3 {
        for message in &messages {
            net.receive(node, &mem_req(1, message));
            net.receive(node, message);
        }
        (0..3).for_each(|i| net.receive(node, &alive(&format!("n{i}"), 7, 9)));
        net.receive(node, &mem_res(1, &messages, &[]));
        net.receive(node, &mem_res(1, &[], &messages));
        assert!(net.sees(node).is_empty() && net.knows_dead(node).is_empty(), "{node}");
    }
}

/// Fabric panics on the request.
#[test]
fn d30_the_store_takes_new_alive_messages_and_nothing_else() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 1));
    net.receive(0, &alive("a", 7, 1));
    assert_eq!((store(&net, 0), net.nodes[0].forwarded.len()), (vec![("a".into(), 1, false)], 1));
    net.receive(0, &mem_req(1, &alive("b", 7, 1)));
    assert_eq!(store(&net, 0).len(), 1, "a request is not stored");
    assert_eq!(net.sees(0), ["a", "b"]);
}

#[test]
fn d31_who_may_not_know_us_gets_no_answer_and_is_disconnected() {
    let mut net = node();
    net.policy = |remote, member| match (remote, member) {
        ("x", "n") => Disclosure::Nothing,
        _ => everything(remote, member),
    };
    for sequence in 1..4 {
        net.receive(0, &mem_req(sequence, &alive("x", 7, sequence)));
        assert_eq!(net.nodes[0].closed.len() as u64, sequence);
    }
    assert!(net.nodes[0].sent.is_empty());
    assert_eq!(net.sees(0), ["x"], "it is learned all the same");
    net.receive(0, &mem_req(9, &alive("y", 7, 1)));
    assert_eq!(net.nodes[0].sent.len(), 1, "others are answered");
}

#[test]
fn d34_whoever_is_known_is_alive_or_dead_and_the_forgotten_come_back_with_news() {
    let mut net = node();
    for (sequence, dies) in [(1, false), (3, true)] {
        net.receive(0, &alive("a", 7, sequence));
        if dies {
            net.handle(0, Event::PresumedDead(id("a")));
            assert_eq!(net.knows_dead(0), ["a"]);
        }
        net.handle(0, Event::IdentitySwitch(id("a")));
        assert_eq!((net.sees(0).len(), net.knows_dead(0).len()), (0, 0));
        assert!(net.nodes[0].discovery.lookup(&id("a")).is_none());
        net.receive(0, &alive("a", 7, sequence));
        assert!(net.sees(0).is_empty(), "the same message is no news");
        net.receive(0, &alive("a", 7, sequence + 1));
        assert_eq!(net.sees(0), ["a"]);
        assert!(net.nodes[0].discovery.lookup(&id("a")).is_some());
    }
}

#[test]
fn d35_the_same_message_again_does_not_keep_a_peer_alive() {
    let mut net = node();
    let message = alive("a", 7, 1);
    for _ in 0..40 {
        net.receive(0, &message);
        net.receive(0, &mem_res(0, &[message.clone()], &[]));
        net.receive(0, &mem_req(1, &message));
        net.run_for(100 * MS);
    }
    assert_eq!(state(&net, "a"), Some((State::Dead, 7, 1)));
    let died = 3 * SEC..=3 * SEC + 300 * MS + 100 * MS;
    assert!(died.contains(&time_of_death(7)), "{:?}", time_of_death(7));
}

/// How long after its only message a peer is dead.
fn time_of_death(incarnation: u64) -> Duration {
    let mut net = node();
    net.receive(0, &alive("a", incarnation, 1));
    net.eventually("dead", |net| net.knows_dead(0) == ["a"])
}

#[test]
fn a_newer_message_changes_a_member_and_tells_if_there_is_something_to_see() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 1));
    net.receive(0, &alive("a", 7, 2));
    assert_eq!(net.nodes[0].changes.len(), 1, "nothing but its time has changed");
    let mut moved = alive_unsigned("a", 7, 3);
    let Some(Content::AliveMsg(it)) = &mut moved.content else { panic!() };
    it.membership.mut_or_insert_default().endpoint = "b:1".into();
    net.receive(0, &sign("a", moved, ""));
    let member = net.nodes[0].discovery.lookup(&id("a")).unwrap();
    assert_eq!((member.endpoint.as_str(), member.internal_endpoint.as_str()), ("b:1", "a.internal:7051"));
    assert_eq!(net.nodes[0].changes[1..], [Change::Updated(member)]);
    // Back again, with and without the secret envelope by turns, as own and foreign peers hand it on.
    for sequence in 4..8 {
        let message = alive("a", 7, sequence);
        net.receive(0, &if sequence % 2 == 0 { message } else { message.without_secret() });
    }
    let member = net.nodes[0].discovery.lookup(&id("a")).unwrap();
    assert_eq!((member.endpoint.as_str(), member.internal_endpoint.as_str()), ("a:7051", "a.internal:7051"));
    assert_eq!(net.nodes[0].changes.len(), 3, "only the first of them changed something");
}

#[test]
fn our_identity_travels_with_our_messages_at_first() {
    let mut net = node();
    for sequence in 1..25 {
        net.receive(0, &alive("a", 7, sequence));
        net.run_for(SEC);
    }
    let gossiped = &net.nodes[0].gossiped;
    assert!(gossiped.len() > 60);
    for (at, message) in gossiped {
        let Some(Content::AliveMsg(own)) = message.content() else { panic!("not alive") };
        let expected: &[u8] = if *at < 10 * SEC { b"n" } else { b"" };
        assert_eq!(&own.identity[..], expected, "at {at:?}");
    }
}

#[test]
fn a_peer_presumed_dead_is_dead_at_once() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 1));
    ["a", "a", "nobody", "n"].iter().for_each(|name| net.handle(0, Event::PresumedDead(id(name))));
    assert_eq!((net.knows_dead(0), net.nodes[0].closed.clone()), (vec!["a".into()], vec!["a".into()]));
    net.receive(0, &alive("a", 7, 2));
    assert_eq!(net.sees(0), ["a"]);
}

#[test]
fn a_message_is_judged_again_when_its_verification_ends() {
    let mut net = node();
    // Both are under way before either is answered.
    for sequence in [5, 4] {
        let message = alive("a", 7, sequence);
        net.handle(0, Event::Received { message, from: id("x") });
    }
    net.settle();
    assert_eq!(state(&net, "a"), Some((State::Alive, 7, 5)));
    assert_eq!(net.nodes[0].forwarded.len(), 1, "the older one is not forwarded any more");
}

#[test]
fn a_message_under_verification_is_not_verified_twice() {
    let mut net = node();
    let message = alive("a", 7, 1);
    for from in ["x", "y", "z"] {
        net.handle(0, Event::Received { message: message.clone(), from: id(from) });
    }
    net.handle(0, Event::Received { message: mem_req(3, &message), from: id("a") });
    net.settle();
    assert_eq!((net.nodes[0].verified, net.nodes[0].forwarded.len(), net.nodes[0].sent.len()), (1, 1, 1));
}

#[test]
fn what_an_answer_may_not_disclose_is_not_in_it() {
    let mut net = node();
    net.policy = |_, member| match member {
        "secret" => Disclosure::Nothing,
        "foreign" => Disclosure::WithoutSecret,
        _ => Disclosure::Whole,
    };
    ["secret", "foreign", "open"].iter().for_each(|name| net.receive(0, &alive(name, 7, 1)));
    net.receive(0, &mem_req(5, &alive("x", 7, 1)));
    let (_, to, answer) = net.nodes[0].sent.pop().unwrap();
    assert_eq!((to.as_str(), answer.nonce()), ("x.internal:7051", 5));
    let Some(Content::MemRes(answer)) = answer.content() else { panic!("no response") };
    let decode = |envelope: &Envelope| SignedMessage::from_envelope(Some(envelope.clone().into())).unwrap();
    let mut entries: Vec<(String, bool)> = answer
        .alive
        .iter()
        .map(decode)
        .map(|it| match it.content() {
            Some(Content::AliveMsg(alive)) => {
                (String::from_utf8_lossy(&alive.membership.pki_id).into_owned(), it.envelope().secret.is_some())
            }
            _ => panic!("not alive"),
        })
        .collect();
    assert_eq!(entries.last(), Some(&("n".into(), true)), "ourselves last");
    entries.sort();
    let expected = [("foreign", false), ("n", true), ("open", true), ("x", true)];
    assert_eq!(entries, expected.map(|(name, secret)| (name.to_owned(), secret)));
}
