//! pull.json: which identity messages are valid, and the four steps of a pull from both sides.

use crate::json::compare as compare_json;
use crate::node::{channels, envelope, mapper, TestNode};
use crate::orgs::{text, Orgs};
use crate::record::Record;
use crate::support::{check_sections, load, to_hex, unhex};
use crate::tally::{same_text, Case, Tally};
use fabric_gossip::crypto::{CryptoService, PkiId};
use fabric_gossip::internals::message as wire;
use fabric_gossip::internals::node::identities;
use fabric_gossip::message::{self, Content, GossipMessage, PullMsgType, SignedMessage, Tag};
use fabric_gossip::node::NodeConfig;
use fabric_gossip::proto::gossip::{AliveMessage, Member, PeerTime};
use serde_json::{json, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const FILE: &str = "pull.json";

/// Deliberate improvements: the identities known and offered afterwards, instead of the recorded ones.
const BETTER: &[(&str, &str)] = &[
    // One bad entry does not keep the others out.
    (
        "init-update-badsig",
        r#"{"identity_known_after": {"peer2.org1": true, "peer3.org1": false}, "own_digest_after": ["peer0.org1", "peer2.org1"]}"#,
    ),
    (
        "init-update-undecodable",
        r#"{"identity_known_after": {"peer2.org1": true, "peer3.org1": false}, "own_digest_after": ["peer0.org1", "peer2.org1"]}"#,
    ),
    (
        "init-update-nonidentity",
        r#"{"identity_known_after": {"peer2.org1": true, "peer3.org1": false}, "own_digest_after": ["peer0.org1", "peer2.org1"]}"#,
    ),
    // An identity that was not requested is not learned.
    (
        "init-update-unrequested",
        r#"{"identity_known_after": {"peer2.org1": true, "peer3.org1": false}, "own_digest_after": ["peer0.org1", "peer2.org1"]}"#,
    ),
    (
        "init-update-other-nonce",
        r#"{"identity_known_after": {"peer2.org1": false}, "own_digest_after": ["peer0.org1"]}"#,
    ),
    // An expired identity is not offered.
    ("init-update-expired", r#"{"identity_known_after": {"expired": false}, "own_digest_after": ["peer0.org1"]}"#),
];

#[test]
fn identity_messages_are_judged_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    check_sections(&file, &["initiator_cases", "peer_identity_cases", "responder_cases", "transcripts"]);
    let mut tally = Tally::default();
    for entry in file["peer_identity_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let service = orgs.service("org1", "peer0.org1", &channels(entry["channel_org1_org2"] == true));
        let mapper = mapper(&orgs, &service, "peer0.org1");
        let message = envelope(&entry["envelope_bytes"]).expect("a message");
        case.agree(compare_json(message.message(), &entry["message"]));
        let verdict = identities::verify_identity_message(&message, &mapper, &*service);
        case.same("valid", verdict.is_ok(), entry["expect"]["ok"] == true);
        if let (Err(ours), Some(recorded)) = (&verdict, entry["expect"]["error"].as_str()) {
            let recorded = recorded.split_once("<\u{2026}>").map_or(recorded, |(before, _)| before);
            case.same("text", (ours.message(), same_text(ours.message(), recorded)), (ours.message(), true));
        }
    }
    tally.report("identity messages");
}

#[test]
fn a_pull_is_answered_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let mut tally = Tally::default();
    for entry in file["responder_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let mut config = NodeConfig::default();
        config.pull.request_wait = Duration::from_millis(entry["request_wait_ms"].as_u64().expect("a time"));
        // How long the recorder waited for answers before it went on; time in which ours come too.
        let window = Duration::from_millis(entry["answer_window_ms"].as_u64().expect("a time"));
        let mut node = TestNode::with_config(&orgs, "org1", text(&entry["node"]), "", &json!({}).into(), config);
        case.same("the node goes on", Some(true), entry["expect"]["ok"].as_bool());
        let from = meet(&orgs, &node, text(&entry["asking"]));
        for step in entry["steps"].as_array().expect("steps") {
            node.advance(Duration::from_millis(step["wait_before_ms"].as_u64().unwrap_or_default()));
            node.sent.clear();
            let sent = envelope(&step["send_envelope"]).expect("a message");
            case.agree(compare_json(sent.message(), &step["send_message"]));
            node.receive(&from, sent);
            let of_pull = |it: &SignedMessage| it.message().is_pull();
            let answers = |node: &TestNode| {
                let sent = node.sent.iter().filter(|(to, it)| *to == from && of_pull(it));
                sent.map(|(_, it)| (it.is_signed(), comparable(it))).collect::<Vec<_>>()
            };
            let ours = answers(&node);
            let mut recorded = Vec::new();
            for it in step["received"].as_array().expect("a list") {
                let message = read(&mut case, it);
                recorded.push((it["signed"] == true, comparable(&message)));
            }
            case.same("answers", ours, recorded);
            node.sent.clear();
            node.advance(window);
            let late: Vec<_> =
                answers(&node).into_iter().filter(|(_, it)| !matches!(it.content, Some(Content::Hello(_)))).collect();
            case.same("answers after the first", late, Vec::new());
        }
    }
    tally.report("answered pulls");
}

/// Returns the message of a recorded envelope, after a comparison with how the recording describes it.
fn read(case: &mut Case<'_, '_>, recorded: &Record) -> SignedMessage {
    let message = envelope(&recorded["envelope_bytes"]).expect("a message");
    case.agree(compare_json(message.message(), &recorded["message"]));
    let content = text(&recorded["content"]);
    case.same(content, recorded["message"].get(content).is_some(), true);
    message
}

/// Returns the message without the signatures inside it: those are never the same twice.
fn comparable(message: &SignedMessage) -> GossipMessage {
    let mut message = message.message().clone();
    if let Some(Content::DataUpdate(update)) = &mut message.content {
        update.data.iter_mut().for_each(|item| item.signature.clear());
    }
    message
}

/// A peer that has shaken hands with the node.
fn meet(orgs: &Orgs, node: &TestNode, member: &str) -> PkiId {
    let identity = orgs.identity_of(member);
    let id = node.mapper.pki_id_of(&identity).expect("a PKI-ID");
    node.mapper.put(&id, &identity).expect("a known peer");
    id
}

#[test]
fn a_node_pulls_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let cases = file["initiator_cases"].as_array().expect("cases");
    let mut tally = Tally::default();
    for entry in cases {
        let id = text(&entry["id"]);
        let mut case = tally.case(entry);
        let mut expect = entry["expect"].whole().clone();
        if let Some((_, better)) = BETTER.iter().find(|(it, _)| *it == id) {
            let better: Value = serde_json::from_str(better).expect("JSON");
            better.as_object().expect("an object").iter().for_each(|(name, value)| expect[name] = value.clone());
        }
        let expect = Record::from(expect);
        case.same("the node goes on", Some(true), expect["ok"].as_bool());
        let mut node = TestNode::new(&orgs, "org1", text(&entry["node"]), "", &json!({}).into());
        let remote = meet(&orgs, &node, text(&entry["remote"]));
        node.receive(&remote, alive(&orgs, text(&entry["remote"]), &remote));

        let transcript = entry["transcript"].as_array().expect("a transcript");
        let mut recorded_nonce = None;
        let mut nonce = 0;
        let mut requested = None;
        for step in transcript {
            let recorded = read(&mut case, step);
            match (text(&step["dir"]), recorded.content()) {
                ("from_fabric", Some(Content::Hello(hello))) => {
                    recorded_nonce = Some(hello.nonce);
                    node.advance(Duration::from_millis(10));
                    let ours = node.sent.iter().find_map(|(_, it)| match it.content() {
                        Some(Content::Hello(hello)) => Some(hello.nonce),
                        _ => None,
                    });
                    nonce = ours.expect("a hello");
                }
                ("from_fabric", _) => requested = Some(request_of(&mut node)),
                _ => node.receive(&remote, with_nonce(&recorded, recorded_nonce, nonce)),
            }
        }
        // Where Fabric requested nothing, nor do we.
        let requested = requested.unwrap_or_else(|| request_of(&mut node));
        case.same("sent a request", Some(!requested.is_empty()), expect["request_sent"].as_bool());
        let names = |value: &Record| -> BTreeSet<String> {
            value.as_array().expect("names").iter().map(|name| text(name).to_owned()).collect()
        };
        let requested: BTreeSet<String> = requested.iter().map(|digest| name(&orgs, digest)).collect();
        case.same("requested", requested, names(&expect["requested"]));
        for (member, known) in expect["identity_known_after"].as_object().expect("members") {
            let known_to_us = member != "expired" && {
                let identity = orgs.identity_of(member);
                node.mapper.get(&node.mapper.pki_id_of(&identity).expect("a PKI-ID")).is_ok()
            };
            case.same(member, Some(known_to_us), known.as_bool());
        }
        let offered = node.core.offered_identities().map(|id| name(&orgs, id.as_bytes())).collect();
        case.same("offered after", names(&expect["own_digest_after"]), offered);
    }
    let ids: Vec<&str> = cases.iter().map(|it| text(&it["id"])).collect();
    BETTER.iter().for_each(|(id, _)| assert!(ids.contains(id), "no case {id}"));
    tally.report("pulls");
}

/// Returns the node's requests after it has waited for digests.
fn request_of(node: &mut TestNode) -> Vec<Vec<u8>> {
    node.sent.clear();
    node.advance(Duration::from_millis(1000));
    let request = node.sent.iter().find_map(|(_, it)| match it.content() {
        Some(Content::DataReq(request)) => Some(request.digests.iter().map(|it| it.to_vec()).collect()),
        _ => None,
    });
    request.unwrap_or_default()
}

/// Returns a member's name; the hex as recorded if it is not a member's; "expired" for the one expired identity.
fn name(orgs: &Orgs, id: &[u8]) -> String {
    match orgs.name_of(&PkiId::from(id)) {
        name if name == to_hex(id) && id.len() == 32 => "expired".into(),
        name => name,
    }
}

/// The recorded message with our nonce in it, or with as different a one as was recorded.
fn with_nonce(recorded: &SignedMessage, recorded_nonce: Option<u64>, ours: u64) -> SignedMessage {
    let mut message = recorded.message().clone();
    let inner = match &mut message.content {
        Some(Content::DataDig(it)) => &mut it.nonce,
        Some(Content::DataUpdate(it)) => &mut it.nonce,
        other => panic!("{other:?}"),
    };
    *inner = inner.wrapping_sub(recorded_nonce.expect("a hello")).wrapping_add(ours);
    SignedMessage::noop_sign(message).expect("a message")
}

fn alive(orgs: &Orgs, member: &str, id: &PkiId) -> SignedMessage {
    let membership = Member { pki_id: id.to_bytes(), endpoint: "remote:7051".into(), ..Default::default() };
    let timestamp = PeerTime { inc_num: 1, seq_num: 1, ..Default::default() };
    let (membership, timestamp) = (Some(membership).into(), Some(timestamp).into());
    let alive = AliveMessage { membership, timestamp, ..Default::default() };
    let content = Some(Content::AliveMsg(alive));
    let message = GossipMessage { tag: Tag::EMPTY.into(), content, ..Default::default() };
    let service = orgs.service("org1", member, &json!({}).into());
    SignedMessage::sign(message, |payload| service.sign(payload)).expect("a message")
}

#[test]
fn pull_messages_are_encoded_as_recorded() {
    let (file, orgs, kind) = (load(FILE), Orgs::load(), PullMsgType::IDENTITY_MSG);
    let mut tally = Tally::default();
    for transcript in file["transcripts"].as_array().expect("transcripts") {
        let mut case = tally.case(transcript);
        case.same("both went on", Some(true), transcript["expect"]["ok"].as_bool());
        let mut counts = BTreeMap::new();
        let mut last = 0;
        for (at, entry) in transcript["messages"].as_array().expect("messages").iter().enumerate() {
            let recorded = read(&mut case, entry);
            let (dir, content) = (text(&entry["dir"]), text(&entry["content"]));
            *counts.entry(format!("{dir} {content}")).or_insert(0) += 1;
            case.same("signed", Some(recorded.is_signed()), entry["signed"].as_bool());
            let at_ms = entry["t_ms_approx"].as_u64().expect("a time");
            case.same("in the order of time", at_ms >= last, true);
            last = at_ms;
            let which = format!("message {at}, {dir} over a stream that was {}", text(&entry["via"]));
            if let Some(sender) = match recorded.content() {
                Some(Content::AliveMsg(it)) => Some(it.membership.get_or_default().pki_id.clone()),
                Some(Content::Conn(it)) => Some(it.pki_id.clone()),
                _ => None,
            } {
                let orgs_of = [&transcript["a"], &transcript["b"]].map(|it| orgs.identity_of(text(&it["member"])));
                let service = orgs.service("org1", text(&transcript["a"]["member"]), &json!({}).into());
                let ids = orgs_of.map(|it| service.pki_id(&it));
                case.same(&which, ids.contains(&Some(PkiId::new(sender.clone()))), true);
                if recorded.envelope().secret.is_some() {
                    let side = if ids[0] == Some(PkiId::new(sender)) { "a" } else { "b" };
                    let endpoint = recorded.internal_endpoint();
                    case.same(&which, Some(endpoint.as_str()), transcript[side]["internal_endpoint"].as_str());
                }
            }
            let ours = match recorded.content() {
                Some(Content::Hello(it)) => wire::hello(it.nonce, kind),
                Some(Content::DataDig(it)) => wire::data_digest(it.nonce, kind, it.digests.clone()),
                Some(Content::DataReq(it)) => wire::data_request(it.nonce, kind, it.digests.clone()),
                Some(Content::DataUpdate(it)) => {
                    let items: Vec<message::Envelope> = it.data.iter().cloned().map(Into::into).collect();
                    wire::data_update(it.nonce, kind, &items)
                }
                _ => continue,
            };
            let ours = SignedMessage::noop_sign(ours).expect("a message").wire();
            case.same(&which, ours.to_vec(), unhex(text(&entry["envelope_bytes"])));
        }
        let recorded = transcript["counts_informational"].as_object().expect("counts");
        let recorded = recorded.iter().map(|(name, count)| (name.clone(), count.as_u64().expect("a count")));
        case.same("counts", counts, recorded.collect());
    }
    tally.report("pull messages");
}
