//! `members`: the membership known to a peer of our organisation.

use crate::failure::{Failure, Result};
use crate::identity::{Described, Me};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::tls_options::{Role, TlsArgs};
use crate::values::{brief, hex, short, timeout};
use crate::Context;
use clap::Args;
use fabric_gossip::comm::{Comm, ConnectionInfo, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::internals::random::{Random, SystemRandom};
use fabric_gossip::message::{Content, Envelope, GossipMessage, PullMsgType, SignedMessage, Tag};
use fabric_gossip::proto::gossip::{
    AliveMessage, DataRequest, GossipHello, Member, MembershipRequest, MembershipResponse, PeerTime,
};
use fabric_gossip::transport::Limits;
use fabric_gossip::{Error, ErrorKind};
use serde_json::{json, Value};
use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

/// Our own time in the request: older than any peer's, so that it supersedes none. With a current time and the identity
/// of a running peer, that peer's own messages would look old to the whole network.
const OLDEST: (u64, u64) = (1, 1);

/// Show the members of our organisation that a peer knows: alive and dead, with endpoints and uptime (peers disclose
/// only members of their own organisation to each other; others are found through anchor peers)
#[derive(Args)]
pub struct MembersArgs {
    #[command(flatten)]
    target: TargetArg,
    /// How long to wait for the answer
    #[arg(long, value_name = "D", default_value = "5s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &MembersArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?.to_string();
    let me = args.identity.load(&context.settings)?;
    let files = args.tls.load(Role::Dial, &args.identity, &me.msps, &context.settings)?;
    let transport = context.transport.create(files.map(|f| f.tls), Limits::default())?;
    let comm = Comm::builder(me.identity.clone(), me.crypto.clone(), me.crypto.clone()).transport(transport).start()?;
    let answers = comm.subscribe(|_| true);
    let deadline = Instant::now() + args.timeout;
    let question = Question { me: &me, comm: &comm, answers: &answers, deadline };
    let asked = question.ask(&RemotePeer::new(&endpoint));
    comm.stop();
    match asked {
        Ok(found) => {
            found.print(context);
            found.warn(&me);
            Ok(())
        }
        Err(_) if context.stop.is_cancelled() => Err(fail(context, Failure::Stopped)),
        Err(failure) => Err(fail(context, failure)),
    }
}

/// Prints the summary of a request that failed.
fn fail(context: &Context, failure: Failure) -> Failure {
    if context.out.is_json() {
        let error = failure.text().map_or_else(|| context.interrupted.reason().to_owned(), printable);
        let line = json!({"event": "membership", "ok": false, "alive": [], "dead": [], "error": error});
        context.out.line(|| line, String::new);
    }
    failure
}

/// A request to one peer over one connection, with a deadline.
struct Question<'a> {
    me: &'a Me,
    comm: &'a Comm,
    answers: &'a Subscription<ReceivedMessage>,
    deadline: Instant,
}

impl Question<'_> {
    fn ask(&self, peer: &RemotePeer) -> Result<Found> {
        let info = self.comm.connect(peer, self.left())?.info;
        let theirs = self.me.crypto.org_by_peer_identity(&info.identity);
        if theirs.as_ref().is_none_or(|org| org.as_str() != self.me.mspid) {
            let org = theirs.map_or_else(|| "an unknown organisation".to_owned(), |org| org.to_string());
            return Err(Failure::Peer(format!(
                "{} belongs to {}, not to {}, and does not disclose its members to us; ask a peer of our own organisation",
                peer.endpoint,
                printable(&org),
                self.me.mspid
            )));
        }
        let response = self.membership(&info)?;
        let mut identities = self.identities(&info).unwrap_or_else(|e| {
            log::info!("the members' organisations are unknown: {}", e.text().unwrap_or_default());
            HashMap::new()
        });
        identities.insert(info.id.clone(), info.identity.clone());
        identities.insert(self.me.pki_id.clone(), self.me.identity.clone());
        let rows = |envelopes: &[fabric_gossip::proto::gossip::Envelope]| {
            let mut rows: Vec<Row> =
                envelopes.iter().filter_map(|envelope| Row::new(envelope, &identities, &*self.me.crypto)).collect();
            rows.sort_by(|a, b| a.pki_id.cmp(&b.pki_id));
            rows
        };
        Ok(Found { asked: info.id.clone(), alive: rows(&response.alive), dead: rows(&response.dead) })
    }

    fn membership(&self, info: &ConnectionInfo) -> Result<MembershipResponse> {
        let alive = AliveMessage {
            membership: Some(Member { pki_id: self.me.pki_id.to_bytes(), ..Default::default() }).into(),
            timestamp: Some(PeerTime { inc_num: OLDEST.0, seq_num: OLDEST.1, ..Default::default() }).into(),
            identity: self.me.identity.to_bytes(),
            ..Default::default()
        };
        let alive = message(0, Content::AliveMsg(alive));
        let alive = SignedMessage::sign(alive, |bytes| self.me.crypto.sign(bytes))?;
        let request = MembershipRequest { self_information: Some(alive.to_proto()).into(), ..Default::default() };
        let nonce = SystemRandom.next_u64();
        self.send(info, message(nonce, Content::MemReq(request)))?;
        self.await_answer(info, "a membership response", |answer| match answer.content() {
            Some(Content::MemRes(response)) if answer.nonce() == nonce => Some(response.clone()),
            _ => None,
        })
    }

    /// Returns the members' identities, pulled from the peer as peers do among each other.
    fn identities(&self, info: &ConnectionInfo) -> Result<HashMap<PkiId, PeerIdentity>> {
        let (nonce, msg_type) = (SystemRandom.next_u64(), PullMsgType::IDENTITY_MSG.into());
        let hello = GossipHello { nonce, msg_type, ..Default::default() };
        self.send(info, message(0, Content::Hello(hello)))?;
        let digests = self.await_answer(info, "a digest", |answer| match answer.content() {
            Some(Content::DataDig(digest)) if digest.nonce == nonce => Some(digest.digests.clone()),
            _ => None,
        })?;
        let request = DataRequest { nonce, digests, msg_type, ..Default::default() };
        self.send(info, message(0, Content::DataReq(request)))?;
        let items = self.await_answer(info, "identities", |answer| match answer.content() {
            Some(Content::DataUpdate(update)) if update.nonce == nonce => Some(update.data.clone()),
            _ => None,
        })?;
        Ok(items.iter().filter_map(|item| self.identity(Envelope::from(item.clone()))).collect())
    }

    /// Returns an identity if it matches its PKI-ID and is valid.
    fn identity(&self, item: Envelope) -> Option<(PkiId, PeerIdentity)> {
        let item = SignedMessage::from_envelope(Some(item)).ok()?;
        let Some(Content::PeerIdentity(found)) = item.content() else { return None };
        let (pki_id, identity) = (PkiId::new(found.pki_id.clone()), PeerIdentity::new(found.cert.clone()));
        let crypto = &self.me.crypto;
        let fits = crypto.pki_id(&identity).as_ref() == Some(&pki_id);
        (fits && crypto.validate_identity(&identity).is_ok()).then_some((pki_id, identity))
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
        info: &ConnectionInfo,
        what: &str,
        wanted: impl Fn(&SignedMessage) -> Option<T>,
    ) -> Result<T> {
        loop {
            let answer = self.answers.recv_timeout(self.left()).map_err(|e| match e.kind() {
                ErrorKind::Timeout => Error::new(
                    ErrorKind::Timeout,
                    format!("timed out waiting for {what}: the peer keeps no membership, or does not trust us"),
                )
                .with_peer(&info.endpoint),
                _ => e,
            })?;
            if answer.connection_info().id == info.id {
                if let Some(found) = wanted(answer.message()) {
                    return Ok(found);
                }
            }
        }
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

fn message(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage { nonce, tag: Tag::EMPTY.into(), content: Some(content), ..Default::default() }
}

/// The peer's answer.
struct Found {
    asked: PkiId,
    alive: Vec<Row>,
    dead: Vec<Row>,
}

/// One member.
struct Row {
    endpoint: String,
    internal_endpoint: String,
    pki_id: PkiId,
    metadata: Vec<u8>,
    /// The MSP id in its identity, if the peer had that.
    mspid: Option<String>,
    name: String,
    /// Whether the member's own signature is valid; `None` if its identity is not known.
    verified: Option<bool>,
    time: (u64, u64),
}

impl Row {
    fn new(
        envelope: &fabric_gossip::proto::gossip::Envelope,
        identities: &HashMap<PkiId, PeerIdentity>,
        crypto: &dyn CryptoService,
    ) -> Option<Row> {
        let alive = SignedMessage::from_envelope(Some(Envelope::from(envelope.clone()))).ok()?;
        let Some(Content::AliveMsg(content)) = alive.content() else { return None };
        let (member, time) = (content.membership.as_ref()?, content.timestamp.as_ref()?);
        let pki_id = PkiId::new(member.pki_id.clone());
        // A recently started member includes its identity.
        let brought = PeerIdentity::new(content.identity.clone());
        let identity = identities.get(&pki_id).or_else(|| {
            let fits = crypto.pki_id(&brought).as_ref() == Some(&pki_id);
            (fits && crypto.validate_identity(&brought).is_ok()).then_some(&brought)
        });
        let described = identity.map(Described::new);
        Some(Row {
            endpoint: member.endpoint.to_string(),
            internal_endpoint: alive.internal_endpoint(),
            metadata: member.metadata.to_vec(),
            mspid: described.as_ref().and_then(|d| d.mspid.clone()),
            name: described.map(|d| d.common_name()).unwrap_or_default(),
            verified: identity
                .map(|i| alive.verify(i, |who: &_, sig: &_, msg: &_| crypto.verify(who, sig, msg)).is_ok()),
            time: (time.inc_num, time.seq_num),
            pki_id,
        })
    }

    /// Returns how long its process has been running.
    fn started(&self) -> Option<Duration> {
        let started = SystemTime::UNIX_EPOCH.checked_add(Duration::from_nanos(self.time.0))?;
        SystemTime::now().duration_since(started).ok().filter(|_| self.time.0 > 1)
    }

    fn is_our_question(&self) -> bool {
        self.time == OLDEST
    }

    fn json(&self) -> Value {
        json!({
            "endpoint": self.endpoint, "internal_endpoint": self.internal_endpoint, "pki_id": self.pki_id.to_string(),
            "mspid": self.mspid, "metadata": hex(&self.metadata), "verified": self.verified,
            "incarnation": self.time.0, "sequence": self.time.1,
            "started_s": self.started().map(|started| started.as_secs()),
        })
    }

    fn text(&self, asked: &PkiId) -> String {
        let endpoint = match (self.internal_endpoint.as_str(), self.endpoint.as_str()) {
            ("", "") => "no endpoint".to_owned(),
            ("", external) => format!("{external} (external)"),
            (internal, "") => internal.to_owned(),
            (internal, external) if internal == external => internal.to_owned(),
            (internal, external) => format!("{internal}, outside {external}"),
        };
        let mut text = format!(
            "    {}  {} of {}  {}",
            brief(&self.pki_id),
            if self.name.is_empty() { "?" } else { &self.name },
            self.mspid.as_deref().unwrap_or("an unknown organisation"),
            endpoint
        );
        if let Some(started) = self.started() {
            text += &format!("  up for {}, message {}", since(started), self.time.1);
        }
        if !self.metadata.is_empty() {
            text += &format!("  metadata {}", hex(&self.metadata));
        }
        if self.pki_id == *asked {
            text += "  (asked)";
        }
        if self.verified == Some(false) {
            text += "  BAD SIGNATURE";
        }
        printable(&text)
    }
}

/// Formats a long time for humans.
fn since(time: Duration) -> String {
    match time.as_secs() {
        s if s < 60 => short(time),
        s if s < 3600 => format!("{} min", s / 60),
        s if s < 2 * 86_400 => format!("{} h", s / 3600),
        s => format!("{} days", s / 86_400),
    }
}

impl Found {
    fn print(&self, context: &Context) {
        context.out.line(
            || {
                let rows = |rows: &[Row]| rows.iter().map(Row::json).collect::<Vec<_>>();
                json!({"event": "membership", "ok": true, "alive": rows(&self.alive), "dead": rows(&self.dead), "error": null})
            },
            || {
                let mut lines = Vec::new();
                for (what, rows) in [("alive", &self.alive), ("dead", &self.dead)] {
                    lines.push(format!("  {what}: {}", rows.len()));
                    lines.extend(rows.iter().map(|row| row.text(&self.asked)));
                }
                lines.join("\n")
            },
        );
    }

    /// Warns about the effects of the request on the network.
    fn warn(&self, me: &Me) {
        let ours = self.alive.iter().chain(&self.dead).find(|row| row.pki_id == me.pki_id);
        if ours.is_some_and(|row| !row.is_our_question()) {
            log::warn!(
                "the identity belongs to a running peer: this connection replaced that peer's own connection, which it \
                 must open again"
            );
        } else {
            log::warn!("no peer runs with this identity, so the network lists it as dead for a while");
        }
    }
}
