//! Verifications under way: the same message is verified once, and nobody takes all the room.

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
}

#[derive(Default)]
pub(super) struct Verifications {
    pending: HashMap<Token, Pending>,
    by_member: HashMap<PkiId, Vec<Token>>,
}

/// How many different uses one verification may have.
const MAX_USES: usize = 16;

impl Verifications {
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

    /// Whether there is room for another message of this member.
    pub fn has_room(&self, id: &PkiId, max: usize, max_per_member: usize) -> bool {
        self.pending.len() < max && self.by_member.get(id).is_none_or(|tokens| tokens.len() < max_per_member)
    }

    pub fn begin(&mut self, token: Token, alive: Alive, wanted: Use) {
        self.by_member.entry(alive.pki_id.clone()).or_default().push(token);
        self.pending.insert(token, Pending { alive, uses: vec![wanted] });
    }

    /// Ends a verification.
    pub fn take(&mut self, token: Token) -> Option<Pending> {
        let pending = self.pending.remove(&token)?;
        let id = &pending.alive.pki_id;
        if let Some(tokens) = self.by_member.get_mut(id) {
            tokens.retain(|it| *it != token);
            if tokens.is_empty() {
                self.by_member.remove(id);
            }
        }
        Some(pending)
    }

    pub fn len(&self) -> usize {
        self.pending.len()
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
