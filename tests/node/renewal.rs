//! Peers whose certificates are renewed, or run out, with organisations as Fabric has them.

use crate::common::live::*;
use crate::common::*;
use fabric_gossip::crypto::PkiId;
use fabric_gossip::internals::discovery::Change;
use fabric_gossip::node::Notice;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::{Node as Gossip, Subscription};
use std::time::{Duration, SystemTime};

for_each_transport!(
    a_certificate_that_is_renewed_in_time_is_known_at_once_and_the_old_pki_id_is_gone,
    a_certificate_that_ran_out_is_gone_at_that_moment_and_its_successor_known_at_once,
    the_end_of_our_own_certificate_is_told_ahead,
);

/// A peer of the organisation with a new certificate, that ends at this time.
fn start_until(net: &impl Form, org: &Org, name: &str, until: SystemTime, at: Option<&str>, seed: &[&Peer]) -> Peer {
    let member = org.member(name).valid(SystemTime::now() - Duration::from_secs(60), until).issue().unwrap();
    let service = org.crypto_service(&member, &[]).unwrap();
    let builder = Gossip::builder(member.identity(), service.clone(), service).config(config());
    let builder = builder.bootstrap(seed.iter().map(|peer| &*peer.endpoint));
    let (node, endpoint) = net.start_node(name, at, builder);
    Peer { node, endpoint }
}

fn years() -> SystemTime {
    SystemTime::now() + Duration::from_secs(365 * 24 * 3600)
}

fn pki_id(peer: &Peer) -> PkiId {
    peer.comm().pki_id().clone()
}

fn knows(peer: &Peer, other: &PkiId) -> bool {
    peer.peers().iter().any(|member| member.pki_id == *other)
}

/// Three peers that know one another; the last has a certificate that ends then.
fn three(net: &impl Form, org: &Org, until: SystemTime) -> [Peer; 3] {
    let first = start_until(net, org, "node0", years(), None, &[]);
    let second = start_until(net, org, "node1", years(), None, &[&first]);
    let third = start_until(net, org, "node2", until, None, &[&first]);
    let peers = [first, second, third];
    peers.iter().for_each(|peer| peer.wait_for_members(2, PATIENCE).unwrap());
    peers
}

/// The last one comes back with another certificate: it is known, and the one that it was is not, by name or in any list.
fn renew(net: &impl Form, org: &Org, [first, second, third]: [Peer; 3]) {
    let old = pki_id(&third);
    third.stop();
    net.leave(&third.endpoint);
    let renewed = start_until(net, org, "node2", years(), Some(&third.endpoint), &[&first]);
    let new = pki_id(&renewed);
    assert_ne!(old, new);
    renewed.wait_for_members(2, PATIENCE).unwrap();
    for peer in [&first, &second] {
        eventually("the new one is known", || knows(peer, &new));
        eventually("the old one is gone", || {
            let dead = peer.dead().iter().any(|member| member.pki_id == old);
            peer.lookup(&old).is_none() && !knows(peer, &old) && !dead
        });
        eventually("nobody else came or went", || peer.peers().len() == 2);
    }
    eventually("it does not know itself by the old name", || {
        renewed.lookup(&old).is_none() && renewed.peers().len() == 2
    });
}

fn a_certificate_that_is_renewed_in_time_is_known_at_once_and_the_old_pki_id_is_gone(net: &impl Form) {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    let peers = three(net, &org, years());
    let (old, notices) = (pki_id(&peers[2]), peers[0].notices());
    renew(net, &org, peers);
    let switched = |notice| matches!(notice, Notice::IdentitySwitched { old: it, .. } if it == old);
    assert!(notices.iter().any(switched));
}

fn a_certificate_that_ran_out_is_gone_at_that_moment_and_its_successor_known_at_once(net: &impl Form) {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    let peers = three(net, &org, SystemTime::now() + Duration::from_secs(4));
    let (old, notices) = (pki_id(&peers[2]), peers[0].notices());
    await_notice(&notices, |notice| match notice {
        Notice::Membership(Change::Forgotten(member)) => member.pki_id == old,
        _ => false,
    });
    for peer in &peers[..2] {
        eventually("it is gone", || !knows(peer, &old) && peer.lookup(&old).is_none());
        assert!(peer.identity_info().iter().all(|it| it.pki_id != old));
        assert_eq!(peer.metrics().gossip_identities_offered, 2);
    }
    renew(net, &org, peers);
}

fn the_end_of_our_own_certificate_is_told_ahead(net: &impl Form) {
    let org = Org::new("Org1MSP", "org1.example.com").unwrap();
    let hours = |hours: u64| SystemTime::now() + Duration::from_secs(3600 * hours);
    let soon = org.member("soon").valid(hours(0) - Duration::from_secs(60), hours(20)).issue().unwrap();
    let service = org.crypto_service(&soon, &[]).unwrap();
    let builder = Gossip::builder(soon.identity(), service.clone(), service).config(config());
    let notices = builder.notices();
    let (node, _) = net.start_node("soon", None, builder);
    let mut told = None;
    await_notice(&notices, |notice| {
        if let Notice::IdentityExpires { remaining } = notice {
            told = Some(*remaining);
        }
        told.is_some()
    });
    let told = told.unwrap().as_secs();
    assert!((19 * 3600..=20 * 3600).contains(&told), "{told} s");
    let gauge = node.metrics().comm.gossip_comm_identity_expires_in.unwrap();
    assert!((19 * 3600..=20 * 3600).contains(&gauge), "{gauge} s");
    assert!(node.metrics().to_prometheus().contains("\ngossip_comm_identity_expires_in_seconds "));
}

fn await_notice(notices: &Subscription<Notice>, mut is_it: impl FnMut(&Notice) -> bool) {
    while !is_it(&notices.recv_timeout(PATIENCE).unwrap()) {}
}
