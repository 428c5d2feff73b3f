//! A queue that is bounded in messages and in bytes: tokio's channel, and a budget beside it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::task::{ready, Context, Poll};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::Notify;

/// How many items a receiver takes from the channel together, which costs little more than taking one. As many may be
/// in the queue beyond its capacity.
const TOGETHER: usize = 32;

/// Something that takes room.
pub trait Weigh {
    /// Its size in bytes.
    fn weight(&self) -> usize;
}

/// A queue for `capacity` items of `bytes` bytes in all. An item larger than that is taken while nothing else waits.
pub fn queue<T: Weigh>(capacity: usize, bytes: usize) -> (Sender<T>, Receiver<T>) {
    let (sender, receiver) = mpsc::channel(capacity.max(1));
    let budget = Arc::new(Budget { limit: bytes, ..Budget::default() });
    (Sender { items: sender, budget: budget.clone() }, Receiver { items: receiver, taken: Vec::new(), budget })
}

/// The sending end.
pub struct Sender<T> {
    items: mpsc::Sender<T>,
    budget: Arc<Budget>,
}

/// The receiving end.
pub struct Receiver<T> {
    items: mpsc::Receiver<T>,
    /// Taken from the channel together, the next one last.
    taken: Vec<T>,
    budget: Arc<Budget>,
}

impl<T: Weigh> Sender<T> {
    /// Queues the item if there is room now.
    pub fn try_send(&self, item: T) -> Result<(), TrySendError<T>> {
        let Some(reserved) = self.budget.reserve(item.weight()) else {
            return Err(if self.items.is_closed() { TrySendError::Closed(item) } else { TrySendError::Full(item) });
        };
        self.items.try_send(item).map(|()| std::mem::forget(reserved))
    }

    /// Queues the item as soon as there is room. Fails if the receiver is gone.
    pub async fn send(&self, item: T) -> Result<(), T> {
        match self.try_send(item) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(item)) => Err(item),
            Err(TrySendError::Full(item)) => {
                let Some(reserved) = self.budget.wait(item.weight()).await else { return Err(item) };
                self.items.send(item).await.map(|()| std::mem::forget(reserved)).map_err(|e| e.0)
            }
        }
    }

    /// Returns whether the receiver is gone.
    pub fn is_closed(&self) -> bool {
        self.items.is_closed()
    }
}

impl<T: Weigh> Receiver<T> {
    /// The next item; `None` once there will be none.
    pub async fn recv(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        if self.taken.is_empty() {
            ready!(self.items.poll_recv_many(cx, &mut self.taken, TOGETHER));
            self.taken.reverse();
        }
        Poll::Ready(self.taken.pop().inspect(|item| self.budget.release(item.weight())))
    }

    /// The next item if there is one now.
    pub fn try_recv(&mut self) -> Option<T> {
        self.taken.pop().or_else(|| self.items.try_recv().ok()).inspect(|item| self.budget.release(item.weight()))
    }

    /// Accepts no more items; queued ones can still be received.
    pub fn close(&mut self) {
        self.items.close();
        self.budget.close();
    }

    /// How many items wait.
    pub fn len(&self) -> usize {
        self.taken.len() + self.items.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.budget.close();
    }
}

/// Bytes in use. One atomic operation each way as long as there is room.
#[derive(Default)]
struct Budget {
    limit: usize,
    used: AtomicUsize,
    waiting: AtomicUsize,
    closed: AtomicBool,
    room: Notify,
    /// Waiters take turns: small items do not overtake a large one indefinitely.
    turn: tokio::sync::Mutex<()>,
}

impl Budget {
    fn reserve(&self, bytes: usize) -> Option<Reserved<'_>> {
        let fits = |used: usize| (used == 0 || used.saturating_add(bytes) <= self.limit).then(|| used + bytes);
        self.used.fetch_update(SeqCst, SeqCst, fits).ok().map(|_| Reserved { budget: self, bytes })
    }

    async fn wait(&self, bytes: usize) -> Option<Reserved<'_>> {
        let _turn = self.turn.lock().await;
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registers first and checks afterwards, so that a change in between is not missed.
            room.as_mut().enable();
            if self.closed.load(SeqCst) {
                return None;
            }
            if let Some(reserved) = self.reserve(bytes) {
                return Some(reserved);
            }
            room.await;
        }
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, SeqCst);
        if self.waiting.load(SeqCst) > 0 {
            self.room.notify_waiters();
        }
    }

    fn close(&self) {
        self.closed.store(true, SeqCst);
        self.room.notify_waiters();
    }
}

/// Given back unless it is forgotten.
struct Reserved<'a> {
    budget: &'a Budget,
    bytes: usize,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, SeqCst);
        Waiting(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weigh for usize {
        fn weight(&self) -> usize {
            *self
        }
    }

    #[tokio::test]
    async fn bytes_bound_the_queue_but_a_single_large_item_passes() {
        let (sender, mut receiver) = queue(10, 10);
        sender.try_send(100).unwrap();
        assert!(matches!(sender.try_send(1), Err(TrySendError::Full(1))));
        assert_eq!(receiver.recv().await, Some(100));
        sender.try_send(10).unwrap();
        let (sent, received) = tokio::join!(sender.send(5), receiver.recv());
        assert_eq!((sent, received), (Ok(()), Some(10)));
        assert_eq!(receiver.try_recv(), Some(5));
    }

    #[tokio::test]
    async fn who_waits_for_room_is_told_of_the_end() {
        let (sender, receiver) = queue(10, 10);
        sender.try_send(10).unwrap();
        let (sent, ()) = tokio::join!(sender.send(5), async { drop(receiver) });
        assert_eq!(sent, Err(5));
    }

    #[tokio::test]
    async fn giving_up_waiting_gives_back_what_was_reserved() {
        let (sender, mut receiver) = queue(1, 10);
        sender.try_send(4).unwrap();
        {
            let waiting = sender.send(6);
            tokio::pin!(waiting);
            assert!(futures_poll(waiting.as_mut()).is_pending());
        }
        assert_eq!(receiver.recv().await, Some(4));
        sender.try_send(10).unwrap();
    }

    fn futures_poll<F: std::future::Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
