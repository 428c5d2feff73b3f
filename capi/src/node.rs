//! Nodes: peers of the network.

use super::comm::{gossip_comm, send, set_up, transport, wanted};
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
use super::{duration, gossip_duration};
use bytes::Bytes;
use gossip::crypto::{OrgId, PeerIdentity, PkiId};
use gossip::discovery::Members;
use gossip::node::{AnchorPeer, ChannelOrgs, Gossiped, Node, SeedRole, SendCriteria};
use std::ffi::{c_char, c_void};
use std::time::Instant;

/// A peer of the network: keeps the membership, pulls identities, joins channels and spreads their messages. Every function
/// is thread-safe.
pub struct gossip_node(Node);

impl Owned for gossip_node {}

/// The organisations of a channel, each with its anchor peers, being put together. Not thread-safe.
#[derive(Default)]
pub struct gossip_channel_orgs(ChannelOrgs);

impl Owned for gossip_channel_orgs {}

/// Starts one: listens, contacts the bootstrap peers, keeps the membership from then on. Does not wait for anybody
/// (gossip_node_wait_for_members does). `crypto` and `config` stay the caller's. `notices`, which may be NULL, gets a
/// subscription as of gossip_node_notices, from the very start. To be freed with gossip_node_free.
///
/// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a wrong setting or endpoint, an identity of our own that is not valid or of no
/// known organisation, an address that cannot be listened on. A wrong bootstrap endpoint is no error: it is told as
/// GOSSIP_EVENT_SEED_FAILED, and the others are contacted. GOSSIP_SIGNATURE: a first signature does not match our own
/// identity.
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
        let transport = transport(config)?;
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

/// The communication layer under it. To be freed with gossip_comm_free; stopping it stops the node's too, freeing it does
/// not.
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

/// Ourselves, as others see us: a list of one, to be freed with gossip_member_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_self(
    node: *const gossip_node,
    list: *mut *mut gossip_member_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(Members(vec![handle::get(node, "node")?.0.self_member()]).into()))
}

/// The members that are alive, without ourselves. To be freed with gossip_member_list_free.
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

/// The members that died and are remembered. To be freed with gossip_member_list_free.
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

/// A member, alive or dead, or ourselves, by its PKI-ID: a list of one, or an empty one if it is not known. To be freed with
/// gossip_member_list_free.
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
        list.give(Members(found.into_iter().collect()).into())
    })
}

/// The peers that are alive and in a channel. To be freed with gossip_member_list_free. GOSSIP_INVALID_ARGUMENT: we were never
/// in this channel.
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
        list.give(peers.ok_or_else(|| super::invalid(format!("we were never in channel {channel}")))?.into())
    })
}

/// The bootstrap and anchor peers, and what else was to be connected to. None is ever given up. To be freed with
/// gossip_seed_list_free.
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

/// Every identity that is known, our own included. To be freed with gossip_identity_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_identities(
    node: *const gossip_node,
    list: *mut *mut gossip_identity_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(handle::get(node, "node")?.0.identity_info().0.into()))
}

/// Contacts an endpoint until it has answered, whoever is there, and from then on keeps it known.
///
/// GOSSIP_CONFIG: it is not `host:port`. GOSSIP_FULL: there are too many. GOSSIP_STOPPED. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_connect(
    node: *const gossip_node,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.connect(handle::text(endpoint, "endpoint")?, SeedRole::Any)?))
}

/// Asks up to `count` random members for theirs, now.
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

/// Says something else about ourselves, from the next alive message on (within `discovery.alive_time_interval`). The bytes
/// are copied.
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

/// Changes our external endpoint, from the next alive message on; empty if other organisations shall not reach us.
///
/// GOSSIP_CONFIG: it is not `host:port`. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_update_endpoint(
    node: *const gossip_node,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.update_endpoint(handle::text(endpoint, "endpoint")?)?))
}

/// Whether an identity is to be validated anew.
pub type gossip_identity_predicate = Option<unsafe extern "C" fn(user: *mut c_void, identity: gossip_bytes) -> bool>;

/// Validates those identities anew that `suspect` picks, all if it is NULL; who is no longer valid is forgotten, and its
/// connection closed. To be called when a revocation list or the organisations change. `suspect` is called by this thread.
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
            // SAFETY: the host's function, with what it was given with; what it borrows lives during the call.
            suspect.is_none_or(|suspect| unsafe { suspect(user, gossip_bytes::of(identity.as_bytes())) })
        });
        Ok(())
    })
}

/// Begins the organisations of a channel. To be freed with gossip_channel_orgs_free.
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

/// Adds an anchor peer to an organisation, which is added if it was not.
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

/// Frees it. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_channel_orgs_free(orgs: *mut gossip_channel_orgs) {
    gossip_channel_orgs::free(orgs);
}

/// Joins a channel, or takes note of its new organisations and anchor peers: `orgs` is as the channel's configuration has
/// them, verified by the caller, and stays the caller's.
///
/// GOSSIP_FULL: too many channels. GOSSIP_STOPPED. Does not block.
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

/// Leaves a channel: its members are told, its messages not taken any more.
///
/// GOSSIP_CONFIG: we are not in it. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_leave_channel(
    node: *const gossip_node,
    channel: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(node, "node")?.0.leave_channel(handle::text(channel, "channel")?.as_bytes())?))
}

/// Tells the members of a channel how many blocks we have.
///
/// GOSSIP_CONFIG: we are not in it. Does not block.
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

/// Spreads a block of a channel to its members in our organisation; each that gets it passes it on. The message is sent
/// unsigned, as blocks are in Fabric.
///
/// GOSSIP_PROTOCOL: it is nothing that is gossiped. GOSSIP_CONFIG: we are not in its channel. GOSSIP_TOO_LARGE,
/// GOSSIP_STOPPED. Does not block.
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

/// Sends a message to these peers; see gossip_comm_send.
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

/// Sends a message to at most `max_peers` of the members, of those in `channel` if that is not NULL, and waits until
/// `min_ack` of them have acknowledged it. Fabric's SendByCriteria. `timeout` must not be 0; with `max_peers` 0 it is sent to
/// nobody, which is no error.
///
/// GOSSIP_CONFIG: no timeout, no such channel, fewer suitable members than have to acknowledge. GOSSIP_NACK: too few
/// acknowledged; the text says what became of the others. Blocks for at most `timeout`.
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

/// Subscribes to what is gossiped to us (GOSSIP_EVENT_GOSSIPED): the blocks of our channels, each once; those that
/// `predicate` wants, all if it is NULL. It runs on the node's own thread. What has no room is dropped and counted. `options`
/// may be NULL. `user` is handed to the predicate, and freed with `free`, which may be NULL, when nothing needs it any more.
/// To be freed with gossip_subscription_free. (Whatever else comes in, gossip_comm_accept has.)
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
        subscription.give(gossip_subscription::new(node.accept_with(options, wanted)))
    })
}

/// Subscribes to what happens in the network, from now on: who comes, changes, dies and is forgotten, seeds that cannot be
/// had, identities that are replaced or expire. What is not received in time is dropped and counted. To be freed with
/// gossip_subscription_free.
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

/// Waits until at least `count` other members are alive. GOSSIP_TIMEOUT says how many there are, and what keeps the seeds.
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

/// The counters and gauges at this moment, those of its communication layer among them. To be freed with
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

/// Stops: nothing is sent any more, subscriptions end once they are read empty, connections end so that what was written
/// arrives, and every thread is joined. May be called several times; a further call waits for the first. The handle is still
/// to be freed.
///
/// Blocks as long as gossip_comm_stop does, and for the verifications that are under way. Called in a predicate, a block
/// verifier, a crypto callback or the log callback it returns at once, and another thread does the work.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_stop(node: *const gossip_node, error: *mut *mut gossip_error) -> gossip_result {
    guard(error, || {
        handle::get(node, "node")?.0.stop();
        Ok(())
    })
}

/// Frees the handle, and stops the node if it is not stopped. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_node_free(node: *mut gossip_node) {
    gossip_node::free(node);
}
