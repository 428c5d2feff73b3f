//! Signatures of a host's own: the forms that hosts give, the form that leaves, and the check at the start.

use crate::issuer::{self, ec_key, identity, Issuer};
#[allow(dead_code)]
use fabric_gossip::clock::SystemClock;
use fabric_gossip::comm::{Comm, RemotePeer};
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::message::{self, Content, SignedMessage};
use fabric_gossip::msp::{
    Digest, HashFamily, Msp, MspConfig, MspCryptoService, MspVersion, NodeOus, OuIdentifier, Signature, SigningIdentity,
};
use fabric_gossip::node::Node;
use fabric_gossip::testing::MemoryNetwork;
use fabric_gossip::{Error, ErrorKind, Result};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::{hash, MessageDigest};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const CURVES: [Nid; 2] = [Nid::X9_62_PRIME256V1, Nid::SECP384R1];

/// An ECDSA signature of this digest, with high or low S as asked for.
fn ecdsa(key: &PKey<Private>, digest: &[u8], high: bool) -> EcdsaSig {
    let key = key.ec_key().unwrap();
    let (mut order, mut half) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    key.group().order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
    half.rshift1(&order).unwrap();
    let signature = EcdsaSig::sign(digest, &key).unwrap();
    if (*signature.s() > *half) == high {
        return signature;
    }
    let mut other = BigNum::new().unwrap();
    other.checked_sub(&order, signature.s()).unwrap();
    EcdsaSig::from_private_components(signature.r().to_owned().unwrap(), other).unwrap()
}

fn raw(key: &PKey<Private>, signature: &EcdsaSig) -> Vec<u8> {
    let len = key.bits().div_ceil(8) as i32;
    [signature.r().to_vec_padded(len).unwrap(), signature.s().to_vec_padded(len).unwrap()].concat()
}

fn sha256(message: &[u8]) -> Vec<u8> {
    hash(MessageDigest::sha256(), message).unwrap().to_vec()
}

type Sign = Box<dyn Fn(&[u8]) -> Result<Vec<u8>> + Send + Sync>;

/// A host that signs by itself and leaves the rest to its MSP.
struct Host {
    msps: MspCryptoService,
    sign: Sign,
}

impl CryptoService for Host {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        self.msps.pki_id(identity)
    }
    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        self.msps.validate_identity(identity)
    }
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        (self.sign)(message)
    }
    fn verify(&self, identity: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        self.msps.verify(identity, signature, message)
    }
    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        self.msps.expiration(identity)
    }
}

/// A member with a key of this curve, and its organisation.
struct Member {
    issuer: Issuer,
    key: PKey<Private>,
    cert: Vec<u8>,
    identity: PeerIdentity,
}

impl Member {
    fn new(curve: Nid) -> Member {
        Member::with_key(ec_key(curve))
    }

    fn with_key(key: PKey<Private>) -> Member {
        let issuer = Issuer::new();
        let cert = issuer.issue(7, &key);
        let identity = identity(&cert.to_der().unwrap());
        Member { issuer, key, cert: cert.to_pem().unwrap(), identity }
    }

    fn msp(&self) -> Arc<Msp> {
        Arc::new(self.issuer.msp(MspVersion::V3_0, &[]))
    }

    fn host(&self, sign: impl Fn(&[u8]) -> Result<Vec<u8>> + Send + Sync + 'static) -> Arc<Host> {
        Arc::new(Host { msps: MspCryptoService::new(self.msp(), None), sign: Box::new(sign) })
    }

    fn start(&self, sign: impl Fn(&[u8]) -> Result<Vec<u8>> + Send + Sync + 'static) -> Result<Comm> {
        let host = self.host(sign);
        let advisor = Arc::new(MspCryptoService::new(self.msp(), None));
        let network = MemoryNetwork::new(Arc::new(SystemClock));
        Comm::builder(self.identity.clone(), host, advisor).transport(network.transport(None)).start()
    }

    fn refusal(&self, sign: impl Fn(&[u8]) -> Result<Vec<u8>> + Send + Sync + 'static) -> Error {
        self.start(sign).expect_err("the signer does not fit")
    }

    fn external(&self, sign: impl Fn(&Digest) -> Result<Signature> + Send + Sync + 'static) -> Result<SigningIdentity> {
        SigningIdentity::with_signer(&self.msp(), &self.cert, SystemTime::now(), sign)
    }
}

#[test]
fn a_high_s_of_the_hosts_leaves_as_low_s_and_is_accepted() {
    for curve in CURVES {
        let member = Member::new(curve);
        let judge = MspCryptoService::new(member.msp(), None);
        let key = member.key.clone();
        let host = member.host(move |message| Ok(ecdsa(&key, &sha256(message), true).to_der().unwrap()));
        let given = host.sign(b"message").unwrap();
        let e = judge.verify(&member.identity, &given, b"message").unwrap_err();
        assert!(e.message().contains("Invalid S"), "the host's own form is not refused: {e}");

        let advisor = Arc::new(MspCryptoService::new(member.msp(), None));
        let (config, clock) = (IdentityConfig::default(), Arc::new(SystemClock));
        let mapper = IdentityMapper::new(config, host, advisor, clock, member.identity.clone(), |_, _| {}).unwrap();
        for n in 0..20u8 {
            let signature = mapper.sign(&[n; 100]).unwrap();
            judge.verify(&member.identity, &signature, &[n; 100]).unwrap();
        }
        mapper.stop();
    }
}

#[test]
fn peers_accept_a_host_that_always_returns_a_high_s() {
    for curve in CURVES {
        let member = Member::new(curve);
        let network = MemoryNetwork::new(Arc::new(SystemClock));
        let key = member.key.clone();
        let host = member.host(move |message| Ok(ecdsa(&key, &sha256(message), true).to_der().unwrap()));
        let advisor = Arc::new(MspCryptoService::new(member.msp(), None));
        let near = Comm::builder(member.identity.clone(), host, advisor).transport(network.transport(None));
        let near = near.start().unwrap();

        let other = ec_key(Nid::X9_62_PRIME256V1);
        let cert = member.issuer.issue(8, &other);
        let signer = SigningIdentity::new(
            &member.msp(),
            &cert.to_pem().unwrap(),
            &other.private_key_to_pem_pkcs8().unwrap(),
            SystemTime::now(),
        );
        let signer = signer.unwrap();
        let identity = signer.serialize();
        let service = Arc::new(MspCryptoService::new(member.msp(), Some(signer)));
        let far = Comm::builder(identity, service.clone(), service).transport(network.transport(None));
        let far = far.start().unwrap();
        network.listen("far:1", None, far.acceptor());

        let inbox = far.subscribe(|m| matches!(m.message().content(), Some(Content::DataMsg(_))));
        let block = SignedMessage::noop_sign(message::data(1, "mychannel", 1, "x")).unwrap();
        near.send(&block, &[RemotePeer::new("far:1")]).unwrap();
        inbox.recv_timeout(Duration::from_secs(30)).unwrap();
        near.stop();
        far.stop();
    }
}

#[test]
fn what_is_no_der_signature_of_the_identitys_curve_leaves_unchanged() {
    let member = Member::new(Nid::X9_62_PRIME256V1);
    let digest = sha256(b"message");
    let high = ecdsa(&member.key, &digest, true);
    let padded = [high.to_der().unwrap(), vec![0]].concat();
    let of_p384 = ecdsa(&ec_key(Nid::SECP384R1), &digest, true).to_der().unwrap();
    let low = ecdsa(&member.key, &digest, false).to_der().unwrap();
    for given in [vec![], b"a scheme of its own".to_vec(), raw(&member.key, &high), padded, of_p384, low] {
        let returned = given.clone();
        let host = member.host(move |_| Ok(returned.clone()));
        let advisor = Arc::new(MspCryptoService::new(member.msp(), None));
        let (config, clock) = (IdentityConfig::default(), Arc::new(SystemClock));
        let mapper = IdentityMapper::new(config, host, advisor, clock, member.identity.clone(), |_, _| {}).unwrap();
        assert_eq!(mapper.sign(b"message").unwrap(), given);
        mapper.stop();
    }
}

#[test]
fn a_signer_that_does_not_fit_the_identity_is_an_error_at_the_start_that_says_what_to_change() {
    for curve in CURVES {
        let member = Member::new(curve);
        let key = || member.key.clone();
        let der = |key: &PKey<Private>, digest: &[u8]| Ok(ecdsa(key, digest, false).to_der().unwrap());
        let (another, raw_key, twice, unhashed, other_hash) = (ec_key(curve), key(), key(), key(), key());
        let refusals = [
            (member.refusal(move |m| der(&another, &sha256(m))), "does not match our certificate"),
            (member.refusal(move |m| Ok(raw(&raw_key, &ecdsa(&raw_key, &sha256(m), false)))), "ASN.1 DER"),
            (member.refusal(move |m| der(&twice, &sha256(&sha256(m)))), "hashes twice"),
            (member.refusal(move |m| der(&unhashed, m)), "as if it were a digest"),
            (member.refusal(move |m| der(&other_hash, &hash(MessageDigest::sha384(), m).unwrap())), "another hash"),
        ];
        for (e, remedy) in refusals {
            assert_eq!(e.kind(), ErrorKind::Signature, "{e}");
            let text = e.to_string();
            assert!(text.contains("our own signature does not match our own identity"), "{text}");
            assert!(text.contains(remedy), "{text}");
        }
    }
}

#[test]
fn a_signer_that_fails_or_panics_is_an_error_at_the_start_with_its_reason() {
    let member = Member::new(Nid::X9_62_PRIME256V1);
    let e = member.refusal(|_| Err(Error::new(ErrorKind::Internal, "no such token")));
    assert_eq!((e.kind(), e.message()), (ErrorKind::Internal, "signing with our own key failed: no such token"));
    assert!(member.refusal(|_| panic!("a host's bug")).message().contains("signing with our own key failed"));
    assert!(member.refusal(|_| Ok(Vec::new())).message().contains("does not match our own identity"));
}

#[test]
fn a_node_does_not_start_with_a_wrong_signer_either() {
    let member = Member::new(Nid::X9_62_PRIME256V1);
    let another = ec_key(Nid::X9_62_PRIME256V1);
    let host = member.host(move |m| Ok(ecdsa(&another, &sha256(m), false).to_der().unwrap()));
    let advisor = Arc::new(MspCryptoService::new(member.msp(), None));
    let network = MemoryNetwork::new(Arc::new(SystemClock));
    let node = Node::builder(member.identity.clone(), host, advisor).endpoint("here:1");
    let e = node.comm(|comm| comm.transport(network.transport(None))).start().err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Signature);
    assert!(e.message().contains("does not match our certificate"), "{e}");
}

#[test]
fn a_function_signs_digests_in_either_form_with_high_and_low_s() {
    for curve in CURVES {
        for (high, as_raw) in [(false, false), (false, true), (true, false), (true, true)] {
            let member = Member::new(curve);
            let (key, calls) = (member.key.clone(), Arc::new(AtomicUsize::new(0)));
            let counted = calls.clone();
            let signer = member.external(move |digest| {
                counted.fetch_add(1, Ordering::Relaxed);
                assert_eq!((digest.as_bytes().len(), digest.hash_family()), (32, HashFamily::Sha2));
                let signature = ecdsa(&key, digest.as_bytes(), high);
                Ok(match as_raw {
                    true => Signature::Raw(raw(&key, &signature)),
                    false => Signature::Der(signature.to_der().unwrap()),
                })
            });
            let signer = signer.unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            for n in 0..20u8 {
                let signature = signer.sign(&[n; 10]).unwrap();
                signer.identity().verify(&signature, &[n; 10]).unwrap();
            }
            // And a whole peer starts with it.
            let identity = signer.serialize();
            let service = Arc::new(MspCryptoService::new(member.msp(), Some(signer)));
            let network = MemoryNetwork::new(Arc::new(SystemClock));
            Comm::builder(identity, service.clone(), service)
                .transport(network.transport(None))
                .start()
                .unwrap()
                .stop();
        }
    }
}

#[test]
fn a_function_gets_the_digest_of_the_msps_hash_family() {
    let member = Member::new(Nid::X9_62_PRIME256V1);
    let root = fabric_gossip::msp::PemFile::new("ca", member.issuer.cert.to_pem().unwrap());
    let role = |ou: &str| Some(OuIdentifier { organizational_unit_identifier: ou.into(), certificate: None });
    let (client, peer, admin) = (role("client"), role("peer"), role("admin"));
    let config = MspConfig {
        mspid: issuer::MSPID.into(),
        root_certs: vec![root],
        node_ous: Some(NodeOus { enable: true, client, peer, admin, orderer: None }),
        hash_family: HashFamily::Sha3,
        ..MspConfig::default()
    };
    let (msp, key) = (Msp::new(config).unwrap(), member.key.clone());
    let signer = SigningIdentity::with_signer(&msp, &member.cert, SystemTime::now(), move |digest| {
        assert_eq!(digest.hash_family(), HashFamily::Sha3);
        Ok(Signature::Der(ecdsa(&key, digest.as_bytes(), false).to_der().unwrap()))
    });
    let signature = signer.unwrap().sign(b"message").unwrap();
    let expected = hash(MessageDigest::sha3_256(), b"message").unwrap();
    let public = member.key.ec_key().unwrap();
    assert!(EcdsaSig::from_der(&signature).unwrap().verify(&expected, &public).unwrap());
}

#[test]
fn a_function_that_mixes_up_the_forms_is_an_error_that_names_the_right_one() {
    let member = Member::new(Nid::X9_62_PRIME256V1);
    let key = || member.key.clone();
    let (one, two, three, four, five) = (key(), key(), key(), key(), ec_key(Nid::X9_62_PRIME256V1));
    let mistakes = [
        (
            member.external(move |d| Ok(Signature::Der(raw(&one, &ecdsa(&one, d.as_ref(), false))))),
            "return it as Signature::Raw",
        ),
        (
            member.external(move |d| Ok(Signature::Raw(ecdsa(&two, d.as_ref(), false).to_der().unwrap()))),
            "return it as Signature::Der",
        ),
        (
            member.external(move |d| Ok(Signature::Raw(raw(&three, &ecdsa(&three, d.as_ref(), false))[1..].to_vec()))),
            "64 bytes in all",
        ),
        (
            member.external(move |d| Ok(Signature::Der(ecdsa(&four, &sha256(d.as_ref()), false).to_der().unwrap()))),
            "without hashing it again",
        ),
        (
            member.external(move |d| Ok(Signature::Der(ecdsa(&five, d.as_ref(), false).to_der().unwrap()))),
            "the certificate that belongs to the key",
        ),
        (member.external(|_| Ok(Signature::Raw(vec![0; 64]))), "64 bytes in all"),
        (member.external(|_| Ok(Signature::Raw(vec![0xff; 64]))), "64 bytes in all"),
        (member.external(|_| Ok(Signature::Der(Vec::new()))), "not a DER ECDSA signature"),
        (member.external(|_| Err(Error::new(ErrorKind::Internal, "the token is locked"))), "the token is locked"),
    ];
    for (result, text) in mistakes {
        let e = result.expect_err(text);
        assert!(e.message().contains(text), "{e}");
    }
}

#[test]
fn a_function_needs_a_certificate_with_an_ecdsa_key() {
    let member = Member::with_key(PKey::generate_ed25519().unwrap());
    let e = member.external(|_| unreachable!("nothing is signed")).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Config);
    assert!(e.message().contains("Ed25519"), "{e}");
}
