//! Whole nodes with their threads, over every form of network: the core's decisions, carried out.

use crate::common::live::*;
use crate::common::*;
use fabric_gossip::comm::Subscription;
use fabric_gossip::config::SubscriptionOptions;
use fabric_gossip::crypto::PkiId;
use fabric_gossip::message::{self, Content};
use fabric_gossip::node::{Chaincode, ChannelMember, ChannelOrgs, Gossiped, Notice, SeedRole, SendCriteria};
use fabric_gossip::{Error, ErrorKind};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

for_each_transport!(
    g1_nodes_with_one_bootstrap_peer_know_each_other,
    g2_new_metadata_is_seen_by_all,
    g9_a_block_reaches_every_member_of_the_channel_once,
    g10_who_is_revoked_is_forgotten,
    g12_to_g18_sending_by_criteria,
    g24_a_bootstrap_peer_of_another_organisation_is_named_and_the_others_serve,
    g26_who_leaves_a_channel_is_no_longer_in_it,
    g27_metrics_count_the_peers_of_each_channel,
    the_peers_of_a_channel_have_what_they_announce_there,
    an_announcement_that_nobody_would_keep_is_an_error_and_changes_nothing,
    organisations_meet_through_anchors_and_hide_internal_endpoints,
    a_stopped_peer_is_noticed_and_a_returning_one_welcomed,
    a_peer_with_a_new_certificate_takes_the_place_of_the_old,
    waiting_for_members_says_what_is_missing,
    a_channel_without_our_organisation_is_not_joined,
    every_call_that_can_fail_says_that_the_node_is_stopped,
    weakness_5_a_slow_verification_and_a_slow_reader_hold_up_nobody,
    weakness_8_many_identities_that_go_at_once_stall_nothing,
    weakness_9_33_a_node_stops_at_once_from_anywhere_and_twice,
    weakness_23_a_seed_is_dialled_once,
);

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

fn g1_nodes_with_one_bootstrap_peer_know_each_other(net: &impl Form) {
    let peers = network(net, 5);
    for (n, peer) in peers.iter().enumerate() {
        let members = peer.peers();
        assert!(members.iter().all(|m| !m.internal_endpoint.is_empty()), "{members:?}");
        let expected: BTreeSet<_> = (0..5).filter(|m| *m != n).map(|m| format!("node{m}")).collect();
        assert_eq!(alive(peer), expected);
        let found = peer.lookup(&id("node0")).unwrap();
        assert_eq!(found.internal_endpoint, peers[0].endpoint);
    }
    // Each has the identities of all, by pull where not by handshake.
    for peer in &peers {
        eventually("identities are pulled", || peer.identity_info().len() == 5);
    }
}

fn g2_new_metadata_is_seen_by_all(net: &impl Form) {
    let peers = network(net, 3);
    peers[1].update_metadata("bla bla");
    for peer in [&peers[0], &peers[2]] {
        eventually("the metadata is seen", || {
            peer.lookup(&id("node1")).is_some_and(|member| member.metadata == "bla bla")
        });
    }
}

fn g9_a_block_reaches_every_member_of_the_channel_once(net: &impl Form) {
    let peers = network(net, 4);
    join_all(&peers);
    let inboxes: Vec<_> = peers.iter().map(|peer| peer.subscribe(|_| true)).collect();
    // Blocks that are forwarded may overtake those that come directly, by as many as the window of ten allows.
    for numbers in [1..=10, 11..=20] {
        for n in numbers.clone() {
            peers[0].gossip(message::data(0, CHANNEL, n, "block")).unwrap();
        }
        for inbox in &inboxes[1..] {
            let got: BTreeSet<_> = (0..10).map(|_| seq(&inbox.recv_timeout(PATIENCE).unwrap())).collect();
            assert_eq!(got, numbers.clone().collect(), "each once");
        }
    }
    assert!(inboxes[0].is_empty(), "the author gets nothing back");
    let error = peers[0].gossip(message::data(0, "other", 1, "block")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

fn g10_who_is_revoked_is_forgotten(net: &impl Form) {
    let peers = network(net, 4);
    net.world().revoke("node3");
    for peer in &peers[..3] {
        peer.suspect_peers(|identity| identity.as_bytes() == b"node3");
    }
    for peer in &peers[..3] {
        eventually("the revoked one is gone", || alive(peer).len() == 2 && !alive(peer).contains("node3"));
        assert!(peer.lookup(&id("node3")).is_none());
    }
}

fn g12_to_g18_sending_by_criteria(net: &impl Form) {
    let peers = network(net, 4);
    join_all(&peers);
    let answers: Vec<_> = peers[1..]
        .iter()
        .map(|peer| peer.comm().subscribe(|m| matches!(m.message().content(), Some(Content::PrivateData(_)))))
        .collect();
    let message = || {
        let content = Content::PrivateData(Default::default());
        let tag = message::Tag::CHAN_ONLY.into();
        message::GossipMessage { tag, channel: CHANNEL.into(), content: Some(content), ..Default::default() }
    };
    let criteria =
        |min_ack, max_peers, timeout| SendCriteria { timeout, min_ack, max_peers, channel: Some(CHANNEL.into()) };
    let send = |criteria: &SendCriteria| peers[0].send_by_criteria(message(), criteria, |_| true);

    send(&criteria(0, 0, ms(0))).unwrap();
    assert_eq!(send(&criteria(1, 3, ms(0))).unwrap_err().message(), "Timeout should be specified");
    let unknown = SendCriteria { channel: Some("other".into()), ..criteria(1, 3, ms(1)) };
    assert!(send(&unknown).unwrap_err().message().contains("but no such channel exists"));
    let error = send(&criteria(10, 10, PATIENCE)).unwrap_err();
    assert!(error.message().contains("requested to send to at least 10 peers, but know only of"), "{error}");
    assert!(answers.iter().all(|inbox| inbox.is_empty()), "nothing was sent so far");

    let error = send(&criteria(3, 3, ms(50))).unwrap_err();
    assert!(error.message().contains("timed out") && error.message().contains('3'), "{error}");
    send(&criteria(0, 3, ms(50))).expect("no acknowledgement is asked for");
    let acknowledge = |texts: [Option<&'static str>; 3]| {
        let threads: Vec<_> = answers
            .iter()
            .cloned()
            .zip(texts)
            .map(|(inbox, text)| {
                while let Ok(Some(_)) = inbox.try_recv() {}
                thread::spawn(move || inbox.recv_timeout(PATIENCE).unwrap().ack(text).unwrap())
            })
            .collect();
        move || threads.into_iter().for_each(|t| t.join().unwrap())
    };
    let done = acknowledge([None; 3]);
    send(&criteria(3, 3, PATIENCE)).unwrap();
    done();
    let done = acknowledge([None, Some("uh oh"), Some("uh oh")]);
    let error = send(&criteria(3, 3, PATIENCE)).unwrap_err();
    assert!(error.message().contains("uh oh"), "{error}");
    done();

    let second = &answers[1];
    let thread = thread::spawn({
        let inbox = second.clone();
        move || inbox.recv_timeout(PATIENCE).unwrap().ack(None).unwrap()
    });
    let only = |member: &fabric_gossip::internals::discovery::NetworkMember| member.pki_id == id("node2");
    peers[0].send_by_criteria(message(), &criteria(1, 1, PATIENCE), only).unwrap();
    thread.join().unwrap();
    assert!(answers.iter().all(|inbox| inbox.is_empty()), "only the eligible one got it");
}

fn g24_a_bootstrap_peer_of_another_organisation_is_named_and_the_others_serve(net: &impl Form) {
    net.world().set_org("stranger", "elsewhere");
    let (stranger, friend) = (start(net, "stranger", &[]), start(net, "friend", &[]));
    let node = start(net, "node", &[]);
    let notices = node.notices();
    for seed in [&*stranger.endpoint, "no endpoint", &friend.endpoint] {
        let _ = node.connect(seed, SeedRole::Bootstrap);
    }
    let expected = format!("{} isn't in our organization, cannot be a bootstrap peer", stranger.endpoint);
    loop {
        match notices.recv_timeout(PATIENCE).unwrap() {
            Notice::SeedFailed { endpoint, reason } if endpoint == stranger.endpoint => {
                break assert!(reason.contains(&expected), "{reason}");
            }
            _ => {}
        }
    }
    node.wait_for_members(1, PATIENCE).unwrap();
    assert_eq!(alive(&node), names(["friend"]));
    assert!(stranger.peers().is_empty(), "it was never asked");
    let seeds = node.seeds();
    let seed = seeds.iter().find(|seed| seed.endpoint == stranger.endpoint).unwrap();
    assert!(seed.last_error.as_ref().is_some_and(|e| e.contains(&expected)) && seed.next_attempt.is_some());
    let error = node.connect("no endpoint", SeedRole::Any).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("no endpoint"), "{error}");
}

fn g26_who_leaves_a_channel_is_no_longer_in_it(net: &impl Form) {
    let peers = network(net, 3);
    join_all(&peers);
    peers[2].leave_channel(CHANNEL.as_bytes()).unwrap();
    assert_eq!(channel_peers(&peers[2]), 0);
    for peer in &peers[..2] {
        eventually("the one that left is out", || channel_peers(peer) == 1);
    }
}

fn g27_metrics_count_the_peers_of_each_channel(net: &impl Form) {
    let first = start(net, "node0", &[]);
    first.join_channel(CHANNEL, everybody(&[])).unwrap();
    assert_eq!(first.metrics().gossip_membership_total_peers_known[CHANNEL], 0);
    let second = start(net, "node1", &[&first]);
    second.join_channel(CHANNEL, everybody(&[])).unwrap();
    eventually("one is known", || first.metrics().gossip_membership_total_peers_known[CHANNEL] == 1);
    let page = first.metrics().to_prometheus();
    assert!(page.contains("gossip_membership_total_peers_known{channel=\"mychannel\"} 1"), "{page}");
    assert!(page.contains("\ngossip_membership_alive 1\n") && page.contains("gossip_comm_messages_sent"), "{page}");
}

/// A peer's announcement: its ledger height, and the names and versions of its chaincodes.
type Announced = (u64, Vec<(String, String)>);

/// Returns the peers of the channel, as a node sees them.
fn announced(node: &Peer) -> Vec<(String, Announced)> {
    let peers = node.peers_of_channel(CHANNEL.as_bytes()).unwrap_or_default();
    let pair = |chaincode: Chaincode| (chaincode.name, chaincode.version);
    let name = |pki_id: &PkiId| String::from_utf8_lossy(pki_id.as_bytes()).into_owned();
    let announced = |peer: ChannelMember| (peer.ledger_height, peer.chaincodes.into_iter().map(pair).collect());
    peers.into_iter().map(|peer| (name(&peer.member.pki_id), announced(peer))).collect()
}

fn chaincodes<const N: usize>(of: [(&str, &str); N]) -> Vec<Chaincode> {
    of.map(|(name, version)| Chaincode { name: name.into(), version: version.into() }).into()
}

fn the_peers_of_a_channel_have_what_they_announce_there(net: &impl Form) {
    let peers = network(net, 3);
    let channel = CHANNEL.as_bytes();
    assert_eq!(peers[0].peers_of_channel(channel), None, "it was never in the channel");
    join_all(&peers);
    let silent = || (0, vec![]);
    let seen = |of1: Announced, of2: Announced| vec![("node1".to_owned(), of1), ("node2".to_owned(), of2)];
    assert_eq!(announced(&peers[0]), seen(silent(), silent()), "sorted, and without itself");
    let found = &peers[0].peers_of_channel(channel).unwrap()[0];
    assert_eq!(found.member.internal_endpoint, peers[1].endpoint);

    peers[1].update_ledger_height(channel, u64::MAX).unwrap();
    peers[2].update_chaincodes(channel, chaincodes([("basic", "1.0"), ("a\x1b[31m\0", "")])).unwrap();
    peers[2].update_ledger_height(channel, 7).unwrap();
    let texts = |of: &[(&str, &str)]| of.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let told = seen((u64::MAX, vec![]), (7, texts(&[("basic", "1.0"), ("a\x1b[31m\0", "")])));
    eventually("both announce something", || announced(&peers[0]) == told);
    peers[2].update_chaincodes(channel, chaincodes([("basic", "2.0")])).unwrap();
    let told = seen((u64::MAX, vec![]), (7, texts(&[("basic", "2.0")])));
    eventually("the later chaincodes replace the earlier ones", || announced(&peers[0]) == told);

    // A peer that left is not in the channel, and one that is dead is in none.
    peers[2].leave_channel(channel).unwrap();
    eventually("one left", || announced(&peers[0]) == told[..1]);
    assert_eq!(peers[2].peers_of_channel(channel), Some(vec![]), "it sees nobody");
    for result in [peers[2].update_chaincodes(channel, vec![]), peers[2].update_ledger_height(channel, 1)] {
        assert_eq!(result.unwrap_err().kind(), ErrorKind::Config);
    }
    peers[1].stop();
    eventually("one is dead", || announced(&peers[0]).is_empty());
}

fn an_announcement_that_nobody_would_keep_is_an_error_and_changes_nothing(net: &impl Form) {
    let peers = network(net, 2);
    join_all(&peers);
    let channel = CHANNEL.as_bytes();
    peers[1].update_chaincodes(channel, chaincodes([("basic", "1.0")])).unwrap();
    let error = peers[1].update_chaincodes(channel, chaincodes([("large", &"x".repeat(252 << 10))])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
    peers[1].update_ledger_height(channel, 1).unwrap();
    let name = |peer: &Peer| Some(announced(peer).first()?.1 .1.first()?.0.clone());
    eventually("the height is seen", || announced(&peers[0])[0].1 .0 == 1);
    assert_eq!(name(&peers[0]).as_deref(), Some("basic"));
    // The largest one that is no error is kept.
    peers[1].update_chaincodes(channel, chaincodes([("large", &"x".repeat((252 << 10) - 100))])).unwrap();
    eventually("the largest announcement is seen", || name(&peers[0]).as_deref() == Some("large"));
}

fn organisations_meet_through_anchors_and_hide_internal_endpoints(net: &impl Form) {
    let mut peers = Vec::new();
    for (org, name) in [("org1", "a0"), ("org2", "b0"), ("org1", "a1"), ("org2", "b1")] {
        net.world().set_org(name, org);
        let bootstrap: Vec<String> = match peers.len() {
            0 | 1 => vec![],
            n => vec![endpoint_of(&peers[n - 2])],
        };
        peers.push(start_at(net, name, None, |builder| builder.bootstrap(bootstrap)));
    }
    let (a0, b0) = (peers[0].endpoint.clone(), peers[1].endpoint.clone());
    // The first of each organisation can be reached from outside.
    peers[0].update_endpoint(&a0).unwrap();
    peers[1].update_endpoint(&b0).unwrap();
    for peer in &peers {
        peer.join_channel(CHANNEL, orgs([("org1", &[&a0]), ("org2", &[&b0])])).unwrap();
    }
    eventually("a0 sees b0", || alive(&peers[0]) == names(["a1", "b0"]));
    eventually("b0 sees a0", || alive(&peers[1]) == names(["b1", "a0"]));
    let seen = peers[0].lookup(&id("b0")).unwrap();
    assert_eq!((&*seen.endpoint, &*seen.internal_endpoint), (&*b0, ""), "only its external endpoint");
    // A peer without an external endpoint neither sees others nor is seen.
    eventually("a1 sees its own organisation", || alive(&peers[2]) == names(["a0"]));
    eventually("b1 sees its own organisation", || alive(&peers[3]) == names(["b0"]));
    eventually("the channel has both", || channel_peers(&peers[0]) == 2);
}

fn endpoint_of(peer: &Peer) -> String {
    peer.endpoint.clone()
}

fn a_stopped_peer_is_noticed_and_a_returning_one_welcomed(net: &impl Form) {
    let peers = network(net, 3);
    let gone = &peers[2];
    gone.stop();
    net.leave(&gone.endpoint);
    for peer in &peers[..2] {
        eventually("it is noticed", || !alive(peer).contains("node2"));
        assert_eq!(peer.dead().len(), 1);
    }
    let back = start_at(net, "node2", Some(&gone.endpoint), |b| b.bootstrap([&*peers[0].endpoint]));
    for peer in &peers[..2] {
        eventually("it is back", || alive(peer).contains("node2") && peer.dead().is_empty());
    }
    back.wait_for_members(2, PATIENCE).unwrap();
}

fn a_peer_with_a_new_certificate_takes_the_place_of_the_old(net: &impl Form) {
    let peers = network(net, 3);
    let (old, notices) = (&peers[2], peers[0].notices());
    old.stop();
    net.leave(&old.endpoint);
    let renewed = start_at(net, "renewed", Some(&old.endpoint), |b| b.bootstrap([&*peers[0].endpoint]));
    renewed.wait_for_members(2, PATIENCE).unwrap();
    for peer in &peers[..2] {
        eventually("the old name is gone", || {
            alive(peer).contains("renewed") && peer.lookup(&id("node2")).is_none() && peer.dead().is_empty()
        });
    }
    let switched = std::iter::from_fn(|| notices.recv_timeout(PATIENCE).ok()).find_map(|notice| match notice {
        Notice::IdentitySwitched { old, .. } => Some(old),
        _ => None,
    });
    assert_eq!(switched, Some(id("node2")));
}

fn waiting_for_members_says_what_is_missing(net: &impl Form) {
    let nobody = net.refused();
    let node = start_at(net, "node", None, |builder| builder.bootstrap([&*nobody.endpoint]));
    eventually("it was tried", || node.seeds()[0].last_error.is_some());
    let error = node.wait_for_members(1, ms(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.message().starts_with("timed out: 0 of 1 members") && error.message().contains(&nobody.endpoint),
        "{error}"
    );
    node.wait_for_members(0, ms(0)).unwrap();
    let waiting = thread::spawn({
        let node = node.node.clone();
        move || node.wait_for_members(1, PATIENCE).unwrap_err()
    });
    node.stop();
    assert_eq!(waiting.join().unwrap().kind(), ErrorKind::Stopped);
}

fn weakness_5_a_slow_verification_and_a_slow_reader_hold_up_nobody(net: &impl Form) {
    let first = start(net, "node0", &[]);
    let slow: &'static AtomicBool = Box::leak(Box::new(AtomicBool::new(true)));
    let second = start_at(net, "node1", None, |builder| {
        builder.bootstrap([&*first.endpoint]).block_verifier(move |block| {
            // The first block takes as long as the test wants; others are judged beside it.
            while slow.load(Ordering::SeqCst) && block.message().nonce == 0 && is_first(block) {
                thread::yield_now();
            }
            match is_first(block) {
                true => Ok(()),
                false => Err(Error::new(ErrorKind::Signature, "not a good block")),
            }
        })
    });
    first.wait_for_members(1, PATIENCE).unwrap();
    second.wait_for_members(1, PATIENCE).unwrap();
    for peer in [&first, &second] {
        peer.join_channel(CHANNEL, everybody(&[])).unwrap();
    }
    eventually("the channel stands", || channel_peers(&first) == 1 && channel_peers(&second) == 1);
    let inbox = second.subscribe(|_| true);
    let unread = second.subscribe_with(SubscriptionOptions::default().capacity(1), |_| true);
    first.gossip(message::data(0, CHANNEL, 1, "good")).unwrap();
    first.gossip(message::data(0, CHANNEL, 2, "bad")).unwrap();
    // Membership goes on meanwhile, and everything else with it.
    first.update_metadata("meanwhile");
    eventually("membership goes on", || second.lookup(&id("node0")).is_some_and(|m| m.metadata == "meanwhile"));
    assert!(inbox.is_empty());
    slow.store(false, Ordering::SeqCst);
    assert_eq!(seq(&inbox.recv_timeout(PATIENCE).unwrap()), 1);
    // Refused messages never arrive, and a subscription without a reader misses messages for which it has no room.
    for n in [3, 4] {
        first.gossip(message::data(1, CHANNEL, n, "bad")).unwrap();
    }
    first.update_metadata("later");
    eventually("membership goes on", || second.lookup(&id("node0")).is_some_and(|m| m.metadata == "later"));
    assert!(inbox.is_empty());
    assert_eq!(unread.len(), 1);
}

fn is_first(block: &fabric_gossip::SignedMessage) -> bool {
    matches!(block.content(), Some(Content::DataMsg(data)) if data.payload.seq_num == 1)
}

fn weakness_9_33_a_node_stops_at_once_from_anywhere_and_twice(net: &impl Form) {
    let peers = network(net, 2);
    let blocks: Subscription<Gossiped> = peers[1].subscribe(|_| true);
    let notices = peers[1].notices();
    // From inside a predicate, on the node's own thread.
    let node = peers[1].node.clone();
    let _in_predicate = peers[1].comm().accept(move |_| {
        node.stop();
        false
    });
    peers[0].send(&data(1), &[fabric_gossip::RemotePeer::with_id(&peers[1].endpoint, id("node1"))]).unwrap();
    assert!(blocks.recv().is_err(), "subscriptions end");
    while notices.recv().is_ok() {}
    peers[1].stop();
    peers[1].stop();
    assert_eq!(peers[1].gossip(message::data(0, CHANNEL, 1, "")).unwrap_err().kind(), ErrorKind::Stopped);
    assert_eq!(peers[1].connect("h:1", SeedRole::Any).unwrap_err().kind(), ErrorKind::Stopped);
}

fn a_channel_without_our_organisation_is_not_joined(net: &impl Form) {
    let node = start(net, "node0", &[]);
    for (given, listed) in [(orgs([("Everybody", &[])]), "[Everybody]"), (ChannelOrgs::default(), "[]")] {
        let error = node.join_channel(CHANNEL, given).unwrap_err();
        let expected =
            format!("our organisation everybody is not among the organisations of channel {CHANNEL}: {listed}");
        assert_eq!((error.kind(), error.message()), (ErrorKind::Config, &*expected));
    }
    assert_eq!(node.channel_peers(CHANNEL.as_bytes()), None);
    let error = node.join_channel("", everybody(&[])).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Config, "the name of the channel is empty"));
    // The organisations of a joined channel stay as they were.
    node.join_channel(CHANNEL, everybody(&[])).unwrap();
    node.join_channel(CHANNEL, ChannelOrgs::default()).unwrap_err();
    node.update_ledger_height(CHANNEL.as_bytes(), 1).unwrap();
}

fn every_call_that_can_fail_says_that_the_node_is_stopped(net: &impl Form) {
    let peers = network(net, 2);
    join_all(&peers);
    let (node, channel) = (&peers[1], CHANNEL.as_bytes());
    node.stop();
    let criteria = SendCriteria { timeout: PATIENCE, min_ack: 1, max_peers: 1, channel: None };
    let errors = [
        node.join_channel(CHANNEL, everybody(&[])).unwrap_err(),
        node.leave_channel(channel).unwrap_err(),
        node.update_ledger_height(channel, 1).unwrap_err(),
        node.update_chaincodes(channel, Vec::new()).unwrap_err(),
        node.update_endpoint("host:1").unwrap_err(),
        node.connect("host:1", SeedRole::Any).unwrap_err(),
        node.gossip(message::data(0, CHANNEL, 1, "")).unwrap_err(),
        node.send_by_criteria(message::data(0, CHANNEL, 1, ""), &criteria, |_| true).unwrap_err(),
        node.wait_for_members(1, PATIENCE).unwrap_err(),
    ];
    for error in errors {
        assert_eq!((error.kind(), error.message()), (ErrorKind::Stopped, "the node is stopped"));
    }
    let peer = fabric_gossip::RemotePeer::new("host:1");
    let probe = node.comm().probe(&peer).unwrap_err();
    let handshake = node.comm().handshake(&peer).unwrap_err();
    let texts = [probe.to_string(), handshake.to_string()];
    assert_eq!(texts, ["host:1: probe: comm is stopping", "host:1: handshake: comm is stopping"]);
}

fn weakness_8_many_identities_that_go_at_once_stall_nothing(net: &impl Form) {
    let peers = network(net, 4);
    let unread = peers[0].notices();
    let others: Vec<String> = (0..200).map(|n| format!("other{n}")).collect();
    for other in &others {
        peers[0].comm().identity_mapper().put(&id(other), &identity(other)).unwrap();
        net.world().revoke(other);
    }
    net.world().revoke("node3");
    // Several threads read at the same time, while the membership asks the mapper for the disclosure policy.
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| peers[0].suspect_peers(|_| true));
            scope.spawn(|| peers[0].initiate_sync(3));
        }
    });
    assert!(peers[0].identity_info().len() <= 3);
    eventually("the revoked one is gone", || alive(&peers[0]) == names(["node1", "node2"]));
    // Notices follow the change that they report: it may be seen before they are there.
    eventually("the notice waits for a reader", || !unread.is_empty());
    assert_eq!(unread.missed(), 0);
    peers[0].update_metadata("still here");
    eventually("it is still heard", || peers[1].lookup(&id("node0")).is_some_and(|it| it.metadata == "still here"));
}

fn weakness_23_a_seed_is_dialled_once(net: &impl Form) {
    let seed = RawServer::new(net, "seed");
    let node = start_at(net, "node", None, |builder| builder.bootstrap([&*seed.endpoint]));
    let stream = seed.welcome();
    let request = stream.recv();
    assert!(
        matches!(request.message().content, Some(Content::MemReq(_))) && request.nonce() != 0,
        "on the stream that showed who is there: {request}"
    );
    assert!(seed.is_idle());
    node.stop();
}
