//! Whole nodes in several processes on this machine, over mutual TLS: how soon they know each other, what they cost once
//! they do, and what happens when a third of them is killed and comes back.
//!
//! `cargo bench --bench nodes -- [--processes 3] [--nodes 20] [--steady 30]`: two organisations with a channel, every
//! node with an external endpoint, so that all are to know all. Prints a table in Markdown. Intervals are Fabric's
//! defaults.

use fabric_gossip::crypto::OrgId;
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::node::{AnchorPeer, ChannelOrgs};
use fabric_gossip::rpc::{Pem, Tls, TlsConfig};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::Node;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const CHANNEL: &str = "nodes";
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--serve") {
        return serve(&args[1..]);
    }
    let number = |name: &str, default: usize| {
        args.iter().position(|arg| arg == name).and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    if args.iter().any(|arg| arg == "--list") {
        return Ok(());
    }
    // Without `--bench`, which Cargo passes, it only tries whether it works.
    let tried = !args.iter().any(|arg| arg == "--bench");
    let (processes, nodes) = if tried { (2, 2) } else { (number("--processes", 3), number("--nodes", 20)) };
    let steady = Duration::from_secs(if tried { 1 } else { number("--steady", 30) as u64 });
    orchestrate(processes, nodes, steady)
}

fn orchestrate(processes: usize, nodes: usize, steady: Duration) -> Outcome<()> {
    let dir = TempDir::new()?;
    let orgs = [1, 2].map(|n| Org::new(format!("Org{n}MSP"), format!("org{n}.example.com")));
    for (o, org) in orgs.iter().enumerate() {
        let org = org.as_ref().map_err(|e| e.to_string())?;
        let members: Result<Vec<_>, _> =
            (0..processes * nodes).filter(|n| n % 2 == o).map(|n| org.peer(&format!("peer{n}"))).collect();
        org.write_to(&dir.0, &members?)?;
    }
    let total = processes * nodes;
    println!("{total} nodes in {processes} processes, two organisations, mutual TLS, Fabric's default intervals\n");
    println!("| | |\n|---|---|");
    let begin = Instant::now();
    let mut serving = vec![Serving::start(&dir.0, 0, nodes, &[], &[])?];
    let seeds: Vec<String> = serving[0].endpoints.iter().take(2).cloned().collect();
    for n in 1..processes {
        serving.push(Serving::start(&dir.0, n, nodes, &seeds, &[])?);
    }
    println!("| all started | {:.1} s |", begin.elapsed().as_secs_f64());
    await_alive(&mut serving, total - 1)?;
    println!("| all know all, since the first started | {:.1} s |", begin.elapsed().as_secs_f64());

    let before: Vec<Usage> = serving.iter().map(Serving::usage).collect();
    thread::sleep(steady);
    for (n, (serving, before)) in serving.iter().zip(&before).enumerate() {
        let after = serving.usage();
        let cpu = (after.cpu - before.cpu).as_secs_f64() / steady.as_secs_f64() * 100.0;
        println!(
            "| process {n}, steady for {} s | {cpu:.1} % of a core, {} MiB (was {} MiB), {} threads |",
            steady.as_secs(),
            after.memory >> 20,
            before.memory >> 20,
            after.threads
        );
    }

    let mut killed = serving.pop().ok_or("no process")?;
    let begin = Instant::now();
    killed.child.kill()?;
    killed.child.wait()?;
    await_alive(&mut serving, total - nodes - 1)?;
    println!("| {nodes} nodes killed: gone from every view | {:.1} s |", begin.elapsed().as_secs_f64());
    let begin = Instant::now();
    serving.push(Serving::start(&dir.0, processes - 1, nodes, &seeds, &killed.endpoints)?);
    await_alive(&mut serving, total - 1)?;
    println!("| the {nodes} restarted: all know all | {:.1} s |", begin.elapsed().as_secs_f64());
    Ok(())
}

/// A process with nodes.
struct Serving {
    child: Child,
    lines: BufReader<ChildStdout>,
    endpoints: Vec<String>,
}

struct Usage {
    cpu: Duration,
    memory: usize,
    threads: usize,
}

impl Serving {
    fn start(dir: &Path, process: usize, nodes: usize, seeds: &[String], at: &[String]) -> Outcome<Serving> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", &dir.display().to_string(), &process.to_string(), &nodes.to_string()])
            .args([seeds.join(","), at.join(",")])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?);
        let mut line = String::new();
        lines.read_line(&mut line)?;
        let endpoints: Vec<String> = line.trim().split(',').map(str::to_owned).collect();
        if endpoints.len() != nodes {
            return Err(format!("process {process} did not start").into());
        }
        Ok(Serving { child, lines, endpoints })
    }

    /// The fewest and the most members that one of its nodes sees, as it says next.
    fn alive(&mut self) -> Outcome<(usize, usize)> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        let mut numbers = line.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(fewest)), Some(Ok(most))) => Ok((fewest, most)),
            _ => Err("a process has ended".into()),
        }
    }

    fn usage(&self) -> Usage {
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
        Usage { cpu: Duration::from_millis(ticks * 10), memory: field("VmRSS") << 10, threads: field("Threads") }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until every node of every process sees so many.
fn await_alive(serving: &mut [Serving], wanted: usize) -> Outcome<()> {
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

/// The process with nodes: says where they are, and then ten times a second how many members they see.
fn serve(args: &[String]) -> Outcome<()> {
    let [dir, process, count, seeds, at] = args else { return Err("five arguments".into()) };
    let (process, count): (usize, usize) = (process.parse()?, count.parse()?);
    let list = |text: &str| -> Vec<String> { text.split(',').filter(|e| !e.is_empty()).map(str::to_owned).collect() };
    let (mut seeds, at) = (list(seeds), list(at));
    let mut nodes = Vec::new();
    for n in 0..count {
        let node = start(Path::new(dir), process * count + n, &seeds, at.get(n))?;
        if process == 0 && n < 2 {
            seeds.push(node.self_member().internal_endpoint);
        }
        nodes.push(node);
    }
    // The first of each organisation are the anchors.
    let anchors: BTreeMap<OrgId, Vec<AnchorPeer>> = seeds
        .iter()
        .zip(["Org1MSP", "Org2MSP"])
        .filter_map(|(endpoint, org)| {
            let (host, port) = endpoint.rsplit_once(':')?;
            Some((OrgId::new(org), vec![AnchorPeer { host: host.into(), port: port.parse().ok()? }]))
        })
        .collect();
    for node in &nodes {
        node.join_channel(CHANNEL, ChannelOrgs(anchors.clone()))?;
    }
    let endpoints: Vec<_> = nodes.iter().map(|node| node.self_member().internal_endpoint).collect();
    println!("{}", endpoints.join(","));
    loop {
        let alive = nodes.iter().map(|node| node.peers().len());
        println!("{} {}", alive.clone().min().unwrap_or_default(), alive.max().unwrap_or_default());
        thread::sleep(Duration::from_millis(100));
    }
}

fn start(dir: &Path, number: usize, seeds: &[String], at: Option<&String>) -> Outcome<Node> {
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
    // So many start on one machine that Fabric's limits are short.
    comm.dial_timeout = Duration::from_secs(10);
    comm.conn_timeout = Duration::from_secs(10);
    let node = Node::builder(identity, crypto.clone(), crypto)
        .bootstrap(seeds.get(org - 1))
        .comm(|builder| builder.config(comm).tls(tls).listen(at.map_or("127.0.0.1:0", String::as_str)))
        .start()?;
    let endpoint = node.self_member().internal_endpoint;
    node.update_endpoint(&endpoint)?;
    Ok(node)
}

/// A folder that goes with the run.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Outcome<TempDir> {
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
