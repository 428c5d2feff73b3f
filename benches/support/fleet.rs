//! Nodes in several processes on this machine: two organisations with a channel, over mutual TLS.
// Each benchmark uses a part of it.
#![allow(dead_code)]

#[path = "heap.rs"]
mod heap;

use fabric_gossip::crypto::OrgId;
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::node::{AnchorPeer, ChannelOrgs, NodeConfig};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use fabric_gossip::Node;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CHANNEL: &str = "nodes";
const PATIENCE: Duration = Duration::from_secs(180);

/// How long a node remembers dead members.
#[derive(Clone, Copy)]
pub enum Pace {
    /// As long as by default.
    Default,
    /// For a minute, so that tables are as full as they get soon after the start.
    Brief,
}

const BRIEF: Duration = Duration::from_secs(60);

impl Pace {
    fn name(self) -> &'static str {
        match self {
            Pace::Default => "default",
            Pace::Brief => "brief",
        }
    }
}

/// Creates the organisations with this many peers in a temporary folder.
pub fn organisations(peers: usize) -> Outcome<TempDir> {
    let dir = TempDir::new()?;
    for o in [0, 1] {
        let org = Org::new(format!("Org{}MSP", o + 1), format!("org{}.example.com", o + 1))?;
        let members: Result<Vec<_>, _> =
            (0..peers).filter(|n| n % 2 == o).map(|n| org.peer(&format!("peer{n}"))).collect();
        org.write_to(&dir.0, &members?)?;
    }
    Ok(dir)
}

/// A process with nodes.
pub struct Serving {
    pub child: Child,
    /// Its output, unless another reader took it.
    pub lines: Option<BufReader<ChildStdout>>,
    pub endpoints: Vec<String>,
}

/// The resources that a process uses.
pub struct Usage {
    pub cpu: Duration,
    pub memory: usize,
    pub threads: usize,
    pub descriptors: usize,
}

impl Serving {
    /// Starts a process with nodes, at these endpoints or free ones, with these additional environment variables.
    pub fn start(
        dir: &Path,
        process: usize,
        nodes: usize,
        seeds: &[String],
        at: &[String],
        pace: Pace,
        environment: &[(&str, &str)],
    ) -> Outcome<Serving> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &dir.display().to_string(), &process.to_string(), &nodes.to_string()])
            .args([seeds.join(","), at.join(","), pace.name().to_owned()])
            .envs(environment.iter().copied())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let endpoints: Vec<String> = line.trim().split(',').map(str::to_owned).collect();
        if endpoints.len() != nodes {
            return Err(format!("process {process} did not start").into());
        }
        Ok(Serving { child, lines: Some(lines), endpoints })
    }

    /// The fewest and the most members that one of its nodes sees, as it says next.
    pub fn alive(&mut self) -> Outcome<(usize, usize)> {
        let mut line = String::new();
        self.lines.as_mut().ok_or("its output is read elsewhere")?.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(fewest)), Some(Ok(most))) => Ok((fewest, most)),
            _ => Err("a process has ended".into()),
        }
    }

    pub fn usage(&self) -> Usage {
        let of = |file: &str| fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default();
        let status = of("status");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok()).unwrap_or_default()
        };
        // Behind the name in parentheses: user and system time are the 12th and 13th field, in hundredths of a second.
        let stat = of("stat");
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|f| f.parse::<u64>().ok()).sum();
        let open = fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        Usage {
            cpu: Duration::from_millis(ticks * 10),
            memory: field("VmRSS") << 10,
            threads: field("Threads"),
            descriptors: open.map_or(0, Iterator::count),
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until every node of every process sees `wanted` members.
pub fn await_alive(serving: &mut [Serving], wanted: usize) -> Outcome<()> {
    let until = Instant::now() + PATIENCE;
    for process in serving {
        loop {
            let (fewest, most) = process.alive()?;
            if (fewest, most) == (wanted, wanted) {
                break;
            }
            if Instant::now() > until {
                return Err(format!("nodes see {fewest} to {most} members, not {wanted}").into());
            }
        }
    }
    Ok(())
}

/// Runs the process with nodes. Prints their endpoints, and then ten times a second: the fewest and the most members that one
/// of them sees, the number of bytes that are allocated, and the number of connections that have ended.
pub fn serve(args: &[String]) -> Outcome<()> {
    let [dir, process, count, seeds, at, pace] = args else { return Err("six arguments".into()) };
    let pace = if pace == Pace::Brief.name() { Pace::Brief } else { Pace::Default };
    let (process, count): (usize, usize) = (process.parse()?, count.parse()?);
    let list = |text: &str| -> Vec<String> { text.split(',').filter(|e| !e.is_empty()).map(str::to_owned).collect() };
    let (mut seeds, at) = (list(seeds), list(at));
    let mut nodes = Vec::new();
    for n in 0..count {
        let node = start(Path::new(dir), process * count + n, &seeds, at.get(n), pace)?;
        if process == 0 && n < 2 {
            seeds.push(node.self_member().internal_endpoint);
        }
        nodes.push(node);
    }
    // The first of each organisation are the anchors. A single process has none of the second one.
    let mut anchors = BTreeMap::new();
    for (n, org) in ["Org1MSP", "Org2MSP"].into_iter().enumerate() {
        let anchor = seeds.get(n).and_then(|endpoint| endpoint.rsplit_once(':'));
        let anchor = anchor.map(|(host, port)| Ok(AnchorPeer { host: host.into(), port: port.parse()? }));
        anchors.insert(OrgId::new(org), anchor.into_iter().collect::<Outcome<Vec<_>>>()?);
    }
    for node in &nodes {
        node.join_channel(CHANNEL, ChannelOrgs(anchors.clone()))?;
    }
    let endpoints: Vec<_> = nodes.iter().map(|node| node.self_member().internal_endpoint).collect();
    println!("{}", endpoints.join(","));
    loop {
        let alive = nodes.iter().map(|node| node.peers().len());
        let (fewest, most) = (alive.clone().min().unwrap_or_default(), alive.max().unwrap_or_default());
        let ended: u64 = nodes.iter().map(|node| node.comm().metrics().gossip_comm_disconnects).sum();
        println!("{fewest} {most} {} {ended}", heap::in_use());
        thread::sleep(Duration::from_millis(100));
    }
}

fn start(dir: &Path, number: usize, seeds: &[String], at: Option<&String>, pace: Pace) -> Outcome<Node> {
    let org = number % 2 + 1;
    let home = |org: usize| dir.join(format!("peerOrganizations/org{org}.example.com"));
    let peer = home(org).join(format!("peers/peer{number}.org{org}.example.com"));
    let msp = Arc::new(Msp::load(peer.join("msp"), format!("Org{org}MSP"))?);
    let signer = SigningIdentity::load(&msp, peer.join("msp"), SystemTime::now())?;
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(msp, Some(signer)));
    let other = 3 - org;
    crypto.trust(Arc::new(Msp::load(home(other).join("msp"), format!("Org{other}MSP"))?));
    let pem = |file: &str| Pem::file(peer.join("tls").join(file));
    let foreign = Pem::file(home(other).join(format!("tlsca/tlsca.org{other}.example.com-cert.pem")))?;
    let tls = Tls::new(TlsConfig::new(pem("server.crt")?, pem("server.key")?, pem("ca.crt")?.and(foreign)))?;
    let mut comm = fabric_gossip::CommConfig::default();
    // With this many starting on one machine, Fabric's limits are short.
    comm.dial_timeout = Duration::from_secs(10);
    comm.conn_timeout = Duration::from_secs(10);
    let mut config = NodeConfig::default();
    if let Pace::Brief = pace {
        comm.usage_threshold = BRIEF;
        config.discovery.msg_expiration_factor = 2;
        config.channel.block_expiration = BRIEF;
    }
    let node = Node::builder(identity, crypto.clone(), crypto)
        .config(config)
        .bootstrap(seeds.get(org - 1))
        .comm(|builder| builder.config(comm).tls(tls).listen(at.map_or("127.0.0.1:0", String::as_str)))
        .start()?;
    let endpoint = node.self_member().internal_endpoint;
    node.update_endpoint(&endpoint)?;
    Ok(node)
}

/// A folder that goes with the run.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> Outcome<TempDir> {
        let dir = std::env::temp_dir().join(format!("fabric-gossip-nodes-{}", std::process::id()));
        fs::create_dir(&dir)?;
        Ok(TempDir(dir))
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
