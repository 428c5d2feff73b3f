//! Limits on verifications in progress, in total and per sender.

use crate::crypto::PkiId;
use std::collections::HashMap;

/// A number of messages and of their bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Amount {
    pub count: usize,
    pub bytes: usize,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
    }

    fn sub(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count - 1, self.bytes - bytes);
    }

    /// Returns whether one more message stays within `1 / share` of the maximum.
    fn fits(&self, bytes: usize, max: Amount, share: usize) -> bool {
        self.count < (max.count / share).max(1) && self.bytes + bytes <= max.bytes / share
    }
}

/// Bounds the verifications in progress. One peer gets at most half of the budget.
#[derive(Debug)]
pub(crate) struct VerificationBudget {
    max: Amount,
    used: Amount,
    by_sender: HashMap<PkiId, Amount>,
    first_of_any_size: bool,
}

/// The share of the budget that one verification takes, until it is [released](VerificationBudget::release).
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit {
    sender: PkiId,
    bytes: usize,
}

impl Permit {
    /// Returns the peer that brought the message.
    pub fn sender(&self) -> &PkiId {
        &self.sender
    }
}

impl VerificationBudget {
    /// Creates an unused budget.
    pub fn new(max: Amount) -> Self {
        VerificationBudget { max, used: Amount::default(), by_sender: HashMap::new(), first_of_any_size: false }
    }

    /// Allows each peer one message of any size, within the limit on the number of messages: for messages without a
    /// maximum size, such as blocks.
    pub fn first_of_any_size(self) -> Self {
        VerificationBudget { first_of_any_size: true, ..self }
    }

    /// Acquires a permit for a message from `sender`; `None` if the budget does not allow it.
    pub fn try_acquire(&mut self, sender: &PkiId, bytes: usize) -> Option<Permit> {
        if !self.has_room(sender, bytes) {
            return None;
        }
        self.used.add(bytes);
        self.by_sender.entry(sender.clone()).or_default().add(bytes);
        Some(Permit { sender: sender.clone(), bytes })
    }

    fn has_room(&self, sender: &PkiId, bytes: usize) -> bool {
        match self.by_sender.get(sender) {
            None if self.first_of_any_size => self.used.count < self.max.count,
            of_sender => {
                self.used.fits(bytes, self.max, 1) && of_sender.copied().unwrap_or_default().fits(bytes, self.max, 2)
            }
        }
    }

    /// Returns a permit to the budget.
    pub fn release(&mut self, permit: Permit) {
        let Permit { sender, bytes } = permit;
        self.used.sub(bytes);
        if let Some(of_sender) = self.by_sender.get_mut(&sender) {
            of_sender.sub(bytes);
            if of_sender.count == 0 {
                self.by_sender.remove(&sender);
            }
        }
    }

    /// Returns the number of verifications in progress.
    pub fn in_use(&self) -> usize {
        self.used.count
    }

    /// Forgets all permits, which must not be released afterwards, and frees the memory.
    pub fn reset(&mut self) {
        (self.used, self.by_sender) = Default::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> [PkiId; 3] {
        ["a", "b", "c"].map(|name| PkiId::from(name.as_bytes()))
    }

    #[test]
    fn one_peer_takes_half_of_the_budget() {
        let mut budget = VerificationBudget::new(Amount { count: 10, bytes: 100 }).first_of_any_size();
        let [a, b, c] = ids();
        let mut permits: Vec<_> = (0..20).filter_map(|_| budget.try_acquire(&a, 1)).collect();
        assert_eq!(permits.len(), 5);
        let large = budget.try_acquire(&b, 1000).expect("a single one may be large");
        assert!(budget.try_acquire(&b, 1).is_none(), "but not be followed");
        permits.push(budget.try_acquire(&c, 1).unwrap());
        assert!(budget.try_acquire(&c, 1).is_none(), "as long as it takes all the room");
        budget.release(large);
        permits.push(budget.try_acquire(&c, 49).unwrap());
        assert!(budget.try_acquire(&c, 1).is_none(), "half of the bytes");
        permits.into_iter().for_each(|permit| budget.release(permit));
        assert!(budget.by_sender.is_empty());
        assert_eq!((budget.used.count, budget.used.bytes), (0, 0));
    }

    #[test]
    fn without_an_exception_the_first_message_has_to_fit_as_well() {
        let mut budget = VerificationBudget::new(Amount { count: 10, bytes: 100 });
        let [a, b, c] = ids();
        assert!(budget.try_acquire(&a, 51).is_none());
        let permits = [&a, &b].map(|id| budget.try_acquire(id, 50).unwrap());
        assert!(budget.try_acquire(&c, 1).is_none());
        permits.into_iter().for_each(|permit| budget.release(permit));
        assert!(budget.try_acquire(&c, 1).is_some());
        budget.reset();
        assert_eq!(budget.in_use(), 0);
    }
}
