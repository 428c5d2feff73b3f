//! The bounded queue of one peer's stream, and the turn to write to that stream.
//!
//! The queue is bounded in messages and in bytes. A message counts until it is *written*, not until it is taken out:
//! messages in the writer's hand are still owed. Closing the queue returns everything that is owed, so that no accepted
//! message is lost without a report.
//!
//! While no write is under way, a sender's own thread can write, an *inline write*, which saves waking the writer. The
//! transport sets the conditions ([`InlineWrites`]).
//!
//! While a sender keeps the writer busy, it frees the written messages itself: freeing memory on another thread than the
//! one that allocated it contends for the allocator's lock.

use super::ack::Tracker;
use super::connection::Connection;
use crate::clock::Clock;
use crate::message::SignedMessage;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::channel::{bounded, Receiver, Sender};
use crate::sync::{now, Mutex};
use crate::transport::InlineWrites;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Maximum number of registered waiters for room. At the limit all are woken, and those that still wait register again.
const MAX_WAITERS: usize = 1024;

/// Maximum size in bytes of a written message that is left to a sender to free: 4 KiB.
const FREED_BY_SENDER: usize = 4 << 10;

/// Number of written messages from which on a sender frees them.
const FREED_TOGETHER: usize = 16;

/// An item queued for a peer's stream.
pub(super) enum Item {
    /// A message accepted for the peer and not yet written.
    Message {
        message: SignedMessage,
        /// Waits for its acknowledgement, if tracked.
        tracker: Option<Tracker>,
    },
    /// No message, but a request to report when the connection is established, and with which peer.
    Greeting(Greeting),
}

impl Item {
    pub fn len(&self) -> usize {
        match self {
            Item::Message { message, .. } => message.wire_len(),
            Item::Greeting(_) => 0,
        }
    }

    /// Returns whether a sender may free the item after it was written.
    pub fn is_small(&self) -> bool {
        self.len() <= FREED_BY_SENDER
    }

    /// Returns the bytes to write to this connection, now that it is the item's turn.
    pub fn sending_on(&self, conn: &Arc<Connection>, clock: &dyn Clock) -> Option<Bytes> {
        match self {
            Item::Message { message, tracker } => {
                // Its acknowledgement can come only from this connection's peer.
                if let Some(tracker) = tracker {
                    tracker.sending_to(&conn.info.id, clock.now());
                }
                Some(message.wire())
            }
            Item::Greeting(greeting) => {
                greeting.tell(Ok(conn.clone()));
                None
            }
        }
    }
}

/// Reports, once, which peer answered or why none did.
pub(super) struct Greeting {
    told: Mutex<Option<OnConnected>>,
    /// Whether a dial made for it first asks the peer for its verdict on us.
    pub confirm: bool,
}

pub(super) type OnConnected = Box<dyn FnOnce(crate::error::Result<Arc<Connection>>) + Send>;

impl Greeting {
    pub fn new(confirm: bool, told: OnConnected) -> Self {
        Greeting { told: Mutex::new(Some(told)), confirm }
    }

    pub fn tell(&self, result: crate::error::Result<Arc<Connection>>) {
        let told = self.told.lock().take();
        if let Some(told) = told {
            told(result);
        }
    }
}

/// Reason why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    Full,
    /// The entry is gone; a new look-up finds or creates another.
    Closed,
}

/// Placement of an accepted message.
pub(super) enum Taken {
    /// It is in the queue.
    Queued,
    /// The stream was idle. The caller must write the message inline and then call [`Outbox::written`],
    /// [`Outbox::unfinished`] or [`Outbox::unwritten`].
    Inline(Item),
}

pub(super) struct Outbox {
    max_messages: usize,
    max_bytes: usize,
    inline: InlineWrites,
    /// Number of messages accepted and not yet settled.
    owed: AtomicUsize,
    owed_bytes: AtomicUsize,
    state: Mutex<State>,
    /// Set while a sender waits for room. Only then does the writer check for room, and it signals only once half of
    /// the queue is free, so that no thread is woken for every message. (Waiting senders also poll, in case the writer
    /// is slow.)
    room_awaited: AtomicBool,
    /// Set while a caller waits for a flush.
    flush_awaited: AtomicBool,
    wake: (Sender<()>, Receiver<()>),
    /// Set when the peer has sent something since the last message that was sent while no write was under way.
    answered: AtomicBool,
}

/// The time of the last message that was sent to an idle stream of any peer.
pub(super) struct Recent {
    start: Instant,
    /// Microseconds since the start.
    last: AtomicU64,
}

impl Recent {
    pub fn new() -> Self {
        Recent { start: now(), last: AtomicU64::new(0) }
    }

    /// Records a message. Returns the time since the one before.
    fn replace(&self, now: Instant) -> Duration {
        // The first message follows a long pause.
        let micros = (now.saturating_duration_since(self.start) + Duration::from_secs(3600)).as_micros() as u64;
        Duration::from_micros(micros.saturating_sub(self.last.swap(micros, Ordering::Relaxed)))
    }

    /// Records the end of an inline write.
    pub fn touch(&self) {
        self.replace(now());
    }
}

struct State {
    queue: VecDeque<Item>,
    /// A message whose inline write was started on this connection and is not known to be complete.
    unfinished: Option<Unfinished>,
    turn: Turn,
    /// Time at which the writer ran out of work or an inline write completed. `None` if nothing was sent before.
    idle_since: Option<Instant>,
    closed: bool,
    accepted: u64,
    room: Vec<Sender<()>>,
    flushes: Vec<(u64, Sender<()>)>,
    /// Written items for the next sender to free; at most as many as the queue may hold. Empty while the writer sleeps.
    spent: Vec<Item>,
}

pub(super) type Unfinished = (Item, Arc<Connection>);

/// Turn to write to the stream.
#[derive(PartialEq)]
enum Turn {
    /// No thread: the queue is empty and the writer asleep.
    Idle,
    Writer,
    /// A sender's thread.
    Inline,
}

impl Outbox {
    pub fn new(max_messages: usize, max_bytes: usize, inline: InlineWrites) -> Self {
        Outbox {
            max_messages,
            max_bytes,
            inline,
            owed: AtomicUsize::new(0),
            owed_bytes: AtomicUsize::new(0),
            state: Mutex::new(State {
                queue: VecDeque::new(),
                unfinished: None,
                turn: Turn::Writer,
                idle_since: None,
                closed: false,
                accepted: 0,
                room: Vec::new(),
                flushes: Vec::new(),
                spent: Vec::new(),
            }),
            room_awaited: AtomicBool::new(false),
            flush_awaited: AtomicBool::new(false),
            wake: bounded(1),
            answered: AtomicBool::new(false),
        }
    }

    /// Accepts a message if there is room. If the stream is idle, the caller may have to write it inline.
    ///
    /// `recent` tells when anything was sent to any peer.
    pub fn push(&self, item: Item, recent: &Recent) -> Result<Taken, (Item, NotTaken)> {
        let size = item.len();
        let mut state = self.state.lock();
        if state.closed {
            return Err((item, NotTaken::Closed));
        }
        let owed = self.owed.load(Ordering::SeqCst);
        let bytes = self.owed_bytes.load(Ordering::Relaxed);
        if owed >= self.max_messages || (owed > 0 && bytes.saturating_add(size) > self.max_bytes) {
            return Err((item, NotTaken::Full));
        }
        self.count(&mut state, 1, size);
        let spent = match state.spent.len() {
            FREED_TOGETHER.. => std::mem::take(&mut state.spent),
            _ => Vec::new(),
        };
        if state.turn == Turn::Idle {
            let now = now();
            let pause = state.idle_since.map_or(Duration::MAX, |since| now.saturating_duration_since(since));
            let answered = self.answered.swap(false, Ordering::Relaxed);
            if self.inline.allows(size, pause, answered, recent.replace(now)) {
                state.turn = Turn::Inline;
                return Ok(Taken::Inline(item));
            }
            state.turn = Turn::Writer;
            state.queue.push_back(item);
            drop(state);
            self.wake();
        } else {
            state.queue.push_back(item);
            if state.accepted == 1 {
                // The writer of a new entry waits for this.
                self.wake();
            }
            drop(state);
        }
        drop(spent);
        Ok(Taken::Queued)
    }

    /// Closes the queue and moves the messages still owed, starting with the writer's `hand`, to the end of `other`,
    /// whose bounds do not apply: the messages were already accepted. Flush waiters move with them.
    pub fn move_into(&self, other: &Outbox, hand: &mut VecDeque<Item>) {
        let (flushes, items) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.flushes), self.close_locked(&mut state, hand))
        };
        let mut state = other.state.lock();
        other.count(&mut state, items.len(), items.iter().map(Item::len).sum());
        state.queue.extend(items);
        if state.turn == Turn::Idle {
            // An inline write must not overtake the moved messages.
            state.turn = Turn::Writer;
        }
        let target = state.accepted;
        state.flushes.extend(flushes.into_iter().map(|(_, waiter)| (target, waiter)));
        other.notify(&mut state);
        drop(state);
        other.wake();
    }

    /// For the reader: records that a message of the peer arrived.
    pub fn answered(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
        }
    }

    fn count(&self, state: &mut State, messages: usize, bytes: usize) {
        state.accepted += messages as u64;
        self.owed.fetch_add(messages, Ordering::SeqCst);
        self.owed_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// For the writer: moves all queued items to the end of its `hand`. If the hand is then empty, or a sender writes
    /// inline, the writer sleeps next. A write that a sender left under way is returned first, and alone.
    pub fn take(&self, hand: &mut VecDeque<Item>) -> Option<Unfinished> {
        let mut state = self.state.lock();
        if state.turn == Turn::Inline {
            return None;
        }
        if state.unfinished.is_some() {
            return state.unfinished.take();
        }
        move_queue(&mut state, hand);
        if !hand.is_empty() {
            state.turn = Turn::Writer;
        } else if state.turn != Turn::Idle {
            state.turn = Turn::Idle;
            state.idle_since = (state.accepted > 0).then(now);
            let spent = std::mem::take(&mut state.spent);
            drop(state);
            drop(spent);
        }
        None
    }

    /// For the writer, during its turn: moves all queued items to the end of its `hand`. Returns their number. If there
    /// are any, takes the `spent` items over, as far as there is room for them.
    pub fn take_queued(&self, hand: &mut VecDeque<Item>, spent: &mut Vec<Item>) -> usize {
        let mut state = self.state.lock();
        let before = hand.len();
        if !state.queue.is_empty() && state.spent.len() + spent.len() <= self.max_messages {
            state.spent.append(spent);
        }
        move_queue(&mut state, hand);
        hand.len() - before
    }

    /// Ends an inline write whose message was written.
    pub fn written(&self, item: &Item) {
        self.settle(1, item.len());
        let mut state = self.state.lock();
        state.idle_since = Some(now());
        self.end_inline_write(&mut state);
    }

    /// Ends an inline write that is still under way: the writer waits for its completion.
    pub fn unfinished(&self, item: Item, conn: Arc<Connection>) {
        let mut state = self.state.lock();
        state.unfinished = Some((item, conn));
        state.turn = Turn::Writer;
        drop(state);
        self.wake();
    }

    /// Ends an inline write that failed: the message returns to the front of the queue. If the outbox was closed
    /// meanwhile, the writer reports the message.
    pub fn unwritten(&self, item: Item) {
        let mut state = self.state.lock();
        state.queue.push_front(item);
        self.end_inline_write(&mut state);
    }

    /// For the writer, before it ends: refuses further messages and waits for the end of an inline write. Inline writes
    /// do not block, so the wait is short. Without it, a message returned later would not be reported.
    pub fn refuse_and_await_inline_write(&self) {
        self.refuse();
        while self.state.lock().turn == Turn::Inline {
            let _ = self.woken().recv();
        }
    }

    fn end_inline_write(&self, state: &mut State) {
        state.turn = if state.queue.is_empty() { Turn::Idle } else { Turn::Writer };
        // Also when idle: the writer may have been woken for another reason during the inline write.
        if state.turn == Turn::Writer || state.closed {
            self.wake();
        }
    }

    /// Records that messages were written or reported.
    pub fn settle(&self, messages: usize, bytes: usize) {
        self.owed_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.owed.fetch_sub(messages, Ordering::SeqCst);
        let room = self.room_awaited.load(Ordering::SeqCst) && self.is_half_free();
        if room || self.flush_awaited.load(Ordering::SeqCst) {
            self.notify(&mut self.state.lock());
        }
    }

    fn is_half_free(&self) -> bool {
        self.owed.load(Ordering::SeqCst) <= self.max_messages / 2
            && self.owed_bytes.load(Ordering::Relaxed) <= self.max_bytes / 2
    }

    fn notify(&self, state: &mut State) {
        if state.closed || self.is_half_free() {
            for waiter in state.room.drain(..) {
                let _ = waiter.try_send(());
            }
        }
        let settled = self.settled_of(state);
        state.flushes.retain(|(target, waiter)| {
            let open = settled < *target;
            if !open {
                let _ = waiter.try_send(());
            }
            open
        });
        self.room_awaited.store(!state.room.is_empty(), Ordering::SeqCst);
        self.flush_awaited.store(!state.flushes.is_empty(), Ordering::SeqCst);
    }

    /// Sends one value to `waiter` when a later settlement leaves room, or when the outbox is closed. Earlier
    /// settlements are not signalled, so try to push once more after this call before waiting.
    pub fn when_room(&self, waiter: Sender<()>) {
        let mut state = self.state.lock();
        self.room_awaited.store(true, Ordering::SeqCst);
        if !state.room.iter().any(|other| other.same_channel(&waiter)) {
            // Most waiters have given up by then. The others register again.
            if state.room.len() >= MAX_WAITERS {
                for waiter in state.room.drain(..) {
                    let _ = waiter.try_send(());
                }
            }
            state.room.push(waiter);
        }
    }

    /// Returns a channel that receives once everything accepted so far is settled; `None` if it already is. A caller
    /// that gives up waiting must call [`forget_flush`](Self::forget_flush).
    pub fn when_flushed(&self) -> Option<(Sender<()>, Receiver<()>)> {
        let mut state = self.state.lock();
        self.flush_awaited.store(true, Ordering::SeqCst);
        if self.owed.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let (done, flushed) = bounded(1);
        let target = state.accepted;
        state.flushes.push((target, done.clone()));
        Some((done, flushed))
    }

    pub fn forget_flush(&self, waiter: &Sender<()>) {
        self.state.lock().flushes.retain(|(_, other)| !other.same_channel(waiter));
    }

    /// For a writer that ends: takes the write that a sender left under way.
    pub fn take_unfinished(&self) -> Option<Unfinished> {
        self.state.lock().unfinished.take()
    }

    /// Returns the number of messages settled so far.
    pub fn settled(&self) -> u64 {
        self.settled_of(&self.state.lock())
    }

    fn settled_of(&self, state: &State) -> u64 {
        state.accepted - self.owed.load(Ordering::SeqCst) as u64
    }

    /// Returns the number of messages accepted and not settled.
    pub fn owed(&self) -> usize {
        self.owed.load(Ordering::SeqCst)
    }

    /// Returns the size in bytes of the messages accepted and not settled.
    pub fn owed_bytes(&self) -> usize {
        self.owed_bytes.load(Ordering::Relaxed)
    }

    /// Refuses further messages; those already accepted remain to be written.
    pub fn refuse(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        self.notify(&mut state);
    }

    /// Closes the queue if nothing is owed. Returns `false` if something was queued.
    pub fn close_if_settled(&self) -> bool {
        let mut state = self.state.lock();
        let settled = self.owed.load(Ordering::SeqCst) == 0;
        if settled {
            state.closed = true;
            self.notify(&mut state);
        }
        settled
    }

    /// Closes the queue and returns the messages still owed: first the writer's `hand`, then the queue. Messages in an
    /// inline write are not included: see [`refuse_and_await_inline_write`](Self::refuse_and_await_inline_write).
    pub fn close(&self, hand: &mut VecDeque<Item>) -> Vec<Item> {
        self.close_locked(&mut self.state.lock(), hand)
    }

    fn close_locked(&self, state: &mut State, hand: &mut VecDeque<Item>) -> Vec<Item> {
        state.closed = true;
        state.spent = Vec::new();
        let mut owed: Vec<Item> = hand.drain(..).collect();
        owed.extend(state.unfinished.take().map(|(item, _)| item));
        owed.extend(state.queue.drain(..));
        self.owed_bytes.fetch_sub(owed.iter().map(Item::len).sum(), Ordering::Relaxed);
        self.owed.fetch_sub(owed.len(), Ordering::SeqCst);
        self.notify(state);
        owed
    }

    /// Returns whether a queued greeting asks for the peer's verdict on us.
    pub fn wants_confirmation(&self) -> bool {
        let wants = |item: &Item| matches!(item, Item::Greeting(Greeting { confirm: true, .. }));
        self.state.lock().queue.iter().any(wants)
    }

    /// Wakes the writer.
    pub fn wake(&self) {
        let _ = self.wake.0.try_send(());
    }

    /// Returns the channel on which the writer sleeps.
    pub fn woken(&self) -> &Receiver<()> {
        &self.wake.1
    }
}

fn move_queue(state: &mut State, hand: &mut VecDeque<Item>) {
    if hand.is_empty() {
        std::mem::swap(&mut state.queue, hand);
    } else {
        hand.append(&mut state.queue);
    }
}

#[cfg(test)]
mod tests;
