//! One peer in the table of peers: its queue, and its link to the streams it has.

use super::connection::Connection;
use super::outbox::Outbox;
use super::RemotePeer;
use crate::cancel::Cancel;
use crate::crypto::PkiId;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::Mutex;
#[cfg(feature = "testing")]
use crate::testing::live::Live;
use crate::transport::StreamEnd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One peer: its queue and its link. It is served by its own writer thread.
pub(super) struct PeerEntry {
    pub outbox: Outbox,
    /// Set when the entry is being closed: its writer thread must end.
    pub closing: Cancel,
    /// Set when the writer has ended and everything owed was written or reported.
    pub done: Cancel,
    pub(super) link: Mutex<Link>,
    /// Generation of the connection that is written to; 0 for none. A copy, which the writer reads without the lock.
    pub(super) current: AtomicU64,
    #[cfg(feature = "testing")]
    pub(super) _live: Live,
}

#[derive(Default)]
pub(super) struct Link {
    /// The expected PKI-ID at first, then the authenticated one.
    pub(super) pki_id: Option<PkiId>,
    /// The endpoint to dial.
    pub(super) endpoint: Option<String>,
    pub(super) current: Option<Arc<Connection>>,
    /// The inbound stream of a simultaneous dial: it is read to its end, and written to only if ours fails.
    pub(super) spare: Option<Arc<Connection>>,
    pub(super) dial: Option<Dial>,
    pub(super) ended: Option<Ended>,
    /// When closing: whether to write the messages still owed.
    pub(super) drain: bool,
}

pub(super) struct Dial {
    pub(super) cancel: Cancel,
    /// Time at which our connection message was sent, or was about to be.
    pub(super) conn_sent: Option<Instant>,
    /// Whether the dial was cancelled because the peer must be dialled at another endpoint.
    pub(super) again: bool,
}

/// End of the last connection of an entry.
#[derive(Clone)]
pub(super) struct Ended {
    pub end: StreamEnd,
    pub dialled: bool,
    pub lasted: Duration,
}

/// Next action of a writer.
pub(super) enum Step {
    Write(Arc<Connection>),
    /// There is no connection: dial or give up, depending on how the last connection ended (`None`: there was none).
    Connect(Option<Ended>),
    Close,
}

/// Start of a dial.
pub(super) enum BeginDial {
    /// An inbound stream was faster.
    Connected,
    /// No endpoint is known.
    NoEndpoint,
    Dial {
        endpoint: String,
        expected: Option<PkiId>,
        cancel: Cancel,
    },
}

impl Link {
    /// Returns whether this is the entry of that PKI-ID, and not one that was only expected to be.
    pub(super) fn is(&self, id: &PkiId) -> bool {
        self.pki_id.as_ref() == Some(id)
    }
}

impl PeerEntry {
    pub(super) fn set_current(&self, link: &mut Link, conn: Option<Arc<Connection>>) -> Option<Arc<Connection>> {
        self.current.store(conn.as_ref().map_or(0, |c| c.generation), Ordering::SeqCst);
        std::mem::replace(&mut link.current, conn)
    }

    pub(super) fn learn_endpoint(&self, to: &RemotePeer) {
        if to.pki_id.is_some() && !to.endpoint.is_empty() {
            let mut link = self.link.lock();
            if link.endpoint.as_deref() != Some(&to.endpoint) {
                link.endpoint = Some(to.endpoint.clone());
            }
        }
    }

    /// Returns the writer's next action.
    pub fn step(&self) -> Step {
        let link = self.link.lock();
        match &link.current {
            _ if self.closing.is_cancelled() && !(link.drain && link.current.is_some()) => Step::Close,
            Some(conn) => Step::Write(conn.clone()),
            None => Step::Connect(link.ended.clone()),
        }
    }

    /// Returns whether this connection is still the one to write to.
    pub fn writes_to(&self, conn: &Connection) -> bool {
        self.current.load(Ordering::SeqCst) == conn.generation
    }

    /// Returns the connection that is written to.
    pub fn connection(&self) -> Option<Arc<Connection>> {
        self.link.lock().current.clone()
    }

    /// Returns the peer in the form in which users address it.
    pub fn remote(&self) -> RemotePeer {
        let link = self.link.lock();
        let endpoint = link.endpoint.clone().or_else(|| link.current.as_ref().map(|c| c.info.endpoint.clone()));
        RemotePeer { endpoint: endpoint.unwrap_or_default(), pki_id: link.pki_id.clone() }
    }

    /// Returns whether it has a stream of the peer that it is known or expected to be, and that peer is not `id`. Then
    /// no stream of `id` belongs here: messages for one peer would go to the other when a stream ends.
    pub(super) fn has_inbound_of_another(&self, id: &PkiId) -> bool {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).any(|conn| conn.info.id != *id)
    }

    /// Returns whether it has a stream of this peer.
    pub(super) fn has_stream_of(&self, id: &PkiId) -> bool {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).any(|conn| conn.info.id == *id)
    }

    /// Records that the peer has answered at this endpoint. This becomes the endpoint to dial, unless the peer is
    /// connected or its own dial has got equally far.
    pub(super) fn found_at(&self, endpoint: String) {
        let stale = {
            let mut link = self.link.lock();
            let settled = link.current.is_some() || link.dial.as_ref().is_some_and(|dial| dial.conn_sent.is_some());
            if settled || link.endpoint.as_ref() == Some(&endpoint) {
                return;
            }
            link.endpoint = Some(endpoint);
            link.dial.as_mut().map(|dial| {
                dial.again = true;
                dial.cancel.clone()
            })
        };
        if let Some(dial) = stale {
            dial.cancel();
        }
    }

    /// Starts a dial, unless there is a connection already.
    pub fn begin_dial(&self) -> BeginDial {
        let mut link = self.link.lock();
        if link.current.is_some() {
            return BeginDial::Connected;
        }
        let Some(endpoint) = link.endpoint.clone() else { return BeginDial::NoEndpoint };
        let cancel = Cancel::new();
        link.dial = Some(Dial { cancel: cancel.clone(), conn_sent: None, again: false });
        BeginDial::Dial { endpoint, expected: link.pki_id.clone(), cancel }
    }

    /// Returns whether an endpoint to dial is known.
    pub fn can_dial(&self) -> bool {
        self.link.lock().endpoint.is_some()
    }

    /// Records that our connection message is sent before it is known which peer answers. From now on an inbound stream
    /// of this peer yields to ours.
    pub fn conn_sent(&self, now: Instant) {
        if let Some(dial) = &mut self.link.lock().dial {
            dial.conn_sent = Some(now);
        }
    }

    /// Handles a failed dial. If a stream arrived meanwhile, returns it as the one to write to, with `true` if it
    /// becomes so only now.
    pub fn dial_failed(&self) -> Option<(Arc<Connection>, bool)> {
        let mut link = self.link.lock();
        link.dial = None;
        let promoted = link.current.is_none();
        if promoted {
            let spare = link.spare.take();
            self.set_current(&mut link, spare);
        }
        link.current.clone().map(|conn| (conn, promoted))
    }

    /// Returns whether a failed dial was only cancelled, to be repeated at another endpoint.
    pub fn dials_again(&self) -> bool {
        self.link.lock().dial.as_ref().is_some_and(|dial| dial.again)
    }

    /// Returns the time at which to give up our side of a simultaneous dial, if it is ours to give up. Both streams
    /// live, and either could be kept; the peer with the larger PKI-ID yields.
    pub fn yield_deadline(&self, own: &PkiId, conn_timeout: Duration) -> Option<Instant> {
        let link = self.link.lock();
        match (&link.current, &link.spare) {
            (Some(current), Some(spare)) if current.dialled && *own > current.info.id => {
                Some(spare.since + conn_timeout)
            }
            _ => None,
        }
    }

    /// Makes the writer end, either after writing the messages still owed or immediately.
    pub fn close(&self, drain: bool) {
        let dial = {
            let mut link = self.link.lock();
            link.drain = drain;
            link.dial.take()
        };
        self.outbox.refuse();
        self.closing.cancel();
        if let Some(dial) = dial {
            dial.cancel.cancel();
        }
        self.outbox.wake();
    }

    /// Returns all streams of the peer.
    pub fn streams(&self) -> Vec<Arc<Connection>> {
        let link = self.link.lock();
        link.current.iter().chain(&link.spare).cloned().collect()
    }
}
