//! Questions to one peer: its membership, and the identities that it knows.

use crate::failure::{Failure, Result};
use crate::identity::{Described, Me};
use crate::keys;
use crate::output::printable;
use crate::settings::Settings;
use crate::stop::within;
use crate::values::target;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::{Comm, ConnectionInfo, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::internals::random::{Random, SystemRandom};
use fabric_gossip::message::{Content, Envelope, GossipMessage, PullMsgType, SignedMessage, Tag};
use fabric_gossip::proto::gossip::{
    self, AliveMessage, DataRequest, GossipHello, MembershipRequest, MembershipResponse, PeerTime,
};
use fabric_gossip::transport::Transport;
use fabric_gossip::{Error, ErrorKind};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Our own time in the request: older than any peer's, so that it supersedes none. With a current time and the identity
/// of a running peer, that peer's own messages would look old to the whole network.
const OLDEST: (u64, u64) = (1, 1);

/// Maximum number of members in one list of an answer, and of identities that are pulled from one peer. The rest is
/// ignored.
const MAX_ENTRIES: usize = 10_000;

/// Maximum time for finding out whether the peer with our identity runs at an endpoint.
const FIND_OURSELVES: Duration = Duration::from_secs(3);

/// Time without an answer after which the membership is asked for on a new connection. The peer with our identity, if one
/// runs, may have connected to the asked peer at the same moment: the answer then went there. Fabric prefers that
/// connection for two seconds (`connTimeout`), and the newest one afterwards.
const ASK_AGAIN: Duration = Duration::from_millis(2200);

/// Time to wait for the cause of a dial that has timed out.
const KNOW_WHY: Duration = Duration::from_secs(1);

/// Interval for checking whether the command was stopped.
const TICK: Duration = Duration::from_millis(50);

/// The two kinds of requests share a connection and a deadline.
pub struct Query<'a> {
    pub me: &'a Me,
    pub comm: &'a Comm,
    pub stop: &'a Cancel,
    pub deadline: Instant,
}

/// Lists of members, as one peer sent them.
#[derive(Default)]
pub struct Lists {
    pub alive: Vec<Listed>,
    pub dead: Vec<Listed>,
}

/// A member, as one peer listed it.
pub struct Listed {
    pub pki_id: PkiId,
    pub endpoint: String,
    pub internal_endpoint: String,
    pub metadata: Vec<u8>,
    /// Start time in nanoseconds since 1970, and number of the message since then.
    pub time: (u64, u64),
    alive: SignedMessage,
}

/// A pulled identity, and whether it is valid for us.
pub struct Pulled {
    pub identity: PeerIdentity,
    pub valid: std::result::Result<(), String>,
}

impl Query<'_> {
    pub fn connect(&self, endpoint: &str) -> Result<ConnectionInfo> {
        self.dial(RemotePeer::new(endpoint))
    }

    /// Connects on a separate thread: a signal ends the wait. The dial has the same limit as the wait, and states why it
    /// failed; the wait is a little longer, so that this is known.
    fn dial(&self, peer: RemotePeer) -> Result<ConnectionInfo> {
        let (comm, limit) = (self.comm.clone(), self.left() + KNOW_WHY);
        let endpoint = peer.endpoint.clone();
        match within(self.stop, limit + KNOW_WHY, move || comm.connect(&peer, limit))? {
            Some(connected) => Ok(connected?.info),
            None => Err(Error::new(ErrorKind::Timeout, "timed out").with_peer(endpoint).into()),
        }
    }

    /// Returns the organisation of a connected peer.
    pub fn organisation(&self, info: &ConnectionInfo) -> Option<String> {
        self.me.crypto.org_by_peer_identity(&info.identity).map(|org| org.to_string())
    }

    /// Asks for the membership.
    pub fn membership(&self, info: &ConnectionInfo) -> Result<Lists> {
        let alive = AliveMessage {
            membership: Some(gossip::Member { pki_id: self.me.pki_id.to_bytes(), ..Default::default() }).into(),
            timestamp: Some(PeerTime { inc_num: OLDEST.0, seq_num: OLDEST.1, ..Default::default() }).into(),
            identity: self.me.identity.to_bytes(),
            ..Default::default()
        };
        let alive = message(0, Content::AliveMsg(alive));
        let alive = SignedMessage::sign(alive, |bytes| self.me.crypto.sign(bytes))?;
        let request = MembershipRequest { self_information: Some(alive.to_proto()).into(), ..Default::default() };
        let nonce = SystemRandom.next_u64();
        let wanted = |answer: &SignedMessage| match answer.content() {
            Some(Content::MemRes(response)) if answer.nonce() == nonce => Some(response.clone()),
            _ => None,
        };
        let answers = self.subscribe(info);
        let request = message(nonce, Content::MemReq(request));
        self.send(info, request.clone())?;
        let first: Option<MembershipResponse> = self.await_until(Instant::now() + ASK_AGAIN, &answers, wanted)?;
        let response = match first {
            Some(response) => response,
            None => {
                if !self.left().is_zero() {
                    self.connect_again(info)?;
                    self.send(info, request)?;
                }
                self.await_answer(&answers, info, "a membership response", wanted)?
            }
        };
        let listed =
            |envelopes: &[gossip::Envelope]| envelopes.iter().take(MAX_ENTRIES).filter_map(Listed::new).collect();
        Ok(Lists { alive: listed(&response.alive), dead: listed(&response.dead) })
    }

    /// Pulls the identities that the peer knows, as peers do among each other, except those that are `known`.
    pub fn identities(&self, info: &ConnectionInfo, known: impl Fn(&PkiId) -> bool) -> Result<HashMap<PkiId, Pulled>> {
        let (nonce, msg_type) = (SystemRandom.next_u64(), PullMsgType::IDENTITY_MSG.into());
        let hello = GossipHello { nonce, msg_type, ..Default::default() };
        let answers = self.subscribe(info);
        self.send(info, message(0, Content::Hello(hello)))?;
        let mut digests = self.await_answer(&answers, info, "a digest", |answer| match answer.content() {
            Some(Content::DataDig(digest)) if digest.nonce == nonce => Some(digest.digests.clone()),
            _ => None,
        })?;
        digests.retain(|digest| !known(&PkiId::new(digest.clone())));
        digests.truncate(MAX_ENTRIES);
        if digests.is_empty() {
            return Ok(HashMap::new());
        }
        let request = DataRequest { nonce, digests, msg_type, ..Default::default() };
        self.send(info, message(0, Content::DataReq(request)))?;
        let items = self.await_answer(&answers, info, "identities", |answer| match answer.content() {
            Some(Content::DataUpdate(update)) if update.nonce == nonce => Some(update.data.clone()),
            _ => None,
        })?;
        let items = items.into_iter().take(MAX_ENTRIES);
        Ok(items.filter_map(|item| self.identity(Envelope::from(item))).collect())
    }

    /// Reads an identity that matches its PKI-ID.
    fn identity(&self, item: Envelope) -> Option<(PkiId, Pulled)> {
        let item = SignedMessage::from_envelope(Some(item)).ok()?;
        let Some(Content::PeerIdentity(found)) = item.content() else { return None };
        let (pki_id, identity) = (PkiId::new(found.pki_id.clone()), PeerIdentity::new(found.cert.clone()));
        let crypto = &self.me.crypto;
        let fits = crypto.pki_id(&identity).as_ref() == Some(&pki_id);
        let valid = crypto.validate_identity(&identity).map_err(|e| e.message().to_owned());
        fits.then_some((pki_id, Pulled { identity, valid }))
    }

    fn subscribe(&self, info: &ConnectionInfo) -> Subscription<ReceivedMessage> {
        let id = info.id.clone();
        self.comm.subscribe(move |answer| answer.connection_info().id == id)
    }

    fn send(&self, info: &ConnectionInfo, message: GossipMessage) -> Result<()> {
        let message = SignedMessage::noop_sign(message)?;
        let peer = RemotePeer::with_id("", info.id.clone());
        self.comm.send(&message, &[peer]).map_err(|mut e| match e.not_sent.pop() {
            Some(not_sent) => not_sent.error.into(),
            None => Failure::Peer(e.to_string()),
        })
    }

    fn await_answer<T>(
        &self,
        answers: &Subscription<ReceivedMessage>,
        info: &ConnectionInfo,
        what: &str,
        wanted: impl Fn(&SignedMessage) -> Option<T>,
    ) -> Result<T> {
        match self.await_until(self.deadline, answers, wanted)? {
            Some(found) => Ok(found),
            None => {
                let why = format!("timed out waiting for {what}: the peer keeps no membership, or does not trust us");
                Err(Error::new(ErrorKind::Timeout, why).with_peer(&info.endpoint).into())
            }
        }
    }

    /// Returns `None` if no wanted answer has come by this time, or by the deadline.
    fn await_until<T>(
        &self,
        until: Instant,
        answers: &Subscription<ReceivedMessage>,
        wanted: impl Fn(&SignedMessage) -> Option<T>,
    ) -> Result<Option<T>> {
        loop {
            let left = until.saturating_duration_since(Instant::now()).min(self.left());
            match answers.recv_timeout(left.min(TICK)) {
                Ok(answer) => {
                    if let Some(found) = wanted(answer.message()) {
                        return Ok(Some(found));
                    }
                }
                Err(_) if self.stop.is_cancelled() => return Err(Failure::Stopped),
                Err(e) if e.kind() != ErrorKind::Timeout => return Err(e.into()),
                Err(_) if left.is_zero() => return Ok(None),
                Err(_) => {}
            }
        }
    }

    /// Replaces the connection to a peer by a new one.
    fn connect_again(&self, info: &ConnectionInfo) -> Result<()> {
        self.comm.close_conn(&RemotePeer::with_id("", info.id.clone()));
        self.dial(RemotePeer::with_id(info.endpoint.as_str(), info.id.clone())).map(drop)
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

fn message(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage { nonce, tag: Tag::EMPTY.into(), content: Some(content), ..Default::default() }
}

impl Listed {
    fn new(envelope: &gossip::Envelope) -> Option<Listed> {
        let alive = SignedMessage::from_envelope(Some(Envelope::from(envelope.clone()))).ok()?;
        let Some(Content::AliveMsg(content)) = alive.content() else { return None };
        let (member, time) = (content.membership.as_ref()?, content.timestamp.as_ref()?);
        Some(Listed {
            pki_id: PkiId::new(member.pki_id.clone()),
            endpoint: member.endpoint.to_string(),
            internal_endpoint: alive.internal_endpoint(),
            metadata: member.metadata.to_vec(),
            time: (time.inc_num, time.seq_num),
            alive,
        })
    }

    /// Returns the identity that a recently started member includes, if it is valid.
    pub fn brought(&self, crypto: &dyn CryptoService) -> Option<PeerIdentity> {
        let Some(Content::AliveMsg(content)) = self.alive.content() else { return None };
        let brought = PeerIdentity::new(content.identity.clone());
        let fits = crypto.pki_id(&brought).as_ref() == Some(&self.pki_id);
        (fits && crypto.validate_identity(&brought).is_ok()).then_some(brought)
    }

    /// Returns whether the member itself signed the message.
    pub fn is_signed_by(&self, identity: &PeerIdentity, crypto: &dyn CryptoService) -> bool {
        self.alive.verify(identity, |who: &_, sig: &_, msg: &_| crypto.verify(who, sig, msg)).is_ok()
    }

    /// Returns the start time of the member's process; `None` for the entry that a query left.
    pub fn started(&self) -> Option<SystemTime> {
        let started = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.time.0))?;
        (self.time.0 > OLDEST.0).then_some(started)
    }

    /// Returns whether the entry was left by a query such as ours, and not by a running peer.
    pub fn is_query(&self) -> bool {
        self.time == OLDEST
    }
}

/// Starts a communication layer that dials for at most `timeout`.
pub fn start(me: &Me, transport: Arc<dyn Transport>, timeout: Duration) -> Result<Comm> {
    let mut config = CommConfig::default();
    config.dial_timeout = timeout;
    let comm = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone());
    Ok(comm.config(config).transport(transport).start()?)
}

/// Returns the endpoints in our settings at which the peer with our identity would run, without the one to ask.
pub fn own_endpoints(settings: &Settings, asked: &str) -> Result<BTreeSet<String>> {
    let published = [keys::GOSSIP_ENDPOINT, keys::GOSSIP_EXTERNAL_ENDPOINT];
    let published = published.into_iter().map(|key| settings.parsed(key, target)).collect::<Result<Vec<_>>>()?;
    // An argument names the peer to ask in place of this address, which may then be wrong.
    let address = settings.parsed(keys::ADDRESS, target).ok().flatten();
    let endpoints = published.into_iter().flatten().chain(address).map(|endpoint| endpoint.to_string());
    Ok(endpoints.filter(|endpoint| endpoint != asked).collect())
}

/// Warns, before a connection is made, if the peer with our identity runs at one of these endpoints: our connection would
/// replace its own. Returns whether it does.
pub fn warn_if_running(comm: &Comm, me: &Me, endpoints: &BTreeSet<String>, stop: &Cancel) -> bool {
    for endpoint in endpoints {
        let (comm, peer) = (comm.clone(), RemotePeer::new(endpoint.as_str()));
        let Ok(Some(Ok(found))) = within(stop, FIND_OURSELVES, move || comm.handshake(&peer)) else { continue };
        if found.info.id == me.pki_id {
            log::warn!(
                "the identity belongs to the peer that runs at {endpoint}: this connection replaces that peer's own \
                 connection, which it must open again"
            );
            return true;
        }
    }
    false
}

/// Warns, before a peer is asked, that the question leaves an entry in the network's lists.
pub fn warn_of_entry(me: &Me) {
    log::warn!(
        "asking as {} leaves an entry in the network's lists of members: unless a peer runs with this identity, a dead \
         peer for a while",
        printable(&Described::new(&me.identity).common_name())
    );
}

/// Warns, after an answer has shown it, that our connection replaced that of the peer with our identity.
pub fn warn_of_running_peer() {
    log::warn!(
        "the identity belongs to a running peer: this connection replaced that peer's own connection, which it must \
         open again"
    );
}
