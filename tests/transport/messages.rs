//! Messages arrive, whole and in order, up to the limit.

use super::net::*;
use crate::certs::Authority;
use bytes::Bytes;
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::{Status, StreamEnd};
use std::sync::Arc;

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into()
}

#[test]
fn echo_in_plain_text_and_over_mutual_tls() {
    let ca = Authority::new("ca");
    let (a, b) = (ca.leaf("a"), ca.leaf("b"));
    for (ours, theirs) in [(None, None), (Some(tls(&a, &ca)), Some(tls(&b, &ca)))] {
        let server = start(theirs.as_ref(), &Limits::default(), echo());
        let stream = open(ours.as_ref(), server.local_addr());
        for len in [0, 1, 23, 24, 100, 1023, 1024, 1025, 64 << 10, 1 << 20, 5 << 20] {
            let message = pattern(len);
            stream.send(message.clone()).unwrap();
            assert!(next(&stream) == message, "{len} bytes came back different");
        }
        stream.finish(&Status::ok()).unwrap();
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
        assert!(server.stop(SOON));
    }
}

#[test]
fn limits_of_size() {
    let mut limited = Limits::default();
    limited.max_receive_message = 100_000;
    let server = start(None, &limited, echo());
    let stream = open(None, server.local_addr());
    stream.send(pattern(100_000)).unwrap();
    assert_eq!(next(&stream).len(), 100_000);
    stream.send(pattern(100_001)).unwrap();
    match end_of(&stream) {
        StreamEnd::Remote(status) => {
            assert!(status.code == 8 && status.message.contains("larger than max"), "{status:?}")
        }
        end => panic!("{end:?}"),
    }

    // The sender's own limit.
    let mut small = Limits::default();
    small.max_send_message = 1000;
    let stream = open_with(None, &small, server.local_addr());
    let sent = stream.send(pattern(1001));
    assert!(sent.is_err() || matches!(end_of(&stream), StreamEnd::Remote(s) if s.code == 8));
}

#[test]
fn a_dialled_stream_has_a_limit_of_size_too() {
    let server = start(None, &Limits::default(), echo());
    let mut limited = Limits::default();
    limited.max_receive_message = 1000;
    let stream = open_with(None, &limited, server.local_addr());
    stream.send(pattern(1000)).unwrap();
    assert_eq!(next(&stream).len(), 1000);
    stream.send(pattern(1001)).unwrap();
    match end_of(&stream) {
        StreamEnd::Remote(status) => {
            assert_eq!((status.code, &*status.message), (8, "Received message larger than max (1001 vs. 1000)"))
        }
        end => panic!("{end:?}"),
    }
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
    let server = start(None, &Limits::default(), echo());
    let streams: Vec<_> = (0..10).map(|_| open(None, server.local_addr())).collect();
    for stream in &streams {
        stream.send(message.clone()).unwrap();
        assert!(next(stream) == message);
    }
    drop(message);
    drop(streams);
    eventually("the transport lets go of the message", || Arc::strong_count(&alive) == 1);
}
