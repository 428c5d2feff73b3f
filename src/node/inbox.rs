//! What comes in from the network, and waits for the driver.
//!
//! Each peer has a share of the room. Who fills its own waits, so that its connection is read no further; the messages of
//! the others come in all the same, and in their turn.

use super::fair_queue::FairQueue;
use crate::cancel::Cancel;
use crate::comm::{ByteSize, ReceivedMessage};
use crate::crypto::PkiId;
use crate::sync::channel::{bounded, select, Receiver, Sender};
use crate::sync::Mutex;
use std::collections::HashMap;

/// Messages of one peer that wait, at most.
const MESSAGES: usize = 256;

/// Their bytes, at most; a single larger message passes.
const BYTES: usize = 4 << 20;

/// The bytes of all that waits, at most, but that everybody may have one message waiting.
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

/// What one peer has waiting.
struct Share {
    count: usize,
    bytes: usize,
    /// Tells whoever waits that it has become less; or is gone, and then there is none.
    less: (Sender<()>, Receiver<()>),
}

impl<M: ByteSize> Inbox<M> {
    pub fn new(stopping: Cancel) -> Self {
        let waiting = Waiting { messages: FairQueue::default(), shares: HashMap::new(), bytes: 0 };
        Inbox { waiting: Mutex::new(waiting), arrived: bounded(1), stopping }
    }

    /// Puts in a message. Blocks while this peer has too much waiting: until the driver has taken some of it, which waits
    /// for nobody, or the stop.
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

    /// Wakes the driver, to look at its timers or its messages: once is as good as often.
    pub fn wake(&self) {
        let _ = self.arrived.0.try_send(());
    }

    /// The next message, if there is one. Never blocks.
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

    /// Receives something whenever there is a message to take, or somebody calls.
    pub fn arrived(&self) -> &Receiver<()> {
        &self.arrived.1
    }

    /// How many messages wait.
    pub fn len(&self) -> usize {
        self.waiting.lock().messages.len()
    }
}

impl<M> Waiting<M> {
    /// What to wait for, if a peer has too much waiting already.
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
