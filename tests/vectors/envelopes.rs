//! envelopes.json: messages, their envelopes, tags, comparison, verification, text.

use crate::json::{compare as compare_json, from_json};
use crate::record::Record;
use crate::support::{check_sections, each, hex, load, same, to_hex};
use bytes::Bytes;
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::internals::message::{self as wire, InvalidationResult};
use fabric_gossip::message::{Content, Envelope, GossipMessage, SecretEnvelope, SignedMessage};
use fabric_gossip::proto::{self, gossip};
use fabric_gossip::{Error, ErrorKind};
use protobuf::MessageDyn;

const FILE: &str = "envelopes.json";

fn bytes(value: &Record) -> Bytes {
    hex(value).unwrap_or_default().into()
}

/// Compares the verdict, and the text up to the part that another library produced: `<…>` stands for that part.
fn verdict(result: &fabric_gossip::Result<()>, expect: &Record) -> Result<(), String> {
    same("ok", result.is_ok(), expect["ok"] == true)?;
    let Err(error) = result else { return Ok(()) };
    let expected = expect["error"].as_str().ok_or("no text recorded")?;
    match expected.split_once('<') {
        Some((own, _)) if error.message().starts_with(own) => Ok(()),
        _ => same("text", error.message(), expected),
    }
}

#[test]
fn every_section_is_run() {
    let known =
        ["comparator_cases", "decode_cases", "encode_cases", "secret_cases", "tag_cases", "text_cases", "verify_cases"];
    check_sections(&load(FILE), &known);
}

#[test]
fn encode_cases() {
    each(&load(FILE), "encode_cases", |case| {
        let expect = &case["expect"];
        same("ok", true, expect["ok"] == true)?;
        let decoded: GossipMessage = from_json(&case["message"]);
        let signed = match hex(&case["signature"]) {
            Some(signature) => SignedMessage::sign(decoded.clone(), |_| Ok(signature)),
            None => SignedMessage::noop_sign(decoded.clone()),
        };
        let signed = signed.map_err(|e| e.to_string())?;
        same("payload", to_hex(&signed.envelope().payload), to_hex(&bytes(&case["payload"])))?;
        same("envelope", to_hex(&signed.wire()), to_hex(&bytes(&case["envelope_bytes"])))?;
        same("encoded envelope", signed.envelope().encode(), signed.wire())?;
        same("length", signed.wire_len(), signed.wire().len())?;
        same("is_signed", signed.is_signed(), expect["is_signed"] == true)?;
        verdict(&signed.message().check_tag(), &expect["tag"])?;
        same("classes", classes(signed.message()), expect["classes"].whole().clone())?;
        if let Some(text) = expect["text"].as_str() {
            same("text", signed.to_string().as_str(), text)?;
        }
        let back = SignedMessage::decode(signed.wire()).map_err(|e| e.to_string())?;
        same("decoded again", back.message(), &decoded)?;
        same("envelope decoded again", back.envelope(), signed.envelope())
    });
}

/// The names of the predicates that are true, and the pull type, sorted as recorded.
fn classes(m: &GossipMessage) -> serde_json::Value {
    let all = [
        (matches!(m.content, Some(Content::Ack(_))), "ack"),
        (matches!(m.content, Some(Content::AliveMsg(_))), "alive"),
        (matches!(m.content, Some(Content::DataMsg(_))), "data"),
        (matches!(m.content, Some(Content::DataReq(_))), "data_req"),
        (matches!(m.content, Some(Content::DataUpdate(_))), "data_update"),
        (matches!(m.content, Some(Content::DataDig(_))), "digest"),
        (matches!(m.content, Some(Content::Hello(_))), "hello"),
        (matches!(m.content, Some(Content::PeerIdentity(_))), "identity"),
        (matches!(m.content, Some(Content::LeadershipMsg(_))), "leadership"),
        (
            matches!(m.content, Some(Content::PrivateReq(_) | Content::PrivateRes(_) | Content::PrivateData(_))),
            "private_data",
        ),
        (m.is_pull(), "pull"),
        (matches!(m.content, Some(Content::StateRequest(_) | Content::StateResponse(_))), "remote_state"),
        (matches!(m.content, Some(Content::StateInfo(_))), "state_info"),
        (matches!(m.content, Some(Content::StateInfoPullReq(_))), "state_info_pull_request"),
        (matches!(m.content, Some(Content::StateSnapshot(_))), "state_info_snapshot"),
    ];
    let mut names: Vec<String> = all.iter().filter(|(is, _)| *is).map(|(_, name)| name.to_string()).collect();
    names.push(format!("pull_type={}", m.pull_type().value()));
    names.sort();
    names.into()
}

#[test]
fn secret_cases() {
    each(&load(FILE), "secret_cases", |case| {
        same("ok", true, case["expect"]["ok"] == true)?;
        let endpoint = case["expect"]["internal_endpoint"].as_str().ok_or("no endpoint recorded")?;
        let secret = hex(&case["secret_payload"])
            .map(|payload| SecretEnvelope { payload: payload.into(), ..Default::default() });
        let signed =
            SignedMessage::from_envelope(Some(Envelope { secret, ..Default::default() })).map_err(|e| e.to_string())?;
        same("endpoint", signed.internal_endpoint().as_str(), endpoint)?;
        let Some(wire) = hex(&case["envelope_bytes"]) else { return Ok(()) };
        let received = SignedMessage::decode(wire.clone().into()).map_err(|e| e.to_string())?;
        same("received endpoint", received.internal_endpoint().as_str(), endpoint)?;
        let signature = received.envelope().secret.as_ref().ok_or("no secret")?.signature.to_vec();
        let made = received.without_secret().sign_secret(endpoint, |_| Ok(signature)).map_err(|e| e.to_string())?;
        same("envelope", to_hex(&made.wire()), to_hex(&wire))
    });
}

#[test]
fn decode_cases() {
    each(&load(FILE), "decode_cases", |case| {
        let expect = &case["expect"];
        if let Some(wire) = hex(&case["envelope_bytes"]) {
            return decode_envelope(wire.into(), expect);
        }
        let payload = hex(&case["payload"]);
        let envelope = payload.clone().map(|p| Envelope { payload: p.into(), ..Default::default() });
        let decoded = SignedMessage::from_envelope(envelope.clone());
        same("ok", decoded.is_ok(), expect["ok"] == true)?;
        if let Some(wire) = envelope.map(|e| e.encode()) {
            same("ok on the stream", SignedMessage::decode(wire).is_ok(), decoded.is_ok())?;
        }
        let signed = match decoded {
            Ok(signed) => signed,
            Err(error) => {
                // Behind the colon Go's protobuf speaks.
                let expected = expect["error"].as_str().ok_or("no text recorded")?;
                let own = |text: &str| text.split_once(": ").map_or(text.to_string(), |(own, _)| own.to_string());
                return same("text", own(error.message()), own(expected));
            }
        };
        compare_json(signed.message(), &expect["message"])?;
        let reencoded = to_hex(&bytes(&expect["reencoded"]));
        let encoded = proto::reencode::<GossipMessage>(&payload.unwrap_or_default()).map_err(|e| e.to_string())?;
        same("re-encoding", &to_hex(&encoded), &reencoded)?;
        let resigned = signed.resign(|_| Ok(vec![1])).map_err(|e| e.to_string())?;
        same("payload signed again", &to_hex(&resigned.envelope().payload), &reencoded)?;
        let renumbered = signed.with_nonce(7).and_then(|m| m.with_nonce(signed.nonce())).map_err(|e| e.to_string())?;
        same("payload with another nonce and back", &to_hex(&renumbered.envelope().payload), &reencoded)
    });
}

fn decode_envelope(wire: Bytes, expect: &Record) -> Result<(), String> {
    let ours = Envelope::decode(&wire);
    let generated = proto::decode::<gossip::Envelope>(&wire);
    same("ok", ours.is_ok(), expect["ok"] == true)?;
    same("ok of the generated type", generated.is_ok(), ours.is_ok())?;
    let (ours, generated) = match (ours, generated) {
        (Ok(ours), Ok(generated)) => (ours, generated),
        // The reason is in the words of Go's protobuf.
        (error, _) => {
            let recorded = expect["error"].as_str().ok_or("no text recorded")?;
            return same("both blame the encoding", recorded.starts_with("proto: "), error.is_err());
        }
    };
    same("payload absent", ours.payload.is_empty(), expect["payload_absent"] == true)?;
    same("secret present", ours.secret.is_some(), expect["secret_envelope_present"] == true)?;
    compare_json(&generated, &expect["envelope"])?;
    let mut known = expect["envelope"].whole().clone();
    known.as_object_mut().ok_or("no envelope recorded")?.remove("__unknown");
    compare_json(&gossip::Envelope::from(&ours), &known.into())?;
    same("both", Envelope::from(generated), ours)?;
    // Some payloads are no messages.
    match SignedMessage::decode(wire.clone()) {
        Ok(signed) => same("forwarded", signed.wire(), wire),
        Err(_) => Ok(()),
    }
}

#[test]
fn tag_cases() {
    each(&load(FILE), "tag_cases", |case| {
        let expect = &case["expect"];
        let envelope = Envelope { payload: bytes(&case["payload"]), ..Default::default() };
        let signed = SignedMessage::from_envelope(Some(envelope)).map_err(|e| e.to_string())?;
        let m = signed.message();
        let content = m.descriptor_dyn().oneofs().next().and_then(|it| it.fields().find(|field| field.has_field(m)));
        same(
            "content",
            content.map_or("none".into(), |it| it.name().to_owned()).as_str(),
            case["content"].as_str().ok_or("no content recorded")?,
        )?;
        same("tag", m.tag.value() as i64, case["tag"].as_i64().ok_or("no tag recorded")?)?;
        verdict(&m.check_tag(), expect)?;
        same("channel-restricted", m.is_channel_restricted(), expect["channel_restricted"] == true)?;
        same("org-restricted", m.is_org_restricted(), expect["org_restricted"] == true)
    });
}

#[test]
fn comparator_cases() {
    each(&load(FILE), "comparator_cases", |case| {
        let message = |name: &str| proto::decode::<GossipMessage>(&bytes(&case[name])).map_err(|e| e.to_string());
        same("ok", true, case["expect"]["ok"] == true)?;
        let (this, that) = (message("this")?, message("that")?);
        let window = case["data_window"].as_u64().ok_or("no window recorded")?;
        let forth = wire::compare(&this, &that, window);
        let back = wire::compare(&that, &this, window);
        for (ours, expected) in [(forth, &case["expect"]["this_that"]), (back, &case["expect"]["that_this"])] {
            let name = match ours {
                InvalidationResult::NoAction => "no_action",
                InvalidationResult::Invalidates => "invalidates",
                InvalidationResult::Invalidated => "invalidated",
            };
            match expected.as_str() {
                // Fabric crashes. The incomplete message, here always `this`, must not be kept.
                Some("panic") => same("refused", forth, InvalidationResult::Invalidated)?,
                expected => same("result", Some(name), expected)?,
            }
        }
        Ok(())
    });
}

#[test]
fn verify_cases() {
    each(&load(FILE), "verify_cases", |case| {
        let expect = &case["expect"];
        let secret = case["secret"].as_object().map(|secret| SecretEnvelope {
            payload: bytes(&secret["payload"]),
            signature: bytes(&secret["signature"]),
        });
        let absent = case.get("envelope").is_some_and(Record::is_null);
        let envelope = (!absent).then(|| Envelope {
            payload: bytes(&case["payload"]),
            signature: bytes(&case["signature"]),
            secret: secret.clone(),
        });
        let identity = PeerIdentity::from(&b"somebody"[..]);
        let [reject_outer, reject_secret] = ["reject_outer", "reject_secret"].map(|name| case[name] == true);
        let mut calls = Vec::new();
        let result = wire::verify(envelope.as_ref(), &identity, |who, signature, payload| {
            assert_eq!(who, &identity);
            let (name, part_payload, part_signature) = match (calls.len(), &envelope, &secret) {
                (0, Some(outer), _) => ("outer", &outer.payload, &outer.signature),
                (1, _, Some(secret)) => ("secret", &secret.payload, &secret.signature),
                _ => panic!("unexpected call of the verifier"),
            };
            assert_eq!((signature, payload), (&part_signature[..], &part_payload[..]));
            calls.push(name);
            match if name == "outer" { reject_outer } else { reject_secret } {
                true => Err(Error::new(ErrorKind::Signature, format!("{name} rejected"))),
                false => Ok(()),
            }
        });
        verdict(&result, expect)?;
        same("is_signed", envelope.as_ref().is_some_and(Envelope::is_signed), expect["is_signed"] == true)?;
        let expected = expect["verifier_calls"].as_array().map(|calls| calls.iter().map(|it| it.as_str()).collect());
        same("calls", calls.into_iter().map(Some).collect::<Vec<_>>(), expected.unwrap_or_default())
    });
}

#[test]
fn text_cases() {
    each(&load(FILE), "text_cases", |case| {
        let id = hex(&case["pki_id"]).map(PkiId::new);
        same("ok", true, case["expect"]["ok"] == true)?;
        same("text", Some(wire::pki_id_text(id.as_ref()).as_str()), case["expect"]["text"].as_str())
    });
}
