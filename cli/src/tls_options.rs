//! TLS flags and settings.

use crate::certificate::Certificate;
use crate::failure::{Failure, Result};
use crate::keys::{self, Key};
use crate::options::IdentityArgs;
use crate::settings::{NamedPath, Origin, Settings};
use crate::values::server_name;
use clap::{Args, ValueEnum};
use fabric_gossip::msp::Msp;
use fabric_gossip::testing::cryptogen;
use fabric_gossip::transport::{ClientAuth, Pem, Tls, TlsConfig};
use std::path::PathBuf;
use std::sync::Arc;

/// How connections are secured.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Our TLS certificate [CORE_PEER_TLS_CERT_FILE, else ../tls beside the MSP folder]
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<PathBuf>,
    /// The key of our TLS certificate [CORE_PEER_TLS_KEY_FILE, else ../tls beside the MSP folder]
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,
    /// A TLS authority to trust, when dialling and for clients; repeatable. Added to [CORE_PEER_TLS_ROOTCERT_FILE]
    /// (when dialling), [CORE_PEER_TLS_CLIENTROOTCAS_FILES] (for clients) and the TLS authorities of all MSP folders
    #[arg(long, value_name = "FILE")]
    tls_ca: Vec<PathBuf>,
    /// A different certificate to present when dialling [CORE_PEER_TLS_CLIENTCERT_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    tls_client_cert: Option<PathBuf>,
    /// The key of --tls-client-cert [CORE_PEER_TLS_CLIENTKEY_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_client_cert")]
    tls_client_key: Option<PathBuf>,
    /// The certificate to require of peers that dial us: any, or one issued by a TLS authority [verify if
    /// CORE_PEER_TLS_CLIENTAUTHREQUIRED, else request]
    #[arg(long, value_name = "POLICY", value_enum)]
    tls_client_auth: Option<ClientAuthPolicy>,
    /// The name to check the server's certificate for, instead of the one dialled [CORE_PEER_TLS_SERVERHOSTOVERRIDE]
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    tls_server_name: Option<String>,
    /// Plain text: only for tests, connection messages can be replayed [CORE_PEER_TLS_ENABLED=false]
    #[arg(long)]
    no_tls: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ClientAuthPolicy {
    Request,
    Verify,
}

/// The checked TLS settings; `None` for plain text.
pub type TlsSetup = Option<TlsFiles>;

/// Certificates for both directions.
pub struct TlsFiles {
    pub tls: Tls,
    /// The content of `tls`, to replace that of a running peer.
    pub config: TlsConfig,
    /// The pair to present when dialling: certificate (with its chain) and key, as PEM.
    pub client: (Vec<u8>, Vec<u8>),
    pub roots: Vec<Certificate>,
    /// Our certificate for peers that dial us.
    pub server: Certificate,
    /// Number of authorities that the certificates of clients are verified with; `None` if any certificate is accepted.
    pub client_authorities: Option<usize>,
    pub server_name: Option<String>,
}

/// How a command uses TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Listens and dials.
    Serve,
    /// Dials, and needs a certificate that its connection message can be bound to.
    Dial,
    /// Dials, and needs no certificate: without one, a generated certificate is presented.
    Anonymous,
}

type Pair = (NamedPath, NamedPath);

impl TlsArgs {
    /// Loads and checks the TLS files. The TLS authorities of `msps` are trusted.
    pub fn load(
        &self,
        role: Role,
        identity: &IdentityArgs,
        msps: &[Arc<Msp>],
        settings: &Settings,
    ) -> Result<TlsSetup> {
        if self.off(settings)? {
            return Ok(None);
        }
        let shared = self.shared_roots(msps)?;
        let roots = self.roots(role, &shared, settings)?;
        let pair = match self.pair(role, identity, settings)? {
            Some((cert, key)) => (read_cert(&cert)?, pem(&key)?),
            None if role == Role::Anonymous => made_up()?,
            None => {
                return Err(Failure::usage(
                    "no TLS certificate: give --tls-cert FILE and --tls-key FILE (or CORE_PEER_TLS_CERT_FILE and \
                     CORE_PEER_TLS_KEY_FILE), or --no-tls if the peer does not use TLS",
                ))
            }
        };
        let client = match self.client_pair(role, settings)? {
            Some((cert, key)) => Some((read_cert(&cert)?, pem(&key)?)),
            None => None,
        };
        let mut config = TlsConfig::new(pair.0.clone().into(), pair.1.clone().into(), as_pem(&roots)?);
        if let Some((cert, key)) = &client {
            config = config.client_pair(cert.clone().into(), key.clone().into());
        }
        let server = Certificate::new(&pair.0.source, &pair.0.text).map_err(Failure::usage)?;
        let mut client_authorities = None;
        if role == Role::Serve {
            if let Some(clients) = self.client_roots(shared, settings)? {
                config = config.client_auth(ClientAuth::Verify(as_pem(&clients)?));
                client_authorities = Some(clients.len());
            }
            warn_if_nobody_can_dial(&server);
        }
        let server_name = match &self.tls_server_name {
            Some(name) => Some(name.clone()),
            None => settings.parsed(keys::TLS_SERVER_HOST_OVERRIDE, server_name)?,
        };
        if let Some(name) = &server_name {
            config = config.server_name(name);
        }
        let tls = Tls::new(config.clone())?;
        let (cert, key) = client.unwrap_or(pair);
        let client = (cert.text, key.text);
        Ok(Some(TlsFiles { tls, config, client, roots, server, client_authorities, server_name }))
    }

    fn off(&self, settings: &Settings) -> Result<bool> {
        let named = self.tls_cert.is_some() || !self.tls_ca.is_empty();
        Ok(self.no_tls || (!named && settings.boolean(keys::TLS_ENABLED)? == Some(false)))
    }

    /// Loads the authorities trusted in both directions: those of the flags, and the root and intermediate ones of all
    /// MSPs.
    fn shared_roots(&self, msps: &[Arc<Msp>]) -> Result<Vec<Certificate>> {
        let mut roots = Vec::new();
        for file in &self.tls_ca {
            roots.extend(Certificate::read_all(file)?);
        }
        for msp in msps {
            let source = format!("TLS authorities of {}", msp.id());
            for pem in msp.tls_certs() {
                roots.push(Certificate::new(&source, pem.as_bytes()).map_err(Failure::usage)?);
            }
        }
        Ok(roots)
    }

    /// Loads the authorities that servers are verified with.
    fn roots(&self, role: Role, shared: &[Certificate], settings: &Settings) -> Result<Vec<Certificate>> {
        let mut roots = shared.to_vec();
        if let Some(file) = settings.path(keys::TLS_ROOTCERT)?.filter(|file| !is_passed_over(role, file)) {
            roots.extend(read_all(&file)?);
        }
        if roots.is_empty() {
            return Err(Failure::usage(
                "no TLS authority to trust: give --tls-ca FILE (or CORE_PEER_TLS_ROOTCERT_FILE), the certificate of the \
                 authority that issued the peer's TLS certificate, or --no-tls if the peer does not use TLS",
            ));
        }
        for root in &roots {
            if let Err(why) = root.check_dates() {
                log::warn!("{}: {why}; certificates that it issued will be refused", root.source);
            }
        }
        Ok(roots)
    }

    /// Loads the authorities that clients are verified with; `None` if clients are not verified.
    fn client_roots(&self, shared: Vec<Certificate>, settings: &Settings) -> Result<Option<Vec<Certificate>>> {
        let required = || settings.boolean(keys::TLS_CLIENT_AUTH_REQUIRED).map(|required| required.unwrap_or(false));
        match self.tls_client_auth {
            Some(ClientAuthPolicy::Request) => return Ok(None),
            Some(ClientAuthPolicy::Verify) => {}
            None if required()? => {}
            None => return Ok(None),
        }
        let mut roots = shared;
        for file in settings.paths(keys::TLS_CLIENT_ROOT_CAS)? {
            roots.extend(read_all(&file)?);
        }
        match roots.is_empty() {
            true => Err(Failure::usage(
                "client certificates must be verified, but no TLS authority for them is known: give \
                 --tls-ca FILE, or CORE_PEER_TLS_CLIENTROOTCAS_FILES, or MSP folders with tlscacerts",
            )),
            false => Ok(Some(roots)),
        }
    }

    /// Returns the files of our certificate and key.
    fn pair(&self, role: Role, identity: &IdentityArgs, settings: &Settings) -> Result<Option<Pair>> {
        let named = |flag: &Option<PathBuf>, name: &str, key: Key| match flag {
            Some(path) => Ok(Some(NamedPath::flag(name, path))),
            None => settings.path(key),
        };
        let cert = named(&self.tls_cert, "--tls-cert", keys::TLS_CERT)?.filter(|file| !is_passed_over(role, file));
        let key = named(&self.tls_key, "--tls-key", keys::TLS_KEY)?.filter(|file| !is_passed_over(role, file));
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (Some(cert), None) => Err(cert.error("give its key too, with --tls-key FILE")),
            (None, Some(key)) => Err(key.error("give its certificate too, with --tls-cert FILE")),
            (None, None) => {
                let msp = identity.msp_dir(settings)?;
                let beside = msp.and_then(|msp| Some(msp.path.canonicalize().ok()?.parent()?.join("tls")));
                Ok(beside.and_then(|tls| {
                    let file = |name: &str, end: &str| tls.join(format!("{name}.{end}"));
                    let pairs = ["server", "client"].map(|name| (file(name, "crt"), file(name, "key")));
                    let (cert, key) = pairs.into_iter().find(|(cert, key)| cert.is_file() && key.is_file())?;
                    Some((NamedPath::flag("--tls-cert", &cert), NamedPath::flag("--tls-key", &key)))
                }))
            }
        }
    }

    fn client_pair(&self, role: Role, settings: &Settings) -> Result<Option<Pair>> {
        if let Some((cert, key)) = self.tls_client_cert.as_deref().zip(self.tls_client_key.as_deref()) {
            return Ok(Some((NamedPath::flag("--tls-client-cert", cert), NamedPath::flag("--tls-client-key", key))));
        }
        let keys = [keys::TLS_CLIENT_CERT, keys::TLS_CLIENT_KEY];
        let lonely = |set: usize| {
            let [set, unset] = [keys[set], keys[1 - set]].map(|key| settings.source(key));
            Err(Failure::usage(format!("{set} is set but {unset} is not")))
        };
        let file = |key: Key| -> Result<_> { Ok(settings.path(key)?.filter(|file| !is_passed_over(role, file))) };
        match (file(keys[0])?, file(keys[1])?) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (Some(_), None) => lonely(0),
            (None, Some(_)) => lonely(1),
        }
    }
}

/// Returns whether a missing file is ignored: it is given only in `core.yaml`, and the command only dials. Fabric's
/// sample lists files of a server, which a folder with settings for client commands rarely has.
fn is_passed_over(role: Role, file: &NamedPath) -> bool {
    let passed_over = role != Role::Serve && file.origin == Origin::File && !file.path.exists();
    if passed_over {
        log::info!("{} not found, ignored", file.path.display());
    }
    passed_over
}

pub fn read_all(file: &NamedPath) -> Result<Vec<Certificate>> {
    Certificate::read_all(&file.path).map_err(|e| file.relay(e))
}

pub fn as_pem(certificates: &[Certificate]) -> Result<Pem> {
    let pems = certificates.iter().map(|c| Pem::new(c.source.clone(), c.pem.clone()));
    pems.reduce(Pem::and).ok_or_else(|| Failure::usage("no TLS authority to trust"))
}

/// A PEM file: its content and where it came from.
#[derive(Clone)]
pub struct PemFile {
    pub source: String,
    pub text: Vec<u8>,
}

impl From<PemFile> for Pem {
    fn from(file: PemFile) -> Pem {
        Pem::new(file.source, file.text)
    }
}

pub fn pem(file: &NamedPath) -> Result<PemFile> {
    let text = std::fs::read(&file.path).map_err(|e| file.error(format!("cannot be read: {e}")))?;
    Ok(PemFile { source: file.to_string(), text })
}

/// Reads one of our certificates; it must be valid now.
pub fn read_cert(file: &NamedPath) -> Result<PemFile> {
    let first = read_all(file)?.swap_remove(0);
    first.check_dates().map_err(|why| file.error(why))?;
    pem(file)
}

/// Warns if peers would reject our certificate because of its names or its purpose.
fn warn_if_nobody_can_dial(cert: &Certificate) {
    if let Some(why) = cert.unfit_for_servers() {
        log::warn!("{}: {why}: no Fabric peer can dial us", cert.source);
    }
}

/// Generates a self-signed certificate: most peers require one, and only the gossip handshake checks it.
fn made_up() -> Result<(PemFile, PemFile)> {
    let member = cryptogen::Org::new("probe", "probe.invalid").and_then(|org| org.peer("anonymous"))?;
    let file = |source: &str, text: String| PemFile { source: source.into(), text: text.into_bytes() };
    Ok((file("made-up certificate", member.tls_cert), file("made-up key", member.tls_key)))
}
