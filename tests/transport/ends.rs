//! How streams end, as each side sees it.

use crate::support::*;
use bytes::Bytes;
use fabric_gossip::comm::stream::{Status, StreamEnd};
use fabric_gossip::rpc::Options;
use std::time::Duration;

#[test]
fn the_status_of_the_server_reaches_the_client() {
    for status in
        [Status::ok(), Status::unknown("no TLS certificate: \u{fc}, 100 %"), Status { code: 8, message: "full".into() }]
    {
        let answer = status.clone();
        let server = start(None, &Options::default(), serve(move |_| answer.clone()));
        let stream = open(None, server.local_addr());
        assert_eq!(end_of(&stream), StreamEnd::Remote(status.clone()));
        // A writer learns it too.
        assert_eq!(stream.send(Bytes::from_static(b"x"), false), Err(StreamEnd::Remote(status)));
    }
}

#[test]
fn messages_before_the_status_are_received_first() {
    let server = start(
        None,
        &Options::default(),
        serve(|stream| {
            for i in 0..500u32 {
                stream.send(Bytes::from(vec![1; i as usize * 10]), i % 7 != 6 && i != 499).unwrap();
            }
            Status::unknown("done")
        }),
    );
    for _ in 0..20 {
        let stream = open(None, server.local_addr());
        for i in 0..500 {
            assert_eq!(next(&stream).len(), i * 10);
        }
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("done")));
    }
}

#[test]
fn a_long_status_text_arrives_shortened() {
    let server = start(None, &Options::default(), serve(|_| Status::unknown("\u{fc}".repeat(20_000))));
    match end_of(&open(None, server.local_addr())) {
        StreamEnd::Remote(status) => {
            assert!(status.code == 2 && status.message.starts_with("\u{fc}\u{fc}"), "{status:?}")
        }
        end => panic!("{end:?}"),
    }
}

#[test]
fn the_server_tells_half_close_from_cancel_and_loss() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    for _ in 0..50 {
        let stream = open(None, server.local_addr());
        stream.send(Bytes::from_static(b"x"), false).unwrap();
        stream.finish(&Status::ok()).unwrap();
        assert_eq!(ended.recv_timeout(SOON).unwrap(), (1, StreamEnd::Remote(Status::ok())));
        streams.recv_timeout(SOON).unwrap();
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));

        let stream = open(None, server.local_addr());
        streams.recv_timeout(SOON).unwrap();
        stream.cancel();
        assert!(matches!(ended.recv_timeout(SOON).unwrap().1, StreamEnd::Lost(_)));

        let stream = open(None, server.local_addr());
        streams.recv_timeout(SOON).unwrap();
        drop(stream);
        assert!(matches!(ended.recv_timeout(SOON).unwrap().1, StreamEnd::Lost(_)));
    }
}

#[test]
fn cancelling_an_accepted_stream_is_local_there() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    let stream = open(None, server.local_addr());
    streams.recv_timeout(SOON).unwrap().cancel();
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
    // The client is told CANCELLED by the server.
    assert!(matches!(end_of(&stream), StreamEnd::Remote(status) if status.code == 1));
}

#[test]
fn an_accepted_stream_can_be_finished_from_outside() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    let stream = open(None, server.local_addr());
    streams.recv_timeout(SOON).unwrap().finish(&Status::unknown("replaced")).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("replaced")));
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
}

#[test]
fn a_stopped_server_is_a_lost_connection() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    let stream = open(None, server.local_addr());
    streams.recv_timeout(SOON).unwrap();
    assert!(server.stop(Duration::ZERO));
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
    assert!(stream.send(Bytes::from_static(b"x"), false).is_err());
}

#[test]
fn a_closed_connection_is_lost_on_both_sides() {
    let (acceptor, streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    let proxy = Proxy::to(server.local_addr());
    let stream = open(None, &proxy.endpoint);
    streams.recv_timeout(SOON).unwrap();
    proxy.cut();
    assert!(matches!(end_of(&stream), StreamEnd::Lost(_)));
    assert!(matches!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Lost(_))));
}

#[test]
fn a_handler_that_panics_ends_its_stream_only() {
    let server = start(
        None,
        &Options::default(),
        serve(|stream| {
            assert_ne!(next(&stream), Bytes::from_static(b"panic"), "as the test wants");
            Status::ok()
        }),
    );
    let stream = open(None, server.local_addr());
    stream.send(Bytes::from_static(b"panic"), false).unwrap();
    assert!(matches!(end_of(&stream), StreamEnd::Remote(status) if status.code == 13));
    let stream = open(None, server.local_addr());
    stream.send(Bytes::from_static(b"go on"), false).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
}

#[test]
fn what_comes_after_our_own_end_is_refused_and_the_answer_is_still_read() {
    let server = start(
        None,
        &Options::default(),
        serve(|stream| {
            while let Ok(Some(_)) = stream.recv(None) {}
            stream.send(Bytes::from_static(b"answer"), false).unwrap();
            assert_eq!(stream.finish(&Status::unknown("first")), Ok(()));
            assert!(stream.send(Bytes::from_static(b"late"), false).is_err());
            let _ = stream.finish(&Status::unknown("second"));
            Status::unknown("third")
        }),
    );
    let stream = open(None, server.local_addr());
    stream.send(Bytes::from_static(b"question"), false).unwrap();
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(stream.send(Bytes::from_static(b"late"), false), Err(StreamEnd::Local));
    let _ = stream.finish(&Status::ok());
    assert_eq!(next(&stream), "answer");
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("first")));
    assert!(server.stop(SOON));
}
