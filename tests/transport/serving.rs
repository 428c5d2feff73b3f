//! The server: listening, limits, stopping.

use super::net::*;
use bytes::Bytes;
use fabric_gossip::transport::Transport;
use fabric_gossip::transport::{Limits, Server};
use fabric_gossip::transport::{Status, StreamEnd};
use fabric_gossip::ErrorKind;
use std::time::{Duration, Instant};

#[test]
fn bad_addresses_and_taken_ports_are_refused() {
    for listen in ["127.0.0.1:99999", "127.0.0.1", "nonsense", "[::1:7051", "127.0.0.1:-1"] {
        let error = core(None).listen(listen, echo()).err().unwrap();
        assert_eq!((error.kind(), error.step()), (ErrorKind::Config, Some("listen")), "{listen}");
    }
    let server = start(None, &Limits::default(), echo());
    let error = core(None).listen(server.local_addr(), echo()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(error.message().contains("in use"), "{error}");
    assert_eq!(error.peer(), Some(server.local_addr()));
}

#[test]
fn an_unknown_method_is_unimplemented() {
    let server = core(None).listen_without_service("127.0.0.1:0").unwrap();
    let connection = dial(None, server.local_addr()).unwrap();
    for _ in 0..100 {
        let error = connection.ping(SOON).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.message().contains("unknown method"), "{error}");
    }
}

#[test]
fn pings_are_answered_again_and_again() {
    let server = start(None, &Limits::default(), echo());
    let client = dial(None, server.local_addr()).unwrap();
    let start = Instant::now();
    (0..2000).for_each(|_| client.ping(SOON).unwrap());
    // None of them waits for a timer; on a quiet machine all of them take 0.2 seconds.
    assert!(start.elapsed() < 4 * SOON, "{:?}", start.elapsed());
    let stream = client.open(None).unwrap();
    client.ping(SOON).unwrap();
    drop(client);
    stream.send(Bytes::from_static(b"still there")).unwrap();
    assert_eq!(next(&stream), Bytes::from_static(b"still there"));
}

#[test]
fn streams_above_the_limit_are_told() {
    let mut options = Limits::default();
    options.max_served = 3;
    let server = start(None, &options, echo());
    let client = dial(None, server.local_addr()).unwrap();
    client.ping(SOON).unwrap();
    eventually("the ping's thread ends", || server.serving() == 0);
    let kept: Vec<_> = (0..3).map(|_| client.open(None).unwrap()).collect();
    for stream in &kept {
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(stream);
    }
    for _ in 0..20 {
        match end_of(&client.open(None).unwrap()) {
            StreamEnd::Remote(status) => assert!(status.code == 8 && status.message.contains("too many"), "{status:?}"),
            end => panic!("{end:?}"),
        }
    }
    drop(kept);
    eventually("there is room again", || server.serving() == 0);
    let stream = client.open(None).unwrap();
    stream.send(Bytes::from_static(b"x")).unwrap();
    next(&stream);
}

#[test]
fn streams_above_the_limit_of_a_connection_wait() {
    let mut options = Limits::default();
    options.max_concurrent_streams = 2;
    let server = start(None, &options, echo());
    let client = dial_with(None, &Limits::default(), server.local_addr()).unwrap();
    client.ping(SOON).unwrap();
    let (a, _b) = (client.open(None).unwrap(), client.open(None).unwrap());
    std::thread::scope(|scope| {
        let (ready, go) = crossbeam_channel::bounded(0);
        let third = scope.spawn(move || {
            ready.send(()).unwrap();
            client.open(None).map(|stream| {
                stream.send(Bytes::from_static(b"x")).unwrap();
                next(&stream)
            })
        });
        go.recv().unwrap();
        a.cancel();
        assert_eq!(third.join().unwrap().unwrap(), Bytes::from_static(b"x"));
    });
}

#[test]
fn streams_that_end_in_order_are_not_held_against_a_connection() {
    let server = start(None, &Limits::default(), echo());
    let client = dial(None, server.local_addr()).unwrap();
    let kept = client.open(None).unwrap();
    for _ in 0..1000 {
        let stream = client.open(None).unwrap();
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(&stream);
        stream.finish(&Status::ok()).unwrap();
        assert!(matches!(end_of(&stream), StreamEnd::Remote(status) if status.code == 0));
    }
    // Some that do not are not, either.
    let some = if super::C_CORE { 150 } else { 15 };
    (0..some).for_each(|_| client.open(None).unwrap().cancel());
    kept.send(Bytes::from_static(b"still there")).unwrap();
    assert_eq!(next(&kept), Bytes::from_static(b"still there"));
}

#[test]
fn a_client_that_resets_its_streams_again_and_again_loses_its_connection() {
    let server = start(None, &Limits::default(), echo());
    let [other, client] = [(); 2].map(|()| dial(None, server.local_addr()).unwrap());
    let [untouched, kept] = [&other, &client].map(|client| client.open(None).unwrap());
    for stream in [&untouched, &kept] {
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(stream);
    }
    let until = Instant::now() + SOON;
    let end = loop {
        // Once the connection is gone it may take a moment until there is another.
        client.open(None).into_iter().for_each(|stream| stream.cancel());
        match kept.recv(Some(Duration::ZERO)) {
            Ok(none) => assert_eq!(none, None),
            Err(end) => break end,
        }
        assert!(Instant::now() < until, "the connection stays");
    };
    assert!(matches!(end, StreamEnd::Lost(_)), "{end:?}");
    untouched.send(Bytes::from_static(b"still there")).unwrap();
    assert_eq!(next(&untouched), Bytes::from_static(b"still there"));
}

#[test]
fn stop_ends_idle_streams_and_frees_the_port() {
    let server = start(None, &Limits::default(), echo());
    let address = server.local_addr().to_owned();
    let streams: Vec<_> = (0..20).map(|_| open(None, &address)).collect();
    // Accepted, all of them: the core ends a stream that is not accepted at the server's stop with CANCELLED.
    for stream in &streams {
        stream.send(Bytes::from_static(b"x")).unwrap();
        next(stream);
    }
    let before = Instant::now();
    assert!(server.stop(Duration::ZERO));
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert!(server.stop(Duration::ZERO), "again");
    for stream in &streams {
        let end = end_of(stream);
        assert!(matches!(end, StreamEnd::Lost(_)), "{end:?}");
    }
    assert!(dial(None, &address).is_err());
    let again = core(None).listen(&address, echo()).unwrap();
    open(None, again.local_addr());
}

#[test]
fn grace_lets_streams_end_by_themselves() {
    let server = start(None, &Limits::default(), echo());
    let stream = open(None, server.local_addr());
    stream.send(Bytes::from_static(b"x")).unwrap();
    next(&stream);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| server.stop(SOON));
        eventually("the server takes no more", || dial(None, server.local_addr()).is_err());
        stream.send(Bytes::from_static(b"y")).unwrap();
        assert_eq!(next(&stream), Bytes::from_static(b"y"));
        stream.finish(&Status::ok()).unwrap();
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
        drop(stream);
        assert!(stopping.join().unwrap());
    });
}

#[test]
fn stop_during_new_streams_does_not_hang() {
    for _ in 0..10 {
        let server = start(None, &Limits::default(), echo());
        let address = server.local_addr().to_owned();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    while let Ok(client) = dial(None, &address) {
                        if let Ok(stream) = client.open(None) {
                            let _ = stream.send(Bytes::from_static(b"x"));
                            let _ = stream.recv(Some(SOON));
                        }
                    }
                });
            }
            eventually("streams are served", || server.serving() > 0);
            assert!(server.stop(Duration::ZERO));
        });
    }
}

#[test]
fn stop_from_a_handler() {
    let (server_in, server_out) = crossbeam_channel::bounded::<std::sync::Arc<Box<dyn Server>>>(1);
    let (done, stopped) = crossbeam_channel::bounded(1);
    let server = std::sync::Arc::new(start(
        None,
        &Limits::default(),
        serve(move |_| {
            let server = server_out.recv().unwrap();
            server.stop(Duration::ZERO);
            done.send(()).unwrap();
            Status::ok()
        }),
    ));
    let _stream = open(None, server.local_addr());
    server_in.send(server).unwrap();
    stopped.recv_timeout(Duration::from_secs(4)).unwrap();
}

#[test]
fn a_handler_that_does_not_return_bounds_the_stop() {
    let mut options = Limits::default();
    options.keepalive_timeout = Duration::from_millis(100);
    let (release, held) = crossbeam_channel::bounded::<()>(0);
    let (serving, is_served) = crossbeam_channel::bounded(1);
    let server = start(
        None,
        &options,
        serve(move |_| {
            serving.send(()).unwrap();
            let _ = held.recv();
            Status::ok()
        }),
    );
    let stream = open(None, server.local_addr());
    is_served.recv_timeout(SOON).unwrap();
    let before = Instant::now();
    assert!(!server.stop(Duration::ZERO));
    assert!(before.elapsed() < Duration::from_secs(5));
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    drop(release);
}
