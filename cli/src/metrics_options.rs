//! Flags and settings of the metrics page: its address, and TLS.

use crate::endpoints::Sourced;
use crate::failure::{Failure, Result};
use crate::keys::{self, Key};
use crate::settings::{NamedPath, Settings};
use crate::tls_options::{as_pem, pem, read_all, read_cert, PemFile};
use crate::values::{listen_address, page_address, Endpoint};
use clap::Args;
use fabric_gossip::transport::{ClientAuth, Tls, TlsConfig};
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslContext, SslMethod, SslOptions, SslSessionCacheMode, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::X509;
use std::path::PathBuf;

/// Where the metrics page is served, and how it is secured.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Metrics")]
pub struct MetricsArgs {
    /// Serve /metrics for Prometheus and /healthz for health checks at this address; :PORT alone means loopback
    /// [CORE_OPERATIONS_LISTENADDRESS]
    #[arg(long, value_name = "H:P", value_parser = page_address)]
    metrics: Option<Endpoint>,
    /// Serve them over HTTPS, with this certificate [CORE_OPERATIONS_TLS_CERT_FILE, if CORE_OPERATIONS_TLS_ENABLED]
    #[arg(long, value_name = "FILE", requires = "metrics_tls_key")]
    metrics_tls_cert: Option<PathBuf>,
    /// The key of --metrics-tls-cert [CORE_OPERATIONS_TLS_KEY_FILE, if CORE_OPERATIONS_TLS_ENABLED]
    #[arg(long, value_name = "FILE", requires = "metrics_tls_cert")]
    metrics_tls_key: Option<PathBuf>,
    /// Require a client certificate that this authority issued; repeatable [CORE_OPERATIONS_TLS_CLIENTROOTCAS_FILES, if
    /// CORE_OPERATIONS_TLS_CLIENTAUTHREQUIRED; without the latter, /metrics requires one and /healthz does not]
    #[arg(long, value_name = "FILE")]
    metrics_client_ca: Vec<PathBuf>,
}

/// The clients that must present a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certified {
    None,
    /// Those that ask for the metrics, as in Fabric's operations service.
    ForMetrics,
    All,
}

/// TLS of the metrics page.
#[derive(Clone)]
pub struct PageTls {
    pub context: SslContext,
    pub certified: Certified,
    /// The content of `context`, for comparison.
    config: TlsConfig,
}

impl PartialEq for PageTls {
    fn eq(&self, other: &PageTls) -> bool {
        (self.certified, &self.config) == (other.certified, &other.config)
    }
}

impl MetricsArgs {
    /// Returns the address to serve the page at, if there is one.
    pub fn address(&self, settings: &Settings) -> Result<Option<Sourced<Endpoint>>> {
        let key = keys::OPERATIONS_ADDRESS;
        let address = match &self.metrics {
            Some(address) => Some(Sourced { value: address.clone(), source: key.flag().to_owned() }),
            None => {
                let value = settings.parsed(key, listen_address)?;
                value.map(|value| Sourced { value, source: settings.source(key) })
            }
        };
        match address {
            None if self.metrics_tls_cert.is_some() => {
                Err(Failure::usage("--metrics-tls-cert has no effect without an address: give --metrics H:P"))
            }
            None if !self.metrics_client_ca.is_empty() => {
                Err(Failure::usage("--metrics-client-ca has no effect without an address: give --metrics H:P"))
            }
            address => Ok(address),
        }
    }

    /// Creates the error for an address that cannot be listened on.
    pub fn cannot_listen(&self, address: &Endpoint, settings: &Settings, why: &str) -> Failure {
        match &self.metrics {
            Some(_) => Failure::usage(format!("--metrics {address}: cannot listen: {why}")),
            None => {
                let variable = keys::OPERATIONS_ADDRESS.variable();
                let why = format!("cannot listen: {why}; to serve no metrics, set {variable} to an empty text");
                settings.wrong(keys::OPERATIONS_ADDRESS, &address.to_string(), &why)
            }
        }
    }

    /// Loads and checks the TLS files; `None` without TLS, or without an address.
    pub fn tls(&self, settings: &Settings) -> Result<Option<PageTls>> {
        if self.address(settings)?.is_none() {
            return Ok(None);
        }
        let enabled = settings.boolean(keys::OPERATIONS_TLS_ENABLED)?.unwrap_or(false);
        if !enabled && self.metrics_tls_cert.is_none() {
            return match self.metrics_client_ca.is_empty() {
                true => Ok(None),
                false => Err(Failure::usage(
                    "--metrics-client-ca has no effect without TLS: give --metrics-tls-cert and --metrics-tls-key",
                )),
            };
        }
        let file = |flag: &Option<PathBuf>, name: &str, key: Key| match flag {
            Some(path) => Ok(NamedPath::flag(name, path)),
            None => settings.path(key)?.ok_or_else(|| {
                let (enabled, key) = (settings.source(keys::OPERATIONS_TLS_ENABLED), key.name());
                Failure::usage(format!("{enabled} is true, but {key} is not set: set it, or give {name} FILE"))
            }),
        };
        let cert = read_cert(&file(&self.metrics_tls_cert, "--metrics-tls-cert", keys::OPERATIONS_TLS_CERT)?)?;
        let key = pem(&file(&self.metrics_tls_key, "--metrics-tls-key", keys::OPERATIONS_TLS_KEY)?)?;
        let (certified, authorities) = self.clients(enabled, settings)?;
        PageTls::new(cert, key, certified, authorities).map(Some)
    }

    /// Returns which clients need a certificate, and the files of the authorities that issue them.
    fn clients(&self, enabled: bool, settings: &Settings) -> Result<(Certified, Vec<NamedPath>)> {
        if !self.metrics_client_ca.is_empty() {
            let files = self.metrics_client_ca.iter().map(|file| NamedPath::flag("--metrics-client-ca", file));
            return Ok((Certified::All, files.collect()));
        }
        let files = settings.paths(keys::OPERATIONS_CLIENT_ROOT_CAS)?;
        let certified = match settings.boolean(keys::OPERATIONS_CLIENT_AUTH_REQUIRED)?.unwrap_or(false) {
            true => Certified::All,
            false if enabled => Certified::ForMetrics,
            false => return Ok((Certified::None, Vec::new())),
        };
        match files.is_empty() {
            false => Ok((certified, files)),
            true => Err(Failure::usage(format!(
                "clients of the metrics need certificates, but no authority for them is known: give \
                 --metrics-client-ca FILE, or set {}",
                keys::OPERATIONS_CLIENT_ROOT_CAS.variable()
            ))),
        }
    }
}

impl PageTls {
    fn new(cert: PemFile, key: PemFile, certified: Certified, files: Vec<NamedPath>) -> Result<PageTls> {
        let mut authorities = Vec::new();
        for file in &files {
            authorities.extend(read_all(file)?);
        }
        // The library's checks name the file that does not fit. It wants roots for dialling; we do not dial.
        let mut config = TlsConfig::new(cert.clone().into(), key.clone().into(), cert.clone().into());
        if !authorities.is_empty() {
            config = config.client_auth(ClientAuth::Verify(as_pem(&authorities)?));
        }
        Tls::new(config.clone())?;
        let authorities = authorities.into_iter().map(|authority| authority.x509).collect();
        let context = context(&cert, &key, certified, authorities);
        let context = context.map_err(|e| Failure::usage(format!("{}: TLS cannot use it: {e}", cert.source)))?;
        Ok(PageTls { context, certified, config })
    }
}

fn context(
    cert: &PemFile,
    key: &PemFile,
    certified: Certified,
    authorities: Vec<X509>,
) -> Result<SslContext, ErrorStack> {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    let mut chain = X509::stack_from_pem(&cert.text)?.into_iter();
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&leaf)?;
    }
    for issuer in chain {
        builder.add_extra_chain_cert(issuer)?;
    }
    // An encrypted key was refused before.
    builder.set_private_key(&*PKey::private_key_from_pem_callback(&key.text, |_| Ok(0))?)?;
    builder.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_COMPRESSION);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_num_tickets(0)?;
    let mut store = X509StoreBuilder::new()?;
    for authority in authorities {
        store.add_cert(authority)?;
    }
    // As in Go, every given certificate is trusted, also one that another authority issued.
    store.set_flags(X509VerifyFlags::PARTIAL_CHAIN)?;
    builder.set_cert_store(store.build());
    builder.set_verify(match certified {
        Certified::None => SslVerifyMode::NONE,
        Certified::ForMetrics => SslVerifyMode::PEER,
        Certified::All => SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT,
    });
    Ok(builder.build().into_context())
}
