//! Verifications in progress: each message is verified once, and no peer can use all the capacity.
//!
//! A peer that floods a node with forged messages gets at most half of the budget. The messages of one member, from any
//! sender, get only a few places. Messages of other senders are thus still verified.

use super::alive::Alive;
use super::budget::{Amount, Permit, VerificationBudget};
use super::Token;
use crate::crypto::PkiId;
use std::collections::HashMap;

/// The use of a message that proves authentic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// A gossiped message; `from` is its first sender.
    Gossip { from: PkiId },
    /// Part of a membership request.
    Request { nonce: u64 },
    /// One of the alive messages in a membership response.
    Response { nonce: u64 },
    /// One of the dead messages in a membership response.
    Dead,
}

/// A message and its pending uses.
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

/// Capacity kept when no verification is in progress.
const KEPT_ROOM: usize = 128;

/// Maximum number of different uses of one verification.
const MAX_USES: usize = 16;

impl Verifications {
    /// Creates an empty set with at most `per_member` verifications for each member.
    pub fn new(max: Amount, per_member: usize) -> Self {
        let (pending, by_member) = Default::default();
        Verifications { budget: VerificationBudget::new(max), per_member, pending, by_member }
    }

    /// Joins a verification in progress of this same message, if there is one.
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

    /// Acquires a permit for this message from this sender, if the budget allows.
    pub fn try_acquire(&mut self, alive: &Alive, sender: &PkiId) -> Option<Permit> {
        match self.has_place(&alive.pki_id, sender) {
            true => self.budget.try_acquire(sender, alive.message.wire_len()),
            false => None,
        }
    }

    /// Returns whether this member's messages have a free place. Each other sender gets only a few places, so that
    /// forged messages leave some free; the member itself always has places reserved.
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

    /// Ends a verification. Returns the message and its uses.
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
        // Release the capacity for thousands that a large network needs once.
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
