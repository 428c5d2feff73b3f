//! Every limit of the HTTP/2 transport and the rules of the protocol, broken by one connection each: it ends with the
//! right error, and a well-behaved peer notices nothing.

use super::attack::Attack;
use super::common::http2::*;
use super::common::PATIENCE;
use super::victim::{Over, Victim, MSP_ID};
use super::{tls_of, Witness, TURN};
use crossbeam_channel::{bounded, Receiver};
use fabric_gossip::testing::cryptogen::Org;
use fabric_gossip::transport::http2::{Http2Transport, Options};
use fabric_gossip::transport::{Acceptor, Limits, Status, Stream, Transport};
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::sync::Arc;

const PROTOCOL_ERROR: u32 = 1;
const INTERNAL_ERROR: u32 = 2;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;
const ENHANCE_YOUR_CALM: u32 = 11;

/// A server and a well-behaved peer.
struct Scene {
    org: Org,
    victim: Victim,
    witness: Witness,
    wrong: Vec<String>,
}

impl Scene {
    fn new() -> Scene {
        let org = Org::new(MSP_ID, "test.example.com").unwrap();
        let victim = Victim::start(&org, Over::Http2, None);
        let mut witness = Witness::new(&org, "witness", &victim.endpoint, PATIENCE);
        assert!(witness.round_trip().is_some());
        Scene { org, victim, witness, wrong: Vec::new() }
    }

    /// Breaks a rule on a new connection. It ends with GOAWAY and one of these codes.
    fn ends(&mut self, what: &str, codes: &[u32], violate: impl FnOnce(&mut Http2) -> Result<()>) {
        let attack = Attack::new(&self.victim.other_endpoint, &self.org);
        let mut connection = attack.connect(&attack.member).unwrap();
        // The connection may end while this is written.
        let _ = violate(&mut connection);
        connection.await_close();
        let code = connection.goaway;
        if !code.is_some_and(|code| codes.contains(&code)) {
            self.wrong.push(format!("{what}: {code:?} instead of {codes:?}"));
        }
        assert!(self.witness.round_trip().is_some(), "{what}: the well-behaved peer is disturbed");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        }
    }
}

#[test]
fn broken_rules_end_the_connection_with_their_code() {
    let _turn = TURN.lock();
    let mut scene = Scene::new();
    let zero = [0; 4];
    scene.ends("DATA on a stream that was never opened", &[PROTOCOL_ERROR], |c| c.frame(DATA, 0, 1, b"x"));
    scene.ends("a stream with an even number", &[PROTOCOL_ERROR], |c| c.frame(HEADERS, END_HEADERS, 2, &literal(0)));
    scene.ends("HEADERS on stream 0", &[PROTOCOL_ERROR], |c| c.frame(HEADERS, END_HEADERS, 0, &literal(0)));
    scene.ends("PUSH_PROMISE", &[PROTOCOL_ERROR], |c| {
        let stream = c.open()?;
        c.frame(PUSH_PROMISE, END_HEADERS, stream, &[&[0, 0, 0, 2], &literal(0)[..]].concat())
    });
    scene.ends("a window update of zero on the connection", &[PROTOCOL_ERROR], |c| c.frame(WINDOW_UPDATE, 0, 0, &zero));
    scene.ends("a window update of zero on a stream", &[PROTOCOL_ERROR], |c| {
        let stream = c.open()?;
        c.frame(WINDOW_UPDATE, 0, stream, &zero)
    });
    scene.ends("a window that overflows", &[FLOW_CONTROL_ERROR], |c| {
        c.frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffffu32.to_be_bytes())
    });
    scene.ends("a stream's window that overflows", &[FLOW_CONTROL_ERROR], |c| {
        let stream = c.open()?;
        c.frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffffu32.to_be_bytes())
    });
    scene.ends("an initial window above the maximum", &[FLOW_CONTROL_ERROR], |c| {
        c.frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff])
    });
    scene.ends("DATA after the end of the stream", &[STREAM_CLOSED, PROTOCOL_ERROR], |c| {
        // In one write: DATA that follows the server's own end of the stream is ignored.
        let stream = c.number_of_next();
        let mut out = frame(HEADERS, END_HEADERS | END_STREAM, stream, &literal(0));
        add_frame(&mut out, DATA, 0, stream, b"x");
        c.raw(&out)
    });
    scene.ends("a frame above 16 KiB", &[FRAME_SIZE_ERROR], |c| c.raw(&frame(250, 0, 0, &[0; 20_000])));
    scene.ends("SETTINGS of five bytes", &[FRAME_SIZE_ERROR], |c| c.frame(SETTINGS, 0, 0, &[0; 5]));
    scene.ends("PING of seven bytes", &[FRAME_SIZE_ERROR], |c| c.frame(PING, 0, 0, &[0; 7]));
    scene
        .ends("RST_STREAM for a stream that was never opened", &[PROTOCOL_ERROR], |c| c.frame(RST_STREAM, 0, 9, &zero));
    scene.ends("a header block that cannot be decompressed", &[COMPRESSION_ERROR], |c| {
        c.frame(HEADERS, END_HEADERS, 1, &[0xff; 20])
    });
    scene.ends("another frame inside a header block", &[PROTOCOL_ERROR], |c| {
        c.frame(HEADERS, 0, 1, &literal(0))?;
        c.frame(PING, 0, 0, &[0; 8])
    });
    scene.ends("CONTINUATION without HEADERS", &[PROTOCOL_ERROR], |c| c.frame(CONTINUATION, 0, 1, &literal(0)));
}

/// Takes no message of any stream until the test is over: a message that an application waits for has its window granted
/// again while it comes.
struct TakesNothing(Receiver<()>);

impl Acceptor for TakesNothing {
    fn gossip_stream(&self, _: Arc<dyn Stream>) -> Status {
        let _ = self.0.recv();
        Status::ok()
    }
}

#[test]
fn more_data_than_the_window_ends_the_connection() {
    let org = Org::new(MSP_ID, "test.example.com").unwrap();
    let server = tls_of(&org.peer("server").unwrap());
    let (over, until_over) = bounded(0);
    let transport = Http2Transport::new(Some(server), Limits::default(), Options::default()).unwrap();
    let server = transport.listen("127.0.0.1:0", Arc::new(TakesNothing(until_over))).unwrap();
    let mut connection = Http2::connect(server.local_addr(), Some(&org.peer("hostile").unwrap())).unwrap();
    let stream = connection.open().unwrap();
    connection.raw(&frame(DATA, 0, stream, &announcement(90_000))).unwrap();
    // The connection may end while this is written.
    let _ = connection.raw(&frame(DATA, 0, stream, &[7; 16 << 10]).repeat(5));
    connection.await_close();
    assert_eq!(connection.goaway, Some(FLOW_CONTROL_ERROR));
    drop(over);
}

#[test]
fn exceeded_limits_end_the_connection_with_their_code() {
    let _turn = TURN.lock();
    let mut scene = Scene::new();
    let calm = [ENHANCE_YOUR_CALM];
    scene
        .ends("65 header fields", &calm, |c| c.open_with(&[literal(0), field("a", "b").repeat(59)].concat()).map(drop));
    scene.ends("a header list of more than 16 KiB", &calm, |c| {
        // Each is 161 bytes as RFC 9113 counts; with two references to each, above 16 KiB within 64 fields.
        let long = [
            &[0x40, 1, b'x', 127, (900 - 127) as u16 as u8 & 0x7f | 0x80, ((900 - 127) / 128) as u8][..],
            &[b'y'; 900],
        ];
        let block = [&literal(0)[..], &long.concat(), &[0x80 | 62; 30]].concat();
        c.frame(HEADERS, END_HEADERS, 1, &block)
    });
    scene.ends("20 CONTINUATION frames", &[ENHANCE_YOUR_CALM, PROTOCOL_ERROR], |c| {
        c.frame(HEADERS, 0, 1, &literal(0))?;
        c.raw(&frame(CONTINUATION, 0, 1, &[]).repeat(20))
    });
    scene.ends("SETTINGS of 33 entries", &calm, |c| c.frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255].repeat(33)));
    scene.ends("1,000 SETTINGS in one write", &calm, |c| c.raw(&frame(SETTINGS, 0, 0, &[]).repeat(1000)));
    scene.ends("1,000 PINGs in one write", &calm, |c| c.raw(&frame(PING, 0, 0, &[0; 8]).repeat(1000)));
    scene.ends("four PINGs without data", &calm, |c| {
        for _ in 0..4 {
            c.frame(PING, 0, 0, &[0; 8])?;
            c.read(Some(PATIENCE))?;
        }
        Ok(())
    });
    // nghttp2 counts resets, and names the excess an internal error.
    scene.ends("50 streams opened and reset", &[ENHANCE_YOUR_CALM, INTERNAL_ERROR], |c| c.open_and_reset(50));
    scene.ends("1,000 streams above the limit", &calm, |c| {
        let mut out = Vec::new();
        for _ in 0..1000 {
            let stream = c.number_of_next();
            add_frame(&mut out, HEADERS, END_HEADERS, stream, &literal(0));
        }
        c.raw(&out)
    });
}

#[test]
fn connections_that_do_not_negotiate_http2_end() {
    let _turn = TURN.lock();
    let mut scene = Scene::new();
    let endpoint = scene.victim.other_endpoint.clone();
    let other = tls_offering(&endpoint, None, b"\x08http/1.1").map(drop).expect_err("accepted").to_string();
    assert!(other.contains("no application protocol"), "{other}");
    // TLS has no alert for a client that offers nothing.
    let mut none = tls_offering(&endpoint, None, b"").unwrap();
    assert_eq!(none.read(&mut [0; 100]).unwrap(), 0, "TLS is closed in order");
    // Plain text is no TLS that could be answered.
    let mut plain = TcpStream::connect(&endpoint).unwrap();
    plain.set_read_timeout(Some(PATIENCE)).unwrap();
    plain.write_all(PREFACE).unwrap();
    let closed = match plain.read(&mut [0; 100]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    };
    assert!(closed, "plain text is answered");
    assert!(scene.witness.round_trip().is_some());
}
