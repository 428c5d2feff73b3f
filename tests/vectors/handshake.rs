//! handshake.json: a peer of ours in Fabric's place, over the network in memory, against a peer that is spoken by hand.

use crate::json::compare as compare_json;
use crate::orgs::{identity, text, Orgs};
use crate::record::Record;
use crate::support::{check_sections, hex, load};
use crate::tally::{Case, Tally};
use bytes::Bytes;
use crossbeam_channel::{bounded, Sender};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, Event, Handshake, ReceivedMessage, RemotePeer, Subscription};
use fabric_gossip::config::CommConfig;
use fabric_gossip::crypto::{CryptoService, PkiId};
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::msp::MspCryptoService;
use fabric_gossip::testing::MemoryNetwork;
use fabric_gossip::transport::{Acceptor, Status, Stream, StreamEnd};
use fabric_gossip::Result;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;

const FILE: &str = "handshake.json";

/// Time limit for an expected event.
const PATIENCE: Duration = Duration::from_secs(30);

/// The connection timeout where it decides. (One second in the recordings.)
const SHORT: Duration = Duration::from_millis(50);

/// All deliberate differences from the recordings. A case without `envelope_bytes` sends nothing, and is run in
/// both ways in which a peer can be silent: its stream stays open, which must end as recorded, or ends. When it
/// ends, Fabric waits its whole connection timeout and then says `timed out waiting for connection message from …`; there
/// is nothing to wait for, so we state immediately, in these words, what happened.
const ENDED: &str = "the stream ended during the handshake: the peer closed the stream";

/// The keys that a case can expect. Any other would be compared with nothing.
const EXPECTATIONS: [&str; 14] = [
    "ok",
    "error",
    "grpc_code",
    "note",
    "probe",
    "fabric_sent_conn_first",
    "identity_in_mapper_after",
    "identity_equals",
    "delivered_nonce",
    "conn_pki_id",
    "conn_identity_equals",
    "conn_auth_signature_equals",
    "conn_auth_signed_data_equals_payload",
    "reencoded_equals",
];

#[test]
fn every_section_is_run() {
    check_sections(&load(FILE), &["cases", "expected_pki_cases", "own_messages"]);
}

/// Fabric's side of a case: the member `local`, and the network that it is in.
struct Local {
    comm: Comm,
    network: MemoryNetwork,
    inbox: Subscription<ReceivedMessage>,
    identity_switch: Subscription<PkiId>,
    presumed_dead: Subscription<PkiId>,
    events: Subscription<Event>,
}

impl Local {
    /// At the endpoint `local`, with the TLS certificate of the recordings if there is TLS.
    fn new(file: &Record, service: Arc<MspCryptoService>, tls: bool, conn_timeout: Duration) -> Local {
        let cert = hex(&file["local"]["tls_cert_der"]).map(Bytes::from).filter(|_| tls);
        let network = MemoryNetwork::new(Arc::new(SystemClock));
        let mut config = CommConfig::default();
        config.conn_timeout = conn_timeout;
        let comm = Comm::builder(service.signer().expect("a signer").serialize(), service.clone(), service)
            .config(config)
            .transport(network.transport(cert.clone()))
            .start()
            .expect("a peer");
        network.listen("local", cert, comm.acceptor());
        let (inbox, events) = (comm.subscribe(|_| true), comm.events());
        let (identity_switch, presumed_dead) = (comm.identity_switch(), comm.presumed_dead());
        Local { comm, network, inbox, identity_switch, presumed_dead, events }
    }

    /// Opens a stream to it with this TLS certificate.
    fn dial(&self, cert: Option<Bytes>) -> Arc<dyn Stream> {
        let client = self.network.transport(cert).dial("local", PATIENCE, &Cancel::new()).expect("a connection");
        client.open(None).expect("a stream")
    }

    fn knows(&self, id: &PkiId) -> bool {
        self.comm.identity_mapper().get(id).is_ok()
    }
}

/// The behaviour of a remote peer that sends nothing.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    /// The recorded envelope, and then the messages that belong to it.
    Envelope,
    Nothing,
    /// Nothing, and ends its side.
    Goodbye,
}

#[test]
fn handshakes_are_judged_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let mut tally = Tally::default();
    for entry in file["cases"].as_array().expect("cases") {
        let ways: &[Says] = match entry["envelope_bytes"].is_null() {
            false => &[Says::Envelope],
            true => &[Says::Nothing, Says::Goodbye],
        };
        let mut case = tally.case(entry);
        case.describe(&entry["expect"], &["note"]);
        let (cert, hash) = (hex(&entry["remote_tls_cert_der"]), hex(&entry["expected_hash"]));
        case.same("hash of the certificate", cert.map(|der| Sha256::digest(der).to_vec()), hash);
        for key in entry["expect"].as_object().expect("expectations").keys() {
            assert!(EXPECTATIONS.contains(&key.as_str()), "{}: nothing checks {key}", case.id);
        }
        for &says in ways {
            let service = orgs.service(text(&entry["local_msp"]), text(&file["local"]["member"]), &entry["channels"]);
            let timeout = if says == Says::Nothing { SHORT } else { PATIENCE };
            let local = Local::new(&file, service, entry["tls"] == true, timeout);
            match text(&entry["role"]) {
                "acceptor" => acceptor(&mut case, entry, &local, says),
                "initiator" => initiator(&mut case, entry, &local, says),
                other => panic!("role {other}"),
            }
            let sender = local.comm.identity_mapper().pki_id_of(&identity(&entry["identity"])).map(|id| id.to_string());
            case.same("PKI-ID of the identity", sender.as_deref(), entry["pki_id"].as_str());
            let known = local.knows(&PkiId::from(hex(&entry["pki_id"]).expect("a PKI-ID")));
            case.same("identity known after", known, entry["expect"]["identity_in_mapper_after"] == true);
        }
    }
    tally.report("handshakes");
}

/// The verdict: the recorded one, or for a stream that ended our own.
fn verdict(case: &mut Case<'_, '_>, says: Says, ours: Option<&str>, expect: &Record) {
    match says {
        Says::Goodbye => case.same("says", ours, Some(ENDED)),
        _ => case.verdict_text("verdict", ours, expect),
    }
}

fn acceptor(case: &mut Case<'_, '_>, entry: &Record, local: &Local, says: Says) {
    let expect = &entry["expect"];
    let nonce = expect["delivered_nonce"].as_u64().unwrap_or(42);
    let stream = local.dial(hex(&entry["remote_tls_cert_der"]).map(Bytes::from));
    // It may be over already: a stream without a certificate is not served. Then the status shows it.
    if let Some(envelope) = hex(&entry["envelope_bytes"]) {
        let _ = stream.send(envelope.into());
        let data = message::data(nonce, "channel", 1, vec![7; 10]);
        let _ = stream.send(SignedMessage::noop_sign(data).expect("a message").wire());
    }
    if says != Says::Nothing {
        let _ = stream.finish(&Status::ok());
    }

    let (mut messages, status) = (Vec::new(), loop_to_end(&*stream));
    let status = match status {
        (read, StreamEnd::Remote(status)) => {
            messages.extend(read);
            status
        }
        (_, end) => return case.wrong(format!("ended without a status: {end}")),
    };
    let refused = (status.code != 0).then_some(status.message.as_str());
    verdict(case, says, refused, expect);
    if status.code != 0 {
        let name = if status.code == 2 { "Unknown".to_owned() } else { format!("code {}", status.code) };
        case.same("gRPC status", Some(name.as_str()), expect["grpc_code"].as_str());
    }
    let conn_first = messages.first().is_some_and(|m| matches!(m.content(), Some(Content::Conn(_))));
    case.same("connection message first", conn_first, expect["fabric_sent_conn_first"] == true);
    case.same("messages", messages.len(), usize::from(conn_first));

    let received = local.inbox.try_recv().expect("a subscription");
    case.same("delivered", received.as_ref().map(|m| m.message().nonce()), expect["delivered_nonce"].as_u64());
    case.same("a probe", refused.is_none() && received.is_none(), expect["probe"] == true);
    let Some(received) = received else { return };
    let info = received.connection_info();
    let sent = SignedMessage::decode(hex(&entry["envelope_bytes"]).expect("an envelope").into()).expect("a message");
    case.same("PKI-ID", Some(info.id.to_string().as_str()), expect["conn_pki_id"].as_str());
    let same = info.identity == identity(&entry["identity"]);
    case.same("identity", same, expect["conn_identity_equals"] == true);
    let same = info.auth.signature == sent.envelope().signature;
    case.same("signature kept", same, expect["conn_auth_signature_equals"] == true);
    let same = info.auth.signed_data == sent.envelope().payload;
    case.same("payload kept", same, expect["conn_auth_signed_data_equals_payload"] == true);
}

/// Everything that comes, and how it ends.
fn loop_to_end(stream: &dyn Stream) -> (Vec<SignedMessage>, StreamEnd) {
    let mut messages = Vec::new();
    loop {
        match stream.recv(Some(PATIENCE)) {
            Ok(Some(wire)) => messages.push(SignedMessage::decode(wire).expect("a message")),
            Ok(None) => panic!("the stream does not end"),
            Err(end) => return (messages, end),
        }
    }
}

fn initiator(case: &mut Case<'_, '_>, entry: &Record, local: &Local, says: Says) {
    let expect = &entry["expect"];
    let envelope = hex(&entry["envelope_bytes"]).map(Bytes::from);
    let (result, first) = shake_hands(local, hex(&entry["remote_tls_cert_der"]).map(Bytes::from), envelope, says);
    verdict(case, says, result.as_ref().err().map(|e| e.message()), expect);
    if let Ok(handshake) = &result {
        let same = handshake.info.identity == identity(&entry["identity"]);
        case.same("identity", same, expect["identity_equals"] == true);
        case.same("confirmed", handshake.confirmed, true);
    }
    let first = first.map(|wire| SignedMessage::decode(wire).expect("a message"));
    let probes = first.as_ref().is_some_and(|m| matches!(m.content(), Some(Content::Conn(conn)) if conn.probe));
    case.same("our probing connection message came", probes, true);
}

/// `local` probes a peer that sends this envelope. Returns the result, and the first message that the peer received.
fn shake_hands(
    local: &Local,
    cert: Option<Bytes>,
    envelope: Option<Bytes>,
    says: Says,
) -> (Result<Handshake>, Option<Bytes>) {
    let (got, seen) = bounded(1);
    local.network.listen("remote", cert, Arc::new(Scripted { envelope, says, got }));
    let result = local.comm.handshake(&RemotePeer::new("remote"));
    (result, seen.recv_timeout(PATIENCE).ok())
}

/// Sends its envelope, if it has one, and accepts every peer.
struct Scripted {
    envelope: Option<Bytes>,
    says: Says,
    got: Sender<Bytes>,
}

impl Acceptor for Scripted {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        if let Ok(Some(wire)) = stream.recv(None) {
            let _ = self.got.send(wire);
        }
        if let Some(envelope) = &self.envelope {
            let _ = stream.send(envelope.clone());
        }
        if self.says == Says::Nothing {
            while stream.recv(None).is_ok() {}
        }
        Status::ok()
    }
}

#[test]
fn own_messages_are_made_and_read_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let mut tally = Tally::default();
    for entry in file["own_messages"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let service = orgs.service(text(&file["local"]["msp"]), text(&file["local"]["member"]), &json!({}).into());
        let wire = hex(&entry["envelope_bytes"]).expect("an envelope");
        let recorded = SignedMessage::decode(wire.clone().into()).expect("a message");
        if let Err(why) = compare_json(recorded.message(), &entry["message"]) {
            case.wrong(why);
        }
        let again = SignedMessage::sign(recorded.message().clone(), |_| Ok(recorded.envelope().signature.to_vec()));
        let same = again.expect("a message").wire() == wire;
        case.same("encodes to the same bytes", same, entry["expect"]["reencoded_equals"] == true);
        let from = identity(&entry["identity"]);
        let verified =
            recorded.verify(&from, |who: &_, signature: &[u8], signed: &[u8]| service.verify(who, signature, signed));
        case.verdict("signature", &verified, &entry["expect"]);
        case.same("PKI-ID", service.pki_id(&from), hex(&entry["pki_id"]).map(PkiId::new));
        let hash = hex(&entry["own_tls_cert_der"]).map(|der| Sha256::digest(der).to_vec());
        case.same("hash", hash, hex(&entry["expected_hash"]));

        // The message that we send in the same situation, but for the signature, which is never the same twice.
        let local = Local::new(&file, service.clone(), entry["tls"] == true, PATIENCE);
        let remote_cert = (entry["tls"] == true).then(|| Bytes::from_static(b"some certificate"));
        let ours = match text(&entry["role"]) {
            "acceptor" => local.dial(remote_cert).recv(Some(PATIENCE)).expect("a stream").expect("a message"),
            "initiator" => shake_hands(&local, remote_cert, None, Says::Goodbye).1.expect("a message"),
            other => panic!("role {other}"),
        };
        let ours = SignedMessage::decode(ours).expect("a message");
        case.same("our payload", &ours.envelope().payload, &recorded.envelope().payload);
        case.same("our secret envelope", ours.envelope().secret.is_some(), recorded.envelope().secret.is_some());
        let signed = service.verify(&from, &ours.envelope().signature, &ours.envelope().payload);
        case.same("our signature", signed.is_ok(), true);
    }
    tally.report("own connection messages");
}

#[test]
fn expected_peers_are_told_from_others_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let both = json!({"ch": {"msps": ["org1", "org2"], "readers": [orgs.msps["org1"].id(), orgs.msps["org2"].id()]}});
    let mut tally = Tally::default();
    for entry in file["expected_pki_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let expect = &entry["expect"];
        let channels = Record::from(if entry["channel_org1_org2"] == true { both.clone() } else { json!({}) });
        let expected = hex(&entry["expected_pki_id"]).map(PkiId::new);
        let answering = text(&entry["answering_member"]);
        let meet = || {
            let service = orgs.service(text(&file["local"]["msp"]), text(&file["local"]["member"]), &channels);
            let local = Local::new(&file, service.clone(), true, PATIENCE);
            for member in entry["known_members"].as_array().into_iter().flatten() {
                let identity = orgs.identity_of(text(member));
                let id = service.pki_id(&identity).expect("a PKI-ID");
                local.comm.identity_mapper().put(&id, &identity).expect("a valid identity");
            }
            // The answering peer accepts every peer.
            let service = orgs.service(orgs.home_of(answering), answering, &both.clone().into());
            let cert = Bytes::from_static(b"the certificate of who answers");
            let remote = Comm::builder(service.signer().expect("a signer").serialize(), service.clone(), service)
                .transport(local.network.transport(Some(cert.clone())))
                .start()
                .expect("a peer");
            local.network.listen("remote", Some(cert), remote.acceptor());
            (local, remote, RemotePeer { endpoint: "remote".into(), pki_id: expected.clone() })
        };

        let (local, _remote, peer) = meet();
        case.verdict("handshake", &local.comm.handshake(&peer), &expect["handshake"]);

        let (local, remote, peer) = meet();
        let inbox = remote.subscribe(|_| true);
        let data = message::data(42, "channel", 1, vec![7; 10]);
        let sent = local.comm.send(&SignedMessage::noop_sign(data).expect("a message"), &[peer]);
        case.same("accepted for sending", sent.is_ok(), expect["ok"] == true);
        // Exactly one of the two results.
        let delivered = loop {
            match local.events.recv_timeout(PATIENCE).expect("nothing became of the message") {
                Event::Connected { .. } => break inbox.recv_timeout(PATIENCE).is_ok_and(|m| m.message().nonce() == 42),
                Event::Undelivered { .. } => break false,
                _ => {}
            }
        };
        if !delivered {
            // All consequences have been reported once all threads have ended.
            local.comm.stop();
        }
        case.same("delivered", delivered, expect["delivered"] == true);
        let switched = local.identity_switch.try_recv().ok().flatten().map(|id| id.to_string());
        case.same("identity switch", switched.as_deref(), expect["identity_switch"].as_str());
        let dead = local.presumed_dead.try_recv().ok().flatten().map(|id| id.to_string());
        case.same("presumed dead", dead.as_deref(), expect["presumed_dead"]["pki_id"].as_str());
        case.same("presumed dead or not", dead.is_none(), expect["presumed_dead"].is_null());
    }
    tally.report("expected peers");
}
