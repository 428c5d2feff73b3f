//! The identity mapper: which identity, and so which organisation, is behind a PKI-ID.
//!
//! An identity enters once it is valid and leaves when it expires, when nobody used it for a while, or when
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

/// An identity goes this long after the end of its validity, so that at the end itself it still counts.
const EXPIRY_GRACE: Duration = Duration::from_millis(1);

/// The usage check never runs more often than this, however small the threshold.
const SHORTEST_CHECK: Duration = Duration::from_millis(1);

/// How long and how many.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// An identity that nobody used for longer than this is removed. Checked every tenth of it. One hour by default.
    pub usage_threshold: Duration,
    /// No more than this many identities are kept, our own included; a further one is refused. 65,536 by default.
    pub max_identities: usize,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        IdentityConfig { usage_threshold: Duration::from_secs(3600), max_identities: 65_536 }
    }
}

/// The store of identities. Clones are handles on the same store.
///
/// Reading takes a shared lock for the length of a hash look-up. Neither the crypto service, nor the advisor, nor any
/// callback is called with a lock held, and a panic in one of them is an error or a line in the log. Removals happen on
/// one thread of the mapper's own, `gossip-ids`, which ends with [`stop`](IdentityMapper::stop) or the last handle.
#[derive(Clone)]
pub struct IdentityMapper(Arc<Handle>);

/// What the handles share and the thread does not, so that dropping the last handle ends the thread.
struct Handle {
    inner: Arc<Inner>,
    thread: ThreadId,
    join: Mutex<Option<JoinHandle<()>>>,
    /// Disconnected when the thread ends: any number of stops can wait for it.
    ended: Receiver<()>,
}

type OnPurge = Box<dyn Fn(&PkiId, &PeerIdentity) + Send + Sync>;

struct Inner {
    max_identities: usize,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
    clock: Arc<dyn Clock>,
    on_purge: OnPurge,
    self_pki_id: PkiId,
    self_key: OwnKey,
    /// In nanoseconds.
    usage_threshold: AtomicU64,
    /// What times of use are counted from.
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
    /// In nanoseconds since [`Inner::start`].
    last_used: AtomicU64,
}

impl IdentityMapper {
    /// A mapper that holds our own identity, which stays however long it is unused.
    ///
    /// `on_purge` is told of every removal, on the thread that removes; it may call the mapper, `stop` included.
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
        let inner = Inner {
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
            Error::new(e.kind(), text).source(e)
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

    /// Stores a valid identity. One that is known already stays as it is.
    ///
    /// Fails, and changes nothing, if either is empty (`PKIID is nil`, `identity is nil`), if the identity is not valid
    /// (`failed classifying identity: …`) or has expired (`gossipping peer identity expired`), if the PKI-ID belongs to
    /// another identity (`identity doesn't match the computed pkiID`), or if there is no room.
    pub fn put(&self, pki_id: &PkiId, identity: &PeerIdentity) -> Result<()> {
        self.0.inner.put(pki_id, identity)
    }

    /// The identity behind a PKI-ID, or `PKIID wasn't found`. Counts as use.
    pub fn get(&self, pki_id: &PkiId) -> Result<PeerIdentity> {
        self.0.inner.get(pki_id).map(|entry| entry.identity.clone())
    }

    /// The organisation of a stored identity. Does not count as use.
    pub fn org(&self, pki_id: &PkiId) -> Option<OrgId> {
        self.0.inner.find(pki_id)?.organization.clone()
    }

    /// Signs with our own key. A DER ECDSA signature of our certificate's curve leaves with low S, whatever
    /// [`CryptoService::sign`] returned; anything else leaves as it is.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
        let inner = &self.0.inner;
        contained(|| inner.crypto.sign(message)).map(|signature| inner.self_key.low_s(signature))
    }

    /// Signs once and checks that the signature fits our own identity, so that a wrong signer is an error at the start and
    /// not a refusal by every peer.
    pub(crate) fn check_signer(&self) -> Result<()> {
        let identity = self.get(self.self_pki_id())?;
        let signature = self
            .sign(PROBE)
            .map_err(|e| Error::new(e.kind(), format!("signing with our own key failed: {}", e.message())).source(e))?;
        contained(|| self.0.inner.crypto.verify(&identity, &signature, PROBE)).map_err(|e| {
            let remedy = self.0.inner.self_key.explain(&signature, PROBE);
            let text = format!("our own signature does not match our own identity ({}): {remedy}", e.message());
            Error::new(ErrorKind::Signature, text).source(e)
        })
    }

    /// Checks a signature under the key of the identity behind a PKI-ID. Counts as use.
    pub fn verify(&self, pki_id: &PkiId, signature: &[u8], message: &[u8]) -> Result<()> {
        let entry = self.0.inner.get(pki_id)?;
        contained(|| self.0.inner.crypto.verify(&entry.identity, signature, message))
    }

    /// The PKI-ID that an identity has, stored or not; `None` if it has none.
    pub fn pki_id_of(&self, identity: &PeerIdentity) -> Option<PkiId> {
        contained(|| Ok(self.0.inner.crypto.pki_id(identity))).ok().flatten()
    }

    /// Our own PKI-ID.
    pub fn self_pki_id(&self) -> &PkiId {
        &self.0.inner.self_pki_id
    }

    /// Validates those identities anew that the predicate picks, our own too, and removes what is no longer valid; on
    /// the way it removes whatever was unused for too long. Returns when all are done.
    pub fn suspect_peers(&self, predicate: impl Fn(&PeerIdentity) -> bool) {
        self.0.inner.suspect_peers(predicate);
    }

    /// All stored identities, our own included, in no particular order. Does not count as use.
    pub fn identity_info(&self) -> PeerIdentitySet {
        self.0.inner.identity_info()
    }

    /// How many identities are stored, our own included.
    pub fn count(&self) -> usize {
        self.0.inner.store.read().by_id.len()
    }

    /// When our own identity expires; `None` for never, or if the crypto service cannot tell.
    pub(crate) fn self_expiration(&self) -> Option<SystemTime> {
        let identity = self.get(self.self_pki_id()).ok()?;
        contained(|| self.0.inner.crypto.expiration(&identity)).ok().flatten()
    }

    /// After how long without use an identity is removed.
    pub fn usage_threshold(&self) -> Duration {
        self.0.inner.usage_threshold()
    }

    /// Changes the usage threshold, effective at once.
    pub fn set_usage_threshold(&self, threshold: Duration) {
        self.0.inner.usage_threshold.store(nanos(threshold), Ordering::Relaxed);
        self.0.inner.wake();
    }

    /// Ends the removals and waits for the thread, so for a purge callback that is running, unless it is the callback
    /// that calls. From then on no callback is run. What is stored stays readable. Further calls only wait.
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

impl Inner {
    fn put(&self, pki_id: &PkiId, identity: &PeerIdentity) -> Result<()> {
        if pki_id.is_empty() {
            return Err(refused("PKIID is nil"));
        }
        if identity.is_empty() {
            return Err(refused("identity is nil"));
        }
        let expires = contained(|| self.crypto.expiration(identity))
            .map_err(|e| Error::new(e.kind(), format!("failed classifying identity: {}", e.message())).source(e))?;
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

    /// Nobody sees an expired entry, even while the thread that removes it is held up.
    fn find(&self, pki_id: &PkiId) -> Option<Arc<Entry>> {
        let entry = self.store.read().by_id.get(pki_id).cloned()?;
        (!self.expired(&entry)).then_some(entry)
    }

    fn identity_info(&self) -> PeerIdentitySet {
        let entries: Vec<(PkiId, Arc<Entry>)> = self.snapshot();
        let info = entries.into_iter().filter(|(_, entry)| !self.expired(entry)).map(|(pki_id, entry)| {
            let (identity, organization) = (entry.identity.clone(), entry.organization.clone());
            PeerIdentityInfo { pki_id, identity, organization }
        });
        PeerIdentitySet(info.collect())
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

    /// The thread: expiries when they come, the usage check every tenth of the threshold.
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
            // A clock that was moved while the timer was being set would make it late.
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

    /// Removes this very entry, if it is still there and the condition holds now that nobody can use it, and tells.
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
        // A full channel means that it is going to wake already.
        let _ = self.wake.try_send(());
    }
}

impl Store {
    /// Whether the entry expires before all others, which the thread has to know.
    fn insert(&mut self, pki_id: &PkiId, entry: Entry, max: usize) -> Result<bool> {
        if self.by_id.contains_key(pki_id) {
            return Ok(false);
        }
        if self.by_id.len() >= max {
            return Err(Error::new(ErrorKind::Full, format!("no room for a further identity, there are {max}")));
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

/// Stored identities at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerIdentitySet(pub Vec<PeerIdentityInfo>);

impl PeerIdentitySet {
    /// Grouped by organisation. Those without one are in no group.
    pub fn by_org(&self) -> HashMap<OrgId, PeerIdentitySet> {
        let mut groups: HashMap<OrgId, PeerIdentitySet> = HashMap::new();
        for info in &self.0 {
            if let Some(org) = &info.organization {
                groups.entry(org.clone()).or_default().0.push(info.clone());
            }
        }
        groups
    }

    /// By PKI-ID.
    pub fn by_id(&self) -> HashMap<PkiId, PeerIdentityInfo> {
        self.0.iter().map(|info| (info.pki_id.clone(), info.clone())).collect()
    }

    /// Those that the predicate picks.
    #[must_use]
    pub fn filter(&self, predicate: impl Fn(&PeerIdentityInfo) -> bool) -> PeerIdentitySet {
        PeerIdentitySet(self.0.iter().filter(|info| predicate(info)).cloned().collect())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Runs what the host gave us, crypto service or callback; its panic is an error here and not the end of our thread.
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
