//! The behaviour that every transport has. Each function is one test per implementation.

use crate::support::{echo, end_of, next, report, serve, Dyn, SOON};
use bytes::Bytes;
use fabric_gossip::cancel::Cancel;
use fabric_gossip::clock::SystemClock;
use fabric_gossip::testing::MemoryNetwork;
#[cfg(any(feature = "c-core", feature = "http2"))]
use fabric_gossip::transport::Limits;
use fabric_gossip::transport::{code, Acceptor, Connection, Outgoing, Server, Status, StreamEnd, Transport};
use std::any::Any;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One implementation, and a server of it.
pub struct Net {
    transport: Arc<dyn Transport>,
    server: Box<dyn Server>,
    /// Dropped last.
    _keep: Box<dyn Any + Send + Sync>,
}

type Start = fn(Arc<dyn Acceptor>) -> Net;

fn over_memory(acceptor: Arc<dyn Acceptor>) -> Net {
    let network = MemoryNetwork::new(Arc::new(SystemClock));
    let transport = network.transport(None);
    let server = transport.listen("memory:0", acceptor).unwrap();
    Net { transport, server, _keep: Box::new(network) }
}

#[cfg(any(feature = "c-core", feature = "http2"))]
fn over_loopback(transport: impl Transport + 'static, acceptor: Arc<dyn Acceptor>) -> Net {
    let server = transport.listen("127.0.0.1:0", acceptor).unwrap();
    Net { transport: Arc::new(transport), server, _keep: Box::new(()) }
}

#[cfg(feature = "c-core")]
fn over_c_core(acceptor: Arc<dyn Acceptor>) -> Net {
    over_loopback(crate::c_core::make(None, Limits::default()).unwrap(), acceptor)
}

#[cfg(feature = "http2")]
fn over_http2(acceptor: Arc<dyn Acceptor>) -> Net {
    over_loopback(crate::http2::make(None, Limits::default()).unwrap(), acceptor)
}

#[cfg(feature = "host-server")]
fn over_host(acceptor: Arc<dyn Acceptor>) -> Net {
    use fabric_gossip::transport::{c_core::Options, host};
    let (limits, options) = (Limits::default(), Options::default());
    let transport = host::HostTransport::new(None, limits.clone(), options.clone()).unwrap();
    let env = Arc::new(grpcio::Environment::new(2));
    let arguments = host::arguments(grpcio::ChannelBuilder::new(env.clone()), &limits, &options).unwrap();
    let server = grpcio::ServerBuilder::new(env).channel_args(arguments.build_args()).requests_slot_per_cq(16);
    let mut host = server.register_service(transport.service()).build().unwrap();
    let port = host.add_listening_port("127.0.0.1:0", grpcio::ServerCredentials::insecure()).unwrap();
    host.start();
    let server = transport.listen(&format!("127.0.0.1:{port}"), acceptor).unwrap();
    Net { transport: Arc::new(transport), server, _keep: Box::new(parking_lot::Mutex::new(host)) }
}

impl Net {
    fn dial(&self) -> Box<dyn Connection> {
        self.transport.dial(self.server.local_addr(), SOON, &Cancel::new()).unwrap()
    }

    fn open(&self) -> Dyn {
        let connection = self.dial();
        connection.ping(SOON).unwrap();
        connection.open(None).unwrap()
    }
}

macro_rules! for_each_transport {
    ($($name:ident),* $(,)?) => {
        mod memory {
            $(#[test]
            fn $name() {
                super::$name(super::over_memory);
            })*
        }
        #[cfg(feature = "c-core")]
        mod c_core {
            $(#[test]
            fn $name() {
                super::$name(super::over_c_core);
            })*
        }
        #[cfg(feature = "http2")]
        mod http2 {
            $(#[test]
            fn $name() {
                super::$name(super::over_http2);
            })*
        }
        #[cfg(feature = "host-server")]
        mod host {
            $(#[test]
            fn $name() {
                super::$name(super::over_host);
            })*
        }
    };
}

for_each_transport!(
    messages_of_all_sizes_come_back_whole,
    the_largest_message_passes,
    everything_arrives_before_the_end,
    a_started_write_completes_on_another_thread,
    half_close_then_read_to_the_end_loses_nothing,
    timeouts_of_recv_repeat,
    many_streams_at_a_time,
    any_number_of_threads_may_receive_and_each_message_comes_once,
    a_batch_is_written_in_order_and_each_message_is_reported,
    a_batch_that_fails_keeps_what_was_not_reported,
    messages_at_hand_are_received_together,
    a_message_above_the_limit_of_a_receive_is_not_returned,
    a_write_without_waiting_is_done_or_under_way,
    the_status_of_the_server_reaches_the_client,
    messages_before_the_status_are_received_first,
    the_server_tells_half_close_from_cancel_and_loss,
    cancelling_an_accepted_stream_is_local_there,
    an_accepted_stream_can_be_finished_from_outside,
    an_acceptor_that_panics_ends_its_stream_only,
    a_write_after_the_own_end_is_refused_and_the_answer_is_still_read,
    a_cancelled_dialled_stream_is_local_here,
    pings_are_answered_beside_a_stream,
    a_stopped_server_accepts_nothing_and_a_second_stop_does_nothing,
);

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>().into()
}

fn messages_of_all_sizes_come_back_whole(start: Start) {
    let net = start(echo());
    let stream = net.open();
    for len in [0, 1, 23, 24, 100, 1023, 1024, 1025, 64 << 10, 1 << 20, 5 << 20] {
        let message = pattern(len);
        stream.send(message.clone()).unwrap();
        assert!(next(&stream) == message, "{len} bytes came back different");
    }
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
    assert!(net.server.stop(SOON));
}

fn the_largest_message_passes(start: Start) {
    let net = start(echo());
    let stream = net.open();
    let largest = Bytes::from(vec![7; 100 << 20]);
    let writer = {
        let (stream, largest) = (stream.clone(), largest.clone());
        std::thread::spawn(move || stream.send(largest))
    };
    let back = stream.recv(Some(Duration::from_secs(60))).unwrap().unwrap();
    writer.join().unwrap().unwrap();
    assert!(back == largest);
}

fn everything_arrives_before_the_end(start: Start) {
    let (acceptor, _streams, ended) = report();
    let net = start(acceptor);
    let stream = net.open();
    for i in 0..10_000 {
        stream.send(pattern(i % 300)).unwrap();
    }
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (10_000, StreamEnd::Remote(Status::ok())));
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
}

fn a_started_write_completes_on_another_thread(start: Start) {
    let net = start(echo());
    let stream = net.open();
    assert_eq!(stream.wait_sent(None), Ok(true), "nothing was started");
    for i in 0..100u8 {
        stream.start_send(Bytes::from(vec![i; 5000])).unwrap();
        let other = stream.clone();
        std::thread::spawn(move || assert_eq!(other.wait_sent(Some(SOON)), Ok(true))).join().unwrap();
        assert_eq!(next(&stream), vec![i; 5000]);
    }
}

fn half_close_then_read_to_the_end_loses_nothing(start: Start) {
    // Answers only after the client has finished.
    let net = start(serve(|stream| {
        let mut messages = Vec::new();
        while let Ok(Some(message)) = stream.recv(None) {
            messages.push(message);
        }
        for message in messages {
            stream.send(message).unwrap();
        }
        Status::unknown("that was all")
    }));
    let stream = net.open();
    for i in 0..1000u32 {
        stream.send(i.to_be_bytes().to_vec().into()).unwrap();
    }
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(stream.send(Bytes::new()), Err(StreamEnd::Local), "nothing after the end");
    for i in 0..1000u32 {
        assert_eq!(next(&stream), i.to_be_bytes().to_vec());
    }
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("that was all")));
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("that was all")), "the same again");
}

fn timeouts_of_recv_repeat(start: Start) {
    let net = start(echo());
    let stream = net.open();
    for _ in 0..5 {
        assert_eq!(stream.recv(Some(Duration::ZERO)), Ok(None));
    }
    let before = Instant::now();
    for _ in 0..3 {
        assert_eq!(stream.recv(Some(Duration::from_millis(20))), Ok(None));
    }
    assert!((Duration::from_millis(55)..Duration::from_secs(2)).contains(&before.elapsed()));
    stream.send(pattern(10)).unwrap();
    assert_eq!(next(&stream), pattern(10));
    assert_eq!(stream.recv(Some(Duration::from_millis(5))), Ok(None));
}

fn many_streams_at_a_time(start: Start) {
    let net = start(echo());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let stream = net.open();
                for i in 0..500 {
                    stream.send(pattern(i)).unwrap();
                    assert_eq!(next(&stream), pattern(i));
                }
            });
        }
    });
}

fn any_number_of_threads_may_receive_and_each_message_comes_once(start: Start) {
    let net = start(echo());
    let stream = net.open();
    let mut came: Vec<u8> = std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..12).map(|_| scope.spawn(|| next(&stream)[0])).collect();
        (0..12u8).for_each(|n| stream.send(Bytes::from(vec![n])).unwrap());
        waiting.into_iter().map(|w| w.join().unwrap()).collect()
    });
    came.sort_unstable();
    assert_eq!(came, Vec::from_iter(0..12));
}

/// Messages to write, and the number of those that were reported as written.
struct Batch {
    left: VecDeque<Bytes>,
    taken: usize,
    written: usize,
    give_up: bool,
}

impl Batch {
    fn new(messages: impl IntoIterator<Item = Bytes>) -> Self {
        Batch { left: messages.into_iter().collect(), taken: 0, written: 0, give_up: false }
    }
}

impl Outgoing for Batch {
    fn next(&mut self) -> Option<Bytes> {
        let next = self.left.pop_front();
        self.taken += usize::from(next.is_some());
        next
    }

    fn written(&mut self) {
        self.written += 1;
        assert!(self.written <= self.taken, "reported before it was taken");
    }

    fn expired(&mut self) -> bool {
        self.give_up
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(20)
    }
}

fn a_batch_is_written_in_order_and_each_message_is_reported(start: Start) {
    let net = start(echo());
    let stream = net.open();
    let sizes: Vec<usize> = (0..300).map(|i| i * 37 % 5000).collect();
    let reader = {
        let (stream, sizes) = (stream.clone(), sizes.clone());
        std::thread::spawn(move || sizes.iter().for_each(|&size| assert!(next(&stream) == pattern(size), "{size}")))
    };
    let mut batch = Batch::new(sizes.into_iter().map(pattern));
    stream.send_all(&mut batch).unwrap();
    assert_eq!((batch.left.len(), batch.written), (0, 300));
    reader.join().unwrap();
    stream.send_all(&mut Batch::new([])).unwrap();
}

fn a_batch_that_fails_keeps_what_was_not_reported(start: Start) {
    // Reads nothing until the stream is over.
    let net = start(serve(|stream| {
        while stream.wait_sent(Some(Duration::ZERO)).is_ok() && stream.try_send(Bytes::new()).is_ok() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Status::ok()
    }));
    let stream = net.open();
    let mut batch = Batch::new((0..1000).map(|_| pattern(1 << 20)));
    batch.give_up = true;
    assert_eq!(stream.send_all(&mut batch), Err(StreamEnd::Local), "given up");
    assert!(batch.written < batch.taken && batch.taken < 1000, "{} of {}", batch.written, batch.taken);
    assert_eq!(end_of(&stream), StreamEnd::Local);
}

fn messages_at_hand_are_received_together(start: Start) {
    let net = start(serve(|stream| {
        for i in 0..500u32 {
            stream.send(i.to_be_bytes().to_vec().into()).unwrap();
        }
        Status::unknown("done")
    }));
    let stream = net.open();
    let mut received = Vec::new();
    let end = loop {
        let before = received.len();
        match stream.recv_batch(&mut received) {
            Ok(()) => assert!(received.len() > before, "waits for one at least"),
            Err(end) => break end,
        }
    };
    assert_eq!(received, (0..500u32).map(|i| Bytes::from(i.to_be_bytes().to_vec())).collect::<Vec<_>>());
    assert_eq!(end, StreamEnd::Remote(Status::unknown("done")));
}

fn a_message_above_the_limit_of_a_receive_is_not_returned(start: Start) {
    let net = start(echo());
    let stream = net.open();
    stream.send(pattern(1000)).unwrap();
    assert_eq!(stream.recv_limited(SOON, 1000), Ok(Some(pattern(1000))));
    assert_eq!(stream.recv_limited(Duration::from_millis(5), 1000), Ok(None));
    stream.send(pattern(1001)).unwrap();
    assert_eq!(stream.recv_limited(SOON, 1000), Err(StreamEnd::TooLarge(Some(1001))));
    // It is for the caller to end the stream.
    stream.send(pattern(10)).unwrap();
    assert_eq!(next(&stream), pattern(10));
}

fn a_write_without_waiting_is_done_or_under_way(start: Start) {
    let net = start(echo());
    let stream = net.open();
    for i in 0..200u8 {
        if !stream.try_send(Bytes::from(vec![i; 100])).unwrap() {
            assert_eq!(stream.wait_sent(Some(SOON)), Ok(true));
        }
        assert_eq!(next(&stream), vec![i; 100]);
    }
}

fn the_status_of_the_server_reaches_the_client(start: Start) {
    let full = Status::new(code::RESOURCE_EXHAUSTED, "full");
    for status in [Status::ok(), Status::unknown("no TLS certificate: \u{fc}, 100 %"), full] {
        let answer = status.clone();
        let net = start(serve(move |_| answer.clone()));
        let stream = net.open();
        assert_eq!(end_of(&stream), StreamEnd::Remote(status.clone()));
        // A writer learns it too.
        assert_eq!(stream.send(Bytes::from_static(b"x")), Err(StreamEnd::Remote(status)));
    }
}

fn messages_before_the_status_are_received_first(start: Start) {
    let net = start(serve(|stream| {
        for i in 0..500u32 {
            stream.send(Bytes::from(vec![1; i as usize * 10])).unwrap();
        }
        Status::unknown("done")
    }));
    for _ in 0..20 {
        let stream = net.open();
        for i in 0..500 {
            assert_eq!(next(&stream).len(), i * 10);
        }
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("done")));
    }
}

fn the_server_tells_half_close_from_cancel_and_loss(start: Start) {
    let (acceptor, streams, ended) = report();
    let net = start(acceptor);
    for _ in 0..50 {
        let stream = net.open();
        stream.send(Bytes::from_static(b"x")).unwrap();
        stream.finish(&Status::ok()).unwrap();
        assert_eq!(ended.recv_timeout(SOON).unwrap(), (1, StreamEnd::Remote(Status::ok())));
        streams.recv_timeout(SOON).unwrap();
        assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));

        let stream = net.open();
        streams.recv_timeout(SOON).unwrap();
        stream.cancel();
        assert!(matches!(ended.recv_timeout(SOON).unwrap().1, StreamEnd::Lost(_)));

        let stream = net.open();
        streams.recv_timeout(SOON).unwrap();
        drop(stream);
        assert!(matches!(ended.recv_timeout(SOON).unwrap().1, StreamEnd::Lost(_)));
    }
}

fn cancelling_an_accepted_stream_is_local_there(start: Start) {
    let (acceptor, streams, ended) = report();
    let net = start(acceptor);
    let stream = net.open();
    streams.recv_timeout(SOON).unwrap().cancel();
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
    let end = end_of(&stream);
    assert!(end.is_cancellation() && end.refusal().is_none(), "{end:?}");
}

fn an_accepted_stream_can_be_finished_from_outside(start: Start) {
    let (acceptor, streams, ended) = report();
    let net = start(acceptor);
    let stream = net.open();
    streams.recv_timeout(SOON).unwrap().finish(&Status::unknown("replaced")).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("replaced")));
    drop(stream);
    assert_eq!(ended.recv_timeout(SOON).unwrap(), (0, StreamEnd::Local));
}

fn an_acceptor_that_panics_ends_its_stream_only(start: Start) {
    let net = start(serve(|stream| {
        assert_ne!(next(&stream), Bytes::from_static(b"panic"), "as the test wants");
        Status::ok()
    }));
    let stream = net.open();
    stream.send(Bytes::from_static(b"panic")).unwrap();
    assert!(matches!(end_of(&stream), StreamEnd::Remote(status) if status.code == code::INTERNAL));
    let stream = net.open();
    stream.send(Bytes::from_static(b"go on")).unwrap();
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::ok()));
}

fn a_write_after_the_own_end_is_refused_and_the_answer_is_still_read(start: Start) {
    let net = start(serve(|stream| {
        while let Ok(Some(_)) = stream.recv(None) {}
        stream.send(Bytes::from_static(b"answer")).unwrap();
        assert_eq!(stream.finish(&Status::unknown("first")), Ok(()));
        assert!(stream.send(Bytes::from_static(b"late")).is_err());
        let _ = stream.finish(&Status::unknown("second"));
        Status::unknown("third")
    }));
    let stream = net.open();
    stream.send(Bytes::from_static(b"question")).unwrap();
    stream.finish(&Status::ok()).unwrap();
    assert_eq!(stream.send(Bytes::from_static(b"late")), Err(StreamEnd::Local));
    let _ = stream.finish(&Status::ok());
    assert_eq!(next(&stream), "answer");
    assert_eq!(end_of(&stream), StreamEnd::Remote(Status::unknown("first")));
    assert!(net.server.stop(SOON));
}

fn a_cancelled_dialled_stream_is_local_here(start: Start) {
    let net = start(echo());
    let stream = net.open();
    let reader = {
        let stream = stream.clone();
        std::thread::spawn(move || stream.recv(None))
    };
    stream.cancel();
    assert_eq!(reader.join().unwrap(), Err(StreamEnd::Local));
    assert!(stream.send(Bytes::new()).is_err());
}

fn pings_are_answered_beside_a_stream(start: Start) {
    let net = start(echo());
    let connection = net.dial();
    (0..200).for_each(|_| connection.ping(SOON).unwrap());
    let stream = connection.open(None).unwrap();
    connection.ping(SOON).unwrap();
    drop(connection);
    stream.send(Bytes::from_static(b"still there")).unwrap();
    assert_eq!(next(&stream), Bytes::from_static(b"still there"));
}

fn a_stopped_server_accepts_nothing_and_a_second_stop_does_nothing(start: Start) {
    let (acceptor, streams, ended) = report();
    let net = start(acceptor);
    let stream = net.open();
    streams.recv_timeout(SOON).unwrap();
    assert_eq!(net.server.serving(), 1);
    assert!(!net.server.local_addr().ends_with(":0"), "the port that was bound");
    net.server.stop(Duration::ZERO);
    ended.recv_timeout(SOON).unwrap();
    crate::support::eventually("its thread has ended", || net.server.serving() == 0);
    assert!(!matches!(end_of(&stream), StreamEnd::Local));
    let again = net.transport.dial(net.server.local_addr(), SOON, &Cancel::new()).and_then(|c| c.ping(SOON));
    assert!(again.is_err());
    assert!(net.server.stop(Duration::ZERO));
}
