//! Peers in this process that answer for their membership what a test wants.

use crate::support::TempDir;
use bytes::Bytes;
use fabric_gossip::comm::{Comm, ReceivedMessage};
use fabric_gossip::crypto::{CryptoService, PkiId};
use fabric_gossip::internals::message::{data_digest, data_update, peer_identity};
use fabric_gossip::message::{Content, GossipMessage, PullMsgType, SignedMessage, Tag};
use fabric_gossip::msp::MspCryptoService;
use fabric_gossip::proto::gossip::{self, AliveMessage, MembershipResponse, PeerTime};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

/// An identity with its services.
pub struct Identity {
    pub member: Member,
    pub crypto: Arc<MspCryptoService>,
    pub pki_id: PkiId,
}

impl Identity {
    /// `others` are the organisations to trust.
    pub fn new(org: &Org, member: Member, others: &[&Org]) -> Identity {
        let crypto = org.crypto_service(&member, others).unwrap();
        let pki_id = crypto.pki_id(&member.identity()).unwrap();
        Identity { member, crypto, pki_id }
    }

    /// The alive message with which the peer makes itself known, started an hour ago.
    pub fn alive(&self, internal: &str, external: &str) -> SignedMessage {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let member = gossip::Member { pki_id: self.pki_id.to_bytes(), endpoint: external.into(), ..Default::default() };
        let alive = AliveMessage {
            membership: Some(member).into(),
            timestamp: Some(PeerTime { inc_num: now - 3_600_000_000_000, seq_num: 42, ..Default::default() }).into(),
            ..Default::default()
        };
        let sign = |bytes: &[u8]| self.crypto.sign(bytes);
        let alive = SignedMessage::sign(message(0, Content::AliveMsg(alive)), sign).unwrap();
        alive.sign_secret(internal, sign).unwrap()
    }

    fn announcement(&self) -> SignedMessage {
        let message = peer_identity(&self.pki_id, &self.member.identity());
        SignedMessage::sign(message, |bytes| self.crypto.sign(bytes)).unwrap()
    }

    /// Writes the folders of the peer and its organisation, and returns the flags of the tool that use them.
    pub fn flags(&self, org: &Org, dir: &TempDir, trusted: &[&Org]) -> Vec<String> {
        org.write_to(dir.path(), std::slice::from_ref(&self.member)).unwrap();
        let msp = dir.join(format!("peerOrganizations/{}/peers/{}/msp", org.domain(), self.member.name));
        let mut flags = vec!["--msp".to_owned(), msp.to_str().unwrap().into()];
        flags.extend(["--mspid".into(), self.member.mspid.clone()]);
        for org in trusted {
            org.write_to(dir.path(), &[]).unwrap();
            let folder = dir.join(format!("peerOrganizations/{}/msp", org.domain()));
            flags.extend(["--trust-msp".into(), format!("{}={}", org.mspid(), folder.display())]);
        }
        flags
    }
}

/// Lists of members, and the identities that are offered.
#[derive(Clone, Default)]
pub struct Answer {
    pub alive: Vec<SignedMessage>,
    pub dead: Vec<SignedMessage>,
    pub identities: Vec<(PkiId, SignedMessage)>,
}

impl Answer {
    pub fn knows(mut self, identity: &Identity) -> Answer {
        self.identities.push((identity.pki_id.clone(), identity.announcement()));
        self
    }
}

/// A peer that listens and answers.
pub struct Gossiper {
    pub identity: Identity,
    pub endpoint: String,
    answer: Arc<Mutex<Answer>>,
    comm: Comm,
    answers: Option<JoinHandle<()>>,
}

impl Gossiper {
    pub fn start(identity: Identity, orgs: &[&Org]) -> Gossiper {
        let Member { tls_cert, tls_key, .. } = &identity.member;
        let roots = orgs.iter().map(|org| Pem::new(org.domain(), org.tls_ca_cert().unwrap()));
        let roots = roots.reduce(Pem::and).unwrap();
        let tls = TlsConfig::new(Pem::new("cert", tls_cert.as_str()), Pem::new("key", tls_key.as_str()), roots);
        let crypto = identity.crypto.clone();
        let comm = Comm::builder(identity.member.identity(), crypto.clone(), crypto)
            .listen("127.0.0.1:0")
            .tls(Tls::new(tls).unwrap())
            .start()
            .unwrap();
        let (endpoint, questions) = (comm.local_addr().unwrap().to_owned(), comm.subscribe(|_| true));
        let answer = Arc::new(Mutex::new(Answer::default()));
        let current = answer.clone();
        let answers = std::thread::spawn(move || {
            questions.iter().for_each(|question| respond(&question, &current.lock().unwrap().clone()))
        });
        Gossiper { identity, endpoint, answer, comm, answers: Some(answers) }
    }

    /// Sets what it answers from now on.
    pub fn answers(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }

    pub fn alive(&self) -> SignedMessage {
        self.identity.alive(&self.endpoint, &self.endpoint)
    }

    pub fn pki_id(&self) -> String {
        self.identity.pki_id.to_string()
    }
}

impl Drop for Gossiper {
    fn drop(&mut self) {
        self.comm.stop();
        self.answers.take().unwrap().join().unwrap();
    }
}

fn message(nonce: u64, content: Content) -> GossipMessage {
    GossipMessage { nonce, tag: Tag::EMPTY.into(), content: Some(content), ..Default::default() }
}

fn respond(question: &ReceivedMessage, answer: &Answer) {
    let identities = PullMsgType::IDENTITY_MSG;
    let wire = |messages: &[SignedMessage]| messages.iter().map(SignedMessage::to_proto).collect();
    let response = match question.message().content() {
        Some(Content::MemReq(_)) => {
            let response =
                MembershipResponse { alive: wire(&answer.alive), dead: wire(&answer.dead), ..Default::default() };
            message(question.message().nonce(), Content::MemRes(response))
        }
        Some(Content::Hello(hello)) => {
            let digests = answer.identities.iter().map(|(id, _)| id.to_bytes()).collect();
            data_digest(hello.nonce, identities, digests)
        }
        Some(Content::DataReq(request)) => {
            let wanted = |id: &PkiId| request.digests.iter().any(|digest: &Bytes| digest[..] == *id.as_bytes());
            let items = answer.identities.iter().filter(|(id, _)| wanted(id));
            let items: Vec<_> = items.map(|(_, announcement)| announcement.envelope().clone()).collect();
            data_update(request.nonce, identities, &items)
        }
        _ => return,
    };
    // The tool has gone if it fails.
    let _ = question.respond(response);
}
