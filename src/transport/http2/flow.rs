//! One stream of a session: its queues in both directions, and what is known of its end.

use super::budget::Budget;
use super::framing::{prefix, Deframer, Flaw, PREFIX};
use super::grpc::Field;
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// Receive window in bytes of a stream whose application has not asked for messages without a limit yet: a stranger
/// makes nobody keep more.
pub(super) const FIRST_WINDOW: usize = 65_535;

/// How this side ends a stream behind its last message.
pub(super) enum End {
    /// A client: no further message.
    HalfClose,
    /// A server: the trailers.
    Trailers(Vec<Field>),
}

/// A stream.
pub(super) struct Flow {
    // Outgoing.
    queue: VecDeque<Bytes>,
    /// Number of bytes of the first message's prefix that are not written yet.
    prefix_left: usize,
    /// Number of bytes in the queue, prefixes included.
    queued: usize,
    /// Whether something went into a batch since the mark was set.
    pub moved: bool,
    /// Number of messages that went into a batch completely.
    pub framed: u64,
    /// Position in the connection's ciphertext behind the last byte that went into a batch.
    pub mark: u64,
    /// Whether nghttp2 waits to be told of something to send.
    pub deferred: bool,
    pub end: Option<End>,
    /// Whether the headers were submitted.
    pub responding: bool,
    /// Whether the stream is open: as a client, whether its headers were sent.
    pub opened: bool,

    // Incoming.
    deframer: Deframer,
    max_receive: usize,
    ready: VecDeque<Bytes>,
    ready_bytes: usize,
    /// Number of messages taken so far.
    taken: u64,
    /// Numbers of the messages for which window was granted again while they came.
    prepaid: VecDeque<u64>,
    /// Size up to which the application is ready to take the next message.
    allowance: usize,
    /// The stream's receive window: [`FIRST_WINDOW`] until the application is ready for more.
    window: usize,
    full_window: usize,
    /// Whether the window has to be announced to the peer.
    widened: bool,
    /// Number of bytes of the message that is being received for which window was granted again already: those of a long
    /// message for which the application waits.
    returned: usize,
    /// Number of bytes for which window is to be granted again now.
    due: usize,
    /// The first header fields of a response.
    pub head: Option<Vec<Field>>,
    /// The last header fields of a response.
    pub last: Option<Vec<Field>>,
    /// Whether the peer has ended its side.
    pub half_closed: bool,
    pub flaw: Option<Flaw>,
    /// The code with which the stream was closed in both directions.
    pub closed: Option<u32>,
    /// The stream's time limit, and whether it has passed.
    pub deadline: Option<Instant>,
    pub expired: bool,
    abandoned: bool,
    budget: Arc<Budget>,
}

impl Flow {
    pub fn new(max_receive: usize, window: u32, budget: Arc<Budget>) -> Flow {
        Flow {
            queue: VecDeque::new(),
            prefix_left: PREFIX,
            queued: 0,
            moved: false,
            framed: 0,
            mark: 0,
            deferred: false,
            end: None,
            responding: false,
            opened: false,
            deframer: Deframer::default(),
            max_receive,
            ready: VecDeque::new(),
            ready_bytes: 0,
            taken: 0,
            prepaid: VecDeque::new(),
            allowance: 0,
            window: FIRST_WINDOW.min(window as usize),
            full_window: window as usize,
            widened: false,
            returned: 0,
            due: 0,
            head: None,
            last: None,
            half_closed: false,
            flaw: None,
            closed: None,
            deadline: None,
            expired: false,
            abandoned: false,
            budget,
        }
    }

    /// Appends a message to the queue.
    pub fn queue(&mut self, message: Bytes) {
        self.queued += PREFIX + message.len();
        self.queue.push_back(message);
    }

    /// Returns the number of bytes in the queue.
    pub fn queued(&self) -> usize {
        self.queued
    }

    /// Discards the queue.
    pub fn clear_queue(&mut self) {
        self.queue = VecDeque::new();
        self.queued = 0;
        self.prefix_left = PREFIX;
    }

    /// Moves bytes from the queue to the end of `batch`.
    pub fn write(&mut self, length: usize, batch: &mut Vec<u8>) {
        let mut left = length.min(self.queued);
        self.queued -= left;
        self.moved |= left > 0;
        while let Some(message) = self.queue.front_mut() {
            if self.prefix_left > 0 {
                let count = self.prefix_left.min(left);
                let start = PREFIX - self.prefix_left;
                batch.extend_from_slice(&prefix(message.len())[start..start + count]);
                self.prefix_left -= count;
                left -= count;
                if self.prefix_left > 0 {
                    break;
                }
            }
            let count = message.len().min(left);
            batch.extend_from_slice(&message[..count]);
            message.advance(count);
            left -= count;
            if !message.is_empty() {
                break;
            }
            self.queue.pop_front();
            self.prefix_left = PREFIX;
            self.framed += 1;
            if left == 0 {
                break;
            }
        }
    }

    /// Takes bytes of a DATA frame.
    pub fn receive(&mut self, data: &[u8]) {
        if self.flaw.is_some() || self.abandoned {
            return;
        }
        let (before, held) = (self.ready.len(), self.deframer.held());
        if let Err(flaw) = self.deframer.push(data, self.max_receive, &mut self.ready) {
            self.flaw = Some(flaw);
        }
        let new: usize = self.ready.range(before..).map(Bytes::len).sum();
        self.ready_bytes += new;
        self.budget.changed(held, new + self.deframer.held());
        if self.ready.len() > before && self.returned > 0 {
            let length = self.ready.get(before).map_or(0, Bytes::len);
            self.due += PREFIX + length - self.returned;
            self.returned = 0;
            self.prepaid.push_back(self.taken + before as u64);
        }
        self.return_early();
    }

    /// Grants window for what has arrived of a long message, if the application waits for it. It could not be completed
    /// otherwise.
    fn return_early(&mut self) {
        match self.deframer.announced() {
            Some(length) if length > self.window / 4 && length <= self.allowance => {
                let arrived = PREFIX + self.deframer.held();
                self.due += arrived - self.returned;
                self.returned = arrived;
            }
            _ => {}
        }
    }

    /// Returns whether the stream's window has to be widened or granted again.
    pub fn window_is_due(&self) -> bool {
        self.widened || self.due > 0
    }

    /// Records up to which size the application is ready to take the next message.
    pub fn allow(&mut self, size: usize) {
        self.allowance = size;
        if size >= self.full_window && self.window < self.full_window {
            self.window = self.full_window;
            self.widened = true;
        }
        self.return_early();
    }

    /// Returns the window to which the stream's is to be widened, if it is, and the number of bytes for which window is
    /// to be granted again.
    pub fn take_due(&mut self) -> (Option<usize>, usize) {
        let widened = std::mem::take(&mut self.widened).then_some(self.window);
        (widened, std::mem::take(&mut self.due))
    }

    /// Returns the next message, and the number of bytes for which window is due.
    pub fn take(&mut self) -> Option<(Bytes, usize)> {
        let message = self.ready.pop_front()?;
        let number = self.taken;
        self.taken += 1;
        self.ready_bytes -= message.len();
        self.budget.changed(message.len(), 0);
        let prepaid = self.prepaid.front() == Some(&number);
        if prepaid {
            self.prepaid.pop_front();
        }
        let returned = if prepaid { 0 } else { PREFIX + message.len() };
        Some((message, returned))
    }

    /// Returns the number of bytes of the complete messages that were not taken.
    pub fn unread(&self) -> usize {
        self.ready_bytes
    }

    /// Returns whether a message is complete.
    pub fn has_message(&self) -> bool {
        !self.ready.is_empty()
    }

    /// Returns the size of the next message if it is complete.
    pub fn next_size(&self) -> Option<usize> {
        self.ready.front().map(Bytes::len)
    }

    /// Returns the length of the message that is being received, if it is the next one.
    pub fn next_announced(&self) -> Option<usize> {
        if self.ready.is_empty() {
            self.deframer.announced()
        } else {
            None
        }
    }

    /// Returns whether the peer ended its side in the middle of a message.
    pub fn is_truncated(&self) -> bool {
        self.half_closed && !self.deframer.is_between_messages()
    }

    /// Records header fields of a response.
    pub fn headers_received(&mut self, fields: Vec<Field>, ended: bool) {
        match ended {
            true => self.last = Some(fields),
            // Further headers in the middle are not gRPC's; nghttp2 allows them only as informational ones before.
            false => self.head = Some(fields),
        }
    }

    /// Records that the peer has ended its side.
    pub fn remote_ended(&mut self) {
        self.half_closed = true;
    }

    /// Records that nobody uses the stream any more, and releases what it holds.
    pub fn abandon(&mut self) {
        self.abandoned = true;
        self.budget.changed(self.ready_bytes + self.deframer.held(), 0);
        self.ready = VecDeque::new();
        self.ready_bytes = 0;
        self.deframer = Deframer::default();
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        self.budget.changed(self.ready_bytes + self.deframer.held(), 0);
    }
}
