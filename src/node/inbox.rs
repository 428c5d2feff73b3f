//! Incoming messages that wait for the driver.
//!
//! Each peer has a share of the room. When a peer fills its share, its connection is read no further. Messages of other
//! peers are still accepted, and are served in turn.

use super::fair_queue::FairQueue;
use crate::cancel::Cancel;
use crate::comm::{ByteSize, ReceivedMessage};
use crate::crypto::PkiId;
use crate::sync::channel::{bounded, select, Receiver, Sender};
use crate::sync::Mutex;
use std::collections::HashMap;

/// Maximum number of waiting messages of one peer.
const MESSAGES: usize = 256;

/// Maximum number of their bytes; a single larger message is accepted.
const BYTES: usize = 4 << 20;

/// Maximum number of waiting bytes in total; beyond it, each peer may still have one message waiting.
const ALL_BYTES: usize = 64 << 20;

pub(super) struct Inbox<M = ReceivedMessage> {
    waiting: Mutex<Waiting<M>>,
    arrived: (Sender<()>, Receiver<()>),
    stopping: Cancel,
}

struct Waiting<M> {
    messages: FairQueue<(PkiId, M)>,
    shares: HashMap<PkiId, Share>,
    bytes: usize,
}

/// The waiting messages of one peer.
struct Share {
    count: usize,
    bytes: usize,
    /// Signals that the share has shrunk; disconnected when it is removed because it is empty.
    less: (Sender<()>, Receiver<()>),
}

impl<M: ByteSize> Inbox<M> {
    pub fn new(stopping: Cancel) -> Self {
        let waiting = Waiting { messages: FairQueue::default(), shares: HashMap::new(), bytes: 0 };
        Inbox { waiting: Mutex::new(waiting), arrived: bounded(1), stopping }
    }

    /// Adds a message. Blocks while this peer has too much waiting, until the driver has taken some of it or the node
    /// stops. The driver does not wait for any peer.
    pub fn put(&self, from: &PkiId, message: M) {
        let weight = message.byte_size();
        loop {
            let mut waiting = self.waiting.lock();
            let Some(full) = waiting.lacks_room(from, weight) else {
                waiting.put(from, message, weight);
                break;
            };
            drop(waiting);
            select! {
                recv(full) -> _ => {}
                recv(self.stopping.signal()) -> _ => return,
            }
        }
        self.wake();
    }

    /// Wakes the driver to check its timers and messages. Several calls may result in one wake-up.
    pub fn wake(&self) {
        let _ = self.arrived.0.try_send(());
    }

    /// Takes the next message, if there is one. Never blocks.
    pub fn take(&self) -> Option<M> {
        let mut waiting = self.waiting.lock();
        let (from, message) = waiting.messages.pop()?;
        let weight = message.byte_size();
        waiting.bytes -= weight;
        if let Some(share) = waiting.shares.get_mut(&from) {
            (share.count, share.bytes) = (share.count - 1, share.bytes - weight);
            let _ = share.less.0.try_send(());
            if share.count == 0 {
                waiting.shares.remove(&from);
            }
        }
        if waiting.messages.len() > 0 {
            self.wake();
        }
        Some(message)
    }

    /// Returns the channel that signals a waiting message or a [`wake`](Self::wake).
    pub fn arrived(&self) -> &Receiver<()> {
        &self.arrived.1
    }

    /// Returns the number of waiting messages.
    pub fn len(&self) -> usize {
        self.waiting.lock().messages.len()
    }
}

impl<M> Waiting<M> {
    /// Returns the channel to wait on if a peer has too much waiting already.
    fn lacks_room(&self, from: &PkiId, weight: usize) -> Option<Receiver<()>> {
        let share = self.shares.get(from)?;
        let fits = share.count < MESSAGES && share.bytes + weight <= BYTES && self.bytes + weight <= ALL_BYTES;
        (!fits).then(|| share.less.1.clone())
    }

    fn put(&mut self, from: &PkiId, message: M, weight: usize) {
        let share = self.shares.entry(from.clone()).or_insert_with(|| Share { count: 0, bytes: 0, less: bounded(1) });
        (share.count, share.bytes) = (share.count + 1, share.bytes + weight);
        self.bytes += weight;
        self.messages.push(from, (from.clone(), message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    struct Message(&'static str, usize);

    impl ByteSize for Message {
        fn byte_size(&self) -> usize {
            self.1
        }
    }

    fn id(name: &str) -> PkiId {
        PkiId::from(name.as_bytes())
    }

    fn put(inbox: &Inbox<Message>, name: &'static str, size: usize) {
        inbox.put(&id(name), Message(name, size));
    }

    fn has_room(inbox: &Inbox<Message>, name: &str, size: usize) -> bool {
        inbox.waiting.lock().lacks_room(&id(name), size).is_none()
    }

    #[test]
    fn who_fills_its_share_waits_and_nobody_else() {
        let inbox = Arc::new(Inbox::new(Cancel::new()));
        (0..MESSAGES).for_each(|_| put(&inbox, "flooder", 1));
        assert!(!has_room(&inbox, "flooder", 1) && has_room(&inbox, "other", 1));
        let flooder = thread::spawn({
            let inbox = inbox.clone();
            move || (0..1000).for_each(|_| put(&inbox, "flooder", 1))
        });
        put(&inbox, "other", 1);
        let mut taken = Vec::new();
        while taken.len() < MESSAGES + 1001 {
            inbox.arrived().recv().unwrap();
            while let Some(message) = inbox.take() {
                assert!(inbox.len() <= MESSAGES + 1);
                taken.push(message.0);
            }
        }
        flooder.join().unwrap();
        assert_eq!(taken[1], "other", "in its turn");
        let waiting = inbox.waiting.lock();
        assert!(waiting.shares.is_empty() && waiting.bytes == 0, "nothing is left behind");
    }

    #[test]
    fn large_messages_take_room_by_their_size_and_everybody_has_room_for_one() {
        let inbox = Inbox::new(Cancel::new());
        put(&inbox, "a", 10 * ALL_BYTES);
        assert!(!has_room(&inbox, "a", 0));
        put(&inbox, "b", BYTES - 1);
        assert!(!has_room(&inbox, "b", 0), "all of it is too much");
        assert!(has_room(&inbox, "c", BYTES));
        inbox.take();
        assert!(has_room(&inbox, "b", 1) && !has_room(&inbox, "b", 2));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let stopping = Cancel::new();
        let inbox = Arc::new(Inbox::new(stopping.clone()));
        (0..MESSAGES).for_each(|_| put(&inbox, "flooder", 1));
        let flooder = thread::spawn({
            let inbox = inbox.clone();
            move || put(&inbox, "flooder", 1)
        });
        stopping.cancel();
        flooder.join().unwrap();
        assert_eq!(inbox.len(), MESSAGES);
    }
}
