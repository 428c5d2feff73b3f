//! `peer` reads its files again on SIGHUP.

use crate::gossipers::Identity;
use crate::issuer::{der, pem, Issuer, ECDSA_WITH_SHA256};
use crate::support::*;
use fabric_gossip::comm::{Comm, RemotePeer};
use fabric_gossip::internals::message::hello;
use fabric_gossip::message::{Content, PullMsgType, SignedMessage};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::{Pem, Tls, TlsConfig};
use openssl::pkey::PKey;
use openssl::ssl::{Ssl, SslContext, SslMethod};
use openssl::x509::X509;
use serde_json::{json, Value};
use std::net::TcpStream;
use std::path::Path;

/// Starts a `peer`. Returns it, and the event `listening`.
fn peer(flags: &[String], more: &[&str]) -> (Running, Value) {
    let command = ["peer", "--alive-interval", "100ms", "--alive-expiration", "20s"];
    let args: Vec<&str> = command.iter().chain(more).copied().chain(flags.iter().map(String::as_str)).collect();
    let mut running = start(&args);
    let listening = running.await_event("listening");
    (running, listening)
}

fn text<'a>(event: &'a Value, key: &str) -> &'a str {
    event[key].as_str().unwrap()
}

/// Sends SIGHUP and returns the event that states the result.
fn reload(peer: &mut Running) -> Value {
    peer.signal("-HUP");
    peer.await_event("reload")
}

fn has_only(event: &Value, key: &str, ids: &[&str]) -> bool {
    let rows = event[key].as_array().unwrap();
    rows.len() == ids.len() && ids.iter().all(|id| rows.iter().any(|row| row["pki_id"] == *id))
}

/// The certificate that a server presents to a new connection.
fn presented(address: &str) -> X509 {
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    context.set_alpn_protos(b"\x02h2").unwrap();
    let stream = Ssl::new(&context.build()).unwrap().connect(TcpStream::connect(address).unwrap()).unwrap();
    stream.ssl().peer_certificate().unwrap()
}

/// A list that revokes this certificate, as PEM.
fn revocation(authority: &Issuer, cert: &X509) -> String {
    // A byte of zero in front keeps the number positive.
    let serial = [vec![0], cert.serial_number().to_bn().unwrap().to_vec()].concat();
    let serial = if serial[1] < 0x80 { &serial[1..] } else { &serial[..] };
    let algorithm = der(0x30, &[&ECDSA_WITH_SHA256]);
    pem("X509 CRL", &authority.list(&algorithm, &der(2, &[serial]), |content| authority.sign(content)))
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn a_revoked_peer_is_disconnected_and_the_others_stay() {
    let (crypto, dir) = (Crypto::get(), TempDir::new());
    copy_folder(crypto.peer(1, 0).as_ref(), dir.path());
    let mut flags = crypto.identity(1, 0);
    flags[1] = dir.join("msp").to_str().unwrap().to_owned();
    let (mut first, listening) = peer(&flags, &[]);
    let endpoint = text(&listening, "endpoint");
    let [(_second, revoked), (_third, other)] =
        [1, 2].map(|number| peer(&crypto.identity(1, number), &["--bootstrap", endpoint]));
    let (revoked, other) = (text(&revoked, "pki_id"), text(&other, "pki_id"));
    first.await_that("membership", |line| has_only(line, "alive", &[revoked, other]));

    let authority = Issuer {
        key: PKey::private_key_from_pem(&read(format!("{}/ca/priv_sk", crypto.org(1)))).unwrap(),
        cert: X509::from_pem(&read(format!("{}/ca/ca.org1.example.com-cert.pem", crypto.org(1)))).unwrap(),
    };
    let signcert = format!("{}/msp/signcerts/peer1.org1.example.com-cert.pem", crypto.peer(1, 1));
    std::fs::create_dir_all(dir.join("msp/crls")).unwrap();
    let list = dir.write("msp/crls/list.pem", revocation(&authority, &X509::from_pem(&read(signcert)).unwrap()));
    let done = reload(&mut first);
    assert_eq!((&done["ok"], &done["error"]), (&true.into(), &Value::Null), "{done}");
    assert_eq!((&done["changed"], &done["restart"]), (&json!(["revocations"]), &json!([])), "{done}");
    assert_eq!(done["removed"], json!([revoked]));
    // The two come in either order.
    first.await_that("membership", |line| has_only(line, "alive", &[other]));
    first.find_or_await("disconnected", |line| line["pki_id"] == revoked);
    let handshake = |org, number| {
        let flags = crypto.identity(org, number);
        run(&crypto.args(&["handshake", endpoint], &flags))
    };
    handshake(1, 1).assert_code(1);
    handshake(2, 0).assert_code(0);
    assert!(!first.has_seen("disconnected", |line| line["pki_id"] == other));

    // A list that cannot be read must not make the revoked identity valid again.
    std::fs::write(&list, "not a list").unwrap();
    let failed = reload(&mut first);
    assert_eq!((&failed["ok"], &failed["changed"]), (&false.into(), &json!([])), "{failed}");
    assert!(text(&failed, "error").contains(&list), "{failed}");
    handshake(1, 1).assert_code(1);
    handshake(2, 0).assert_code(0);

    // Without the list it is valid again.
    std::fs::remove_file(&list).unwrap();
    assert_eq!(reload(&mut first)["changed"], json!(["revocations"]));
    handshake(1, 1).assert_code(0);
}

#[test]
fn a_new_tls_pair_is_used_for_new_connections_and_the_old_ones_continue() {
    let (org, dir) = (Org::new("Org1MSP", "org1.example.com").unwrap(), TempDir::new());
    let identity = |name: &str| Identity::new(&org, org.peer(name).unwrap(), &[]);
    let (server, client) = (identity("peer0"), identity("peer1"));
    let flags = server.flags(&org, &dir, &[]);
    let tls = dir.join("peerOrganizations/org1.example.com/peers/peer0.org1.example.com/tls");
    let (mut running, listening) = peer(&flags, &[]);
    let address = text(&listening, "address").to_owned();
    let old = X509::from_pem(server.member.tls_cert.as_bytes()).unwrap();
    assert_eq!(presented(&address), old);

    let (cert, key) = (client.member.tls_cert.as_str(), client.member.tls_key.as_str());
    let config =
        TlsConfig::new(Pem::new("cert", cert), Pem::new("key", key), Pem::new("ca", org.tls_ca_cert().unwrap()));
    let comm = Comm::builder(client.member.identity(), client.crypto.clone(), client.crypto.clone())
        .tls(Tls::new(config).unwrap())
        .start()
        .unwrap();
    let answers = comm.subscribe(|_| true);
    let ask = |nonce| {
        let question = SignedMessage::noop_sign(hello(nonce, PullMsgType::IDENTITY_MSG)).unwrap();
        comm.send(&question, &[RemotePeer::with_id(&address, server.pki_id.clone())]).unwrap();
        let answers = std::iter::from_fn(|| answers.recv_timeout(PATIENCE).ok());
        let answer =
            |content: Option<&Content>| matches!(content, Some(Content::DataDig(digest)) if digest.nonce == nonce);
        assert!(answers.into_iter().any(|message| answer(message.message().content())), "no answer to {nonce}");
    };
    ask(1);

    // The key is still the old one: nothing changes.
    let renewed = org.peer("peer0").unwrap();
    std::fs::write(tls.join("server.crt"), &renewed.tls_cert).unwrap();
    let failed = reload(&mut running);
    assert_eq!(failed["ok"], false);
    assert!(text(&failed, "error").contains(tls.join("server.key").to_str().unwrap()), "{failed}");
    assert_eq!(presented(&address), old);
    ask(2);

    std::fs::write(tls.join("server.key"), &renewed.tls_key).unwrap();
    let done = reload(&mut running);
    assert_eq!((&done["ok"], &done["changed"]), (&true.into(), &json!(["tls"])), "{done}");
    assert_eq!(presented(&address), X509::from_pem(renewed.tls_cert.as_bytes()).unwrap());
    ask(3);
    assert_eq!(comm.metrics().gossip_comm_dials, 1, "all on the first connection");
    comm.stop();

    // A file that is missing is named, too.
    std::fs::remove_file(tls.join("server.key")).unwrap();
    assert_eq!(reload(&mut running)["ok"], false);
    running.signal("-TERM");
    running.await_event("stopped");
    assert_eq!(running.end().0.code(), Some(0));
}

#[test]
fn a_new_identity_needs_a_restart_and_an_invalid_one_changes_nothing() {
    let (org, dir) = (Org::new("Org1MSP", "org1.example.com").unwrap(), TempDir::new());
    let server = Identity::new(&org, org.peer("peer0").unwrap(), &[]);
    let flags = server.flags(&org, &dir, &[]);
    let msp = Path::new(&flags[1]).to_owned();
    let (mut running, listening) = peer(&flags, &[]);

    org.peer("peer0").unwrap().write_msp(&msp).unwrap();
    let done = reload(&mut running);
    assert_eq!((&done["ok"], &done["restart"]), (&true.into(), &json!(["identity"])), "{done}");
    assert_eq!((&done["changed"], &done["removed"]), (&json!([]), &json!([])), "{done}");

    let (other, other_dir) = (Identity::new(&org, org.peer("peer1").unwrap(), &[]), TempDir::new());
    let flags = other.flags(&org, &other_dir, &[]);
    let same = |running: &str| {
        let mut args = vec!["handshake", text(&listening, "endpoint"), "--expect", running];
        args.extend(flags.iter().map(String::as_str));
        run(&args).assert_code(0);
    };
    same(text(&listening, "pki_id"));

    // Another organisation's certificate under the same name: neither the new nor the running identity fits.
    let stranger = Org::new("Org1MSP", "org1.example.com").unwrap();
    stranger.peer("peer0").unwrap().write_msp(&msp).unwrap();
    let failed = reload(&mut running);
    assert_eq!(failed["ok"], false);
    assert!(text(&failed, "error").contains("our running identity is not valid"), "{failed}");
    same(text(&listening, "pki_id"));
}
