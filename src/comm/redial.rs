//! The policy for a peer whose connection has ended: dial again, or let it go.

/// The state of a peer at the end of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// We had dialled the connection.
    pub dialled: bool,
    /// It broke, instead of being ended by one of the two.
    pub broke: bool,
    /// The peer ended it with an error.
    pub refused: bool,
    /// Messages are queued for the peer, or their fate is open.
    pub owed: bool,
    /// Something was delivered since the last redial, or there was none.
    pub progress: bool,
    /// An endpoint is known at which the peer can be dialled.
    pub can_dial: bool,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Dial again.
    Redial,
    /// Report what is owed as undelivered, and presume the peer dead unless it refused us.
    GiveUp,
    /// Ping the peer: give up if it does not answer, else retire. An accepted stream ends alike when its dialler dies and
    /// when it cancels, and dialling anew would open again what a live peer closed.
    Ping,
    /// Remove the entry, unless something is queued by now.
    Retire,
}

/// Decides what follows the end of a connection. A connection that we dialled and that broke is dialled again, and so is
/// any for which something is owed; but not after a refusal, and not a second time without progress.
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
        // The fields that hold, and the decision.
        for (given, expected) in [
            // Nothing owed: a broken connection of ours is dialled again, once.
            ("dialled broke progress can_dial", Redial),
            ("dialled broke can_dial", GiveUp),
            ("dialled broke progress", GiveUp),
            ("dialled progress can_dial", Retire),
            // One that the peer dialled is its affair, unless the peer is gone.
            ("broke progress can_dial", Ping),
            ("broke", Ping),
            ("progress can_dial", Retire),
            ("", Retire),
            // What is owed is worth a dial, whoever dialled and however it ended.
            ("owed progress can_dial", Redial),
            ("broke owed progress can_dial", Redial),
            ("dialled owed progress can_dial", Redial),
            ("dialled broke owed progress can_dial", Redial),
            ("owed can_dial", GiveUp),
            ("owed progress", GiveUp),
            ("broke owed", GiveUp),
            // A refusal of our dial stands; an error on a stream that the peer dialled refuses nothing.
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
