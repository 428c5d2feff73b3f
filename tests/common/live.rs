//! Whole nodes with their threads, as tests start them over any form of network.

use super::{eventually, id, identity, ms, Form, PATIENCE};
use fabric_gossip::crypto::OrgId;
use fabric_gossip::message::Content;
use fabric_gossip::node::{AnchorPeer, ChannelOrgs, Gossiped, NodeBuilder, NodeConfig};
use fabric_gossip::Node as Gossip;
use std::collections::{BTreeMap, BTreeSet};

pub const CHANNEL: &str = "mychannel";

/// Heartbeats often enough for a test, and deaths by silence so late that only a failing one sees them.
pub fn config() -> NodeConfig {
    let mut config = NodeConfig::default();
    config.discovery.alive_time_interval = ms(100);
    config.discovery.alive_expiration_timeout = PATIENCE;
    config.discovery.reconnect_interval = ms(200);
    config.channel.publish_state_info_interval = ms(100);
    config.channel.request_state_info_interval = ms(100);
    config.pull_interval = ms(200);
    config.pull.digest_wait = ms(50);
    config.pull.request_wait = ms(500);
    config.pull.response_wait = ms(500);
    config
}

/// A node of a test, and where it is.
pub struct Peer {
    pub node: Gossip,
    pub endpoint: String,
}

impl std::ops::Deref for Peer {
    type Target = Gossip;

    fn deref(&self) -> &Gossip {
        &self.node
    }
}

pub fn builder(net: &impl Form, name: &str) -> NodeBuilder {
    Gossip::builder(identity(name), net.world().crypto(name), std::sync::Arc::new(net.world().clone())).config(config())
}

pub fn start_at(net: &impl Form, name: &str, at: Option<&str>, set: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Peer {
    let (node, endpoint) = net.start_node(name, at, set(builder(net, name)));
    Peer { node, endpoint }
}

pub fn start(net: &impl Form, name: &str, bootstrap: &[&Peer]) -> Peer {
    start_at(net, name, None, |builder| builder.bootstrap(bootstrap.iter().map(|peer| &*peer.endpoint)))
}

/// Starts `count` nodes, which all bootstrap from the first, and returns them when all know all.
pub fn network(net: &impl Form, count: usize) -> Vec<Peer> {
    let mut peers = vec![start(net, "node0", &[])];
    for n in 1..count {
        let peer = start(net, &format!("node{n}"), &[&peers[0]]);
        peers.push(peer);
    }
    for peer in &peers {
        peer.wait_for_members(count - 1, PATIENCE).unwrap();
    }
    peers
}

pub fn alive(node: &Gossip) -> BTreeSet<String> {
    node.peers().iter().map(|member| String::from_utf8_lossy(member.pki_id.as_bytes()).into_owned()).collect()
}

pub fn everybody(anchors: &[&str]) -> ChannelOrgs {
    orgs([("everybody", anchors)])
}

pub fn orgs<'a, const N: usize>(orgs: [(&str, &'a [&'a str]); N]) -> ChannelOrgs {
    let anchor = |endpoint: &&str| {
        let (host, port) = endpoint.rsplit_once(':').unwrap();
        AnchorPeer { host: host.into(), port: port.parse().unwrap() }
    };
    ChannelOrgs(BTreeMap::from(orgs.map(|(org, anchors)| (OrgId::new(org), anchors.iter().map(anchor).collect()))))
}

pub fn seq(gossiped: &Gossiped) -> u64 {
    match gossiped.message.content() {
        Some(Content::DataMsg(data)) => data.payload.seq_num,
        other => panic!("not a block: {other:?}"),
    }
}

pub fn channel_peers(node: &Gossip) -> usize {
    node.channel_peers(CHANNEL.as_bytes()).map_or(0, |peers| peers.len())
}

pub fn join_all(peers: &[Peer]) {
    for peer in peers {
        peer.join_channel(CHANNEL, everybody(&[])).unwrap();
    }
    for peer in peers {
        eventually("all are in the channel", || channel_peers(peer) == peers.len() - 1);
    }
}
