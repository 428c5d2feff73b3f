//! Connecting without a message to send.

use crate::common::*;
use fabric_gossip::comm::RemotePeer;
use fabric_gossip::ErrorKind;

for_each_transport!(
    connecting_says_who_is_there_and_what_is_sent_then_needs_no_second_dial,
    connecting_to_who_is_connected_says_so_at_once,
    connecting_to_nobody_fails_with_the_reason,
    connecting_to_a_peer_of_another_organisation_than_expected_fails,
    connecting_gives_up_at_its_limit_and_after_a_stop,
);

fn connecting_says_who_is_there_and_what_is_sent_then_needs_no_second_dial(net: &impl Form) {
    let (node, server) = (net.node("node"), RawServer::new(net, "peer"));
    let peer = RemotePeer::new(&server.endpoint);
    let _accepted = std::thread::scope(|s| {
        let connecting = s.spawn(|| node.connect(&peer, PATIENCE));
        let accepted = server.welcome();
        let connected = connecting.join().unwrap().unwrap();
        assert_eq!((connected.info.id, connected.confirmed), (id("peer"), true));
        node.send(&data(1), &[RemotePeer::with_id("", id("peer"))]).unwrap();
        assert_eq!(accepted.recv().nonce(), 1);
        accepted
    });
    assert!(server.is_idle(), "dialled once");
    assert_eq!(node.connection_count(), 1);
}

fn connecting_to_who_is_connected_says_so_at_once(net: &impl Form) {
    let node = net.node("node");
    let events = node.events();
    let client = Raw::connect(net, "client", &node.endpoint);
    await_connected(&events, "client");
    let connected = node.connect(&RemotePeer::with_id("", id("client")), PATIENCE).unwrap();
    assert_eq!((connected.info.id, connected.confirmed), (id("client"), true));
    drop(client);
}

fn connecting_to_nobody_fails_with_the_reason(net: &impl Form) {
    let node = net.node("node");
    let nobody = net.refused();
    let error = node.connect(&RemotePeer::new(&nobody.endpoint), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(error.to_string().contains(&nobody.endpoint), "{error}");
    let error = node.connect(&RemotePeer::new(""), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

fn connecting_to_a_peer_of_another_organisation_than_expected_fails(net: &impl Form) {
    let (node, third) = (net.node("node"), net.node("third"));
    net.world().set_org("third", "elsewhere");
    node.identity_mapper().put(&id("fourth"), &identity("fourth")).unwrap();
    let expected = RemotePeer::with_id(&third.endpoint, id("fourth"));
    let error = node.connect(&expected, PATIENCE).unwrap_err();
    assert_eq!(error.message(), "authentication failure");
    assert_eq!(node.connection_count(), 0);
}

fn connecting_gives_up_at_its_limit_and_after_a_stop(net: &impl Form) {
    let node = net.node("node");
    let mute = net.mute();
    let error = node.connect(&RemotePeer::new(&mute.endpoint), ms(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    node.stop();
    let error = node.connect(&RemotePeer::new(&mute.endpoint), PATIENCE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Stopped, "{error}");
}
