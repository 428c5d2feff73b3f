//! Lists of members, connections, identities and seeds.

use super::error::gossip_error;
use super::error::gossip_result;
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::text::{gossip_bytes, gossip_str, Text};
use gossip::comm::ConnectionInfo;
use gossip::identity::PeerIdentityInfo;
use gossip::node::{NetworkMember, Seed};
use std::sync::Arc;
use std::time::Instant;

/// A peer as the membership knows it. Its fields are lent until the list or event that contains it is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_member {
    /// The endpoint for other organisations, `host:port`; empty if they may not reach it.
    pub endpoint: gossip_str,
    /// The endpoint for its own organisation; empty if it is not disclosed to us.
    pub internal_endpoint: gossip_str,
    /// The metadata that it publishes.
    pub metadata: gossip_bytes,
    /// Its PKI-ID.
    pub pki_id: gossip_bytes,
}

/// A connection to a peer. Its fields are lent until the list that contains it is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_connection {
    /// The authenticated PKI-ID.
    pub pki_id: gossip_bytes,
    /// The identity that the peer authenticated with.
    pub identity: gossip_bytes,
    /// The socket address of the peer; an ephemeral port for an accepted connection.
    pub endpoint: gossip_str,
}

/// A known identity. Its fields are lent until the list that contains it is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_identity {
    /// Its PKI-ID.
    pub pki_id: gossip_bytes,
    /// The identity as it is sent to peers.
    pub identity: gossip_bytes,
    /// The MSP id of its organisation; empty if none is known.
    pub org: gossip_str,
}

/// State of a bootstrap or anchor peer. Its fields are lent until the list that contains it is freed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_seed {
    /// Its endpoint, as configured.
    pub endpoint: gossip_str,
    /// PKI-ID of the peer that was last found there; empty if none was.
    pub pki_id: gossip_bytes,
    /// Whether it has answered.
    pub connected: bool,
    /// Number of consecutive failed attempts to contact it.
    pub attempts: u32,
    /// Reason of the last failure; empty once it has answered.
    pub last_error: gossip_str,
    /// Time until the next attempt, in nanoseconds; 0 during an attempt and once it has answered.
    pub next_attempt: super::gossip_duration,
}

/// A snapshot of members.
pub struct gossip_member_list(Vec<Record>);
/// A snapshot of connections.
pub struct gossip_connection_list(Vec<(Arc<ConnectionInfo>, Text)>);
/// A snapshot of identities.
pub struct gossip_identity_list(Vec<(PeerIdentityInfo, Text)>);
/// A snapshot of bootstrap and anchor peers.
pub struct gossip_seed_list(Vec<SeedRecord>);

impl Owned for gossip_member_list {}
impl Owned for gossip_connection_list {}
impl Owned for gossip_identity_list {}
impl Owned for gossip_seed_list {}

/// A member with its texts in the form that is lent to C.
pub(super) struct Record {
    member: NetworkMember,
    endpoint: Text,
    internal_endpoint: Text,
}

impl Record {
    pub fn new(member: NetworkMember) -> Record {
        let (endpoint, internal_endpoint) = (Text::from(&*member.endpoint), Text::from(&*member.internal_endpoint));
        Record { member, endpoint, internal_endpoint }
    }

    pub fn lend(&self) -> gossip_member {
        gossip_member {
            endpoint: self.endpoint.as_str(),
            internal_endpoint: self.internal_endpoint.as_str(),
            metadata: (&self.member.metadata).into(),
            pki_id: gossip_bytes::of(self.member.pki_id.as_bytes()),
        }
    }
}

struct SeedRecord {
    seed: Seed,
    endpoint: Text,
    last_error: Text,
    next_attempt: super::gossip_duration,
}

impl From<Vec<NetworkMember>> for gossip_member_list {
    fn from(members: Vec<NetworkMember>) -> Self {
        gossip_member_list(members.into_iter().map(Record::new).collect())
    }
}

impl From<Vec<Arc<ConnectionInfo>>> for gossip_connection_list {
    fn from(connections: Vec<Arc<ConnectionInfo>>) -> Self {
        let with_text = |info: Arc<ConnectionInfo>| {
            let endpoint = Text::from(&*info.endpoint);
            (info, endpoint)
        };
        gossip_connection_list(connections.into_iter().map(with_text).collect())
    }
}

impl From<Vec<PeerIdentityInfo>> for gossip_identity_list {
    fn from(identities: Vec<PeerIdentityInfo>) -> Self {
        let with_text = |info: PeerIdentityInfo| {
            let org = Text::from(info.organization.as_ref().map_or("", |org| org.as_str()));
            (info, org)
        };
        gossip_identity_list(identities.into_iter().map(with_text).collect())
    }
}

impl gossip_seed_list {
    pub(super) fn new(seeds: Vec<Seed>, now: Instant) -> Self {
        let with_text = |seed: Seed| {
            let next_attempt =
                seed.next_attempt.map_or(0, |at| super::nanoseconds(at.saturating_duration_since(now)).max(1));
            let last_error = Text::from(seed.last_error.as_deref().unwrap_or_default());
            SeedRecord { endpoint: Text::from(&*seed.endpoint), last_error, next_attempt, seed }
        };
        gossip_seed_list(seeds.into_iter().map(with_text).collect())
    }
}

/// Returns the element of a list at an index, or an error if there is none.
pub(super) fn at<T>(list: &[T], index: usize) -> super::error::Outcome<&T> {
    list.get(index)
        .ok_or_else(|| super::invalid(format!("element {index} is out of range: the list has {}", list.len())))
}

/// Returns the number of members.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_member_list_len(list: *const gossip_member_list) -> usize {
    super::look(list, 0, |list| list.0.len())
}

/// Writes the member at an index, starting at 0, to `member`.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_member_list_at(
    list: *const gossip_member_list,
    index: usize,
    member: *mut gossip_member,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(member, "member")?.set(at(&handle::get(list, "list")?.0, index)?.lend()))
}

/// Frees the list. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_member_list_free(list: *mut gossip_member_list) {
    gossip_member_list::free(list);
}

/// Returns the number of connections.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_connection_list_len(list: *const gossip_connection_list) -> usize {
    super::look(list, 0, |list| list.0.len())
}

/// Writes the connection at an index, starting at 0, to `connection`.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_connection_list_at(
    list: *const gossip_connection_list,
    index: usize,
    connection: *mut gossip_connection,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let connection = Out::new(connection, "connection")?;
        let (info, endpoint) = at(&handle::get(list, "list")?.0, index)?;
        connection.set(gossip_connection {
            pki_id: gossip_bytes::of(info.id.as_bytes()),
            identity: gossip_bytes::of(info.identity.as_bytes()),
            endpoint: endpoint.as_str(),
        })
    })
}

/// Frees the list. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_connection_list_free(list: *mut gossip_connection_list) {
    gossip_connection_list::free(list);
}

/// Returns the number of identities.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_identity_list_len(list: *const gossip_identity_list) -> usize {
    super::look(list, 0, |list| list.0.len())
}

/// Writes the identity at an index, starting at 0, to `identity`.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_identity_list_at(
    list: *const gossip_identity_list,
    index: usize,
    identity: *mut gossip_identity,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let identity = Out::new(identity, "identity")?;
        let (info, org) = at(&handle::get(list, "list")?.0, index)?;
        identity.set(gossip_identity {
            pki_id: gossip_bytes::of(info.pki_id.as_bytes()),
            identity: gossip_bytes::of(info.identity.as_bytes()),
            org: org.as_str(),
        })
    })
}

/// Frees the list. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_identity_list_free(list: *mut gossip_identity_list) {
    gossip_identity_list::free(list);
}

/// Returns the number of seeds.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_seed_list_len(list: *const gossip_seed_list) -> usize {
    super::look(list, 0, |list| list.0.len())
}

/// Writes the seed at an index, starting at 0, to `seed`.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_seed_list_at(
    list: *const gossip_seed_list,
    index: usize,
    seed: *mut gossip_seed,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let out = Out::new(seed, "seed")?;
        let record = at(&handle::get(list, "list")?.0, index)?;
        out.set(gossip_seed {
            endpoint: record.endpoint.as_str(),
            pki_id: record.seed.pki_id.as_ref().map_or(gossip_bytes::EMPTY, |id| gossip_bytes::of(id.as_bytes())),
            connected: record.seed.connected,
            attempts: record.seed.attempts,
            last_error: record.last_error.as_str(),
            next_attempt: record.next_attempt,
        })
    })
}

/// Frees the list. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_seed_list_free(list: *mut gossip_seed_list) {
    gossip_seed_list::free(list);
}
