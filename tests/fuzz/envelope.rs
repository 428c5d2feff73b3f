//! The input is an envelope as received from the wire.

use bytes::Bytes;
use fabric_gossip::crypto::PeerIdentity;
use fabric_gossip::internals::message::{self as wire, InvalidationResult};
use fabric_gossip::message::{self, Envelope, GossipMessage, SignedMessage};
use fabric_gossip::proto;
use fabric_gossip::{Error, ErrorKind};

/// Whether it is one with a message in it.
pub fn run(data: &[u8]) -> bool {
    let wire = Bytes::copy_from_slice(data);
    let envelope = Envelope::decode(&wire);
    let decoded = SignedMessage::decode(wire.clone());
    let Ok(envelope) = envelope else {
        assert!(decoded.is_err(), "a message in an envelope that is none");
        return false;
    };
    check_envelope(&envelope);
    let Ok(decoded) = decoded else { return false };

    assert_eq!(decoded.wire(), wire, "what was received goes on as it came");
    assert_eq!(*decoded.envelope(), envelope);
    let nested = SignedMessage::from_envelope(Some(envelope.clone())).expect("it was decoded before");
    assert_eq!(nested.message(), decoded.message());
    check_message(decoded.message());
    let text = decoded.to_string();
    assert!(text.len() <= 8 * data.len() + 1000, "{} bytes of text of {} bytes", text.len(), data.len());

    let canonical = proto::reencode::<GossipMessage>(&envelope.payload).expect("it was decoded before");
    assert_eq!(proto::reencode::<GossipMessage>(&canonical).expect("its own encoding"), canonical);
    check_signing(&decoded, &canonical);
    true
}

/// Checks that an encoded envelope decodes to itself, and that verifying covers every part, in order.
fn check_envelope(envelope: &Envelope) {
    let encoded = envelope.encode();
    assert_eq!(encoded.len(), envelope.encoded_len());
    assert_eq!(Envelope::decode(&encoded).expect("its own encoding"), *envelope);

    let mut asked = Vec::new();
    let verdict = envelope.verify(&PeerIdentity::default(), |_: &PeerIdentity, signature: &[u8], payload: &[u8]| {
        asked.push((payload.to_vec(), signature.to_vec()));
        Ok(())
    });
    let parts =
        [Some((&envelope.payload, &envelope.signature)), envelope.secret.as_ref().map(|s| (&s.payload, &s.signature))];
    let signed: Vec<_> = parts.into_iter().flatten().take_while(|(p, s)| !p.is_empty() && !s.is_empty()).collect();
    assert!(asked.iter().map(|(p, s)| (&p[..], &s[..])).eq(signed.iter().map(|(p, s)| (&p[..], &s[..]))));
    assert_eq!(verdict.is_ok(), signed.len() == 1 + usize::from(envelope.secret.is_some()));
    let refused = |_: &PeerIdentity, _: &[u8], _: &[u8]| Err(Error::new(ErrorKind::Signature, "no"));
    assert!(envelope.verify(&PeerIdentity::default(), refused).is_err());
    assert_eq!(envelope.is_signed(), !signed.is_empty());
}

/// Tags have a verdict, and comparing has the same one from both sides.
fn check_message(message: &GossipMessage) {
    let legal = message.check_tag().is_ok();
    assert!(!legal || !message.tag.enum_value().is_ok_and(|tag| tag == message::Tag::UNDEFINED));
    for other in others(message) {
        for window in [0, 10, u64::MAX] {
            use InvalidationResult::{Invalidated, Invalidates, NoAction};
            let (one, two) = (wire::compare(message, &other, window), wire::compare(&other, message, window));
            match one {
                NoAction => assert_eq!(two, NoAction),
                Invalidates => assert_eq!(two, Invalidated),
                // Equal ones are invalidated by each other.
                Invalidated => assert_ne!(two, NoAction),
            }
        }
    }
}

/// The message itself, and the same about something else.
fn others(message: &GossipMessage) -> Vec<GossipMessage> {
    use fabric_gossip::message::Content;
    let mut later = message.clone();
    match &mut later.content {
        Some(Content::AliveMsg(m)) => m.timestamp.mut_or_insert_default().inc_num ^= 1,
        Some(Content::StateInfo(m)) => m.timestamp.mut_or_insert_default().seq_num ^= 1,
        Some(Content::LeadershipMsg(m)) => m.timestamp.mut_or_insert_default().seq_num ^= 1,
        Some(Content::DataMsg(m)) => m.payload.mut_or_insert_default().seq_num ^= 15,
        Some(Content::PeerIdentity(m)) => m.pki_id = Bytes::new(),
        _ => {}
    }
    vec![message.clone(), later, message::empty(1), message::data(1, "channel", 7, "data")]
}

/// Signing again signs all of the message, unknown fields too; another nonce changes nothing else.
fn check_signing(decoded: &SignedMessage, canonical: &[u8]) {
    let resigned = decoded.resign(|payload| Ok([&b"signed "[..], payload].concat())).expect("encoded once already");
    assert_eq!(resigned.envelope().payload, canonical);
    assert_eq!(resigned.envelope().signature, [b"signed ", canonical].concat());
    assert_eq!(resigned.envelope().secret, decoded.envelope().secret);
    let nonce = decoded.nonce().wrapping_add(1);
    let other = decoded.with_nonce(nonce).expect("encoded once already");
    assert_eq!((other.nonce(), other.envelope().is_signed()), (nonce, false));
    let back = other.with_nonce(decoded.nonce()).expect("encoded once already");
    assert_eq!(back.envelope().payload, canonical);
    let again = SignedMessage::decode(resigned.wire()).expect("what is encoded is decoded");
    assert_eq!(again.envelope(), resigned.envelope());
}
