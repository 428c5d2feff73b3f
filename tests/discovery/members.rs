//! Members, sets of them, and ourselves.

use crate::net::{alive, endpoint, id, internal, is_authentic, row_config, self_info, Net, SEC};
use fabric_gossip::internals::discovery::{Discovery, NetworkMember, SelfInfo};
use fabric_gossip::message::{Content, SignedMessage};
use fabric_gossip::ErrorKind;
use std::time::Instant;

fn member(name: &str) -> NetworkMember {
    NetworkMember {
        endpoint: endpoint(name),
        internal_endpoint: internal(name),
        metadata: name.to_owned().into(),
        pki_id: id(name),
        envelope: Some(alive(name, 1, 1).envelope().clone()),
    }
}

#[test]
fn d1_a_clone_of_a_member_is_equal_and_its_own() {
    let original = member("a");
    let mut copy = original.clone();
    assert_eq!(copy, original);
    copy.endpoint = "elsewhere:1".into();
    copy.metadata = "other".into();
    assert_eq!(original, member("a"));
}

#[test]
fn d2_the_preferred_endpoint_is_the_internal_one_if_it_is_known() {
    let mut member = member("a");
    assert_eq!(member.preferred_endpoint(), internal("a"));
    member.internal_endpoint = String::new();
    assert_eq!(member.preferred_endpoint(), endpoint("a"));
}

#[test]
fn u6_the_last_record_of_a_member_counts_and_a_removed_one_is_gone() {
    let mut net = Net::new();
    let n = net.add("n", &row_config());
    for (name, sequence) in [("a", 1), ("b", 1), ("a", 2)] {
        net.receive(n, &alive(name, 5, sequence));
    }
    let discovery = &net.nodes[n].discovery;
    let held = discovery.member(&id("a")).unwrap();
    assert_eq!(held.envelope.as_ref(), Some(alive("a", 5, 2).envelope()), "the last one put");
    assert!(std::ptr::eq(held, discovery.member(&id("a")).unwrap()), "the object itself, not a copy");
    assert_eq!(net.sees(n), ["a", "b"]);
    net.handle(n, fabric_gossip::internals::discovery::Event::IdentitySwitch(id("a")));
    let discovery = &net.nodes[n].discovery;
    assert!(discovery.member(&id("a")).is_none() && discovery.lookup(&id("a")).is_none());
    assert_eq!((discovery.alive_count(), net.sees(n)), (1, vec!["b".into()]));
}

#[test]
fn d14_the_self_description_is_an_alive_message_with_our_endpoint_and_pki_id() {
    let mut net = Net::new();
    let n = net.add("n", &row_config());
    let own = net.nodes[n].discovery.self_member();
    assert_eq!((own.endpoint, own.pki_id, own.envelope), (endpoint("n"), id("n"), None));
    net.receive(n, &alive("a", 5, 1));
    net.run_for(SEC);
    let own = net.nodes[n].discovery.self_member();
    let message = SignedMessage::from_envelope(own.envelope).unwrap();
    assert!(is_authentic(&message));
    let Some(Content::AliveMsg(described)) = message.content() else { panic!("not alive") };
    assert_eq!((described.membership.endpoint.as_str(), &described.membership.pki_id[..]), ("n:7051", &b"n"[..]));
    assert_eq!(message.internal_endpoint(), internal("n"));
    assert_eq!(net.nodes[n].discovery.lookup(&id("n")).unwrap().endpoint, endpoint("n"), "we can look up ourselves");
}

#[test]
fn a_wrong_endpoint_of_our_own_is_an_error_that_names_it() {
    let make = |endpoint: &str, internal_endpoint: &str| {
        let info =
            SelfInfo { endpoint: endpoint.into(), internal_endpoint: internal_endpoint.into(), ..self_info("n") };
        Discovery::new(row_config(), info, 1, Instant::now())
    };
    for (outer, inner, named) in [
        ("", "", "''"),
        ("", "peer0", "'peer0'"),
        ("peer0:99999", "peer0:1", "'peer0:99999'"),
        ("", "a:b:1", "'a:b:1'"),
    ] {
        let e = make(outer, inner).expect_err("an error");
        assert_eq!(e.kind(), ErrorKind::Config);
        assert!(e.message().contains(named), "{e}");
    }
    let mut discovery = make("", "peer0:7051").unwrap();
    assert!(discovery.update_endpoint("nowhere").unwrap_err().message().contains("'nowhere'"));
    discovery.update_endpoint("peer0.example.com:7051").unwrap();
    assert_eq!(discovery.self_member().endpoint, "peer0.example.com:7051");
}
