//! Messages: decoding, signing, tags, comparison, text.

use bytes::Bytes;
use fabric_gossip::crypto::{PeerIdentity, PkiId};
use fabric_gossip::internals::message as wire;
use fabric_gossip::internals::message::{compare, InvalidationResult};
use fabric_gossip::message::{self, Content, Envelope, GossipMessage, PullMsgType, SecretEnvelope, SignedMessage, Tag};
use fabric_gossip::proto::{self, gossip};
use fabric_gossip::{Error, ErrorKind};
use protobuf::MessageField;
use InvalidationResult::{Invalidated, Invalidates, NoAction};

fn with(tag: Tag, content: Content) -> GossipMessage {
    GossipMessage { tag: tag.into(), content: Some(content), ..Default::default() }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn payload(bytes: impl Into<Bytes>) -> Option<Envelope> {
    Some(Envelope { payload: bytes.into(), ..Default::default() })
}

fn refuse<T>(text: &str) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Signature, text))
}

fn time(inc_num: u64, seq_num: u64) -> MessageField<gossip::PeerTime> {
    MessageField::some(gossip::PeerTime { inc_num, seq_num, ..Default::default() })
}

fn block(seq_num: u64) -> GossipMessage {
    message::data(0, "ch", seq_num, vec![1])
}

fn alive(id: &'static str, inc: u64, seq: u64) -> GossipMessage {
    let membership = gossip::Member { pki_id: id.into(), endpoint: "host:1".into(), ..Default::default() };
    let alive =
        gossip::AliveMessage { membership: Some(membership).into(), timestamp: time(inc, seq), ..Default::default() };
    with(Tag::EMPTY, Content::AliveMsg(alive))
}

fn state_info(id: &'static str, inc: u64, seq: u64) -> GossipMessage {
    let info = gossip::StateInfo {
        pki_id: id.into(),
        channel_MAC: "mac".into(),
        timestamp: time(inc, seq),
        ..Default::default()
    };
    with(Tag::CHAN_OR_ORG, Content::StateInfo(info))
}

fn leadership(id: &'static str, inc: u64, seq: u64) -> GossipMessage {
    let message = gossip::LeadershipMessage { pki_id: id.into(), timestamp: time(inc, seq), ..Default::default() };
    with(Tag::CHAN_AND_ORG, Content::LeadershipMsg(message))
}

fn digests(kind: PullMsgType, digests: &[&'static [u8]]) -> gossip::DataDigest {
    let digests = digests.iter().map(|d| Bytes::from_static(d)).collect();
    gossip::DataDigest { digests, msg_type: kind.into(), nonce: 9, ..Default::default() }
}

fn request(kind: PullMsgType, list: &[&'static [u8]]) -> gossip::DataRequest {
    let gossip::DataDigest { digests, msg_type, nonce, .. } = digests(kind, list);
    gossip::DataRequest { digests, msg_type, nonce, ..Default::default() }
}

fn legal(tag: Tag, content: impl Into<Content>) -> bool {
    with(tag, content.into()).check_tag().is_ok()
}

#[test]
fn w1_a_null_envelope_is_refused() {
    let error = SignedMessage::from_envelope(None).unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, "nil envelope"));
}

/// A message as Fabric 1.2 encoded it; `field` is the tag and length of its content.
fn message_of_fabric_1_2(field: &str) -> SignedMessage {
    let bytes = unhex(&format!("12096d796368616e6e656c{field}1201ff1202ffff1203ffffff1204ffffffff1203313030"));
    let message = SignedMessage::from_envelope(payload(bytes)).unwrap();
    assert_eq!(message.message().channel, "mychannel");
    message
}

const DIGESTS: [&[u8]; 5] = [&[0xff], &[0xff; 2], &[0xff; 3], &[0xff; 4], b"100"];

#[test]
fn w2_a_digest_of_fabric_1_2_decodes() {
    let message = message_of_fabric_1_2("5217");
    let Some(Content::DataDig(digest)) = message.content() else { panic!("{message}") };
    assert_eq!(digest.digests, DIGESTS);
}

#[test]
fn w3_a_request_of_fabric_1_2_decodes() {
    let message = message_of_fabric_1_2("5a17");
    let Some(Content::DataReq(request)) = message.content() else { panic!("{message}") };
    assert_eq!(request.digests, DIGESTS);
}

#[test]
fn w4_an_encoded_data_message_decodes_as_data() {
    let sent = SignedMessage::noop_sign(block(7)).unwrap();
    let received = SignedMessage::decode(sent.wire()).unwrap();
    assert!(matches!(received.message().content, Some(Content::DataMsg(_))));
    assert_eq!(received.message(), &block(7));
}

#[test]
fn w5_noop_signing_leaves_the_signature_out() {
    let message = SignedMessage::noop_sign(block(7)).unwrap();
    assert!(message.envelope().signature.is_empty());
    assert!(!message.is_signed());
}

#[test]
fn w6_a_signature_covers_the_payload() {
    let message = SignedMessage::sign(block(7), |payload| Ok(payload.to_vec())).unwrap();
    assert_eq!(message.envelope().signature, message.envelope().payload);
    assert_eq!(SignedMessage::decode(message.wire()).unwrap().envelope(), message.envelope());
}

#[test]
fn w7_a_failing_signer_gives_no_envelope() {
    assert_eq!(SignedMessage::sign(block(7), |_| refuse("no key")).unwrap_err().message(), "no key");
}

fn signed_with_secret() -> SignedMessage {
    let message = SignedMessage::sign(block(7), |payload| Ok(payload.to_vec())).unwrap();
    message.sign_secret("localhost:5050", |secret| Ok(secret.to_vec())).unwrap()
}

#[test]
fn w8_verifying_checks_both_signatures() {
    let message = SignedMessage::decode(signed_with_secret().wire()).unwrap();
    let mut calls = 0;
    let identity = PeerIdentity::from(&b"id"[..]);
    message
        .verify(&identity, |who, signature, payload| {
            calls += 1;
            assert_eq!((who, signature), (&identity, payload));
            Ok(())
        })
        .unwrap();
    assert_eq!(calls, 2);
    assert!(message.is_signed());
}

#[test]
fn w9_verifying_refuses_what_is_missing_or_rejected() {
    let identity = PeerIdentity::default();
    let good = signed_with_secret().envelope().clone();
    let text = |envelope: Option<&Envelope>, accept: bool| {
        let verifier = |_: &PeerIdentity, _: &[u8], _: &[u8]| if accept { Ok(()) } else { refuse("rejected") };
        wire::verify(envelope, &identity, verifier).unwrap_err().message().to_string()
    };
    assert_eq!(text(None, true), "Missing envelope");
    assert_eq!(text(Some(&Envelope { payload: Bytes::new(), ..good.clone() }), true), "Empty payload");
    assert_eq!(text(Some(&Envelope { signature: Bytes::new(), ..good.clone() }), true), "Empty signature");
    assert_eq!(text(Some(&good), false), "rejected");
    let secret = Some(SecretEnvelope::default());
    assert_eq!(text(Some(&Envelope { secret, ..good }), true), "Empty payload");
}

#[test]
fn w10_the_secret_names_the_internal_endpoint() {
    let message = SignedMessage::decode(signed_with_secret().wire()).unwrap();
    assert!(message.envelope().secret.is_some());
    assert_eq!(message.internal_endpoint(), "localhost:5050");
    // It can be taken off, and the outer signature still covers the same bytes.
    let outside = message.without_secret();
    assert_eq!(outside.internal_endpoint(), "");
    assert_eq!(outside.envelope().signature, message.envelope().signature);
    assert_eq!(outside.wire(), SignedMessage::sign(block(7), |payload| Ok(payload.to_vec())).unwrap().wire());
}

#[test]
fn w11_an_unreadable_secret_has_no_endpoint() {
    assert_eq!(SignedMessage::noop_sign(block(7)).unwrap().internal_endpoint(), "");
    let junk = SecretEnvelope { payload: vec![1, 2, 3].into(), ..Default::default() };
    assert_eq!(junk.internal_endpoint(), "");
    assert_eq!(SecretEnvelope::sign("foo", |_| Ok(vec![1])).unwrap().internal_endpoint(), "foo");
}

#[test]
fn w12_signing_again_keeps_the_secret() {
    let before = signed_with_secret();
    let after = before.resign(|_| Ok(b"new".to_vec())).unwrap();
    assert_eq!(after.envelope().secret, before.envelope().secret);
    assert_eq!(after.envelope().signature, "new");
    assert_eq!(after.envelope().payload, before.envelope().payload);
    assert_eq!(SignedMessage::decode(after.wire()).unwrap().internal_endpoint(), "localhost:5050");
}

#[test]
fn w13_data_for_channel_and_organisation_is_legal() {
    assert!(block(7).check_tag().is_ok());
    assert!(block(7).is_channel_restricted() && block(7).is_org_restricted());
}

#[test]
fn w14_data_with_another_tag_is_illegal() {
    for (tag, text) in [(Tag::EMPTY, "Tag should be CHAN_AND_ORG"), (Tag::UNDEFINED, "Undefined tag")] {
        let message = GossipMessage { tag: tag.into(), ..block(7) };
        let error = message.check_tag().unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Protocol, text));
        assert!(!message.is_channel_restricted() && !message.is_org_restricted());
    }
}

#[test]
fn w15_tags_restrict_to_channel_or_organisation() {
    let restrictions = |tag: Tag| {
        let message = GossipMessage { tag: tag.into(), ..block(7) };
        (message.is_channel_restricted(), message.is_org_restricted())
    };
    assert_eq!(restrictions(Tag::ORG_ONLY), (false, true));
    assert_eq!(restrictions(Tag::CHAN_OR_ORG), (true, false));
    assert_eq!(restrictions(Tag::CHAN_ONLY), (true, false));
}

#[test]
fn w16_alive_needs_the_empty_tag() {
    let content = || Content::AliveMsg(Default::default());
    assert!(legal(Tag::EMPTY, content()));
    assert!(!legal(Tag::ORG_ONLY, content()));
}

#[test]
fn w17_membership_needs_the_empty_tag() {
    assert!(legal(Tag::EMPTY, Content::MemReq(Default::default())));
    assert!(legal(Tag::EMPTY, Content::MemRes(Default::default())));
    assert!(!legal(Tag::CHAN_ONLY, Content::MemRes(Default::default())));
}

#[test]
fn w18_identity_needs_the_organisation_tag() {
    assert!(legal(Tag::ORG_ONLY, Content::PeerIdentity(Default::default())));
    assert!(!legal(Tag::EMPTY, Content::PeerIdentity(Default::default())));
}

#[test]
fn w19_pulling_blocks_needs_channel_and_organisation() {
    let content = || Content::DataReq(request(PullMsgType::BLOCK_MSG, &[]));
    assert!(legal(Tag::CHAN_AND_ORG, content()));
    assert!(!legal(Tag::EMPTY, content()));
}

#[test]
fn w20_pulling_identities_needs_the_empty_tag() {
    let content = |kind| Content::DataDig(digests(kind, &[]));
    assert!(legal(Tag::EMPTY, content(PullMsgType::IDENTITY_MSG)));
    assert!(!legal(Tag::ORG_ONLY, content(PullMsgType::IDENTITY_MSG)));
    let error = with(Tag::EMPTY, content(PullMsgType::UNDEFINED)).check_tag().unwrap_err();
    assert_eq!(error.message(), "Invalid PullMsgType: UNDEFINED");
}

#[test]
fn w21_channel_state_needs_channel_or_organisation() {
    for content in [
        Content::StateInfo(Default::default()),
        Content::StateSnapshot(Default::default()),
        Content::StateInfoPullReq(Default::default()),
        Content::StateRequest(Default::default()),
        Content::StateResponse(Default::default()),
    ] {
        assert!(legal(Tag::CHAN_OR_ORG, content));
    }
    assert!(!legal(Tag::EMPTY, Content::StateInfo(Default::default())));
}

#[test]
fn w22_leadership_needs_channel_and_organisation() {
    assert!(legal(Tag::CHAN_AND_ORG, Content::LeadershipMsg(Default::default())));
    assert!(!legal(Tag::CHAN_OR_ORG, Content::LeadershipMsg(Default::default())));
    let error = with(Tag::CHAN_OR_ORG, Content::Empty(Default::default())).check_tag().unwrap_err();
    assert!(error.message().starts_with("Unknown message type: "), "{error}");
}

#[test]
fn w23_pull_messages_report_their_type() {
    let kind = PullMsgType::BLOCK_MSG;
    for content in [
        Content::Hello(gossip::GossipHello { msg_type: kind.into(), ..Default::default() }),
        Content::DataDig(digests(kind, &[])),
        Content::DataReq(request(kind, &[])),
        Content::DataUpdate(gossip::DataUpdate { msg_type: kind.into(), ..Default::default() }),
    ] {
        let message = with(Tag::EMPTY, content);
        assert!(message.is_pull());
        assert_eq!(message.pull_type(), kind.into());
    }
    assert!(!block(7).is_pull());
    assert_eq!(block(7).pull_type(), PullMsgType::UNDEFINED.into());
}

#[test]
fn an_unknown_pull_type_keeps_its_number() {
    let kind = protobuf::EnumOrUnknown::<PullMsgType>::from_i32(9);
    for (content, text) in [
        (Content::Hello(gossip::GossipHello { nonce: 5, msg_type: kind, ..Default::default() }), "Msg_type: 9"),
        (Content::DataDig(gossip::DataDigest { msg_type: kind, ..Default::default() }), "Msg_type: "),
        (Content::DataReq(gossip::DataRequest { msg_type: kind, ..Default::default() }), "Msg_type: "),
        (Content::DataUpdate(gossip::DataUpdate { msg_type: kind, ..Default::default() }), "Type: "),
    ] {
        let sent = SignedMessage::noop_sign(with(Tag::EMPTY, content)).expect("a message");
        let received = SignedMessage::decode(sent.wire()).expect("a message");
        assert_eq!(received.message().pull_type().value(), 9, "{received}");
        assert!(received.to_string().contains(text), "{received}");
        let again = received.resign(|_| Ok(Vec::new())).expect("a message");
        assert_eq!(again.envelope().payload, sent.envelope().payload);
        let error = received.message().check_tag().expect_err("no tag is right for an unknown pull type");
        assert_eq!(error.message(), "Invalid PullMsgType: ");
    }
}

/// Returns the comparison of the first with the second, and of the second with the first.
fn both_ways(a: &GossipMessage, b: &GossipMessage) -> (InvalidationResult, InvalidationResult) {
    (compare(a, b, 5), compare(b, a, 5))
}

#[test]
fn w24_alive_messages_of_different_peers_are_unrelated() {
    assert_eq!(both_ways(&alive("a", 1, 1), &alive("b", 2, 2)), (NoAction, NoAction));
}

#[test]
fn w25_the_older_alive_message_is_invalidated() {
    for newer in [alive("a", 2, 2), alive("a", 1, 2)] {
        assert_eq!(both_ways(&alive("a", 1, 1), &newer), (Invalidated, Invalidates));
    }
}

#[test]
fn w26_the_older_state_info_is_invalidated_and_an_equal_one_too() {
    let [first, second, third] = [(1, 1), (1, 2), (2, 1)].map(|(inc, seq)| state_info("a", inc, seq));
    assert_eq!(both_ways(&first, &first), (Invalidated, Invalidated));
    assert_eq!(both_ways(&first, &second), (Invalidated, Invalidates));
    assert_eq!(both_ways(&second, &third), (Invalidated, Invalidates));
}

#[test]
fn w27_state_info_of_different_peers_is_unrelated() {
    assert_eq!(both_ways(&state_info("a", 1, 1), &state_info("b", 2, 2)), (NoAction, NoAction));
}

#[test]
fn w28_blocks_invalidate_those_behind_the_window() {
    let of = |a, b| compare(&block(a), &block(b), 5);
    assert_eq!([of(1, 1), of(1, 2), of(1, 7), of(7, 1)], [Invalidated, NoAction, Invalidated, Invalidates]);
}

#[test]
fn w29_one_identity_per_peer() {
    let identity = |id: &'static str| {
        let identity = gossip::PeerIdentity { pki_id: id.into(), ..Default::default() };
        with(Tag::EMPTY, Content::PeerIdentity(identity))
    };
    assert_eq!(compare(&identity("a"), &identity("a"), 5), Invalidated);
    assert_eq!(compare(&identity("a"), &identity("b"), 5), NoAction);
}

#[test]
fn w30_the_older_leadership_message_is_invalidated() {
    let [first, second, third] = [(1, 1), (1, 2), (2, 1)].map(|(inc, seq)| leadership("a", inc, seq));
    assert_eq!(both_ways(&first, &leadership("b", 2, 2)), (NoAction, NoAction));
    assert_eq!(both_ways(&first, &second), (Invalidated, Invalidates));
    assert_eq!(both_ways(&second, &third), (Invalidated, Invalidates));
}

#[test]
fn w31_text_has_no_payload_and_no_signature() {
    let raw = || Bytes::from_static(b"raw bytes of somebody");
    let inner = || gossip::Envelope { payload: raw(), signature: raw(), ..Default::default() };
    let state = || gossip::Payload { data: raw(), private_data: vec![raw()], ..Default::default() };
    let own = SignedMessage::sign(alive("a", 1, 1), |_| Ok(raw().to_vec())).unwrap();
    let own = own.sign_secret("raw bytes of somebody", |_| Ok(raw().to_vec())).unwrap();
    let contents = [
        Content::DataMsg(gossip::DataMessage { payload: Some(state()).into(), ..Default::default() }),
        Content::DataUpdate(gossip::DataUpdate { data: vec![inner()], ..Default::default() }),
        Content::MemRes(gossip::MembershipResponse { alive: vec![inner()], dead: vec![inner()], ..Default::default() }),
        Content::StateSnapshot(gossip::StateInfoSnapshot { elements: vec![inner()], ..Default::default() }),
        Content::StateResponse(gossip::RemoteStateResponse { payloads: vec![state()], ..Default::default() }),
        Content::AliveMsg(gossip::AliveMessage {
            membership: Some(gossip::Member { metadata: raw(), ..Default::default() }).into(),
            identity: raw(),
            ..Default::default()
        }),
        Content::MemReq(gossip::MembershipRequest {
            self_information: Some(own.to_proto()).into(),
            known: vec![raw()],
            ..Default::default()
        }),
        Content::PeerIdentity(gossip::PeerIdentity { cert: raw(), metadata: raw(), ..Default::default() }),
        Content::Conn(gossip::ConnEstablish { identity: raw(), tls_cert_hash: raw(), ..Default::default() }),
        Content::Hello(gossip::GossipHello { metadata: raw(), ..Default::default() }),
        Content::PrivateRes(gossip::RemotePvtDataResponse {
            elements: vec![gossip::PvtDataElement { payload: vec![raw()], ..Default::default() }],
            ..Default::default()
        }),
        Content::PrivateData(gossip::PrivateDataMessage {
            payload: Some(gossip::PrivatePayload { private_rwset: raw(), ..Default::default() }).into(),
            ..Default::default()
        }),
    ];
    for content in contents {
        let message = SignedMessage::sign(with(Tag::EMPTY, content), |_| Ok(raw().to_vec())).unwrap();
        for text in [message.to_string(), format!("{message:?}")] {
            assert!(!text.contains("raw bytes") && !text.contains(&hex(&raw())), "{text}");
            assert!(!text.contains('\n'), "{text}");
        }
    }
}

#[test]
fn w32_block_digests_are_text_and_identity_digests_hex() {
    let text = |content| SignedMessage::noop_sign(with(Tag::EMPTY, content)).unwrap().to_string();
    let blocks: &[&[u8]] = &[b"1", b"22"];
    for content in [
        Content::DataDig(digests(PullMsgType::BLOCK_MSG, blocks)),
        Content::DataReq(request(PullMsgType::BLOCK_MSG, blocks)),
    ] {
        let text = text(content);
        assert!(text.contains("Msg_type: BLOCK_MSG, digests: [1 22]"), "{text}");
    }
    let ids: &[&[u8]] = &[&[1, 2, 255], &[0]];
    for content in [
        Content::DataDig(digests(PullMsgType::IDENTITY_MSG, ids)),
        Content::DataReq(request(PullMsgType::IDENTITY_MSG, ids)),
    ] {
        let text = text(content);
        assert!(text.contains("Msg_type: IDENTITY_MSG, digests: [0102ff 00]"), "{text}");
    }
}

#[test]
fn w33_text_of_incomplete_membership_messages() {
    let text = |content| SignedMessage::noop_sign(with(Tag::EMPTY, content)).unwrap().to_string();
    let alive = text(Content::AliveMsg(Default::default()));
    assert!(alive.contains("tag: EMPTY nil Membership, Envelope: "), "{alive}");
    let undecodable = gossip::Envelope { payload: vec![1, 2, 3].into(), ..Default::default() };
    for own in [None, Some(undecodable)] {
        let request = gossip::MembershipRequest { self_information: own.into(), ..Default::default() };
        let text = text(Content::MemReq(request));
        assert!(text.contains("tag: EMPTY , Envelope: "), "{text}");
    }
}

#[test]
fn w34_text_of_a_pki_id() {
    assert_eq!(wire::pki_id_text(None), "<nil>");
    assert_eq!(wire::pki_id_text(Some(&PkiId::default())), "");
    assert_eq!(wire::pki_id_text(Some(&PkiId::new(vec![0, 1, 2, 3]))), "00010203");
}

#[test]
fn the_channel_mac_hashes_pki_id_and_channel() {
    let mac = wire::channel_mac(&PkiId::new("a"), b"bc");
    assert_eq!(hex(&mac), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn the_messages_of_a_connection() {
    let conn = wire::conn(&PkiId::new("id"), &PeerIdentity::new("cert"), "hash".into(), true);
    let signed = SignedMessage::sign(conn, |_| Ok(b"s".to_vec())).unwrap();
    assert_eq!(hex(&signed.wire()), "0a16180172120a02696412046365727".to_owned() + "41a0468617368200112" + "0173");
    let ack = wire::ack(5, "");
    assert!(matches!(ack.content, Some(Content::Ack(_))) && ack.nonce == 5 && ack.tag.value() == 0);
    assert!(matches!(message::empty(1).content, Some(Content::Empty(_))));
}

#[test]
fn a_received_message_shares_the_buffer_it_came_in() {
    let received = SignedMessage::noop_sign(message::data(1, "ch", 1, vec![7; 1000])).unwrap().wire();
    let buffer = received.as_ptr_range();
    let inside = |part: &[u8]| buffer.contains(&part.as_ptr());
    let message = SignedMessage::decode(received.clone()).unwrap();
    assert!(inside(&message.wire()) && inside(&message.envelope().payload) && inside(&message.message().channel));
    let Some(Content::DataMsg(data)) = message.content() else { panic!() };
    assert!(inside(&data.payload.data));
    let own = message.detached();
    assert!(!inside(&own.wire()) && !inside(&own.envelope().payload) && !inside(&own.message().channel));
}

#[test]
fn an_encoded_message_is_one_buffer() {
    let message = SignedMessage::sign(block(7), |_| Ok(vec![1; 70])).unwrap();
    let wire = message.wire();
    assert_eq!(message.envelope().payload.as_ptr(), wire[2..].as_ptr());
    assert_eq!(message.wire().as_ptr(), wire.as_ptr());
}

#[test]
fn a_new_nonce_takes_the_signature_away() {
    let message = signed_with_secret().with_nonce(9).unwrap();
    assert_eq!(message.wire(), SignedMessage::noop_sign(GossipMessage { nonce: 9, ..block(7) }).unwrap().wire());
}

#[test]
fn more_elements_than_memory_allows_are_refused() {
    // An empty digest takes two bytes on the wire and sixteen times as much when decoded.
    let mut request = vec![0x52, 0, 0, 0, 0];
    let digests = [0x12, 0].repeat(proto::MAX_ELEMENTS + 1);
    let mut len = digests.len();
    request[1..].fill_with(|| {
        let byte = len as u8 & 0x7f | 0x80;
        len >>= 7;
        byte
    });
    request[4] &= 0x7f;
    request.extend(digests);
    let error = SignedMessage::from_envelope(payload(request)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
}

#[test]
fn deep_groups_cost_no_stack() {
    let nested = |depth: usize| [[0x0b].repeat(depth), [0x0c].repeat(depth)].concat();
    assert!(SignedMessage::from_envelope(payload(nested(10_000))).is_ok());
    assert!(SignedMessage::from_envelope(payload(nested(1_000_000))).is_err());
}

/// However a message is changed, decoding it and decoding its re-encoding agree, and nothing panics.
#[test]
fn damaged_messages_are_read_in_one_way_or_refused() {
    let own = SignedMessage::sign(alive("id", 1, 2), |_| Ok(b"sig".to_vec())).unwrap();
    let own = own.sign_secret("host:1", |_| Ok(b"sig".to_vec())).unwrap();
    let request = gossip::MembershipRequest {
        self_information: Some(own.to_proto()).into(),
        known: vec!["a".into(), "b".into()],
        ..Default::default()
    };
    let seeds = [
        block(300),
        alive("id", u64::MAX, 1),
        state_info("id", 1, 1),
        with(Tag::EMPTY, Content::MemReq(request)),
        with(Tag::EMPTY, Content::DataDig(digests(PullMsgType::IDENTITY_MSG, &[b"1", b""]))),
    ];
    let seeds = seeds.map(|message| SignedMessage::noop_sign(message).unwrap().envelope().payload.to_vec());
    let mut state = 1_u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let mut accepted = 0;
    for _ in 0..200_000 {
        let mut bytes = seeds[random(seeds.len())].clone();
        for _ in 0..1 + random(3) {
            let at = random(bytes.len());
            match random(5) {
                0 => bytes[at] = random(256) as u8,
                1 => bytes[at] ^= 1 << random(8),
                2 => bytes.truncate(at + 1),
                3 => bytes.insert(at, [0, 0x0b, 0x0c, 0x80, 0xff, 0x1a, 0x2a][random(7)]),
                _ => bytes.extend_from_slice(&seeds[random(seeds.len())]),
            }
        }
        let again = proto::reencode::<GossipMessage>(&bytes);
        let message = SignedMessage::from_envelope(payload(bytes));
        assert_eq!(message.is_ok(), again.is_ok());
        let (Ok(message), Ok(again)) = (message, again) else { continue };
        accepted += 1;
        assert_eq!(proto::reencode::<GossipMessage>(&again).unwrap(), again);
        assert_eq!(message.resign(|_| Ok(vec![1])).unwrap().envelope().payload, again);
        assert_eq!(SignedMessage::from_envelope(payload(again)).unwrap().message(), message.message());
        let _ = (message.to_string(), message.message().check_tag(), SignedMessage::decode(message.wire()).unwrap());
    }
    assert!(accepted > 10_000, "{accepted}");
}
