//! Two sessions that talk in memory, and floods of hostile frames.

use super::super::framing::prefix;
use super::super::grpc;
use super::*;
use crate::transport::Status;

fn options(server: bool) -> SessionOptions {
    SessionOptions {
        server,
        max_streams: 8,
        stream_window: 1 << 20,
        connection_window: 1 << 20,
        max_receive: 10 << 20,
        budget: Arc::new(Budget::new(None)),
    }
}

/// A client and a server that exchange their bytes in memory.
struct Pair {
    client: Session,
    server: Session,
}

/// Moves everything that one session wants to send to the other.
fn carry(from: &mut Session, to: &mut Session) -> Result<bool, Violation> {
    let mut moved = false;
    loop {
        let batch = from.fill()?;
        if batch.is_empty() {
            return Ok(moved);
        }
        let bytes = std::mem::take(batch);
        for piece in bytes.chunks(16_384) {
            to.receive(piece)?;
        }
        moved = true;
    }
}

impl Pair {
    fn new() -> Pair {
        let session = |server| Session::new(options(server)).unwrap();
        let mut pair = Pair { client: session(false), server: session(true) };
        pair.exchange();
        assert!(pair.client.settings_received() && pair.server.settings_received());
        pair
    }

    fn exchange(&mut self) {
        while carry(&mut self.client, &mut self.server).unwrap() | carry(&mut self.server, &mut self.client).unwrap() {}
    }

    /// Opens a stream.
    fn open(&mut self) -> i32 {
        let id = self.client.request(&grpc::request(false, "h:1", "/a/b", None)).unwrap();
        self.exchange();
        assert!(self.client.flow(id).unwrap().opened);
        match &self.server.take_events()[..] {
            [Event::Request(at, fields)] => {
                assert_eq!((*at, grpc::read_request(fields).unwrap().path.as_str()), (id, "/a/b"))
            }
            other => panic!("{other:?}"),
        }
        id
    }
}

fn is_violation(result: Result<(), Violation>, part: &str) {
    let text = result.expect_err("accepted").0;
    assert!(text.contains(part), "{part:?} is not in: {text}");
}

#[test]
fn messages_statuses_and_ends_pass_both_ways() {
    let mut pair = Pair::new();
    let id = pair.open();
    let sizes = [0, 1, 100, 70_000, 3_000_000];
    for size in sizes {
        pair.client.queue(id, vec![7; size].into());
    }
    pair.client.end(id, End::HalfClose);
    pair.server.allow(id, 10 << 20);
    pair.exchange();
    let mut received = Vec::new();
    while let Some(message) = pair.server.take(id) {
        received.push(message.len());
        pair.exchange();
    }
    assert_eq!(received, sizes);
    assert!(pair.server.flow(id).unwrap().half_closed);
    pair.server.respond(id, &grpc::response());
    pair.server.queue(id, "answer".into());
    let status = Status::unknown("done");
    pair.server.end(id, End::Trailers(grpc::trailers(&status)));
    pair.exchange();
    assert_eq!(pair.client.take(id).unwrap(), "answer");
    let flow = pair.client.flow(id).unwrap();
    assert_eq!(grpc::read_status(flow.head.as_deref(), flow.last.as_ref().unwrap()), status);
    assert_eq!(flow.closed, Some(reset::NO_ERROR));
    pair.client.forget(id);
    assert!(pair.client.flow(id).is_none());
}

#[test]
fn a_peer_sends_no_more_than_the_window_until_messages_are_taken() {
    let mut pair = Pair::new();
    let id = pair.open();
    (0..100).for_each(|_| pair.client.queue(id, vec![1; 10_000].into()));
    pair.exchange();
    let left = pair.client.flow(id).unwrap().queued();
    assert_eq!(left, 100 * 10_005 - FIRST_WINDOW, "a stranger's window");
    // An application that takes any message widens it.
    pair.server.allow(id, 10 << 20);
    pair.exchange();
    assert_eq!(pair.client.flow(id).unwrap().queued(), 0);
    (0..200).for_each(|_| pair.client.queue(id, vec![1; 10_000].into()));
    pair.exchange();
    assert!(pair.client.flow(id).unwrap().queued() > 0);
    let mut taken = 0;
    while pair.server.take(id).is_some() {
        taken += 1;
        pair.exchange();
    }
    assert_eq!(taken, 300);
}

#[test]
fn long_messages_follow_one_another_through_a_smaller_window() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.allow(id, 10 << 20);
    for _ in 0..20 {
        pair.client.queue(id, vec![1; 5 << 20].into());
        pair.exchange();
        assert_eq!(pair.server.take(id).map(|message| message.len()), Some(5 << 20));
    }
}

#[test]
fn a_message_above_what_is_allowed_does_not_get_beyond_the_window() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.allow(id, 256 << 10);
    pair.client.queue(id, vec![1; 5 << 20].into());
    pair.exchange();
    let flow = pair.server.flow(id).unwrap();
    assert_eq!(flow.next_announced(), Some(5 << 20));
    assert!(pair.client.flow(id).unwrap().queued() > (4 << 20));
}

#[test]
fn an_exhausted_budget_withholds_the_connection_window_until_there_is_room() {
    let budget = Arc::new(Budget::new(Some(500_000)));
    let mut pair = Pair::new();
    // SAFETY: nothing else refers to the state here.
    unsafe { (*pair.server.state).options.budget = budget };
    let id = pair.open();
    pair.server.allow(id, 10 << 20);
    (0..300).for_each(|_| pair.client.queue(id, vec![1; 10_000].into()));
    pair.exchange();
    assert!(pair.client.flow(id).unwrap().queued() > 0, "it waits");
    let mut taken = 0;
    while pair.server.take(id).is_some() {
        taken += 1;
        pair.exchange();
    }
    assert_eq!(taken, 300, "and nothing is lost");
}

#[test]
fn a_batch_stops_at_its_size() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.allow(id, 10 << 20);
    pair.exchange();
    pair.client.queue(id, vec![1; 1_000_000].into());
    let size = pair.client.fill().unwrap().len();
    assert!((BATCH..BATCH + 16_384 + 9).contains(&size), "{size}");
}

#[test]
fn the_server_ends_a_stream_that_its_client_has_not_ended() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.respond_only(id, &grpc::trailers_only(&Status::unknown("no")));
    pair.exchange();
    let flow = pair.client.flow(id).unwrap();
    assert_eq!((flow.half_closed, flow.closed), (true, Some(reset::NO_ERROR)));
    assert_eq!(grpc::read_status(None, flow.last.as_ref().unwrap()), Status::unknown("no"));
}

#[test]
fn streams_above_the_limit_wait_at_the_client() {
    let mut pair = Pair::new();
    let ids: Vec<i32> = (0..8).map(|_| pair.open()).collect();
    let ninth = pair.client.request(&grpc::request(false, "h:1", "/a/b", None)).unwrap();
    pair.exchange();
    assert!(!pair.client.flow(ninth).unwrap().opened);
    pair.client.reset(ids[0], reset::CANCEL);
    pair.exchange();
    assert!(pair.client.flow(ninth).unwrap().opened);
}

#[test]
fn a_session_that_is_going_away_opens_no_stream() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.server.announce_shutdown();
    pair.exchange();
    pair.server.refuse_further();
    pair.exchange();
    assert!(pair.client.request(&grpc::request(false, "h:1", "/a/b", None)).is_err());
    let away = |events: Vec<Event>| events.iter().any(|event| matches!(event, Event::GoAway { code: 0, .. }));
    assert!(away(pair.client.take_events()));
    pair.client.queue(id, "still there".into());
    pair.exchange();
    assert_eq!(pair.server.take(id).unwrap(), "still there");
}

/// A server that received the client's preface, and the bytes of a frame for it.
fn server() -> Session {
    let mut server = Session::new(options(true)).unwrap();
    server.receive(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap();
    server.receive(&frame(4, 0, 0, &[])).unwrap();
    server.fill().unwrap().clear();
    server
}

fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &id.to_be_bytes(), payload].concat()
}

/// Header fields without compression.
fn literal(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| {
        // A length of seven bits, continued in further bytes (RFC 7541, 5.1).
        let mut out = Vec::new();
        match text.len() {
            short @ 0..127 => out.push(short as u8),
            long => {
                out.push(127);
                let mut rest = long - 127;
                while rest >= 128 {
                    out.push((rest % 128) as u8 | 0x80);
                    rest /= 128;
                }
                out.push(rest as u8);
            }
        }
        out.extend_from_slice(text.as_bytes());
        out
    };
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const REQUEST: [(&str, &str); 6] = [
    (":method", "POST"),
    (":scheme", "https"),
    (":path", "/a/b"),
    (":authority", "h"),
    ("content-type", "application/grpc"),
    ("te", "trailers"),
];

#[test]
fn a_flood_of_resets_ends_the_session() {
    let mut server = server();
    let mut id = 1;
    let result = (0..30).try_for_each(|_| {
        server.receive(&frame(1, 4, id, &literal(&REQUEST)))?;
        server.receive(&frame(3, 0, id, &8u32.to_be_bytes()))?;
        id += 2;
        server.fill().map(Vec::clear)
    });
    is_violation(result, "limit");
    assert!(id > 20 * 2, "20 are allowed, and {id} was the last");
    let goodbye = server.fill().unwrap();
    assert_eq!(goodbye[3], 7, "a GOAWAY frame: {goodbye:?}");
}

#[test]
fn large_header_lists_end_the_session() {
    let mut many = REQUEST.to_vec();
    many.extend([("a", "b"); 70]);
    is_violation(server().receive(&frame(1, 4, 1, &literal(&many))), "header list");
    let long = "x".repeat(15_000);
    let mut large = REQUEST.to_vec();
    large.extend([("a", &*long)]);
    server().receive(&frame(1, 4, 1, &literal(&large))).unwrap();
    let more = "x".repeat(1200);
    large.push(("b", &more));
    let mut server = server();
    let block = literal(&large);
    let (first, rest) = block.split_at(10_000);
    server.receive(&frame(1, 0, 1, first)).unwrap();
    is_violation(server.receive(&frame(9, 4, 1, rest)), "header list");
}

#[test]
fn continuations_without_end_are_an_error() {
    let mut server = server();
    server.receive(&frame(1, 0, 1, &literal(&REQUEST))).unwrap();
    let result = (0..20).try_for_each(|_| server.receive(&frame(9, 0, 1, &[])));
    is_violation(result, "CONTINUATION");
}

#[test]
fn settings_with_too_many_entries_are_an_error() {
    let mut server = server();
    let result = server.receive(&frame(4, 0, 0, &[0, 4, 0, 0, 255, 255].repeat(33)));
    assert!(result.and_then(|()| server.fill().map(drop)).is_err(), "33 entries were taken");
}

#[test]
fn a_flood_of_pings_or_settings_ends_the_session() {
    is_violation(server().receive(&frame(6, 0, 0, &[0; 8]).repeat(100)), "lood");
    is_violation(server().receive(&frame(4, 0, 0, &[]).repeat(100)), "lood");
}

#[test]
fn streams_above_an_unknown_limit_are_refused_and_then_an_error() {
    let mut server = server();
    let mut opened = 0;
    let result = (0..1000).try_for_each(|i| {
        server.receive(&frame(1, 4, 1 + 2 * i, &literal(&REQUEST)))?;
        // The refusals leave between any two.
        server.fill().map(|batch| batch.clear())?;
        opened += 1;
        Ok(())
    });
    is_violation(result, "too many streams");
    assert_eq!(opened, 8 + MAX_REFUSED);
}

#[test]
fn the_first_violation_ends_the_session() {
    let ends = |bytes: &[u8]| {
        let mut server = server();
        server.receive(bytes).and_then(|()| server.fill().map(drop)).is_err()
    };
    assert!(ends(&frame(0, 0, 1, b"x")), "DATA of a stream that was never opened");
    let mut odd = vec![(":odd", "x")];
    odd.extend(REQUEST);
    assert!(ends(&frame(1, 4, 1, &literal(&odd))), "an unknown pseudo-header");
    assert!(ends(&frame(5, 4, 1, &[0, 0, 0, 2])), "a push of a client");
    assert!(Session::new(options(true)).unwrap().receive(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_err());
    let mut server = server();
    server.receive(&frame(1, 4, 1, &literal(&REQUEST))).unwrap();
    let body = [prefix(100_000).to_vec(), vec![0; 70_000]].concat();
    let result = body.chunks(16_384).try_for_each(|piece| server.receive(&frame(0, 0, 1, piece)));
    assert!(result.and_then(|()| server.fill().map(drop)).is_err(), "more than the window");
}

#[test]
fn a_metadata_value_may_begin_with_a_space() {
    let mut server = server();
    let mut fields = REQUEST.to_vec();
    fields.push(("note", " both ends "));
    server.receive(&frame(1, 4, 1, &literal(&fields))).unwrap();
    match &server.take_events()[..] {
        [Event::Request(1, fields)] => {
            assert_eq!(fields.last().unwrap(), &(b"note".to_vec(), b" both ends ".to_vec()))
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_ping_concerns_nobody_and_a_window_only_writers() {
    let mut pair = Pair::new();
    let id = pair.open();
    pair.client.queue(id, vec![1; FIRST_WINDOW - 5].into());
    pair.exchange();
    assert!(pair.server.take_stirred().0);
    pair.client.take_stirred();
    pair.client.ping();
    pair.server.ping();
    pair.exchange();
    assert_eq!((pair.client.take_stirred(), pair.server.take_stirred()), ((false, false), (false, false)));
    pair.server.take(id).unwrap();
    pair.exchange();
    assert_eq!(pair.client.take_stirred(), (false, true));
    pair.client.reset(id, reset::CANCEL);
    pair.exchange();
    assert!(pair.server.take_stirred().0);
}
