//! The bounded queue of one subscriber, with the publishers and receivers that wait on it.
//!
//! Waking a thread costs more than handing over a message, so neither side is woken for every message. A publisher with
//! more messages at hand notifies receivers later, with [`BoundedQueue::tell`]. Publishers that wait for room are
//! notified when half of the queue is free, one at a time; each passes the notification on when it has nothing more to
//! put in. A receiver takes everything in the queue with one lock.

use crate::spin::Spin;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::channel::{bounded, Receiver, Sender};
use crate::sync::{entering_user_code, now, thread, Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// An item that occupies space in a subscription.
pub trait ByteSize {
    /// Returns its size in bytes.
    fn byte_size(&self) -> usize {
        0
    }
}

/// Number of times a receiver polls before it sleeps: a few microseconds.
const LOOKS: u32 = 11;

/// Timeout from which on a receiver polls for longer.
const LONG: Duration = Duration::from_millis(2);

/// Interval at which a slow receiver reports room, even if less than half of the queue is free.
const PACE: Duration = Duration::from_millis(1);

pub(super) struct BoundedQueue<T> {
    capacity: usize,
    max_bytes: usize,
    state: Mutex<State<T>>,
    /// Locked before `state`, never after.
    front: Mutex<Front<T>>,
    arrived: Condvar,
    /// Number of items put in and not received yet: in `state` or in `front`. Grows under `state` only, shrinks under
    /// `front`.
    held: AtomicUsize,
    held_bytes: AtomicUsize,
    /// Number of sleeping receivers. Changes under `state` only.
    asleep: AtomicUsize,
    /// Number of publishers that wait for room.
    waiting: AtomicUsize,
    room: (Sender<()>, Receiver<()>),
    missed: AtomicU64,
    /// Set when there is no receiver any more.
    gone: AtomicBool,
    /// Called for receivers that also wait for other things.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
    spin: Spin,
    signal: OnceLock<(Sender<()>, Receiver<()>)>,
}

struct State<T> {
    items: VecDeque<T>,
    ended: bool,
}

/// Items that a receiver took out together.
struct Front<T> {
    items: VecDeque<T>,
    /// Time at which a publisher was last notified of room.
    told: Option<Instant>,
    /// Number of items that were taken out together the last time.
    together: usize,
}

/// Reason why an item was not put in.
pub(super) enum NotPut<T> {
    NoRoom(T),
    Gone,
}

/// Reason why nothing was received.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecvError {
    Timeout,
    /// The publisher has ended, and all remaining items were received.
    Closed,
    /// The receiver no longer wants to wait.
    Interrupted,
}

impl<T> BoundedQueue<T> {
    /// Ends the queue: nothing more is put in.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        self.arrived.notify_all();
        drop(state);
        self.tell_others();
    }

    /// Records that there is no receiver any more, and drops the queued items.
    pub fn leave(&self) {
        let left = {
            let mut front = self.front.lock();
            let mut state = self.state.lock();
            self.gone.store(true, Ordering::SeqCst);
            (std::mem::take(&mut front.items), std::mem::take(&mut state.items))
        };
        // Outside the locks: dropping an item may run arbitrary code that calls this queue.
        drop(left);
        let _ = self.room.0.try_send(());
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }

    fn tell_others(&self) {
        if let Some((signal, _)) = self.signal.get() {
            let _ = signal.try_send(());
        }
        self.call_waker();
    }

    fn call_waker(&self) {
        if let Some(wake) = self.waker.get() {
            entering_user_code();
            wake();
        }
    }
}

impl<T: ByteSize> BoundedQueue<T> {
    /// Creates a queue whose receivers poll for `spin` before they sleep.
    pub fn new(capacity: usize, max_bytes: usize, spin: Duration) -> Self {
        BoundedQueue {
            capacity,
            max_bytes,
            state: Mutex::new(State { items: VecDeque::new(), ended: false }),
            front: Mutex::new(Front { items: VecDeque::new(), told: None, together: 0 }),
            arrived: Condvar::new(),
            held: AtomicUsize::new(0),
            held_bytes: AtomicUsize::new(0),
            asleep: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            room: bounded(1),
            missed: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            waker: OnceLock::new(),
            spin: Spin::new(spin),
            signal: OnceLock::new(),
        }
    }

    /// Puts an item in. Returns `true` if a receiver must be notified of it.
    ///
    /// While other publishers wait for room, only the publisher whose `turn` it is may fill more than half of the
    /// queue, so that no publisher waits forever.
    pub fn put(&self, item: T, turn: bool) -> Result<bool, NotPut<T>> {
        let mut state = self.state.lock();
        if self.is_gone() {
            // For the next waiting publisher.
            let _ = self.room.0.try_send(());
            return Err(NotPut::Gone);
        }
        let (weight, bytes) = (item.byte_size(), self.held_bytes.load(Ordering::SeqCst));
        let fits = bytes == 0 || bytes.saturating_add(weight) <= self.max_bytes;
        let overtakes = !turn && self.waiting.load(Ordering::SeqCst) > 0 && !self.is_half_free();
        if !fits || overtakes || self.held.load(Ordering::SeqCst) >= self.capacity {
            return Err(NotPut::NoRoom(item));
        }
        self.held.fetch_add(1, Ordering::SeqCst);
        self.held_bytes.fetch_add(weight, Ordering::SeqCst);
        state.items.push_back(item);
        Ok(self.asleep.load(Ordering::SeqCst) > 0 || self.signal.get().is_some() || self.waker.get().is_some())
    }

    /// Puts items in from the front, as many as there is room for. Returns whether a receiver must be notified; `None`
    /// if there is no receiver any more.
    pub fn put_many(&self, items: &mut VecDeque<T>) -> Option<bool> {
        let mut state = self.state.lock();
        if self.is_gone() {
            // For the next waiting publisher.
            let _ = self.room.0.try_send(());
            return None;
        }
        let (held, held_bytes) = (self.held.load(Ordering::SeqCst), self.held_bytes.load(Ordering::SeqCst));
        let (mut count, mut bytes) = (held, held_bytes);
        let contended = self.waiting.load(Ordering::SeqCst) > 0;
        while let Some(item) = items.front() {
            let weight = item.byte_size();
            let fits = bytes == 0 || bytes.saturating_add(weight) <= self.max_bytes;
            let overtakes = contended && (count > self.capacity / 2 || bytes > self.max_bytes / 2);
            if !fits || overtakes || count >= self.capacity {
                break;
            }
            (count, bytes) = (count + 1, bytes + weight);
            state.items.extend(items.pop_front());
        }
        self.held.fetch_add(count - held, Ordering::SeqCst);
        self.held_bytes.fetch_add(bytes - held_bytes, Ordering::SeqCst);
        Some(self.asleep.load(Ordering::SeqCst) > 0 || self.signal.get().is_some() || self.waker.get().is_some())
    }

    /// Notifies receivers of new items, and the next waiting publisher if there is still room. A publisher calls this
    /// before it waits for anything else.
    pub fn tell(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            let _state = self.state.lock();
            self.arrived.notify_one();
        }
        self.tell_others();
        if self.waiting.load(Ordering::SeqCst) > 0 && self.is_half_free() {
            let _ = self.room.0.try_send(());
        }
    }

    fn is_half_free(&self) -> bool {
        self.held.load(Ordering::SeqCst) <= self.capacity / 2
            && self.held_bytes.load(Ordering::SeqCst) <= self.max_bytes / 2
    }

    /// From here on, [`room`](Self::room) signals. Try once more before waiting.
    pub fn await_room(&self) -> impl Drop + '_ {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(&self.waiting)
    }

    /// Returns the channel that delivers a value to one waiting publisher when it is its turn.
    pub fn room(&self) -> &Receiver<()> {
        &self.room.1
    }

    pub fn miss(&self) {
        self.missed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }

    /// Returns the number of queued items.
    pub fn len(&self) -> usize {
        let front = self.front.lock();
        front.items.len() + self.state.lock().items.len()
    }

    /// Makes waiting receivers evaluate again whether they still want to wait.
    pub fn interrupt(&self) {
        let _state = self.state.lock();
        self.arrived.notify_all();
    }

    pub fn set_waker(&self, wake: Box<dyn Fn() + Send + Sync>) {
        let _ = self.waker.set(wake);
        self.call_waker();
    }

    /// Returns a channel that signals when there is something to [`try_recv`](Self::try_recv), until the queue is
    /// empty, and when the queue has ended.
    pub fn signal(&self) -> &Receiver<()> {
        let (signal, signalled) = self.signal.get_or_init(|| bounded(1));
        // A waiting receiver found the queue empty, or leaves items in it for its next call.
        if self.held.load(Ordering::SeqCst) > 0 || self.state.lock().ended {
            let _ = signal.try_send(());
        }
        signalled
    }

    pub fn try_recv(&self) -> Result<T, RecvError> {
        if let Some(item) = self.take() {
            return Ok(item);
        }
        let state = self.state.lock();
        match self.held.load(Ordering::SeqCst) {
            0 if state.ended => Err(RecvError::Closed),
            _ => Err(RecvError::Timeout),
        }
    }

    /// Waits for an item, for at most `timeout` (`None`: without limit), for as long as `wanted` returns `true`.
    pub fn recv(&self, timeout: Option<Duration>, wanted: impl Fn() -> bool) -> Result<T, RecvError> {
        let mut deadline = None;
        for look in 0.. {
            if let Some(item) = self.take() {
                return Ok(item);
            }
            match look {
                0..=6 => (0..1 << look).for_each(|_| std::hint::spin_loop()),
                7..LOOKS => thread::yield_now(),
                LOOKS if timeout.is_none_or(|timeout| timeout >= LONG) && !self.is_flowing() => {
                    if let Some(item) = self.spin.run(|| self.take()) {
                        return Ok(item);
                    }
                }
                _ => {
                    // A timeout that the clock cannot represent means no limit.
                    let deadline = *deadline.get_or_insert_with(|| now().checked_add(timeout?));
                    self.await_item(deadline, &wanted)?;
                }
            }
        }
        Err(RecvError::Timeout)
    }

    /// Returns whether items arrive several at a time: polling for more would take the processor from the threads that
    /// bring them.
    fn is_flowing(&self) -> bool {
        self.front.lock().together > 1
    }

    /// Waits until there is an item.
    fn await_item(&self, deadline: Option<Instant>, wanted: impl Fn() -> bool) -> Result<(), RecvError> {
        let mut state = self.state.lock();
        loop {
            if self.held.load(Ordering::SeqCst) > 0 {
                return Ok(());
            }
            if state.ended {
                return Err(RecvError::Closed);
            }
            if !wanted() {
                return Err(RecvError::Interrupted);
            }
            self.asleep.fetch_add(1, Ordering::SeqCst);
            let in_time = match deadline {
                Some(deadline) => !self.arrived.wait_until(&mut state, deadline).timed_out(),
                None => {
                    self.arrived.wait(&mut state);
                    true
                }
            };
            self.asleep.fetch_sub(1, Ordering::SeqCst);
            if !in_time && self.held.load(Ordering::SeqCst) == 0 {
                return Err(RecvError::Timeout);
            }
        }
    }

    fn take(&self) -> Option<T> {
        if self.held.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut front = self.front.lock();
        if front.items.is_empty() {
            std::mem::swap(&mut front.items, &mut self.state.lock().items);
            front.together = front.items.len();
        }
        let item = front.items.pop_front()?;
        self.held.fetch_sub(1, Ordering::SeqCst);
        self.held_bytes.fetch_sub(item.byte_size(), Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.tell_of_room(&mut front);
        }
        if !front.items.is_empty() && self.asleep.load(Ordering::SeqCst) > 0 {
            let _state = self.state.lock();
            self.arrived.notify_one();
        }
        Some(item)
    }

    fn tell_of_room(&self, front: &mut Front<T>) {
        let now = now();
        if self.is_half_free() || front.told.is_none_or(|told| now.saturating_duration_since(told) >= PACE) {
            front.told = Some(now);
            let _ = self.room.0.try_send(());
        }
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item;

    impl ByteSize for Item {
        fn byte_size(&self) -> usize {
            10
        }
    }

    fn put(queue: &BoundedQueue<Item>, turn: bool) -> bool {
        queue.put(Item, turn).is_ok()
    }

    #[test]
    fn while_others_wait_more_than_half_is_theirs() {
        let queue = BoundedQueue::new(4, 1000, Duration::ZERO);
        assert!((0..4).all(|_| put(&queue, false)) && !put(&queue, false) && !put(&queue, true));
        let waiting = queue.await_room();
        assert!(queue.try_recv().is_ok() && !put(&queue, false) && put(&queue, true));
        assert!(queue.try_recv().is_ok() && queue.try_recv().is_ok());
        assert!(put(&queue, false) && !put(&queue, false), "half of it is open to all");
        drop(waiting);
        assert!(put(&queue, false));
    }

    #[test]
    fn who_waits_is_told_when_half_is_free_and_passes_it_on() {
        let queue = BoundedQueue::new(40, 1000, Duration::ZERO);
        assert!((0..40).all(|_| put(&queue, false)));
        let _waiting = queue.await_room();
        let told = || queue.room().try_recv().is_ok();
        // The first report is immediate: `PACE` does not apply yet.
        (0..6).for_each(|_| assert!(queue.try_recv().is_ok()));
        assert!(told());
        queue.tell();
        assert!(!told(), "less than half of it is free");
        (0..34).for_each(|_| assert!(queue.try_recv().is_ok()));
        assert!(told() && !told());
        queue.tell();
        assert!(told(), "a publisher with nothing more passes it on");
    }

    #[test]
    fn room_is_that_of_what_was_not_received_in_numbers_and_in_bytes() {
        let queue = BoundedQueue::new(100, 45, Duration::ZERO);
        assert!((0..4).all(|_| put(&queue, false)) && !put(&queue, false));
        for left in (0..4).rev() {
            assert!(queue.try_recv().is_ok());
            assert_eq!((queue.len(), put(&queue, false)), (left, true), "its room is released immediately");
            assert!(queue.len() == left + 1 && queue.try_recv().is_ok());
        }
        assert_eq!(queue.try_recv().err(), Some(RecvError::Timeout));
        queue.end();
        assert_eq!(queue.try_recv().err(), Some(RecvError::Closed));
    }

    #[test]
    fn what_a_receiver_has_not_come_to_yet_takes_room_and_what_it_received_does_not() {
        let queue = BoundedQueue::new(100, 10_000, Duration::ZERO);
        assert!((0..100).all(|_| put(&queue, false)));
        // Takes all items out and receives one.
        assert!(queue.try_recv().is_ok());
        assert!(put(&queue, false) && !put(&queue, false));
        assert_eq!(queue.len(), 100);
    }

    #[test]
    fn a_receiver_polls_for_single_items_and_sleeps_while_several_arrive_at_a_time() {
        let queue = BoundedQueue::new(100, 1000, Duration::ZERO);
        for (count, flowing) in [(1, false), (2, true), (5, true), (1, false)] {
            assert!((0..count).all(|_| put(&queue, false)));
            assert!((0..count).all(|_| queue.try_recv().is_ok()));
            assert_eq!((queue.try_recv().err(), queue.is_flowing()), (Some(RecvError::Timeout), flowing), "{count}");
        }
    }

    #[test]
    fn nothing_stays_when_nobody_receives_any_more() {
        let queue = BoundedQueue::new(1, 10, Duration::ZERO);
        assert!(put(&queue, false));
        queue.leave();
        assert!(queue.is_gone() && queue.len() == 0);
        assert!(matches!(queue.put(Item, false), Err(NotPut::Gone)));
        assert!(queue.room().try_recv().is_ok(), "waiters are notified as well");
    }
}
