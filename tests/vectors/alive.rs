//! alive.json: the authenticity of alive messages, and a node's reactions to the messages of one peer.

use crate::json::compare as compare_json;
use crate::node::{channels, envelope, mapper, TestNode};
use crate::orgs::{identity, text, Orgs};
use crate::record::Record;
use crate::support::{check_sections, load, to_hex};
use crate::tally::{Case, Tally};
use fabric_gossip::crypto::PkiId;
use fabric_gossip::internals::node::identities;
use fabric_gossip::message::{Content, Envelope, SignedMessage};
use fabric_gossip::proto::gossip;
use std::collections::BTreeSet;

const FILE: &str = "alive.json";

#[test]
fn alive_messages_are_judged_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    check_sections(&file, &["node_cases", "own_messages", "validate_cases"]);
    let mut tally = Tally::default();
    for entry in file["validate_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let expect = &entry["expect"];
        let service =
            orgs.service(text(&entry["local_msp"]), "peer0.org1", &channels(entry["channel_org1_org2"] == true));
        let mapper = mapper(&orgs, &service, "peer0.org1");
        for member in entry["known_members"].as_array().into_iter().flatten() {
            let identity = orgs.identity_of(text(member));
            mapper.put(&mapper.pki_id_of(&identity).expect("a PKI-ID"), &identity).expect("a known member");
        }
        let message = envelope(&entry["envelope_bytes"]).expect("a message");
        case.agree(compare_json(message.message(), &entry["message"]));
        let verdict = identities::verify(&message, &mapper, &*service);
        case.same("authentic", verdict.is_ok(), expect["ok"] == true);
        if let (Err(ours), Some(recorded)) = (&verdict, expect["error"].as_str()) {
            // Which step failed is the recorder's to say; why, is the mapper's or the signature's.
            let reason = recorded.split_once("ed: ").map(|(_, reason)| reason);
            let same = reason.is_none_or(|reason| crate::tally::same_text(ours.message(), reason));
            case.same("reason", (ours.message(), same), (ours.message(), true));
        }
        case.same(
            "internal endpoint",
            Some(message.internal_endpoint().as_str()),
            expect["internal_endpoint"].as_str(),
        );
        if let Some(known) = expect["identity_in_mapper_after"].as_bool() {
            case.same("known after", mapper.get(&subject(&message)).is_ok(), known);
        }
    }
    tally.report("alive messages");
}

fn subject(message: &SignedMessage) -> PkiId {
    match message.content() {
        Some(Content::AliveMsg(alive)) => PkiId::new(alive.membership.get_or_default().pki_id.clone()),
        _ => PkiId::default(),
    }
}

#[test]
fn what_fabric_signed_is_authentic() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let mut tally = Tally::default();
    for entry in file["own_messages"].as_array().expect("messages") {
        let mut case = tally.case(entry);
        let service = orgs.service("org1", "peer0.org1", &channels(false));
        let mapper = mapper(&orgs, &service, "peer0.org1");
        let message = envelope(&entry["envelope_bytes"]).expect("a message");
        case.agree(compare_json(message.message(), &entry["message"]));
        let signer = match message.content() {
            Some(Content::AliveMsg(_)) => mapper.pki_id_of(&identity(&entry["identity"])),
            _ => None,
        };
        case.same("signer", signer, Some(subject(&message)));
        case.verdict("verdict", &identities::verify(&message, &mapper, &*service), &entry["expect"]);
        let secret = message.envelope().secret.is_some();
        case.same("has a secret envelope", Some(secret), entry["expect"]["secret_present"].as_bool());
        let internal = message.internal_endpoint();
        case.same("internal endpoint", Some(internal.as_str()), entry["expect"]["internal_endpoint"].as_str());
    }
    tally.report("messages of Fabric");
}

#[test]
fn a_node_answers_and_learns_as_recorded() {
    let (file, orgs) = (load(FILE), Orgs::load());
    let mut tally = Tally::default();
    for entry in file["node_cases"].as_array().expect("cases") {
        let mut case = tally.case(entry);
        let shared = channels(entry["channel_org1_org2"] == true);
        let external = text(&entry["node_external_endpoint"]);
        let mut node = TestNode::new(&orgs, text(&entry["local_msp"]), "peer0.org1", external, &shared);
        // The handshake has identified the other end.
        let identity = orgs.identity_of(text(&entry["connected_as"]));
        let from = node.mapper.pki_id_of(&identity).expect("a PKI-ID");
        node.mapper.put(&from, &identity).expect("a known peer");
        let mut answered = false;
        for step in entry["steps"].as_array().expect("steps") {
            let closed = match envelope(&step["send_envelope"]) {
                Ok(message) => {
                    case.agree(compare_json(message.message(), &step["send_message"]));
                    node.receive(&from, message);
                    std::mem::take(&mut node.closed).contains(&from)
                }
                // A message that cannot be decoded ends the connection, and never gets so far.
                Err(error) => {
                    let recorded = step["stream_error"].as_str().expect("an error of the stream");
                    let same = crate::tally::same_text(error.message(), recorded);
                    case.same("error", (error.message(), same), (error.message(), true));
                    true
                }
            };
            // Every other end of a stream has no reason.
            case.same("ended with an error", closed, !step["stream_error"].is_null());
            case.same("closed", Some(closed), step["stream_closed"].as_bool());
            let answers: Vec<_> = std::mem::take(&mut node.sent).into_iter().filter(|(to, _)| *to == from).collect();
            let recorded = step["received"].as_array().expect("a list");
            answered |= !answers.is_empty();
            case.same("answers", answers.len(), recorded.len());
            answers.iter().zip(recorded).for_each(|((_, ours), recorded)| compare(&mut case, &orgs, ours, recorded));
        }
        case.same("answered", Some(answered), entry["expect"]["answered"].as_bool());
        case.same("the node goes on", Some(true), entry["expect"]["ok"].as_bool());
        let peers: BTreeSet<String> = node
            .core
            .peers()
            .iter()
            .map(|it| {
                let metadata = to_hex(&it.metadata);
                format!("{} {} {} {metadata}", orgs.name_of(&it.pki_id), it.endpoint, it.internal_endpoint)
            })
            .collect();
        let recorded = entry["expect"]["peers_after"].as_array().expect("peers").iter().map(|it| {
            let [member, endpoint, internal, metadata] = ["member", "endpoint", "internal_endpoint", "metadata"]
                .map(|name| it[name].as_str().unwrap_or_default());
            format!("{member} {endpoint} {internal} {metadata}")
        });
        case.same("peers after", peers, recorded.collect());
    }
    tally.report("nodes");
}

fn compare(case: &mut Case<'_, '_>, orgs: &Orgs, ours: &SignedMessage, recorded: &Record) {
    case.same("signed", Some(ours.is_signed()), recorded["signed"].as_bool());
    case.same("tag", Some(i64::from(ours.message().tag.value())), tag(&recorded["tag"]));
    match ours.content() {
        Some(Content::DataDig(_)) => {
            case.same("a digest", Some("data_dig"), recorded["content"].as_str());
            case.same("nonce", Some(0), number(&recorded["nonce"]));
            case.same("digest", to_hex(&ours.wire()), text(&recorded["envelope_bytes"]).to_owned());
        }
        Some(Content::MemRes(response)) => {
            let theirs = envelope(&recorded["envelope_bytes"]).expect("a message");
            case.same("recorded nonce", theirs.nonce(), ours.nonce());
            case.same("a response", Some("mem_res"), recorded["content"].as_str());
            case.same("nonce", Some(ours.nonce()), number(&recorded["nonce"]));
            for (name, entries) in [("alive", &response.alive), ("dead", &response.dead)] {
                let ours: BTreeSet<String> = entries.iter().map(|entry| describe(orgs, entry)).collect();
                let recorded = recorded[name].as_array().expect("a list").iter().map(describe_recorded);
                case.same(name, ours, recorded.collect());
            }
        }
        other => case.wrong(format!("sent {other:?}")),
    }
}

fn tag(value: &Record) -> Option<i64> {
    value.as_i64()
}

fn number(value: &Record) -> Option<u64> {
    value.as_u64()
}

/// Of our own entry the internal endpoint and the sequence number are ours.
fn line(member: &str, endpoint: &str, internal: &str, secret: bool, identity: bool, sequence: u64) -> String {
    let own = member == "peer0.org1";
    let internal = if own && !internal.is_empty() { "ours" } else { internal };
    let sequence = if own { 0 } else { sequence };
    format!("{member} {endpoint} {internal} secret {secret} identity {identity} sequence {sequence}")
}

fn describe(orgs: &Orgs, envelope: &gossip::Envelope) -> String {
    let message = SignedMessage::from_envelope(Some(Envelope::from(envelope.clone()))).expect("a message");
    let Some(Content::AliveMsg(alive)) = message.content() else { panic!("{message} is no alive message") };
    let member = alive.membership.get_or_default();
    let name = orgs.name_of(&PkiId::new(member.pki_id.clone()));
    let (internal, secret) = (message.internal_endpoint(), message.envelope().secret.is_some());
    let (identity, sequence) = (!alive.identity.is_empty(), alive.timestamp.seq_num);
    line(&name, &member.endpoint, &internal, secret, identity, sequence)
}

fn describe_recorded(entry: &Record) -> String {
    let [member, endpoint, internal] =
        ["member", "endpoint", "internal_endpoint"].map(|name| entry[name].as_str().unwrap_or_default());
    let (secret, identity) = (entry["secret_present"] == true, entry["has_identity"] == true);
    line(member, endpoint, internal, secret, identity, entry["seq_num"].as_u64().expect("a number"))
}
