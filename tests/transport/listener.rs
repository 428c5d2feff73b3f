//! Strangers at the listening socket: what they may do, for how long, and what is counted.

use super::net::*;
use crate::certs::Authority;
use fabric_gossip::transport::http2::{Http2Transport, Options, Refusal};
use fabric_gossip::transport::{ClientAuth, Limits, Pem, Server, Tls, Transport};
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// A short time limit of a server.
const SHORT: Duration = Duration::from_millis(200);

fn listening(tls: Option<Tls>, limits: Limits, options: Options) -> (Http2Transport, Box<dyn Server>) {
    let transport = Http2Transport::new(tls, limits, options).unwrap();
    let server = transport.listen("127.0.0.1:0", echo()).unwrap();
    (transport, server)
}

fn limits(adjust: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    adjust(&mut limits);
    limits
}

fn connect(server: &dyn Server) -> TcpStream {
    let socket = TcpStream::connect(server.local_addr()).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Reads to the end, which must come: how long it took, and what came.
fn read_to_end(mut socket: TcpStream) -> (Duration, Vec<u8>) {
    let begun = Instant::now();
    let mut read = Vec::new();
    // A reset is an end, too.
    if let Err(e) = socket.read_to_end(&mut read) {
        assert!(e.kind() != std::io::ErrorKind::WouldBlock, "the connection stays");
    }
    (begun.elapsed(), read)
}

fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 0], payload].concat()
}

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, &[])].concat()
}

#[test]
fn who_says_nothing_is_disconnected_at_the_limit_of_the_handshake() {
    let ca = Authority::new("ca");
    for tls in [None, Some(tls(&ca.leaf("a"), &ca))] {
        let (transport, server) = listening(tls, limits(|l| l.handshake_timeout = SHORT), Options::default());
        let (took, _) = read_to_end(connect(&*server));
        assert!((SHORT..SHORT * 10).contains(&took), "{took:?}");
        eventually("it is counted", || transport.refused(Refusal::Timeout) == 1);
    }
}

#[test]
fn who_opens_no_stream_is_disconnected_at_the_limit_of_idleness() {
    let (transport, server) = listening(None, limits(|l| l.max_connection_idle = SHORT), Options::default());
    let mut socket = connect(&*server);
    socket.write_all(&preface()).unwrap();
    let (took, _) = read_to_end(socket);
    assert!((SHORT..SHORT * 10).contains(&took), "{took:?}");
    eventually("it is counted", || transport.refused(Refusal::Timeout) == 1);
}

#[test]
fn a_connection_whose_streams_have_ended_is_closed_at_the_limit_of_idleness() {
    let (_, server) = listening(None, limits(|l| l.max_connection_idle = SHORT), Options::default());
    let connection = dial(None, server.local_addr()).unwrap();
    connection.ping(SOON).unwrap();
    let stream = connection.open(None).unwrap();
    // With a stream it stays.
    assert_eq!(stream.recv(Some(3 * SHORT)), Ok(None));
    stream.cancel();
    let other = open(None, server.local_addr());
    assert_eq!(other.recv(Some(3 * SHORT)), Ok(None));
    assert!(connection.ping(SOON).is_err(), "it is closed");
}

#[test]
fn connections_of_one_address_without_a_stream_are_limited() {
    let mut options = Options::default();
    options.max_pending_per_address = 2;
    let (transport, server) = listening(None, Limits::default(), options);
    let _kept = [connect(&*server), connect(&*server)];
    let (took, _) = read_to_end(connect(&*server));
    assert!(took < Duration::from_secs(3), "{took:?}");
    eventually("it is counted", || transport.refused(Refusal::TooManyPending) == 1);
    drop(_kept);
    eventually("there is room again", || dial(None, server.local_addr()).is_ok());
}

#[test]
fn connections_in_all_are_limited() {
    let mut options = Options::default();
    options.max_connections = 1;
    let (transport, server) = listening(None, Limits::default(), options);
    let stream = open(None, server.local_addr());
    assert!(dial(None, server.local_addr()).is_err());
    assert_eq!(transport.refused(Refusal::TooManyConnections), 1);
    drop(stream);
    eventually("there is room again", || dial(None, server.local_addr()).is_ok());
}

#[test]
fn what_fails_in_tls_is_told_apart() {
    let (ca, clients) = (Authority::new("ca"), Authority::new("clients"));
    let verify = config(&ca.leaf("b"), &ca).client_auth(ClientAuth::Verify(Pem::new("roots", clients.pem())));
    let (transport, server) = listening(Some(Tls::new(verify).unwrap()), Limits::default(), Options::default());
    let counted = |refusal| eventually(&format!("{refusal:?}"), || transport.refused(refusal) == 1);

    let mut socket = connect(&*server);
    socket.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    read_to_end(socket);
    counted(Refusal::NotTls);

    let handshake = |alpn: bool, version| {
        let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
        connector.set_verify(SslVerifyMode::NONE);
        connector.set_max_proto_version(version).unwrap();
        connector.set_security_level(0);
        connector.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
        if alpn {
            connector.set_alpn_protos(b"\x08http/1.1").unwrap();
        }
        if let Ok(mut tls) = connector.build().connect("localhost", connect(&*server)) {
            let _ = tls.read(&mut [0; 100]);
        }
    };
    handshake(true, None);
    counted(Refusal::NoAlpn);
    handshake(false, Some(openssl::ssl::SslVersion::TLS1_1));
    counted(Refusal::Version);
    handshake(false, None);
    counted(Refusal::NoCertificate);
    dial(Some(&tls(&ca.leaf("c"), &ca)), server.local_addr()).err().unwrap();
    counted(Refusal::BadCertificate);

    drop(connect(&*server));
    counted(Refusal::Closed);
}

#[test]
fn who_violates_http2_is_disconnected_with_a_goaway_frame() {
    let (transport, server) = listening(None, Limits::default(), Options::default());
    let mut socket = connect(&*server);
    // DATA of a stream that was never opened.
    socket.write_all(&[preface(), vec![0, 0, 1, 0, 0, 0, 0, 0, 1, 7]].concat()).unwrap();
    let (_, read) = read_to_end(socket);
    assert!(frames(&read).iter().any(|(kind, _)| *kind == 7), "no GOAWAY in {read:?}");
    eventually("it is counted", || transport.refused(Refusal::Protocol) == 1);
}

#[test]
fn a_client_that_pings_too_often_is_told_so_and_disconnected() {
    let (_, server) = listening(None, Limits::default(), Options::default());
    let mut socket = connect(&*server);
    socket.write_all(&[preface(), frame(6, 0, &[0; 8]).repeat(5)].concat()).unwrap();
    let (_, read) = read_to_end(socket);
    let told = |(kind, payload): &(u8, Vec<u8>)| *kind == 7 && payload.ends_with(b"too_many_pings");
    assert!(frames(&read).iter().any(told), "{:?}", String::from_utf8_lossy(&read));
}

/// The frames in these bytes: kind and payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while bytes.len() >= 9 {
        let length = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]) as usize;
        frames.push((bytes[3], bytes[9..(9 + length).min(bytes.len())].to_vec()));
        bytes = &bytes[(9 + length).min(bytes.len())..];
    }
    frames
}
