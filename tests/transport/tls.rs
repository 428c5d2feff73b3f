//! Certificates: who sees which, who is refused, what can be replaced.

use super::net::*;
use crate::certs::Authority;
use fabric_gossip::transport::StreamEnd;
use fabric_gossip::transport::Transport;
use fabric_gossip::transport::{ClientAuth, Limits, Pem, Tls, TlsConfig};
use fabric_gossip::ErrorKind;

#[test]
fn both_sides_see_the_certificates_of_both() {
    let ca = Authority::new("ca");
    let (a, b, c) = (ca.leaf("a"), ca.leaf("b"), ca.leaf("client of a"));
    let (acceptor, accepted, _) = report();
    let server = start(Some(&tls(&b, &ca)), &Limits::default(), acceptor);
    let pair = (Pem::new("client cert", c.cert.clone()), Pem::new("client key", c.key.clone()));
    let separate = Tls::new(config(&a, &ca).client_pair(pair.0, pair.1)).unwrap();
    for (ours, shown) in [(tls(&a, &ca), &a), (separate, &c)] {
        let stream = open(Some(&ours), server.local_addr());
        let info = stream.info();
        assert_eq!(info.remote_cert.as_deref(), Some(&*b.der));
        assert_eq!(info.local_cert.as_deref(), Some(&*shown.der));
        assert!(info.tls);
        assert_eq!(info.remote_addr, server.local_addr());
        let there = accepted.recv_timeout(SOON).unwrap();
        assert_eq!(there.info().remote_cert.as_deref(), Some(&*shown.der));
        assert_eq!(there.info().local_cert.as_deref(), Some(&*b.der));
        assert!(there.info().remote_addr.starts_with("127.0.0.1:"), "{}", there.info().remote_addr);
    }
    let server = start(None, &Limits::default(), echo());
    let info = open(None, server.local_addr()).info().clone();
    assert!(!info.tls && info.remote_cert.is_none() && info.local_cert.is_none());
}

#[test]
fn requested_client_certificates_are_neither_required_nor_verified() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let (acceptor, accepted, _) = report();
    let server = start(Some(&tls(&ca.leaf("b"), &ca)), &Limits::default(), acceptor);
    let stranger = other.leaf("stranger");
    open(Some(&tls(&stranger, &ca)), server.local_addr());
    assert_eq!(accepted.recv_timeout(SOON).unwrap().info().remote_cert.as_deref(), Some(&*stranger.der));
    let anonymous = Tls::new(TlsConfig::client_only(Pem::new("roots", ca.pem()))).unwrap();
    let stream = open(Some(&anonymous), server.local_addr());
    assert!(stream.info().local_cert.is_none() && stream.info().remote_cert.is_some());
    assert_eq!(accepted.recv_timeout(SOON).unwrap().info().remote_cert, None);
    // Such a configuration cannot serve.
    let error = core(Some(&anonymous)).listen("127.0.0.1:0", echo());
    assert_eq!(error.err().unwrap().kind(), ErrorKind::Config);
}

#[test]
fn verified_clients_need_a_certificate_of_the_right_authority() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let verify = config(&ca.leaf("b"), &ca).client_auth(ClientAuth::Verify(Pem::new("client roots", clients.pem())));
    let server = start(Some(&Tls::new(verify).unwrap()), &Limits::default(), echo());
    let stream = open(Some(&tls(&clients.leaf("c"), &ca)), server.local_addr());
    stream.send(bytes::Bytes::from_static(b"x")).unwrap();
    next(&stream);
    let anonymous = Tls::new(TlsConfig::client_only(Pem::new("roots", ca.pem()))).unwrap();
    for refused in [tls(&ca.leaf("c"), &ca), anonymous] {
        let tried = dial(Some(&refused), server.local_addr()).and_then(|client| client.ping(SOON));
        assert_eq!(tried.err().unwrap().kind(), ErrorKind::Unreachable);
    }
}

#[test]
fn servers_are_verified() {
    let (ca, other) = (Authority::new("ca"), Authority::new("other"));
    let server = start(Some(&tls(&other.leaf("b"), &other)), &Limits::default(), echo());
    let a = ca.leaf("a");
    let error = dial(Some(&tls(&a, &ca)), server.local_addr()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("certificate verify failed"), "{error}");

    let wrong_name = Tls::new(config(&a, &other).server_name("peer9.example.com")).unwrap();
    let error = dial(Some(&wrong_name), server.local_addr()).err().unwrap();
    let says =
        if super::C_CORE { "is not in peer certificate" } else { "certificate is not for peer9.example.com but" };
    assert!(error.message().contains(says), "{error}");
    let right_name = Tls::new(config(&a, &other).server_name("b")).unwrap();
    open(Some(&right_name), server.local_addr());

    // TLS to a server without, and the reverse.
    let plain = start(None, &Limits::default(), echo());
    assert!(dial(Some(&tls(&a, &ca)), plain.local_addr()).err().unwrap().message().contains("wrong version number"));
    assert_eq!(dial(None, server.local_addr()).err().unwrap().kind(), ErrorKind::Unreachable);
}

#[test]
fn a_replaced_certificate_is_used_from_the_next_connection_on() {
    let ca = Authority::new("ca");
    let (a, a2, b, b2) = (ca.leaf("a"), ca.leaf("a2"), ca.leaf("b"), ca.leaf("b2"));
    let (ours, theirs) = (tls(&a, &ca), tls(&b, &ca));
    let (acceptor, accepted, _) = report();
    let server = start(Some(&theirs), &Limits::default(), acceptor);
    let old = open(Some(&ours), server.local_addr());
    accepted.recv_timeout(SOON).unwrap();
    ours.replace(config(&a2, &ca)).unwrap();
    theirs.replace(config(&b2, &ca)).unwrap();
    let new = open(Some(&ours), server.local_addr());
    let there = accepted.recv_timeout(SOON).unwrap();
    assert_eq!(new.info().remote_cert.as_deref(), Some(&*b2.der));
    assert_eq!(new.info().local_cert.as_deref(), Some(&*a2.der));
    assert_eq!(there.info().remote_cert.as_deref(), Some(&*a2.der));
    assert_eq!(there.info().local_cert.as_deref(), Some(&*b2.der));
    // The old stream lives on.
    old.send(bytes::Bytes::from_static(b"x")).unwrap();
    assert_eq!(old.recv(Some(std::time::Duration::from_millis(20))), Ok::<_, StreamEnd>(None));
    // A bad configuration changes nothing.
    theirs.replace(TlsConfig::new(Pem::new("x", "x"), Pem::new("x", "x"), Pem::new("x", "x"))).unwrap_err();
    let verify = ClientAuth::Verify(Pem::new("roots", ca.pem()));
    theirs.replace(config(&b, &ca).client_auth(verify)).unwrap_err();
    assert_eq!(open(Some(&ours), server.local_addr()).info().remote_cert.as_deref(), Some(&*b2.der));
}

#[test]
fn bad_pem_is_named() {
    let ca = Authority::new("ca");
    let (a, b) = (ca.leaf("a"), ca.leaf("b"));
    let pem = |name: &str, text: &[u8]| Pem::new(name, text);
    let roots = || pem("ca.pem", &ca.pem());
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let cases = [
        (
            TlsConfig::new(pem("cert.pem", b"nothing"), pem("key.pem", &a.key), roots()),
            ["TLS certificate", "cert.pem", "no certificate"],
        ),
        (
            TlsConfig::new(pem("cert.pem", broken), pem("key.pem", &a.key), roots()),
            ["TLS certificate", "cert.pem", "not readable"],
        ),
        (
            TlsConfig::new(pem("cert.pem", &a.cert), pem("key.pem", b"nothing"), roots()),
            ["TLS key", "key.pem", "not readable"],
        ),
        (
            TlsConfig::new(pem("cert.pem", &a.cert), pem("key.pem", &b.key), roots()),
            ["cert.pem", "key.pem", "does not belong"],
        ),
        (
            TlsConfig::new(pem("cert.pem", &a.cert), pem("key.pem", &a.key), pem("ca.pem", b"")),
            ["TLS roots", "ca.pem", "no certificate"],
        ),
        (
            config(&a, &ca).client_pair(pem("c.pem", &a.cert), pem("c.key", &b.key)),
            ["TLS client key", "c.key", "does not belong"],
        ),
        (
            config(&a, &ca).client_auth(ClientAuth::Verify(pem("r.pem", b""))),
            ["TLS client roots", "r.pem", "no certificate"],
        ),
    ];
    for (config, says) in cases {
        let error = Tls::new(config).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        says.iter().for_each(|what| assert!(error.to_string().contains(what), "{error}: {what}"));
    }
    let missing = Pem::file("/nonexistent/tls.pem").err().unwrap();
    assert!(missing.to_string().contains("/nonexistent/tls.pem"), "{missing}");
    // Keys do not show.
    let shown = format!("{:?}", config(&a, &ca));
    assert!(!shown.contains("PRIVATE") && !shown.contains(std::str::from_utf8(&a.key[40..60]).unwrap()), "{shown}");
}
