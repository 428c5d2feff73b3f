//! The builder of a [`Node`].

use super::config::NodeConfig;
use super::core::NodeCore;
use super::driver::{self, Inputs, NodeState};
use super::inbox::Inbox;
use super::workers::{BlockVerifier, Judge, Workers};
use super::{Node, Notice};
use crate::cancel::Cancel;
use crate::clock::SystemClock;
use crate::comm::threads::{StopOnce, Threads};
use crate::comm::{Comm, CommBuilder, Demux, Subscription};
use crate::crypto::{CryptoService, PeerIdentity, SecurityAdvisor};
use crate::discovery::{Event, SelfInfo};
use crate::error::{Error, ErrorKind, Result};
use crate::message::SignedMessage;
use crate::sync::channel::unbounded;
use crate::sync::Mutex;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Configures and starts a [`Node`].
pub struct NodeBuilder {
    identity: PeerIdentity,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
    comm: CommBuilder,
    config: NodeConfig,
    endpoint: Option<String>,
    external_endpoint: String,
    metadata: Bytes,
    blocks: Option<BlockVerifier>,
    notices: Demux<Notice>,
}

impl std::fmt::Debug for NodeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NodeBuilder")
            .field("endpoint", &self.endpoint)
            .field("comm", &self.comm)
            .finish_non_exhaustive()
    }
}

impl NodeBuilder {
    pub(super) fn new(
        identity: PeerIdentity,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
    ) -> Self {
        NodeBuilder {
            comm: Comm::builder(identity.clone(), crypto.clone(), advisor.clone()),
            identity,
            crypto,
            advisor,
            config: NodeConfig::default(),
            endpoint: None,
            external_endpoint: String::new(),
            metadata: Bytes::new(),
            blocks: None,
            // The node never waits for a reader of notices, so the clock is not used.
            notices: Demux::new(Arc::new(SystemClock)),
        }
    }

    /// Configures communication: listen address, TLS, limits. `set` receives the builder of the communication layer. Do
    /// not set an identity mapper; the node creates its own.
    #[must_use]
    pub fn comm(mut self, set: impl FnOnce(CommBuilder) -> CommBuilder) -> Self {
        self.comm = set(self.comm);
        self
    }

    /// Sets intervals, limits and bootstrap peers. Default: Fabric's values, without bootstrap peers.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the endpoints of peers of our organisation to contact first: [`NodeConfig::bootstrap`].
    #[must_use]
    pub fn bootstrap<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.config.bootstrap = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the endpoint where peers of our organisation reach us, as `host:port`: `peer.gossip.endpoint`. Port 0
    /// stands for the port that our server was assigned. Default: the address that our server listens on. It is
    /// required if there is no server or the server listens on all interfaces.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sets the endpoint where peers of other organisations reach us: `peer.gossip.externalEndpoint`. Default: none;
    /// other organisations then neither see us nor send us their membership.
    #[must_use]
    pub fn external_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.external_endpoint = endpoint.into();
        self
    }

    /// Sets the metadata that we publish to all members. Default: empty.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Sets the verifier for incoming blocks. Rejected blocks are neither forwarded nor delivered. The verifier is
    /// called on the node's verification threads, concurrently, and may block. Default: every block is accepted. Any
    /// member of the channel's organisations can then announce a number far ahead, and blocks with numbers behind it
    /// are dropped.
    #[must_use]
    pub fn block_verifier(mut self, judge: impl Fn(&SignedMessage) -> Result<()> + Send + Sync + 'static) -> Self {
        self.blocks = Some(Arc::new(judge));
        self
    }

    /// Like [`Node::notices`], but from before the start. Reports the first failures of the bootstrap peers, too.
    pub fn notices(&self) -> Subscription<Notice> {
        super::subscribe(&self.notices)
    }

    /// Starts the node: listens, contacts the bootstrap peers and maintains the membership from then on. Does not wait
    /// for other peers ([`Node::wait_for_members`] does).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] and others for a wrong setting or endpoint, an own identity that is invalid or of an
    /// unknown organisation, a first signature that does not match it ([`ErrorKind::Signature`]), and an address that
    /// cannot be listened on. A bootstrap peer that does not answer is not an error: it is reported as a
    /// [`Notice::SeedFailed`], and contacted again.
    pub fn start(mut self) -> Result<Node> {
        self.config.validate()?;
        let own_org = self
            .advisor
            .org_by_peer_identity(&self.identity)
            .ok_or_else(|| Error::new(ErrorKind::Config, "our own identity belongs to no known organisation"))?;
        let clock = self.comm.shared_clock();
        let (answers, answered) = unbounded();
        let purged = answers.clone();
        let mapper = self.comm.make_mapper(move |id, _| {
            let _ = purged.send(Event::IdentityPurged(id.clone()));
        })?;
        let stop_once = StopOnce::new().inspect_err(|_| mapper.stop())?;
        let comm = self.comm.start().inspect_err(|_| mapper.stop())?;
        let stop = || {
            comm.stop();
            mapper.stop();
        };
        let internal_endpoint = published(self.endpoint, comm.local_addr()).inspect_err(|_| stop())?;

        let own = SelfInfo {
            pki_id: comm.pki_id().clone(),
            org: own_org,
            identity: self.identity,
            endpoint: self.external_endpoint,
            internal_endpoint,
            metadata: self.metadata,
        };
        let wall = clock.wall();
        let since_epoch = wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let incarnation = u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX);
        let mut core = NodeCore::new(self.config, own, incarnation, clock.now()).inspect_err(|_| stop())?;
        core.set_expiry(mapper.self_expiration().map(|at| instant(at, wall, clock.now())));

        let (threads, stopping) = (Threads::default(), Cancel::new());
        let judge = Judge { mapper: mapper.clone(), crypto: self.crypto, blocks: self.blocks };
        let workers = Workers::start(judge, &answers, &threads, &stopping);
        let workers = workers.inspect_err(|_| {
            stopping.cancel();
            threads.join();
            stop();
        })?;
        let inbox = Arc::new(Inbox::new(stopping.clone()));
        let inputs = Inputs::new(&comm, inbox.clone(), answered);
        let shared = Arc::new(NodeState {
            core: Mutex::new(core),
            messages: Demux::new(clock.clone()),
            notices: self.notices,
            workers,
            inbox,
            threads,
            stopping,
            answers,
            clock,
            comm,
        });
        // From here on, dropping the node stops it.
        let node = Node::new(shared.clone(), mapper, stop_once);
        let driven = shared.clone();
        shared.threads.spawn("gossip-node", move || driver::run(&driven, &inputs)).map_err(|e| e.error)?;
        shared.call(|core, cx| core.start(cx));
        Ok(node)
    }
}

/// Returns the endpoint to publish: the given one, else our listen address. A listen address for all interfaces is
/// rejected, because others cannot dial it.
fn published(given: Option<String>, listening: Option<&str>) -> Result<String> {
    let Some(listening) = listening else { return Ok(given.unwrap_or_default()) };
    match given {
        Some(endpoint) => match (endpoint.strip_suffix(":0"), listening.rsplit_once(':')) {
            (Some(host), Some((_, port))) => Ok(format!("{host}:{port}")),
            _ => Ok(endpoint),
        },
        None if listening.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()) => {
            let text = format!("{listening} is not an address that others can dial: set the endpoint to publish");
            Err(Error::new(ErrorKind::Config, text))
        }
        None => Ok(listening.to_owned()),
    }
}

/// Converts wall-clock time to monotonic time; a time in the past becomes `now`.
fn instant(at: SystemTime, wall: SystemTime, now: Instant) -> Instant {
    match at.duration_since(wall) {
        // A time beyond the clock's range is replaced by one in the far future.
        Ok(ahead) => now.checked_add(ahead).unwrap_or_else(|| now + std::time::Duration::from_secs(1 << 32)),
        Err(_) => now,
    }
}

#[cfg(test)]
mod tests {
    use super::published;

    #[test]
    fn an_address_of_all_interfaces_is_not_published() {
        let of = |given: Option<&str>, listening| published(given.map(str::to_owned), listening);
        assert_eq!(of(None, Some("127.0.0.1:7051")).unwrap(), "127.0.0.1:7051");
        assert_eq!(of(Some("peer0:0"), Some("0.0.0.0:7051")).unwrap(), "peer0:7051");
        assert_eq!(of(Some("peer0:1"), Some("0.0.0.0:7051")).unwrap(), "peer0:1");
        for all in ["0.0.0.0:7051", "[::]:7051"] {
            assert!(of(None, Some(all)).unwrap_err().message().contains(all));
        }
        assert_eq!(of(Some("peer0:1"), None).unwrap(), "peer0:1");
    }
}
