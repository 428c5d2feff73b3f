//! The single table of members, each in one state.

use super::alive::Alive;
use super::{Change, NetworkMember, Timestamp};
use crate::crypto::PkiId;
use crate::journal;
use bytes::Bytes;
use hashbrown::HashTable;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, Instant};

/// The state of a member; the table is sorted in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// There was recent news of it.
    Alive,
    /// There was no news for too long, or its connection was lost.
    Dead,
    /// It is not a member any more; its time is remembered, so that old messages do not bring it back.
    Forgotten,
}

/// The record of one PKI-ID.
#[derive(Clone, Debug)]
pub struct Record {
    /// The member; only the PKI-ID if it is forgotten.
    pub member: NetworkMember,
    /// The time of its newest message.
    pub time: Timestamp,
    /// Arrival time of that message; for a forgotten member, the time when it was forgotten.
    pub last_seen: Instant,
    /// The time and the arrival time of its newest gossiped message. Fabric has a store of such messages: older ones
    /// are neither used nor forwarded until twice the TTL has passed.
    gossiped: Option<(Timestamp, Instant)>,
}

/// The source of news about a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// By gossip, or in a response: any peer may have kept it.
    Hearsay,
    /// From the member itself, over a connection that authenticates it.
    Itself,
}

/// The members: first the alive, then the dead, then the forgotten. Each is thus in one state, the members of one state
/// are one slice, and the n-th of them is found in constant time.
pub(super) struct Table {
    records: Vec<Record>,
    /// End of the alive, and end of the dead.
    ends: [usize; 2],
    /// Position of the record of each PKI-ID.
    index: HashTable<usize>,
    /// Position of the record by the payload of its newest message: known messages need not even be decoded.
    payloads: HashTable<usize>,
    keys: RandomState,
    capacity: usize,
    ttl: Duration,
}

impl Table {
    /// Creates a table for `capacity` members and the same number of forgotten ones.
    pub fn new(capacity: usize, ttl: Duration) -> Self {
        let (index, payloads) = (HashTable::new(), HashTable::new());
        Table { records: Vec::new(), ends: [0, 0], index, payloads, keys: RandomState::new(), capacity, ttl }
    }

    pub fn get(&self, id: &PkiId) -> Option<(&Record, State)> {
        self.at(id).map(|at| (&self.records[at], self.state(at)))
    }

    /// Returns the record of a member that is alive or dead.
    pub fn member(&self, id: &PkiId) -> Option<(&Record, State)> {
        self.get(id).filter(|(_, state)| *state != State::Forgotten)
    }

    pub fn records(&self) -> impl Iterator<Item = (&Record, State)> {
        self.records.iter().enumerate().map(|(at, record)| (record, self.state(at)))
    }

    pub fn alive(&self) -> &[Record] {
        &self.records[..self.ends[0]]
    }

    pub fn dead(&self) -> &[Record] {
        &self.records[self.ends[0]..self.ends[1]]
    }

    /// Returns the PKI-ID whose newest message has this payload.
    pub fn owner_of_payload(&self, payload: &Bytes) -> Option<&PkiId> {
        self.at_payload(payload).map(|at| &self.records[at].member.pki_id)
    }

    /// Returns whether the message is newer than the newest gossiped one that is still remembered. Fabric's
    /// `msgStore.CheckValid`.
    pub fn is_newer_than_gossip(&self, alive: &Alive, now: Instant) -> bool {
        let known = self.get(&alive.pki_id).and_then(|(record, _)| record.gossiped(now, self.ttl));
        known.is_none_or(|(time, _)| time < alive.time)
    }

    /// Returns whether a member's newest message has this payload and was gossiped, so that it needs no further
    /// handling.
    pub fn was_gossiped(&self, payload: &Bytes, now: Instant) -> bool {
        let record = self.at_payload(payload).map(|at| &self.records[at]);
        record.is_some_and(|it| it.gossiped(now, self.ttl).is_some_and(|(time, _)| time >= it.time))
    }

    /// Returns whether an authentic message would change the table.
    pub fn is_news(&self, alive: &Alive, source: Source, now: Instant) -> bool {
        match self.get(&alive.pki_id) {
            None => true,
            Some((record, _)) if record.time < alive.time => true,
            // A member that returns after so long may have had its clock set back.
            Some((record, State::Forgotten)) => source == Source::Itself && now - record.last_seen > self.ttl,
            Some(_) => false,
        }
    }

    /// Records a member's own message: it is alive.
    pub fn learn_alive(&mut self, alive: &Alive, source: Source, now: Instant) -> Option<Change> {
        if !self.is_news(alive, source, now) {
            return None;
        }
        let known = self.at(&alive.pki_id);
        let Some(at) = known.filter(|&at| self.state(at) == State::Alive) else {
            return self.learn(alive, State::Alive, now).map(Change::Alive);
        };
        // A usual heartbeat changes nothing but the time.
        if alive.says_the_same_as(&self.records[at].member) {
            self.renew(at, alive, now);
            return None;
        }
        let before = self.records[at].member.clone();
        let member = self.learn(alive, State::Alive, now)?;
        let same = NetworkMember { envelope: before.envelope.clone(), ..member.clone() } == before;
        (!same).then_some(Change::Updated(member))
    }

    /// Records as dead a member that is unknown, or of which the table has only older information.
    pub fn learn_dead(&mut self, alive: &Alive, now: Instant) -> Option<Change> {
        if self.member(&alive.pki_id).is_some() || !self.is_news(alive, Source::Hearsay, now) {
            return None;
        }
        self.learn(alive, State::Dead, now).map(Change::Dead)
    }

    /// Returns `None` if there is no room.
    fn learn(&mut self, alive: &Alive, state: State, now: Instant) -> Option<NetworkMember> {
        let known = self.at(&alive.pki_id);
        let is_member = known.is_some_and(|at| self.state(at) != State::Forgotten);
        if !is_member && self.ends[1] >= self.capacity {
            journal::warning!("no room for another member: {} are known", self.ends[1]);
            return None;
        }
        let mut member = alive.member();
        let at = match known {
            Some(at) => {
                // A message for others omits the internal endpoint; the member still has it.
                if is_member && alive.message.envelope().secret.is_none() {
                    member.internal_endpoint = std::mem::take(&mut self.records[at].member.internal_endpoint);
                }
                // A message with a time in the future, from before the clock was set back, is no longer comparable.
                if alive.time < self.records[at].time {
                    self.records[at].gossiped = None;
                }
                at
            }
            None => {
                let bare = NetworkMember { pki_id: alive.pki_id.clone(), ..Default::default() };
                self.records.push(Record { member: bare, time: alive.time, last_seen: now, gossiped: None });
                self.index_record(self.records.len() - 1);
                self.records.len() - 1
            }
        };
        let at = self.move_to(at, state);
        self.drop_payload(at);
        self.records[at].member = member.clone();
        self.renew(at, alive, now);
        Some(member)
    }

    /// Stores the message itself.
    fn renew(&mut self, at: usize, alive: &Alive, now: Instant) {
        self.drop_payload(at);
        let envelope = alive.message.envelope();
        let record = &mut self.records[at];
        (record.time, record.last_seen) = (alive.time, now);
        // A slice of this message, not of an older one.
        record.member.metadata = alive.metadata().clone();
        record.member.envelope = Some(envelope.clone());
        self.index_payload(at);
    }

    /// Records that this message was gossiped, if its peer is known.
    pub fn note_gossiped(&mut self, alive: &Alive, now: Instant) -> bool {
        let Some(at) = self.at(&alive.pki_id) else { return false };
        self.records[at].gossiped = Some((alive.time, now));
        true
    }

    /// Marks an alive member as dead.
    pub fn bury(&mut self, id: &PkiId) -> Option<NetworkMember> {
        let at = self.at(id)?;
        if self.state(at) != State::Alive {
            return None;
        }
        let at = self.move_to(at, State::Dead);
        Some(self.records[at].member.clone())
    }

    /// Marks as dead all members without news for longer than `timeout`.
    pub fn bury_silent(&mut self, timeout: Duration, now: Instant) -> Vec<NetworkMember> {
        let silent = |record: &&Record| now - record.last_seen > timeout;
        let ids: Vec<PkiId> = self.alive().iter().filter(silent).map(|record| record.member.pki_id.clone()).collect();
        ids.iter().filter_map(|id| self.bury(id)).collect()
    }

    /// Forgets a member, alive or dead, except for its time.
    pub fn forget(&mut self, id: &PkiId, now: Instant) -> Option<NetworkMember> {
        let at = self.at(id)?;
        if self.state(at) == State::Forgotten {
            return None;
        }
        self.drop_payload(at);
        let at = self.move_to(at, State::Forgotten);
        let record = &mut self.records[at];
        record.last_seen = now;
        let bare = NetworkMember { pki_id: record.member.pki_id.clone(), ..Default::default() };
        let member = std::mem::replace(&mut record.member, bare);
        self.bound_forgotten();
        Some(member)
    }

    /// Forgets the dead members without news for longer than the TTL, except those for which `keep` returns true.
    pub fn forget_dead(&mut self, keep: impl Fn(&NetworkMember) -> bool, now: Instant) -> Vec<NetworkMember> {
        let due = |record: &&Record| now - record.last_seen > self.ttl && !keep(&record.member);
        let ids: Vec<PkiId> = self.dead().iter().filter(due).map(|record| record.member.pki_id.clone()).collect();
        ids.iter().filter_map(|id| self.forget(id, now)).collect()
    }

    fn state(&self, at: usize) -> State {
        match at {
            _ if at < self.ends[0] => State::Alive,
            _ if at < self.ends[1] => State::Dead,
            _ => State::Forgotten,
        }
    }

    /// Moves a record to another state, across the boundaries between; returns its new position.
    fn move_to(&mut self, mut at: usize, to: State) -> usize {
        while self.state(at) < to {
            let end = &mut self.ends[self.state(at) as usize];
            *end -= 1;
            let last = *end;
            at = self.swap(at, last);
        }
        while self.state(at) > to {
            let border = self.state(at) as usize - 1;
            let first = self.ends[border];
            at = self.swap(at, first);
            self.ends[border] += 1;
        }
        at
    }

    fn swap(&mut self, at: usize, with: usize) -> usize {
        if at != with {
            let payloads = [at, with].map(|place| (self.unindex_record(place), self.drop_payload(place)).1);
            self.records.swap(at, with);
            for (place, had_payload) in [(with, payloads[0]), (at, payloads[1])] {
                self.index_record(place);
                if had_payload {
                    self.index_payload(place);
                }
            }
        }
        with
    }

    fn at(&self, id: &PkiId) -> Option<usize> {
        let is = |at: &usize| self.records[*at].member.pki_id == *id;
        self.index.find(self.keys.hash_one(id), is).copied()
    }

    fn at_payload(&self, payload: &Bytes) -> Option<usize> {
        let is = |at: &usize| payload_of(&self.records[*at]) == Some(payload);
        self.payloads.find(self.keys.hash_one(payload), is).copied()
    }

    fn index_record(&mut self, at: usize) {
        let Table { records, index, keys, .. } = self;
        let hash = |at: &usize| keys.hash_one(&records[*at].member.pki_id);
        index.insert_unique(hash(&at), at, hash);
    }

    fn unindex_record(&mut self, at: usize) {
        let hash = self.keys.hash_one(&self.records[at].member.pki_id);
        if let Ok(entry) = self.index.find_entry(hash, |it| *it == at) {
            entry.remove();
        }
    }

    fn index_payload(&mut self, at: usize) {
        let Table { records, payloads, keys, .. } = self;
        let hash = |at: &usize| payload_of(&records[*at]).map_or(0, |payload| keys.hash_one(payload));
        payloads.insert_unique(hash(&at), at, hash);
    }

    /// Removes the payload from the index; returns whether there was one.
    fn drop_payload(&mut self, at: usize) -> bool {
        let Some(payload) = payload_of(&self.records[at]) else { return false };
        match self.payloads.find_entry(self.keys.hash_one(payload), |it| *it == at) {
            Ok(entry) => {
                entry.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Removes the members forgotten first, beyond the bound.
    fn bound_forgotten(&mut self) {
        if self.records.len() - self.ends[1] <= self.capacity {
            return;
        }
        let forgotten = self.records.iter().enumerate().skip(self.ends[1]);
        let Some((at, _)) = forgotten.min_by_key(|(_, record)| record.last_seen) else { return };
        let last = self.records.len() - 1;
        self.swap(at, last);
        self.unindex_record(last);
        self.records.pop();
    }
}

/// Returns the payload of its newest message.
fn payload_of(record: &Record) -> Option<&Bytes> {
    record.member.envelope.as_ref().map(|envelope| &envelope.payload)
}

impl Record {
    /// Returns the time of the newest gossiped message, and whether it has expired; `None` if there was none, or too
    /// long ago.
    pub(super) fn gossiped(&self, now: Instant, ttl: Duration) -> Option<(Timestamp, bool)> {
        let (time, at) = self.gossiped?;
        let age = now - at;
        (age < 2 * ttl).then_some((time, age >= ttl))
    }
}
