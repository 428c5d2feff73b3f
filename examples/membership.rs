//! Three nodes in one process, over mutual TLS on loopback, each configured with at most one other: all discover all,
//! one changes its metadata, a block spreads through a channel, and one that stops is noticed. The organisation is
//! created for the run.
//!
//! `cargo run --release --example membership` prints:
//!
//! ```text
//! peer0 knows 2 others
//! peer1 knows 2 others
//! peer2 knows 2 others
//! peer0 sees what peer2 says of itself: "ready"
//! peer1 has block 1, "the block"
//! peer2 has block 1, "the block"
//! peer0 lists peer2 as dead
//! stopped
//! ```

use fabric_gossip::message::{self, Content};
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::node::Change;
use fabric_gossip::node::{ChannelOrgs, NodeConfig, Notice};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::{Node, OrgId, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const CHANNEL: &str = "mychannel";
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> Result<()> {
    let org = Org::new("Org1MSP", "org1.example.com")?;
    let mut nodes: Vec<Node> = Vec::new();
    for name in ["peer0", "peer1", "peer2"] {
        // The first has no bootstrap peer, each other one has the one before it.
        let bootstrap = nodes.last().map(|node| node.self_member().internal_endpoint);
        nodes.push(start(&org.peer(name)?, bootstrap)?);
    }
    for (n, node) in nodes.iter().enumerate() {
        node.wait_for_members(2, PATIENCE)?;
        println!("peer{n} knows {} others", node.peers().len());
    }
    let [peer0, peer1, peer2] = &nodes[..] else { unreachable!("three were started") };

    let watched = peer0.notices();
    peer2.update_metadata("ready");
    await_change(&watched, |change| matches!(change, Change::Updated(member) if member.metadata == "ready"));
    println!("peer0 sees what peer2 says of itself: \"ready\"");

    // The organisations of the channel, without anchor peers: those are for meeting other organisations.
    let orgs = ChannelOrgs(BTreeMap::from([(OrgId::new("Org1MSP"), Vec::new())]));
    let blocks = [peer1, peer2].map(|node| node.subscribe(|_| true));
    for node in &nodes {
        node.join_channel(CHANNEL, orgs.clone())?;
    }
    while peer0.channel_peers(CHANNEL.as_bytes()).is_none_or(|peers| peers.len() < 2) {
        std::thread::sleep(Duration::from_millis(10));
    }
    peer0.gossip(message::data(0, CHANNEL, 1, "the block"))?;
    for (n, blocks) in blocks.iter().enumerate() {
        let gossiped = blocks.recv_timeout(PATIENCE)?;
        if let Some(Content::DataMsg(block)) = gossiped.message.content() {
            println!("peer{} has block {}, {:?}", n + 1, block.payload.seq_num, text(&block.payload.data));
        }
    }

    peer2.stop();
    await_change(&watched, |change| matches!(change, Change::Dead(_)));
    println!("peer0 lists peer2 as dead");
    nodes.iter().for_each(Node::stop);
    println!("stopped");
    Ok(())
}

fn start(member: &Member, bootstrap: Option<String>) -> Result<Node> {
    // A peer's MSP folder says who belongs to its organisation, and holds its own identity with the private key.
    let folder = std::env::temp_dir().join(format!("membership-{}-{}", std::process::id(), member.name));
    member.write_msp(&folder)?;
    let msp = Arc::new(Msp::load(&folder, &member.mspid)?);
    let signer = SigningIdentity::load(&msp, &folder, SystemTime::now())?;
    let _ = std::fs::remove_dir_all(&folder);
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
    let tls = Tls::new(TlsConfig::new(
        Pem::new("certificate", member.tls_cert.clone()),
        Pem::new("key", member.tls_key.clone()),
        Pem::new("authority", member.tls_ca_cert.clone()),
    ))?;
    // Heartbeats twice a second, so that there is something to see; the default is Fabric's, every five seconds.
    let mut config = NodeConfig::default();
    config.discovery.alive_time_interval = Duration::from_millis(500);
    Node::builder(identity, crypto.clone(), crypto)
        .config(config)
        .bootstrap(bootstrap)
        .comm(|comm| comm.listen("127.0.0.1:0").tls(tls))
        .start()
}

fn await_change(watched: &fabric_gossip::Subscription<Notice>, wanted: impl Fn(&Change) -> bool) {
    while let Ok(notice) = watched.recv_timeout(PATIENCE) {
        if matches!(&notice, Notice::Membership(change) if wanted(change)) {
            return;
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
