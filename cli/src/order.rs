//! Checks whether messages arrive in the order in which they were sent.

use fabric_gossip::crypto::PkiId;
use std::collections::HashMap;

/// Order of the messages of each sender, which counts them from 0 in `seq_num`; a new run starts at 0 again.
#[derive(Default)]
pub struct Order {
    next: HashMap<PkiId, u64>,
    broken: bool,
}

impl Order {
    pub fn saw(&mut self, from: &PkiId, seq: u64) {
        let following = seq.saturating_add(1);
        match self.next.get_mut(from) {
            Some(next) => {
                self.broken |= seq != 0 && seq != *next;
                *next = following;
            }
            None => {
                self.broken |= seq != 0;
                self.next.insert(from.clone(), following);
            }
        }
    }

    /// Returns whether no message was missing, duplicated or out of order.
    pub fn kept(&self) -> bool {
        !self.broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sender_counts_for_itself() {
        let (a, b) = (PkiId::from(&b"a"[..]), PkiId::from(&b"b"[..]));
        let mut order = Order::default();
        for (id, seq) in [(&a, 0), (&b, 0), (&a, 1), (&b, 1), (&a, 0), (&a, 1)] {
            order.saw(id, seq);
        }
        assert!(order.kept());
        order.saw(&b, 3);
        assert!(!order.kept());
    }
}
