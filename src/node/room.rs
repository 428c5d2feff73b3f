//! How much is verified at a time of what one peer brings.

use crate::crypto::PkiId;
use crate::discovery::Token;
use std::collections::HashMap;

/// Verifications under way. One peer takes half of the room at most, but for one message, which may be large.
#[derive(Debug)]
pub(super) struct Room {
    max: Load,
    all: Load,
    by_sender: HashMap<PkiId, Load>,
    under_way: HashMap<Token, (PkiId, usize)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Load {
    count: usize,
    bytes: usize,
}

impl Room {
    pub fn new(count: usize, bytes: usize) -> Self {
        Room { max: Load { count, bytes }, all: Load::default(), by_sender: HashMap::new(), under_way: HashMap::new() }
    }

    /// Begins a verification, if there is room.
    pub fn enter(&mut self, token: Token, sender: &PkiId, bytes: usize) -> bool {
        let (max, all) = (self.max, self.all);
        let of_sender = self.by_sender.get(sender).copied().unwrap_or_default();
        let fits = all.bytes + bytes <= max.bytes
            && of_sender.bytes + bytes <= max.bytes / 2
            && of_sender.count < max.count / 2;
        if all.count >= max.count || (of_sender.count > 0 && !fits) {
            return false;
        }
        self.by_sender.entry(sender.clone()).or_default().add(bytes);
        self.all.add(bytes);
        self.under_way.insert(token, (sender.clone(), bytes));
        true
    }

    /// Ends it.
    pub fn leave(&mut self, token: Token) {
        let Some((sender, bytes)) = self.under_way.remove(&token) else { return };
        self.all.sub(bytes);
        if let Some(load) = self.by_sender.get_mut(&sender) {
            load.sub(bytes);
            if load.count == 0 {
                self.by_sender.remove(&sender);
            }
        }
    }
}

impl Load {
    fn add(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count + 1, self.bytes + bytes);
    }

    fn sub(&mut self, bytes: usize) {
        (self.count, self.bytes) = (self.count - 1, self.bytes - bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_takes_half_of_the_room() {
        let mut room = Room::new(10, 100);
        let [a, b, c] = ["a", "b", "c"].map(|name| PkiId::from(name.as_bytes()));
        assert_eq!((0..20).filter(|n| room.enter(Token::numbered(*n), &a, 1)).count(), 5);
        assert!(room.enter(Token::numbered(20), &b, 1000), "a single one may be large");
        assert!(!room.enter(Token::numbered(21), &b, 1), "but not be followed");
        assert!(
            room.enter(Token::numbered(22), &c, 1) && !room.enter(Token::numbered(23), &c, 1),
            "as long as it takes all the room"
        );
        room.leave(Token::numbered(20));
        assert!(
            room.enter(Token::numbered(24), &c, 49) && !room.enter(Token::numbered(25), &c, 1),
            "half of the bytes"
        );
        (0..30).for_each(|token| room.leave(Token::numbered(token)));
        assert!(room.by_sender.is_empty() && room.under_way.is_empty());
        assert_eq!((room.all.count, room.all.bytes), (0, 0));
    }
}
