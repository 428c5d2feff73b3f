//! The dialling side: connect, Ping, open the stream, authenticate.

use super::connection::Connection;
use super::event::Event;
use super::handshake::{Authenticated, Ours};
use super::state::CommState;
use super::{Handshake, RemotePeer};
use crate::cancel::{Cancel, HookGuard};
use crate::crypto::PkiId;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::Ordering;
use crate::transport::{Connection as TransportConnection, Stream, StreamEnd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time that a dial waits for the other side's connection message before it sends ours. Every Fabric peer sends its
/// message as soon as it has accepted the stream.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// A dial up to the point at which our connection message is sent.
pub(super) struct Dial<'a> {
    pub stream: Arc<dyn Stream>,
    /// The peer that answers; `None` if it has sent nothing so far.
    pub peer: Option<Authenticated>,
    endpoint: &'a str,
    expected: Option<&'a PkiId>,
    ours: Ours,
    /// Whether the peer has confirmed that it accepts us.
    confirmed: bool,
    _cancel: [HookGuard; 2],
}

/// Opens a stream to `endpoint` and determines which peer answers there. If that is not the `expected` peer, it must be
/// of the same organisation. With `confirm`, first asks the peer for its verdict on us, on a stream that registers
/// nothing.
pub(super) fn open<'a>(
    comm: &CommState,
    endpoint: &'a str,
    expected: Option<&'a PkiId>,
    cancel: &Cancel,
    confirm: bool,
) -> Result<Dial<'a>> {
    comm.metrics.dials.fetch_add(1, Ordering::Relaxed);
    let client = reach(comm, endpoint, cancel)?;
    let confirmed = confirm && verdict(comm, &*client, endpoint, cancel)?.1;
    let stream = open_stream(&*client, endpoint, None)?;
    // Until the stream is a connection of the entry, nothing else could end it.
    let _cancel = [&comm.stopping, cancel].map(|cancel| cancel_with(&stream, cancel));
    let ours = comm.handshaker.ours(&*stream, false)?;
    let wait = FIRST_WORD.min(comm.config.conn_timeout / 4);
    let peer = comm.handshaker.first_word(&*stream, wait)?;
    let dial = Dial { stream, peer, endpoint, expected, ours, confirmed, _cancel };
    if let Some(peer) = &dial.peer {
        dial.judge(comm, peer)?;
    }
    Ok(dial)
}

fn cancel_with(stream: &Arc<dyn Stream>, cancel: &Cancel) -> HookGuard {
    let stream = stream.clone();
    cancel.on_cancel(move || stream.cancel())
}

impl Dial<'_> {
    /// Sends our connection message, and reads theirs if it has not arrived before.
    pub fn finish(mut self, comm: &CommState) -> Result<Connection> {
        let since = comm.clock.now();
        comm.handshaker.introduce(&*self.stream, &self.ours)?;
        let peer = match self.peer.take() {
            Some(peer) => peer,
            None => {
                let peer = comm.handshaker.their_message(&*self.stream)?;
                self.judge(comm, &peer)?;
                peer
            }
        };
        comm.metrics.handshakes.fetch_add(1, Ordering::Relaxed);
        Ok(self.connection(comm, peer, since))
    }

    fn connection(self, comm: &CommState, peer: Authenticated, since: Instant) -> Connection {
        Connection::dialled(comm.next_generation(), self.stream, peer.info, since, self.confirmed)
    }

    /// Checks whether to accept the peer that answers.
    fn judge(&self, comm: &CommState, peer: &Authenticated) -> Result<()> {
        let (endpoint, info) = (self.endpoint, &peer.info);
        let refused = |text: &str| {
            self.stream.cancel();
            Err(Error::new(ErrorKind::Refused, text).with_peer(endpoint).with_step("handshake"))
        };
        if peer.probe {
            return refused("probe");
        }
        if let Some(expected) = self.expected.filter(|expected| **expected != info.id) {
            log::warn!("{endpoint}: claims to be a different peer, expected {expected} but got {}", info.id);
            if comm.advisor.org_by_peer_identity(&info.identity) != comm.handshaker.mapper.org(expected) {
                return refused("authentication failure");
            }
            comm.publish(Event::IdentitySwitch { expected: expected.clone(), actual: info.id.clone() });
        }
        Ok(())
    }
}

/// Returns a new connection that has answered a Ping.
pub(super) fn reach(comm: &CommState, endpoint: &str, cancel: &Cancel) -> Result<Box<dyn TransportConnection>> {
    let client = comm
        .transport
        .dial(endpoint, comm.config.dial_timeout, cancel)
        .map_err(|e| e.with_step("dial").with_peer(endpoint))?;
    client.ping(comm.config.conn_timeout).map_err(|e| e.with_step("ping").with_peer(endpoint))?;
    Ok(client)
}

fn open_stream(client: &dyn TransportConnection, endpoint: &str, limit: Option<Duration>) -> Result<Arc<dyn Stream>> {
    client.open(limit).map_err(|e| e.with_step("open the stream").with_peer(endpoint))
}

/// Checks whether a peer answers a Ping at the given endpoint.
pub(super) fn probe(comm: &CommState, peer: &RemotePeer) -> Result<()> {
    reach(comm, &peer.endpoint, &comm.stopping).map(drop)
}

/// Asks for the other side's verdict on us, with a handshake that registers nothing on either side. Returns the peer,
/// and whether it has confirmed that it accepts us.
fn verdict(
    comm: &CommState,
    client: &dyn TransportConnection,
    endpoint: &str,
    cancel: &Cancel,
) -> Result<(Authenticated, bool)> {
    let stream = open_stream(client, endpoint, Some(comm.config.handshake_timeout))?;
    let _cancel = [&comm.stopping, cancel].map(|cancel| cancel_with(&stream, cancel));
    let refused = |text: String| Error::new(ErrorKind::Refused, text).with_peer(endpoint).with_step("handshake");
    let authenticated = comm.handshaker.authenticate(&*stream, true)?;
    if authenticated.probe {
        return Err(refused("probe".into()));
    }
    // Their verdict on us is the status of the stream. Peers that keep the stream open give no verdict.
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
    Ok((authenticated, confirmed))
}

/// Performs a handshake that registers nothing on either side. Returns the peer and whether it accepts us.
pub(super) fn handshake(comm: &CommState, peer: &RemotePeer) -> Result<Handshake> {
    let endpoint = &peer.endpoint;
    let client = reach(comm, endpoint, &comm.stopping)?;
    let (authenticated, confirmed) = verdict(comm, &*client, endpoint, &comm.stopping)?;
    let info = authenticated.info;
    if peer.pki_id.as_ref().is_some_and(|expected| !expected.is_empty() && *expected != info.id) {
        let text = "PKI-ID of remote peer doesn't match expected PKI-ID";
        return Err(Error::new(ErrorKind::Identity, text).with_peer(endpoint).with_step("handshake"));
    }
    Ok(Handshake { info, confirmed })
}
