//! The MSP over real organisations made on the spot, row by row of the conformance list (M1–M15). Fabric's verdicts on
//! recorded ones are in `vectors/msp.rs`.

use crate::issuer::{self, ec_key, with_a_third_number, with_s, with_signature, Issuer, MSPID};
#[allow(dead_code)]
use fabric_gossip::clock::SystemClock;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper};
use fabric_gossip::msp::{
    serialized_identity, Channel, Msp, MspConfig, MspCryptoService, MspVersion, OuIdentifier, PemFile, SigningIdentity,
};
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::{ErrorKind, Result};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use openssl::x509::X509;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn org(n: u32) -> Org {
    Org::new(format!("Org{n}MSP"), format!("org{n}.example.com")).unwrap()
}

fn signer(msp: &Msp, member: &Member) -> Result<SigningIdentity> {
    SigningIdentity::new(msp, member.cert.as_bytes(), member.key.as_bytes(), SystemTime::now())
}

fn text<T>(result: Result<T>) -> String {
    result.err().expect("an error").message().to_owned()
}

/// A folder that goes with its owner.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("fabric-gossip-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(name);
        fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// An organisation with one peer on disk: the peer's MSP folder.
fn on_disk(dir: &TempDir, org: &Org, peer: &Member) -> PathBuf {
    org.write_to(&dir.0, std::slice::from_ref(peer)).unwrap();
    dir.0.join("peerOrganizations").join(org.domain()).join("peers").join(&peer.name).join("msp")
}

#[test]
fn m1_pki_id_is_the_hash_of_mspid_and_certificate() {
    let org = org(1);
    let peer = org.peer("peer0").unwrap();
    let service = org.crypto_service(&peer, &[]).unwrap();
    let expected = openssl::sha::sha256(format!("Org1MSP{}", peer.cert).as_bytes());
    assert_eq!(service.pki_id(&peer.identity()), Some(PkiId::from(&expected[..])));
    let own = service.signer().unwrap();
    assert_eq!((own.serialize(), own.pki_id()), (peer.identity(), PkiId::from(&expected[..])));
}

#[test]
fn m2_nothing_has_no_pki_id() {
    let org = org(1);
    let service = MspCryptoService::new(org.msp().unwrap(), None);
    assert_eq!(service.pki_id(&PeerIdentity::default()), None);
    assert_eq!(service.pki_id(&b"\xff\xff\xff".as_slice().into()), None);
}

#[test]
fn m3_m7_whom_it_knows_and_of_which_organisation() {
    let (ours, theirs, unknown) = (org(1), org(2), org(3));
    let service = ours.crypto_service(&ours.peer("peer0").unwrap(), &[]).unwrap();
    let other = theirs.peer("peer0").unwrap().identity();
    service.set_channel("ch", Channel::new([theirs.msp().unwrap()], None));

    let local = ours.peer("peer1").unwrap().identity();
    service.validate_identity(&local).unwrap();
    service.validate_identity(&other).unwrap();
    assert_eq!(service.org_by_peer_identity(&local).unwrap().as_str(), "Org1MSP");
    assert_eq!(service.org_by_peer_identity(&other).unwrap().as_str(), "Org2MSP");

    let stranger = unknown.peer("peer0").unwrap().identity();
    let refused = text(service.validate_identity(&stranger));
    assert!(refused.starts_with(r#"Peer Identity {"CN":"peer0.org3.example.com","Issuer-CN":"ca.org3"#), "{refused}");
    assert!(refused.ends_with("cannot be validated. No MSP found able to do that."), "{refused}");
    assert_eq!(service.org_by_peer_identity(&stranger), None);
    let nothing = PeerIdentity::default();
    assert_eq!(text(service.validate_identity(&nothing)), "Invalid Peer Identity. It must be different from nil.");
    assert_eq!(service.org_by_peer_identity(&nothing), None);
}

#[test]
fn m4_malformed_identities_are_refused_locally_and_in_channels() {
    let (ours, theirs) = (org(1), org(2));
    let service = ours.crypto_service(&ours.peer("peer0").unwrap(), &[&theirs]).unwrap();
    for (org, refusal) in [(&ours, "has trailing bytes"), (&theirs, "no MSP provider recognizes the identity")] {
        let cert = org.peer("peer1").unwrap().cert + "abc";
        let refused = text(service.validate_identity(&serialized_identity(org.mspid(), cert.as_bytes())));
        assert!(refused.starts_with("identity is not well formed: ") && refused.ends_with(refusal), "{refused}");
    }
}

#[test]
fn m5_signatures_of_members_and_of_others() {
    let (ours, theirs) = (org(1), org(2));
    let (us, them) = (ours.peer("peer0").unwrap(), theirs.peer("peer0").unwrap());
    let service = ours.crypto_service(&us, &[]).unwrap();
    let foreign = theirs.crypto_service(&them, &[]).unwrap();
    service.verify(&us.identity(), &service.sign(b"foo").unwrap(), b"foo").unwrap();
    let theirs_msp = theirs.msp().unwrap();
    let signature = foreign.sign(b"foo").unwrap();
    let verify = |signature: &[u8]| service.verify(&them.identity(), signature, b"foo");

    service.set_channel("ch", Channel::new([theirs_msp.clone()], None));
    assert_eq!(text(verify(&signature)), "Could not acquire policy manager for channel ch");
    service.set_channel("ch", Channel::new([theirs_msp.clone()], Some(vec!["Org1MSP".into()])));
    assert_eq!(text(verify(&signature)), "signature set did not satisfy policy");
    service.set_channel("ch", Channel::new([theirs_msp], Some(vec!["Org2MSP".into()])));
    verify(&signature).unwrap();
    assert_eq!(text(verify(b"wrong")), "signature set did not satisfy policy");
    service.verify_by_channel(b"ch", &them.identity(), &signature, b"foo").unwrap();
    let by_other = service.verify_by_channel(b"other", &them.identity(), &signature, b"foo");
    assert_eq!(text(by_other), "Could not acquire policy manager for channel other");
    let nobody = service.verify(&PeerIdentity::default(), &signature, b"foo");
    assert_eq!(text(nobody), "Invalid Peer Identity. It must be different from nil.");

    service.remove_channel("ch");
    assert!(verify(&signature).is_err(), "what was valid by a channel goes with it");
    service.trust(theirs.msp().unwrap());
    verify(&signature).unwrap();
    service.distrust("Org2MSP");
    assert!(verify(&signature).is_err());
}

#[test]
fn msps_are_replaced_in_one_step_and_our_own_identity_stays() {
    let (ours, theirs, others) = (org(1), org(2), org(3));
    let (us, them, other) = (ours.peer("peer0").unwrap(), theirs.peer("peer0").unwrap(), others.peer("peer0").unwrap());
    let service = ours.crypto_service(&us, &[&theirs]).unwrap();
    service.set_channel("ch", Channel::new([theirs.msp().unwrap()], Some(vec!["Org2MSP".into()])));
    let signed = (them.identity(), theirs.crypto_service(&them, &[]).unwrap().sign(b"foo").unwrap());
    service.verify_by_channel(b"ch", &signed.0, &signed.1, b"foo").unwrap();

    let renewed = ours.crypto_service(&ours.peer("renewed").unwrap(), &[&others]).unwrap();
    service.replace_msps(&renewed);
    service.validate_identity(&other.identity()).unwrap();
    assert!(service.validate_identity(&them.identity()).is_err(), "an organisation that the new one lacks");
    assert!(
        service.verify_by_channel(b"ch", &signed.0, &signed.1, b"foo").is_err(),
        "a channel that the new one lacks"
    );
    service.verify(&us.identity(), &service.sign(b"foo").unwrap(), b"foo").expect("signed by our own key");
}

#[test]
fn m6_expiration_is_the_certificates_end() {
    let org = org(1);
    let service = org.crypto_service(&org.peer("peer0").unwrap(), &[]).unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    let peer = org.member("peer1").valid(end - Duration::from_secs(1_000_000), end).issue().unwrap();
    assert_eq!(service.expiration(&peer.identity()).unwrap(), Some(end));
    let mut junk = peer.identity().as_bytes().to_vec();
    junk.extend([0; 6]);
    let refused = text(service.expiration(&junk.into()));
    let expected = "Unable to extract msp.Identity from peer Identity: error unmarshalling SerializedIdentity: ";
    assert!(refused.starts_with(expected), "{refused}");
}

#[test]
fn m8_sign_and_verify() {
    let org = org(1);
    let peer = org.peer("peer0").unwrap();
    let service = org.crypto_service(&peer, &[]).unwrap();
    for _ in 0..20 {
        let signature = service.sign(b"foo").unwrap();
        service.verify(&peer.identity(), &signature, b"foo").unwrap();
        assert_eq!(text(service.verify(&peer.identity(), &signature, b"bar")), "The signature is invalid");
        let e = service.verify(&peer.identity(), &signature[1..], b"foo").unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Signature);
        assert!(e.message().starts_with("could not determine the validity of the signature: "));
    }
}

#[test]
fn m9_signatures_made_elsewhere_verify() {
    let issuer = Issuer::new();
    let msp = issuer.msp(MspVersion::V3_0, &[]);
    let member = |key| msp.deserialize(&issuer::identity(&issuer.issue(7, key).to_der().unwrap())).unwrap();
    let key = ec_key(Nid::X9_62_PRIME256V1);
    let ecdsa = Signer::new(MessageDigest::sha256(), &key).unwrap().sign_oneshot_to_vec(b"foo").unwrap();
    member(&*key).verify(&with_s(false, &ecdsa), b"foo").unwrap();

    let key = PKey::generate_ed25519().unwrap();
    let signature = Signer::new_without_digest(&key).unwrap().sign_oneshot_to_vec(b"foo").unwrap();
    member(&*key).verify(&signature, b"foo").unwrap();
    assert_eq!(text(member(&*key).verify(&signature, b"bar")), "The signature is invalid");
}

#[test]
fn m10_high_s_is_refused() {
    let org = org(1);
    let peer = org.peer("peer0").unwrap();
    let service = org.crypto_service(&peer, &[]).unwrap();
    let high = with_s(true, &service.sign(b"foo").unwrap());
    let refused = text(service.verify(&peer.identity(), &high, b"foo"));
    assert!(refused.contains("Invalid S. Must be smaller than half the order ["), "{refused}");
}

#[test]
fn m11_ed25519_needs_version_3() {
    let issuer = Issuer::new();
    let cert = issuer.issue(7, &PKey::generate_ed25519().unwrap());
    for (version, valid) in [(MspVersion::V1_4_3, false), (MspVersion::V3_0, true)] {
        let msp = issuer.msp(version, &[]);
        let verdict = msp.validate(&msp.deserialize(&issuer::identity(&cert.to_der().unwrap())).unwrap());
        assert_eq!(verdict.is_ok(), valid, "{version:?}: {verdict:?}");
        if !valid {
            let refused = text(verdict);
            assert!(refused.starts_with("could not validate identity's public key algorithm"), "{refused}");
        }
    }
}

#[test]
fn m12_the_pem_form_is_held_to() {
    let issuer = Issuer::new();
    let msp = issuer.msp(MspVersion::V3_0, &[]);
    let cert = issuer.issue(7, &ec_key(Nid::X9_62_PRIME256V1));
    let sound = cert.to_der().unwrap();
    let check = |pem: String| msp.check_well_formed(&serialized_identity(MSPID, pem.as_bytes()));
    check(issuer::pem("CERTIFICATE", &sound)).unwrap();
    check(issuer::pem("", &sound)).unwrap();
    assert_eq!(text(check(issuer::pem("foo", &sound))), "pem type is foo, should be 'CERTIFICATE' or missing");
    assert!(text(check(issuer::pem("CERTIFICATE", &sound) + "abc")).ends_with("has trailing bytes"));
    let odd = with_signature(&cert, with_a_third_number);
    assert!(text(check(issuer::pem("CERTIFICATE", &odd))).ends_with("has a non canonical signature"));
}

#[test]
fn m13_validity_is_not_judged_by_todays_date() {
    let org = org(1);
    let msp = org.msp().unwrap();
    for request in [org.member("p"), org.member("p").expired(), org.member("p").not_yet_valid()] {
        let identity = request.issue().unwrap().identity();
        msp.validate(&msp.deserialize(&identity).unwrap()).unwrap();
    }
}

#[test]
fn m14_what_its_authority_lists_is_revoked() {
    let issuer = Issuer::new();
    let cert = issuer::identity(&issuer.issue(7, &ec_key(Nid::X9_62_PRIME256V1)).to_der().unwrap());
    let validate = |list: Vec<u8>| {
        let msp = issuer.msp(MspVersion::V3_0, &[list]);
        msp.validate(&msp.deserialize(&cert).unwrap())
    };
    validate(issuer.revoke(8, |content| issuer.sign(content))).unwrap();
    let wrong = |content: &[u8]| issuer.sign(&[content, b"something else"].concat());
    validate(issuer.revoke(7, wrong)).unwrap();
    for verdict in [
        validate(issuer.revoke(7, |content| issuer.sign(content))),
        validate(issuer.revoke(7, |content| with_a_third_number(&issuer.sign(content)))),
    ] {
        assert!(text(verdict).ends_with("The certificate has been revoked"));
    }
}

#[test]
fn m15_a_certificate_with_high_s_is_valid_and_named_by_its_low_form() {
    let issuer = Issuer::new();
    let msp = issuer.msp(MspVersion::V3_0, &[]);
    let cert = issuer.issue(7, &ec_key(Nid::X9_62_PRIME256V1));
    let [low, high] = [false, true].map(|high| with_signature(&cert, |s| with_s(high, s)));
    for form in [&low, &high] {
        let member = msp.deserialize(&issuer::identity(form)).unwrap();
        msp.validate(&member).unwrap();
        msp.check_well_formed(&issuer::identity(form)).unwrap();
        assert_eq!(msp.identity_identifier(&member).unwrap(), openssl::sha::sha256(&low));
        assert_eq!(member.serialize(), issuer::identity(&low));
    }
}

#[test]
fn an_expired_identity_is_neither_ours_nor_in_the_mapper() {
    let org = org(1);
    let expired = org.member("peer1").expired().issue().unwrap();
    let refused = signer(&org.msp().unwrap(), &expired).unwrap_err();
    assert!(refused.message().starts_with("signing identity expired "), "{refused}");

    let peer = org.peer("peer0").unwrap();
    let service = org.crypto_service(&peer, &[]).unwrap();
    let config = IdentityConfig::default();
    let clock = Arc::new(SystemClock);
    let mapper =
        IdentityMapper::new(config, service.clone(), service.clone(), clock, peer.identity(), |_, _| {}).unwrap();
    let id = service.pki_id(&expired.identity()).unwrap();
    assert_eq!(text(mapper.put(&id, &expired.identity())), "gossipping peer identity expired");
    let sound = org.peer("peer2").unwrap().identity();
    let id = service.pki_id(&sound).unwrap();
    mapper.put(&id, &sound).unwrap();
    assert_eq!(mapper.org(&id).unwrap().as_str(), "Org1MSP");
}

#[test]
fn an_impostor_is_refused() {
    let (ours, theirs) = (org(1), org(2));
    let impostor = ours.member("peer0").issued_by(&theirs).issue().unwrap();
    let msp = ours.msp().unwrap();
    let refused = text(msp.deserialize(&impostor.identity()));
    assert_eq!(refused, "the supplied identity is not valid: x509: certificate signed by unknown authority");
    assert!(signer(&msp, &impostor).is_err());
    // Not even where both organisations are known.
    let service = ours.crypto_service(&ours.peer("peer1").unwrap(), &[&theirs]).unwrap();
    assert!(service.validate_identity(&impostor.identity()).is_err());
}

#[test]
fn exactly_one_role_is_demanded() {
    let org = org(1);
    let msp = org.msp().unwrap();
    let validate = |ous: &[&str]| {
        let member = org.member("p").ous(ous.iter().copied()).issue().unwrap();
        msp.validate(&msp.deserialize(&member.identity()).unwrap())
    };
    for ou in ["client", "peer", "admin", "orderer"] {
        validate(&[ou, "something"]).unwrap();
    }
    assert!(text(validate(&[])).contains("does not have an OU that resolves to client, peer, orderer, or admin role"));
    assert!(text(validate(&["peer", "admin"])).contains("not a combination of them"));
}

#[test]
fn a_listed_ou_may_be_tied_to_an_authority() {
    let org = org(1);
    let mut config = org.msp_config().unwrap();
    let certificate = config.root_certs.first().cloned();
    config.ou_identifiers.push(OuIdentifier { organizational_unit_identifier: "dept1".into(), certificate });
    let msp = Msp::new(config).unwrap();
    let validate = |ous: [&str; 2]| {
        let member = org.member("p").ous(ous).issue().unwrap();
        msp.validate(&msp.deserialize(&member.identity()).unwrap())
    };
    validate(["peer", "dept1"]).unwrap();
    assert!(text(validate(["peer", "dept2"])).contains("are in MSP Org1MSP"));
}

#[test]
fn what_cryptogen_writes_loads() {
    let (dir, org) = (TempDir::new(), org(1));
    let peer = org.member("peer0").san("gossip.example").san("10.1.2.3").issue().unwrap();
    let folder = on_disk(&dir, &org, &peer);
    let msp = Msp::load(&folder, "Org1MSP").unwrap();
    let signer = SigningIdentity::load(&msp, &folder, SystemTime::now()).unwrap();
    assert_eq!(signer.serialize(), peer.identity());
    msp.validate(signer.identity()).unwrap();
    let shown = format!("{:?} {:?}", signer, peer);
    assert!(shown.contains("peer0.org1.example.com") && !shown.contains("PRIVATE"), "{shown}");
    assert_eq!(signer.identity().ous(), ["peer"]);
    assert_eq!(msp.tls_certs(), std::slice::from_ref(&peer.tls_ca_cert));

    // The organisation's own folder is a verifying MSP, and the administrator's a local one.
    let home = dir.0.join("peerOrganizations/org1.example.com");
    Msp::load(home.join("msp"), "Org1MSP").unwrap();
    let admin = home.join("users/Admin@org1.example.com/msp");
    SigningIdentity::load(&Msp::load(&admin, "Org1MSP").unwrap(), &admin, SystemTime::now()).unwrap();

    let tls = home.join("peers/peer0.org1.example.com/tls");
    let read = |name: &str| X509::from_pem(&fs::read(tls.join(name)).unwrap()).unwrap();
    let (ca, server) = (read("ca.crt"), read("server.crt"));
    assert!(server.verify(&ca.public_key().unwrap()).unwrap());
    let key = fs::read(tls.join("server.key")).unwrap();
    assert!(openssl::pkey::PKey::private_key_from_pem(&key).unwrap().public_eq(&server.public_key().unwrap()));
    let sans: Vec<String> = server
        .subject_alt_names()
        .unwrap()
        .iter()
        .map(|n| n.dnsname().map_or_else(|| format!("{:?}", n.ipaddress().unwrap()), String::from))
        .collect();
    for san in ["peer0.org1.example.com", "localhost", "[127, 0, 0, 1]", "gossip.example", "[10, 1, 2, 3]"] {
        assert!(sans.iter().any(|s| s == san), "{san} in {sans:?}");
    }
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, org) = (TempDir::new(), org(1));
    let folder = on_disk(&dir, &org, &org.peer("peer0").unwrap());
    let home = dir.0.join("peerOrganizations/org1.example.com");
    for key in [
        folder.join("keystore/priv_sk"),
        folder.join("../tls/server.key"),
        home.join("ca/priv_sk"),
        home.join("tlsca/priv_sk"),
    ] {
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600, "{}", key.display());
    }
}

#[test]
fn errors_name_the_file_and_the_rule() {
    let org = org(1);
    let peer = org.peer("peer0").unwrap();
    let now = SystemTime::now();
    type Change<'a> = &'a dyn Fn(&Path);
    let cases: [(Change, &[&str]); 11] = [
        (&|d| fs::remove_dir_all(d.join("cacerts")).unwrap(), &["no CA", "cacerts"]),
        (&|d| fs::write(d.join("cacerts/ca-cert.pem"), "junk").unwrap(), &["no CA in", "cacerts"]),
        (
            &|d| fs::write(d.join("cacerts/ca-cert.pem"), &peer.cert).unwrap(),
            &["cacerts/ca-cert.pem", "failed to traverse certificate verification chain"],
        ),
        (
            &|d| fs::write(d.join("tlscacerts/tlsca-cert.pem"), &peer.tls_cert).unwrap(),
            &["tlscacerts/tlsca-cert.pem", "did not have the CA attribute"],
        ),
        (&|d| fs::write(d.join("config.yaml"), "NodeOUs: [").unwrap(), &["config.yaml"]),
        (&|d| fs::write(d.join("config.yaml"), "NodeOUs:\n  Enable: perhaps\n").unwrap(), &["config.yaml", "Enable"]),
        (
            &|d| fs::write(d.join("config.yaml"), "OrganizationalUnitIdentifiers:\n  - Certificate: no.pem\n").unwrap(),
            &["config.yaml", "no.pem"],
        ),
        (&|d| fs::remove_file(d.join("config.yaml")).unwrap(), &["administrators must be declared"]),
        (&|d| fs::remove_dir_all(d.join("signcerts")).unwrap(), &["no certificate in", "signcerts"]),
        (
            &|d| {
                let other = org.peer("peer1").unwrap();
                fs::write(d.join("keystore/priv_sk"), other.key).unwrap();
            },
            &["no private key in", "keystore", "matches", "signcerts/peer0.org1.example.com-cert.pem"],
        ),
        (
            &|d| {
                let expired = org.member("peer0").expired().issue().unwrap();
                fs::write(d.join("signcerts/peer0.org1.example.com-cert.pem"), expired.cert).unwrap();
            },
            &["signcerts/peer0.org1.example.com-cert.pem", "signing identity expired"],
        ),
    ];
    for (change, expected) in cases {
        let dir = TempDir::new();
        let folder = on_disk(&dir, &org, &peer);
        change(&folder);
        let loaded = Msp::load(&folder, "Org1MSP").and_then(|msp| SigningIdentity::load(&msp, &folder, now));
        let e = loaded.expect_err("an error");
        assert_eq!(e.kind(), ErrorKind::Config, "{e}");
        assert!(expected.iter().all(|part| e.message().contains(part)), "{expected:?} in {e}");
    }
}

#[test]
fn a_broken_configuration_in_memory_does_not_load() {
    let org = org(1);
    let broken = |change: &dyn Fn(&mut MspConfig)| {
        let mut config = org.msp_config().unwrap();
        change(&mut config);
        text(Msp::new(config))
    };
    assert_eq!(broken(&|c| c.root_certs.clear()), "expected at least one CA certificate");
    assert_eq!(broken(&|c| c.root_certs[0] = PemFile::new("my.pem", "junk")), "my.pem: no PEM in it");
    let list = broken(&|c| c.revocation_lists.push(PemFile::new("my.crl", "junk")));
    assert!(list.starts_with("my.crl: could not parse RevocationList"), "{list}");
}

#[test]
fn the_service_can_be_renewed_while_it_is_used() {
    let org = org(1);
    let (old, new) = (org.peer("peer0").unwrap(), org.peer("peer0").unwrap());
    let service = org.crypto_service(&old, &[]).unwrap();
    let msp = org.msp().unwrap();
    std::thread::scope(|scope| {
        let users: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let signature = service.sign(b"message").unwrap();
                        let by = [&old, &new].map(|p| service.verify(&p.identity(), &signature, b"message").is_ok());
                        assert!(by[0] || by[1]);
                    }
                })
            })
            .collect();
        for member in [&new, &old].into_iter().cycle().take(50) {
            service.set_local(msp.clone(), Some(signer(&msp, member).unwrap()));
        }
        users.into_iter().for_each(|u| u.join().unwrap());
    });
    service.set_local(msp.clone(), Some(signer(&msp, &new).unwrap()));
    assert_eq!(service.signer().unwrap().serialize(), new.identity());
    let only_judging = MspCryptoService::new(msp, None);
    assert_eq!(only_judging.sign(b"message").unwrap_err().kind(), ErrorKind::Config);
}

/// Nothing that a peer sends ends in a panic, and a changed identity is at most the same identity in other clothes.
#[test]
fn broken_identities_are_refused_quietly() {
    let org = org(1);
    let peer = org.peer("peer0").unwrap();
    let msp = org.msp().unwrap();
    let good = msp.deserialize(&peer.identity()).unwrap().serialize();
    let service = MspCryptoService::new(msp.clone(), None);
    let bytes = peer.identity().as_bytes().to_vec();
    let der = X509::from_pem(peer.cert.as_bytes()).unwrap().to_der().unwrap();
    for i in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[i] ^= 1 << (i % 8);
        for broken in [changed, bytes[..i].to_vec()] {
            let broken = PeerIdentity::from(broken);
            let _ = service.validate_identity(&broken);
            if let Ok(member) = msp.deserialize(&broken) {
                assert_eq!(member.serialize(), good);
            }
        }
    }
    for i in 0..der.len() {
        for bit in 0..8 {
            let mut changed = der.clone();
            changed[i] ^= 1 << bit;
            let block = openssl::base64::encode_block(&changed);
            let pem = format!("-----BEGIN CERTIFICATE-----\n{block}\n-----END CERTIFICATE-----\n");
            let broken = serialized_identity("Org1MSP", pem.as_bytes());
            assert!(service.validate_identity(&broken).is_err(), "byte {i} bit {bit}");
        }
    }
}
