//! Decides which of two messages about the same subject takes precedence.

use super::{Content, GossipMessage};
use crate::proto::gossip::PeerTime;
use protobuf::MessageField;
use std::cmp::Ordering;

/// The relation of one message to another (Fabric's `InvalidationResult`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidationResult {
    /// They are unrelated.
    NoAction,
    /// This message makes the other one obsolete.
    Invalidates,
    /// The other message makes this one obsolete, or is equivalent.
    Invalidated,
}

use InvalidationResult::{Invalidated, Invalidates, NoAction};

/// Compares a message with one that is already stored.
///
/// Alive, state and leadership messages of one peer are ordered by their time. All identities of one peer are
/// equivalent. Blocks are valid while their numbers are at most `data_window` (Fabric's `dataBlockStorageSize`) apart,
/// whatever their channel: use one comparison per channel. All other messages are unrelated.
///
/// A message without the fields needed for comparison (membership, time, payload) is invalidated, so that it is never
/// stored, and a complete one invalidates it. Fabric crashes on those.
pub fn compare(this: &GossipMessage, that: &GossipMessage, data_window: u64) -> InvalidationResult {
    match (&this.content, &that.content) {
        (Some(Content::AliveMsg(this)), Some(Content::AliveMsg(that))) => {
            match (this.membership.as_ref(), that.membership.as_ref()) {
                (Some(a), Some(b)) if a.pki_id != b.pki_id => NoAction,
                (Some(_), Some(_)) => by_time(&this.timestamp, &that.timestamp),
                (this, _) => incomplete(this.is_some()),
            }
        }
        (Some(Content::StateInfo(this)), Some(Content::StateInfo(that))) if this.pki_id == that.pki_id => {
            by_time(&this.timestamp, &that.timestamp)
        }
        (Some(Content::LeadershipMsg(this)), Some(Content::LeadershipMsg(that))) if this.pki_id == that.pki_id => {
            by_time(&this.timestamp, &that.timestamp)
        }
        (Some(Content::PeerIdentity(this)), Some(Content::PeerIdentity(that))) if this.pki_id == that.pki_id => {
            Invalidated
        }
        (Some(Content::DataMsg(this)), Some(Content::DataMsg(that))) => {
            match (this.payload.as_ref(), that.payload.as_ref()) {
                (Some(a), Some(b)) => by_sequence(a.seq_num, b.seq_num, data_window),
                (this, _) => incomplete(this.is_some()),
            }
        }
        _ => NoAction,
    }
}

fn by_time(this: &MessageField<PeerTime>, that: &MessageField<PeerTime>) -> InvalidationResult {
    match (this.as_ref(), that.as_ref()) {
        (Some(a), Some(b)) => match (a.inc_num, a.seq_num).cmp(&(b.inc_num, b.seq_num)) {
            Ordering::Greater => Invalidates,
            Ordering::Equal | Ordering::Less => Invalidated,
        },
        (this, _) => incomplete(this.is_some()),
    }
}

fn by_sequence(this: u64, that: u64, window: u64) -> InvalidationResult {
    match this.cmp(&that) {
        Ordering::Equal => Invalidated,
        _ if this.abs_diff(that) <= window => NoAction,
        Ordering::Less => Invalidated,
        Ordering::Greater => Invalidates,
    }
}

/// Compares two messages of which at least one is incomplete; `this_complete` is true if it is only the other one.
fn incomplete(this_complete: bool) -> InvalidationResult {
    if this_complete {
        Invalidates
    } else {
        Invalidated
    }
}
