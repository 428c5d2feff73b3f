//! Nodes: peers of the network.

use super::channel_member::gossip_channel_member_list;
use super::comm::{gossip_comm, send, set_up, wanted};
use super::config::gossip_config;
use super::crypto::gossip_crypto;
use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::host::{gossip_free_callback, User};
use super::list::{gossip_identity_list, gossip_member_list, gossip_seed_list};
use super::message::gossip_message;
use super::metrics::gossip_metrics;
use super::peer::gossip_peer;
use super::subscription::{gossip_predicate, gossip_subscription, gossip_subscription_options};
use super::text::gossip_bytes;
use super::transport;
use super::{duration, gossip_duration};
use bytes::Bytes;
use gossip::crypto::{OrgId, PeerIdentity, PkiId};
use gossip::node::{AnchorPeer, Chaincode, ChannelOrgs, Gossiped, Node, SeedRole, SendCriteria};
use std::ffi::{c_char, c_void};
use std::time::Instant;

/// A peer of the network: maintains the membership, pulls identities, joins channels and forwards their messages. Every
/// function is thread-safe.
pub struct gossip_node(Node);

impl Owned for gossip_node {}

/// The organisations of a channel with their anchor peers, for gossip_node_join_channel. Not thread-safe.
#[derive(Default)]
pub struct gossip_channel_orgs(ChannelOrgs);

impl Owned for gossip_channel_orgs {}

/// Starts a node: listens, contacts the bootstrap peers, and maintains the membership from then on. Does not wait for
/// other members; gossip_node_wait_for_members does. `crypto` and `config` remain the caller's. `notices`, which may be
/// NULL, receives a subscription like that of gossip_node_notices, which misses nothing from the start. Free the node
/// with gossip_node_free.
///
/// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a setting or endpoint is wrong, our own identity is not valid or not of a
/// known organisation, or the address cannot be listened on. A bootstrap peer that does not answer is not an error: it
/// is reported as GOSSIP_EVENT_SEED_FAILED, and contacted again. GOSSIP_SIGNATURE: a first signature does not match our
/// own identity.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_start(
    crypto: *const gossip_crypto,
    config: *const gossip_config,
    notices: *mut *mut gossip_subscription,
    node: *mut *mut gossip_node,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (node, notices) = (Out::new(node, "node")?, Out::optional(notices, "notices")?);
        let (crypto, config) = (handle::get(crypto, "crypto")?, handle::get(config, "config")?);
        let transport = transport::create(config)?;
        let mut builder = Node::builder(crypto.identity.clone(), crypto.service.clone(), crypto.advisor.clone())
            .comm(|comm| set_up(comm, config, transport))
            .config(config.node.clone())
            .external_endpoint(config.external_endpoint.clone())
            .metadata(config.metadata.clone());
        if let Some(endpoint) = &config.endpoint {
            builder = builder.endpoint(endpoint.clone());
        }
        if let Some(verifier) = config.blocks.clone() {
            builder = builder.block_verifier(move |message| verifier(message));
        }
        let early = builder.notices();
        node.give(gossip_node(builder.start()?))?;
        notices.map_or(Ok(()), |notices| notices.give(gossip_subscription::new(early)))
    })
}

/// Returns the node's communication layer. Free it with gossip_comm_free. Stopping it stops the node's communication
/// too; freeing it does not.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_comm(
    node: *const gossip_node,
    comm: *mut *mut gossip_comm,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(comm, "comm")?.give(handle::get(node, "node")?.0.comm().clone().into()))
}

/// Returns our own member record as others see it: a list with one element. Free it with gossip_member_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_self(
    node: *const gossip_node,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(vec![handle::get(node, "node")?.0.self_member()].into()))
}

/// Returns the members that are alive, without ourselves. Free the list with gossip_member_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_peers(
    node: *const gossip_node,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(handle::get(node, "node")?.0.peers().into()))
}

/// Returns the dead members that are still remembered. Free the list with gossip_member_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_dead(
    node: *const gossip_node,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(handle::get(node, "node")?.0.dead().into()))
}

/// Returns a member, alive or dead, or ourselves, by PKI-ID: a list with one element, or an empty one if the PKI-ID is
/// not known. Free it with gossip_member_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_lookup(
    node: *const gossip_node,
    pki_id: *const u8,
    pki_id_len: usize,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let list = Out::new(list, "list")?;
        let pki_id = PkiId::from(handle::array(pki_id, pki_id_len, "pki_id")?);
        let found = handle::get(node, "node")?.0.lookup(&pki_id);
        list.give(found.into_iter().collect::<Vec<_>>().into())
    })
}

/// Returns the peers that are alive and in a channel. Free the list with gossip_member_list_free.
/// gossip_node_peers_of_channel returns their announcements as well. GOSSIP_INVALID_ARGUMENT: we were never in this
/// channel.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_channel_peers(
    node: *const gossip_node,
    channel: *const c_char,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let list = Out::new(list, "list")?;
        let (node, channel) = (handle::get(node, "node")?, handle::text(channel, "channel")?);
        let peers = node.0.channel_peers(channel.as_bytes());
        list.give(peers.ok_or_else(|| never_joined(channel))?.into())
    })
}

/// Returns the same peers as gossip_node_channel_peers, each with the ledger height and the chaincodes that it
/// announces, sorted by PKI-ID. Corresponds to Fabric's PeersOfChannel. A peer announces a change within its publishing
/// interval, 4 s by default. Free the list with gossip_channel_member_list_free. GOSSIP_INVALID_ARGUMENT: we were never
/// in this channel.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_peers_of_channel(
    node: *const gossip_node,
    channel: *const c_char,
    list: *mut *mut gossip_channel_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let list = Out::new(list, "list")?;
        let (node, channel) = (handle::get(node, "node")?, handle::text(channel, "channel")?);
        let peers = node.0.peers_of_channel(channel.as_bytes());
        list.give(peers.ok_or_else(|| never_joined(channel))?.into())
    })
}

fn never_joined(channel: &str) -> Box<gossip_error> {
    super::invalid(format!("this node never joined channel {channel}"))
}

/// Returns the bootstrap and anchor peers, and the endpoints given to gossip_node_connect. All of them are retried
/// without limit. Free the list with gossip_seed_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_seeds(
    node: *const gossip_node,
    list: *mut *mut gossip_seed_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let list = Out::new(list, "list")?;
        list.give(gossip_seed_list::new(handle::get(node, "node")?.0.seeds(), Instant::now()))
    })
}

/// Returns all known identities, including our own. Free the list with gossip_identity_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_identities(
    node: *const gossip_node,
    list: *mut *mut gossip_identity_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(handle::get(node, "node")?.0.identity_info().into()))
}

/// Contacts an endpoint until a peer, of any organisation, has answered there, and keeps the endpoint known from then
/// on.
///
/// GOSSIP_CONFIG: the endpoint is not `host:port`. GOSSIP_FULL: there are too many. GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_connect(
    node: *const gossip_node,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.connect(handle::text(endpoint, "endpoint")?, SeedRole::Any)?))
}

/// Requests the membership from up to `count` random members now.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_initiate_sync(
    node: *const gossip_node,
    count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(node, "node")?.0.initiate_sync(count);
        Ok(())
    })
}

/// Changes our metadata, from the next alive message on (within `discovery.alive_time_interval`). The bytes are copied.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_update_metadata(
    node: *const gossip_node,
    data: *const u8,
    len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let node = handle::get(node, "node")?;
        node.0.update_metadata(Bytes::copy_from_slice(handle::array(data, len, "data")?));
        Ok(())
    })
}

/// Changes our external endpoint, from the next alive message on. An empty endpoint means that other organisations
/// cannot reach us.
///
/// GOSSIP_CONFIG: the endpoint is not `host:port`. GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_update_endpoint(
    node: *const gossip_node,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.update_endpoint(handle::text(endpoint, "endpoint")?)?))
}

/// Returns whether an identity must be validated again.
pub type gossip_identity_predicate = Option<unsafe extern "C" fn(user: *mut c_void, identity: gossip_bytes) -> bool>;

/// Validates the identities again for which `suspect` returns true, or all if it is NULL. Identities that are no longer
/// valid are forgotten, and their connections closed. Call it when a revocation list or the organisations change.
/// `suspect` is called by this thread.
///
/// Blocks while it validates.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_suspect_peers(
    node: *const gossip_node,
    suspect: gossip_identity_predicate,
    user: *mut c_void,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(node, "node")?.0.suspect_peers(|identity: &PeerIdentity| {
            // SAFETY: the host's function, called with its own pointer; its arguments live during the call.
            suspect.is_none_or(|suspect| unsafe { suspect(user, gossip_bytes::of(identity.as_bytes())) })
        });
        Ok(())
    })
}

/// Creates an empty set of organisations of a channel. Free it with gossip_channel_orgs_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_orgs_new(
    orgs: *mut *mut gossip_channel_orgs,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(orgs, "orgs")?.give(gossip_channel_orgs::default()))
}

/// Adds an organisation, by its MSP id.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_orgs_add(
    orgs: *mut gossip_channel_orgs,
    mspid: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let orgs = handle::get_mut(orgs, "orgs")?;
        orgs.0 .0.entry(OrgId::new(handle::text(mspid, "mspid")?)).or_default();
        Ok(())
    })
}

/// Adds an anchor peer to an organisation; adds the organisation if needed.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_orgs_add_anchor(
    orgs: *mut gossip_channel_orgs,
    mspid: *const c_char,
    host: *const c_char,
    port: u16,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let orgs = handle::get_mut(orgs, "orgs")?;
        let (mspid, host) = (handle::text(mspid, "mspid")?, handle::text(host, "host")?.to_owned());
        orgs.0 .0.entry(OrgId::new(mspid)).or_default().push(AnchorPeer { host, port });
        Ok(())
    })
}

/// Frees the organisations. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_orgs_free(orgs: *mut gossip_channel_orgs) {
    gossip_channel_orgs::free(orgs);
}

/// Joins a channel, or updates the organisations and anchor peers of a joined one. `orgs` must be those of the
/// channel's configuration, verified by the caller; it remains the caller's.
///
/// GOSSIP_CONFIG: the name is empty, or our organisation is not one of the channel's. GOSSIP_FULL: too many channels.
/// GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_join_channel(
    node: *const gossip_node,
    channel: *const c_char,
    orgs: *const gossip_channel_orgs,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let channel = handle::text(channel, "channel")?.to_owned();
        Ok(handle::get(node, "node")?.0.join_channel(channel, handle::get(orgs, "orgs")?.0.clone())?)
    })
}

/// Leaves a channel: notifies its members, and accepts no more of its messages.
///
/// GOSSIP_CONFIG: we are not in it. GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_leave_channel(
    node: *const gossip_node,
    channel: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.leave_channel(handle::text(channel, "channel")?.as_bytes())?))
}

/// Publishes our number of blocks to the members of a channel, within `channel.publish_state_info_interval`.
///
/// GOSSIP_CONFIG: we are not in it. GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_update_ledger_height(
    node: *const gossip_node,
    channel: *const c_char,
    height: u64,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let channel = handle::text(channel, "channel")?;
        Ok(handle::get(node, "node")?.0.update_ledger_height(channel.as_bytes(), height)?)
    })
}

/// Publishes the chaincodes that we can execute to the members of a channel, in place of those published before, within
/// `channel.publish_state_info_interval`. `names` and `versions` have `count` elements each.
///
/// GOSSIP_CONFIG: we are not in it. GOSSIP_TOO_LARGE: more than 252 KiB, which other nodes would not keep.
/// GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_update_chaincodes(
    node: *const gossip_node,
    channel: *const c_char,
    names: *const *const c_char,
    versions: *const *const c_char,
    count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (node, channel) = (handle::get(node, "node")?, handle::text(channel, "channel")?);
        let (names, versions) = (handle::array(names, count, "names")?, handle::array(versions, count, "versions")?);
        let mut chaincodes = Vec::new();
        for (name, version) in names.iter().zip(versions) {
            chaincodes.push(Chaincode {
                name: handle::text(*name, "an element of names")?.to_owned(),
                version: handle::text(*version, "an element of versions")?.to_owned(),
            });
        }
        Ok(node.0.update_chaincodes(channel.as_bytes(), chaincodes)?)
    })
}

/// Gossips a block of a channel to its members in our organisation; each receiver forwards it. The message is sent
/// unsigned, as blocks are in Fabric.
///
/// GOSSIP_PROTOCOL: messages of this content are not gossiped. GOSSIP_CONFIG: we are not in its channel.
/// GOSSIP_TOO_LARGE, GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_gossip(
    node: *const gossip_node,
    message: *const gossip_message,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let message = handle::get(message, "message")?.message.message().clone();
        Ok(handle::get(node, "node")?.0.gossip(message)?)
    })
}

/// Sends a message to the given peers; see gossip_comm_send.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_send(
    node: *const gossip_node,
    message: *const gossip_message,
    peers: *const gossip_peer,
    peer_count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || send(handle::get(node, "node")?.0.comm(), message, peers, peer_count))
}

/// Sends a message to at most `max_peers` members, of `channel` if that is not NULL, and waits until `min_ack` of them
/// have acknowledged it. Corresponds to Fabric's SendByCriteria. `timeout` must not be 0. With `max_peers` 0 it is sent
/// to no member, which is not an error.
///
/// GOSSIP_CONFIG: no timeout, no such channel, or fewer suitable members than `min_ack`. GOSSIP_NACK: too few
/// acknowledged it; the text gives the reasons. GOSSIP_STOPPED. Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_send_by_criteria(
    node: *const gossip_node,
    message: *const gossip_message,
    timeout: gossip_duration,
    min_ack: usize,
    max_peers: usize,
    channel: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (node, message) = (handle::get(node, "node")?, handle::get(message, "message")?);
        let channel = handle::optional_text(channel, "channel")?.map(|channel| Bytes::from(channel.to_owned()));
        let criteria = SendCriteria { timeout: duration(timeout), min_ack, max_peers, channel };
        Ok(node.0.send_by_criteria(message.message.message().clone(), &criteria, |_| true)?)
    })
}

/// Subscribes to gossiped messages (GOSSIP_EVENT_GOSSIPED): the blocks of our channels, each delivered once, for which
/// `predicate` returns true, or all if it is NULL. The predicate runs on the node's own thread. Blocks for which there
/// is no space are dropped and counted. `options` may be NULL. `user` is passed to the predicate; `free`, which may be
/// NULL, is called on it when nothing needs it any more. Free the subscription with gossip_subscription_free.
/// gossip_comm_accept delivers all other messages.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_accept(
    node: *const gossip_node,
    options: *const gossip_subscription_options,
    predicate: gossip_predicate,
    user: *mut c_void,
    free: gossip_free_callback,
    subscription: *mut *mut gossip_subscription,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = Out::new(subscription, "subscription")?;
        let node = &handle::get(node, "node")?.0;
        let options = super::subscription::options(options)?;
        let wanted = wanted::<Gossiped>(predicate, User::new(user, free));
        subscription.give(gossip_subscription::new(node.subscribe_with(options, wanted)))
    })
}

/// Subscribes to events of the network, from now on: members that appear, change, die and are forgotten, seeds that
/// cannot be contacted, identities that are replaced or expire. Events that are not received in time are dropped and
/// counted. Free the subscription with gossip_subscription_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_notices(
    node: *const gossip_node,
    subscription: *mut *mut gossip_subscription,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = Out::new(subscription, "subscription")?;
        subscription.give(gossip_subscription::new(handle::get(node, "node")?.0.notices()))
    })
}

/// Waits until at least `count` other members are alive. GOSSIP_TIMEOUT: the text says how many there are, and why
/// seeds have not answered.
///
/// Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_wait_for_members(
    node: *const gossip_node,
    count: usize,
    timeout: gossip_duration,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.wait_for_members(count, duration(timeout))?))
}

/// Returns the current counters and gauges, including those of its communication layer. Free them with
/// gossip_metrics_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_metrics(
    node: *const gossip_node,
    metrics: *mut *mut gossip_metrics,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let metrics = Out::new(metrics, "metrics")?;
        let snapshot = handle::get(node, "node")?.0.metrics();
        metrics.give(gossip_metrics::new(snapshot.to_prometheus(), snapshot.samples()))
    })
}

/// Stops the node. Nothing more is sent, subscriptions end once they have been read empty, connections are closed so
/// that written data arrives, and every thread is joined. May be called several times; a further call waits for the
/// first. The handle must still be freed.
///
/// Blocks as long as gossip_comm_stop does, and for the verifications in progress. When called in a predicate, a block
/// verifier, a crypto callback or the log callback it returns immediately, and another thread does the work.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_stop(node: *const gossip_node, error: *mut *mut gossip_error) -> gossip_result {
    guard(error, || {
        handle::get(node, "node")?.0.stop();
        Ok(())
    })
}

/// Frees the handle, and stops the node if it is not stopped. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_free(node: *mut gossip_node) {
    gossip_node::free(node);
}
