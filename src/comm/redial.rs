//! The policy for a peer whose connection has ended: dial again or give up.

/// The state of a peer at the end of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// Whether we had dialled the connection.
    pub dialled: bool,
    /// Whether it broke, and neither side ended it.
    pub broke: bool,
    /// Whether the peer ended it with an error.
    pub refused: bool,
    /// Whether messages are queued for the peer, or their outcome is unknown.
    pub owed: bool,
    /// Whether something was delivered since the last redial, or there was no redial.
    pub progress: bool,
    /// Whether an endpoint is known at which the peer can be dialled.
    pub can_dial: bool,
}

/// Reaction to the end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Dial again.
    Redial,
    /// Report the messages still owed as undelivered, and presume the peer dead unless it refused us.
    GiveUp,
    /// Ping the peer. Give up if it does not answer, otherwise retire. An accepted stream ends in the same way when its
    /// dialler dies and when its dialler cancels, and redialling would reopen a stream that a live peer closed.
    Ping,
    /// Remove the entry, unless something has been queued meanwhile.
    Retire,
}

/// Decides how to react to the end of a connection. A broken connection that we dialled is dialled again, and so is any
/// connection with messages owed. There is no redial after a refusal, and no second redial without progress.
pub(super) fn decide(ending: Ending) -> Decision {
    let Ending { dialled, broke, refused, owed, progress, can_dial } = ending;
    if owed || (dialled && broke) {
        match can_dial && progress && !(dialled && refused) {
            true => Decision::Redial,
            false => Decision::GiveUp,
        }
    } else if broke {
        Decision::Ping
    } else {
        Decision::Retire
    }
}

#[cfg(test)]
mod tests {
    use super::Decision::{GiveUp, Ping, Redial, Retire};
    use super::*;

    #[test]
    fn every_ending_has_its_decision() {
        // The fields that are set, and the decision.
        for (given, expected) in [
            // Nothing owed: a broken connection of ours is dialled again, once.
            ("dialled broke progress can_dial", Redial),
            ("dialled broke can_dial", GiveUp),
            ("dialled broke progress", GiveUp),
            ("dialled progress can_dial", Retire),
            // A connection that the peer dialled is the peer's responsibility, unless the peer is gone.
            ("broke progress can_dial", Ping),
            ("broke", Ping),
            ("progress can_dial", Retire),
            ("", Retire),
            // Owed messages justify a dial, regardless of the dialling side and of how the connection ended.
            ("owed progress can_dial", Redial),
            ("broke owed progress can_dial", Redial),
            ("dialled owed progress can_dial", Redial),
            ("dialled broke owed progress can_dial", Redial),
            ("owed can_dial", GiveUp),
            ("owed progress", GiveUp),
            ("broke owed", GiveUp),
            // A refusal of our dial is final; an error on a stream that the peer dialled is not a refusal.
            ("dialled refused owed progress can_dial", GiveUp),
            ("dialled broke refused progress can_dial", GiveUp),
            ("dialled refused progress can_dial", Retire),
            ("refused owed progress can_dial", Redial),
        ] {
            let is = |name: &str| given.split(' ').any(|word| word == name);
            let ending = Ending {
                dialled: is("dialled"),
                broke: is("broke"),
                refused: is("refused"),
                owed: is("owed"),
                progress: is("progress"),
                can_dial: is("can_dial"),
            };
            assert_eq!(decide(ending), expected, "{given}");
        }
    }
}
