//! Nodes as others see them: the core that real nodes run, in networks on virtual time.

use fabric_gossip::crypto::PkiId;
use fabric_gossip::internals::discovery::Event;
use fabric_gossip::internals::node::{Criteria, NodeCore};
use fabric_gossip::message::{self, Content, Envelope, GossipMessage, SignedMessage, Tag};
use fabric_gossip::node::{AnchorPeer, ChannelOrgs, NodeConfig, SeedRole};
use fabric_gossip::proto::gossip;
use fabric_gossip::testing::{NodeSpec, Simulator, SimulatorConfig};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

const CHANNEL: &[u8] = b"mychannel";

/// Time limit for an expected event.
const EVENTUALLY: Duration = s(180);

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn simulator() -> Simulator {
    simulator_of(NodeConfig::default())
}

fn simulator_of(node: NodeConfig) -> Simulator {
    Simulator::new(SimulatorConfig { node, ..SimulatorConfig::default() })
}

/// Adds nodes of organisation 0 that bootstrap from one of them.
fn add(simulator: &mut Simulator, nodes: usize, bootstrap: usize) {
    for _ in 0..nodes {
        simulator.add_node(&[bootstrap]).expect("a node");
    }
}

fn sees(simulator: &Simulator, number: usize) -> usize {
    simulator.node(number).expect("a node that is up").alive_count()
}

fn all_see(nodes: std::ops::Range<usize>, others: usize) -> impl Fn(&Simulator) -> bool {
    move |simulator| nodes.clone().all(|number| sees(simulator, number) == others)
}

/// Everything that arrives, from now on.
type Seen = Rc<RefCell<Vec<(usize, usize, SignedMessage)>>>;

fn observe(simulator: &mut Simulator) -> Seen {
    let seen = Seen::default();
    let into = seen.clone();
    simulator.observe(move |from, to, message| into.borrow_mut().push((from, to, message.clone())));
    seen
}

/// Joins a channel of these organisations, each with these nodes as anchors, under their external endpoints.
fn join(simulator: &mut Simulator, number: usize, channel: &[u8], orgs: &[(u16, &[usize])]) {
    let anchor = |number: &usize| AnchorPeer { host: format!("n{number}.example.com"), port: 7051 };
    let orgs = orgs.iter().map(|(org, anchors)| (simulator.org(*org), anchors.iter().map(anchor).collect())).collect();
    let channel = channel.to_vec();
    simulator
        .with_node(number, |core, cx| core.join_channel(channel, ChannelOrgs(orgs), cx))
        .expect("a node that is up")
        .expect("a channel");
}

#[test]
fn g1_ten_nodes_with_one_bootstrap_peer_all_see_one_another() {
    let mut simulator = simulator();
    add(&mut simulator, 10, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    for number in 0..10 {
        let peers = simulator.node(number).expect("a node").peers();
        assert!(peers.iter().all(|it| !it.endpoint.is_empty() && !it.internal_endpoint.is_empty()));
    }
}

#[test]
fn g2_a_change_of_metadata_is_seen_by_all() {
    let mut simulator = simulator();
    add(&mut simulator, 10, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    simulator.with_node(3, |core, _| core.update_metadata(&b"bla bla"[..]));
    let id = simulator.pki_id(3).clone();
    let seen = |core: &NodeCore| core.discovery().member(&id).is_some_and(|it| it.metadata == b"bla bla"[..]);
    let all = |simulator: &Simulator| (0..10).filter(|it| *it != 3).all(|it| simulator.node(it).is_some_and(seen));
    simulator.run_until(s(20), all).expect("all see it");
}

#[test]
fn g3_without_push_the_membership_comes_by_pull() {
    let mut config = NodeConfig::default();
    config.emitter.iterations = 0;
    let mut simulator = simulator_of(config);
    (0..5).for_each(|_| drop(simulator.add_node(&[5])));
    simulator.run_for(s(5));
    simulator.add_node(&[]).expect("the bootstrap peer");
    let seen = observe(&mut simulator);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    assert!(
        !seen.borrow().iter().any(|(_, _, it)| matches!(it.message().content, Some(Content::AliveMsg(_)))),
        "nothing was pushed"
    );
}

#[test]
fn g4_one_anchor_peer_of_three_is_enough_even_if_it_comes_late() {
    let mut simulator = simulator();
    (0..9).for_each(|_| drop(simulator.add_node(&[])));
    (0..9).for_each(|it| join(&mut simulator, it, CHANNEL, &[(0, &[9, 50, 51])]));
    simulator.run_for(s(10));
    assert!(all_see(0..9, 0)(&simulator));
    simulator.add_node(&[]).expect("the anchor peer");
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
}

#[test]
fn g5_g6_a_connector_joins_groups_and_its_death_and_return_are_noticed() {
    let mut simulator = simulator();
    for group in 0..3 {
        add(&mut simulator, 5, 5 * group);
    }
    simulator.run_until(EVENTUALLY, all_see(0..15, 4)).expect("three groups");
    simulator.add_node(&[0, 5, 10]).expect("the connector");
    simulator.with_node(15, |core, _| core.update_metadata(&b"Connector"[..]));
    let id = simulator.pki_id(15).clone();
    let metadata_is = |text: &'static [u8]| {
        let id = id.clone();
        move |simulator: &Simulator| {
            let seen = |core: &NodeCore| core.discovery().member(&id).is_some_and(|it| it.metadata == text);
            (0..15).all(|it| simulator.node(it).is_some_and(seen))
        }
    };
    simulator.run_until_complete(EVENTUALLY).expect("one network");
    simulator.run_until(s(20), metadata_is(b"Connector")).expect("its metadata");

    simulator.kill(15);
    simulator.run_until(s(45), all_see(0..15, 14)).expect("it is missed");
    simulator.restart(15, false).expect("the connector");
    simulator.with_node(15, |core, _| core.update_metadata(&b"Connector2"[..]));
    simulator.run_until_complete(EVENTUALLY).expect("one network");
    simulator.run_until(s(20), metadata_is(b"Connector2")).expect("its new metadata");
}

#[test]
fn g7_g8_only_who_asks_in_its_own_name_is_answered() {
    let mut simulator = simulator();
    add(&mut simulator, 3, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    simulator.run_for(s(6));
    let alive = simulator.node(2).and_then(|core| core.discovery().own_alive().cloned()).expect("an alive message");
    let seen = observe(&mut simulator);
    let mut ask_as = |from: usize| {
        let self_information = Some(alive.to_proto()).into();
        let request = gossip::MembershipRequest { self_information, ..Default::default() };
        let content = Some(Content::MemReq(request));
        let request = GossipMessage { nonce: 4711, tag: Tag::EMPTY.into(), content, ..Default::default() };
        let message = SignedMessage::noop_sign(request).expect("a message");
        let from = simulator.pki_id(from).clone();
        simulator.inject(0, Event::Received { message, from });
        simulator.run_for(s(1));
        let answered = |(_, _, it): &(usize, usize, SignedMessage)| {
            matches!(it.message().content, Some(Content::MemRes(_))) && it.nonce() == 4711
        };
        seen.borrow().iter().any(answered)
    };
    assert!(!ask_as(1), "in another's name");
    assert!(ask_as(2));
}

#[test]
fn g9_a_block_does_not_go_back_to_whom_it_came_from() {
    let mut simulator = simulator();
    add(&mut simulator, 2, 0);
    (0..2).for_each(|it| join(&mut simulator, it, CHANNEL, &[(0, &[])]));
    let in_channel = |simulator: &Simulator| {
        (0..2).all(|it| simulator.node(it).and_then(|it| it.channel_peers(CHANNEL)).is_some_and(|it| it.len() == 1))
    };
    simulator.run_until(EVENTUALLY, in_channel).expect("both in the channel");
    let seen = observe(&mut simulator);
    let block = SignedMessage::noop_sign(message::data(0, CHANNEL, 1, "the block")).expect("a message");
    simulator.with_node(0, |core, cx| core.gossip(block.clone(), cx)).expect("a node").expect("gossiped");
    simulator.run_for(s(2));
    assert_eq!(simulator.delivered(1).len(), 1);
    assert!(simulator.delivered(0).is_empty());
    assert_eq!(
        seen.borrow().iter().filter(|(_, _, it)| matches!(it.message().content, Some(Content::DataMsg(_)))).count(),
        1
    );
}

#[test]
fn a_block_reaches_all_of_the_channel_and_organisation_once_and_nobody_else() {
    let mut simulator = simulator();
    add(&mut simulator, 20, 0);
    add(&mut simulator, 5, 0);
    (0..20).for_each(|it| join(&mut simulator, it, CHANNEL, &[(0, &[])]));
    let in_channel = |simulator: &Simulator| {
        (0..20).all(|it| simulator.node(it).and_then(|it| it.channel_peers(CHANNEL)).is_some_and(|it| it.len() == 19))
    };
    simulator.run_until(EVENTUALLY, in_channel).expect("all in the channel");
    for number in 1..=20 {
        let block = SignedMessage::noop_sign(message::data(0, CHANNEL, number, "a block")).expect("a message");
        simulator.with_node(0, |core, cx| core.gossip(block, cx)).expect("a node").expect("gossiped");
        simulator.run_for(s(1));
    }
    let got = |number: usize| simulator.delivered(number).iter().map(|it| it.wire()).collect::<BTreeSet<_>>().len();
    // Pushing to three reaches nearly all; the rest of a block's way is state transfer, which is not ours.
    let reached: usize = (1..20).map(got).sum();
    assert!(reached > 19 * 20 * 8 / 10, "{reached} of {}", 19 * 20);
    assert!((1..20).all(|it| simulator.delivered(it).len() == got(it)), "each once");
    assert!((20..25).all(|it| simulator.delivered(it).is_empty()));
    // Neither a tag that does not fit nor a channel that we are not in is sent.
    let alone = SignedMessage::noop_sign(message::empty(0)).expect("a message");
    let other = SignedMessage::noop_sign(message::data(0, &b"other"[..], 1, "x")).expect("a message");
    for wrong in [alone, other] {
        simulator.with_node(0, |core, cx| core.gossip(wrong, cx)).expect("a node").unwrap_err();
    }
}

#[test]
fn g10_g11_whose_identity_is_revoked_or_expires_is_seen_by_nobody() {
    let mut simulator = simulator();
    add(&mut simulator, 5, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    simulator.run_for(s(5));
    simulator.revoke(4);
    assert!(all_see(0..4, 3)(&simulator), "at once");
    simulator.revoke(3);
    assert!(all_see(0..3, 2)(&simulator));
    let left = |simulator: &Simulator| sees(simulator, 3) == 0 && sees(simulator, 4) == 0;
    simulator.run_until(s(60), left).expect("they see nobody");
    simulator.run_for(s(60));
    assert!(all_see(0..3, 2)(&simulator));
}

#[test]
fn g12_g15_g16_g18_peers_are_selected_by_criteria() {
    let mut simulator = simulator();
    add(&mut simulator, 4, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    let mut select = |criteria: Criteria<'_>, eligible: &[usize]| {
        let eligible: Vec<PkiId> = eligible.iter().map(|it| simulator.pki_id(*it).clone()).collect();
        simulator
            .with_node(0, |core, cx| core.select(criteria, cx, |member| eligible.contains(&member.pki_id)))
            .expect("a node")
            .map(|peers| peers.len())
            .map_err(|e| e.message().to_owned())
    };
    let (all, criteria) = ([1, 2, 3], Criteria { max_peers: 10, ..Criteria::default() });
    assert_eq!(select(Criteria::default(), &all), Ok(0), "nobody was to be sent to");
    assert_eq!(select(criteria, &all), Ok(3));
    assert_eq!(select(criteria, &[2]), Ok(1));
    assert_eq!(select(Criteria { max_peers: 1, ..criteria }, &all), Ok(1));
    let e = select(Criteria { channel: Some(b"nowhere"), ..criteria }, &all).unwrap_err();
    assert_eq!(e, "requested to Send for channel nowhere, but no such channel exists");
    let e = select(Criteria { min_ack: 10, ..criteria }, &all).unwrap_err();
    assert_eq!(e, "requested to send to at least 10 peers, but know only of 3 suitable peers");
}

/// Organisations of this many nodes, the first `external` of each with an external endpoint, and each with the first as
/// bootstrap peer.
fn organisations(simulator: &mut Simulator, orgs: u16, nodes: usize, external: usize) {
    for org in 0..orgs {
        let first = usize::from(org) * nodes;
        for number in 0..nodes {
            let spec = NodeSpec { org, external: number < external, bootstrap: vec![first] };
            simulator.add(spec).expect("a node");
        }
    }
}

#[test]
fn g19_internal_endpoints_do_not_leave_the_organisation() {
    let mut simulator = simulator();
    organisations(&mut simulator, 2, 5, 2);
    (0..10).for_each(|it| join(&mut simulator, it, CHANNEL, &[(0, &[0]), (1, &[5])]));
    let views = |simulator: &Simulator| (0..10).all(|it| sees(simulator, it) == if it % 5 < 2 { 6 } else { 4 });
    simulator.run_until(EVENTUALLY, views).expect("the views that are right");
    simulator.run_for(s(60));
    assert!(views(&simulator), "no more than that");
    for number in 0..10 {
        for member in simulator.node(number).expect("a node").peers() {
            let same_org = simulator.number_of(&member.pki_id).expect("a node") / 5 == number / 5;
            assert_eq!(!member.internal_endpoint.is_empty(), same_org, "{number} about {member}");
        }
    }
}

/// Returns the PKI-IDs of all peers that a message mentions.
fn mentioned(message: &SignedMessage) -> Vec<PkiId> {
    let nested = |envelope: &gossip::Envelope| {
        SignedMessage::from_envelope(Some(Envelope::from(envelope.clone())))
            .map(|it| mentioned(&it))
            .unwrap_or_default()
    };
    let ids = |ids: &[bytes::Bytes]| ids.iter().cloned().map(PkiId::new).collect();
    match message.content() {
        Some(Content::AliveMsg(it)) => vec![PkiId::new(it.membership.get_or_default().pki_id.clone())],
        Some(Content::PeerIdentity(it)) => vec![PkiId::new(it.pki_id.clone())],
        Some(Content::StateInfo(it)) => vec![PkiId::new(it.pki_id.clone())],
        Some(Content::MemReq(it)) => it.self_information.as_ref().map(nested).unwrap_or_default(),
        Some(Content::MemRes(it)) => it.alive.iter().chain(&it.dead).flat_map(nested).collect(),
        Some(Content::DataUpdate(it)) => it.data.iter().flat_map(nested).collect(),
        Some(Content::StateSnapshot(it)) => it.elements.iter().flat_map(nested).collect(),
        Some(Content::DataDig(it)) => ids(&it.digests),
        _ => Vec::new(),
    }
}

#[test]
fn g20_g21_organisations_see_of_one_another_only_what_they_may() {
    let mut simulator = simulator();
    organisations(&mut simulator, 4, 3, 2);
    let seen = observe(&mut simulator);
    // A with B, A with C, B with C, B with D.
    for (name, orgs) in [("AB", [0, 1]), ("AC", [0, 2]), ("BC", [1, 2]), ("BD", [1, 3])] {
        let anchors = orgs.map(|org: u16| (org, [usize::from(org) * 3]));
        let anchors = anchors.each_ref().map(|(org, anchor)| (*org, &anchor[..]));
        for number in orgs.iter().flat_map(|org| (0..3).map(move |it| usize::from(*org) * 3 + it)) {
            join(&mut simulator, number, name.as_bytes(), &anchors);
        }
    }
    let expected = |number: usize| match (number % 3, number / 3) {
        (2, _) => 2,
        (_, 1) => 8,
        (_, 3) => 4,
        _ => 6,
    };
    let views = |simulator: &Simulator| (0..12).all(|it| sees(simulator, it) == expected(it));
    simulator.run_until(EVENTUALLY, views).expect("the views that are right");
    simulator.run_for(s(60));
    assert!(views(&simulator), "never more");

    let seen = seen.borrow();
    let (mut across, kinds) = (0, ["AliveMsg", "MemRes", "DataDig", "StateInfo", "StateSnapshot"]);
    let mut found: BTreeSet<&str> = BTreeSet::new();
    for (from, to, message) in seen.iter().filter(|(from, to, _)| from / 3 != to / 3) {
        across += 1;
        found.extend(
            kinds.iter().filter(|kind| format!("{:?}", message.content()).starts_with(&format!("Some({kind}("))),
        );
        assert!(message.envelope().secret.is_none(), "{from} to {to}: {message}");
        for id in mentioned(message) {
            let about = simulator.number_of(&id).expect("a node");
            assert!(about / 3 == from / 3 || about / 3 == to / 3, "{from} tells {to} about {about}: {message}");
            assert!(about % 3 < 2, "{from} tells {to} about {about}, which is internal: {message}");
        }
    }
    assert!(across > 1000, "{across} messages between organisations");
    assert_eq!(found.len(), kinds.len(), "{found:?}");
}

#[test]
fn g22_an_anchor_peer_learns_the_internal_endpoint_if_it_is_of_our_organisation() {
    for org in [0, 1] {
        let mut simulator = simulator();
        simulator.add_node(&[]).expect("a node");
        join(&mut simulator, 0, CHANNEL, &[(0, &[]), (org, &[1])]);
        let seen = observe(&mut simulator);
        simulator.run_for(s(5));
        simulator.add(NodeSpec { org, ..NodeSpec::default() }).expect("the anchor peer");
        let asked = |_: &Simulator| {
            seen.borrow()
                .iter()
                .any(|(from, _, it)| *from == 0 && matches!(it.message().content, Some(Content::MemReq(_))))
        };
        simulator.run_until(s(30), asked).expect("a membership request");
        let seen = seen.borrow();
        let (_, _, request) =
            seen.iter().find(|(_, _, it)| matches!(it.message().content, Some(Content::MemReq(_)))).expect("a request");
        let Some(Content::MemReq(request)) = request.content() else { panic!() };
        let envelope = Envelope::from(request.self_information.clone().unwrap_or_default());
        assert_eq!(envelope.secret.is_some(), org == 0);
    }
}

#[test]
fn g23_peers_that_an_anchor_peer_tells_of_are_contacted() {
    let mut simulator = simulator();
    add(&mut simulator, 3, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    let newcomer = simulator.add_node(&[]).expect("a node");
    let seen = observe(&mut simulator);
    join(&mut simulator, newcomer, CHANNEL, &[(0, &[0])]);
    simulator.run_for(s(10));
    for peer in 0..3 {
        assert!(seen.borrow().iter().any(|(from, to, _)| *from == newcomer && *to == peer), "{peer}");
    }
}

/// Two organisations that name each other's peer as anchor, of which those in `external` have an external endpoint.
fn anchors_of_each_other(external: [bool; 2]) -> (Simulator, Seen) {
    let mut simulator = simulator();
    for (org, external) in (0..).zip(external) {
        simulator.add(NodeSpec { org, external, bootstrap: Vec::new() }).expect("a node");
    }
    let seen = observe(&mut simulator);
    (0..2).for_each(|number| join(&mut simulator, number, CHANNEL, &[(0, &[0]), (1, &[1])]));
    (simulator, seen)
}

fn is_request(message: &SignedMessage) -> bool {
    matches!(message.content(), Some(Content::MemReq(_)))
}

#[test]
fn an_anchor_peer_without_external_endpoint_is_asked_once_per_reconnect_interval() {
    let (mut simulator, seen) = anchors_of_each_other([true, false]);
    let interval = NodeConfig::default().discovery.reconnect_interval;
    for round in 1..=8 {
        simulator.run_for(interval);
        let requests = seen.borrow().iter().filter(|(.., message)| is_request(message)).count();
        assert!((1..=round + 1).contains(&requests), "{requests} requests in {round} intervals");
        let core = simulator.node(0).expect("a node");
        assert_eq!((core.alive_count(), core.discovery().dead().len()), (0, 0), "it gives no answer");
    }
    let asked = seen.borrow().iter().filter(|(from, _, message)| *from == 1 && is_request(message)).count();
    assert_eq!(asked, 0, "a peer without external endpoint does not ask other organisations");
    let seeds = simulator.node(0).expect("a node").discovery().seeds();
    let reason = seeds[0].last_error.as_deref().unwrap_or_default();
    assert!(reason.contains("external endpoint"), "{reason}");
}

#[test]
fn a_request_of_another_organisations_peer_without_external_endpoint_is_learned_from_and_not_answered() {
    let (mut simulator, seen) = anchors_of_each_other([true, false]);
    simulator.run_for(s(10));
    // As Fabric's peers do, it asks although it may not know us.
    let (id, identity) = (simulator.pki_id(1).clone(), simulator.pki_id(1).clone());
    for sequence in 1..=3 {
        let alive = gossip::AliveMessage {
            membership: Some(gossip::Member { pki_id: id.to_bytes(), ..Default::default() }).into(),
            timestamp: Some(gossip::PeerTime { inc_num: 7, seq_num: sequence, ..Default::default() }).into(),
            ..Default::default()
        };
        let alive =
            GossipMessage { tag: Tag::EMPTY.into(), content: Some(Content::AliveMsg(alive)), ..Default::default() };
        let alive = SignedMessage::sign(alive, |_| Ok(identity.as_bytes().to_vec())).expect("an alive message");
        let request =
            gossip::MembershipRequest { self_information: Some(alive.envelope().into()).into(), ..Default::default() };
        let request =
            GossipMessage { tag: Tag::EMPTY.into(), content: Some(Content::MemReq(request)), ..Default::default() };
        let message = SignedMessage::noop_sign(request).expect("a request");
        simulator.inject(0, Event::Received { message, from: id.clone() });
        simulator.run_for(s(5));
        let core = simulator.node(0).expect("a node");
        assert_eq!((core.alive_count(), core.discovery().dead().len()), (1, 0), "a member as in Fabric");
    }
    let answers = |message: &SignedMessage| matches!(message.content(), Some(Content::MemRes(_)));
    assert!(!seen.borrow().iter().any(|(from, _, message)| *from == 0 && answers(message)));
}

#[test]
fn anchor_peers_with_external_endpoints_meet() {
    let (mut simulator, _) = anchors_of_each_other([true, true]);
    simulator.run_until(s(10), all_see(0..2, 1)).expect("they see each other");
}

#[test]
fn g24_g25_a_bootstrap_peer_has_to_be_of_our_organisation() {
    let mut simulator = simulator();
    simulator.add(NodeSpec { org: 1, ..NodeSpec::default() }).expect("a node of another organisation");
    simulator.add_node(&[]).expect("a node of ours");
    let seen = observe(&mut simulator);
    simulator.add_node(&[0, 1]).expect("a node");
    let requests_to = |peer: usize| {
        let seen = seen.borrow();
        seen.iter()
            .filter(|(_, to, it)| *to == peer && matches!(it.message().content, Some(Content::MemReq(_))))
            .count()
    };
    simulator.run_for(s(15));
    assert_eq!(requests_to(0), 0);
    assert!(requests_to(1) > 0);
    let seeds = simulator.node(2).expect("a node").discovery().seeds();
    let wrong = seeds.iter().find(|seed| seed.endpoint == "n0:7051").expect("the seed");
    assert!(wrong.attempts >= 3, "{wrong:?}");
    let error = wrong.last_error.as_deref().expect("an error");
    assert!(error.contains("n0:7051 isn't in our organization, cannot be a bootstrap peer"), "{error}");
}

#[test]
fn an_anchor_peer_listed_under_our_organisation_has_to_belong_to_it() {
    let mut simulator = simulator();
    simulator.add(NodeSpec { org: 1, ..NodeSpec::default() }).expect("a node of another organisation");
    simulator.add_node(&[]).expect("a node");
    join(&mut simulator, 1, CHANNEL, &[(0, &[0])]);
    simulator.run_for(s(15));
    assert_eq!(sees(&simulator, 1), 0);
    let seeds = simulator.node(1).expect("a node").discovery().seeds();
    let error = seeds[0].last_error.as_deref().expect("an error");
    let text = "Anchor peer n0.example.com:7051 for channel mychannel isn't in our org, but is claimed to be";
    assert!(error.contains(text), "{error}");
}

#[test]
fn a_wrong_bootstrap_endpoint_does_not_keep_the_others_from_being_contacted() {
    let mut config = NodeConfig::default();
    config.bootstrap = vec!["no port".into()];
    let mut simulator = simulator_of(config);
    add(&mut simulator, 2, 0);
    for (endpoint, fails) in [("no port", true), ("n0:7051", false)] {
        let result = simulator.with_node(1, |core, cx| core.connect(endpoint, SeedRole::Any, cx)).expect("a node");
        assert_eq!(result.is_err(), fails, "{endpoint}");
    }
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
}

#[test]
fn g26_who_leaves_a_channel_is_not_counted_any_more() {
    let mut simulator = simulator();
    add(&mut simulator, 3, 0);
    (0..3).for_each(|it| join(&mut simulator, it, CHANNEL, &[(0, &[])]));
    let views = |views: [usize; 3]| {
        move |simulator: &Simulator| {
            let view = |it: usize| simulator.node(it)?.channel_peers(CHANNEL).map(|it| it.len());
            (0..3).all(|it| view(it) == Some(views[it]))
        }
    };
    simulator.run_until(EVENTUALLY, views([2, 2, 2])).expect("all in the channel");
    simulator.with_node(2, |core, cx| core.leave_channel(CHANNEL, cx)).expect("a node").expect("left");
    simulator.run_until(EVENTUALLY, views([1, 1, 0])).expect("one left");
    simulator.run_for(s(60));
    assert!(views([1, 1, 0])(&simulator));
    join(&mut simulator, 2, CHANNEL, &[(0, &[])]);
    simulator.run_until(EVENTUALLY, views([2, 2, 2])).expect("it is back");
}

#[test]
fn p15_p16_only_what_is_not_known_is_requested() {
    let mut simulator = simulator();
    add(&mut simulator, 4, 0);
    let complete = |simulator: &Simulator| {
        (0..4).all(|it| simulator.node(it).is_some_and(|it| it.offered_identities().count() == 4))
    };
    simulator.run_until(EVENTUALLY, complete).expect("all identities everywhere");
    let seen = observe(&mut simulator);
    let requests = || {
        let seen = seen.borrow();
        let requests = seen.iter().filter(|(_, _, it)| matches!(it.message().content, Some(Content::DataReq(_))));
        requests.map(|(from, _, it)| (*from, it.clone())).collect::<Vec<_>>()
    };
    simulator.run_for(s(10));
    assert!(requests().is_empty());
    assert!(seen.borrow().iter().any(|(_, _, it)| matches!(it.message().content, Some(Content::DataDig(_)))));

    simulator.forget_identity(0, 3);
    assert_eq!(simulator.node(0).expect("a node").offered_identities().count(), 3);
    simulator.run_until(s(10), complete).expect("pulled again");
    let requests = requests();
    assert_eq!(requests.len(), 1);
    let Some(Content::DataReq(request)) = requests[0].1.content() else { panic!() };
    assert_eq!((requests[0].0, &request.digests[..]), (0, &[simulator.pki_id(3).to_bytes()][..]));
}

#[test]
fn p17_our_own_identity_is_offered_for_ever() {
    let mut simulator = simulator();
    simulator.add_node(&[]).expect("a node");
    simulator.run_for(s(7200));
    let own = simulator.pki_id(0).clone();
    simulator.inject(0, Event::IdentityPurged(own.clone()));
    assert_eq!(simulator.node(0).expect("a node").offered_identities().collect::<Vec<_>>(), [own]);
}

#[test]
fn a_renewed_peer_is_known_at_once_and_its_old_pki_id_is_gone() {
    let mut simulator = simulator();
    add(&mut simulator, 20, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    simulator.run_for(s(20));
    let old = simulator.pki_id(7).clone();
    simulator.kill(7);
    simulator.restart(7, true).expect("a node");
    let new = simulator.pki_id(7).clone();
    assert_ne!(old, new);
    let everywhere = |simulator: &Simulator, knows: &dyn Fn(&NodeCore) -> bool| {
        (0..20).filter(|it| *it != 7).all(|it| simulator.node(it).is_some_and(knows))
    };
    let known = |simulator: &Simulator| everywhere(simulator, &|core| core.discovery().is_alive(&new));
    simulator.run_until(s(6), known).expect("the new one is known");
    let gone = |simulator: &Simulator| everywhere(simulator, &|core| core.discovery().member(&old).is_none());
    let after = simulator.run_until(s(25), gone).expect("the old one is gone");
    println!("gone everywhere after {after:?}");
    assert!(simulator.is_complete());
}

#[test]
fn a_peer_that_only_claims_an_endpoint_removes_nobody() {
    let mut simulator = simulator();
    add(&mut simulator, 3, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    // The third publishes the endpoint of the second.
    let endpoint = simulator.external_endpoint(1);
    simulator.with_node(2, |core, _| core.update_endpoint(&endpoint)).expect("a node").expect("an endpoint");
    simulator.run_for(s(60));
    assert!(simulator.is_complete());
    assert_eq!(simulator.report().false_deaths, 0);
}

#[test]
fn a_node_that_was_stopped_does_nothing_more() {
    let mut simulator = simulator();
    add(&mut simulator, 2, 0);
    simulator.run_until_complete(EVENTUALLY).expect("full membership");
    simulator.with_node(0, |core, _| core.stop());
    simulator.with_node(0, |core, _| core.stop());
    simulator.run_for(s(1));
    let seen = observe(&mut simulator);
    simulator.run_for(s(20));
    assert!(seen.borrow().iter().all(|(from, _, _)| *from == 1));
    assert_eq!(simulator.node(0).expect("a node").next_timeout(), None);
}
