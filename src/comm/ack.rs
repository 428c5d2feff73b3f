//! Acknowledgements: pending acknowledged sends and their results.

use super::RemotePeer;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind};
use crate::metrics::{Histogram, LiveHistogram};
use crate::sync::channel::{bounded, Receiver, Sender};
use crate::sync::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Result of an acknowledged send to one peer.
#[derive(Debug)]
pub struct SendResult {
    /// The peer, as the caller addressed it.
    pub peer: RemotePeer,
    /// `None` if the peer acknowledged. Otherwise the peer's error ([`ErrorKind::Nack`](crate::ErrorKind::Nack)),
    /// `timed out`, or the reason why the message did not reach the peer.
    pub error: Option<Error>,
    /// Time from writing the message to the stream until the peer's answer; `None` if it did not answer.
    pub round_trip: Option<Duration>,
}

/// The results of an acknowledged send, in order of arrival. Fabric's `AggregatedSendResult`.
#[derive(Debug, Default)]
pub struct AggregatedSendResult(pub(super) Vec<SendResult>);

impl AggregatedSendResult {
    /// Returns the number of peers that acknowledged.
    pub fn ack_count(&self) -> usize {
        self.0.iter().filter(|r| r.error.is_none()).count()
    }

    /// Returns the number of peers that did not acknowledge.
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

/// Formats Fabric's JSON: `{"failures":{"timed out":1},"successes":1}`. Each key is present only if it is not empty.
impl fmt::Display for AggregatedSendResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut failures: BTreeMap<&str, usize> = BTreeMap::new();
        for error in self.0.iter().filter_map(|r| r.error.as_ref()) {
            *failures.entry(error.message()).or_default() += 1;
        }
        f.write_str("{")?;
        if !failures.is_empty() {
            f.write_str("\"failures\":{")?;
            for (i, (text, count)) in failures.iter().enumerate() {
                write!(f, "{}{}:{count}", if i > 0 { "," } else { "" }, JsonString(text))?;
            }
            f.write_str("}")?;
        }
        let successes = self.ack_count();
        if successes > 0 {
            write!(f, "{}\"successes\":{successes}", if failures.is_empty() { "" } else { "," })?;
        }
        f.write_str("}")
    }
}

struct JsonString<'a>(&'a str);

impl fmt::Display for JsonString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                // Go's encoder escapes these too, so that the text can be embedded in HTML.
                c if c < ' ' || "<>&\u{2028}\u{2029}".contains(c) => write!(f, "\\u{:04x}", c as u32)?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

/// Outcome for one peer, as reported to the waiter.
pub(super) enum Outcome {
    /// The acknowledgement's error text, empty for success, and the round-trip time.
    Acknowledged(String, Duration),
    Undelivered(Error),
}

impl Outcome {
    /// Converts the outcome to the result that the sender sees.
    pub fn into_result(self, peer: &RemotePeer) -> SendResult {
        let (error, round_trip) = match self {
            Outcome::Acknowledged(text, took) if text.is_empty() => (None, Some(took)),
            Outcome::Acknowledged(text, took) => {
                (Some(Error::new(ErrorKind::Nack, text).with_peer(peer).with_step("ack")), Some(took))
            }
            Outcome::Undelivered(error) => (Some(error.with_peer(peer)), None),
        };
        SendResult { peer: peer.clone(), error, round_trip }
    }
}

/// Pending acknowledged sends by nonce. An acknowledgement counts only once, and only if it comes from the peer to
/// which the message was written.
#[derive(Default)]
pub(super) struct AckTable {
    pending: Mutex<HashMap<u64, Arc<Pending>>>,
    /// Round-trip times of the acknowledgements that a caller waited for.
    round_trips: LiveHistogram,
}

struct Pending {
    slots: Mutex<Vec<Slot>>,
    results: Sender<(usize, Outcome)>,
}

enum Slot {
    /// Not written to a peer yet.
    Unsent,
    SentTo(PkiId, Instant),
    Acknowledged,
    Undelivered,
}

/// One pending send. Dropping it discards the answers still awaited.
pub(super) struct AckWait {
    table: Arc<AckTable>,
    nonce: u64,
    pending: Arc<Pending>,
    pub results: Receiver<(usize, Outcome)>,
}

/// Accompanies the message to one peer and reports its outcome.
pub(super) struct Tracker {
    pending: Arc<Pending>,
    index: usize,
}

impl AckTable {
    /// Starts to wait for up to `peers` acknowledgements of `nonce`.
    pub fn wait(self: &Arc<Self>, nonce: u64, peers: usize) -> AckWait {
        let (results, receiver) = bounded(peers);
        let slots = Mutex::new((0..peers).map(|_| Slot::Unsent).collect());
        let pending = Arc::new(Pending { slots, results });
        self.pending.lock().insert(nonce, pending.clone());
        AckWait { table: self.clone(), nonce, pending, results: receiver }
    }

    /// Handles a received acknowledgement. Returns `false` if nothing waits for it, or not from this peer.
    pub fn acknowledged(&self, nonce: u64, from: &PkiId, error: String, now: Instant) -> bool {
        let Some(pending) = self.pending.lock().get(&nonce).cloned() else { return false };
        let mut slots = pending.slots.lock();
        let sent = slots.iter().enumerate().find_map(|(index, slot)| match slot {
            Slot::SentTo(id, at) if id == from => Some((index, *at)),
            _ => None,
        });
        let Some((index, at)) = sent else { return false };
        slots[index] = Slot::Acknowledged;
        let took = now.saturating_duration_since(at);
        self.round_trips.record(took);
        // There is room: every slot is settled once, and the channel has one place per slot.
        pending.results.try_send((index, Outcome::Acknowledged(error, took))).is_ok()
    }

    /// Fails the messages written since `since` to a connection that the peer has refused: they will not be
    /// acknowledged. A message whose write is not complete is still reported by its tracker.
    pub fn refused(&self, id: &PkiId, since: Instant, error: &Error) {
        let all: Vec<Arc<Pending>> = self.pending.lock().values().cloned().collect();
        for pending in all {
            let mut slots = pending.slots.lock();
            for (index, slot) in slots.iter_mut().enumerate() {
                if matches!(slot, Slot::SentTo(to, at) if to == id && *at >= since) {
                    *slot = Slot::Undelivered;
                    let error = Error::new(error.kind(), error.message()).with_step("handshake");
                    // There is room: every slot is settled once, and the channel has one place per slot.
                    let _ = pending.results.try_send((index, Outcome::Undelivered(error)));
                }
            }
        }
    }

    pub fn round_trips(&self) -> Histogram {
        self.round_trips.snapshot()
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.pending.lock().len()
    }
}

impl AckWait {
    pub fn nonce(&self) -> u64 {
        self.nonce
    }

    /// Returns the tracker for the peer at `index`.
    pub fn tracker(&self, index: usize) -> Tracker {
        Tracker { pending: self.pending.clone(), index }
    }
}

impl Drop for AckWait {
    fn drop(&mut self) {
        self.table.pending.lock().remove(&self.nonce);
    }
}

impl Tracker {
    /// Records that the message is about to be written on an authenticated connection of this peer.
    pub fn sending_to(&self, pki_id: &PkiId, now: Instant) {
        let mut slots = self.pending.slots.lock();
        if matches!(slots[self.index], Slot::Unsent | Slot::SentTo(..)) {
            slots[self.index] = Slot::SentTo(pki_id.clone(), now);
        }
    }

    /// Records that the message will not be delivered. Returns `false` if its acknowledgement has already arrived.
    pub fn undelivered(&self, error: Error) -> bool {
        let mut slots = self.pending.slots.lock();
        match slots[self.index] {
            Slot::Acknowledged => return false,
            Slot::Undelivered => return true,
            Slot::Unsent | Slot::SentTo(..) => {}
        }
        slots[self.index] = Slot::Undelivered;
        let _ = self.pending.results.try_send((self.index, Outcome::Undelivered(error)));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str) -> PkiId {
        PkiId::from(name.as_bytes())
    }

    #[test]
    fn u5_an_acknowledgement_counts_once_and_no_entry_is_left_after_the_wait() {
        let table = Arc::new(AckTable::default());
        let now = Instant::now();
        let wait = table.wait(7, 2);
        let trackers = [wait.tracker(0), wait.tracker(1)];
        assert!(!table.acknowledged(7, &id("a"), String::new(), now), "before it was sent");
        trackers[0].sending_to(&id("a"), now);
        assert!(!table.acknowledged(7, &id("b"), String::new(), now));
        assert!(!table.acknowledged(8, &id("a"), String::new(), now));
        assert!(table.acknowledged(7, &id("a"), "no".into(), now));
        assert!(!table.acknowledged(7, &id("a"), String::new(), now));
        assert!(!trackers[0].undelivered(Error::new(ErrorKind::Disconnected, "late")));
        assert!(trackers[1].undelivered(Error::new(ErrorKind::Disconnected, "gone")));
        let got: Vec<_> = wait.results.try_iter().map(|(i, _)| i).collect();
        assert_eq!(got, [0, 1]);
        drop(wait);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn a_refusal_answers_who_waits_and_leaves_the_message_to_be_reported() {
        let table = Arc::new(AckTable::default());
        let now = Instant::now();
        let wait = table.wait(7, 1);
        let tracker = wait.tracker(0);
        tracker.sending_to(&id("a"), now);
        let refused = || Error::new(ErrorKind::Refused, "go away");
        table.refused(&id("a"), now, &refused());
        assert!(!table.acknowledged(7, &id("a"), String::new(), now));
        assert!(tracker.undelivered(refused()), "its write may have failed: then it was accepted and never sent");
        assert_eq!(wait.results.try_iter().count(), 1, "one answer");
    }

    #[test]
    fn the_text_is_json_whatever_a_peer_answered() {
        let peer = RemotePeer::new("h:1");
        let result = |error| SendResult { peer: peer.clone(), error, round_trip: None };
        let nack = |text: &str| result(Some(Error::new(ErrorKind::Nack, text)));
        let result = AggregatedSendResult(vec![nack("a\"b\u{1}"), result(None)]);
        assert_eq!(result.to_string(), r#"{"failures":{"a\"b\u0001":1},"successes":1}"#);
        assert_eq!(AggregatedSendResult::default().to_string(), "{}");
    }
}
