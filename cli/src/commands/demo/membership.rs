//! The same peers as nodes: they find each other, and disclose members only to permitted peers.

use super::network::{Network, Peer};
use super::{Found, PATIENCE};
use crate::identity::Described;
use crate::values::{micros, short};
use fabric_gossip::clock::{Clock, SystemClock};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::OrgId;
use fabric_gossip::message;
use fabric_gossip::node::NetworkMember;
use fabric_gossip::node::{AnchorPeer, ChannelOrgs, NodeConfig};
use fabric_gossip::transport::Limits;
use fabric_gossip::Node;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const CHANNEL: &str = "demo";

/// Peers as nodes; the first of each organisation is the bootstrap peer of the others.
pub struct Nodes<'a> {
    network: &'a Network,
    nodes: Vec<Member<'a>>,
}

struct Member<'a> {
    peer: &'a Peer,
    node: Node,
}

impl<'a> Nodes<'a> {
    /// Returns the last member, which is to leave, and the other members of its organisation.
    fn of_the_last(&self) -> (&Member<'a>, Vec<&Member<'a>>) {
        let last = &self.nodes[self.nodes.len() - 1];
        let same = |member: &&Member| member.peer.me.mspid == last.peer.me.mspid && member.peer.name != last.peer.name;
        (last, self.nodes.iter().filter(same).collect())
    }

    /// Starts all nodes at the same time. Measures how long it takes until each knows all others of its organisation.
    pub fn form(network: &'a Network) -> (Result<Nodes<'a>, String>, Found) {
        match Self::try_form(network) {
            Ok((nodes, found)) => (Ok(nodes), Ok(found)),
            Err(why) => (Err(why.clone()), Err(why)),
        }
    }

    fn try_form(network: &'a Network) -> Result<(Nodes<'a>, (String, serde_json::Value)), String> {
        for peer in &network.peers {
            peer.comm().stop();
        }
        let begin = Instant::now();
        let mut nodes: Vec<Member<'a>> = Vec::new();
        for peer in &network.peers {
            let first =
                nodes.iter().find(|member| member.peer.me.mspid == peer.me.mspid).map(Member::internal_endpoint);
            let node = start(peer, "127.0.0.1:0", first)?;
            nodes.push(Member { peer, node });
        }
        for member in &nodes {
            let others = nodes.iter().filter(|m| m.peer.me.mspid == member.peer.me.mspid).count() - 1;
            member
                .node
                .wait_for_members(others, PATIENCE)
                .map_err(|e| format!("{} does not find its organisation: {e}", member.peer.name))?;
        }
        let took = begin.elapsed();
        let text = format!(
            "The same peers as nodes, each configured with at most one other: each knows its whole organisation within {}.",
            short(took)
        );
        Ok((Nodes { network, nodes }, (text, json!({"nodes": network.peers.len(), "elapsed_us": micros(took)}))))
    }

    /// Joins a channel of both organisations, which meet through the first peer of each, reachable from outside.
    pub fn meet(&self) -> Found {
        let begin = Instant::now();
        let [a, b] = [&self.nodes[0], &self.nodes[1]];
        let anchors: BTreeMap<OrgId, Vec<AnchorPeer>> = [a, b].map(Member::as_anchor).into();
        for anchor in [a, b] {
            anchor.node.update_endpoint(&anchor.internal_endpoint()).map_err(|e| e.to_string())?;
        }
        for member in &self.nodes {
            member.node.join_channel(CHANNEL, ChannelOrgs(anchors.clone())).map_err(|e| e.to_string())?;
        }
        for (one, other) in [(a, b), (b, a)] {
            let seen = one.await_member(other)?;
            if !seen.internal_endpoint.is_empty() {
                return Err(format!("{} learned the internal endpoint of {}", one.peer.name, other.peer.name));
            }
        }
        for member in &self.nodes[2..] {
            let foreign = |seen: &NetworkMember| {
                let identity = member.node.comm().identity_mapper().get(&seen.pki_id).ok();
                let org = identity.and_then(|identity| Described::new(&identity).mspid);
                org.is_some_and(|org| org != member.peer.me.mspid)
            };
            if member.node.peers().iter().any(foreign) {
                return Err(format!("{}, which has no external endpoint, sees another organisation", member.peer.name));
            }
        }
        let took = begin.elapsed();
        let text = format!(
            "They join a channel: {} and {}, its anchor peers, see each other's external endpoint and no internal one; \
             peers without an external endpoint stay unknown to the other organisation ({}).",
            a.peer.name,
            b.peer.name,
            short(took)
        );
        Ok((text, json!({"channel": CHANNEL, "elapsed_us": micros(took)})))
    }

    /// Gossips a block: every member of the author's organisation in the channel receives it once.
    pub fn spread(&self) -> Found {
        let (author, receivers) = self.of_the_last();
        let wait = Instant::now() + PATIENCE;
        while author.node.channel_peers(CHANNEL.as_bytes()).map_or(0, |peers| peers.len()) < receivers.len() {
            if Instant::now() > wait {
                return Err(format!("{} does not learn the members of the channel", author.peer.name));
            }
            let _ = SystemClock.after(Duration::from_millis(10)).recv();
        }
        let inboxes: Vec<_> = receivers.iter().map(|member| (member, member.node.subscribe(|_| true))).collect();
        let begin = Instant::now();
        author.node.gossip(message::data(0, CHANNEL, 1, "a block")).map_err(|e| e.to_string())?;
        for (member, inbox) in &inboxes {
            inbox.recv_timeout(PATIENCE).map_err(|_| format!("{} did not receive the block", member.peer.name))?;
        }
        let took = begin.elapsed();
        let names: Vec<_> = receivers.iter().map(|m| m.peer).collect();
        let text =
            format!("{} gossips a block in the channel: {} within {}.", author.peer.name, reached(&names), short(took));
        Ok((text, json!({"author": author.peer.name, "receivers": names.len(), "elapsed_us": micros(took)})))
    }

    /// Stops the last node. Measures how long it takes until its organisation notices.
    pub fn lose_one(&self) -> Found {
        let (leaver, others) = self.of_the_last();
        let begin = Instant::now();
        let node = leaver.node.clone();
        let stop = super::spawn("demo-stop", move || node.stop())?;
        for member in &others {
            member
                .await_change(|| member.node.peers().iter().all(|m| m.pki_id != leaver.peer.me.pki_id))
                .map_err(|()| format!("{} did not notice that {} is dead", member.peer.name, leaver.peer.name))?;
        }
        let took = begin.elapsed();
        let _ = stop.join();
        let names: Vec<_> = others.iter().map(|m| m.peer).collect();
        let text = format!("{} dies: {} it as dead within {}.", leaver.peer.name, listed(&names), short(took));
        Ok((text, json!({"peer": leaver.peer.name, "noticed_by": names.len(), "elapsed_us": micros(took)})))
    }

    /// Restarts the last node. Measures how long it takes until its organisation sees it again.
    pub fn take_back(&self) -> Found {
        let (leaver, others) = self.of_the_last();
        let begin = Instant::now();
        let endpoint = leaver.internal_endpoint();
        let _node = start(leaver.peer, &endpoint, others.first().map(|first| first.internal_endpoint()))?;
        for member in &others {
            member.await_member(leaver)?;
        }
        let took = begin.elapsed();
        let names: Vec<_> = others.iter().map(|m| m.peer).collect();
        let text = format!("{} comes back: {} it again within {}.", leaver.peer.name, seen_by(&names), short(took));
        Ok((text, json!({"peer": leaver.peer.name, "seen_by": names.len(), "elapsed_us": micros(took)})))
    }

    /// Returns whether an organisation has more than one peer, which the demonstration needs.
    pub fn is_worth_it(&self) -> bool {
        self.network.peers.len() > 2
    }
}

fn reached(peers: &[&Peer]) -> String {
    several(peers, "has it", "have it")
}

fn listed(peers: &[&Peer]) -> String {
    several(peers, "lists", "list")
}

fn seen_by(peers: &[&Peer]) -> String {
    several(peers, "sees", "see")
}

fn several(peers: &[&Peer], one: &str, more: &str) -> String {
    match peers {
        [peer] => format!("{} {one}", peer.name),
        _ => format!("the other {} {more}", peers.len()),
    }
}

impl Member<'_> {
    fn internal_endpoint(&self) -> String {
        self.node.self_member().internal_endpoint
    }

    fn as_anchor(&self) -> (OrgId, Vec<AnchorPeer>) {
        let endpoint = self.internal_endpoint();
        let (host, port) = endpoint.rsplit_once(':').unwrap_or_default();
        let anchor = AnchorPeer { host: host.to_owned(), port: port.parse().unwrap_or_default() };
        (OrgId::new(&*self.peer.me.mspid), vec![anchor])
    }

    /// Waits until another member is seen.
    fn await_member(&self, other: &Member<'_>) -> Result<NetworkMember, String> {
        let find = || self.node.peers().into_iter().find(|member| member.pki_id == other.peer.me.pki_id);
        self.await_change(|| find().is_some())
            .ok()
            .and_then(|()| find())
            .ok_or_else(|| format!("{} does not see {}", self.peer.name, other.peer.name))
    }

    /// Waits until the membership is as expected.
    fn await_change(&self, wished: impl Fn() -> bool) -> Result<(), ()> {
        let (notices, until) = (self.node.notices(), Instant::now() + PATIENCE);
        while !wished() {
            match notices.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(_) => return Err(()),
            }
        }
        Ok(())
    }
}

fn start(peer: &Peer, listen: &str, bootstrap: Option<String>) -> Result<Node, String> {
    let mut comm = CommConfig::default();
    comm.dial_timeout = PATIENCE;
    comm.conn_timeout = PATIENCE;
    // Frequent heartbeats, for a demonstration; everything else as in production.
    let mut config = NodeConfig::default();
    config.discovery.alive_time_interval = Duration::from_millis(500);
    let me = &peer.me;
    let transport = peer.transport.create(Some(peer.tls.clone()), Limits::default()).map_err(|e| e.to_string())?;
    Node::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
        .config(config)
        .bootstrap(bootstrap)
        .comm(|builder| builder.config(comm).transport(transport).listen(listen))
        .start()
        .map_err(|e| e.to_string())
}
