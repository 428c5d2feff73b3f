//! The input is what a peer sends inside TLS: a first byte that selects the side and the size of the pieces in which the
//! rest arrives, then the rest.

use fabric_gossip::transport::http2::SessionDriver;

/// What a client sends first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Bytes that a session may hold for its peer: the windows of its streams, and what of them was granted again.
const MAX_HELD: usize = 10 << 20;

/// Streams of which a session may know: those that are open, and those that the application has not forgotten yet.
const MAX_STREAMS: usize = 64;

/// Bytes that a session may send in reaction to one piece of 16 KiB: answers of 100,000 bytes each.
const MAX_SENT: usize = 16 << 20;

/// Returns whether the session accepted everything.
pub fn run(data: &[u8]) -> bool {
    let Some((&first, rest)) = data.split_first() else { return false };
    let server = first & 1 == 0;
    let size = [1, 9, 100, 16 << 10][usize::from(first >> 1 & 3)];
    // With it, mutations get beyond the preface.
    let preface = if server && first & 8 == 0 { PREFACE } else { &[] };
    let mut driver = SessionDriver::new(server);
    let accepted = [preface, rest].into_iter().all(|part| part.chunks(size).all(|piece| feed(&mut driver, piece)));
    assert_eq!(driver.finish(), 0, "bytes are still counted");
    accepted
}

fn feed(driver: &mut SessionDriver, piece: &[u8]) -> bool {
    let accepted = driver.receive(piece).is_ok();
    let mut sent = 0;
    let violated = loop {
        match driver.send() {
            Err(_) => break true,
            Ok(batch) if batch.is_empty() => break false,
            Ok(batch) => sent += batch.len(),
        }
    };
    assert!(sent <= MAX_SENT, "{sent} bytes in reaction to {}", piece.len());
    assert!(driver.held() <= MAX_HELD, "{} bytes are held", driver.held());
    assert!(driver.streams() <= MAX_STREAMS, "{} streams", driver.streams());
    if violated {
        // The last frames follow.
        while driver.send().is_ok_and(|batch| !batch.is_empty()) {}
    }
    accepted && !violated
}
