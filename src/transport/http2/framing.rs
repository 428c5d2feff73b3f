//! gRPC's message framing: a flag, a length of four bytes, the message. A state machine without I/O.

use bytes::Bytes;
use std::collections::VecDeque;

/// Length in bytes of what precedes a message.
pub(super) const PREFIX: usize = 5;

/// Size in bytes up to which consecutive small messages share an allocation: 16 KiB, a TLS record. A program that keeps
/// one of them keeps at most this much.
const SHARED: usize = 16 << 10;

/// Size in bytes up to which a message is allocated as a whole before its bytes have arrived: 64 KiB. A longer one
/// grows as they arrive.
const FIRST: usize = 64 << 10;

/// Returns what precedes a message of this length.
pub(super) fn prefix(length: usize) -> [u8; PREFIX] {
    let [a, b, c, d] = (length as u32).to_be_bytes();
    [0, a, b, c, d]
}

/// Reason why a stream of messages cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// A message is compressed.
    Compressed,
    /// The flag is neither 0 nor 1.
    BadFlag(u8),
    /// A message of this length exceeds the limit.
    TooLarge(usize),
}

/// Cuts a stream of bytes into messages.
#[derive(Default)]
pub(super) struct Deframer {
    prefix: [u8; PREFIX],
    /// Number of bytes of the prefix that have arrived; `PREFIX` while a message is being received.
    arrived: usize,
    message: Vec<u8>,
}

impl Deframer {
    /// Takes bytes and appends the messages that they complete to `messages`. After an error it must not be called
    /// again.
    pub fn push(&mut self, mut bytes: &[u8], max: usize, messages: &mut VecDeque<Bytes>) -> Result<(), Flaw> {
        while !bytes.is_empty() {
            if self.arrived == 0 {
                let complete = count_small(bytes, max)?;
                if complete > 0 {
                    cut_small(&bytes[..complete], messages);
                    bytes = &bytes[complete..];
                    continue;
                }
            }
            if self.arrived < PREFIX {
                let count = (PREFIX - self.arrived).min(bytes.len());
                self.prefix[self.arrived..self.arrived + count].copy_from_slice(&bytes[..count]);
                self.arrived += count;
                bytes = &bytes[count..];
                if self.arrived < PREFIX {
                    break;
                }
                check(&self.prefix, max)?;
            }
            let length = length_in(&self.prefix);
            let missing = length - self.message.len();
            let count = missing.min(bytes.len());
            if self.message.capacity() - self.message.len() < count {
                self.message.reserve_exact(self.message.len().max(FIRST).max(count).min(missing));
            }
            self.message.extend_from_slice(&bytes[..count]);
            bytes = &bytes[count..];
            if self.message.len() == length {
                messages.push_back(std::mem::take(&mut self.message).into());
                self.arrived = 0;
            }
        }
        Ok(())
    }

    /// Returns the length of the message that is being received; `None` between two messages.
    pub fn announced(&self) -> Option<usize> {
        (self.arrived == PREFIX).then(|| length_in(&self.prefix))
    }

    /// Returns whether no part of a message has arrived.
    pub fn is_between_messages(&self) -> bool {
        self.arrived == 0
    }

    /// Returns the number of bytes held.
    pub fn held(&self) -> usize {
        self.message.len()
    }
}

fn length_in(prefix: &[u8; PREFIX]) -> usize {
    u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize
}

fn check(prefix: &[u8; PREFIX], max: usize) -> Result<usize, Flaw> {
    match (prefix[0], length_in(prefix)) {
        (0, length) if length <= max => Ok(length),
        (0, length) => Err(Flaw::TooLarge(length)),
        (1, _) => Err(Flaw::Compressed),
        (flag, _) => Err(Flaw::BadFlag(flag)),
    }
}

/// Returns the length of the complete small messages at the start, prefixes included, up to [`SHARED`].
fn count_small(bytes: &[u8], max: usize) -> Result<usize, Flaw> {
    let mut end = 0;
    while let Some(prefix) = bytes[end..].first_chunk::<PREFIX>() {
        let next = end + PREFIX + check(prefix, max)?;
        if next > bytes.len() || next > SHARED {
            break;
        }
        end = next;
    }
    Ok(end)
}

/// Cuts complete messages out of one allocation.
fn cut_small(bytes: &[u8], messages: &mut VecDeque<Bytes>) {
    let shared = Bytes::copy_from_slice(bytes);
    let mut start = 0;
    while let Some(prefix) = bytes[start..].first_chunk::<PREFIX>() {
        let end = start + PREFIX + length_in(prefix);
        messages.push_back(shared.slice(start + PREFIX..end));
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(lengths: &[usize]) -> Vec<u8> {
        let message = |&length: &usize| [prefix(length).to_vec(), vec![length as u8; length]].concat();
        lengths.iter().flat_map(message).collect()
    }

    fn cut(bytes: &[u8], piece: usize) -> Vec<Bytes> {
        let (mut deframer, mut messages) = (Deframer::default(), VecDeque::new());
        for piece in bytes.chunks(piece) {
            deframer.push(piece, 1 << 20, &mut messages).unwrap();
        }
        assert!(deframer.is_between_messages() && deframer.announced().is_none() && deframer.held() == 0);
        messages.into()
    }

    #[test]
    fn messages_are_cut_out_of_pieces_of_any_size() {
        let lengths = [0, 1, 100, 0, 5000, 11_000, 16_379, 16_380, 70_000, 300_000, 3, 65_536, 0];
        let bytes = framed(&lengths);
        for piece in [1, 2, 5, 7, 100, 4096, 16_384, bytes.len()] {
            let messages = cut(&bytes, piece);
            assert_eq!(messages.iter().map(Bytes::len).collect::<Vec<_>>(), lengths, "{piece}");
            assert!(messages.iter().all(|m| m.iter().all(|byte| *byte == m.len() as u8)), "{piece}");
        }
    }

    #[test]
    fn a_long_message_takes_memory_as_its_bytes_arrive() {
        let (mut deframer, mut messages) = (Deframer::default(), VecDeque::new());
        deframer.push(&prefix(100 << 20), 100 << 20, &mut messages).unwrap();
        assert_eq!(deframer.announced(), Some(100 << 20));
        let mut sent = 0;
        while sent < 10 << 20 {
            deframer.push(&[7; 16_384], 100 << 20, &mut messages).unwrap();
            sent += 16_384;
            assert!(deframer.message.capacity() <= 2 * sent + FIRST, "{} for {sent}", deframer.message.capacity());
        }
        assert_eq!(deframer.held(), sent);
    }

    #[test]
    fn flaws_are_found_in_the_prefix_before_the_message_comes() {
        let push = |bytes: &[u8]| Deframer::default().push(bytes, 1000, &mut VecDeque::new());
        assert_eq!(push(&prefix(1000)), Ok(()));
        assert_eq!(push(&prefix(1001)), Err(Flaw::TooLarge(1001)));
        assert_eq!(push(&[1, 0, 0, 0, 1]), Err(Flaw::Compressed));
        assert_eq!(push(&[7, 0, 0, 0, 1]), Err(Flaw::BadFlag(7)));
        let mut behind = framed(&[10]);
        behind.extend([1, 0, 0, 0, 1]);
        assert_eq!(push(&behind), Err(Flaw::Compressed));
    }
}
