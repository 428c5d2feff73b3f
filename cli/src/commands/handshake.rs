//! `handshake`: everything that must work before two peers exchange messages, step by step.

use crate::failure::{Failure, Result};
use crate::identity::{Described, Me};
use crate::options::{IdentityArgs, TargetArg};
use crate::output::printable;
use crate::rules::{self, Broken, Verdict};
use crate::steps::{Pass, Problem, Step, Steps};
use crate::stop::within;
use crate::tls_options::{Role, TlsArgs, TlsFiles};
use crate::tls_probe::TlsProbe;
use crate::values::{brief, hex, micros, pki_id, short, timeout, Endpoint, Hex};
use crate::Context;
use clap::Args;
use fabric_gossip::crypto::{CryptoService, PeerIdentity, PkiId};
use fabric_gossip::internals::{ConnMessage, MAX_CONN_MESSAGE};
use fabric_gossip::transport::{Connection, Limits, Stream, StreamEnd};
use fabric_gossip::ErrorKind;
use openssl::sha::sha256;
use serde_json::{json, Value};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Perform everything that connecting to a peer requires, step by step: the first failed step gives the reason
#[derive(Args)]
pub struct HandshakeArgs {
    #[command(flatten)]
    target: TargetArg,
    /// The PKI-ID that the peer must have: the hash of its identity, which `identity` and `handshake` show
    #[arg(long, value_name = "PKIID", value_parser = pki_id)]
    expect: Option<Hex>,
    /// Maximum time for each step
    #[arg(long, value_name = "D", default_value = "3s", value_parser = timeout)]
    timeout: Duration,
    #[command(flatten)]
    identity: IdentityArgs,
    #[command(flatten)]
    tls: TlsArgs,
}

pub fn run(context: &Context, args: &HandshakeArgs) -> Result<()> {
    let endpoint = args.target.endpoint(&context.settings)?;
    let me = args.identity.load(&context.settings)?;
    let tls = args.tls.load(Role::Dial, &args.identity, &me.msps, &context.settings)?;
    let mut handshake = Handshake {
        context,
        steps: Steps::new(&context.out),
        me: &me,
        endpoint,
        limit: args.timeout,
        expect: args.expect.as_ref().map(|id| PkiId::from(&id.0[..])),
        found: json!({"pki_id": null, "mspid": null, "subject": null, "expires": null, "tls_hash": null}),
    };
    let result = handshake.walk(tls);
    let error = match &result {
        Ok(()) => None,
        Err(Failure::Stopped) => Some(context.interrupted.reason().to_owned()),
        Err(Failure::Reported) => handshake.steps.error().map(str::to_owned),
        Err(failure) => failure.text().map(printable),
    };
    handshake.conclude(result.is_ok(), error);
    result
}

struct Handshake<'a> {
    context: &'a Context,
    steps: Steps<'a>,
    me: &'a Me,
    endpoint: Endpoint,
    limit: Duration,
    expect: Option<PkiId>,
    /// The peer's description for the last line of JSON.
    found: Value,
}

impl Handshake<'_> {
    fn walk(&mut self, tls: Option<TlsFiles>) -> Result<()> {
        let addresses = self.steps.take("resolve", self.resolve())?;
        let tcp = self.steps.take("connect", self.connect(addresses))?;
        self.steps.take("tls", self.tls(tcp, tls.as_ref()))?;
        let client = self.steps.take("ping", self.ping(tls))?;
        let step = self.identity(&*client);
        let (stream, theirs) = self.steps.take("identity", step)?;
        let step = self.tls_binding(&*stream, &theirs);
        self.steps.take("tls_binding", step)?;
        self.steps.take("signature", self.signature(&theirs))?;
        self.steps.take("accepted", self.accepted(&*stream))
    }

    fn conclude(&self, ok: bool, error: Option<String>) {
        let mut line = json!({"event": "handshake", "ok": ok, "endpoint": self.endpoint.to_string()});
        for (key, value) in self.found.as_object().into_iter().flatten() {
            line[key] = value.clone();
        }
        line["error"] = json!(error);
        let text = match (ok, self.context.stop.is_cancelled()) {
            (true, _) => format!("\n{} is authenticated and accepts us.", self.endpoint),
            (false, true) => format!("✘ {}", self.context.interrupted.reason()),
            (false, false) => format!("\nThe handshake with {} failed.", self.endpoint),
        };
        self.context.out.line(|| line, || text);
    }

    fn resolve(&self) -> Step<Vec<SocketAddr>> {
        let Endpoint { host, port } = self.endpoint.clone();
        let hint =
            "is the name right? Names of containers are known only inside their network; an entry in /etc/hosts \
                    or --tls-server-name with an address helps";
        let resolved = within(&self.context.stop, self.limit, move || {
            (host.as_str(), port).to_socket_addrs().map(|found| found.collect::<Vec<_>>())
        })?;
        let host = &self.endpoint.host;
        let mut addresses = match resolved {
            None => {
                return Problem::new(format!("resolving {host} timed out after {:?}", self.limit)).hint(hint).fail()
            }
            Some(Err(e)) => return Problem::new(format!("{host} cannot be resolved: {e}")).hint(hint).fail(),
            Some(Ok(addresses)) => addresses,
        };
        addresses.dedup();
        if addresses.is_empty() {
            return Problem::new(format!("{host} has no address")).hint(hint).fail();
        }
        let list: Vec<String> = addresses.iter().map(|a| a.ip().to_string()).collect();
        let text = match list.as_slice() {
            [one] if one == host => "is an address".into(),
            _ => format!("{host} is {}", list.join(", ")),
        };
        Step::pass(addresses, json!({"addresses": list}), text)
    }

    fn connect(&self, addresses: Vec<SocketAddr>) -> Step<TcpStream> {
        let mut refused = String::new();
        for address in addresses {
            let (begin, limit) = (Instant::now(), self.limit);
            let connected = within(&self.context.stop, limit, move || TcpStream::connect_timeout(&address, limit))?;
            match connected {
                Some(Ok(tcp)) => {
                    let took = begin.elapsed();
                    let detail = json!({"address": address.to_string(), "us": micros(took)});
                    return Step::pass(tcp, detail, format!("{address}, in {}", short(took)));
                }
                Some(Err(e)) => refused = format!("{address}: {e}"),
                None => refused = format!("{address}: timed out after {limit:?}"),
            }
        }
        let hint = "is the peer running, is this its port, and does a firewall block it?";
        Problem::new(refused).hint(hint).fail()
    }

    fn tls(&self, tcp: TcpStream, files: Option<&TlsFiles>) -> Step<()> {
        let Some(files) = files else {
            return Step::pass((), json!({"tls": false}), "off (--no-tls): the connection is not protected".into());
        };
        let (probe, limit) = (TlsProbe::new(files, &self.endpoint.host), self.limit);
        let report = within(&self.context.stop, limit * 2, move || probe.connect(tcp, limit))?;
        let Some(report) = report else {
            return Problem::new("the TLS handshake timed out")
                .hint("if the peer does not use TLS, add --no-tls")
                .fail();
        };
        match report.problem {
            Some((why, hint)) => Problem::new(why).hint(hint).detail(report.detail).fail(),
            None => Step::pass((), report.detail, report.text),
        }
    }

    fn ping(&self, files: Option<TlsFiles>) -> Step<Box<dyn Connection>> {
        let plain = files.is_none();
        let transport = self.context.transport.create(files.map(|f| f.tls), Limits::default());
        let transport = transport.map_err(Failure::from)?;
        let dialled = transport.dial(&self.endpoint.to_string(), self.limit, &self.context.stop);
        let pinged = dialled.and_then(|client| {
            client.ping(self.limit)?;
            let sent = Instant::now();
            client.ping(self.limit).map(|()| (client, sent.elapsed()))
        });
        match pinged {
            Ok((client, rtt)) => {
                Step::pass(client, json!({"rtt_us": micros(rtt)}), format!("answered in {}", short(rtt)))
            }
            Err(_) if self.context.stop.is_cancelled() => Err(Failure::Stopped.into()),
            Err(e) => {
                // A status sent by the server, not that of a failed connection.
                let answered = e.kind() == ErrorKind::Refused;
                let hint = match (answered, plain) {
                    (true, _) => "gRPC answers here, but not gossip: is this an orderer's port, or another service's?",
                    (_, true) => "if the peer uses TLS, omit --no-tls",
                    (_, false) => "is this a peer's port, and not an orderer's or that of its metrics?",
                };
                Problem::new(e.message()).hint(hint).fail()
            }
        }
    }

    fn identity(&mut self, client: &dyn Connection) -> Step<(Arc<dyn Stream>, ConnMessage)> {
        let stream = client.open(Some(self.limit * 3)).map_err(|e| Problem::new(e.message()))?;
        let _cancel = self.context.stop.on_cancel({
            let stream = stream.clone();
            move || stream.cancel()
        });
        let sign = |bytes: &[u8]| self.me.crypto.sign(bytes);
        let ours = ConnMessage::sign(&self.me.pki_id, &self.me.identity, true, stream.info(), sign);
        let ours = ours.map_err(Failure::from)?;
        // If the stream has ended already, receiving returns the reason.
        let _ = stream.send(ours.wire());
        let wire = match stream.recv_limited(self.limit, MAX_CONN_MESSAGE) {
            Ok(Some(wire)) => wire,
            Ok(None) => {
                let why = format!("the peer sent no connection message within {:?}", self.limit);
                return Problem::new(why).hint("it may be overloaded, or not a gossip peer").fail();
            }
            Err(_) if self.context.stop.is_cancelled() => return Err(Failure::Stopped.into()),
            Err(end) => return self.refused(end).fail(),
        };
        let theirs = self.examine(wire)?;
        let described = Described::new(&theirs.identity);
        let mut detail = described.json();
        detail["pki_id"] = json!(theirs.pki_id.to_string());
        for key in ["pki_id", "mspid", "subject", "expires"] {
            self.found[key] = detail[key].clone();
        }
        let verdict = self.judge(&theirs, &described);
        detail["valid"] = json!(verdict.is_ok());
        match verdict.and_then(|()| self.expected(&theirs)) {
            Err(problem) => problem.detail(detail).fail(),
            Ok(()) => {
                let id = theirs.pki_id.to_string();
                let text = format!(
                    "{} of {}, OU {}; until {}; PKI-ID {id}",
                    described.common_name(),
                    described.mspid.clone().unwrap_or_default(),
                    described.units().join(", "),
                    described.expires().unwrap_or_default(),
                );
                Step::pass((stream, theirs), detail, printable(&text))
            }
        }
    }

    /// Reads their connection message.
    fn examine(&self, wire: bytes::Bytes) -> Result<ConnMessage, Problem> {
        ConnMessage::decode(wire).map_err(|e| {
            let why = match e.message() {
                "wrong type" => "its first message is not a connection message",
                "no PKI-ID" => "its connection message names no PKI-ID",
                other => other,
            };
            Problem::new(why).hint("this is not a Fabric peer, or a proxy alters its messages")
        })
    }

    /// Checks that their identity is valid for us.
    fn judge(&self, theirs: &ConnMessage, described: &Described) -> Result<(), Problem> {
        let crypto = &self.me.crypto;
        let computed = crypto.pki_id(&theirs.identity);
        if computed.as_ref() != Some(&theirs.pki_id) {
            let why = format!("it claims the PKI-ID {}, which its identity does not have", theirs.pki_id);
            return Err(Problem::new(why).hint("do not trust it"));
        }
        match rules::judge(&**crypto, &self.me.msps, &theirs.identity) {
            Verdict::Valid => Ok(()),
            Verdict::Broken(Broken { rule, text, hint }) => {
                Err(Problem::new(format!("its identity is not valid for us: {text} ({rule})")).hint(hint))
            }
            Verdict::UnknownOrganisation => {
                let mspid = described.mspid.clone().unwrap_or_default();
                let why = format!(
                    "its identity is not valid for us: the organisation {mspid} is unknown (unknown_organisation)"
                );
                let hint = format!("if {mspid} is to be trusted, add --trust-msp {mspid}=DIR with its MSP folder");
                Err(Problem::new(why).hint(hint))
            }
        }
    }

    fn expected(&self, theirs: &ConnMessage) -> Result<(), Problem> {
        match &self.expect {
            Some(expected) if *expected != theirs.pki_id => {
                let why = format!("it is {}, not the expected {}", brief(&theirs.pki_id), brief(expected));
                Err(Problem::new(why).hint("another peer answers here, or the peer has a new certificate"))
            }
            _ => Ok(()),
        }
    }

    fn tls_binding(&mut self, stream: &dyn Stream, theirs: &ConnMessage) -> Step<()> {
        let info = stream.info();
        if !info.tls {
            return Step::pass((), json!({"tls": false}), "none without TLS".into());
        }
        let Some(der) = &info.remote_cert else {
            return Problem::new("the server presented no TLS certificate").fail();
        };
        let presented = hex(&sha256(der));
        let named = hex(&theirs.tls_hash);
        self.found["tls_hash"] = json!(presented);
        let detail = json!({"tls_hash": presented, "named": named});
        if presented != named {
            let why = "its connection message names a different TLS certificate than the server presented";
            let hint = "a proxy or load balancer terminates TLS; gossip needs TLS end to end";
            return Problem::new(why).hint(hint).detail(detail).fail();
        }
        Step::pass((), detail, format!("the identity is bound to the TLS certificate {}…", brief(presented)))
    }

    fn signature(&self, theirs: &ConnMessage) -> Step<()> {
        let verified =
            theirs.message.verify(&theirs.identity, |identity: &PeerIdentity, signature: &[u8], signed: &[u8]| {
                self.me.crypto.verify(identity, signature, signed)
            });
        match verified {
            Ok(()) => Step::pass((), json!({}), "it holds the key of its identity".into()),
            Err(e) => {
                let why = format!("its connection message is not signed by its identity: {}", e.message());
                Problem::new(why).hint("do not trust it").fail()
            }
        }
    }

    /// Waits for their verdict on us, which is the end of the stream: an accepted probing handshake ends without an
    /// error.
    fn accepted(&self, stream: &dyn Stream) -> Step<()> {
        let confirmed = loop {
            match stream.recv(Some(self.limit)) {
                Ok(Some(_)) => continue,
                Ok(None) => break false,
                Err(_) if self.context.stop.is_cancelled() => return Err(Failure::Stopped.into()),
                Err(StreamEnd::Remote(status)) if status.code == 0 => break true,
                Err(end) => return self.refused(end).fail(),
            }
        };
        stream.cancel();
        let us = self.me.describe();
        let text = match confirmed {
            true => format!("as {} of {}", us.common_name(), self.me.mspid),
            false => "not refused, although it did not end the handshake as peers do".into(),
        };
        Step::pass((), json!({"confirmed": confirmed, "our_pki_id": self.me.pki_id.to_string()}), printable(&text))
    }

    /// Explains a stream that the peer ended.
    fn refused(&self, end: StreamEnd) -> Problem {
        let Some(text) = end.refusal().map(printable) else { return Problem::new(end.to_string()) };
        let mspid = &self.me.mspid;
        let hint = match () {
            () if text.contains("expired") => "compare our certificate's validity and both clocks".to_owned(),
            () if text.contains("classifying identity") || text.contains("cannot be validated") => format!(
                "the peer does not accept identities of {mspid}: is it in a channel with {mspid}, and is the MSP id right? \
                 See its log"
            ),
            () if text.contains("hash of TLS cert") => "a proxy or load balancer terminates TLS; gossip needs TLS end to end".into(),
            () if text.contains("no TLS certificate") => "present a certificate with --tls-cert and --tls-key".into(),
            () if text.contains("shutting down") => "the peer is being stopped".into(),
            () => "see its log".into(),
        };
        Problem::new(format!("the peer refused us: {text}")).hint(hint)
    }
}
