//! The identity mapper: maps a PKI-ID to an identity, and thus to an organisation.
//!
//! An identity is stored once it is valid. It is removed when it expires, when it was unused for too long, or when
//! [`IdentityMapper::suspect_peers`] finds it no longer valid.

use crate::cancel::Cancel;
use crate::clock::Clock;
use crate::crypto::{CryptoService, OrgId, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::msp::{OwnKey, PROBE};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::channel::{bounded, select, Receiver, Sender};
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{entering_user_code, spawn, Mutex, RwLock};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Delay between the end of an identity's validity and its removal, so that it is still accepted at the end itself.
const EXPIRY_GRACE: Duration = Duration::from_millis(1);

/// Minimum interval of the usage check, however small the threshold.
const SHORTEST_CHECK: Duration = Duration::from_millis(1);

/// Settings of an [`IdentityMapper`].
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// Time without use after which an identity is removed: 1 h by default. Checked every tenth of it.
    pub usage_threshold: Duration,
    /// Maximum number of identities, our own included: 65,536 by default. Further ones are rejected.
    pub max_identities: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        IdentityConfig { usage_threshold: Duration::from_secs(3600), max_identities: 65_536 }
    }
}

/// The store of identities. Clones are handles to the same store.
///
/// Reads hold a shared lock during a hash look-up. The crypto service, the advisor and all callbacks are called without
/// locks held. A panic in one of them becomes an error or a log line. Removals happen on a dedicated thread,
/// `gossip-ids`, which ends with [`stop`](IdentityMapper::stop) or the last handle.
#[derive(Clone)]
pub struct IdentityMapper(Arc<Handle>);

/// State that the handles share but the thread does not, so that dropping the last handle ends the thread.
struct Handle {
    inner: Arc<State>,
    thread: ThreadId,
    join: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the thread ends; any number of `stop` calls can wait for it.
    ended: Receiver<()>,
}

type OnPurge = Box<dyn Fn(&PkiId, &PeerIdentity) + Send + Sync>;

struct State {
    max_identities: usize,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
    clock: Arc<dyn Clock>,
    on_purge: OnPurge,
    self_pki_id: PkiId,
    self_key: OwnKey,
    /// In nanoseconds.
    usage_threshold: AtomicU64,
    /// Reference point for times of use.
    start: Instant,
    store: RwLock<Store>,
    wake: Sender<()>,
    stop: Cancel,
}

#[derive(Default)]
struct Store {
    by_id: HashMap<PkiId, Arc<Entry>>,
    expiries: BTreeSet<(SystemTime, PkiId)>,
}

struct Entry {
    identity: PeerIdentity,
    organization: Option<OrgId>,
    expires: Option<SystemTime>,
    /// In nanoseconds since [`State::start`].
    last_used: AtomicU64,
}

impl IdentityMapper {
    /// Creates a mapper that holds our own identity, which is never removed for lack of use.
    ///
    /// `on_purge` is called for every removal, on the thread that removes; it may call the mapper, including `stop`.
    ///
    /// Fails if our own identity is not valid, or the thread cannot be started.
    pub fn new(
        config: IdentityConfig,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
        clock: Arc<dyn Clock>,
        self_identity: PeerIdentity,
        on_purge: impl Fn(&PkiId, &PeerIdentity) + Send + Sync + 'static,
    ) -> Result<Self> {
        let (wake, woken) = bounded(1);
        let inner = State {
            max_identities: config.max_identities.max(1),
            self_pki_id: contained(|| Ok(crypto.pki_id(&self_identity)))?.unwrap_or_default(),
            self_key: OwnKey::of(&self_identity),
            crypto,
            advisor,
            start: clock.now(),
            clock,
            on_purge: Box::new(on_purge),
            usage_threshold: AtomicU64::new(nanos(config.usage_threshold)),
            store: RwLock::default(),
            wake,
            stop: Cancel::new(),
        };
        inner.put(&inner.self_pki_id, &self_identity).map_err(|e| {
            let text = format!("Failed putting our own identity into the identity mapper: {}", e.message());
            Error::new(e.kind(), text).with_source(e)
        })?;

        let inner = Arc::new(inner);
        let (ending, ended) = bounded(0);
        let join = spawn("gossip-ids", {
            let inner = inner.clone();
            move || {
                let _ending: Sender<()> = ending;
                inner.run(&woken);
            }
        })?;
        let thread = join.thread().id();
        Ok(IdentityMapper(Arc::new(Handle { inner, thread, join: Mutex::new(Some(join)), ended })))
    }

    /// Stores a valid identity. An already known one is left unchanged.
    ///
    /// Fails, and changes nothing, if either is empty (`PKIID is nil`, `identity is nil`), if the identity is not valid
    /// (`failed classifying identity: …`) or has expired (`gossipping peer identity expired`), if the PKI-ID belongs to
    /// another identity (`identity doesn't match the computed pkiID`), or if there is no room.
    pub fn put(&self, pki_id: &PkiId, identity: &PeerIdentity) -> Result<()> {
        self.0.inner.put(pki_id, identity)
    }

    /// Returns the identity of a PKI-ID, or the error `PKIID wasn't found`. Counts as use.
    pub fn get(&self, pki_id: &PkiId) -> Result<PeerIdentity> {
        self.0.inner.get(pki_id).map(|entry| entry.identity.clone())
    }

    /// Returns the organisation of a stored identity. Does not count as use.
    pub fn org(&self, pki_id: &PkiId) -> Option<OrgId> {
        self.0.inner.find(pki_id)?.organization.clone()
    }

    /// Signs with our own key. A DER ECDSA signature for our certificate's curve is returned with low S, whatever
    /// [`CryptoService::sign`] returned; any other signature is returned unchanged.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let inner = &self.0.inner;
        contained(|| inner.crypto.sign(message)).map(|signature| inner.self_key.low_s(signature))
    }

    /// Signs once and verifies the signature under our own identity, so that a wrong signer is reported at the start
    /// and not by every peer's refusal.
    pub(crate) fn check_signer(&self) -> Result<()> {
        let identity = self.get(self.self_pki_id())?;
        let signature = self.sign(PROBE).map_err(|e| {
            Error::new(e.kind(), format!("signing with our own key failed: {}", e.message())).with_source(e)
        })?;
        contained(|| self.0.inner.crypto.verify(&identity, &signature, PROBE)).map_err(|e| {
            let remedy = self.0.inner.self_key.explain(&signature, PROBE);
            let text = format!("our own signature does not match our own identity ({}): {remedy}", e.message());
            Error::new(ErrorKind::Signature, text).with_source(e)
        })
    }

    /// Verifies a signature under the key of the identity of a PKI-ID. Counts as use.
    pub fn verify(&self, pki_id: &PkiId, signature: &[u8], message: &[u8]) -> Result<()> {
        let entry = self.0.inner.get(pki_id)?;
        contained(|| self.0.inner.crypto.verify(&entry.identity, signature, message))
    }

    /// Returns the PKI-ID of an identity, stored or not; `None` if it has none.
    pub fn pki_id_of(&self, identity: &PeerIdentity) -> Option<PkiId> {
        contained(|| Ok(self.0.inner.crypto.pki_id(identity))).ok().flatten()
    }

    /// Returns our own PKI-ID.
    #[doc(hidden)]
    pub fn self_pki_id(&self) -> &PkiId {
        &self.0.inner.self_pki_id
    }

    /// Revalidates the identities for which the predicate is true, including our own, and removes those no longer
    /// valid. Also removes identities that were unused for too long. Returns when all are done.
    pub fn suspect_peers(&self, predicate: impl Fn(&PeerIdentity) -> bool) {
        self.0.inner.suspect_peers(predicate);
    }

    /// Returns all stored identities, our own included, in no particular order. Does not count as use.
    pub fn identity_info(&self) -> Vec<PeerIdentityInfo> {
        self.0.inner.identity_info()
    }

    /// Returns the number of stored identities, our own included.
    pub fn count(&self) -> usize {
        self.0.inner.store.read().by_id.len()
    }

    /// Returns when our own identity expires; `None` for never, or if the crypto service cannot determine it.
    pub(crate) fn self_expiration(&self) -> Option<SystemTime> {
        let identity = self.get(self.self_pki_id()).ok()?;
        contained(|| self.0.inner.crypto.expiration(&identity)).ok().flatten()
    }

    /// Returns the time without use after which an identity is removed.
    #[doc(hidden)]
    pub fn usage_threshold(&self) -> Duration {
        self.0.inner.usage_threshold()
    }

    /// Changes the usage threshold, effective immediately.
    #[doc(hidden)]
    pub fn set_usage_threshold(&self, threshold: Duration) {
        self.0.inner.usage_threshold.store(nanos(threshold), Ordering::Relaxed);
        self.0.inner.wake();
    }

    /// Stops removals and waits for the thread, including a running purge callback, unless called from that callback.
    /// No callback runs afterwards. Stored identities remain readable. Further calls only wait.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl fmt::Debug for IdentityMapper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityMapper({} identities)", self.0.inner.store.read().by_id.len())
    }
}

impl Handle {
    fn stop(&self) {
        self.inner.stop.cancel();
        if thread::current().id() == self.thread {
            return;
        }
        let _ = self.ended.recv();
        let join = self.join.lock().take();
        if let Some(join) = join {
            let _ = join.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop();
    }
}

impl State {
    fn put(&self, pki_id: &PkiId, identity: &PeerIdentity) -> Result<()> {
        if pki_id.is_empty() {
            return Err(refused("PKIID is nil"));
        }
        if identity.is_empty() {
            return Err(refused("identity is nil"));
        }
        let expires = contained(|| self.crypto.expiration(identity)).map_err(|e| {
            Error::new(e.kind(), format!("failed classifying identity: {}", e.message())).with_source(e)
        })?;
        contained(|| self.crypto.validate_identity(identity))?;
        if contained(|| Ok(self.crypto.pki_id(identity)))?.as_ref() != Some(pki_id) {
            return Err(refused("identity doesn't match the computed pkiID"));
        }
        if self.find(pki_id).is_some() {
            return Ok(());
        }
        if expires.is_some_and(|at| at < self.clock.wall()) {
            return Err(refused("gossipping peer identity expired"));
        }
        let organization = contained(|| Ok(self.advisor.org_by_peer_identity(identity)))?;

        let last_used = AtomicU64::new(self.now());
        // A certificate may be valid to the end of representable time.
        let gone_at = expires.and_then(|at| at.checked_add(EXPIRY_GRACE));
        let entry = Entry { identity: identity.clone(), organization, expires: gone_at, last_used };
        if self.store.write().insert(pki_id, entry, self.max_identities)? {
            self.wake();
        }
        Ok(())
    }

    fn get(&self, pki_id: &PkiId) -> Result<Arc<Entry>> {
        let entry = self.find(pki_id).ok_or_else(|| refused("PKIID wasn't found"))?;
        self.touch(&entry);
        Ok(entry)
    }

    /// Returns a stored identity, but never an expired one, even if its removal is delayed.
    fn find(&self, pki_id: &PkiId) -> Option<Arc<Entry>> {
        let entry = self.store.read().by_id.get(pki_id).cloned()?;
        (!self.expired(&entry)).then_some(entry)
    }

    fn identity_info(&self) -> Vec<PeerIdentityInfo> {
        let entries: Vec<(PkiId, Arc<Entry>)> = self.snapshot();
        let info = entries.into_iter().filter(|(_, entry)| !self.expired(entry)).map(|(pki_id, entry)| {
            let (identity, organization) = (entry.identity.clone(), entry.organization.clone());
            PeerIdentityInfo { pki_id, identity, organization }
        });
        info.collect()
    }

    fn suspect_peers(&self, predicate: impl Fn(&PeerIdentity) -> bool) {
        for (pki_id, entry) in self.snapshot() {
            if self.stale(&pki_id, &entry) {
                self.purge_if(&pki_id, &entry, || self.stale(&pki_id, &entry));
                continue;
            }
            if !contained(|| Ok(predicate(&entry.identity))).unwrap_or(false) {
                continue;
            }
            self.touch(&entry);
            if let Err(e) = contained(|| self.crypto.validate_identity(&entry.identity)) {
                log::info!("removing identity {pki_id}: {e}");
                self.purge_if(&pki_id, &entry, || true);
            }
        }
    }

    /// The thread's loop: removes identities when they expire, and checks usage every tenth of the threshold.
    fn run(&self, woken: &Receiver<()>) {
        let mut last_check = self.clock.now();
        loop {
            let check_due = (self.usage_threshold() / 10).max(SHORTEST_CHECK);
            let start = self.clock.now();
            let mut wait = check_due.saturating_sub(start.saturating_duration_since(last_check));
            let next_expiry = self.store.read().expiries.first().map(|(at, _)| *at);
            if let Some(at) = next_expiry {
                wait = wait.min(at.duration_since(self.clock.wall()).unwrap_or_default());
            }
            let timer = self.clock.after(wait);
            // If the clock advanced while the timer was being set, the timer would fire late.
            if self.clock.now().saturating_duration_since(start) < wait {
                select! {
                    recv(self.stop.signal()) -> _ => {}
                    recv(woken) -> _ => {}
                    recv(timer) -> _ => {}
                }
            }
            if self.stop.is_cancelled() {
                return;
            }
            self.purge_expired();
            let now = self.clock.now();
            if now.saturating_duration_since(last_check) >= check_due {
                last_check = now;
                self.suspect_peers(|_| false);
            }
        }
    }

    fn purge_expired(&self) {
        while !self.stop.is_cancelled() {
            let wall = self.clock.wall();
            let due = {
                let store = self.store.read();
                let first = store.expiries.first().filter(|(at, _)| *at <= wall);
                first.and_then(|(_, pki_id)| Some((pki_id.clone(), store.by_id.get(pki_id)?.clone())))
            };
            let Some((pki_id, entry)) = due else { return };
            self.purge_if(&pki_id, &entry, || true);
        }
    }

    /// Removes this exact entry, if it is still stored and the condition still holds now that it cannot be used, and
    /// calls the callback.
    fn purge_if(&self, pki_id: &PkiId, entry: &Arc<Entry>, still: impl Fn() -> bool) {
        let removed = {
            let mut store = self.store.write();
            store.by_id.get(pki_id).is_some_and(|e| Arc::ptr_eq(e, entry)) && still() && store.remove(pki_id)
        };
        if removed && !self.stop.is_cancelled() {
            let _ = contained(|| {
                (self.on_purge)(pki_id, &entry.identity);
                Ok(())
            });
        }
    }

    fn snapshot(&self) -> Vec<(PkiId, Arc<Entry>)> {
        self.store.read().by_id.iter().map(|(id, entry)| (id.clone(), entry.clone())).collect()
    }

    fn stale(&self, pki_id: &PkiId, entry: &Entry) -> bool {
        let unused = self.now().saturating_sub(entry.last_used.load(Ordering::Relaxed));
        unused > self.usage_threshold.load(Ordering::Relaxed) && *pki_id != self.self_pki_id
    }

    fn expired(&self, entry: &Entry) -> bool {
        entry.expires.is_some_and(|at| at <= self.clock.wall())
    }

    fn touch(&self, entry: &Entry) {
        entry.last_used.store(self.now(), Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        nanos(self.clock.now().saturating_duration_since(self.start))
    }

    fn usage_threshold(&self) -> Duration {
        Duration::from_nanos(self.usage_threshold.load(Ordering::Relaxed))
    }

    fn wake(&self) {
        // A full channel means that the thread is about to wake already.
        let _ = self.wake.try_send(());
    }
}

impl Store {
    /// Returns whether the entry expires before all others, of which the thread must be notified.
    fn insert(&mut self, pki_id: &PkiId, entry: Entry, max: usize) -> Result<bool> {
        if self.by_id.contains_key(pki_id) {
            return Ok(false);
        }
        if self.by_id.len() >= max {
            return Err(Error::new(ErrorKind::Full, format!("the identity store is full: it holds {max}")));
        }
        let mut first = false;
        if let Some(at) = entry.expires {
            self.expiries.insert((at, pki_id.clone()));
            first = self.expiries.first().is_some_and(|(_, id)| id == pki_id);
        }
        self.by_id.insert(pki_id.clone(), Arc::new(entry));
        Ok(first)
    }

    fn remove(&mut self, pki_id: &PkiId) -> bool {
        let Some(entry) = self.by_id.remove(pki_id) else { return false };
        if let Some(at) = entry.expires {
            self.expiries.remove(&(at, pki_id.clone()));
        }
        true
    }
}

/// One stored identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerIdentityInfo {
    /// Its PKI-ID.
    pub pki_id: PkiId,
    /// The identity.
    pub identity: PeerIdentity,
    /// Its organisation, if the security advisor knew one when the identity was stored.
    pub organization: Option<OrgId>,
}

/// Runs code of the host (crypto service or callback); turns a panic into an error, so that our thread survives.
fn contained<T>(f: impl FnOnce() -> Result<T>) -> Result<T> {
    entering_user_code();
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|_| {
        log::error!("a callback of the identity mapper panicked");
        Err(Error::new(ErrorKind::Internal, "a callback panicked"))
    })
}

fn refused(text: &str) -> Error {
    Error::new(ErrorKind::Identity, text)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
