//! Builds a [`Comm`].

use super::admission::Admission;
use super::conn_store::{self, ConnStore};
use super::demux::Demux;
use super::event::EventStream;
use super::handshake::Handshaker;
use super::outbox::Recent;
use super::state::CommState;
use super::threads::{StopOnce, Threads};
use super::{Comm, Handle};
use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
use crate::config::CommConfig;
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{IdentityConfig, IdentityMapper};
use crate::spin::Spin;
use crate::sync::atomic::AtomicU64;
use crate::sync::Mutex;
use crate::transport::{self, Tls, Transport};
use std::sync::Arc;

/// Configures and starts a [`Comm`].
pub struct CommBuilder {
    identity: PeerIdentity,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
    mapper: Option<IdentityMapper>,
    config: CommConfig,
    clock: Arc<dyn Clock>,
    transport: Option<Arc<dyn Transport>>,
    tls: Option<Tls>,
    limits: Option<transport::Limits>,
    listen: Option<String>,
}

impl std::fmt::Debug for CommBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CommBuilder")
            .field("listen", &self.listen)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl CommBuilder {
    pub(super) fn new(
        identity: PeerIdentity,
        crypto: Arc<dyn CryptoService>,
        advisor: Arc<dyn SecurityAdvisor>,
    ) -> Self {
        CommBuilder {
            identity,
            crypto,
            advisor,
            mapper: None,
            config: CommConfig::default(),
            clock: Arc::new(SystemClock),
            transport: None,
            tls: None,
            limits: None,
            listen: None,
        }
    }

    /// Sets timeouts and limits. Default: Fabric's.
    #[must_use]
    pub fn config(mut self, config: CommConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets the source of time. Default: the system's clocks.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Sets a shared identity mapper, which must hold our own identity. Default: a separate one that stops with this
    /// Comm.
    #[must_use]
    pub fn identity_mapper(mut self, mapper: IdentityMapper) -> Self {
        self.mapper = Some(mapper);
        self
    }

    /// Sets the transport, which dials and listens: a `CoreTransport`, an `Http2Transport`, or one of tests. Certificates
    /// and limits are then arguments of the transport, and [`tls`](Self::tls) and [`limits`](Self::limits) must not be
    /// set. Default: the [default transport](crate::transport#choosing-a-transport) with these two settings.
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Sets the listening address, `host:port`; port 0 selects a free port ([`Comm::local_addr`]). Default: no
    /// listening, only dialling.
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Sets the certificates of mutual TLS for the default transport, both for dialling and for listening. Default: no
    /// TLS, which leaves connection messages open to replay and logs a warning.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Sets the limits of the default transport: sizes, keepalive, number of streams, memory.
    #[must_use]
    pub fn limits(mut self, limits: transport::Limits) -> Self {
        self.limits = Some(limits);
        self
    }

    /// Creates the mapper that Comm would create and subscribes it to removals. Its owner must stop it.
    pub(crate) fn make_mapper(
        &mut self,
        on_purge: impl Fn(&PkiId, &PeerIdentity) + Send + Sync + 'static,
    ) -> Result<IdentityMapper> {
        if self.mapper.is_some() {
            let text = "the node creates its own identity mapper: do not set one";
            return Err(Error::new(ErrorKind::Config, text));
        }
        let config = IdentityConfig { usage_threshold: self.config.usage_threshold, ..Default::default() };
        let (crypto, advisor, clock) = (self.crypto.clone(), self.advisor.clone(), self.clock.clone());
        let mapper = IdentityMapper::new(config, crypto, advisor, clock, self.identity.clone(), on_purge)?;
        self.mapper = Some(mapper.clone());
        Ok(mapper)
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Starts the communication layer.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an invalid setting, for contradictory settings, and for an own identity that is not
    /// valid; [`ErrorKind::Signature`] if a test signature fails or does not match the own identity; the errors of
    /// [`Transport::listen`].
    pub fn start(mut self) -> Result<Comm> {
        let mut handle = self.build()?;
        if let Some(address) = &self.listen {
            let acceptor = Arc::new(super::reader::Server(handle.state.clone()));
            let server = handle.state.transport.listen(address, acceptor)?;
            handle.local_addr = Some(server.local_addr().to_owned());
            handle.server = Mutex::new(Some(server));
        }
        Ok(Comm(Arc::new(handle)))
    }

    fn build(&mut self) -> Result<Handle> {
        self.config.validate()?;
        let transport = self.make_transport()?;
        let pki_id = self.crypto.pki_id(&self.identity).filter(|id| !id.is_empty()).ok_or_else(|| {
            Error::new(ErrorKind::Config, "our own identity has no PKI-ID: it is not a serialized identity")
        })?;
        let owns_mapper = self.mapper.is_none();
        let mapper = match self.mapper.take() {
            Some(mapper) => mapper,
            None => self.make_mapper(|_, _| {})?,
        };
        if let Err(e) = mapper.check_signer() {
            if owns_mapper {
                mapper.stop();
            }
            return Err(e);
        }
        let identity_expires = mapper.self_expiration();
        let config = self.config.clone();
        let limits = conn_store::Limits {
            conn_timeout: config.conn_timeout,
            max_peers: config.max_connections,
            queue_messages: config.send_buff_size,
            queue_bytes: config.send_buff_bytes,
            inline_writes: transport.inline_writes(),
        };
        let clock = self.clock.clone();
        let spin = transport.spin();
        let state = Arc::new(CommState {
            handshaker: Handshaker {
                pki_id,
                identity: self.identity.clone(),
                mapper,
                conn_timeout: config.conn_timeout,
            },
            admission: Admission::new(&config),
            config,
            advisor: self.advisor.clone(),
            transport,
            store: ConnStore::new(limits),
            recent: Recent::new(),
            messages: Demux::with_spin(clock.clone(), spin),
            events: EventStream::new(&clock),
            clock,
            acks: Arc::default(),
            ack_spin: Spin::new(spin),
            metrics: Default::default(),
            threads: Threads::default(),
            owns_mapper,
            stopping: Cancel::new(),
            cut: Cancel::new(),
            identity_expires,
            generations: AtomicU64::new(0),
        });
        Ok(Handle { state, local_addr: None, server: Mutex::new(None), stop: StopOnce::new()? })
    }

    fn make_transport(&mut self) -> Result<Arc<dyn Transport>> {
        let (tls, limits) = (self.tls.take(), self.limits.take());
        let transport = match self.transport.take() {
            Some(_) if tls.is_some() || limits.is_some() => {
                let text = "tls and limits apply to the default transport only: set them on the given transport";
                return Err(Error::new(ErrorKind::Config, text));
            }
            Some(transport) => transport,
            None => transport::default_transport(tls, limits.unwrap_or_default())?,
        };
        if !transport.is_encrypted() {
            log::warn!("TLS is off: a man in the middle can read messages, and connection messages can be replayed");
        }
        Ok(transport)
    }
}
