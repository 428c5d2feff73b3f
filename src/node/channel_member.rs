//! The members of a channel, with what they announce there.

use crate::discovery::NetworkMember;
use crate::message::{Content, SignedMessage};
use crate::proto::gossip;

/// A peer that is alive and in a channel, with its announcement in that channel: Fabric's `NetworkMember` with
/// `Properties`. The peer signed the announcement; nothing else about it is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChannelMember {
    /// The peer, as the membership knows it.
    pub member: NetworkMember,
    /// Its ledger height: the number of blocks that it has of the channel. 0 if it announces none.
    pub ledger_height: u64,
    /// The chaincodes that it can execute, in its order. An announcement has at most 256 KiB.
    pub chaincodes: Vec<Chaincode>,
}

/// A chaincode that a peer announces. Of other peers, both texts are unchecked: they can be empty, and contain control
/// characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Chaincode {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl ChannelMember {
    /// Returns a member with the announcement in its state information.
    pub(super) fn new(member: NetworkMember, state: &SignedMessage) -> Self {
        let announced = match state.content() {
            Some(Content::StateInfo(info)) => info.properties.as_ref(),
            _ => None,
        };
        let chaincodes = announced.map_or(&[][..], |properties| &properties.chaincodes);
        ChannelMember {
            member,
            ledger_height: announced.map_or(0, |properties| properties.ledger_height),
            chaincodes: chaincodes.iter().map(Chaincode::decoded).collect(),
        }
    }
}

impl Chaincode {
    fn decoded(from: &gossip::Chaincode) -> Self {
        Chaincode { name: from.name.clone(), version: from.version.clone() }
    }

    pub(super) fn encoded(self) -> gossip::Chaincode {
        gossip::Chaincode { name: self.name, version: self.version, ..Default::default() }
    }
}
