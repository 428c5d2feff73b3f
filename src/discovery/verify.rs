//! Verifications under way: the same message is verified once, and nobody takes all the room.
//!
//! Whoever floods a node with forged messages gets at most half of it, and the messages of one member, whoever brings them,
//! a few places: what others bring is verified all the same.

use super::alive::Alive;
use super::Token;
use crate::crypto::PkiId;
use std::collections::HashMap;

/// What is to happen with a message that proves authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It was gossiped, by this peer first.
    Gossip { from: PkiId },
    /// It is in a membership request.
    Request { nonce: u64 },
    /// It is among the alive in a membership response.
    Response { nonce: u64 },
    /// It is among the dead in one.
    Dead,
}

/// A message and what waits for its verification.
pub(super) struct Pending {
    pub alive: Alive,
    pub uses: Vec<Use>,
    sender: PkiId,
}

/// How much room there is.
pub(super) struct Limits {
    pub count: usize,
    pub bytes: usize,
    pub per_member: usize,
}

/// How much room is taken.
#[derive(Clone, Copy, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

pub(super) struct Verifications {
    limits: Limits,
    pending: HashMap<Token, Pending>,
    by_member: HashMap<PkiId, Vec<Token>>,
    by_sender: HashMap<PkiId, Load>,
    load: Load,
}

/// Room for so many is kept.
const KEPT_ROOM: usize = 128;

/// How many different uses one verification may have.
const MAX_USES: usize = 16;

impl Load {
    fn add(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
    }

    fn sub(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count - 1, self.bytes - bytes);
    }

    /// Whether another one is within `1 / share` of the limits.
    fn has_room(&self, bytes: usize, limits: &Limits, share: usize) -> bool {
        self.count < (limits.count / share).max(1) && self.bytes + bytes <= limits.bytes / share
    }
}

impl Verifications {
    pub fn new(limits: Limits) -> Self {
        let load = Load::default();
        let (pending, by_member, by_sender) = Default::default();
        Verifications { limits, pending, by_member, by_sender, load }
    }

    /// Joins a verification of this very message that is under way, if there is one.
    pub fn join(&mut self, alive: &Alive, wanted: &Use) -> bool {
        let Some(tokens) = self.by_member.get(&alive.pki_id) else { return false };
        let same = |token: &&Token| self.pending[token].alive.message.envelope() == alive.message.envelope();
        let Some(pending) = tokens.iter().find(same).copied().and_then(|token| self.pending.get_mut(&token)) else {
            return false;
        };
        let gossiped = |it: &Use| matches!(it, Use::Gossip { .. });
        let has = pending.uses.iter().any(|it| it == wanted || (gossiped(it) && gossiped(wanted)));
        if !has && pending.uses.len() < MAX_USES {
            pending.uses.push(wanted.clone());
        }
        true
    }

    /// Whether there is room for this message from this sender.
    pub fn has_room(&self, alive: &Alive, sender: &PkiId) -> bool {
        let bytes = alive.message.wire_len();
        self.load.has_room(bytes, &self.limits, 1)
            && self.by_sender.get(sender).is_none_or(|load| load.has_room(bytes, &self.limits, 2))
            && self.has_place(&alive.pki_id, sender)
    }

    /// Whether there is a place among the messages of this member. Whoever else brings them has few of the places, so that
    /// forged ones leave some; and the member itself always has its own.
    fn has_place(&self, member: &PkiId, sender: &PkiId) -> bool {
        let (Some(tokens), most) = (self.by_member.get(member), self.limits.per_member) else { return true };
        let brought = tokens.iter().filter(|token| self.pending[token].sender == *sender).count();
        match sender == member {
            true => brought < most,
            false => tokens.len() < most && brought < (most / 4).max(1),
        }
    }

    pub fn begin(&mut self, token: Token, alive: Alive, wanted: Use, sender: PkiId) {
        let bytes = alive.message.wire_len();
        self.load.add(bytes);
        self.by_sender.entry(sender.clone()).or_default().add(bytes);
        self.by_member.entry(alive.pki_id.clone()).or_default().push(token);
        self.pending.insert(token, Pending { alive, uses: vec![wanted], sender });
    }

    /// Ends a verification.
    pub fn take(&mut self, token: Token) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
        let bytes = pending.alive.message.wire_len();
        self.load.sub(bytes);
        if let Some(load) = self.by_sender.get_mut(&pending.sender) {
            load.sub(bytes);
            if load.count == 0 {
                self.by_sender.remove(&pending.sender);
            }
        }
        let id = &pending.alive.pki_id;
        if let Some(tokens) = self.by_member.get_mut(id) {
            tokens.retain(|it| *it != token);
            if tokens.is_empty() {
                self.by_member.remove(id);
            }
        }
        // The room for thousands, which a large network takes once, is not kept for ever.
        if self.load.count == 0 && self.pending.capacity() > KEPT_ROOM {
            self.clear();
        }
        Some(pending)
    }

    pub fn len(&self) -> usize {
        self.load.count
    }

    pub fn clear(&mut self) {
        (self.pending, self.by_member, self.by_sender, self.load) = Default::default();
    }
}
