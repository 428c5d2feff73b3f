//! Properties particular to the gossip service on a host's own server. Those in common with the other forms are tested
//! with them.
#![cfg(feature = "host-server")]

use crate::common::host::{on_host, serve};
use crate::common::sockets::{member, tls_of};
use crate::common::{data, eventually, id, ms, next_nonce, Form, Host, Security, PATIENCE};
use crossbeam_channel::{bounded, unbounded, Receiver, Sender};
use fabric_gossip::cancel::Cancel;
use fabric_gossip::comm::RemotePeer;
use fabric_gossip::testing::cryptogen::Member;
use fabric_gossip::transport::c_core::{CoreTransport, Options};
use fabric_gossip::transport::host::HostTransport;
use fabric_gossip::transport::{self, code, Acceptor, Limits, Pem, Status, Stream, StreamEnd, Transport};
use fabric_gossip::ErrorKind;
use grpcio::{
    CallOption, ChannelBuilder, ChannelCredentialsBuilder, Client, Environment, GrpcSlice, Marshaller, MessageReader,
    Method, MethodType, Server, Service, ServiceBuilder,
};
use std::io::Read;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Serves streams with a function.
struct With<F>(F);

impl<F: Fn(Arc<dyn Stream>) -> Status + Send + Sync> Acceptor for With<F> {
    fn gossip_stream(&self, stream: Arc<dyn Stream>) -> Status {
        (self.0)(stream)
    }
}

/// A host in plain text, whose gossip streams are served with a function.
fn host(
    limits: Limits,
    accept: impl Fn(Arc<dyn Stream>) -> Status + Send + Sync + 'static,
) -> (Box<dyn transport::Server>, Server, String) {
    let transport = HostTransport::new(None, limits, Options::default()).unwrap();
    let (server, endpoint) = serve(None, [transport.service()]);
    let gossip = transport.listen(&endpoint, Arc::new(With(accept))).unwrap();
    (gossip, server, endpoint)
}

/// Opens a stream to the host, on a separate connection.
fn dial(endpoint: &str) -> Arc<dyn Stream> {
    let transport = CoreTransport::new(None, Limits::default(), Options::default()).unwrap();
    let client = transport.dial(endpoint, PATIENCE, &Cancel::new()).unwrap();
    client.open(None).unwrap()
}

fn end(stream: &dyn Stream) -> StreamEnd {
    loop {
        match stream.recv(Some(PATIENCE)) {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream does not end"),
            Err(end) => return end,
        }
    }
}

type Accepted = Arc<dyn Stream>;

/// Gives every accepted stream to the test, and keeps it until the test lets go.
fn by_hand() -> (impl Fn(Accepted) -> Status, Receiver<Accepted>, Sender<()>) {
    let (accepted, streams) = unbounded();
    let (hold, held) = bounded::<()>(0);
    let accept = move |stream| {
        accepted.send(stream).unwrap();
        let _ = held.recv();
        Status::ok()
    };
    (accept, streams, hold)
}

fn echo_method() -> Method<Vec<u8>, Vec<u8>> {
    let bytes = || Marshaller {
        ser: |message: &Vec<u8>, slice: &mut GrpcSlice| {
            *slice = message.clone().into();
            Ok(())
        },
        de: |mut reader: MessageReader| {
            let mut message = Vec::new();
            reader.read_to_end(&mut message).unwrap();
            Ok(message)
        },
    };
    Method { ty: MethodType::Unary, name: "/host.Echo/Echo", req_mar: bytes(), resp_mar: bytes() }
}

/// The host's own service, which returns its request.
fn echo() -> Service {
    let answer = |ctx: grpcio::RpcContext<'_>, message, sink: grpcio::UnarySink<Vec<u8>>| {
        let answer = sink.success(message);
        ctx.spawn(async move { drop(answer.await) });
    };
    ServiceBuilder::new().add_unary_handler(&echo_method(), answer).build()
}

/// A client of the host's services.
fn host_client(endpoint: &str, member: &Member) -> Client {
    let credentials = ChannelCredentialsBuilder::new().root_cert(member.tls_ca_cert.clone().into()).build();
    let channel = ChannelBuilder::new(Arc::new(Environment::new(1))).set_credentials(credentials).connect(endpoint);
    Client::new(channel)
}

#[test]
fn gossip_shares_a_port_with_the_hosts_services() {
    let net = Host::new();
    let member = member("node");
    let transport = on_host(Some(tls_of("node", member.clone())));
    let (_server, endpoint) = serve(Some(&member), [transport.service(), echo()]);
    let other = net.node("other");
    let peer = RemotePeer::with_id(&endpoint, id("node"));
    let error = other.probe(&peer).unwrap_err();
    assert!(error.message().contains("the gossip service is not running"), "nobody listens yet: {error}");

    let comm = net.builder("node").transport(Arc::new(transport)).listen(&endpoint).start().unwrap();
    assert_eq!(comm.local_addr(), Some(&*endpoint));

    let inbox = comm.subscribe(|_| true);
    other.send(&data(1), std::slice::from_ref(&peer)).unwrap();
    assert_eq!(next_nonce(&inbox), 1);

    let echo = || host_client(&endpoint, &member).unary_call(&echo_method(), &b"hello".to_vec(), CallOption::default());
    assert_eq!(echo().unwrap(), b"hello");

    // The host's services outlive gossip, which reports that it has stopped.
    comm.stop();
    assert_eq!(echo().unwrap(), b"hello");
    let error = other.probe(&peer).unwrap_err();
    assert!(error.message().contains("the gossip service is not running"), "{error}");
    let stream = net.transport("other", Security::Mutual).dial(&endpoint, PATIENCE, &Cancel::new()).unwrap();
    match end(&*stream.open(None).unwrap()) {
        StreamEnd::Lost(status) => assert_eq!(status.message, "the server is stopping"),
        end => panic!("{end:?}"),
    }
}

#[test]
fn streams_beyond_the_limit_are_told_so() {
    let (accept, streams, _hold) = by_hand();
    let mut two = Limits::default();
    two.max_served = 2;
    let (gossip, _server, endpoint) = host(two, accept);
    let _served = [0, 1].map(|_| (dial(&endpoint), streams.recv_timeout(PATIENCE).unwrap()));
    let status = Status::new(code::RESOURCE_EXHAUSTED, "too many streams: 2 are being served");
    assert_eq!(end(&*dial(&endpoint)), StreamEnd::Remote(status));
    assert_eq!(gossip.serving(), 2);
}

#[test]
fn a_timeout_loses_no_message_and_every_message_comes_before_the_end() {
    let (result, results) = bounded(1);
    let (gossip, _server, endpoint) = host(Limits::default(), move |stream| {
        let mut received = Vec::new();
        let end = loop {
            match stream.recv(Some(Duration::ZERO)) {
                Ok(Some(message)) => received.push(message[0]),
                Ok(None) => thread::yield_now(),
                Err(end) => break end,
            }
        };
        result.send((received, end.clone(), stream.recv(None).unwrap_err() == end)).unwrap();
        Status::unknown("done")
    });
    let stream = dial(&endpoint);
    (0..200).for_each(|n| stream.send(vec![n; 1000].into()).unwrap());
    stream.finish(&Status::ok()).unwrap();
    let (received, how, again) = results.recv_timeout(PATIENCE).unwrap();
    assert_eq!(received, (0..200).collect::<Vec<u8>>());
    assert_eq!(how, StreamEnd::Remote(Status::ok()));
    assert!(again, "the end stays the same");
    assert_eq!(end(&*stream), StreamEnd::Remote(Status::unknown("done")));
    eventually("its thread has ended", || gossip.serving() == 0);
}

#[test]
fn a_client_that_goes_away_is_lost_and_not_taken_for_one_that_closed() {
    let (accept, streams, _hold) = by_hand();
    let (_gossip, _server, endpoint) = host(Limits::default(), accept);
    for _ in 0..20 {
        let stream = dial(&endpoint);
        let accepted = streams.recv_timeout(PATIENCE).unwrap();
        stream.cancel();
        assert!(matches!(end(&*accepted), StreamEnd::Lost(_)));
        assert!(matches!(accepted.send("late".into()), Err(StreamEnd::Lost(_))));
    }
}

#[test]
fn a_cancellation_ends_a_blocked_reader_and_a_blocked_writer() {
    let (accept, streams, _hold) = by_hand();
    let (_gossip, _server, endpoint) = host(Limits::default(), accept);
    let client = dial(&endpoint);
    let stream = streams.recv_timeout(PATIENCE).unwrap();
    let (blocked, is_blocked) = bounded(1);
    thread::scope(|scope| {
        let reader = scope.spawn(|| stream.recv(None));
        let writer = scope.spawn(|| loop {
            // The client does not read.
            let written = stream.start_send(vec![0; 1 << 20].into()).and_then(|()| {
                let written = stream.wait_sent(Some(ms(50)))?;
                if !written {
                    let _ = blocked.try_send(());
                    stream.wait_sent(None)?;
                }
                Ok(())
            });
            if let Err(end) = written {
                break end;
            }
        });
        is_blocked.recv_timeout(PATIENCE).unwrap();
        let start = Instant::now();
        stream.cancel();
        assert_eq!(reader.join().unwrap(), Err(StreamEnd::Local));
        assert_eq!(writer.join().unwrap(), StreamEnd::Local);
        assert!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
    });
    assert_eq!(stream.finish(&Status::ok()), Err(StreamEnd::Local));
    assert!(matches!(end(&*client), StreamEnd::Remote(status) if status.code == code::CANCELLED));
}

#[test]
fn a_stop_is_bounded_with_fifty_clients_that_do_not_read() {
    let (blocked, is_blocked) = unbounded();
    let (gossip, _server, endpoint) = host(Limits::default(), move |stream| {
        let mut told = false;
        let mut write = || {
            stream.start_send(vec![0; 1 << 20].into())?;
            if !stream.wait_sent(Some(ms(50)))? {
                // Once for each stream: on a slow machine a write can take long that is not the last.
                if !std::mem::replace(&mut told, true) {
                    blocked.send(()).unwrap();
                }
                stream.wait_sent(None)?;
            }
            Ok(())
        };
        let _: Result<(), StreamEnd> = (0..1000).try_for_each(|_| write());
        Status::ok()
    });
    let _clients: Vec<_> = (0..50).map(|_| dial(&endpoint)).collect();
    (0..50).for_each(|_| is_blocked.recv_timeout(PATIENCE).unwrap());
    assert_eq!(gossip.serving(), 50);
    let start = Instant::now();
    assert!(gossip.stop(ms(10)));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(gossip.serving(), 0);
    assert!(gossip.stop(ms(10)), "a second stop does nothing");
}

#[test]
fn an_acceptor_that_panics_harms_one_stream_only() {
    let (gossip, _server, endpoint) = host(Limits::default(), |stream| match stream.recv(None) {
        Ok(Some(message)) if message == "panic" => panic!("user code"),
        _ => Status::unknown("fine"),
    });
    for (message, code, text) in [("panic", code::INTERNAL, "the handler failed"), ("no", 2, "fine")] {
        let stream = dial(&endpoint);
        stream.send(message.into()).unwrap();
        assert_eq!(end(&*stream), StreamEnd::Remote(Status { code, message: text.into() }));
    }
    eventually("both threads have ended", || gossip.serving() == 0);
}

#[test]
fn peers_refuse_us_until_the_certificate_is_the_one_that_the_server_shows() {
    let net = Host::new();
    let (ours, before) = (member("node"), member("before"));
    let gossip = on_host(Some(tls_of("node", ours.clone())));
    gossip.set_certificate(&Pem::new("before", before.tls_cert)).unwrap();
    let (_server, endpoint) = serve(Some(&ours), [gossip.service()]);
    let builder = net.builder("node").transport(Arc::new(gossip.clone()));
    let _comm = builder.listen(&endpoint).start().unwrap();
    let other = net.node("other");
    let peer = RemotePeer::new(&endpoint);
    let error = other.handshake(&peer).unwrap_err();
    assert!(error.message().contains("in remote hash of TLS cert"), "{error}");

    let error = gossip.set_certificate(&Pem::new("nonsense", "no PEM")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.message().contains("nonsense"), "{error}");
    gossip.set_certificate(&Pem::new("ours", ours.tls_cert)).unwrap();
    assert_eq!(other.handshake(&peer).unwrap().info.id, id("node"));
}

#[test]
fn a_transport_on_a_host_serves_one_comm() {
    let net = Host::new();
    let gossip = on_host(None);
    let start = || net.builder("node").transport(Arc::new(gossip.clone())).listen("host:1").start();
    let _comm = start().unwrap();
    let error = start().map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
