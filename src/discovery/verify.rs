//! Verifications under way: the same message is verified once, and nobody takes all the room.
//!
//! Whoever floods a node with forged messages gets at most half of it, and the messages of one member, whoever brings them,
//! a few places: what others bring is verified all the same.

use super::alive::Alive;
use super::budget::{Amount, Permit, VerificationBudget};
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
struct Pending {
    alive: Alive,
    uses: Vec<Use>,
    permit: Permit,
}

pub(super) struct Verifications {
    budget: VerificationBudget,
    per_member: usize,
    pending: HashMap<Token, Pending>,
    by_member: HashMap<PkiId, Vec<Token>>,
}

/// Room for so many is kept.
const KEPT_ROOM: usize = 128;

/// How many different uses one verification may have.
const MAX_USES: usize = 16;

impl Verifications {
    /// Nothing is under way; at most `per_member` verifications about one member may be.
    pub fn new(max: Amount, per_member: usize) -> Self {
        let (pending, by_member) = Default::default();
        Verifications { budget: VerificationBudget::new(max), per_member, pending, by_member }
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

    /// Takes a share of the budget for this message from this sender, if there is one left.
    pub fn try_acquire(&mut self, alive: &Alive, sender: &PkiId) -> Option<Permit> {
        match self.has_place(&alive.pki_id, sender) {
            true => self.budget.try_acquire(sender, alive.message.wire_len()),
            false => None,
        }
    }

    /// Whether there is a place among the messages of this member. Whoever else brings them has few of the places, so that
    /// forged ones leave some; and the member itself always has its own.
    fn has_place(&self, member: &PkiId, sender: &PkiId) -> bool {
        let (Some(tokens), most) = (self.by_member.get(member), self.per_member) else { return true };
        let brought = tokens.iter().filter(|token| self.pending[token].permit.sender() == sender).count();
        match sender == member {
            true => brought < most,
            false => tokens.len() < most && brought < (most / 4).max(1),
        }
    }

    pub fn begin(&mut self, token: Token, alive: Alive, wanted: Use, permit: Permit) {
        self.by_member.entry(alive.pki_id.clone()).or_default().push(token);
        self.pending.insert(token, Pending { alive, uses: vec![wanted], permit });
    }

    /// Ends a verification: returns the message, and what it was verified for.
    pub fn take(&mut self, token: Token) -> Option<(Alive, Vec<Use>)> {
        let Pending { alive, uses, permit } = self.pending.remove(&token)?;
        self.budget.release(permit);
        let id = &alive.pki_id;
        if let Some(tokens) = self.by_member.get_mut(id) {
            tokens.retain(|it| *it != token);
            if tokens.is_empty() {
                self.by_member.remove(id);
            }
        }
        // The room for thousands, which a large network takes once, is not kept for ever.
        if self.pending.is_empty() && self.pending.capacity() > KEPT_ROOM {
            self.clear();
        }
        Some((alive, uses))
    }

    pub fn len(&self) -> usize {
        self.budget.in_use()
    }

    pub fn clear(&mut self) {
        (self.pending, self.by_member) = Default::default();
        self.budget.reset();
    }
}
