//! Puts a [`Comm`] together.

use super::admission::Admission;
use super::conn_store::{ConnStore, Limits};
use super::demux::Demux;
use super::event::EventStream;
use super::handshake::Handshaker;
use super::inner::{Inner, TlsExpiry};
use super::stream::Transport;
use super::threads::{StopOnce, Threads};
use super::{Comm, Handle};
use crate::cancel::Cancel;
use crate::clock::{Clock, SystemClock};
use crate::config::CommConfig;
use crate::crypto::{CryptoService, PeerIdentity, PkiId, SecurityAdvisor};
use crate::error::{Error, ErrorKind, Result};
use crate::identity::{IdentityConfig, IdentityMapper};
use crate::sync::atomic::AtomicU64;
use crate::sync::Mutex;
use std::sync::Arc;

/// Settings of a [`Comm`] that is to be.
pub struct CommBuilder {
    identity: PeerIdentity,
    crypto: Arc<dyn CryptoService>,
    advisor: Arc<dyn SecurityAdvisor>,
    mapper: Option<IdentityMapper>,
    config: CommConfig,
    clock: Arc<dyn Clock>,
    transport: Option<Arc<dyn Transport>>,
    #[cfg(feature = "grpc")]
    grpc: Grpc,
}

#[cfg(feature = "grpc")]
#[derive(Default)]
struct Grpc {
    listen: Option<String>,
    tls: Option<crate::rpc::Tls>,
    options: crate::rpc::Options,
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
            #[cfg(feature = "grpc")]
            grpc: Grpc::default(),
        }
    }

    /// Timeouts and limits. Default: Fabric's.
    #[must_use]
    pub fn config(mut self, config: CommConfig) -> Self {
        self.config = config;
        self
    }

    /// Another source of time.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// An identity mapper that is shared with others. It must hold our own identity. Default: one of its own, which
    /// stops with it.
    #[must_use]
    pub fn identity_mapper(mut self, mapper: IdentityMapper) -> Self {
        self.mapper = Some(mapper);
        self
    }

    /// Another way to reach peers than gRPC. Inbound streams are then handed to [`Comm::acceptor`].
    #[must_use]
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// Serves on this address, `host:port`; port 0 takes a free one ([`Comm::local_addr`]). Default: no server, only
    /// dialling.
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.grpc.listen = Some(address.into());
        self
    }

    /// Mutual TLS with these certificates, for dialling and serving. Default: no TLS, which leaves connection messages open
    /// to replay, and warns.
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn tls(mut self, tls: crate::rpc::Tls) -> Self {
        self.grpc.tls = Some(tls);
        self
    }

    /// Options of the gRPC channels and the server: keepalive, limits, buffers. Fabric's dial options among them.
    #[cfg(feature = "grpc")]
    #[must_use]
    pub fn grpc_options(mut self, options: crate::rpc::Options) -> Self {
        self.grpc.options = options;
        self
    }

    /// The mapper that Comm would make, which is told of removals; from then on its owner stops it.
    pub(crate) fn make_mapper(
        &mut self,
        on_purge: impl Fn(&PkiId, &PeerIdentity) + Send + Sync + 'static,
    ) -> Result<IdentityMapper> {
        if self.mapper.is_some() {
            let text = "an identity mapper is given, and the node makes its own, to be told of removals";
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

    /// Starts it. Fails on a wrong setting, on an identity of our own that is not valid, if a first signature fails or does
    /// not match our identity ([`ErrorKind::Signature`]), and if the address cannot be listened on.
    pub fn start(mut self) -> Result<Comm> {
        let handle = self.build()?;
        self.serve(handle)
    }

    /// Starts it without a server of its own, and gives the service for a server that the host runs. Fabric's
    /// `NewCommInstance` with the host's server. Stopping the Comm also ends the service's streams.
    ///
    /// Fails as [`start`](Self::start) does, if the host's certificate cannot be read, and if an address to listen on was
    /// given.
    #[cfg(feature = "host-server")]
    pub fn start_on_host(mut self, options: super::host::HostOptions) -> Result<(Comm, super::host::HostService)> {
        if self.grpc.listen.is_some() {
            let text = "an address to listen on is given, and the host's server listens: only one can be";
            return Err(Error::new(ErrorKind::Config, text));
        }
        let mut handle = self.build()?;
        let acceptor = Arc::new(super::reader::Server(handle.inner.clone()));
        let service = super::host::HostService::start(acceptor, &options, self.grpc.tls)?;
        let (grace, stopped) = (handle.inner.config.conn_timeout, service.clone());
        handle.server = Mutex::new(Some(Box::new(move || {
            if !stopped.stop(grace) {
                log::warn!("some gossip streams on the host's server are still ending after the stop");
            }
        })));
        Ok((Comm(Arc::new(handle)), service))
    }

    fn build(&mut self) -> Result<Handle> {
        self.config.validate()?;
        let transport = match self.transport.take() {
            Some(transport) => transport,
            None => self.default_transport()?,
        };
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
        let limits = Limits {
            conn_timeout: config.conn_timeout,
            max_peers: config.max_connections,
            queue_messages: config.send_buff_size,
            queue_bytes: config.send_buff_bytes,
        };
        let clock = self.clock.clone();
        let inner = Arc::new(Inner {
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
            messages: Demux::new(clock.clone()),
            events: EventStream::new(&clock),
            clock,
            acks: Arc::default(),
            metrics: Default::default(),
            threads: Threads::default(),
            owns_mapper,
            stopping: Cancel::new(),
            cut: Cancel::new(),
            identity_expires,
            tls_expires: self.tls_expiry(),
            generations: AtomicU64::new(0),
        });
        Ok(Handle { inner, local_addr: None, server: Mutex::new(None), stop: StopOnce::new()? })
    }

    #[cfg(feature = "grpc")]
    fn default_transport(&mut self) -> Result<Arc<dyn Transport>> {
        if self.grpc.tls.is_none() {
            log::warn!("TLS is off: messages can be read and connection messages replayed by whoever is in between");
        }
        let Grpc { tls, options, .. } = &self.grpc;
        Ok(Arc::new(super::grpc::GrpcTransport::new(tls.clone(), options.clone())?))
    }

    #[cfg(feature = "grpc")]
    fn tls_expiry(&self) -> Option<TlsExpiry> {
        let tls = self.grpc.tls.clone()?;
        Some(Box::new(move || tls.expires()))
    }

    #[cfg(not(feature = "grpc"))]
    fn tls_expiry(&self) -> Option<TlsExpiry> {
        None
    }

    #[cfg(not(feature = "grpc"))]
    fn default_transport(&mut self) -> Result<Arc<dyn Transport>> {
        Err(Error::new(ErrorKind::Config, "no transport given, and the library was built without gRPC"))
    }

    #[cfg(feature = "grpc")]
    fn serve(self, mut handle: Handle) -> Result<Comm> {
        let Some(listen) = &self.grpc.listen else { return Ok(Comm(Arc::new(handle))) };
        let acceptor = Arc::new(super::reader::Server(handle.inner.clone()));
        let server = super::grpc::GrpcServer::start(listen, self.grpc.options, self.grpc.tls, acceptor)?;
        handle.local_addr = Some(server.local_addr().to_owned());
        let grace = handle.inner.config.conn_timeout;
        handle.server = Mutex::new(Some(Box::new(move || {
            if !server.stop(grace) {
                log::warn!("connections had to be cut off");
            }
        })));
        Ok(Comm(Arc::new(handle)))
    }

    #[cfg(not(feature = "grpc"))]
    fn serve(self, handle: Handle) -> Result<Comm> {
        Ok(Comm(Arc::new(handle)))
    }
}
