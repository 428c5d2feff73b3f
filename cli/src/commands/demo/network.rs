//! Peers of two organisations in this process, each with separate files, port and connections.

use super::PATIENCE;
use crate::identity::{KeySource, Me};
use crate::order::Order;
use crate::settings::NamedPath;
use crate::transport::TransportKind;
use fabric_gossip::comm::{Comm, ReceivedMessage, RemotePeer};
use fabric_gossip::config::{CommConfig, SubscriptionOptions, WhenFull};
use fabric_gossip::message::Content;
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Limits, Pem, Tls, TlsConfig};
use parking_lot::Mutex;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;

/// A peer refuses messages that begin with this text.
pub const UNWANTED: &[u8] = b"unwanted";
pub const REFUSAL: &str = "this peer rejects that message";

pub struct Network {
    pub orgs: [Org; 2],
    pub peers: Vec<Peer>,
    /// Declared last: the peers stop before their files are removed.
    pub dir: TempDir,
}

pub struct Peer {
    pub name: String,
    pub me: Me,
    pub tls: Tls,
    pub transport: TransportKind,
    pub endpoint: String,
    running: Mutex<Running>,
    pub received: Arc<Received>,
}

struct Running {
    comm: Comm,
    answers: Option<JoinHandle<()>>,
}

/// The messages received by one peer.
#[derive(Default)]
pub struct Received {
    pub count: AtomicU64,
    pub order: Mutex<Order>,
}

fn text(e: impl Display) -> String {
    e.to_string()
}

impl Network {
    /// Creates the organisations, writes their files, and starts the peers.
    pub fn start(count: usize, transport: TransportKind) -> Result<Network, String> {
        let dir = TempDir::new()?;
        let org = |n: usize| Org::new(format!("Org{n}MSP"), format!("org{n}.example.com")).map_err(text);
        let orgs = [org(1)?, org(2)?];
        for (o, org) in orgs.iter().enumerate() {
            let members = (0..count.saturating_sub(o).div_ceil(2)).map(|n| org.peer(&format!("peer{n}")));
            org.write_to(&dir.0, &members.collect::<Result<Vec<_>, _>>().map_err(text)?).map_err(text)?;
        }
        let mut network = Network { orgs, peers: Vec::new(), dir };
        for n in 0..count {
            let peer = Peer::start(&network, transport, n % 2, n / 2)?;
            network.peers.push(peer);
        }
        Ok(network)
    }

    pub fn org_dir(&self, org: usize) -> PathBuf {
        self.dir.0.join("peerOrganizations").join(self.orgs[org].domain())
    }

    /// Returns the TLS authorities of both organisations.
    pub fn tls_roots(&self) -> Result<Pem, String> {
        let roots = self.orgs.iter().map(|org| Ok(Pem::new(org.domain(), org.tls_ca_cert().map_err(text)?)));
        let roots = roots.collect::<Result<Vec<_>, String>>()?;
        roots.into_iter().reduce(Pem::and).ok_or_else(|| "no organisation".into())
    }
}

impl Peer {
    fn start(network: &Network, transport: TransportKind, org: usize, number: usize) -> Result<Peer, String> {
        let name = format!("peer{number}.{}", network.orgs[org].domain());
        let home = network.org_dir(org).join("peers").join(&name);
        let other = 1 - org;
        let dir = |dir: PathBuf| NamedPath::flag("--msp", &dir);
        let trust = [(network.orgs[other].mspid().to_owned(), dir(network.org_dir(other).join("msp")))];
        let me = Me::load(network.orgs[org].mspid(), &dir(home.join("msp")), &KeySource::default(), &trust)
            .map_err(|e| e.text().unwrap_or_default().to_owned())?;
        let pem = |file: &str| Pem::file(home.join("tls").join(file)).map_err(text);
        let tls = TlsConfig::new(pem("server.crt")?, pem("server.key")?, network.tls_roots()?);
        let tls = Tls::new(tls).map_err(text)?;
        let received = Arc::<Received>::default();
        let running = Running::start(&me, transport, &tls, "127.0.0.1:0", &received)?;
        let endpoint = running.comm.local_addr().unwrap_or_default().to_owned();
        Ok(Peer { name, me, tls, transport, endpoint, running: Mutex::new(running), received })
    }

    pub fn comm(&self) -> Comm {
        self.running.lock().comm.clone()
    }

    /// Returns the peer as another peer addresses it.
    pub fn remote(&self) -> RemotePeer {
        RemotePeer::with_id(&self.endpoint, self.me.pki_id.clone())
    }

    /// Restarts the peer at the same address after it was stopped.
    pub fn restart(&self) -> Result<(), String> {
        let again = Running::start(&self.me, self.transport, &self.tls, &self.endpoint, &self.received)?;
        *self.running.lock() = again;
        Ok(())
    }
}

impl Running {
    fn start(
        me: &Me,
        transport: TransportKind,
        tls: &Tls,
        listen: &str,
        received: &Arc<Received>,
    ) -> Result<Running, String> {
        let mut config = CommConfig::default();
        // Space for acknowledgements, which do not wait for it.
        config.send_buff_size = 1 << 16;
        // Many peers that share one machine and dial at the same time are slower than Fabric's limits allow.
        config.dial_timeout = PATIENCE;
        config.conn_timeout = PATIENCE;
        let comm = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone())
            .config(config)
            .transport(transport.create(Some(tls.clone()), Limits::default()).map_err(text)?)
            .listen(listen)
            .start()
            .map_err(text)?;
        let messages = comm.subscribe_with(SubscriptionOptions::default().when_full(WhenFull::Wait(None)), |_| true);
        let received = received.clone();
        let answer = move || messages.iter().for_each(|message| received.answer(&message));
        let answers = super::spawn("demo-answers", answer)?;
        Ok(Running { comm, answers: Some(answers) })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.comm.stop();
        if let Some(answers) = self.answers.take() {
            let _ = answers.join();
        }
    }
}

impl Received {
    fn answer(&self, message: &ReceivedMessage) {
        let payload = match message.message().content() {
            Some(Content::DataMsg(data)) => data.payload.as_ref(),
            _ => None,
        };
        let Some(payload) = payload else { return };
        let refusal = payload.data.starts_with(UNWANTED).then_some(REFUSAL);
        if refusal.is_none() {
            self.order.lock().saw(&message.connection_info().id, payload.seq_num);
            self.count.fetch_add(1, Ordering::Relaxed);
        }
        if let Err(e) = message.ack(refusal) {
            log::warn!("cannot acknowledge: {e}");
        }
    }
}

/// A folder that is removed with its contents.
pub struct TempDir(PathBuf);

impl TempDir {
    fn new() -> Result<TempDir, String> {
        use std::os::unix::fs::DirBuilderExt;
        let dir = std::env::temp_dir();
        for n in 0..100 {
            let dir = dir.join(format!("fabric-gossip-demo-{}-{n}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&dir) {
                Ok(()) => return Ok(TempDir(dir)),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(format!("cannot make the folder {}: {e}", dir.display())),
            }
        }
        Err(format!("cannot make a folder in {}", dir.display()))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
