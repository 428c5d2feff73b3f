//! Attacks that harm Fabric's membership and must not harm ours, by their number in the list of weaknesses.

use crate::net::{alive, alive_unsigned, endpoint, id, mem_req, mem_res, row_config, sign, with_tag, Net, MS, SEC};
use fabric_gossip::internals::discovery::{Event, State};
use fabric_gossip::message::{Content, SignedMessage};
use fabric_gossip::proto::gossip::{Empty, PeerTime};
use std::time::Duration;

/// The TTL of the rows' settings.
const TTL: Duration = Duration::from_secs(60);

fn node() -> Net {
    let mut net = Net::new();
    net.add("n", &row_config());
    net
}

fn no_alive_message() -> SignedMessage {
    let message = with_tag(0, Content::Empty(Empty::default()));
    SignedMessage::sign(message, |_| Ok(vec![1])).unwrap()
}

fn without_membership() -> SignedMessage {
    let mut message = alive_unsigned("a", 7, 1);
    let Some(Content::AliveMsg(it)) = &mut message.content else { panic!() };
    it.membership = None.into();
    sign("", message, "")
}

fn without_time() -> SignedMessage {
    let mut message = alive_unsigned("a", 7, 1);
    let Some(Content::AliveMsg(it)) = &mut message.content else { panic!() };
    it.timestamp = None.into();
    sign("a", message, "")
}

/// Passes a malformed alive message to a node in every way, before and after it knows a member.
fn is_survived(malformed: &SignedMessage) {
    let mut net = node();
    for sequence in 1..3 {
        net.receive(0, malformed);
        net.receive(0, &mem_req(1, malformed));
        let (before, after) = (alive("b", 7, sequence), alive("c", 7, sequence));
        net.receive(0, &mem_res(1, &[malformed.clone(), before], &[malformed.clone(), after]));
    }
    let node = &net.nodes[0];
    assert!(node.sent.is_empty() && node.forwarded.is_empty(), "neither answered nor forwarded");
    assert_eq!((net.sees(0), net.knows_dead(0)), (vec!["b".into()], vec!["c".into()]), "the others are learned");
    assert_eq!(net.nodes[0].discovery.records().count(), 2);
}

#[test]
fn weakness_1_a_dead_entry_that_is_no_alive_message_is_passed_over() {
    is_survived(&no_alive_message());
}

#[test]
fn weakness_2_an_alive_message_without_membership_is_refused() {
    is_survived(&without_membership());
}

#[test]
fn weakness_3_an_alive_message_without_time_is_refused() {
    is_survived(&without_time());
    // Also of a peer that is known.
    let mut net = node();
    net.receive(0, &alive("a", 7, 1));
    net.receive(0, &without_time());
    assert_eq!(net.nodes[0].verified, 1);
}

#[test]
fn an_alive_message_that_is_too_large_is_refused() {
    let mut message = alive_unsigned("a", 7, 1);
    let Some(Content::AliveMsg(it)) = &mut message.content else { panic!() };
    it.membership.mut_or_insert_default().metadata = vec![0; 300 << 10].into();
    is_survived(&sign("a", message, ""));
}

#[test]
fn weakness_24_who_is_known_from_responses_alone_is_forgotten_too() {
    let mut net = node();
    net.receive(0, &mem_res(0, &[alive("a", 7, 1)], &[alive("b", 7, 1)]));
    net.receive(0, &mem_req(1, &alive("c", 7, 1)));
    net.run_for(TTL);
    assert_eq!(net.knows_dead(0), ["a", "b", "c"]);
    net.run_for(SEC);
    assert!(net.knows_dead(0).is_empty());
    net.nodes[0].pinged.clear();
    net.run_for(20 * SEC);
    assert!(net.nodes[0].pinged.is_empty());
}

#[test]
fn weakness_25_who_is_refreshed_by_responses_alone_stays() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 1));
    for sequence in 2..150 {
        net.run_for(SEC);
        net.receive(0, &mem_res(0, &[alive("a", 7, sequence)], &[]));
        assert_eq!(net.sees(0), ["a"], "after {sequence} s");
    }
    assert_eq!(net.nodes[0].changes.len(), 1);
}

#[test]
fn weakness_26_old_messages_are_not_believed_after_the_store_forgot_them() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 5));
    net.run_for(5 * TTL);
    assert_eq!(net.nodes[0].discovery.message_store(net.now()).count(), 0);
    for sequence in 1..=5 {
        net.receive(0, &alive("a", 7, sequence));
        net.receive(0, &mem_res(0, &[alive("a", 7, sequence)], &[alive("a", 7, sequence)]));
    }
    assert!(net.sees(0).is_empty() && net.knows_dead(0).is_empty());
    assert_eq!((net.nodes[0].forwarded.len(), net.nodes[0].verified), (1, 1));
    net.receive(0, &alive("a", 7, 6));
    assert_eq!(net.sees(0), ["a"], "what is newer is believed");
}

#[test]
fn weakness_26_a_peer_whose_clock_was_set_back_comes_back_when_it_asks_itself() {
    for first in [alive("a", 7, 5), mem_res(0, &[alive("a", 7, 5)], &[])] {
        let mut net = node();
        net.receive(0, &first);
        net.run_for(TTL + SEC);
        net.receive(0, &mem_req(1, &alive("a", 6, 1)));
        assert!(net.sees(0).is_empty(), "not before twice the TTL, as in Fabric");
        net.run_for(TTL + SEC);
        net.receive(0, &mem_req(1, &alive("a", 6, 2)));
        assert_eq!(net.sees(0), ["a"]);
        let before = net.nodes[0].forwarded.len();
        net.receive(0, &alive("a", 6, 3));
        assert_eq!(net.nodes[0].forwarded.len(), before + 1);
    }
}

#[test]
fn weakness_26_who_comes_back_with_an_older_clock_is_gossiped_again() {
    let mut net = node();
    net.receive(0, &alive("a", 7, 5));
    net.handle(0, Event::IdentitySwitch(id("a")));
    net.run_for(TTL + SEC);
    assert_eq!(net.nodes[0].discovery.message_store(net.now()).count(), 1, "still remembered");
    net.receive(0, &alive("a", 6, 1));
    assert_eq!(net.nodes[0].forwarded.len(), 1);
    net.receive(0, &mem_req(1, &alive("a", 6, 2)));
    net.receive(0, &alive("a", 6, 3));
    assert_eq!((net.sees(0), net.nodes[0].forwarded.len()), (vec!["a".into()], 2));
}

#[test]
fn weakness_26_a_restarted_node_takes_an_incarnation_above_its_own_that_it_sees() {
    let mut net = Net::new();
    net.add_nodes("n", 2, &row_config());
    net.connect(0, &endpoint("n1"));
    // Another node knows an earlier incarnation of ours, in the future of our clock.
    net.receive(1, &alive("n0", u64::MAX / 2, 9));
    net.eventually("seen", |net| {
        let record = net.nodes[1].discovery.records().find(|(it, _)| it.member.pki_id == id("n0"));
        record.is_some_and(|(it, state)| state == State::Alive && it.time.incarnation == u64::MAX / 2 + 1)
    });
    net.run_for(20 * SEC);
    assert_eq!((net.sees(0), net.sees(1)), (vec!["n1".into()], vec!["n0".into()]), "and it stays alive");
}

#[test]
fn weakness_26_nobody_else_can_raise_our_incarnation() {
    let mut net = node();
    let forged = alive_unsigned("n", u64::MAX, 1);
    let forged = SignedMessage::sign(forged, |_| Ok(vec![1])).unwrap();
    net.receive(0, &mem_res(0, &[forged.clone()], &[forged.clone()]));
    net.receive(0, &forged);
    net.receive(0, &alive("a", 7, 1));
    net.run_for(SEC);
    let Some(Content::AliveMsg(own)) = net.nodes[0].gossiped[0].1.content().cloned() else { panic!() };
    assert_eq!(own.timestamp.as_ref(), Some(&PeerTime { inc_num: 1000, seq_num: 1, ..Default::default() }));
}

#[test]
fn weakness_28_the_heartbeat_survives_errors_of_the_signer() {
    let mut net = node();
    net.nodes[0].can_sign = false;
    net.receive(0, &alive("a", 7, 1));
    net.run_for(SEC);
    assert!(net.nodes[0].gossiped.is_empty());
    assert_eq!(net.nodes[0].signed, 3, "one for each interval, and no more");
    net.nodes[0].can_sign = true;
    net.run_for(SEC);
    assert!(net.nodes[0].gossiped.len() >= 3);
}

#[test]
fn weakness_30_one_bad_entry_does_not_harm_the_others_of_a_response() {
    let mut net = node();
    let mut forged = alive("f", 7, 1).envelope().clone();
    forged.signature = vec![1].into();
    let forged = SignedMessage::from_envelope(Some(forged)).unwrap();
    let alive_entries = [alive("a", 7, 1), no_alive_message(), forged.clone(), alive("b", 7, 1)];
    let dead_entries = [without_time(), alive("c", 7, 1), without_membership(), forged, alive("d", 7, 1)];
    let mut response = mem_res(0, &alive_entries, &dead_entries).message().clone();
    let Some(Content::MemRes(it)) = &mut response.content else { panic!() };
    for list in [&mut it.alive, &mut it.dead] {
        list.insert(1, Default::default());
        let undecodable = fabric_gossip::proto::gossip::Envelope {
            payload: vec![0xff; 5].into(),
            signature: vec![1].into(),
            ..Default::default()
        };
        list.insert(0, undecodable);
    }
    net.receive(0, &SignedMessage::noop_sign(response).unwrap());
    assert_eq!((net.sees(0), net.knows_dead(0)), (vec!["a".into(), "b".into()], vec!["c".into(), "d".into()]));
}

#[test]
fn weakness_32_a_peer_that_asks_without_end_is_answered_now_and_then() {
    let mut net = node();
    for n in 0..1000 {
        net.receive(0, &mem_req(n, &alive("a", 7, n)));
    }
    assert_eq!((net.nodes[0].sent.len(), net.nodes[0].verified), (10, 10), "ten at once");
    net.receive(0, &mem_req(1, &alive("b", 7, 1)));
    assert_eq!(net.nodes[0].sent.len(), 11, "others are answered");
    for n in 1000..2000 {
        net.run_for(10 * MS);
        net.receive(0, &mem_req(n, &alive("a", 7, n)));
    }
    let answers = net.nodes[0].sent.len() - 11;
    assert!((9..=11).contains(&answers), "{answers} answers in 10 s");
    assert_eq!(net.nodes[0].signed, 1 + net.nodes[0].gossiped.len(), "answers are not signed for");
}

#[test]
fn weakness_33_nothing_happens_after_a_stop() {
    let mut net = Net::new();
    net.add_nodes("n", 2, &row_config());
    net.connect(0, &endpoint("n1"));
    net.eventually("known", |net| net.all_see(1));
    net.receive(0, &mem_res(0, &[], &[alive("d", 7, 1)]));
    // All kinds of answers are under way.
    net.handle(0, Event::Received { message: alive("a", 7, 1), from: id("n1") });
    net.connect(0, "other:1");
    net.sync(0, 1);
    net.run_for(3 * SEC);
    net.sync(0, 1);
    net.nodes[0].discovery.stop();
    let count = |net: &Net| {
        let node = &net.nodes[0];
        let sent = node.sent.len() + node.gossiped.len() + node.forwarded.len() + node.pinged.len();
        sent + node.identified.len() + node.verified + node.signed + node.closed.len() + node.changes.len()
    };
    let before = count(&net);
    net.run_for(100 * SEC);
    net.handle(0, Event::Timeout);
    net.handle(0, Event::PresumedDead(id("n1")));
    net.handle(0, Event::IdentitySwitch(id("n1")));
    net.sync(0, 1);
    assert_eq!(count(&net), before);
    assert!(net.with(0, |discovery, cx| discovery.connect("late:1", cx)).is_err());
    assert_eq!(net.nodes[0].discovery.next_timeout(), None);
}

fn forged(name: &str, sequence: u64) -> SignedMessage {
    SignedMessage::sign(alive_unsigned(name, 7, sequence), |_| Ok(vec![1])).unwrap()
}

/// Passes a message to the node, and does not answer its requests.
fn flood(net: &mut Net, message: SignedMessage, from: &str) -> usize {
    net.handle(0, Event::Received { message, from: id(from) });
    net.nodes[0].discovery.verifications()
}

#[test]
fn weakness_34_a_flood_of_forged_messages_occupies_bounded_room() {
    let mut net = node();
    // The messages of one member have few places, so that they do not prevent the verification of others.
    let one_member = (0..100).map(|n| flood(&mut net, forged("a", n), &format!("x{n}"))).last();
    assert_eq!(one_member, Some(8));
    // One peer takes half of the room, all of them together the whole.
    let flooded = |net: &mut Net, from: &str| {
        (0..15_000).map(|n| flood(net, forged(&format!("{from}{n}"), 1), from)).last().unwrap()
    };
    assert_eq!(flooded(&mut net, "x"), 10_008);
    assert_eq!(flood(&mut net, alive("b", 7, 1), "y"), 10_009, "what others bring is verified");
    assert_eq!(flooded(&mut net, "z"), 20_000);
    net.settle();
    assert_eq!((net.nodes[0].discovery.verifications(), net.nodes[0].discovery.records().count()), (0, 1));
    assert_eq!(net.sees(0), ["b"]);
    assert_eq!(flood(&mut net, forged("c", 1), "x"), 1, "and there is room again");
}

#[test]
fn weakness_34_forged_messages_of_a_member_do_not_keep_its_own_out() {
    let mut net = node();
    let of_one = |net: &mut Net, from: &str| (0..100).map(|n| flood(net, forged("a", n), from)).last().unwrap();
    assert_eq!(of_one(&mut net, "x"), 2, "one peer has a quarter of the places");
    assert_eq!(flood(&mut net, alive("a", 7, 1000), "honest"), 3);
    // However many do it together, the member itself is heard.
    assert_eq!(["y", "z", "w"].map(|from| of_one(&mut net, from)), [5, 7, 8]);
    assert_eq!(flood(&mut net, alive("a", 7, 1001), "honest"), 8);
    assert_eq!(flood(&mut net, alive("a", 7, 1001), "a"), 9);
    assert_eq!(of_one(&mut net, "a"), 16);
    net.settle();
    assert_eq!(net.sees(0), ["a"]);
}

#[test]
fn weakness_34_large_messages_take_room_by_their_size() {
    let mut net = node();
    let large = |name: &str| {
        let mut message = alive_unsigned(name, 7, 1);
        let Some(Content::AliveMsg(it)) = &mut message.content else { panic!() };
        it.membership.mut_or_insert_default().metadata = vec![0; 63 << 10].into();
        SignedMessage::sign(message, |_| Ok(vec![1])).unwrap()
    };
    let count = (0..1000).map(|n| flood(&mut net, large(&format!("x{n}")), "x")).last().unwrap();
    assert!((500..=520).contains(&count), "{count} messages of 63 KiB in 32 MiB");
    assert_eq!(flood(&mut net, alive("b", 7, 1), "y"), count + 1);
}

#[test]
fn a_peer_that_sends_responses_without_end_is_heard_now_and_then() {
    let mut net = node();
    for n in 0..100 {
        net.receive(0, &mem_res(0, &[alive(&format!("a{n}"), 7, 1)], &[]));
    }
    assert_eq!(net.sees(0).len(), 10);
    let message = mem_res(0, &[alive("b", 7, 1)], &[]);
    net.handle(0, Event::Received { message, from: id("other") });
    net.settle();
    assert_eq!(net.sees(0).len(), 11, "others are heard");
}

#[test]
fn an_endless_response_is_read_as_far_as_there_can_be_members() {
    let mut net = Net::new();
    let mut config = row_config();
    config.max_members = 10;
    net.add("n", &config);
    let entries: Vec<SignedMessage> = (0..1000).map(|n| forged(&format!("a{n}"), 1)).collect();
    net.receive(0, &mem_res(0, &entries, &entries));
    assert_eq!(net.nodes[0].verified, 22);
}

#[test]
fn the_table_is_bounded_for_members_and_for_the_forgotten() {
    let mut net = Net::new();
    let mut config = row_config();
    config.max_members = 3;
    net.add("n", &config);
    (0..5).for_each(|n| net.receive(0, &alive(&format!("a{n}"), 7, 1)));
    assert_eq!(net.sees(0), ["a0", "a1", "a2"]);
    assert_eq!(net.nodes[0].forwarded.len(), 3, "who has no room is not forwarded either");
    (0..10).for_each(|n| {
        net.run_for(MS);
        (0..3).for_each(|old| net.handle(0, Event::IdentitySwitch(id(&format!("a{}", n * 3 + old)))));
        (3..6).for_each(|new| net.receive(0, &alive(&format!("a{}", n * 3 + new), 7, 1)));
    });
    assert_eq!(net.sees(0), ["a30", "a31", "a32"]);
    assert_eq!(net.nodes[0].discovery.records().count(), 6);
    let remembered = |name: &str| net.nodes[0].discovery.records().any(|(it, _)| it.member.pki_id == id(name));
    assert!(remembered("a29") && !remembered("a1"), "who was forgotten first goes first");
}

#[test]
fn pings_under_way_are_bounded_and_all_the_dead_get_theirs() {
    let mut net = Net::new();
    let mut config = row_config();
    config.max_pings = 4;
    net.add("n", &config);
    let dead: Vec<SignedMessage> = (0..10).map(|n| alive(&format!("d{n}"), 7, 1)).collect();
    net.receive(0, &mem_res(0, &[], &dead));
    let half = net.now() + 3 * SEC;
    net.eventually("the round begins", |net| net.now() >= half || !net.nodes[0].pinged.is_empty());
    assert_eq!(net.nodes[0].pinged.len(), 4);
    net.run_for(SEC);
    let mut pinged: Vec<&String> = net.nodes[0].pinged.iter().map(|(_, endpoint)| endpoint).collect();
    pinged.sort();
    pinged.dedup();
    assert_eq!((pinged.len(), net.nodes[0].pinged.len()), (10, 10));
}

#[test]
fn a_member_does_not_keep_the_message_that_it_came_in() {
    for wrap in [|it: SignedMessage| mem_res(0, &[it], &[]), |it: SignedMessage| mem_req(0, &it)] {
        let mut net = node();
        let wire = wrap(alive("a", 7, 1)).wire();
        net.receive(0, &SignedMessage::decode(wire.clone()).unwrap());
        let member = net.nodes[0].discovery.member(&id("a")).unwrap();
        for kept in [&member.envelope.as_ref().unwrap().payload[..], member.pki_id.as_bytes()] {
            assert!(!wire.as_ptr_range().contains(&kept.as_ptr()));
        }
    }
}
