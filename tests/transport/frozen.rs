//! A peer that neither reads nor writes nor closes.

use super::net::*;
use crate::certs::Authority;
use bytes::Bytes;
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::StreamEnd;
use std::time::{Duration, Instant};

fn quick() -> Limits {
    let mut options = Limits::default();
    options.keepalive_time = Duration::from_secs(1);
    options.keepalive_timeout = Duration::from_secs(1);
    options.min_ping_interval = Duration::from_millis(100);
    options
}

/// Sends until a write stays under way.
fn fill(stream: &Dyn) {
    loop {
        stream.start_send(Bytes::from(vec![1; 64 << 10])).unwrap();
        if !stream.wait_sent(Some(Duration::from_millis(200))).unwrap() {
            return;
        }
    }
}

#[test]
fn cancel_frees_a_blocked_writer() {
    let ca = Authority::new("ca");
    let tls = tls(&ca.leaf("a"), &ca);
    let server = start(Some(&tls), &Limits::default(), echo());
    let proxy = Proxy::to(server.local_addr());
    // With the default of 60 s no keepalive comes to help.
    let stream = open(Some(&tls), &proxy.endpoint);
    proxy.freeze();
    fill(&stream);
    let blocked = {
        let stream = stream.clone();
        std::thread::spawn(move || stream.wait_sent(None))
    };
    let before = Instant::now();
    stream.cancel();
    assert_eq!(blocked.join().unwrap(), Err(StreamEnd::Local));
    assert_eq!(stream.recv(None), Err(StreamEnd::Local));
    drop(stream);
    assert!(before.elapsed() < Duration::from_secs(1), "{:?}", before.elapsed());
    // What remains of it over the C core is collected at TCP's user timeout.
    eventually("the reaper is done", || threads_named("gossip-reaper") == 0);
}

#[test]
fn keepalive_finds_a_frozen_server() {
    let server = start(None, &quick(), echo());
    let proxy = Proxy::to(server.local_addr());
    let stream = open_with(None, &quick(), &proxy.endpoint);
    stream.send(Bytes::from_static(b"x")).unwrap();
    next(&stream);
    proxy.freeze();
    let before = Instant::now();
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
}

#[test]
fn keepalive_finds_a_frozen_client_and_pings_do_not_offend() {
    let (acceptor, _streams, ended) = report();
    let server = start(None, &quick(), acceptor);
    let proxy = Proxy::to(server.local_addr());
    let stream = open_with(None, &quick(), &proxy.endpoint);
    // Several pings each way go by on an idle stream.
    assert_eq!(stream.recv(Some(Duration::from_millis(3500))), Ok(None));
    assert!(ended.is_empty());
    proxy.freeze();
    assert!(matches!(ended.recv_timeout(Duration::from_secs(5)).unwrap(), (0, StreamEnd::Lost(_))));
}

#[test]
fn a_writer_blocked_on_a_frozen_peer_ends_at_the_timeout() {
    let server = start(None, &Limits::default(), echo());
    let proxy = Proxy::to(server.local_addr());
    let stream = open_with(None, &quick(), &proxy.endpoint);
    proxy.freeze();
    fill(&stream);
    let before = Instant::now();
    // It ends, and the C core does not say that it failed: done is not delivered.
    let _ = stream.wait_sent(None);
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert!(matches!(stream.send(Bytes::new()), Err(StreamEnd::Lost(_))));
    assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
}

#[test]
fn a_server_with_writers_to_frozen_clients_stops_within_the_timeout() {
    let (filled, full) = crossbeam_channel::bounded(1);
    let server = start(
        None,
        &quick(),
        serve(move |stream| {
            fill(&stream);
            filled.send(()).unwrap();
            let _ = stream.wait_sent(None);
            fabric_gossip::transport::Status::ok()
        }),
    );
    let proxy = Proxy::to(server.local_addr());
    let stream = open(None, &proxy.endpoint);
    next(&stream);
    proxy.freeze();
    full.recv_timeout(SOON).unwrap();
    let before = Instant::now();
    assert!(server.stop(Duration::ZERO));
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
}
