//! A TLS connection for diagnosis: reports the other side's version, certificate and issuer, and the cause of a
//! failure.

use crate::certificate;
use crate::tls_options::TlsFiles;
use fabric_gossip::transport::check_server_name;
use openssl::pkey::PKey;
use openssl::ssl::{HandshakeError, Ssl, SslContext, SslMethod, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::verify::X509VerifyFlags;
use openssl::x509::{X509VerifyResult, X509};
use parking_lot::Mutex;
use serde_json::{json, Value};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// Time to wait for a rejection of our certificate: with TLS 1.3 the peer can only send it after the handshake. A gRPC
/// server has sent its settings by then.
const AFTERTHOUGHT: Duration = Duration::from_millis(300);

/// The result of the TLS connection.
pub struct TlsReport {
    pub detail: Value,
    pub text: String,
    /// The problem, and a suggestion.
    pub problem: Option<(String, String)>,
}

/// The parameters of the connection; can be moved to another thread.
pub struct TlsProbe {
    server_name: String,
    client: (Vec<u8>, Vec<u8>),
    roots: Vec<X509>,
    root_files: String,
}

impl TlsProbe {
    /// `host` is the name that was dialled.
    pub fn new(files: &TlsFiles, host: &str) -> TlsProbe {
        let mut sources: Vec<&str> = files.roots.iter().map(|root| root.source.as_str()).collect();
        sources.dedup();
        TlsProbe {
            server_name: files.server_name.clone().unwrap_or_else(|| host.to_owned()),
            client: files.client.clone(),
            roots: files.roots.iter().map(|root| root.x509.clone()).collect(),
            root_files: sources.join(", "),
        }
    }

    /// Makes the connection; `limit` is the time limit for each answer.
    pub fn connect(&self, tcp: TcpStream, limit: Duration) -> TlsReport {
        let flaw = Arc::new(Mutex::new(None::<Flaw>));
        match self.handshake(tcp, limit, &flaw) {
            Ok(stream) => self.report(stream, flaw.lock().take()),
            Err((why, hint)) => TlsReport {
                detail: json!({"server_name": self.server_name}),
                text: String::new(),
                problem: Some((why, hint)),
            },
        }
    }

    /// Returns when the server's certificate expires, in seconds since 1970, valid or not; `None` if there is none.
    pub fn expiry(&self, tcp: TcpStream, limit: Duration) -> Option<i64> {
        let stream = self.handshake(tcp, limit, &Arc::default()).ok()?;
        certificate::unix(stream.ssl().peer_certificate()?.not_after())
    }

    /// Completes the handshake even if the server's certificate is wrong; the error in it goes to `flaw`.
    fn handshake(
        &self,
        tcp: TcpStream,
        limit: Duration,
        flaw: &Arc<Mutex<Option<Flaw>>>,
    ) -> Result<SslStream<TcpStream>, (String, String)> {
        let internal = |e: openssl::error::ErrorStack| (format!("cannot set up TLS: {e}"), String::new());
        let timeouts = tcp.set_read_timeout(Some(limit)).and_then(|()| tcp.set_write_timeout(Some(limit)));
        timeouts.map_err(|e| (format!("cannot set a timeout: {e}"), String::new()))?;
        let ssl = self.ssl(flaw.clone()).map_err(internal)?;
        ssl.connect(tcp).map_err(|e| match e {
            HandshakeError::SetupFailure(e) => internal(e),
            HandshakeError::Failure(s) | HandshakeError::WouldBlock(s) => blame(s.error()),
        })
    }

    fn ssl(&self, flaw: Arc<Mutex<Option<Flaw>>>) -> Result<Ssl, openssl::error::ErrorStack> {
        let mut context = SslContext::builder(SslMethod::tls_client())?;
        context.set_min_proto_version(Some(SslVersion::TLS1_2))?;
        context.set_alpn_protos(b"\x02h2")?;
        let mut store = X509StoreBuilder::new()?;
        for root in &self.roots {
            store.add_cert(root.clone())?;
        }
        // As in gRPC, any trusted certificate ends a chain, not only a self-signed one.
        store.set_flags(X509VerifyFlags::PARTIAL_CHAIN | X509VerifyFlags::TRUSTED_FIRST)?;
        context.set_cert_store(store.build());
        let mut chain = X509::stack_from_pem(&self.client.0)?.into_iter();
        if let Some(leaf) = chain.next() {
            context.set_certificate(&leaf)?;
        }
        for issuer in chain {
            context.add_extra_chain_cert(issuer)?;
        }
        let key = PKey::private_key_from_pem(&self.client.1)?;
        context.set_private_key(&key)?;
        context.set_verify_callback(SslVerifyMode::PEER, move |ok, store| {
            if !ok {
                let certificate = store.current_cert().map(|certificate| certificate.to_owned());
                flaw.lock().get_or_insert(Flaw { result: store.error(), certificate });
            }
            true
        });
        let mut ssl = Ssl::new(&context.build())?;
        if self.server_name.parse::<IpAddr>().is_err() {
            ssl.set_hostname(&self.server_name)?;
        }
        Ok(ssl)
    }

    fn report(&self, mut stream: SslStream<TcpStream>, flaw: Option<Flaw>) -> TlsReport {
        let refused = refusal(&mut stream);
        let ssl = stream.ssl();
        let server = ssl.peer_certificate();
        let version = ssl.version_str();
        let cipher = ssl.current_cipher().map_or("", |c| c.name());
        let alpn = ssl.selected_alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
        let chain: Vec<String> = ssl
            .verified_chain()
            .into_iter()
            .flat_map(|chain| chain.iter().skip(1))
            .map(|c| certificate::common_name(c.subject_name()))
            .collect();
        let vouched = flaw.is_none();
        let unfit = server.as_ref().and_then(|server| self.name_problem(server));
        let mut detail = json!({"version": version, "cipher": cipher, "alpn": alpn, "server_name": self.server_name});
        let mut text = version.to_owned();
        if let Some(server) = &server {
            detail["certificate"] = certificate::describe(server);
            detail["chain"] = json!(chain);
            detail["vouched_for"] = json!(vouched);
            text = format!(
                "{version}, server certificate of {}, for {}; until {} ({}){}",
                certificate::common_name(server.subject_name()),
                certificate::alternative_names(server).join(", "),
                certificate::date(server.not_after()),
                certificate::remaining(server),
                if vouched { format!("; verified by {}", chain.join(", ")) } else { String::new() },
            );
        }
        let problem = match (&server, flaw, refused) {
            // A certificate that cannot be a server's has the wrong names or the wrong purpose, regardless of its
            // issuer.
            (Some(_), Some(flaw), _) if unfit.is_some() && flaw.is_of_purpose() => unfit,
            (Some(server), Some(flaw), _) => Some(self.judge(server, &flaw)),
            _ if unfit.is_some() => unfit,
            (_, _, Some(refused)) => Some(refused),
            _ if alpn.as_deref() != Some("h2") => {
                Some(("the server speaks TLS but not HTTP/2".into(), "is this the peer's gRPC port?".into()))
            }
            _ => None,
        };
        TlsReport { detail, text, problem }
    }

    /// Checks the certificate for the name that was dialled, by the rules of a running node and of Fabric's peers.
    fn name_problem(&self, server: &X509) -> Option<(String, String)> {
        let why = check_server_name(&server.to_der().ok()?, &self.server_name).err()?;
        let names = certificate::alternative_names(server);
        let hint = match names.iter().find(|name| name.parse::<IpAddr>().is_err() && !name.contains('*')) {
            _ if why.contains("clients only") => "the peer needs a certificate with the usage serverAuth".into(),
            Some(name) => format!("dial it by one of these names, or add --tls-server-name {name}"),
            None => "the peer needs a certificate with the dialled name as subject alternative name".into(),
        };
        Some((self.about(server, &why), hint))
    }

    fn about(&self, server: &X509, why: &str) -> String {
        format!("the server certificate of {} {why}", certificate::common_name(server.subject_name()))
    }

    /// Explains why the server's certificate is not trusted.
    fn judge(&self, server: &X509, flaw: &Flaw) -> (String, String) {
        let why = |text: &str| self.about(server, text);
        let culprit = flaw.certificate.as_ref().filter(|certificate| *certificate != server);
        match (flaw.result.error_string(), culprit) {
            ("certificate has expired" | "certificate is not yet valid", Some(authority)) => {
                let name = certificate::name(authority.subject_name());
                let state = certificate::check_dates(authority).err().unwrap_or_default();
                let held = self.roots.iter().any(|root| root == authority);
                let hint = match held {
                    true => "the authority must be renewed; give its new certificate with --tls-ca",
                    false => "give the authority's new certificate with --tls-ca, or configure the peer to send it",
                };
                (why(&format!("was issued by an authority that is not valid now: {name}: {state}")), hint.into())
            }
            ("certificate has expired", None) => (
                why(&format!("expired on {}", certificate::date(server.not_after()))),
                "the peer needs a new one".into(),
            ),
            ("certificate is not yet valid", None) => {
                let from = certificate::date(server.not_before());
                (why(&format!("is not valid before {from}")), "check the clock of this machine".into())
            }
            (text, _) => {
                let issuer = certificate::name(server.issuer_name());
                let why = why(&format!("cannot be verified with {}: {text}; its issuer is {issuer}", self.root_files));
                (why, "give the certificate of that issuer with --tls-ca".into())
            }
        }
    }
}

/// The first error that OpenSSL found in the chain, and the certificate that it concerns.
struct Flaw {
    result: X509VerifyResult,
    certificate: Option<X509>,
}

impl Flaw {
    fn is_of_purpose(&self) -> bool {
        self.result.error_string().contains("purpose")
    }
}

/// Returns the server's rejection of our certificate; usually there is none.
fn refusal(stream: &mut SslStream<TcpStream>) -> Option<(String, String)> {
    let _ = stream.get_ref().set_read_timeout(Some(AFTERTHOUGHT));
    let error = stream.ssl_read(&mut [0; 1]).err()?;
    let waiting = [io::ErrorKind::WouldBlock, io::ErrorKind::TimedOut];
    match (error.ssl_error(), error.io_error()) {
        (Some(_), _) => Some(blame(&error)),
        (None, Some(e)) if waiting.contains(&e.kind()) => None,
        // Not every server gives a reason.
        _ => Some(certificate_refused("it closed the connection after receiving it")),
    }
}

fn certificate_refused(how: &str) -> (String, String) {
    (
        format!("the peer refused our TLS certificate: {how}"),
        "it verifies its clients: present a certificate issued by its TLS authorities, with --tls-cert (or \
         --tls-client-cert)"
            .into(),
    )
}

/// Explains which side caused a failed handshake.
fn blame(error: &openssl::ssl::Error) -> (String, String) {
    if let Some(e) = error.io_error() {
        return match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ("the TLS handshake timed out".into(), "if the peer does not use TLS, add --no-tls".into())
            }
            _ => (
                format!("the connection was lost during TLS: {e}"),
                "if the peer does not use TLS, add --no-tls".into(),
            ),
        };
    }
    let reasons: Vec<&str> =
        error.ssl_error().map(|stack| stack.errors().iter().filter_map(|e| e.reason()).collect()).unwrap_or_default();
    let text = reasons.join("; ");
    let has = |part: &str| text.contains(part);
    match () {
        () if has("wrong version number") || has("packet length") || has("http request") => {
            ("the peer does not speak TLS".into(), "if that is intended, add --no-tls".into())
        }
        () if has("alert") && (has("certificate") || has("unknown ca") || has("decrypt error")) => {
            certificate_refused(&text)
        }
        () if has("no application protocol") => {
            ("the server does not speak HTTP/2".into(), "is this the peer's gRPC port?".into())
        }
        () if has("protocol version") || has("handshake failure") => {
            (format!("no TLS version or cipher in common: {text}"), "Fabric needs TLS 1.2 or later".into())
        }
        () if text.is_empty() => {
            ("the peer closed the connection during TLS".into(), "if the peer does not use TLS, add --no-tls".into())
        }
        () => (format!("TLS failed: {text}"), String::new()),
    }
}
