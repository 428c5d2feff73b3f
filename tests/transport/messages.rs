//! Messages arrive, whole and in order, up to the limit.

use crate::certs::Authority;
use crate::support::*;
use bytes::Bytes;
use fabric_gossip::comm::stream::{Status, StreamEnd};
use fabric_gossip::rpc::Options;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into()
}

#[test]
fn echo_in_plain_text_and_over_mutual_tls() {
    let ca = Authority::new("ca");
    let (a, b) = (ca.leaf("a"), ca.leaf("b"));
    for (ours, theirs) in [(None, None), (Some(tls(&a, &ca)), Some(tls(&b, &ca)))] {
        let server = start(theirs.as_ref(), &Options::default(), echo());
        let stream = open(ours.as_ref(), server.local_addr());
        for len in [0, 1, 23, 24, 100, 1023, 1024, 1025, 64 << 10, 1 << 20, 5 << 20] {
            let message = pattern(len);
            stream.send(message.clone(), false).unwrap();
            assert!(next(&stream) == message, "{len} bytes came back different");
        }
        stream.finish(&Status::ok()).unwrap();
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
        assert!(server.stop(SOON));
    }
}

#[test]
fn limits_of_size() {
    let mut limited = Options::default();
    limited.max_receive_message = 100_000;
    let server = start(None, &limited, echo());
    let stream = open(None, server.local_addr());
    stream.send(pattern(100_000), false).unwrap();
    assert_eq!(next(&stream).len(), 100_000);
    stream.send(pattern(100_001), false).unwrap();
    match end_of(&stream) {
        StreamEnd::Remote(status) => {
            assert!(status.code == 8 && status.message.contains("larger than max"), "{status:?}")
        }
        end => panic!("{end:?}"),
    }

    // The sender's own limit.
    let mut small = Options::default();
    small.max_send_message = 1000;
    let stream = open_with(None, &small, server.local_addr());
    let sent = stream.send(pattern(1001), false);
    assert!(sent.is_err() || matches!(end_of(&stream), StreamEnd::Remote(s) if s.code == 8));
}

#[test]
fn a_dialled_stream_has_a_limit_of_size_too() {
    let server = start(None, &Options::default(), echo());
    let mut limited = Options::default();
    limited.max_receive_message = 1000;
    let stream = open_with(None, &limited, server.local_addr());
    stream.send(pattern(1000), false).unwrap();
    assert_eq!(next(&stream).len(), 1000);
    stream.send(pattern(1001), false).unwrap();
    match end_of(&stream) {
        StreamEnd::Remote(status) => {
            assert_eq!((status.code, &*status.message), (8, "Received message larger than max (1001 vs. 1000)"))
        }
        end => panic!("{end:?}"),
    }
}

/// A small message could become one of any size, before anybody has authenticated.
#[test]
fn compressed_messages_are_not_implemented() {
    let server = start(None, &Options::default(), echo());
    let mut compressing = Options::default();
    for (name, value) in [
        ("grpc.default_compression_algorithm", 2),
        ("grpc.compression_enabled_algorithms_bitset", 7),
        ("grpc.per_message_compression", 1),
    ] {
        compressing.extra.push((name.into(), value));
    }
    let stream = dial_with(None, &compressing, server.local_addr()).unwrap().open(None).unwrap();
    // It may be over already.
    let _ = stream.send(vec![0; 1 << 20].into(), false);
    match end_of(&stream) {
        StreamEnd::Remote(status) => assert_eq!(status.code, 12, "{status:?}"),
        end => panic!("{end:?}"),
    }
}

#[test]
fn the_largest_message_passes() {
    let server = start(None, &Options::default(), echo());
    let stream = open(None, server.local_addr());
    let largest = Bytes::from(vec![7; 100 << 20]);
    let writer = {
        let (stream, largest) = (stream.clone(), largest.clone());
        std::thread::spawn(move || stream.send(largest, false))
    };
    let back = stream.recv(Some(Duration::from_secs(60))).unwrap().unwrap();
    writer.join().unwrap().unwrap();
    assert!(back == largest);
}

#[test]
fn hints_lose_nothing() {
    let (acceptor, _streams, ended) = report();
    let server = start(None, &Options::default(), acceptor);
    let stream = open(None, server.local_addr());
    for i in 0..10_000 {
        stream.send(pattern(i % 300), i % 20 != 19).unwrap();
    }
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (10_000, StreamEnd::Remote(Status::ok())));
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
}

#[test]
fn a_split_send_completes_on_another_thread() {
    let server = start(None, &Options::default(), echo());
    let stream = open(None, server.local_addr());
    assert_eq!(stream.wait_sent(None), Ok(true), "nothing was started");
    for i in 0..100u8 {
        stream.start_send(Bytes::from(vec![i; 5000]), false).unwrap();
        let other = stream.clone();
        std::thread::spawn(move || assert_eq!(other.wait_sent(Some(SOON)), Ok(true))).join().unwrap();
        assert_eq!(next(&stream), vec![i; 5000]);
    }
}

#[test]
fn half_close_then_read_to_the_end_loses_nothing() {
    let server = start(
        None,
        &Options::default(),
        serve(|stream| {
            // Answers only after the client has finished.
            let mut messages = Vec::new();
            while let Ok(Some(message)) = stream.recv(None) {
                messages.push(message);
            }
            for message in messages {
                stream.send(message, false).unwrap();
            }
            Status::unknown("that was all")
        }),
    );
    let stream = open(None, server.local_addr());
    for i in 0..1000u32 {
        stream.send(i.to_be_bytes().to_vec().into(), false).unwrap();
    }
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(stream.send(Bytes::new(), false), Err(StreamEnd::Local), "nothing after the end");
    for i in 0..1000u32 {
        assert_eq!(next(&stream), i.to_be_bytes().to_vec());
    }
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("that was all")));
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("that was all")), "the same again");
}

#[test]
fn timeouts_of_recv_repeat() {
    let server = start(None, &Options::default(), echo());
    let stream = open(None, server.local_addr());
    for _ in 0..5 {
        assert_eq!(stream.recv(Some(Duration::ZERO)), Ok(None));
    }
    let before = Instant::now();
    for _ in 0..3 {
        assert_eq!(stream.recv(Some(Duration::from_millis(20))), Ok(None));
    }
    assert!((Duration::from_millis(55)..Duration::from_secs(2)).contains(&before.elapsed()));
    stream.send(pattern(10), false).unwrap();
    assert_eq!(next(&stream), pattern(10));
    assert_eq!(stream.recv(Some(Duration::from_millis(5))), Ok(None));
}

#[test]
fn one_message_is_shared_by_many_streams_and_released() {
    struct Counted {
        bytes: Vec<u8>,
        _alive: Arc<()>,
    }
    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.bytes
        }
    }
    let alive = Arc::new(());
    let message = Bytes::from_owner(Counted { bytes: vec![1; 100_000], _alive: alive.clone() });
    let server = start(None, &Options::default(), echo());
    let streams: Vec<_> = (0..10).map(|_| open(None, server.local_addr())).collect();
    for stream in &streams {
        stream.send(message.clone(), false).unwrap();
        assert!(next(stream) == message);
    }
    drop(message);
    drop(streams);
    eventually("the core lets go of the message", || Arc::strong_count(&alive) == 1);
}

#[test]
fn many_streams_at_once() {
    let server = start(None, &Options::default(), echo());
    let endpoint = server.local_addr().to_owned();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let endpoint = endpoint.clone();
            std::thread::spawn(move || {
                let stream = open(None, &endpoint);
                for i in 0..500 {
                    stream.send(pattern(i), false).unwrap();
                    assert_eq!(next(&stream), pattern(i));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
}

#[test]
fn any_number_of_threads_may_receive_and_each_message_comes_once() {
    let server = start(None, &Options::default(), echo());
    let stream = open(None, server.local_addr());
    let mut came: Vec<u8> = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..12).map(|_| scope.spawn(|| next(&stream)[0])).collect();
        (0..12u8).for_each(|n| stream.send(Bytes::from(vec![n]), false).unwrap());
        waiting.into_iter().map(|w| w.join().unwrap()).collect()
    });
    came.sort_unstable();
    assert_eq!(came, Vec::from_iter(0..12));
}
