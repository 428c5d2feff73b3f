//! Members of a channel, with what they announce there.

use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::list::{at, gossip_member, Record};
use super::text::{gossip_str, Text};
use gossip::node::{Chaincode, ChannelMember};

/// A peer that is alive and in a channel, with its announcement in that channel. Its fields are lent until the list that
/// contains it is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_channel_member {
    /// The peer, as the membership knows it.
    pub member: gossip_member,
    /// Its ledger height: the number of blocks that it has of the channel. 0 if it announces none.
    pub ledger_height: u64,
    /// Number of chaincodes that it announces; see gossip_channel_member_list_chaincode.
    pub chaincode_count: usize,
}

/// A chaincode that a peer announces. Its fields are lent until the list that contains it is freed. Both are unchecked:
/// they can be empty, and contain control characters.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_chaincode {
    /// Its name.
    pub name: gossip_str,
    /// Its version.
    pub version: gossip_str,
}

/// A snapshot of the members of a channel.
pub struct gossip_channel_member_list(Vec<ChannelRecord>);

impl Owned for gossip_channel_member_list {}

struct ChannelRecord {
    member: Record,
    ledger_height: u64,
    /// Names and versions.
    chaincodes: Vec<(Text, Text)>,
}

impl From<Vec<ChannelMember>> for gossip_channel_member_list {
    fn from(members: Vec<ChannelMember>) -> Self {
        let texts = |Chaincode { name, version }| (Text::from(name), Text::from(version));
        let record = |member: ChannelMember| ChannelRecord {
            member: Record::new(member.member),
            ledger_height: member.ledger_height,
            chaincodes: member.chaincodes.into_iter().map(texts).collect(),
        };
        gossip_channel_member_list(members.into_iter().map(record).collect())
    }
}

/// Returns the number of members.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_member_list_len(list: *const gossip_channel_member_list) -> usize {
    super::look(list, 0, |list| list.0.len())
}

/// Writes the member at an index, starting at 0, to `member`.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_member_list_at(
    list: *const gossip_channel_member_list,
    index: usize,
    member: *mut gossip_channel_member,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let member = Out::new(member, "member")?;
        let record = at(&handle::get(list, "list")?.0, index)?;
        member.set(gossip_channel_member {
            member: record.member.lend(),
            ledger_height: record.ledger_height,
            chaincode_count: record.chaincodes.len(),
        })
    })
}

/// Writes a chaincode of the member at an index to `chaincode`. `number` counts its chaincodes, starting at 0.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_member_list_chaincode(
    list: *const gossip_channel_member_list,
    index: usize,
    number: usize,
    chaincode: *mut gossip_chaincode,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let chaincode = Out::new(chaincode, "chaincode")?;
        let (name, version) = at(&at(&handle::get(list, "list")?.0, index)?.chaincodes, number)?;
        chaincode.set(gossip_chaincode { name: name.as_str(), version: version.as_str() })
    })
}

/// Frees the list. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_member_list_free(list: *mut gossip_channel_member_list) {
    gossip_channel_member_list::free(list);
}
