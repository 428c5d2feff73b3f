//! The identity mapper, row by row of the conformance list (I1–I15), with a fake crypto service: the PKI-ID is the
//! identity, a signature is the message. Time is virtual, so nothing here sleeps.

use crossbeam_channel::{bounded, unbounded, Receiver, Sender};
use fabric_gossip::clock::Clock;
use fabric_gossip::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use fabric_gossip::identity::{IdentityConfig, IdentityMapper, PeerIdentityInfo};
use fabric_gossip::testing::VirtualClock;
use fabric_gossip::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(30);

/// PKI-ID = identity, signature = message, expiry in an hour, organisation = the part before the dot.
struct FakeCrypto {
    clock: VirtualClock,
    revoked: Mutex<HashSet<PeerIdentity>>,
    expiry: Mutex<HashMap<PeerIdentity, Result<Option<SystemTime>, String>>>,
    panics: Mutex<HashSet<PeerIdentity>>,
}

impl CryptoService for FakeCrypto {
    fn pki_id(&self, identity: &PeerIdentity) -> Option<PkiId> {
        Some(PkiId::new(identity.to_bytes()))
    }

    fn validate_identity(&self, identity: &PeerIdentity) -> Result<()> {
        assert!(!self.panics.lock().contains(identity), "this one panics");
        match self.revoked.lock().contains(identity) {
            true => Err(Error::new(ErrorKind::Identity, "revoked")),
            false => Ok(()),
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        Ok(message.to_vec())
    }

    fn verify(&self, _: &PeerIdentity, signature: &[u8], message: &[u8]) -> Result<()> {
        match signature == message {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Signature, "wrong signature")),
        }
    }

    fn expiration(&self, identity: &PeerIdentity) -> Result<Option<SystemTime>> {
        match self.expiry.lock().get(identity) {
            Some(Ok(at)) => Ok(*at),
            Some(Err(text)) => Err(Error::new(ErrorKind::Identity, text)),
            None => Ok(Some(self.clock.wall() + HOUR)),
        }
    }
}

impl SecurityAdvisor for FakeCrypto {
    fn org_by_peer_identity(&self, identity: &PeerIdentity) -> Option<OrgId> {
        let name = String::from_utf8_lossy(identity.as_bytes()).into_owned();
        name.split_once('.').map(|(org, _)| OrgId::new(org))
    }
}

struct Fixture {
    clock: VirtualClock,
    crypto: Arc<FakeCrypto>,
    mapper: IdentityMapper,
    purged: Receiver<(PkiId, PeerIdentity)>,
}

fn fake() -> (VirtualClock, Arc<FakeCrypto>) {
    let clock = VirtualClock::new();
    let (revoked, expiry, panics) = Default::default();
    (clock.clone(), Arc::new(FakeCrypto { clock, revoked, expiry, panics }))
}

impl Fixture {
    fn new() -> Fixture {
        Self::with(IdentityConfig::default())
    }

    fn with(config: IdentityConfig) -> Fixture {
        let (clock, crypto) = fake();
        // Our own identity never expires, unless a test is about that.
        crypto.expiry.lock().insert(identity("me.self"), Ok(None));
        let (tell, purged) = unbounded();
        let on_purge = move |id: &PkiId, identity: &PeerIdentity| tell.send((id.clone(), identity.clone())).unwrap();
        let mapper = new_mapper(config, &clock, &crypto, on_purge).unwrap();
        Fixture { clock, crypto, mapper, purged }
    }

    fn put(&self, name: &str) -> Result<()> {
        self.mapper.put(&pki_id(name), &identity(name))
    }

    fn known(&self, name: &str) -> bool {
        self.mapper.get(&pki_id(name)).is_ok()
    }

    fn revoke(&self, name: &str) {
        self.crypto.revoked.lock().insert(identity(name));
    }

    fn expire_at(&self, name: &str, at: Option<SystemTime>) {
        self.crypto.expiry.lock().insert(identity(name), Ok(at));
    }

    fn expect_purged(&self, name: &str) {
        assert_eq!(self.purged.recv_timeout(PATIENCE).expect("a removal"), (pki_id(name), identity(name)));
    }

    /// Everything that is due by now has been done once the thread waits for a time to come.
    fn settle(&self) {
        self.clock.wait_for_timer(Duration::from_nanos(1));
    }
}

fn new_mapper(
    config: IdentityConfig,
    clock: &VirtualClock,
    crypto: &Arc<FakeCrypto>,
    on_purge: impl Fn(&PkiId, &PeerIdentity) + Send + Sync + 'static,
) -> Result<IdentityMapper> {
    let clock = Arc::new(clock.clone());
    IdentityMapper::new(config, crypto.clone(), crypto.clone(), clock, identity("me.self"), on_purge)
}

fn half_second() -> IdentityConfig {
    IdentityConfig { usage_threshold: Duration::from_millis(500), ..IdentityConfig::default() }
}

fn identity(name: &str) -> PeerIdentity {
    name.as_bytes().into()
}

fn pki_id(name: &str) -> PkiId {
    name.as_bytes().into()
}

fn text<T>(result: Result<T>) -> String {
    result.err().expect("an error").message().to_owned()
}

fn names(set: &[PeerIdentityInfo]) -> Vec<String> {
    let mut names: Vec<_> =
        set.iter().map(|i| String::from_utf8(i.identity.as_bytes().to_vec()).expect("a name")).collect();
    names.sort();
    names
}

#[test]
fn i1_put_twice() {
    let f = Fixture::new();
    f.put("org1.p0").unwrap();
    f.put("org1.p0").unwrap();
    assert!(f.known("org1.p0"));
}

#[test]
fn i2_put_refuses_empty_mismatched_and_revoked() {
    let f = Fixture::new();
    let (empty_id, empty) = (PkiId::default(), PeerIdentity::default());
    assert_eq!(text(f.mapper.put(&empty_id, &identity("org1.p0"))), "PKIID is nil");
    assert_eq!(text(f.mapper.put(&pki_id("org1.p0"), &empty)), "identity is nil");
    for (a, b) in [("org1.p0", "org1.p1"), ("org1.p1", "org1.p0")] {
        let refused = f.mapper.put(&pki_id(a), &identity(b));
        assert_eq!(text(refused), "identity doesn't match the computed pkiID");
    }
    f.revoke("org1.p0");
    assert_eq!(text(f.put("org1.p0")), "revoked");
    assert_eq!(names(&f.mapper.identity_info()), ["me.self"], "a failed put changes nothing");
}

#[test]
fn i3_get() {
    let f = Fixture::new();
    f.put("org1.p0").unwrap();
    assert_eq!(f.mapper.get(&pki_id("org1.p0")).unwrap(), identity("org1.p0"));
    assert_eq!(text(f.mapper.get(&pki_id("org1.p1"))), "PKIID wasn't found");
    assert_eq!(f.mapper.org(&pki_id("org1.p0")), Some(OrgId::new("org1")));
    assert_eq!(f.mapper.org(&pki_id("org1.p1")), None);
}

#[test]
fn i4_sign_and_verify() {
    let f = Fixture::new();
    let signature = f.mapper.sign(b"message").unwrap();
    f.mapper.verify(&pki_id("me.self"), &signature, b"message").unwrap();
    assert_eq!(text(f.mapper.verify(&pki_id("me.self"), &signature, b"other")), "wrong signature");
    assert_eq!(text(f.mapper.verify(&pki_id("org1.p0"), &signature, b"message")), "PKIID wasn't found");
    assert_eq!(f.mapper.pki_id_of(&identity("x")), Some(pki_id("x")));
    assert_eq!(f.mapper.self_pki_id(), &pki_id("me.self"));
}

#[test]
fn i5_suspects_that_are_revoked_go() {
    let f = Fixture::new();
    f.put("org1.p0").unwrap();
    f.put("org1.p1").unwrap();
    f.revoke("org1.p0");
    f.mapper.suspect_peers(|_| false);
    assert!(f.known("org1.p0"), "nobody was suspected");
    f.mapper.suspect_peers(|_| true);
    assert!(!f.known("org1.p0") && f.known("org1.p1") && f.known("me.self"));
    f.expect_purged("org1.p0");
    assert!(f.purged.is_empty());
}

#[test]
fn i6_unused_goes_but_never_our_own() {
    let f = Fixture::with(half_second());
    f.put("org1.p0").unwrap();
    f.settle();
    f.clock.advance(Duration::from_secs(3));
    f.expect_purged("org1.p0");
    assert!(!f.known("org1.p0") && f.known("me.self"));
}

#[test]
fn i7_used_stays() {
    let f = Fixture::with(half_second());
    f.put("org1.p0").unwrap();
    f.put("org1.p1").unwrap();
    for _ in 0..300 {
        f.settle();
        f.clock.advance(Duration::from_millis(10));
        assert!(f.known("org1.p0"));
    }
    f.expect_purged("org1.p1");
    assert!(f.purged.is_empty());
}

#[test]
fn i8_nothing_goes_once_stopped() {
    let f = Fixture::with(half_second());
    f.put("org1.p0").unwrap();
    f.settle();
    f.mapper.stop();
    f.mapper.stop();
    f.clock.advance(Duration::from_secs(3));
    assert!(f.known("org1.p0"));
    f.mapper.suspect_peers(|_| true);
    assert!(f.purged.is_empty());
}

#[test]
fn i9_expired_goes() {
    let f = Fixture::new();
    f.expire_at("org1.p0", Some(f.clock.wall() + Duration::from_secs(1)));
    f.put("org1.p0").unwrap();
    assert!(f.known("org1.p0"));
    f.clock.wait_for_timer(Duration::from_millis(1001));
    f.clock.advance(Duration::from_secs(1));
    assert!(f.known("org1.p0"), "at the very end it still counts");
    f.settle();
    f.clock.advance(Duration::from_secs(2));
    f.expect_purged("org1.p0");
    assert_eq!(text(f.mapper.get(&pki_id("org1.p0"))), "PKIID wasn't found");
    assert!(f.known("me.self"));
}

#[test]
fn i10_expired_is_refused() {
    let f = Fixture::new();
    f.expire_at("org1.p0", Some(f.clock.wall() - Duration::from_secs(1)));
    assert_eq!(text(f.put("org1.p0")), "gossipping peer identity expired");
    assert!(!f.known("org1.p0"));
}

#[test]
fn i11_without_expiry_it_stays_until_revoked() {
    let f = Fixture::with(IdentityConfig { usage_threshold: 1000 * HOUR, ..IdentityConfig::default() });
    f.expire_at("org1.p0", None);
    f.put("org1.p0").unwrap();
    f.settle();
    f.clock.advance(900 * HOUR);
    assert!(f.known("org1.p0"));
    f.mapper.suspect_peers(|_| true);
    assert!(f.known("org1.p0"));
    f.revoke("org1.p0");
    f.mapper.suspect_peers(|_| true);
    assert!(!f.known("org1.p0"));
    f.expect_purged("org1.p0");
}

#[test]
fn i12_unknown_expiry_is_refused() {
    let f = Fixture::new();
    f.crypto.expiry.lock().insert(identity("org1.p0"), Err("no MSP supports given identity".into()));
    assert_eq!(text(f.put("org1.p0")), "failed classifying identity: no MSP supports given identity");
}

#[test]
fn i13_our_own_identity_must_be_valid() {
    let (clock, crypto) = fake();
    crypto.revoked.lock().insert(identity("me.self"));
    let refused = new_mapper(IdentityConfig::default(), &clock, &crypto, |_, _| {});
    assert_eq!(text(refused), "Failed putting our own identity into the identity mapper: revoked");
}

#[test]
fn i14_identity_info() {
    let f = Fixture::new();
    for name in ["org1.p0", "org1.p1", "org2.p0", "lonely"] {
        f.put(name).unwrap();
    }
    let info = f.mapper.identity_info();
    assert_eq!(names(&info), ["lonely", "me.self", "org1.p0", "org1.p1", "org2.p0"]);
    for one in &info {
        assert_eq!(one.pki_id.as_bytes(), one.identity.as_bytes());
        assert_eq!(one.organization, f.crypto.org_by_peer_identity(&one.identity));
    }
}

#[test]
fn our_own_identity_expires_and_can_be_revoked() {
    let (clock, crypto) = fake();
    let (tell, purged) = unbounded();
    let mapper = new_mapper(IdentityConfig::default(), &clock, &crypto, move |id, _| tell.send(id.clone()).unwrap());
    let mapper = mapper.unwrap();
    clock.wait_for_timer(Duration::from_millis(1));
    clock.advance(HOUR + Duration::from_secs(1));
    assert_eq!(purged.recv_timeout(PATIENCE).unwrap(), pki_id("me.self"));
    assert!(mapper.identity_info().is_empty());

    let f = Fixture::new();
    f.revoke("me.self");
    f.mapper.suspect_peers(|_| true);
    f.expect_purged("me.self");
}

#[test]
fn a_sooner_expiry_is_not_missed() {
    let f = Fixture::new();
    for (name, seconds) in [("org1.p0", 300), ("org1.p1", 20), ("org1.p2", 1)] {
        f.expire_at(name, Some(f.clock.wall() + Duration::from_secs(seconds)));
        f.put(name).unwrap();
        assert!(f.known(name));
    }
    // However the steps fall, each goes in its turn.
    for name in ["org1.p2", "org1.p1", "org1.p0"] {
        while f.purged.is_empty() {
            f.settle();
            f.clock.advance(Duration::from_millis(500));
        }
        f.expect_purged(name);
    }
}

#[test]
fn the_store_is_bounded() {
    let f = Fixture::with(IdentityConfig { max_identities: 2, ..IdentityConfig::default() });
    f.put("org1.p0").unwrap();
    assert_eq!(f.put("org1.p1").unwrap_err().kind(), ErrorKind::Full);
    f.put("org1.p0").unwrap();
    f.revoke("org1.p0");
    f.mapper.suspect_peers(|_| true);
    f.put("org1.p1").unwrap();
}

#[test]
fn the_threshold_can_change() {
    let f = Fixture::new();
    assert_eq!(f.mapper.usage_threshold(), HOUR);
    f.put("org1.p0").unwrap();
    f.mapper.set_usage_threshold(Duration::from_millis(500));
    while f.purged.is_empty() {
        f.settle();
        f.clock.advance(Duration::from_millis(100));
    }
    f.expect_purged("org1.p0");
}

#[test]
fn callbacks_may_do_anything() {
    let (clock, crypto) = fake();
    let mapper: Arc<Mutex<Option<IdentityMapper>>> = Arc::default();
    let (tell, purged): (Sender<PkiId>, _) = bounded(10);
    let on_purge = {
        let mapper = mapper.clone();
        move |id: &PkiId, identity: &PeerIdentity| {
            let mapper = mapper.lock().clone().expect("a mapper");
            assert!(mapper.get(id).is_err());
            let _ = mapper.put(id, identity);
            mapper.suspect_peers(|_| mapper.identity_info().is_empty());
            mapper.stop();
            tell.send(id.clone()).unwrap();
            panic!("on purpose");
        }
    };
    *mapper.lock() = Some(new_mapper(half_second(), &clock, &crypto, on_purge).unwrap());
    let handle = mapper.lock().clone().unwrap();
    handle.put(&pki_id("org1.p0"), &identity("org1.p0")).unwrap();
    clock.wait_for_timer(Duration::from_millis(1));
    clock.advance(Duration::from_secs(3));
    assert_eq!(purged.recv_timeout(PATIENCE).unwrap(), pki_id("org1.p0"));
    handle.stop();
    assert!(purged.is_empty());
    *mapper.lock() = None;
}

#[test]
fn panics_of_the_crypto_service_are_errors() {
    let f = Fixture::new();
    f.put("org1.p0").unwrap();
    f.put("org1.p1").unwrap();
    f.crypto.panics.lock().extend([identity("org1.p0"), identity("org1.p2")]);
    assert_eq!(f.put("org1.p2").unwrap_err().kind(), ErrorKind::Internal);
    f.mapper.suspect_peers(|_| panic!("on purpose"));
    assert!(f.known("org1.p0"), "a predicate that panics picks nobody");
    f.mapper.suspect_peers(|_| true);
    f.expect_purged("org1.p0");
    assert!(f.known("org1.p1"));
}
