//! The network part: visits the given peers, and in turn the members that they list.

use super::{Answers, Identity, Member, Seconds, View, Visit};
use crate::certificate;
use crate::failure::{Failure, Result};
use crate::identity::{Described, Me};
use crate::output::printable;
use crate::query::{self, Listed, Lists, Pulled, Query};
use crate::stop::within;
use crate::tls_options::TlsFiles;
use crate::tls_probe::TlsProbe;
use crate::values::Endpoint;
use crossbeam_channel::{unbounded, Receiver};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::{Comm, ConnectionInfo, RemotePeer};
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::transport::Transport;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Number of peers that are visited at a time.
const WORKERS: usize = 8;

/// A crawl of the network.
pub struct Crawl<'a> {
    pub me: &'a Me,
    pub transport: Arc<dyn Transport>,
    /// The files of `transport`; `None` for plain text.
    pub tls: Option<&'a TlsFiles>,
    /// Maximum time for each peer.
    pub timeout: Duration,
    /// Maximum number of peers to visit.
    pub max_peers: usize,
    pub stop: &'a Cancel,
}

/// An endpoint to visit.
#[derive(Clone)]
struct Target {
    endpoint: String,
    given: bool,
    expected: Option<String>,
}

/// State shared by the visits.
struct Shared<'a> {
    crawl: &'a Crawl<'a>,
    comm: &'a Comm,
    identities: Mutex<HashMap<PkiId, Pulled>>,
}

impl Crawl<'_> {
    /// Visits the given endpoints and then, in rounds, the members of our organisation that were listed. `progress`
    /// receives the number of visited and of known peers.
    pub fn run(&self, given: &[String], progress: impl Fn(usize, usize)) -> Result<Answers> {
        let comm = query::start(self.me, self.transport.clone(), self.timeout)?;
        let shared = Shared { crawl: self, comm: &comm, identities: Mutex::default() };
        let visited = self.rounds(&shared, given, progress);
        comm.stop();
        let (visits, left_out) = visited?;
        let identities = shared.identities.into_inner();
        let identities = identities.iter().map(|(id, pulled)| (id.to_string(), describe(pulled))).collect();
        Ok(Answers { visits, identities, left_out })
    }

    fn rounds(
        &self,
        shared: &Shared<'_>,
        given: &[String],
        progress: impl Fn(usize, usize),
    ) -> Result<(Vec<Visit>, usize)> {
        let mut endpoints: BTreeSet<String> = BTreeSet::new();
        let mut next: Vec<Target> = Vec::new();
        for endpoint in given {
            if endpoints.insert(endpoint.clone()) {
                next.push(Target { endpoint: endpoint.clone(), given: true, expected: None });
            }
        }
        let (mut visits, mut left_out) = (Vec::new(), 0);
        while !next.is_empty() {
            let room = self.max_peers.saturating_sub(visits.len());
            left_out += next.len().saturating_sub(room);
            next.truncate(room);
            let known = visits.len() + next.len();
            self.round(shared, &next, &mut visits, |done| progress(done, known))?;
            next = self.targets(&visits, &mut endpoints);
        }
        Ok((visits, left_out))
    }

    /// Visits several peers at a time.
    fn round(
        &self,
        shared: &Shared<'_>,
        targets: &[Target],
        visits: &mut Vec<Visit>,
        progress: impl Fn(usize),
    ) -> Result<()> {
        // Bounded by the number of targets.
        let ((give, take), (done, results)) = (unbounded(), unbounded());
        targets.iter().for_each(|target| drop(give.send(target.clone())));
        drop(give);
        thread::scope(|scope| {
            for n in 0..WORKERS.min(targets.len()) {
                let (targets, done) = (take.clone(), done.clone());
                let work = move || targets.iter().all(|target| done.send(shared.visit(&target)).is_ok());
                let thread = thread::Builder::new().name(format!("survey-{n}"));
                if let Err(e) = thread.spawn_scoped(scope, work) {
                    // The others end when there is no more work.
                    while take.try_recv().is_ok() {}
                    return Err(Failure::Peer(format!("cannot start a thread: {e}; raise the limit (ulimit -u)")));
                }
            }
            drop(done);
            self.collect(shared.comm, &take, &results, visits, progress)
        })
    }

    fn collect(
        &self,
        comm: &Comm,
        waiting: &Receiver<Target>,
        results: &Receiver<Visit>,
        visits: &mut Vec<Visit>,
        progress: impl Fn(usize),
    ) -> Result<()> {
        progress(visits.len());
        loop {
            crossbeam_channel::select! {
                recv(results) -> visit => match visit {
                    Ok(visit) => {
                        visits.push(visit);
                        progress(visits.len());
                    }
                    Err(_) => return Ok(()),
                },
                recv(self.stop.signal()) -> _ => {
                    while waiting.try_recv().is_ok() {}
                    // Ends the visits under way.
                    comm.stop();
                    return Err(Failure::Stopped);
                }
            }
        }
    }

    /// Returns the members that were listed and not visited yet.
    fn targets(&self, visits: &[Visit], endpoints: &mut BTreeSet<String>) -> Vec<Target> {
        let answered: BTreeSet<&str> = visits.iter().filter_map(|visit| visit.peer.as_deref()).collect();
        let ours = self.me.pki_id.to_string();
        let views = || visits.iter().filter_map(|visit| visit.view.as_ref());
        let alive = views().flat_map(|view| &view.alive);
        // With several entries of one peer, the newest counts: alive ones come last.
        let mut listed: BTreeMap<&str, &Member> = BTreeMap::new();
        for member in views().flat_map(|view| &view.dead).chain(alive) {
            let known = listed.get(member.pki_id.as_str());
            if known.is_none_or(|known| (known.started, known.sequence) <= (member.started, member.sequence)) {
                listed.insert(&member.pki_id, member);
            }
        }
        let mut targets = Vec::new();
        for (id, member) in listed {
            let endpoint = if member.internal.is_empty() { &member.external } else { &member.internal };
            let asked = answered.contains(id) || id == ours && member.started == 1;
            if asked || endpoint.is_empty() || !endpoints.insert(endpoint.clone()) {
                continue;
            }
            targets.push(Target { endpoint: endpoint.clone(), given: false, expected: Some(id.to_owned()) });
        }
        targets
    }
}

impl Shared<'_> {
    fn visit(&self, target: &Target) -> Visit {
        let Target { endpoint, given, expected } = target.clone();
        let mut visit = Visit { endpoint, given, expected, ..Visit::default() };
        if let Err(failure) = self.question(&mut visit) {
            // The endpoint is named beside the error.
            let text = failure.text().unwrap_or("interrupted");
            visit.error = Some(printable(text.strip_prefix(&format!("{}: ", visit.endpoint)).unwrap_or(text)));
        }
        if let Some(peer) = &visit.peer {
            log::debug!("{} is {peer}", visit.endpoint);
        }
        visit
    }

    fn question(&self, visit: &mut Visit) -> Result<()> {
        let Crawl { me, transport, timeout, stop, .. } = self.crawl;
        let query = Query { me, comm: self.comm, stop, deadline: Instant::now() + *timeout };
        let dialled = transport.dial(&visit.endpoint, *timeout, stop);
        // Also if the transport refuses the server's certificate: then the cause may be its end.
        visit.tls_expires = self.tls_expiry(&visit.endpoint, query.deadline)?;
        let client = dialled?;
        // The first Ping is part of the dial.
        client.ping(*timeout)?;
        let sent = Instant::now();
        client.ping(*timeout)?;
        visit.round_trip = Some(sent.elapsed());
        drop(client);
        let info = query.connect(&visit.endpoint)?;
        visit.peer = Some(info.id.to_string());
        let pulled = Pulled { identity: info.identity.clone(), valid: Ok(()) };
        self.identities.lock().insert(info.id.clone(), pulled);
        // Others do not disclose their members to us.
        if query.organisation(&info).as_deref() == Some(&me.mspid) {
            visit.view = Some(self.view(&query, &info)?);
        }
        self.comm.close_conn(&RemotePeer::with_id("", info.id));
        Ok(())
    }

    /// Returns when the TLS certificate of the server expires, if it presents one in time.
    fn tls_expiry(&self, endpoint: &str, deadline: Instant) -> Result<Option<Seconds>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let (Some(files), Ok(Endpoint { host, port })) = (self.crawl.tls, endpoint.parse()) else { return Ok(None) };
        let probe = TlsProbe::new(files, &host);
        let expiry = move || {
            let left = || Some(deadline.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero());
            let mut addresses = (host.as_str(), port).to_socket_addrs().ok()?;
            let tcp = addresses.find_map(|address| TcpStream::connect_timeout(&address, left()?).ok())?;
            probe.expiry(tcp, left()?)
        };
        Ok(within(self.crawl.stop, left, expiry)?.flatten())
    }

    fn view(&self, query: &Query<'_>, info: &ConnectionInfo) -> Result<View> {
        let lists = query.membership(info)?;
        match query.identities(info, |id| self.identities.lock().contains_key(id)) {
            Ok(pulled) => self.identities.lock().extend(pulled),
            Err(Failure::Stopped) => return Err(Failure::Stopped),
            Err(e) => log::info!("{}: no identities: {}", info.endpoint, e.text().unwrap_or_default()),
        }
        self.learn_brought(&lists);
        let rows = |listed: Vec<Listed>| listed.into_iter().map(|member| self.member(member)).collect();
        Ok(View { alive: rows(lists.alive), dead: rows(lists.dead) })
    }

    /// Adds identities that recently started members include.
    fn learn_brought(&self, lists: &Lists) {
        for member in lists.alive.iter().chain(&lists.dead) {
            if self.identity(&member.pki_id).is_none() {
                if let Some(identity) = member.brought(&*self.crawl.me.crypto) {
                    self.identities.lock().insert(member.pki_id.clone(), Pulled { identity, valid: Ok(()) });
                }
            }
        }
    }

    /// Returns a valid identity.
    fn identity(&self, id: &PkiId) -> Option<PeerIdentity> {
        self.identities.lock().get(id).filter(|pulled| pulled.valid.is_ok()).map(|pulled| pulled.identity.clone())
    }

    fn member(&self, listed: Listed) -> Member {
        let identity = self.identity(&listed.pki_id);
        Member {
            pki_id: listed.pki_id.to_string(),
            verified: identity.map(|identity| listed.is_signed_by(&identity, &*self.crawl.me.crypto)),
            started: listed.time.0,
            sequence: listed.time.1,
            external: listed.endpoint,
            internal: listed.internal_endpoint,
        }
    }
}

/// Warns of the effects that a survey has on the network.
pub fn warn(me: &Me) {
    query::warn_of_entry(me);
}

fn describe(pulled: &Pulled) -> Identity {
    let described = Described::new(&pulled.identity);
    Identity {
        mspid: described.mspid.clone().unwrap_or_default(),
        name: described.common_name(),
        expires: described.certificate.as_ref().and_then(|x509| certificate::unix(x509.not_after())),
        invalid: pulled.valid.clone().err(),
    }
}
