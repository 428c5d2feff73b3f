//! The peer under attack, in a separate process, so that its memory, threads and descriptors are its alone.

use fabric_gossip::comm::ReceivedMessage;
use fabric_gossip::message;
use fabric_gossip::msp::{Msp, MspCryptoService, SigningIdentity};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig, Transport};
use fabric_gossip::Comm;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;
use std::time::SystemTime;

/// The environment variable that names the folder with the victim's identity.
const FOLDER: &str = "FABRIC_GOSSIP_TEST_VICTIM";
/// The victim's memory quota in MiB, if it is not the default.
const QUOTA: &str = "FABRIC_GOSSIP_TEST_QUOTA";
/// The victim's transport.
const OVER: &str = "FABRIC_GOSSIP_TEST_OVER";
pub const MSP_ID: &str = "TestMSP";
/// Messages on this channel are acknowledged.
pub const ASKED: &str = "asked";
/// To these the victim answers with as much as its queue takes.
pub const PULL: &str = "pull";

/// Messages on this channel are not taken.
pub const HELD: &str = "held";

/// The transport of a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// Each transport has a feature.
#[allow(dead_code)]
pub enum Over {
    CCore,
    Http2,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Over::CCore => "c-core",
            Over::Http2 => "http2",
        }
    }
}

impl std::fmt::Display for Over {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// The resources that a process uses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub resident_kib: u64,
    pub peak_kib: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Usage {
    /// The larger of each.
    pub fn max(self, other: Usage) -> Usage {
        Usage {
            resident_kib: self.resident_kib.max(other.resident_kib),
            peak_kib: self.peak_kib.max(other.peak_kib),
            threads: self.threads.max(other.threads),
            descriptors: self.descriptors.max(other.descriptors),
        }
    }
}

/// The victim's listening address: hostile peers come over IPv6 and others over IPv4, so that they have different
/// addresses.
const ANY: &str = "[::]";

/// A running victim. It is killed when dropped.
pub struct Victim {
    child: Child,
    ask: ChildStdin,
    answer: BufReader<ChildStdout>,
    folder: PathBuf,
    pub endpoint: String,
    /// The same for connections from another address, as far as the machine has IPv6.
    pub other_endpoint: String,
}

impl Victim {
    /// Starts one over this transport, with this memory quota in MiB or the default.
    pub fn start(org: &Org, over: Over, quota: Option<u64>) -> Victim {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("fabric-gossip-victim-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        let member = org.peer("victim").unwrap();
        org.write_to(&folder, std::slice::from_ref(&member)).unwrap();
        let home = folder.join("peerOrganizations").join(org.domain()).join("peers").join(&member.name);
        let mut command = Command::new(std::env::current_exe().unwrap());
        if let Some(mib) = quota {
            command.env(QUOTA, mib.to_string());
        }
        let mut child = command
            .args(["victim::the_peer_under_attack", "--exact", "--nocapture", "--test-threads=1"])
            .env(FOLDER, &home)
            .env(OVER, over.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (ask, answer) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut victim = Victim { child, ask, answer, folder, endpoint: String::new(), other_endpoint: String::new() };
        let local = victim.line();
        let (host, port) = local.rsplit_once(':').expect("an address");
        victim.endpoint = format!("127.0.0.1:{port}");
        let other = if host == ANY { "[::1]" } else { "127.0.0.1" };
        victim.other_endpoint = format!("{other}:{port}");
        victim
    }

    /// Its next word, behind whatever the test harness says.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert!(self.answer.read_line(&mut line).unwrap() > 0, "the victim is dead");
            if let Some((_, said)) = line.trim_end().split_once("victim: ") {
                return said.to_owned();
            }
        }
    }

    /// How many are connected, and how many streams have not authenticated.
    pub fn gauges(&mut self) -> [u64; 2] {
        writeln!(self.ask).unwrap();
        let line = self.line();
        let mut numbers = line.split(' ').map(|n| n.parse().unwrap());
        [(); 2].map(|()| numbers.next().unwrap())
    }

    pub fn usage(&self) -> Usage {
        let of = Path::new("/proc").join(self.child.id().to_string());
        let status = fs::read_to_string(of.join("status")).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
        };
        Usage {
            resident_kib: number("VmRSS"),
            peak_kib: number("VmHWM"),
            threads: number("Threads"),
            descriptors: fs::read_dir(of.join("fd")).unwrap().count() as u64,
        }
    }

    /// From now on counts the peak of its memory anew.
    pub fn reset_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The process that the other tests attack; by itself it tries whether there is one.
#[test]
fn the_peer_under_attack() {
    let Some(home) = std::env::var_os(FOLDER) else {
        let over = if cfg!(feature = "http2") { Over::Http2 } else { Over::CCore };
        let mut victim = Victim::start(&Org::new(MSP_ID, "test.example.com").unwrap(), over, None);
        assert_eq!(victim.gauges(), [0, 0]);
        return;
    };
    let comm = start(Path::new(&home)).unwrap();
    println!("victim: {}", comm.local_addr().unwrap());
    let asked = comm.subscribe(|m| channel(m) == ASKED.as_bytes());
    let pulled = comm.subscribe(|m| channel(m) == PULL.as_bytes());
    let _held = comm.subscribe(|m| channel(m) == HELD.as_bytes());
    let rest = comm.subscribe(|m| ![ASKED, PULL, HELD].iter().any(|known| channel(m) == known.as_bytes()));
    thread::scope(|scope| {
        scope.spawn(move || asked.iter().for_each(|m| drop(m.ack(None))));
        scope.spawn(move || pulled.iter().for_each(|m| fill(&m)));
        scope.spawn(move || rest.iter().for_each(drop));
        // Until the other end is closed.
        for _ in std::io::stdin().lines() {
            let now = comm.metrics();
            println!("victim: {} {}", now.gossip_comm_connections, now.gossip_comm_unauthenticated);
        }
        comm.stop();
    });
}

fn start(home: &Path) -> fabric_gossip::Result<Comm> {
    let (msp, tls) = (home.join("msp"), home.join("tls"));
    let organisation = Arc::new(Msp::load(&msp, MSP_ID)?);
    let signer = SigningIdentity::load(&organisation, &msp, SystemTime::now())?;
    let identity = signer.serialize();
    let crypto = Arc::new(MspCryptoService::new(organisation, Some(signer)));
    let pem = |name| Pem::file(tls.join(name));
    let tls = Tls::new(TlsConfig::new(pem("server.crt")?, pem("server.key")?, pem("ca.crt")?))?;
    let mut limits = Limits::default();
    if let Some(mib) = std::env::var(QUOTA).ok().and_then(|mib| mib.parse::<usize>().ok()) {
        limits.memory_quota = Some(mib << 20);
    }
    let host = if TcpListener::bind("[::1]:0").is_ok() { ANY } else { "127.0.0.1" };
    let transport = transport(tls, limits)?;
    Comm::builder(identity, crypto.clone(), crypto).listen(format!("{host}:0")).transport(transport).start()
}

fn transport(tls: Tls, limits: Limits) -> fabric_gossip::Result<Arc<dyn Transport>> {
    let over = std::env::var(OVER).expect(OVER);
    match &*over {
        #[cfg(feature = "c-core")]
        "c-core" => {
            use fabric_gossip::transport::c_core::{CoreTransport, Options};
            Ok(Arc::new(CoreTransport::new(Some(tls), limits, Options::default())?))
        }
        #[cfg(feature = "http2")]
        "http2" => {
            use fabric_gossip::transport::http2::{Http2Transport, Options};
            Ok(Arc::new(Http2Transport::new(Some(tls), limits, Options::default())?))
        }
        other => panic!("{OVER}: no transport {other}"),
    }
}

fn channel(message: &ReceivedMessage) -> &[u8] {
    &message.message().message().channel
}

/// Answers until the queue to the sender is full.
fn fill(asked: &ReceivedMessage) {
    let block = message::data(0, PULL, 0, vec![0; 64 << 10]);
    while asked.respond(block.clone()).is_ok() {}
}
