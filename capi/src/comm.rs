//! The communication layer.

use super::ack::{enough, gossip_ack_handle};
use super::config::gossip_config;
use super::crypto::gossip_crypto;
use super::error::{gossip_error, gossip_result, Outcome};
use super::event::gossip_event;
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::host::{gossip_free_callback, User};
use super::list::gossip_connection_list;
use super::message::gossip_message;
use super::metrics::gossip_metrics;
use super::peer::{self, gossip_peer};
use super::subscription::{gossip_predicate, gossip_subscription, gossip_subscription_options};
use super::text::{gossip_buffer, gossip_bytes, gossip_str, Text};
use super::transport;
use super::{duration, gossip_duration};
use gossip::comm::{self, Comm, CommBuilder, ReceivedMessage, SendError};
use gossip::config::SubscriptionOptions;
use gossip::crypto::PkiId;
use gossip::error::{Error, ErrorKind};
use gossip::transport::Transport;
use std::ffi::c_void;
use std::sync::Arc;

/// The communication layer: authenticated connections to peers, with messages and acknowledgements over them. Every
/// function is thread-safe.
pub struct gossip_comm {
    pub(super) comm: Comm,
    local_addr: Text,
}

impl Owned for gossip_comm {}

impl From<Comm> for gossip_comm {
    fn from(comm: Comm) -> Self {
        let local_addr = Text::from(comm.local_addr().unwrap_or_default());
        gossip_comm { comm, local_addr }
    }
}

/// Applies a configuration's settings for the communication layer to its builder.
pub(super) fn set_up(builder: CommBuilder, config: &gossip_config, transport: Arc<dyn Transport>) -> CommBuilder {
    let builder = builder.config(config.comm.clone()).transport(transport);
    match &config.listen {
        Some(listen) => builder.listen(listen.clone()),
        None => builder,
    }
}

/// Implements gossip_comm_send and gossip_node_send.
pub(super) unsafe fn send(
    comm: &Comm,
    message: *const gossip_message,
    peers: *const gossip_peer,
    peer_count: usize,
) -> Outcome<()> {
    let message = handle::get(message, "message")?;
    let peers = peer::several(peers, peer_count)?;
    sent(comm.send(&message.message, &peers), &peers)
}

/// Returns the peers that did not accept a message as an error with one part for each.
fn sent(result: Result<(), SendError>, peers: &[comm::RemotePeer]) -> Outcome<()> {
    let Err(failed) = result else { return Ok(()) };
    let mut places = (0..peers.len()).peekable();
    let parts = failed.not_sent.iter().map(|not_sent| {
        // They are in the order of the peers.
        let place = places.find(|place| peers[*place] == not_sent.peer).unwrap_or(0);
        gossip_error::part(place, &not_sent.error)
    });
    let parts = parts.collect();
    Err(gossip_error::of_parts(failed.to_string(), parts))
}

/// Wraps a host's predicate; without one, every item matches.
pub(super) fn wanted<T: Clone + Into<gossip_event>>(
    predicate: gossip_predicate,
    user: User,
) -> impl Fn(&T) -> bool + Send + Sync + 'static {
    move |item| {
        let user = &user;
        predicate.is_none_or(|wants| {
            let event: gossip_event = item.clone().into();
            // SAFETY: the host's function, called with its own pointer; the event lives for the duration of the call.
            unsafe { wants(user.pointer, &event) }
        })
    }
}

/// Starts a communication layer. `crypto` and `config` remain the caller's. Without an address to listen on it only
/// dials. Free it with gossip_comm_free.
///
/// GOSSIP_CONFIG, GOSSIP_IDENTITY and others: a setting is wrong, our own identity is not valid, or the address cannot
/// be listened on. GOSSIP_SIGNATURE: a first signature does not match our own identity.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_start(
    crypto: *const gossip_crypto,
    config: *const gossip_config,
    comm: *mut *mut gossip_comm,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let comm = Out::new(comm, "comm")?;
        let (crypto, config) = (handle::get(crypto, "crypto")?, handle::get(config, "config")?);
        let builder = Comm::builder(crypto.identity.clone(), crypto.service.clone(), crypto.advisor.clone());
        comm.give(set_up(builder, config, transport::create(config)?).start()?.into())
    })
}

/// Returns the address that it listens on, `host:port` with the actual port; empty if it does not listen.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_local_addr(comm: *const gossip_comm) -> gossip_str {
    super::look(comm, gossip_str::EMPTY, |comm| comm.local_addr.as_str())
}

/// Returns our own PKI-ID.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_pki_id(comm: *const gossip_comm) -> gossip_bytes {
    super::look(comm, gossip_bytes::EMPTY, |comm| gossip_bytes::of(comm.comm.pki_id().as_bytes()))
}

/// Queues a message for each peer, in order per peer. Peers that are not connected are dialled. An accepted message is
/// later written or reported as undelivered (GOSSIP_EVENT_UNDELIVERED); only an acknowledgement proves delivery.
/// `message` and `peers` remain the caller's.
///
/// If the message could not be queued for some peers, the call returns the code of the first such peer, and the error
/// has one part for each of them. For all other peers the message has been queued. GOSSIP_FULL: the queue to the peer
/// is full. Also GOSSIP_TOO_LARGE, GOSSIP_STOPPED, GOSSIP_CONFIG.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_send(
    comm: *const gossip_comm,
    message: *const gossip_message,
    peers: *const gossip_peer,
    peer_count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || send(&handle::get(comm, "comm")?.comm, message, peers, peer_count))
}

/// Does the same as gossip_comm_send, but waits up to `timeout` for space in the peers' queues.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_send_timeout(
    comm: *const gossip_comm,
    message: *const gossip_message,
    timeout: gossip_duration,
    peers: *const gossip_peer,
    peer_count: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (comm, message) = (handle::get(comm, "comm")?, handle::get(message, "message")?);
        let peers = peer::several(peers, peer_count)?;
        sent(comm.comm.send_timeout(&message.message, duration(timeout), &peers), &peers)
    })
}

/// Sends a message to all peers, with a fresh nonce and unsigned. Waits until `min_ack` of them have acknowledged it,
/// every one has answered or failed, or `timeout` has passed. GOSSIP_OK: at least `min_ack` have acknowledged; their
/// number is written to `acks` if that is not NULL. Otherwise the code is that of the first peer in the array that did
/// not acknowledge, and the error has one part for each: GOSSIP_NACK (the peer's own error), GOSSIP_TIMEOUT,
/// GOSSIP_UNREACHABLE and others.
///
/// Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_send_with_ack(
    comm: *const gossip_comm,
    message: *const gossip_message,
    timeout: gossip_duration,
    min_ack: usize,
    peers: *const gossip_peer,
    peer_count: usize,
    acks: *mut usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let acks = Out::optional(acks, "acks")?;
        let (comm, message) = (handle::get(comm, "comm")?, handle::get(message, "message")?);
        let peers = peer::several(peers, peer_count)?;
        let results = comm.comm.send_with_ack(message.message.message().clone(), duration(timeout), min_ack, &peers);
        let count = enough(&results, min_ack, &peers)?;
        acks.map_or(Ok(()), |acks| acks.set(count))
    })
}

/// Queues a message for a peer, with a fresh nonce and unsigned, and returns a handle for its acknowledgement. Any
/// number of messages can be awaiting acknowledgement. Free the handle with gossip_ack_handle_free. GOSSIP_FULL and
/// others: the message was not queued.
///
/// Blocks for at most `timeout`, and only while the queue to the peer is full.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_send_tracked(
    comm: *const gossip_comm,
    message: *const gossip_message,
    timeout: gossip_duration,
    peer: *const gossip_peer,
    ack: *mut *mut gossip_ack_handle,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let ack = Out::new(ack, "ack")?;
        let (comm, message) = (handle::get(comm, "comm")?, handle::get(message, "message")?);
        let message = message.message.message().clone();
        ack.give(gossip_ack_handle(comm.comm.send_tracked(message, duration(timeout), &peer::one(peer)?)?))
    })
}

/// Connects to a peer now if it is not connected, without sending it a message. `confirmed`, which may be NULL,
/// receives whether the peer has shown that it accepts us. A peer that refuses us makes the call fail.
///
/// Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_connect(
    comm: *const gossip_comm,
    peer: *const gossip_peer,
    timeout: gossip_duration,
    confirmed: *mut bool,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let confirmed = Out::optional(confirmed, "confirmed")?;
        let handshake = handle::get(comm, "comm")?.comm.connect(&peer::one(peer)?, duration(timeout))?;
        confirmed.map_or(Ok(()), |confirmed| confirmed.set(handshake.confirmed))
    })
}

/// Waits until every accepted message has been written or reported. GOSSIP_TIMEOUT: some have not.
///
/// Blocks for at most `timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_flush(
    comm: *const gossip_comm,
    timeout: gossip_duration,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(comm, "comm")?.comm.flush(duration(timeout))?))
}

/// Checks that the peer's endpoint answers a Ping. Opens a new connection; does not authenticate.
///
/// Blocks for at most `comm.dial_timeout` and `comm.conn_timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_probe(
    comm: *const gossip_comm,
    peer: *const gossip_peer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Ok(handle::get(comm, "comm")?.comm.probe(&peer::one(peer)?)?))
}

/// Finds out the identity of the peer at an endpoint and whether that peer accepts us. Opens a new connection and does
/// the whole handshake; afterwards neither side keeps a connection, but both know the other's identity. If a PKI-ID is
/// given, the peer's must match it. `who` receives a list with one element; free it with gossip_connection_list_free.
/// `confirmed`, which may be NULL, receives whether the peer said that it accepts us. The call fails if the peer
/// refuses us; if the peer does neither, `confirmed` is false.
///
/// Blocks for at most `comm.dial_timeout` and three times `comm.conn_timeout`.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_handshake(
    comm: *const gossip_comm,
    peer: *const gossip_peer,
    who: *mut *mut gossip_connection_list,
    confirmed: *mut bool,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (who, confirmed) = (Out::new(who, "who")?, Out::optional(confirmed, "confirmed")?);
        let handshake = handle::get(comm, "comm")?.comm.handshake(&peer::one(peer)?)?;
        confirmed.map_or(Ok(()), |confirmed| confirmed.set(handshake.confirmed))?;
        who.give(vec![std::sync::Arc::new(handshake.info)].into())
    })
}

/// Subscribes to received messages (GOSSIP_EVENT_MESSAGE) for which `predicate` returns true, or to all if it is NULL.
/// Acknowledgements are not included. `options` may be NULL. `user` is passed to the predicate; `free`, which may be
/// NULL, is called on it when nothing needs it any more. Free the subscription with gossip_subscription_free.
///
/// A subscription that is not read delays the connections that its messages come from, as its options say.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_accept(
    comm: *const gossip_comm,
    options: *const gossip_subscription_options,
    predicate: gossip_predicate,
    user: *mut c_void,
    free: gossip_free_callback,
    subscription: *mut *mut gossip_subscription,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = Out::new(subscription, "subscription")?;
        let comm = &handle::get(comm, "comm")?.comm;
        let options: SubscriptionOptions = super::subscription::options(options)?;
        let wanted = wanted::<ReceivedMessage>(predicate, User::new(user, free));
        subscription.give(gossip_subscription::new(comm.subscribe_with(options, wanted)))
    })
}

/// Subscribes to events of connections and of accepted messages, from now on. Events that are not received in time are
/// dropped and counted. Free the subscription with gossip_subscription_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_events(
    comm: *const gossip_comm,
    subscription: *mut *mut gossip_subscription,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = Out::new(subscription, "subscription")?;
        subscription.give(gossip_subscription::new(handle::get(comm, "comm")?.comm.events()))
    })
}

/// Subscribes to the peers that could not be reached for a send, or not reached again after their connection was lost
/// (GOSSIP_EVENT_PRESUMED_DEAD), from now on. The queue holds 100 events; further ones are dropped and counted. Free
/// the subscription with gossip_subscription_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_presumed_dead(
    comm: *const gossip_comm,
    subscription: *mut *mut gossip_subscription,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = Out::new(subscription, "subscription")?;
        subscription.give(gossip_subscription::new(handle::get(comm, "comm")?.comm.presumed_dead()))
    })
}

/// Closes the connection to a peer and forgets the peer. Queued messages are still written within `comm.conn_timeout`;
/// those that are not written are reported. An unknown peer is not an error.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_close(
    comm: *const gossip_comm,
    peer: *const gossip_peer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get(comm, "comm")?.comm.close_conn(&peer::one(peer)?);
        Ok(())
    })
}

/// Returns the peers that are connected now. Free the list with gossip_connection_list_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_connections(
    comm: *const gossip_comm,
    list: *mut *mut gossip_connection_list,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(list, "list")?.give(handle::get(comm, "comm")?.comm.connections().into()))
}

/// Returns the identity that belongs to a PKI-ID. Free it with gossip_buffer_free. GOSSIP_IDENTITY: the PKI-ID is not
/// known.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_identity(
    comm: *const gossip_comm,
    pki_id: *const u8,
    pki_id_len: usize,
    identity: *mut *mut gossip_buffer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let identity = Out::new(identity, "identity")?;
        let pki_id = PkiId::from(handle::array(pki_id, pki_id_len, "pki_id")?);
        let known = handle::get(comm, "comm")?.comm.identity_mapper().get(&pki_id)?;
        identity.give(gossip_buffer::new(known.as_bytes()))
    })
}

/// Returns the MSP id of the organisation that a PKI-ID belongs to. Free it with gossip_buffer_free. GOSSIP_IDENTITY:
/// the PKI-ID is not known.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_org(
    comm: *const gossip_comm,
    pki_id: *const u8,
    pki_id_len: usize,
    org: *mut *mut gossip_buffer,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let org = Out::new(org, "org")?;
        let pki_id = PkiId::from(handle::array(pki_id, pki_id_len, "pki_id")?);
        let known = handle::get(comm, "comm")?.comm.identity_mapper().org(&pki_id);
        let known = known.ok_or_else(|| Error::new(ErrorKind::Identity, "no known organisation").with_peer(&pki_id))?;
        org.give(gossip_buffer::new(known.as_str().as_bytes()))
    })
}

/// Returns the current counters and gauges. Free them with gossip_metrics_free.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_metrics(
    comm: *const gossip_comm,
    metrics: *mut *mut gossip_metrics,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let metrics = Out::new(metrics, "metrics")?;
        let snapshot = handle::get(comm, "comm")?.comm.metrics();
        metrics.give(gossip_metrics::new(snapshot.to_prometheus(), snapshot.samples()))
    })
}

/// Stops the communication layer. Nothing more is accepted. Connections are closed so that written data arrives;
/// messages that were only queued are written within `drain` or reported. Subscriptions end once they have been read
/// empty, and every thread is joined. May be called several times; a further call waits for the first. The handle must
/// still be freed. GOSSIP_TIMEOUT: not everything was written within `drain`; it has stopped nevertheless.
///
/// Blocks for at most `drain`, `comm.conn_timeout` and, with a peer that is frozen with its socket full,
/// `transport.keepalive_timeout`. When called in a predicate, a crypto callback or the log callback it returns
/// immediately, and another thread does the work.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_stop(
    comm: *const gossip_comm,
    drain: gossip_duration,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let comm = &handle::get(comm, "comm")?.comm;
        match drain {
            0 => comm.stop(),
            drain => comm.stop_after_drain(duration(drain))?,
        }
        Ok(())
    })
}

/// Frees the handle. Freeing the last handle of a comm stops it, like gossip_comm_stop with a `drain` of 0. Passing
/// NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_comm_free(comm: *mut gossip_comm) {
    gossip_comm::free(comm);
}
