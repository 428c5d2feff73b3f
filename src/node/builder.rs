//! Puts a [`Node`] together.

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

/// Settings of a [`Node`] that is to be.
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
            // Nobody waits for a reader of notices, so that no clock is asked.
            notices: Demux::new(Arc::new(SystemClock)),
        }
    }

    /// How to communicate: where to listen, TLS, limits. `set` gets the builder of the communication layer; an identity
    /// mapper is not to be given, the node makes its own.
    #[must_use]
    pub fn comm(mut self, set: impl FnOnce(CommBuilder) -> CommBuilder) -> Self {
        self.comm = set(self.comm);
        self
    }

    /// Intervals, limits, bootstrap peers. Default: Fabric's, without bootstrap peers.
    #[must_use]
    pub fn config(mut self, config: NodeConfig) -> Self {
        self.config = config;
        self
    }

    /// Endpoints of peers of our organisation to contact first: sets [`NodeConfig::bootstrap`].
    #[must_use]
    pub fn bootstrap<E: Into<String>>(mut self, endpoints: impl IntoIterator<Item = E>) -> Self {
        self.config.bootstrap = endpoints.into_iter().map(Into::into).collect();
        self
    }

    /// Where peers of our organisation reach us, as `host:port`: `peer.gossip.endpoint`. Port 0 stands for the port that
    /// our own server got. Default: the address that our own server listens on; without one, and if that address stands
    /// for all interfaces, it has to be given.
    #[must_use]
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Where peers of other organisations reach us: `peer.gossip.externalEndpoint`. Default: none, and then other
    /// organisations do not see us, nor tell us of themselves.
    #[must_use]
    pub fn external_endpoint(mut self, endpoint: impl Into<String>) -> Self {
        self.external_endpoint = endpoint.into();
        self
    }

    /// What we say about ourselves to all members. Default: nothing.
    #[must_use]
    pub fn metadata(mut self, metadata: impl Into<Bytes>) -> Self {
        self.metadata = metadata.into();
        self
    }

    /// Judges the blocks that come in, before they are handed on: what it refuses is neither forwarded nor delivered.
    /// Called on the node's verifying threads, several at a time; may block. Default: every block counts, and
    /// so any member of the channel's organisations can name a number far ahead, behind which no other block is taken.
    #[must_use]
    pub fn block_verifier(mut self, judge: impl Fn(&SignedMessage) -> Result<()> + Send + Sync + 'static) -> Self {
        self.blocks = Some(Arc::new(judge));
        self
    }

    /// As [`Node::notices`], from the very start: of a wrong bootstrap endpoint only this tells.
    pub fn notices(&self) -> Subscription<Notice> {
        super::subscribe(&self.notices)
    }

    /// Starts it: listens, contacts the bootstrap peers, keeps the membership from then on. Does not wait for anybody
    /// ([`Node::wait_for_members`] does).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] and others for a wrong setting or endpoint, an identity of our own that is not valid or of no
    /// known organisation, a first signature that does not match it ([`ErrorKind::Signature`]), and an address that cannot be listened on. A wrong bootstrap endpoint is no error: it is told
    /// as a [`Notice::SeedFailed`], and the others are contacted.
    pub fn start(mut self) -> Result<Node> {
        self.config.validate()?;
        let own_org = self.advisor.org_by_peer_identity(&self.identity).ok_or_else(|| {
            Error::new(ErrorKind::Config, "our own identity belongs to no organisation that is known to us")
        })?;
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
        // From here on it stops by being dropped.
        let node = Node::new(shared.clone(), mapper, stop_once);
        let driven = shared.clone();
        shared.threads.spawn("gossip-node", move || driver::run(&driven, &inputs)).map_err(|e| e.error)?;
        shared.call(|core, cx| core.start(cx));
        Ok(node)
    }
}

/// Returns the endpoint to publish: the one that is given, else where we listen. An address of all interfaces is none
/// that others could dial.
fn published(given: Option<String>, listening: Option<&str>) -> Result<String> {
    let Some(listening) = listening else { return Ok(given.unwrap_or_default()) };
    match given {
        Some(endpoint) => match (endpoint.strip_suffix(":0"), listening.rsplit_once(':')) {
            (Some(host), Some((_, port))) => Ok(format!("{host}:{port}")),
            _ => Ok(endpoint),
        },
        None if listening.parse::<SocketAddr>().is_ok_and(|address| address.ip().is_unspecified()) => {
            let text = format!("{listening} is no address that others can dial: give the endpoint to publish");
            Err(Error::new(ErrorKind::Config, text))
        }
        None => Ok(listening.to_owned()),
    }
}

/// A point of wall-clock time as one of monotonic time; what is long past counts as now.
fn instant(at: SystemTime, wall: SystemTime, now: Instant) -> Instant {
    match at.duration_since(wall) {
        // What no clock can count to is far enough away.
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
