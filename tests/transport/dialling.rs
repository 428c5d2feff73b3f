//! Dials fail fast and say why, give up at their limit, and can be cancelled.

use super::net::*;
use crate::certs::Authority;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::{StreamEnd, Transport};
use fabric_gossip::ErrorKind;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// A port on which nobody listens.
fn closed_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_refused_port_is_reported_at_once_and_every_time() {
    let endpoint = closed_port();
    dial(None, &endpoint).err().unwrap();
    let mut times: Vec<_> = (0..20)
        .map(|_| {
            let before = Instant::now();
            let error = dial(None, &endpoint).err().unwrap();
            assert_eq!((error.kind(), error.step_name()), (ErrorKind::Unreachable, Some("dial")));
            assert!(error.message().contains("Connection refused"), "{error}");
            assert_eq!(error.peer_name(), Some(&*endpoint));
            before.elapsed()
        })
        .collect();
    // The median: other tests run beside this one.
    times.sort();
    assert!(times[10] < Duration::from_millis(50), "took {times:?}");
}

#[test]
fn a_peer_that_comes_up_is_reached_by_the_next_dial() {
    let endpoint = closed_port();
    dial(None, &endpoint).err().unwrap();
    let server = core(None).listen(&endpoint, echo()).unwrap();
    let before = Instant::now();
    dial(None, server.local_addr()).unwrap().ping(SOON).unwrap();
    assert!(before.elapsed() < Duration::from_millis(500), "no backoff of the first dial");
}

#[test]
fn a_silent_listener_hits_the_limit() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    for (tls, says) in [(None, "timed out before receiving SETTINGS frame"), (Some(&tls), "Handshake read failed")] {
        let transport = core(tls);
        let before = Instant::now();
        let error = transport.dial(&endpoint, Duration::from_millis(600), &Cancel::new()).err().unwrap();
        assert!((500..900).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
        assert_eq!(error.kind(), ErrorKind::Unreachable);
        let says = if super::C_CORE { says } else { "no connection within 600ms" };
        assert!(error.message().contains(says), "{error}");
        // Below what the C core can do, the text is the transport's.
        let error = transport.dial(&endpoint, Duration::from_millis(50), &Cancel::new()).err().unwrap();
        assert!(error.message().contains("no connection within 50ms"), "{error}");
    }
}

#[test]
fn cancel_ends_a_dial() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = listener.local_addr().unwrap().to_string();
    let cancel = Cancel::new();
    let transport = core(None);
    let other = cancel.clone();
    let canceller = std::thread::spawn(move || {
        let _open = listener.accept().unwrap();
        let before = Instant::now();
        other.cancel();
        (before, _open)
    });
    let error = transport.dial(&endpoint, Duration::from_secs(30), &cancel).err().unwrap();
    assert!(canceller.join().unwrap().0.elapsed() < Duration::from_secs(2));
    assert_eq!(error.kind(), ErrorKind::Stopped);
    assert_eq!(transport.dial(&endpoint, Duration::from_secs(30), &cancel).err().unwrap().kind(), ErrorKind::Stopped);
}

#[test]
fn cancel_wakes_a_blocked_recv() {
    let server = start(None, &Limits::default(), echo());
    let stream = open(None, server.local_addr());
    let other = stream.clone();
    let (about_to, blocked) = crossbeam_channel::bounded(0);
    let reader = std::thread::spawn(move || {
        about_to.send(()).unwrap();
        other.recv(None)
    });
    blocked.recv().unwrap();
    let before = Instant::now();
    stream.cancel();
    assert_eq!(reader.join().unwrap(), Err(StreamEnd::Local));
    assert!(before.elapsed() < Duration::from_millis(500));
    assert_eq!(stream.recv(None), Err(StreamEnd::Local), "the same again");
    assert_eq!(stream.send(bytes::Bytes::new()), Err(StreamEnd::Local));
}

#[test]
fn malformed_endpoints_and_options_are_refused() {
    for endpoint in ["localhost", "localhost:0", "localhost:99999", "::1:80", ""] {
        let error = dial(None, endpoint).err().unwrap();
        assert_eq!((error.kind(), error.step_name()), (ErrorKind::Config, Some("dial")), "{endpoint}");
    }
    let mut options = Limits::default();
    options.keepalive_timeout = Duration::ZERO;
    let error = core_with(None, &options).err().unwrap();
    assert!(error.to_string().contains("keepalive_timeout"), "{error}");
    assert!(dial(None, "no.such.host.invalid:7051").err().unwrap().message().contains("DNS resolution failed"));
}

#[test]
fn an_address_of_either_family_and_a_name() {
    let server = start(None, &Limits::default(), echo());
    let port = server.local_addr().rsplit(':').next().unwrap();
    let stream = open(None, &format!("localhost:{port}"));
    assert_eq!(stream.info().remote_addr, format!("127.0.0.1:{port}"));
    match std::net::TcpListener::bind("[::1]:0") {
        Err(e) => fabric_gossip::testing::skip("addresses of version 6", &e.to_string()),
        Ok(probe) => {
            drop(probe);
            let ca = Authority::new("ca");
            let tls = tls(&ca.leaf("a"), &ca);
            let server = core(Some(&tls)).listen("[::1]:0", echo());
            let server = server.unwrap();
            let stream = open(Some(&tls), server.local_addr());
            assert_eq!(stream.info().remote_addr, server.local_addr());
        }
    }
}

#[test]
fn a_limit_ends_the_stream() {
    let (acceptor, _streams, ended) = report();
    let server = start(None, &Limits::default(), acceptor);
    let client = dial(None, server.local_addr()).unwrap();
    let before = Instant::now();
    let stream = client.open(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Local);
    assert!((250..2000).contains(&before.elapsed().as_millis()));
    assert!(matches!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Lost(_))));
}

#[test]
fn each_dial_has_a_connection_and_drops_it() {
    let server = start(None, &Limits::default(), echo());
    let proxy = Proxy::to(server.local_addr());
    let streams: Vec<_> = (0..3).map(|_| open(None, &proxy.endpoint)).collect();
    assert_eq!(proxy.connections.load(std::sync::atomic::Ordering::SeqCst), 3);
    drop(streams);
    eventually("streams end at the server", || server.serving() == 0);
}
