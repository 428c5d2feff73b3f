//! The flags that say who we are and whom we trust, and their defaults.

use crate::certificate::{self, Certificate};
use crate::failure::{Failure, Result};
use crate::identity::{load_msp, Me};
use crate::settings::Settings;
use crate::values::{target, Endpoint};
use clap::{Args, ValueEnum};
use fabric_gossip::msp::Msp;
use fabric_gossip::rpc::{ClientAuth, Pem, Tls, TlsConfig};
use fabric_gossip::testing::cryptogen;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Who we are.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Identity")]
pub struct IdentityArgs {
    /// Our local MSP folder, as cryptogen or fabric-ca-client make it [CORE_PEER_MSPCONFIGPATH]
    #[arg(long, value_name = "DIR")]
    msp: Option<PathBuf>,
    /// The MSP id of our organisation, such as Org1MSP [CORE_PEER_LOCALMSPID]
    #[arg(long, value_name = "ID")]
    mspid: Option<String>,
    /// Another organisation to trust, with its MSP folder; repeatable
    #[arg(long, value_name = "ID=DIR", value_parser = trusted)]
    trust_msp: Vec<(String, PathBuf)>,
}

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
    /// A TLS authority to trust; repeatable [CORE_PEER_TLS_ROOTCERT_FILE, else tlscacerts of the MSP folders]
    #[arg(long, value_name = "FILE")]
    tls_ca: Vec<PathBuf>,
    /// Another certificate to show when dialling [CORE_PEER_TLS_CLIENTCERT_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_client_key")]
    tls_client_cert: Option<PathBuf>,
    /// The key of --tls-client-cert [CORE_PEER_TLS_CLIENTKEY_FILE]
    #[arg(long, value_name = "FILE", requires = "tls_client_cert")]
    tls_client_key: Option<PathBuf>,
    /// What to ask of who dials us: any certificate, or one that --tls-ca vouches for
    #[arg(long, value_name = "POLICY", value_enum, default_value_t = ClientAuthPolicy::Request)]
    tls_client_auth: ClientAuthPolicy,
    /// The name to look for in the server's certificate, instead of the one dialled
    #[arg(long, value_name = "NAME")]
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

fn trusted(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((id, dir)) if !id.is_empty() && !dir.is_empty() => Ok((id.into(), dir.into())),
        _ => Err("expected ID=DIR, such as Org2MSP=crypto/peerOrganizations/org2.example.com/msp".into()),
    }
}

impl IdentityArgs {
    /// Loads our identity.
    pub fn load(&self, settings: &Settings) -> Result<Me> {
        let Some(dir) = self.msp_dir(settings) else {
            return Err(Failure::usage(
                "no identity: give --msp DIR and --mspid ID (or CORE_PEER_MSPCONFIGPATH and CORE_PEER_LOCALMSPID); \
                 `fabric-gossip crypto DIR` makes one to try things out",
            ));
        };
        let Some(mspid) = self.mspid(settings) else { return Err(no_msp_id(&dir)) };
        Me::load(&mspid, &dir, &self.trust_msp)
    }

    /// Our own MSP, if one is named, and those of the organisations to trust.
    pub fn msps(&self, settings: &Settings) -> Result<Vec<Arc<Msp>>> {
        let mut msps = Vec::new();
        if let Some(dir) = self.msp_dir(settings) {
            let Some(mspid) = self.mspid(settings) else { return Err(no_msp_id(&dir)) };
            msps.push(Arc::new(load_msp(&mspid, &dir)?));
        }
        for (mspid, dir) in &self.trust_msp {
            msps.push(Arc::new(load_msp(mspid, dir)?));
        }
        Ok(msps)
    }

    pub fn mspid(&self, settings: &Settings) -> Option<String> {
        self.mspid.clone().or_else(|| settings.text("peer.localMspId"))
    }

    pub fn msp_dir(&self, settings: &Settings) -> Option<PathBuf> {
        self.msp.clone().or_else(|| settings.path("peer.mspConfigPath"))
    }
}

fn no_msp_id(dir: &Path) -> Failure {
    let dir = dir.display();
    Failure::usage(format!("no MSP id for {dir}: give --mspid ID, such as Org1MSP (or CORE_PEER_LOCALMSPID)"))
}

/// The TLS settings, checked; `None` in plain text.
pub type TlsSetup = Option<TlsFiles>;

/// Certificates for both directions.
pub struct TlsFiles {
    pub tls: Tls,
    /// What is shown when dialling: certificate (with its chain) and key, as PEM.
    pub client: (Vec<u8>, Vec<u8>),
    pub roots: Vec<Certificate>,
    pub server_name: Option<String>,
}

/// Which certificate we need of our own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// One that our connection message can be bound to.
    Pair,
    /// None: without one a made-up certificate is shown.
    Nothing,
}

impl TlsArgs {
    /// Loads and checks the TLS files.
    pub fn load(&self, identity: &IdentityArgs, need: Need, settings: &Settings) -> Result<TlsSetup> {
        if self.off(settings) {
            return Ok(None);
        }
        let msp = identity.msp_dir(settings);
        let roots = self.roots(msp.as_deref(), identity, settings)?;
        let pair = match self.pair(msp.as_deref(), settings)? {
            Some((cert, key)) => (read_cert(&cert)?, pem(&key)?),
            None if need == Need::Nothing => made_up()?,
            None => {
                return Err(Failure::usage(
                    "no TLS certificate: give --tls-cert FILE and --tls-key FILE (or CORE_PEER_TLS_CERT_FILE and \
                     CORE_PEER_TLS_KEY_FILE), or --no-tls if the peer does without",
                ))
            }
        };
        let client = match self.client_pair(settings)? {
            Some((cert, key)) => Some((read_cert(&cert)?, pem(&key)?)),
            None => None,
        };
        let root_pem = roots
            .iter()
            .map(|root| Pem::new(root.source.clone(), root.pem.clone()))
            .reduce(Pem::and)
            .ok_or_else(|| Failure::usage("no TLS authority to trust"))?;
        let mut config = TlsConfig::new(pair.0.clone().into(), pair.1.clone().into(), root_pem.clone());
        if let Some((cert, key)) = &client {
            config = config.client_pair(cert.clone().into(), key.clone().into());
        }
        if self.tls_client_auth == ClientAuthPolicy::Verify {
            config = config.client_auth(ClientAuth::Verify(root_pem));
        }
        if let Some(name) = &self.tls_server_name {
            config = config.server_name(name);
        }
        let (cert, key) = client.unwrap_or(pair);
        Ok(Some(TlsFiles {
            tls: Tls::new(config)?,
            client: (cert.text, key.text),
            roots,
            server_name: self.tls_server_name.clone(),
        }))
    }

    fn off(&self, settings: &Settings) -> bool {
        let named = self.tls_cert.is_some() || !self.tls_ca.is_empty();
        self.no_tls || (!named && settings.text("peer.tls.enabled").is_some_and(|v| v.eq_ignore_ascii_case("false")))
    }

    fn roots(&self, msp: Option<&Path>, identity: &IdentityArgs, settings: &Settings) -> Result<Vec<Certificate>> {
        let mut files = self.tls_ca.clone();
        if files.is_empty() {
            files.extend(settings.path("peer.tls.rootcert.file"));
        }
        if files.is_empty() {
            for dir in msp.into_iter().chain(identity.trust_msp.iter().map(|(_, dir)| dir.as_path())) {
                files.extend(certificate::files_in(&dir.join("tlscacerts"))?);
            }
        }
        if files.is_empty() {
            return Err(Failure::usage(
                "no TLS authority to trust: give --tls-ca FILE (or CORE_PEER_TLS_ROOTCERT_FILE), the certificate of the \
                 authority that issued the peer's TLS certificate, or --no-tls if the peer does without",
            ));
        }
        let mut roots = Vec::new();
        for file in &files {
            roots.extend(Certificate::read_all(file)?);
        }
        for root in &roots {
            if let Err(why) = root.check_dates() {
                log::warn!("{}: {why}; what it issued will not be accepted", root.source);
            }
        }
        Ok(roots)
    }

    /// The files of our certificate and key.
    fn pair(&self, msp: Option<&Path>, settings: &Settings) -> Result<Option<(PathBuf, PathBuf)>> {
        let cert = self.tls_cert.clone().or_else(|| settings.path("peer.tls.cert.file"));
        let key = self.tls_key.clone().or_else(|| settings.path("peer.tls.key.file"));
        match (cert, key) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (Some(cert), None) => {
                Err(Failure::usage(format!("{}: give its key too, with --tls-key FILE", cert.display())))
            }
            (None, Some(key)) => {
                Err(Failure::usage(format!("{}: give its certificate too, with --tls-cert FILE", key.display())))
            }
            (None, None) => {
                let beside = msp.and_then(|msp| Some(msp.canonicalize().ok()?.parent()?.join("tls")));
                Ok(beside.and_then(|tls| {
                    let pairs =
                        ["server", "client"].map(|n| (tls.join(format!("{n}.crt")), tls.join(format!("{n}.key"))));
                    pairs.into_iter().find(|(cert, key)| cert.is_file() && key.is_file())
                }))
            }
        }
    }

    fn client_pair(&self, settings: &Settings) -> Result<Option<(PathBuf, PathBuf)>> {
        let flags = self.tls_client_cert.clone().zip(self.tls_client_key.clone());
        if flags.is_some() {
            return Ok(flags);
        }
        let keys = ["peer.tls.clientCert.file", "peer.tls.clientKey.file"];
        match keys.map(|key| settings.path(key)) {
            [Some(cert), Some(key)] => Ok(Some((cert, key))),
            [None, None] => Ok(None),
            [Some(_), None] => Err(Failure::usage(format!(
                "{} is set but {} is not",
                settings.source(keys[0]),
                settings.source(keys[1])
            ))),
            [None, Some(_)] => Err(Failure::usage(format!(
                "{} is set but {} is not",
                settings.source(keys[1]),
                settings.source(keys[0])
            ))),
        }
    }
}

/// A PEM file: its content and where it came from.
#[derive(Clone)]
struct PemFile {
    source: String,
    text: Vec<u8>,
}

impl From<PemFile> for Pem {
    fn from(file: PemFile) -> Pem {
        Pem::new(file.source, file.text)
    }
}

fn pem(path: &Path) -> Result<PemFile> {
    let text = std::fs::read(path).map_err(|e| Failure::file(path, format!("cannot be read: {e}")))?;
    Ok(PemFile { source: path.display().to_string(), text })
}

/// A certificate of our own: it must be valid now.
fn read_cert(path: &Path) -> Result<PemFile> {
    let first = Certificate::read_all(path)?.swap_remove(0);
    first.check_dates().map_err(|why| Failure::file(path, why))?;
    pem(path)
}

/// A certificate that nobody vouches for: most peers ask for one, and only the gossip handshake looks at it.
fn made_up() -> Result<(PemFile, PemFile)> {
    let member = cryptogen::Org::new("probe", "probe.invalid").and_then(|org| org.peer("anonymous"))?;
    let file = |source: &str, text: String| PemFile { source: source.into(), text: text.into_bytes() };
    Ok((file("made-up certificate", member.tls_cert), file("made-up key", member.tls_key)))
}

/// Who is meant, where a command takes one endpoint.
#[derive(Args, Clone, Debug)]
pub struct TargetArg {
    /// The peer to talk to, host:port [CORE_PEER_ADDRESS]
    #[arg(value_name = "H:P", value_parser = target)]
    endpoint: Option<Endpoint>,
}

impl TargetArg {
    pub fn endpoint(&self, settings: &Settings) -> Result<Endpoint> {
        if let Some(endpoint) = &self.endpoint {
            return Ok(endpoint.clone());
        }
        settings
            .parsed("peer.address", target)?
            .ok_or_else(|| Failure::usage("no peer: name it as host:port (or set CORE_PEER_ADDRESS)"))
    }
}
