//! Accepted and refused peers, the reasons given, and the findings of a handshake or a probe: rows C1–C13, C17,
//! C22–C26, C47 and C49.

use crate::common::*;
use fabric_gossip::comm::{Comm, Event, RemotePeer};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::CryptoService;
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{self, SignedMessage};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Status, StreamEnd};
use fabric_gossip::ErrorKind;
use std::time::Instant;

for_each_transport!(
    c1_without_tls_a_peer_authenticates_with_its_signature_alone,
    c2_with_mutual_tls_both_sides_bind_their_identity_to_their_certificate,
    c3_without_a_client_certificate_nobody_gets_in,
    c4_a_signature_with_a_byte_appended_is_refused,
    c4_with_an_msp_a_signature_with_a_byte_appended_is_accepted_as_in_fabric,
    c5_a_pki_id_that_is_not_the_identitys_is_refused,
    c6_a_certificate_hash_with_a_byte_appended_is_refused,
    c7_a_missing_pki_id_is_refused,
    c8_another_message_first_is_refused,
    c9_a_connection_message_that_comes_too_late_is_refused,
    c10_each_side_sees_the_others_certificate,
    c11_another_peer_of_the_same_organisation_is_accepted_and_told_as_identity_switch,
    c12_a_peer_of_another_organisation_than_expected_gets_nothing,
    c13_a_message_says_who_sent_it_and_keeps_its_envelope,
    c17_probe_gives_up_on_a_silent_ping,
    c22_probe_and_handshake_find_a_live_peer,
    c23_probe_and_handshake_fail_where_nobody_speaks,
    c24_probe_and_handshake_fail_once_the_peer_stopped_and_find_its_replacement,
    c25_a_handshake_that_expects_another_peer_fails,
    c26_a_handshake_without_a_pki_id_tells_who_is_there,
    c47_a_probing_handshake_leaves_identities_and_no_connection,
    c49_a_refused_port_fails_at_once,
    a_malformed_first_message_is_refused,
    the_pki_id_of_a_connection_does_not_keep_its_connection_message,
    a_revoked_identity_is_refused_in_the_cryptos_own_words,
    the_same_faults_of_an_acceptor_fail_the_dial,
    a_handshake_tells_that_we_were_refused,
    a_handshake_with_a_peer_that_keeps_the_stream_open_is_not_confirmed,
);

fn c1_without_tls_a_peer_authenticates_with_its_signature_alone(net: &impl Form) {
    let node = net.node_as("server", Security::Plain, |_| {});
    let inbox = node.inbox();
    let raw = Raw::dial_as(net, "client", Security::Plain, &node.endpoint);
    raw.hello();
    let conn = raw.recv();
    assert_eq!((&*conn_of(&conn).pki_id, &*conn_of(&conn).identity), (&b"server"[..], &b"server"[..]));
    assert!(conn_of(&conn).tls_cert_hash.is_empty(), "there is no certificate");
    raw.send(&data(1));
    let received = next(&inbox);
    let info = received.connection_info();
    assert_eq!((&info.id, &info.identity), (&id("client"), &identity("client")));
    assert_eq!(info.auth.signature, signature(b"client", &info.auth.signed_data));
}

fn the_pki_id_of_a_connection_does_not_keep_its_connection_message(net: &impl Form) {
    let node = net.node("server");
    let inbox = node.inbox();
    let raw = Raw::dial(net, "client", &node.endpoint);
    raw.hello();
    raw.send(&data(1));
    let received = next(&inbox);
    let info = received.connection_info();
    let message = info.auth.signed_data.as_ptr_range();
    assert!(
        !message.contains(&info.id.as_bytes().as_ptr()),
        "counters by peer keep PKI-IDs for the life of the process"
    );
}

fn c2_with_mutual_tls_both_sides_bind_their_identity_to_their_certificate(net: &impl Form) {
    let node = net.node("server");
    let inbox = node.inbox();
    let raw = Raw::dial(net, "client", &node.endpoint);
    raw.hello();
    let hello = raw.recv();
    assert_eq!(&*conn_of(&hello).pki_id, b"server");
    assert_eq!(conn_of(&hello).tls_cert_hash, hash_of(raw.stream.info().remote_cert.as_ref()));
    assert_eq!(hello.envelope().signature, signature(b"server", &hello.envelope().payload));
    raw.send(&data(1));
    assert_eq!(next_nonce(&inbox), 1);
}

fn c3_without_a_client_certificate_nobody_gets_in(net: &impl Form) {
    let node = net.node("server");
    let (events, inbox) = (node.events(), node.inbox());
    let hello = wire::conn(&id("intruder"), &identity("intruder"), hash_of(None), false);
    let hello = SignedMessage::sign(hello, |bytes| Ok(signature(b"intruder", bytes))).unwrap();
    let _stream = net.intrude(&node.endpoint, &hello);
    assert_eq!(await_refused(&events).0.message(), "no TLS certificate");
    assert_eq!(node.connection_count(), 0);
    assert_nothing(&inbox);
}

/// A stream that begins like this is refused, with the same text to us and to its dialler, and delivers nothing.
fn refused(net: &impl Form, begin: impl Fn(&Raw)) -> String {
    let node = net.node("server");
    let (events, inbox) = (node.events(), node.inbox());
    let raw = Raw::dial(net, "client", &node.endpoint);
    begin(&raw);
    // It may be over already.
    let _ = raw.stream.send(data(1).wire());
    let (error, inbound) = await_refused(&events);
    assert!(inbound);
    let (seen, end) = raw.read_to_end();
    assert_eq!(end, StreamEnd::Remote(Status::unknown(error.message())));
    assert_eq!(seen.len(), 1, "the node's own connection message was sent all the same");
    assert_eq!(node.connection_count(), 0);
    assert_nothing(&inbox);
    assert_eq!(node.metrics().gossip_comm_handshake_failures, 1);
    error.message().to_owned()
}

fn c4_a_signature_with_a_byte_appended_is_refused(net: &impl Form) {
    let text = refused(net, |raw| {
        raw.hello_signed(|mut signature| {
            signature.push(0);
            signature
        });
    });
    assert_eq!(text, "wrong signature");
}

fn c4_with_an_msp_a_signature_with_a_byte_appended_is_accepted_as_in_fabric(net: &impl Form) {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    let members = ["peer0", "peer1"].map(|name| org.peer(name).unwrap());
    let [ours, theirs] = members.each_ref().map(|member| org.crypto_service(member, &[]).unwrap());
    let mut config = CommConfig::default();
    config.conn_timeout = LIMIT;
    let builder = Comm::builder(members[0].identity(), ours.clone(), ours).config(config);
    let (comm, endpoint) = net.start("server", Security::Mutual, builder);
    let (events, inbox) = (comm.events(), comm.subscribe(|_| true));

    let connect = |spoil: fn(&mut Vec<u8>)| {
        let raw = Raw::dial(net, "client", &endpoint);
        let identity = members[1].identity();
        let hash = hash_of(raw.stream.info().local_cert.as_ref());
        let hello = wire::conn(&theirs.pki_id(&identity).unwrap(), &identity, hash, false);
        let hello = SignedMessage::sign(hello, |bytes| {
            let mut signature = theirs.sign(bytes)?;
            spoil(&mut signature);
            Ok(signature)
        });
        raw.send(&hello.unwrap());
        raw
    };
    let raw = connect(|signature| signature.push(0));
    raw.send(&data(1));
    assert_eq!(next_nonce(&inbox), 1);
    let spoilt = connect(|signature| signature[20] ^= 1);
    let (error, inbound) = await_refused(&events);
    assert_eq!((error.kind(), inbound), (ErrorKind::Signature, true));
    assert_eq!(spoilt.refusal(), error.message());
}

fn c5_a_pki_id_that_is_not_the_identitys_is_refused(net: &impl Form) {
    let text = refused(net, |raw| raw.hello_with(|conn| conn.pki_id = "somebody else".into()));
    assert_eq!(text, "identity doesn't match the computed pkiID");
}

fn c6_a_certificate_hash_with_a_byte_appended_is_refused(net: &impl Form) {
    let text = refused(net, |raw| {
        raw.hello_with(|conn| conn.tls_cert_hash = [&conn.tls_cert_hash[..], b"\0"].concat().into());
    });
    assert!(text.starts_with("Expected [") && text.ends_with(" 0]"), "{text}");
    assert!(text.contains("] in remote hash of TLS cert, but got ["), "{text}");
}

fn c7_a_missing_pki_id_is_refused(net: &impl Form) {
    assert_eq!(refused(net, |raw| raw.hello_with(|conn| conn.pki_id.clear())), "no PKI-ID");
}

fn c8_another_message_first_is_refused(net: &impl Form) {
    let empty = SignedMessage::sign(message::empty(0), |bytes| Ok(signature(b"client", bytes))).unwrap();
    assert_eq!(refused(net, |raw| raw.send(&empty)), "wrong type");
}

fn c9_a_connection_message_that_comes_too_late_is_refused(net: &impl Form) {
    let node = net.node_with("server", |config| config.conn_timeout = ms(100));
    let (events, inbox) = (node.events(), node.inbox());
    let raw = Raw::dial(net, "client", &node.endpoint);
    let (error, _) = await_refused(&events);
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().starts_with("timed out waiting for connection message from "), "{error}");
    let _ = raw.stream.send(data(1).wire());
    assert_eq!(raw.refusal(), error.message());
    assert_nothing(&inbox);
}

fn c10_each_side_sees_the_others_certificate(net: &impl Form) {
    let server = RawServer::new(net, "server");
    let dialled = Raw::dial(net, "client", &server.endpoint);
    let accepted = server.accept();
    let (ours, theirs) = (dialled.stream.info(), accepted.stream.info());
    assert!(ours.tls && theirs.tls && ours.local_cert.is_some() && theirs.local_cert.is_some());
    assert_eq!((&ours.local_cert, &ours.remote_cert), (&theirs.remote_cert, &theirs.local_cert));
    assert_ne!(ours.local_cert, ours.remote_cert);

    // And a Comm says which one it presented, in both roles.
    let node = net.node("node");
    let raw = Raw::dial(net, "client", &node.endpoint);
    raw.hello();
    assert_eq!(conn_of(&raw.recv()).tls_cert_hash, hash_of(raw.stream.info().remote_cert.as_ref()));
    node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
    let accepted = server.accept();
    let hash = conn_of(&accepted.recv()).tls_cert_hash.clone();
    assert_eq!((hash.len(), &hash), (32, &hash_of(accepted.stream.info().remote_cert.as_ref())));
}

fn c11_another_peer_of_the_same_organisation_is_accepted_and_told_as_identity_switch(net: &impl Form) {
    let [node, second] = ["first", "second"].map(|name| net.node(name));
    node.identity_mapper().put(&id("fourth"), &identity("fourth")).unwrap();
    let (inbox, events, switches) = (second.inbox(), node.events(), node.identity_switch());
    node.send(&data(1), &[RemotePeer::with_id(&second.endpoint, id("fourth"))]).unwrap();
    assert_eq!(next_nonce(&inbox), 1);
    assert_eq!(next(&switches), id("fourth"));
    let switch = await_event(&events, |e| match e {
        Event::IdentitySwitch { expected, actual } => Some((expected.clone(), actual.clone())),
        _ => None,
    });
    assert_eq!(switch, (id("fourth"), id("second")));
    assert_eq!(node.connections()[0].id, id("second"));
    // Under either name it is one connection.
    node.send(&data(2), &[second.peer()]).unwrap();
    node.send(&data(3), &[RemotePeer::with_id(&second.endpoint, id("fourth"))]).unwrap();
    assert_eq!(next_nonces(&inbox, 2), [2, 3]);
    assert_eq!((node.connection_count(), second.connection_count()), (1, 1));
}

fn c12_a_peer_of_another_organisation_than_expected_gets_nothing(net: &impl Form) {
    let [node, third] = ["first", "third"].map(|name| net.node(name));
    net.world().set_org("third", "elsewhere");
    node.identity_mapper().put(&id("fourth"), &identity("fourth")).unwrap();
    let (inbox, events, dead) = (third.inbox(), node.events(), node.presumed_dead());
    let expected = RemotePeer::with_id(&third.endpoint, id("fourth"));
    node.send(&data(1), from_ref(&expected)).unwrap();
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.message(), &*nonces), ("authentication failure", &[1][..]));
    let failed = await_event(&events, |e| match e {
        Event::DialFailed { peer, error } => Some((peer.clone(), error.clone())),
        _ => None,
    });
    assert_eq!((failed.0, failed.1.kind(), failed.1.step()), (expected, ErrorKind::Refused, Some("handshake")));
    assert_eq!(next(&dead), id("fourth"));
    assert_eq!(node.connection_count(), 0);
    eventually("the other side has forgotten it", || third.connection_count() == 0);
    assert_nothing(&inbox);
}

fn c13_a_message_says_who_sent_it_and_keeps_its_envelope(net: &impl Form) {
    let [sender, receiver] = ["sender", "receiver"].map(|name| net.node(name));
    let inbox = receiver.inbox();
    let sent = SignedMessage::sign(data(5).message().clone(), |bytes| Ok(signature(b"author", bytes))).unwrap();
    sender.send(&sent, &[receiver.peer()]).unwrap();
    let received = next(&inbox);
    assert_eq!(received.connection_info().id, sender.id());
    assert_eq!(received.message().envelope(), sent.envelope());
    assert_eq!(received.message().wire(), sent.wire());
}

fn c17_probe_gives_up_on_a_silent_ping(net: &impl Form) {
    let node = net.node_with("node", |config| config.conn_timeout = ms(200));
    let silent = net.serve_without_ping();
    let start = Instant::now();
    let error = node.probe(&RemotePeer::new(&silent.endpoint)).unwrap_err();
    assert_eq!((error.kind(), error.step()), (ErrorKind::Timeout, Some("ping")));
    assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
}

fn c22_probe_and_handshake_find_a_live_peer(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    node.probe(&other.peer()).unwrap();
    node.probe(&RemotePeer::with_id(&other.endpoint, id("whoever"))).expect("a probe does not look at the PKI-ID");
    let found = node.handshake(&other.peer()).unwrap();
    assert_eq!(found.info.id, other.id());
    assert!(found.confirmed);
}

fn c23_probe_and_handshake_fail_where_nobody_speaks(net: &impl Form) {
    let node = net.node_with("node", |config| {
        config.dial_timeout = ms(300);
        config.conn_timeout = ms(300);
    });
    let mute = net.mute();
    let peer = RemotePeer::new(&mute.endpoint);
    for error in [node.probe(&peer).unwrap_err(), node.handshake(&peer).unwrap_err()] {
        assert!(matches!(error.kind(), ErrorKind::Unreachable | ErrorKind::Timeout), "{error:?}");
    }
}

fn c24_probe_and_handshake_fail_once_the_peer_stopped_and_find_its_replacement(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    other.leave(net);
    for error in [node.probe(&other.peer()).unwrap_err(), node.handshake(&other.peer()).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Unreachable, "{error:?}");
    }
    let replacement = net.node("other");
    node.probe(&replacement.peer()).unwrap();
    node.handshake(&replacement.peer()).unwrap();
}

fn c25_a_handshake_that_expects_another_peer_fails(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let error = node.handshake(&RemotePeer::with_id(&other.endpoint, id("another"))).unwrap_err();
    assert_eq!(error.message(), "PKI-ID of remote peer doesn't match expected PKI-ID");
    assert_eq!(error.kind(), ErrorKind::Identity);
}

fn c26_a_handshake_without_a_pki_id_tells_who_is_there(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    assert_eq!(node.handshake(&other.address()).unwrap().info.identity, identity("other"));
    let empty = RemotePeer::with_id(&other.endpoint, id(""));
    assert_eq!(node.handshake(&empty).expect("an empty PKI-ID is none").info.id, other.id());
}

fn c47_a_probing_handshake_leaves_identities_and_no_connection(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    let events = [node.events(), other.events()];
    node.handshake(&other.peer()).unwrap();
    assert_eq!(node.identity_mapper().get(&other.id()).unwrap(), identity("other"));
    assert_eq!(other.identity_mapper().get(&node.id()).unwrap(), identity("node"));

    let raw = Raw::dial(net, "client", &other.endpoint);
    raw.hello_with(|conn| conn.probe = true);
    assert!(!conn_of(&raw.recv()).probe);
    assert_eq!(raw.end(), StreamEnd::Remote(Status::ok()));
    assert!(other.identity_mapper().get(&id("client")).is_ok());
    assert_eq!((node.connection_count(), other.connection_count()), (0, 0));
    events.iter().for_each(assert_nothing);
}

fn c49_a_refused_port_fails_at_once(net: &impl Form) {
    let node = net.node("node");
    let (events, refused) = (node.events(), net.refused());
    let start = Instant::now();
    node.send(&data(1), &[RemotePeer::with_id(&refused.endpoint, id("gone"))]).unwrap();
    let (error, nonces) = await_undelivered(&events);
    assert_eq!((error.kind(), error.step(), &*nonces), (ErrorKind::Unreachable, Some("dial"), &[1][..]));
    assert!(start.elapsed() < LIMIT / 4, "{:?}", start.elapsed());
    let peer = RemotePeer::new(&refused.endpoint);
    assert_eq!(node.probe(&peer).unwrap_err().kind(), ErrorKind::Unreachable);
    assert_eq!(node.handshake(&peer).unwrap_err().kind(), ErrorKind::Unreachable);
    assert!(start.elapsed() < LIMIT / 2, "{:?}", start.elapsed());
}

fn a_malformed_first_message_is_refused(net: &impl Form) {
    let malformed = |bytes: &'static [u8]| refused(net, |raw| raw.stream.send(bytes.into()).unwrap());
    // An envelope whose payload is one byte that begins nothing, and no envelope at all.
    assert!(malformed(b"\x0a\x01\x01").starts_with("Failed unmarshalling GossipMessage from envelope: "));
    malformed(b"\xff");
}

fn a_revoked_identity_is_refused_in_the_cryptos_own_words(net: &impl Form) {
    net.world().revoke("client");
    assert_eq!(refused(net, Raw::hello), "revoked");
}

fn the_same_faults_of_an_acceptor_fail_the_dial(net: &impl Form) {
    type Fault = (&'static str, fn(&Raw));
    let faults: [Fault; 5] = [
        ("wrong signature", |raw| raw.hello_signed(|signature| [&*signature, b"\0"].concat())),
        ("identity doesn't match the computed pkiID", |raw| raw.hello_with(|conn| conn.pki_id = "other".into())),
        ("Expected [", |raw| raw.hello_with(|conn| conn.tls_cert_hash.clear())),
        ("no PKI-ID", |raw| raw.hello_with(|conn| conn.pki_id.clear())),
        ("wrong type", |raw| raw.send(&data(0))),
    ];
    for (text, fault) in faults {
        let (node, server) = (net.node("node"), RawServer::new(net, "server"));
        let events = node.events();
        node.send(&data(1), &[RemotePeer::new(&server.endpoint)]).unwrap();
        let accepted = server.accept();
        conn_of(&accepted.recv());
        fault(&accepted);
        let (error, nonces) = await_undelivered(&events);
        assert!(error.message().starts_with(text), "{error}");
        assert_eq!((error.step(), &*nonces), (Some("handshake"), &[1][..]));
        let (messages, end) = accepted.read_to_end();
        assert!(messages.is_empty(), "nothing but its connection message was sent");
        assert!(matches!(end, StreamEnd::Lost(_)), "{end:?}");
    }
}

fn a_handshake_tells_that_we_were_refused(net: &impl Form) {
    let [node, other] = ["node", "other"].map(|name| net.node(name));
    other.identity_mapper().suspect_peers(|_| false);
    net.world().revoke("node");
    let error = node.handshake(&other.peer()).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Refused, "revoked"));
}

fn a_handshake_with_a_peer_that_keeps_the_stream_open_is_not_confirmed(net: &impl Form) {
    let node = net.node_with("node", |config| config.conn_timeout = ms(300));
    let server = RawServer::new(net, "server");
    std::thread::scope(|scope| {
        let handshake = scope.spawn(|| node.handshake(&RemotePeer::new(&server.endpoint)).unwrap());
        let accepted = server.accept();
        accepted.hello();
        assert!(conn_of(&accepted.recv()).probe);
        let found = handshake.join().unwrap();
        assert_eq!((found.info.id, found.confirmed), (id("server"), false));
        drop(accepted);
    });
}
