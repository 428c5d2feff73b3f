//! The attacks.

use super::attack::{data, Attack, Held};
use super::common::http2::{announcement, tls, Http2};
use super::victim::{Over, PULL};
use super::{hold_out, Case, HTTP2_MIB};
use crate::for_each_victim;
use std::io::{ErrorKind, Read, Result, Write};
use std::net::TcpStream;
use std::time::Duration;

for_each_victim!(
    connections_that_stay_silent,
    tls_connections_that_stay_silent,
    http2_connections_that_stay_silent,
    streams_that_stay_silent,
    one_byte_a_second_of_tls,
    one_byte_a_second_of_a_message,
    a_flood_of_small_messages,
    a_flood_of_small_first_messages,
    a_flood_of_huge_first_messages,
    a_flood_of_huge_messages,
    messages_that_never_end,
    hundreds_of_streams_on_one_connection,
    hundreds_of_streams_on_many_connections,
    streams_that_are_reset_in_a_loop,
    connections_that_come_and_go,
    streams_that_are_reset_as_densely_as_can_be,
    handshakes_that_come_and_go,
    a_thousand_identities,
    a_thousand_identities_that_are_not_valid,
    peers_that_stop_reading,
);

pub const SECOND: Option<Duration> = Some(Duration::from_secs(1));

/// Connects without TLS.
pub fn plain(attack: &Attack) -> Result<Held<TcpStream>> {
    attack.hold(TcpStream::connect(&attack.endpoint)?, |socket| socket)
}

/// Waits until the other side closes.
pub fn await_close(socket: &mut TcpStream) {
    let mut buffer = [0; 4096];
    while matches!(socket.read(&mut buffer), Ok(1..)) {}
}

/// Opens 500 TCP connections, and waits for the end of each.
pub fn silent_sockets(attack: &Attack) -> Result<()> {
    let sockets: Vec<_> = (0..500).map(|_| plain(attack)).collect::<Result<_>>()?;
    for mut socket in sockets {
        await_close(&mut socket);
        attack.did();
    }
    Ok(())
}

/// Opens 64 streams on a connection, and waits for the end of each.
fn silent_streams(attack: &Attack) -> Result<()> {
    let mut connection = attack.connect(&attack.member)?;
    let streams: Vec<_> = (0..64).map(|_| connection.open()).collect::<Result<_>>()?;
    for stream in streams {
        connection.await_end(stream)?;
        attack.did();
    }
    Ok(())
}

fn connections_that_stay_silent(over: Over) {
    hold_out(
        over,
        &Case {
            what: "TCP, then silence: 500 connections",
            by: 1,
            attack: silent_sockets,
            times: 500,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 8,
            descriptors: 510,
            quota: None,
        },
    );
}

fn tls_connections_that_stay_silent(over: Over) {
    hold_out(
        over,
        &Case {
            what: "TLS, then silence: 200 connections",
            by: 2,
            attack: |attack| {
                let connect = || attack.hold(tls(&attack.endpoint, Some(&attack.member))?, |tls| tls.get_ref());
                let connections: Vec<_> = (0..100).map(|_| connect()).collect::<Result<_>>()?;
                for connection in connections {
                    await_close(&mut connection.get_ref().try_clone()?);
                    attack.did();
                }
                Ok(())
            },
            times: 200,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 8,
            descriptors: 210,
            quota: None,
        },
    );
}

fn http2_connections_that_stay_silent(over: Over) {
    hold_out(
        over,
        &Case {
            what: "HTTP/2, then silence: 200 connections",
            by: 2,
            attack: |attack| {
                let connections: Vec<_> = (0..100).map(|_| attack.connect(&attack.member)).collect::<Result<_>>()?;
                for mut connection in connections {
                    connection.await_close();
                    attack.did();
                }
                Ok(())
            },
            times: 200,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 8,
            descriptors: 210,
            quota: None,
        },
    );
}

fn streams_that_stay_silent(over: Over) {
    hold_out(
        over,
        &Case {
            what: "streams that stay silent: 64 on each of 8 connections",
            by: 8,
            attack: silent_streams,
            times: 300,
            mib: 96,
            http2_mib: HTTP2_MIB,
            // A thread for each of 512 streams; connections that end while the next ones come.
            threads: 520,
            descriptors: 32,
            quota: None,
        },
    );
}

/// One byte, and then a second for the other side to close.
pub fn trickle(mut socket: impl Read + Write, bytes: &[u8], mut once: impl FnMut()) -> Result<()> {
    for byte in bytes {
        socket.write_all(&[*byte])?;
        once();
        match socket.read(&mut [0; 4096]) {
            Ok(1..) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Ok(0) => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn one_byte_a_second_of_tls(over: Over) {
    hold_out(
        over,
        &Case {
            what: "one byte a second of TLS: 100 connections",
            by: 100,
            attack: |attack| {
                let socket = plain(attack)?;
                socket.set_read_timeout(SECOND)?;
                // A TLS record of 512 bytes that is said to follow.
                trickle(&*socket, &[&[22, 3, 1, 2, 0, 1, 0, 1, 252][..], &[3; 512]].concat(), || attack.did())
            },
            times: 300,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 8,
            descriptors: 110,
            quota: None,
        },
    );
}

fn one_byte_a_second_of_a_message(over: Over) {
    hold_out(
        over,
        &Case {
            what: "one byte a second of a first message: 100 connections",
            by: 100,
            attack: |attack| {
                let hello = attack.hello(&attack.member, |signature| signature);
                let mut connection = attack.connect(&attack.member)?;
                let stream = connection.open()?;
                connection.send(stream, &announcement(hello.len() as u32))?;
                for byte in hello {
                    connection.send(stream, &[byte])?;
                    attack.did();
                    connection.read(SECOND)?;
                    if connection.ended.contains(&stream) {
                        break;
                    }
                }
                Ok(())
            },
            times: 300,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 110,
            descriptors: 110,
            quota: None,
        },
    );
}

fn a_flood_of_small_messages(over: Over) {
    hold_out(
        over,
        &Case {
            what: "small messages, authenticated",
            by: 2,
            attack: |attack| {
                let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
                let message = data("flood", 10);
                while !attack.is_over() {
                    connection.message(stream, &message)?;
                    attack.did();
                }
                Ok(())
            },
            times: 20_000,
            mib: 128,
            http2_mib: HTTP2_MIB,
            threads: 32,
            descriptors: 16,
            quota: None,
        },
    );
}

fn a_flood_of_small_first_messages(over: Over) {
    hold_out(
        over,
        &Case {
            what: "small first messages that are none",
            by: 2,
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                let message = data("flood", 10);
                while !attack.is_over() {
                    let stream = connection.open()?;
                    connection.message(stream, &message)?;
                    connection.await_end(stream)?;
                    attack.did();
                }
                Ok(())
            },
            times: 1000,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 64,
            descriptors: 16,
            quota: None,
        },
    );
}

/// Sends as much of a message of this length as the other side takes.
fn pour(attack: &Attack, connection: &mut Http2, stream: u32, length: u32) -> Result<()> {
    let part = vec![7; 1 << 20];
    connection.send(stream, &announcement(length))?;
    attack.did();
    for _ in 0..length >> 20 {
        connection.send(stream, &part)?;
        attack.did();
    }
    Ok(())
}

fn a_flood_of_huge_first_messages(over: Over) {
    hold_out(
        over,
        &Case {
            what: "first messages of 4 GiB (announcements, and MiB)",
            by: 4,
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                let stream = connection.open()?;
                pour(attack, &mut connection, stream, u32::MAX)
            },
            times: 500,
            mib: 400,
            http2_mib: HTTP2_MIB,
            threads: 64,
            descriptors: 16,
            quota: None,
        },
    );
}

fn a_flood_of_huge_messages(over: Over) {
    hold_out(
        over,
        &Case {
            what: "messages of 99 MiB, authenticated",
            by: 4,
            attack: |attack| {
                let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
                let message = data("flood", 99 << 20);
                while !attack.is_over() {
                    connection.message(stream, &message)?;
                    attack.did();
                }
                Ok(())
            },
            times: 6,
            mib: 2000,
            // Four messages at a time, whose memory doubles while they come and is copied once.
            http2_mib: 900,
            threads: 32,
            descriptors: 16,
            quota: None,
        },
    );
}

fn messages_that_never_end(over: Over) {
    hold_out(
        over,
        &Case {
            what: "messages of 4 GiB, authenticated (announcements, and MiB), with a quota of 256 MiB",
            by: 4,
            attack: |attack| {
                let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
                pour(attack, &mut connection, stream, u32::MAX)
            },
            times: 1000,
            mib: 1200,
            http2_mib: HTTP2_MIB,
            threads: 32,
            descriptors: 16,
            quota: Some(256),
        },
    );
}

fn hundreds_of_streams_on_one_connection(over: Over) {
    hold_out(
        over,
        &Case {
            what: "500 streams on one connection",
            by: 1,
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                // Either they are refused one by one, or the connection is closed for having more than it may.
                let open = |_| connection.open().inspect(|_| attack.did());
                let streams: Vec<_> = (0..500).map(open).collect::<Result<_>>()?;
                streams.into_iter().try_for_each(|stream| connection.await_end(stream))
            },
            times: 1000,
            mib: 96,
            http2_mib: HTTP2_MIB,
            // When a connection is closed for having more streams than it may, the threads of these run until they are
            // scheduled, and keep its descriptor, while the next connection brings as many.
            threads: 1010,
            descriptors: 64,
            quota: None,
        },
    );
}

fn hundreds_of_streams_on_many_connections(over: Over) {
    hold_out(
        over,
        &Case {
            what: "64 streams on each of 20 connections",
            by: 20,
            attack: silent_streams,
            times: 600,
            mib: 128,
            http2_mib: HTTP2_MIB,
            threads: 600,
            descriptors: 32,
            quota: None,
        },
    );
}

fn streams_that_are_reset_in_a_loop(over: Over) {
    hold_out(
        over,
        &Case {
            what: "streams opened and reset",
            by: 2,
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                while !attack.is_over() {
                    for _ in 0..50 {
                        let stream = connection.open()?;
                        connection.reset(stream)?;
                        attack.did();
                    }
                    connection.read(Some(Duration::from_micros(1)))?;
                }
                Ok(())
            },
            times: 50_000,
            mib: 400,
            http2_mib: HTTP2_MIB,
            threads: 600,
            descriptors: 16,
            quota: None,
        },
    );
}

fn connections_that_come_and_go(over: Over) {
    hold_out(
        over,
        &Case {
            what: "connect and close",
            by: 2,
            attack: |attack| {
                plain(attack)?;
                attack.did();
                Ok(())
            },
            times: 5000,
            mib: 400,
            http2_mib: HTTP2_MIB,
            threads: 16,
            descriptors: 20000,
            quota: None,
        },
    );
}

/// One burst for each connection, which it costs: with new connections again and again it is not bounded, see docs/security.md.
fn streams_that_are_reset_as_densely_as_can_be(over: Over) {
    hold_out(
        over,
        &Case {
            what: "streams opened and reset, thousands in one write",
            by: 2,
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                // It may end already while this is written.
                let _ = connection.open_and_reset(5000);
                while connection.read(None).is_ok() {}
                (0..5000).for_each(|_| attack.did());
                attack.await_over();
                Ok(())
            },
            times: 10_000,
            mib: 400,
            http2_mib: HTTP2_MIB,
            threads: 600,
            descriptors: 16,
            quota: None,
        },
    );
}

fn handshakes_that_come_and_go(over: Over) {
    hold_out(
        over,
        &Case {
            what: "authenticate and close",
            by: 2,
            attack: |attack| {
                attack.authenticate(&attack.member)?;
                attack.did();
                Ok(())
            },
            times: 200,
            mib: 96,
            http2_mib: HTTP2_MIB,
            threads: 200,
            descriptors: 200,
            quota: None,
        },
    );
}

fn a_thousand_identities(over: Over) {
    hold_out(
        over,
        &Case {
            what: "a thousand identities, all connected",
            by: 4,
            attack: |attack| {
                let all: Vec<_> = (0..250)
                    .map(|_| {
                        let connected = attack.authenticate(&attack.org.peer(&attack.name()).unwrap());
                        attack.did();
                        connected
                    })
                    .collect::<Result<_>>()?;
                for (mut connection, _) in all {
                    connection.await_close();
                }
                Ok(())
            },
            times: 1000,
            mib: 512,
            // They are connected: two threads and their stacks for each.
            http2_mib: 128,
            threads: 2100,
            descriptors: 1010,
            quota: None,
        },
    );
}

fn a_thousand_identities_that_are_not_valid(over: Over) {
    hold_out(
        over,
        &Case {
            what: "expired identities, and wrong signatures",
            by: 4,
            attack: |attack| {
                let expired = attack.org.member(&attack.name()).expired().issue().unwrap();
                let valid = attack.org.peer(&attack.name()).unwrap();
                for (member, wrong) in [(&expired, false), (&valid, true)] {
                    let hello = attack.hello(&valid, |mut signature| {
                        if wrong {
                            *signature.last_mut().unwrap() ^= 1;
                        }
                        signature
                    });
                    let mut connection = attack.connect(member)?;
                    for _ in 0..10 {
                        let stream = connection.open()?;
                        connection.message(stream, &hello)?;
                        connection.await_end(stream)?;
                        attack.did();
                    }
                }
                Ok(())
            },
            times: 1000,
            mib: 64,
            http2_mib: HTTP2_MIB,
            threads: 64,
            descriptors: 16,
            quota: None,
        },
    );
}

fn peers_that_stop_reading(over: Over) {
    hold_out(
        over,
        &Case {
            what: "ten that read nothing of what they ask for",
            by: 10,
            attack: |attack| {
                let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
                connection.takes = false;
                let pull = data(PULL, 10);
                for _ in 0..100 {
                    connection.message(stream, &pull)?;
                    attack.did();
                }
                attack.await_over();
                Ok(())
            },
            times: 1000,
            mib: 800,
            // The application fills ten queues of messages.
            http2_mib: 200,
            threads: 64,
            descriptors: 16,
            quota: None,
        },
    );
}
