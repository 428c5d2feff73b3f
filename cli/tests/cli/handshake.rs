//! `handshake` and `identity` distinguish causes: each one is staged, and must be named with a remedy.

use crate::issuer::{self, ec_key, Issuer, MSPID};
use crate::support::*;
use fabric_gossip::internals::message as wire;
use fabric_gossip::message::{Content, SignedMessage};
use fabric_gossip::msp::{Msp, SigningIdentity};
use fabric_gossip::proto::gossip::ConnEstablish;
use fabric_gossip::testing::cryptogen::{Member, Org};
use fabric_gossip::transport::http2::{Http2Transport, Options};
use fabric_gossip::transport::{Acceptor, Status, Stream};
use fabric_gossip::transport::{ClientAuth, Limits, Pem, Server, Tls, TlsConfig, Transport};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use openssl::x509::X509;
use std::net::TcpListener;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The first organisation is theirs, the second one ours.
struct World {
    theirs: Org,
    ours: Org,
    dir: TempDir,
}

fn transport(tls: Tls) -> Http2Transport {
    Http2Transport::new(Some(tls), Limits::default(), Options::default()).unwrap()
}

impl World {
    fn get() -> &'static World {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(|| {
            let dir = TempDir::new();
            let org = |n: u32| Org::new(format!("Org{n}MSP"), format!("org{n}.example.com")).unwrap();
            let (theirs, ours) = (org(1), org(2));
            theirs.write_to(dir.path(), &[]).unwrap();
            ours.write_to(dir.path(), &[ours.peer("peer0").unwrap()]).unwrap();
            World { theirs, ours, dir }
        })
    }

    fn home(&self, org: u32) -> String {
        self.dir.join(format!("peerOrganizations/org{org}.example.com")).to_str().unwrap().to_owned()
    }

    fn flags(&self) -> Vec<String> {
        let [theirs, ours] = [self.home(1), self.home(2)];
        let tls_ca = |home: &str, n: u32| format!("{home}/tlsca/tlsca.org{n}.example.com-cert.pem");
        let peer = format!("{ours}/peers/peer0.org2.example.com/msp");
        let trust = format!("Org1MSP={theirs}/msp");
        ["--msp", &peer, "--mspid", "Org2MSP", "--trust-msp", &trust]
            .into_iter()
            .map(String::from)
            .chain(["--tls-ca".into(), tls_ca(&theirs, 1), "--tls-ca".into(), tls_ca(&ours, 2)])
            .collect()
    }

    fn tls(&self, member: &Member) -> Tls {
        let pem = |name: &str, text: &str| Pem::new(name, text.as_bytes().to_vec());
        let roots = [&self.theirs, &self.ours].map(|org| org.tls_ca_cert().unwrap()).concat();
        Tls::new(TlsConfig::new(pem("cert", &member.tls_cert), pem("key", &member.tls_key), pem("roots", &roots)))
            .unwrap()
    }

    fn serve(
        &self,
        member: &Member,
        act: impl Fn(&Peer, &dyn Stream) -> Status + Send + Sync + 'static,
    ) -> Box<dyn Server> {
        let acceptor = Arc::new(Act { peer: Peer(member.clone()), act });
        transport(self.tls(member)).listen("127.0.0.1:0", acceptor).unwrap()
    }
}

struct Act<F> {
    peer: Peer,
    act: F,
}

impl<F: Fn(&Peer, &dyn Stream) -> Status + Send + Sync> Acceptor for Act<F> {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        (self.act)(&self.peer, &*stream)
    }
}

struct Peer(Member);

impl Peer {
    /// Sends its connection message, changed, signed by its key over the bytes that `signed` makes of it.
    fn hello(&self, stream: &dyn Stream, change: impl FnOnce(&mut ConnEstablish), signed: fn(&[u8]) -> Vec<u8>) {
        let member = &self.0;
        let key = PKey::private_key_from_pem(member.key.as_bytes()).unwrap();
        let hash = sha256(stream.info().local_cert.as_deref().unwrap()).to_vec();
        let pki_id = sha256(format!("{}{}", member.mspid, member.cert).as_bytes());
        let mut hello = wire::conn(&pki_id[..].into(), &member.identity(), hash.into(), false);
        if let Some(Content::Conn(conn)) = &mut hello.content {
            change(conn);
        }
        let message = SignedMessage::sign(hello, |bytes| Ok(low_s(&key, &signed(bytes)))).unwrap();
        let _ = stream.send(message.wire());
        let _ = stream.recv(Some(PATIENCE));
    }
}

/// Signs with low S, with any key.
fn low_s(key: &PKey<openssl::pkey::Private>, message: &[u8]) -> Vec<u8> {
    use openssl::bn::{BigNum, BigNumContext};
    let key = key.ec_key().unwrap();
    let signature = openssl::ecdsa::EcdsaSig::sign(&sha256(message), &key).unwrap();
    let (mut order, mut other) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    key.group().order(&mut order, &mut BigNumContext::new().unwrap()).unwrap();
    other.checked_sub(&order, signature.s()).unwrap();
    let s = if *signature.s() > other { other } else { signature.s().to_owned().unwrap() };
    openssl::ecdsa::EcdsaSig::from_private_components(signature.r().to_owned().unwrap(), s).unwrap().to_der().unwrap()
}

fn plainly(bytes: &[u8]) -> Vec<u8> {
    bytes.to_vec()
}

/// Checks that the handshake fails at this step, and that cause and hint contain these texts.
fn assert_told(endpoint: &str, more: &[&str], step: &str, why: &str, hint: &str) {
    let flags = World::get().flags();
    let mut args = vec!["handshake", endpoint, "--json"];
    args.extend(more);
    args.extend(flags.iter().map(String::as_str));
    let ended = run(&args);
    ended.assert_code(1);
    let lines = ended.json();
    let failed = &lines[lines.len() - 2];
    let text = |key: &str| failed[key].as_str().unwrap_or_default();
    assert_eq!((&failed["name"], &failed["ok"]), (&step.into(), &false.into()), "{failed}");
    assert!(text("error").contains(why), "{why:?} is not in {failed}");
    assert!(text("hint").contains(hint) && !text("hint").is_empty(), "{hint:?} is not in {failed}");
    assert_eq!((&lines[lines.len() - 1]["event"], &lines[lines.len() - 1]["ok"]), (&"handshake".into(), &false.into()));
}

/// Serves TLS and nothing else, once.
fn serve_tls(acceptor: SslAcceptor) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        if let Ok(mut tls) = acceptor.accept(tcp) {
            let _ = tls.ssl_read(&mut [0; 1]);
        }
    });
    endpoint
}

fn tls_acceptor(cert: &X509, key: &PKey<openssl::pkey::Private>) -> openssl::ssl::SslAcceptorBuilder {
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_certificate(cert).unwrap();
    builder.set_private_key(key).unwrap();
    builder.set_alpn_select_callback(|_, offered| {
        openssl::ssl::select_next_proto(b"\x02h2", offered).ok_or(openssl::ssl::AlpnError::NOACK)
    });
    builder
}

#[test]
fn an_old_tls_version_is_told() {
    let member = World::get().theirs.peer("peer0").unwrap();
    let cert = X509::from_pem(member.tls_cert.as_bytes()).unwrap();
    let mut builder = tls_acceptor(&cert, &PKey::private_key_from_pem(member.tls_key.as_bytes()).unwrap());
    builder.set_min_proto_version(Some(SslVersion::TLS1)).unwrap();
    builder.set_max_proto_version(Some(SslVersion::TLS1_1)).unwrap();
    assert_told(&serve_tls(builder.build()), &[], "tls", "no TLS version or cipher in common", "TLS 1.2 or later");
}

#[test]
fn an_expired_server_certificate_is_told() {
    let world = World::get();
    let member = world.theirs.peer("peer0").unwrap();
    let issuer = std::fs::read(format!("{}/tlsca/priv_sk", world.home(1))).unwrap();
    let cert = expired(&member.tls_cert, &member.tls_key, &issuer);
    let key = PKey::private_key_from_pem(member.tls_key.as_bytes()).unwrap();
    let endpoint = serve_tls(tls_acceptor(&cert, &key).build());
    assert_told(&endpoint, &[], "tls", "expired on 2023-11-14", "needs a new one");
}

#[test]
fn a_server_that_demands_another_client_certificate_is_told() {
    let world = World::get();
    let member = world.theirs.peer("peer0").unwrap();
    let pem = |name: &str, text: &str| Pem::new(name, text.as_bytes().to_vec());
    let roots = pem("roots", &world.theirs.tls_ca_cert().unwrap());
    let config = TlsConfig::new(pem("cert", &member.tls_cert), pem("key", &member.tls_key), roots.clone());
    let tls = Tls::new(config.client_auth(ClientAuth::Verify(roots))).unwrap();
    let server = transport(tls).listen_without_service("127.0.0.1:0").unwrap();
    assert_told(server.local_addr(), &[], "tls", "the peer refused our TLS certificate", "--tls-cert");

    // With none at all it does not even begin.
    let dir = TempDir::new();
    world.ours.peer("alone").unwrap().write_msp(dir.join("msp")).unwrap();
    let msp = dir.join("msp").to_str().unwrap().to_owned();
    let ended = run(&["handshake", server.local_addr(), "--msp", &msp, "--mspid", "Org2MSP", "--json"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("no TLS certificate"), "{}", ended.stderr);
}

#[test]
fn a_stopped_peer_is_told() {
    let world = World::get();
    let server = world.serve(&world.theirs.peer("peer0").unwrap(), |_, _| Status::ok());
    let endpoint = server.local_addr().to_owned();
    server.stop(PATIENCE);
    drop(server);
    assert_told(&endpoint, &[], "connect", "refused", "is the peer running");
}

#[test]
fn grpc_without_gossip_is_told() {
    let world = World::get();
    let tls = world.tls(&world.theirs.peer("peer0").unwrap());
    let server = transport(tls).listen_without_service("127.0.0.1:0").unwrap();
    assert_told(server.local_addr(), &[], "ping", "/gossip.Gossip/Ping", "gRPC answers here, but not gossip");
}

#[test]
fn a_silent_peer_is_told() {
    let world = World::get();
    let server = world.serve(&world.theirs.peer("peer0").unwrap(), |_, stream| {
        while stream.recv(None).is_ok() {}
        Status::ok()
    });
    assert_told(server.local_addr(), &["--timeout", "1s"], "identity", "sent no connection message", "overloaded");
}

#[test]
fn what_a_peer_says_when_it_refuses_us_is_told() {
    let world = World::get();
    for (text, hint) in [
        ("shutting down", "being stopped"),
        ("no TLS certificate", "--tls-cert"),
        ("failed classifying identity: Unable to extract msp.Identity", "does not accept identities of Org2MSP"),
        ("gossipping peer identity expired", "clock"),
        ("Expected [1] in remote hash of TLS cert, but got [2]", "end to end"),
    ] {
        let member = world.theirs.peer("peer0").unwrap();
        let early = matches!(text, "shutting down" | "no TLS certificate");
        let server = world.serve(&member, move |peer, stream| {
            if !early {
                peer.hello(stream, |_| {}, plainly);
            }
            Status::unknown(text)
        });
        let step = if early { "identity" } else { "accepted" };
        assert_told(server.local_addr(), &[], step, &format!("the peer refused us: {text}"), hint);
    }
}

#[test]
fn a_broken_connection_message_is_told() {
    let world = World::get();
    let member = world.theirs.peer("peer0").unwrap();
    let server = world.serve(&member, |peer, stream| {
        peer.hello(stream, |conn| conn.pki_id = vec![7; 32].into(), plainly);
        Status::ok()
    });
    assert_told(server.local_addr(), &[], "identity", "claims the PKI-ID 0707", "do not trust");
    let server = world.serve(&member, |peer, stream| {
        peer.hello(stream, |conn| conn.tls_cert_hash = vec![7; 32].into(), plainly);
        Status::ok()
    });
    assert_told(server.local_addr(), &[], "tls_binding", "different TLS certificate", "proxy");
    let server = world.serve(&member, |peer, stream| {
        peer.hello(stream, |_| {}, |bytes| [bytes, b"more"].concat());
        Status::ok()
    });
    assert_told(server.local_addr(), &[], "signature", "not signed by its identity", "do not trust");
}

#[test]
fn a_broken_identity_is_told_with_the_rule_that_it_breaks() {
    let world = World::get();
    let request = || world.theirs.member("peer0");
    let mut junk = request().issue().unwrap();
    junk.cert += "junk";
    let mut stranger = Org::new("Org3MSP", "org3.example.com").unwrap().peer("peer0").unwrap();
    let sound = request().issue().unwrap();
    (stranger.tls_cert, stranger.tls_key) = (sound.tls_cert, sound.tls_key);
    for (member, why, hint) in [
        (request().ous([]).issue().unwrap(), "(node_ou)", "NodeOUs"),
        (request().issued_by(&world.ours).issue().unwrap(), "(unknown_authority)", "cacerts"),
        (request().expired().issue().unwrap(), "expired on", "enroll it again"),
        (junk, "(pem)", "remove what follows"),
        (stranger, "(unknown_organisation)", "--trust-msp Org3MSP=DIR"),
    ] {
        let server = world.serve(&member, |peer, stream| {
            peer.hello(stream, |_| {}, plainly);
            Status::ok()
        });
        assert_told(server.local_addr(), &[], "identity", why, hint);
    }
}

#[test]
fn an_identity_is_judged_offline() {
    let world = World::get();
    let msp = format!("{}/peers/peer0.org2.example.com/msp", world.home(2));
    let ended = run(&["identity", "--json", "--msp", &msp, "--mspid", "Org2MSP"]);
    let line = &ended.assert_code(0).json()[0];
    let own = Msp::load(&msp, "Org2MSP").and_then(|m| SigningIdentity::load(&m, &msp, SystemTime::now())).unwrap();
    assert_eq!(line["pki_id"], own.pki_id().to_string());
    assert_eq!((&line["event"], &line["mspid"], &line["valid"]), (&"identity".into(), &"Org2MSP".into(), &true.into()));
    assert_eq!((&line["ous"], &line["error"]), (&serde_json::json!(["peer"]), &serde_json::Value::Null));
    assert!(line["subject"].as_str().unwrap().starts_with("CN=peer0.org2.example.com"));
    assert!(line["expires"].as_str().unwrap().ends_with('Z'));

    let dir = TempDir::new();
    let theirs = format!("{}/msp", world.home(1));
    let judged = |member: &Member, code: i32| {
        let file = dir.write("cert.pem", &member.cert);
        let ended = run(&["identity", &file, "--json", "--msp", &theirs, "--mspid", "Org1MSP"]);
        ended.assert_code(code).json().remove(0)
    };
    assert_eq!(judged(&world.theirs.peer("p").unwrap(), 0)["valid"], true);
    let request = || world.theirs.member("p");
    for (member, rule) in [
        (request().expired().issue().unwrap(), "expired"),
        (request().ous(["peer", "admin"]).issue().unwrap(), "node_ou"),
        (request().issued_by(&world.ours).issue().unwrap(), "unknown_authority"),
    ] {
        let line = judged(&member, 1);
        assert_eq!((&line["valid"], &line["rule"]), (&false.into(), &rule.into()), "{line}");
        assert!(!line["error"].as_str().unwrap().is_empty() && !line["hint"].as_str().unwrap().is_empty());
    }
    // There is no MSP to validate it with.
    let file = dir.write("cert.pem", world.theirs.peer("p").unwrap().cert);
    let line = run(&["identity", &file, "--json"]).assert_code(0).json().remove(0);
    assert_eq!((&line["valid"], &line["pki_id"]), (&serde_json::Value::Null, &serde_json::Value::Null));
    run(&["identity"]).assert_code(2);
    run(&["identity", "/nowhere/cert.pem"]).assert_code(2);
    run(&["identity", &dir.write("junk.pem", "junk")]).assert_code(2);
    run(&["identity", "--msp", "/nowhere/msp", "--mspid", "Org1MSP"]).assert_code(2);
}

#[test]
fn rules_that_only_odd_certificates_break_are_named() {
    let issuer = Issuer::new();
    let dir = TempDir::new();
    for folder in ["msp/cacerts", "msp/crls"] {
        std::fs::create_dir_all(dir.join(folder)).unwrap();
    }
    let role = |role: &str, ou: &str| format!("  {role}OUIdentifier:\n    OrganizationalUnitIdentifier: {ou}\n");
    let roles = [role("Client", "client"), role("Peer", "peer"), role("Admin", "admin")].concat();
    dir.write("msp/config.yaml", format!("NodeOUs:\n  Enable: true\n{roles}"));
    dir.write("msp/cacerts/ca.pem", String::from_utf8(issuer.cert.to_pem().unwrap()).unwrap());
    let list = issuer.revoke(9, |content| issuer.sign(content));
    dir.write("msp/crls/crl.pem", issuer::pem("X509 CRL", &list));
    let msp = dir.join("msp").to_str().unwrap().to_owned();
    let judged = |text: String| {
        let file = dir.write("cert.pem", text);
        let ended = run(&["identity", &file, "--json", "--msp", &msp, "--mspid", MSPID]);
        let line = ended.json().remove(0);
        assert_eq!(line["valid"] == false, ended.code == Some(1), "{line}");
        line["rule"].as_str().unwrap_or_default().to_owned()
    };
    let pem = |cert: &X509| issuer::pem("CERTIFICATE", &cert.to_der().unwrap());
    let key = ec_key(Nid::X9_62_PRIME256V1);
    assert_eq!(judged(pem(&issuer.issue(8, &key))), "");
    assert_eq!(judged(pem(&issuer.issue(9, &key))), "revoked");
    assert_eq!(judged(pem(&issuer.cert)), "authority_as_member");
    let rsa = PKey::from_rsa(openssl::rsa::Rsa::generate(2048).unwrap()).unwrap();
    assert_eq!(judged(pem(&issuer.issue(8, &rsa))), "key_algorithm");
    assert_eq!(judged(pem(&Issuer::new().issue(8, &key))), "unknown_authority");

    // The folder has no own member: its trust settings are shown.
    let line = run(&["identity", "--json", "--msp", &msp, "--mspid", MSPID]).assert_code(0).json().remove(0);
    assert_eq!((&line["mspid"], &line["pki_id"]), (&MSPID.into(), &serde_json::Value::Null));
    assert_eq!(line["roots"][0]["subject"], "CN=ca1,OU=ca");
    assert_eq!(
        (&line["revocation_lists"], &line["roles"]),
        (&1.into(), &serde_json::json!(["client", "peer", "admin"]))
    );
    let text = run(&["identity", "--msp", &msp, "--mspid", MSPID]);
    assert!(text.assert_code(0).stdout.contains("CN=ca1,OU=ca until "), "{}", text.stdout);
}
