//! The dialling side: connect, Ping, open the stream, authenticate.

use super::connection::Connection;
use super::event::Event;
use super::inner::Inner;
use super::stream::{Client, Stream, StreamEnd};
use super::{Handshake, RemotePeer};
use crate::cancel::Cancel;
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::Ordering;
use crate::sync::Mutex;
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

/// Makes an authenticated connection to whoever answers at `endpoint`. If that is not the `expected` peer, it must at
/// least be of the same organisation. `sent` is called when our connection message is out.
pub(super) fn connect(
    comm: &Inner,
    endpoint: &str,
    expected: Option<&PkiId>,
    cancel: &Cancel,
    sent: impl Fn(),
) -> Result<Connection> {
    comm.metrics.dials.fetch_add(1, Ordering::Relaxed);
    let stream = open(comm, endpoint, None, cancel)?;
    let _cancel = comm.stopping.on_cancel({
        let stream = stream.clone();
        move || stream.cancel()
    });
    // Until it is a connection of the entry, nobody else could end it.
    let _cancel = cancel.on_cancel({
        let stream = stream.clone();
        move || stream.cancel()
    });
    let since = Cell::new(comm.clock.now());
    let authenticated = comm.handshaker.authenticate(&*stream, false, || {
        since.set(comm.clock.now());
        sent();
    })?;
    let info = authenticated.info;
    let refused = |text: &str| {
        stream.cancel();
        Err(Error::new(ErrorKind::Refused, text).peer(endpoint).step("handshake"))
    };
    if authenticated.probe {
        return refused("probe");
    }
    if let Some(expected) = expected.filter(|expected| **expected != info.id) {
        log::warn!("{endpoint}: claims to be a different peer, expected {expected} but got {}", info.id);
        if comm.advisor.org_by_peer_identity(&info.identity) != comm.handshaker.mapper.org(expected) {
            return refused("authentication failure");
        }
        comm.identity_switch.publish(expected);
        comm.tell(Event::IdentitySwitch { expected: expected.clone(), actual: info.id.clone() });
    }
    comm.metrics.handshakes.fetch_add(1, Ordering::Relaxed);
    Ok(Connection {
        generation: comm.next_generation(),
        stream,
        info: Arc::new(info),
        dialled: true,
        since: since.get(),
        sending: Mutex::new(()),
        ended: Cancel::new(),
        finished: Cancel::new(),
    })
}

/// A new connection that has answered a Ping.
pub(super) fn reach(comm: &Inner, endpoint: &str, cancel: &Cancel) -> Result<Box<dyn Client>> {
    let client =
        comm.transport.dial(endpoint, comm.config.dial_timeout, cancel).map_err(|e| e.step("dial").peer(endpoint))?;
    client.ping(comm.config.conn_timeout).map_err(|e| e.step("ping").peer(endpoint))?;
    Ok(client)
}

fn open(comm: &Inner, endpoint: &str, limit: Option<Duration>, cancel: &Cancel) -> Result<Arc<dyn Stream>> {
    reach(comm, endpoint, cancel)?.open(limit).map_err(|e| e.step("open the stream").peer(endpoint))
}

/// Whether somebody answers a Ping at the peer's endpoint.
pub(super) fn probe(comm: &Inner, peer: &RemotePeer) -> Result<()> {
    reach(comm, &peer.endpoint, &comm.stopping).map(drop)
}

/// A handshake that registers nothing, on either side: who is there, and does it accept us?
pub(super) fn handshake(comm: &Inner, peer: &RemotePeer) -> Result<Handshake> {
    let endpoint = &peer.endpoint;
    let stream = open(comm, endpoint, Some(comm.config.handshake_timeout), &comm.stopping)?;
    let _cancel = comm.stopping.on_cancel({
        let stream = stream.clone();
        move || stream.cancel()
    });
    let refused = |text: String| Error::new(ErrorKind::Refused, text).peer(endpoint).step("handshake");
    let authenticated = comm.handshaker.authenticate(&*stream, true, || {})?;
    if authenticated.probe {
        return Err(refused("probe".into()));
    }
    let info = authenticated.info;
    if peer.pki_id.as_ref().is_some_and(|expected| !expected.is_empty() && *expected != info.id) {
        let text = "PKI-ID of remote peer doesn't match expected PKI-ID";
        return Err(Error::new(ErrorKind::Identity, text).peer(endpoint).step("handshake"));
    }
    // Their verdict on us is the status of the stream. Peers that keep it open say nothing.
    let confirmed = loop {
        match stream.recv(Some(comm.config.conn_timeout)) {
            Ok(Some(_)) => continue,
            Ok(None) => break false,
            Err(StreamEnd::Remote(status)) if status.code != 0 => return Err(refused(status.message)),
            Err(StreamEnd::Remote(_)) => break true,
            Err(_) => break false,
        }
    };
    stream.cancel();
    Ok(Handshake { info, confirmed })
}
