//! Members that mean harm, against whole nodes: the node and the other members are unharmed.

use crate::common::live::*;
use crate::common::*;
use crossbeam_channel::unbounded;
use fabric_gossip::internals::discovery::{Change, NetworkMember};
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, Content, GossipMessage, PullMsgType, SignedMessage, Tag};
use fabric_gossip::node::{NodeBuilder, Notice};
use fabric_gossip::proto::gossip as proto;
use fabric_gossip::{Error, ErrorKind};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

for_each_transport!(
    garbage_of_every_kind_harms_nobody,
    replays_and_what_is_said_in_anothers_name_change_nothing,
    weakness_5_a_member_that_asks_and_never_reads_holds_up_nobody,
    weakness_31_identities_that_nobody_asked_for_are_not_learned,
    weakness_32_a_flood_of_everything_leaves_the_others_their_turn,
    weakness_34_what_others_bring_is_verified_in_its_turn,
    what_is_announced_in_a_channel_is_limited_and_the_announcers_own,
);

/// A member that sends arbitrary messages.
struct Mallory(Raw);

impl Mallory {
    fn join(net: &impl Form, at: &Peer) -> Mallory {
        let mallory = Mallory(Raw::connect(net, "mallory", &at.endpoint));
        mallory.say(&mem_req(1, &alive_of("mallory", 1, "mallory")));
        // It is a member like others, until it does harm.
        eventually("mallory is a member", || alive(at).contains("mallory"));
        mallory
    }

    fn say(&self, message: &SignedMessage) {
        self.0.send(message);
    }

    /// Asks until there is an answer, since the number of answers is limited; earlier messages have been handled then.
    fn ask<T>(&self, question: impl Fn(u64) -> SignedMessage, answer: impl Fn(&SignedMessage) -> Option<T>) -> T {
        let mut answered = None;
        let mut nonce = 1 << 32;
        eventually("an answer", || {
            nonce += 1;
            self.say(&question(nonce));
            let heard = std::iter::from_fn(|| self.0.stream.recv(Some(ms(200))).unwrap());
            answered = heard.map(|wire| SignedMessage::decode(wire).unwrap()).find_map(|it| {
                let of_now = it.nonce() > 1 << 32 || it.message().is_pull();
                answer(&it).filter(|_| of_now)
            });
            answered.is_some()
        });
        answered.unwrap()
    }

    /// Waits until all messages so far have been handled, except those to be verified.
    fn settle(&self) {
        self.ask(
            |nonce| unsigned(wire::hello(nonce, PullMsgType::IDENTITY_MSG)),
            |it| match it.content() {
                Some(Content::DataDig(digest)) => (digest.nonce > 1 << 32).then_some(()),
                _ => None,
            },
        );
    }

    /// Asks a node for its members and returns the response.
    fn members(&self) -> proto::MembershipResponse {
        self.ask(
            |nonce| mem_req(nonce, &alive_of("mallory", nonce, "mallory")),
            |it| match it.content() {
                Some(Content::MemRes(response)) => Some(response.clone()),
                _ => None,
            },
        )
    }
}

fn message_of(tag: Tag, channel: &str, content: Content) -> GossipMessage {
    GossipMessage { tag: tag.into(), channel: channel.to_owned().into(), content: Some(content), ..Default::default() }
}

fn unsigned(message: GossipMessage) -> SignedMessage {
    SignedMessage::noop_sign(message).unwrap()
}

fn signed(message: GossipMessage, by: &str) -> SignedMessage {
    SignedMessage::sign(message, |bytes| Ok(signature(by.as_bytes(), bytes))).unwrap()
}

/// An alive message of a peer, later than all its own, signed by another one.
fn alive_of(name: &str, sequence: u64, by: &str) -> SignedMessage {
    let member = proto::Member { pki_id: name.to_owned().into(), ..Default::default() };
    let time = proto::PeerTime { inc_num: u64::MAX / 2, seq_num: sequence, ..Default::default() };
    let alive = proto::AliveMessage {
        membership: Some(member).into(),
        timestamp: Some(time).into(),
        // Identities of others are of no use: the signature is judged all the same.
        identity: if name == by { name.to_owned().into() } else { Default::default() },
        ..Default::default()
    };
    signed(message_of(Tag::EMPTY, "", Content::AliveMsg(alive)), by)
}

fn mem_req(nonce: u64, own: &SignedMessage) -> SignedMessage {
    let request = proto::MembershipRequest { self_information: Some(own.to_proto()).into(), ..Default::default() };
    let request = message_of(Tag::EMPTY, "", Content::MemReq(request));
    unsigned(GossipMessage { nonce, ..request })
}

fn mem_res(alive: &[SignedMessage], dead: &[SignedMessage]) -> SignedMessage {
    let entries = |list: &[SignedMessage]| list.iter().map(SignedMessage::to_proto).collect();
    let response = proto::MembershipResponse { alive: entries(alive), dead: entries(dead), ..Default::default() };
    unsigned(message_of(Tag::EMPTY, "", Content::MemRes(response)))
}

/// Every kind of content, once empty and once with something huge or wrong in it.
fn contents() -> Vec<Content> {
    let huge = || vec![0xff_u8; 300 << 10].into();
    let bad = || proto::Envelope { payload: vec![0xff; 5].into(), signature: huge(), ..Default::default() };
    let member = || proto::Member { metadata: huge(), pki_id: huge(), endpoint: "\u{0}".into(), ..Default::default() };
    let time = || proto::PeerTime { inc_num: u64::MAX, seq_num: u64::MAX, ..Default::default() };
    let alive = |with_member: bool, with_time: bool| {
        Content::AliveMsg(proto::AliveMessage {
            membership: with_member.then(member).into(),
            timestamp: with_time.then(time).into(),
            identity: huge(),
            ..Default::default()
        })
    };
    let digests = || vec![huge(), Default::default()];
    let state = |mac| proto::StateInfo {
        channel_MAC: mac,
        timestamp: Some(time()).into(),
        pki_id: id("node1").to_bytes(),
        ..Default::default()
    };
    let payload = || proto::Payload { seq_num: u64::MAX, data: huge(), ..Default::default() };
    let identity = proto::PeerIdentity { pki_id: huge(), cert: huge(), metadata: huge(), ..Default::default() };
    vec![
        alive(false, false),
        alive(true, false),
        alive(false, true),
        alive(true, true),
        Content::MemReq(Default::default()),
        Content::MemReq(proto::MembershipRequest { self_information: Some(bad()).into(), ..Default::default() }),
        Content::MemRes(Default::default()),
        Content::MemRes(proto::MembershipResponse {
            alive: vec![bad(), Default::default()],
            dead: vec![bad(), Default::default()],
            ..Default::default()
        }),
        Content::DataMsg(Default::default()),
        Content::DataMsg(proto::DataMessage { payload: Some(payload()).into(), ..Default::default() }),
        Content::Hello(Default::default()),
        Content::Hello(proto::GossipHello { metadata: huge(), ..Default::default() }),
        Content::DataDig(Default::default()),
        Content::DataDig(proto::DataDigest { digests: digests(), ..Default::default() }),
        Content::DataReq(Default::default()),
        Content::DataReq(proto::DataRequest { digests: digests(), ..Default::default() }),
        Content::DataUpdate(Default::default()),
        Content::DataUpdate(proto::DataUpdate { data: vec![bad(), Default::default()], ..Default::default() }),
        Content::Empty(Default::default()),
        Content::Conn(Default::default()),
        Content::StateInfo(Default::default()),
        Content::StateInfo(state(huge())),
        Content::StateInfo(state(wire::channel_mac(&id("node1"), CHANNEL.as_bytes()))),
        Content::StateSnapshot(Default::default()),
        Content::StateSnapshot(proto::StateInfoSnapshot {
            elements: vec![bad(), Default::default()],
            ..Default::default()
        }),
        Content::StateInfoPullReq(Default::default()),
        Content::StateInfoPullReq(proto::StateInfoPullRequest { channel_MAC: huge(), ..Default::default() }),
        Content::StateRequest(Default::default()),
        Content::StateResponse(Default::default()),
        Content::LeadershipMsg(Default::default()),
        Content::PeerIdentity(Default::default()),
        Content::PeerIdentity(identity),
        Content::Ack(Default::default()),
        Content::PrivateReq(Default::default()),
        Content::PrivateRes(Default::default()),
        Content::PrivateData(Default::default()),
    ]
}

/// Nodes that take good blocks only, and so do not believe any number that a member names.
fn judges(net: &impl Form, count: usize) -> Vec<Peer> {
    let judging = |builder: NodeBuilder| {
        builder.block_verifier(|block| match block.content() {
            Some(Content::DataMsg(data)) if data.payload.data == "good" => Ok(()),
            _ => Err(Error::new(ErrorKind::Signature, "not a good block")),
        })
    };
    let mut peers: Vec<Peer> = Vec::new();
    for n in 0..count {
        let bootstrap: Vec<_> = peers.iter().take(1).map(|peer| peer.endpoint.clone()).collect();
        peers.push(start_at(net, &format!("node{n}"), None, |builder| judging(builder.bootstrap(bootstrap))));
    }
    for peer in &peers {
        peer.wait_for_members(count - 1, PATIENCE).unwrap();
    }
    join_all(&peers);
    peers
}

fn everybody_but_mallory(node: &Peer) -> BTreeSet<String> {
    alive(node).into_iter().filter(|name| name != "mallory").collect()
}

/// Checks that the members know each other, and no one else.
fn assert_unharmed(peers: &[Peer]) {
    for (n, peer) in peers.iter().enumerate() {
        let others: BTreeSet<_> = (0..peers.len()).filter(|m| *m != n).map(|m| format!("node{m}")).collect();
        assert_eq!(everybody_but_mallory(peer), others);
        assert!(peer.dead().iter().all(|member| member.pki_id == id("mallory")), "{:?}", peer.dead());
        let identities = peer.identity_info();
        assert!(identities.len() <= peers.len() + 1, "{identities:?}");
    }
}

/// Checks that membership and blocks still spread from one to another, and that newcomers find all members.
fn assert_in_service(net: &impl Form, peers: &[Peer], block: u64, newcomer: &str) {
    let inbox = peers[0].accept(move |block_of| seq(block_of) == block);
    peers[1].update_metadata(newcomer.as_bytes().to_vec());
    let seen = |member: NetworkMember| member.metadata == newcomer.as_bytes();
    eventually("news is seen", || peers[0].lookup(&id("node1")).is_some_and(seen));
    peers[1].gossip(message::data(0, CHANNEL, block, "good")).unwrap();
    next(&inbox);
    let late = start(net, newcomer, &[&peers[0]]);
    late.wait_for_members(peers.len(), PATIENCE).unwrap();
    late.stop();
    net.leave(&late.endpoint);
}

fn garbage_of_every_kind_harms_nobody(net: &impl Form) {
    let peers = judges(net, 3);
    let mallory = Mallory::join(net, &peers[0]);
    let tags = [Tag::UNDEFINED, Tag::EMPTY, Tag::ORG_ONLY, Tag::CHAN_ONLY, Tag::CHAN_AND_ORG, Tag::CHAN_OR_ORG];
    for content in contents() {
        for tag in tags {
            let garbage = message_of(tag, CHANNEL, content.clone());
            mallory.say(&unsigned(garbage.clone()));
            mallory.say(&signed(garbage.clone(), "mallory"));
            mallory.say(&signed(garbage, "node1"));
        }
        let mut unknown = message_of(Tag::EMPTY, "no channel", content);
        unknown.tag = protobuf::EnumOrUnknown::from_i32(99);
        mallory.say(&unsigned(unknown));
    }
    let members = mallory.members();
    assert_eq!((members.alive.len(), members.dead.len()), (4, 0));
    assert_unharmed(&peers);
    assert_in_service(net, &peers, 7, "late");
}

fn replays_and_what_is_said_in_anothers_name_change_nothing(net: &impl Form) {
    let peers = network(net, 3);
    let notices = peers[0].notices();
    let mallory = Mallory::join(net, &peers[0]);
    let of_node1: Vec<SignedMessage> = mallory
        .members()
        .alive
        .into_iter()
        .map(|envelope| SignedMessage::from_envelope(Some(envelope.into())).unwrap())
        .filter(|it| matches!(it.content(), Some(Content::AliveMsg(alive)) if alive.membership.pki_id == "node1"))
        .collect();
    let [old] = &of_node1[..] else { panic!("one message of node1: {of_node1:?}") };
    for n in 0..100 {
        mallory.say(old);
        mallory.say(&mem_req(n, old));
        mallory.say(&mem_res(&[], &of_node1));
        // Forged, later ones: alive, dead, asking.
        for name in ["node0", "node1", "node2", "nobody"] {
            let forged = alive_of(name, n, "mallory");
            mallory.say(&forged);
            mallory.say(&mem_req(n, &forged));
            mallory.say(&mem_res(&[forged.clone()], &[forged]));
        }
    }
    mallory.settle();
    eventually("all is judged", || peers[0].metrics().gossip_verifications_waiting == 0);
    assert_unharmed(&peers);
    // It is no news either; but node1's own is.
    while let Ok(Some(notice)) = notices.try_recv() {
        let Notice::Membership(Change::Alive(member) | Change::Updated(member)) = notice else { panic!("{notice:?}") };
        assert_eq!(member.pki_id, id("mallory"));
    }
    peers[1].update_metadata("mine");
    eventually("node1 is heard", || peers[0].lookup(&id("node1")).is_some_and(|it| it.metadata == "mine"));
}

fn weakness_5_a_member_that_asks_and_never_reads_holds_up_nobody(net: &impl Form) {
    let peers = network(net, 3);
    join_all(&peers);
    let mallory = Mallory::join(net, &peers[0]);
    for n in 0..1_000 {
        mallory.say(&mem_req(n, &alive_of("mallory", n, "mallory")));
        mallory.say(&unsigned(wire::hello(n, PullMsgType::IDENTITY_MSG)));
        mallory.say(&unsigned(wire::data_request(n, PullMsgType::IDENTITY_MSG, vec![id("node1").to_bytes()])));
        mallory.say(&unsigned(wire::state_info_pull_request(&id("mallory"), CHANNEL.as_bytes())));
    }
    assert_unharmed(&peers);
    assert_in_service(net, &peers, 1, "late");
}

fn weakness_31_identities_that_nobody_asked_for_are_not_learned(net: &impl Form) {
    let peers = network(net, 2);
    let mallory = Mallory::join(net, &peers[0]);
    let eve = signed(wire::peer_identity(&id("eve"), &identity("eve")), "eve");
    for nonce in 0..100 {
        mallory.say(&unsigned(wire::data_update(nonce, PullMsgType::IDENTITY_MSG, &[eve.envelope().clone()])));
        mallory.say(&eve);
    }
    mallory.settle();
    eventually("all is judged", || peers[0].metrics().gossip_verifications_waiting == 0);
    assert!(peers[0].identity_info().iter().all(|known| known.pki_id != id("eve")));
    assert_unharmed(&peers);
}

fn what_is_announced_in_a_channel_is_limited_and_the_announcers_own(net: &impl Form) {
    let peers = network(net, 2);
    join_all(&peers);
    let mallory = Mallory::join(net, &peers[0]);
    let seen = |name: &str| {
        let of_channel = peers[0].peers_of_channel(CHANNEL.as_bytes()).unwrap();
        let found = of_channel.into_iter().find(|peer| peer.member.pki_id == id(name))?;
        Some((found.ledger_height, found.chaincodes.len()))
    };
    let announce = |name: &str, sequence: u64, height: u64, chaincodes: usize| {
        let chaincodes = vec![proto::Chaincode::default(); chaincodes];
        let properties = proto::Properties { ledger_height: height, chaincodes, ..Default::default() };
        let state = wire::state_info(&id(name), CHANNEL.as_bytes(), u64::MAX, sequence, properties);
        mallory.say(&signed(state, "mallory"));
    };
    announce("mallory", 1, 1, 100_000);
    eventually("everything within the limit is seen", || seen("mallory") == Some((1, 100_000)));
    announce("mallory", 2, 2, 140_000);
    announce("node1", 1, 3, 1);
    mallory.settle();
    eventually("all is judged", || peers[0].metrics().gossip_verifications_waiting == 0);
    assert_eq!(seen("mallory"), Some((1, 100_000)), "too large");
    assert_eq!(seen("node1"), Some((0, 0)), "in another peer's name");
    announce("mallory", 3, u64::MAX, 0);
    eventually("the next announcement is seen", || seen("mallory") == Some((u64::MAX, 0)));
    assert_unharmed(&peers);
}

fn weakness_32_a_flood_of_everything_leaves_the_others_their_turn(net: &impl Form) {
    let peers = network(net, 3);
    join_all(&peers);
    let mallory = Mallory::join(net, &peers[0]);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 10;
            while !over.load(Ordering::SeqCst) {
                n += 1;
                let claimed = alive_of(&format!("nobody{n}"), n, "mallory");
                let state = proto::StateInfo {
                    channel_MAC: wire::channel_mac(&id("node1"), CHANNEL.as_bytes()),
                    timestamp: Some(proto::PeerTime { inc_num: u64::MAX, seq_num: n, ..Default::default() }).into(),
                    pki_id: id("node1").to_bytes(),
                    ..Default::default()
                };
                for message in [
                    claimed.clone(),
                    alive_of("node1", n, "mallory"),
                    mem_res(&vec![claimed.clone(); 20], &[claimed]),
                    mem_req(n, &alive_of("mallory", n, "mallory")),
                    unsigned(wire::hello(1, PullMsgType::IDENTITY_MSG)),
                    unsigned(wire::data_request(1, PullMsgType::IDENTITY_MSG, vec![id("node1").to_bytes(); 100])),
                    unsigned(wire::data_update(1, PullMsgType::IDENTITY_MSG, &[])),
                    unsigned(wire::state_info_pull_request(&id("mallory"), CHANNEL.as_bytes())),
                    signed(message_of(Tag::CHAN_OR_ORG, "", Content::StateInfo(state)), "mallory"),
                ] {
                    mallory.say(&message);
                }
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::SeqCst) {
                // It reads, so that the node decides what it receives.
                let _ = mallory.0.stream.recv(Some(ms(10)));
            }
        });
        let served = thread::scope(|served| {
            served
                .spawn(|| {
                    for round in 1..=3 {
                        assert_in_service(net, &peers, round, &format!("late{round}"));
                        let metrics = peers[0].metrics();
                        // One share of each that is connected, and half of the room for verifications.
                        assert!(metrics.gossip_messages_waiting <= 256 * 5, "{metrics:?}");
                        assert!(metrics.gossip_verifications_waiting <= 10_000 + 2_048 + 100, "{metrics:?}");
                        assert!(metrics.gossip_membership_alive <= 6, "{metrics:?}");
                        assert!(metrics.gossip_identities_offered <= 8, "{metrics:?}");
                    }
                })
                .join()
        });
        over.store(true, Ordering::SeqCst);
        served.unwrap();
    });
    let forged = |member: &NetworkMember| String::from_utf8_lossy(member.pki_id.as_bytes()).starts_with("nobody");
    assert!(peers[0].identity_info().len() <= 3 + 1 + 3, "nobody's identity");
    assert!(!peers[0].peers().iter().any(forged) && !peers[0].dead().iter().any(forged));
}

fn weakness_34_what_others_bring_is_verified_in_its_turn(net: &impl Form) {
    let judged: Arc<Mutex<Vec<bool>>> = Arc::default();
    let (open, gate) = unbounded::<()>();
    let first = start_at(net, "node0", None, |builder| {
        let judged = judged.clone();
        builder.block_verifier(move |block| {
            let good = matches!(block.content(), Some(Content::DataMsg(it)) if it.payload.data == "good");
            judged.lock().push(good);
            // Until the test opens the gate for good.
            let _ = gate.recv();
            good.then_some(()).ok_or_else(|| Error::new(ErrorKind::Signature, "not a good block"))
        })
    });
    let second = start(net, "node1", &[&first]);
    let peers = [first, second];
    peers.iter().for_each(|peer| peer.wait_for_members(1, PATIENCE).unwrap());
    join_all(&peers);
    let inbox = peers[0].subscribe(|_| true);
    let mallory = Mallory::join(net, &peers[0]);
    for n in 0..5_000 {
        mallory.say(&unsigned(message::data(0, CHANNEL, n, "bad")));
    }
    mallory.settle();
    let waiting = peers[0].metrics().gossip_verifications_waiting;
    assert!((2_000..2_100).contains(&waiting), "half of the room: {waiting}");
    let arrived = peers[0].comm().subscribe(|it| matches!(it.message().content(), Some(Content::DataMsg(_))));
    peers[1].gossip(message::data(0, CHANNEL, 3, "good")).unwrap();
    next(&arrived);
    eventually("it was taken", || peers[0].metrics().gossip_messages_waiting == 0);
    // One after the other, and heartbeats in between: it is not behind all that came before.
    let is_judged = || judged.lock().contains(&true);
    eventually("it is judged", || {
        let before = judged.lock().len();
        open.send(()).unwrap();
        eventually("the next is judged", || is_judged() || judged.lock().len() > before);
        is_judged()
    });
    let place = judged.lock().iter().position(|good| *good).unwrap();
    assert!(place < waiting / 4, "behind {place} others");
    drop(open);
    assert_eq!(seq(&next(&inbox)), 3);
}
