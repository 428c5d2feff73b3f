//! Acknowledgements: the waiting sends, and the results of acknowledged sends.

use crate::comm::RemotePeer;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The result of an acknowledged send to one peer.
#[derive(Clone, Debug)]
pub struct SendResult {
    /// The peer, as the caller named it.
    pub peer: RemotePeer,
    /// `None`: acknowledged. Otherwise the peer's own error ([`ErrorKind::Nack`]), `timed out`, or why the message did
    /// not get through to it.
    pub error: Option<Error>,
}

/// The results of an acknowledged send, in the order in which they came in.
#[derive(Clone, Debug, Default)]
pub struct AggregatedSendResult(pub(crate) Vec<SendResult>);

impl AggregatedSendResult {
    /// How many peers acknowledged.
    pub fn ack_count(&self) -> usize {
        self.0.iter().filter(|result| result.error.is_none()).count()
    }

    /// How many did not.
    pub fn nack_count(&self) -> usize {
        self.0.len() - self.ack_count()
    }
}

impl std::ops::Deref for AggregatedSendResult {
    type Target = [SendResult];

    fn deref(&self) -> &[SendResult] {
        &self.0
    }
}

/// The report to the waiter: the index of the peer, and `None` for an acknowledgement.
pub(crate) type Outcome = (usize, Option<Error>);

/// Sends that wait, by nonce. An acknowledgement counts only if it comes from the peer that the message was written to,
/// and once.
#[derive(Default)]
pub(crate) struct AckTable(Mutex<HashMap<u64, Arc<Pending>>>);

struct Pending {
    slots: Mutex<Vec<Slot>>,
    results: mpsc::Sender<Outcome>,
}

enum Slot {
    Unsent,
    SentTo(PkiId),
    Settled,
}

/// One waiting send; dropping it discards outstanding answers.
pub(crate) struct AckWait {
    table: Arc<AckTable>,
    nonce: u64,
    pending: Arc<Pending>,
    pub results: mpsc::Receiver<Outcome>,
}

/// Travels with the message to one peer and reports its result there.
pub(crate) struct Tracker {
    pending: Arc<Pending>,
    index: usize,
}

impl AckTable {
    /// Waits for up to `peers` acknowledgements of `nonce`.
    pub fn wait(self: &Arc<Self>, nonce: u64, peers: usize) -> AckWait {
        let (results, receiver) = mpsc::channel(peers.max(1));
        let slots = Mutex::new((0..peers).map(|_| Slot::Unsent).collect());
        let pending = Arc::new(Pending { slots, results });
        self.0.lock().insert(nonce, pending.clone());
        AckWait { table: self.clone(), nonce, pending, results: receiver }
    }

    /// Handles an acknowledgement. `false` if no send waits for it, or not from this peer.
    pub fn acknowledged(&self, nonce: u64, from: &PkiId, error: &str) -> bool {
        let Some(pending) = self.0.lock().get(&nonce).cloned() else { return false };
        let mut slots = pending.slots.lock();
        let Some(index) = slots.iter().position(|slot| matches!(slot, Slot::SentTo(id) if id == from)) else {
            return false;
        };
        slots[index] = Slot::Settled;
        let error = (!error.is_empty()).then(|| Error::new(ErrorKind::Nack, error));
        // There is room: every slot is settled once, and there are as many places.
        pending.results.try_send((index, error)).is_ok()
    }
}

impl AckWait {
    /// The tracker for the peer at `index`.
    pub fn tracker(&self, index: usize) -> Tracker {
        Tracker { pending: self.pending.clone(), index }
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        self.table.0.lock().remove(&self.nonce);
    }
}

impl Tracker {
    /// The message is about to be written on an authenticated connection of this peer.
    pub fn sending_to(&self, pki_id: &PkiId) {
        self.pending.slots.lock()[self.index] = Slot::SentTo(pki_id.clone());
    }

    /// The message will not be delivered.
    pub fn undelivered(self, error: Error) {
        let mut slots = self.pending.slots.lock();
        if !matches!(slots[self.index], Slot::Settled) {
            slots[self.index] = Slot::Settled;
            let _ = self.pending.results.try_send((self.index, Some(error)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_peer_it_was_sent_to_can_acknowledge_and_only_once() {
        let id = |name: &'static str| PkiId(name.as_bytes().into());
        let table = Arc::new(AckTable::default());
        let mut wait = table.wait(7, 2);
        let trackers = [wait.tracker(0), wait.tracker(1)];
        assert!(!table.acknowledged(7, &id("a"), ""), "before it was sent");
        trackers[0].sending_to(&id("a"));
        assert!(!table.acknowledged(7, &id("b"), ""));
        assert!(!table.acknowledged(8, &id("a"), ""));
        assert!(table.acknowledged(7, &id("a"), "no"));
        assert!(!table.acknowledged(7, &id("a"), ""));
        let [first, second] = trackers;
        first.undelivered(Error::new(ErrorKind::Disconnected, "late"));
        second.undelivered(Error::new(ErrorKind::Disconnected, "gone"));
        let got: Vec<_> = std::iter::from_fn(|| wait.results.try_recv().ok())
            .map(|(index, error)| (index, error.unwrap().message().to_owned()))
            .collect();
        assert_eq!(got, [(0, "no".into()), (1, "gone".into())]);
        drop(wait);
        assert!(table.0.lock().is_empty());
    }
}
