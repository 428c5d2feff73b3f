//! One authenticated stream to one peer.

use super::probation::Probation;
use crate::cancel::Cancel;
use crate::crypto::{PeerIdentity, PkiId};
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::Mutex;
#[cfg(feature = "testing")]
use crate::testing::live::Live;
use crate::transport::{Outgoing, Status, Stream, StreamEnd};
use bytes::Bytes;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who is at the other end of a connection, and what proved it. Fabric's `ConnectionInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The authenticated PKI-ID.
    pub id: PkiId,
    /// The identity it authenticated with.
    pub identity: PeerIdentity,
    /// The socket address at the other end: for an accepted connection an ephemeral port, not the advertised one.
    pub endpoint: String,
    /// The signed connection message, so that the proof can be checked again.
    pub auth: AuthInfo,
}

/// What a peer signed when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthInfo {
    /// The serialized connection message.
    pub signed_data: Bytes,
    /// Its signature.
    pub signature: Bytes,
}

/// A write that takes this long hangs: the socket is full.
const HANGS: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    /// Counted up over all connections of one Comm: what removal goes by.
    pub generation: u64,
    pub stream: Arc<dyn Stream>,
    pub info: Arc<ConnectionInfo>,
    /// We dialled it, and sent our connection message at `since`; otherwise it authenticated to us at `since`.
    pub dialled: bool,
    pub since: Instant,
    /// Held while writing: the writer, a sender that writes inline, and the thread that ends it take turns.
    sending: Mutex<()>,
    /// Set when its reader has come to the end.
    pub ended: Cancel,
    /// Set when we have said that nothing more comes from us.
    finished: Cancel,
    /// Messages written so far.
    written: AtomicU64,
    /// Holds what was written before the peer has shown that it accepts us.
    pub probation: Probation,
    #[cfg(feature = "testing")]
    _live: Live,
}

impl Connection {
    /// Wraps an authenticated stream that the peer dialled.
    pub fn accepted(generation: u64, stream: Arc<dyn Stream>, info: ConnectionInfo, since: Instant) -> Self {
        Self::new(generation, stream, info, false, since, Probation::proven())
    }

    /// Wraps an authenticated stream that we dialled. Unless it is `confirmed`, the peer may still refuse us.
    pub fn dialled(
        generation: u64,
        stream: Arc<dyn Stream>,
        info: ConnectionInfo,
        since: Instant,
        confirmed: bool,
    ) -> Self {
        let probation = if confirmed { Probation::proven() } else { Probation::open() };
        Self::new(generation, stream, info, true, since, probation)
    }

    fn new(
        generation: u64,
        stream: Arc<dyn Stream>,
        info: ConnectionInfo,
        dialled: bool,
        since: Instant,
        probation: Probation,
    ) -> Self {
        Connection {
            generation,
            stream,
            info: Arc::new(info),
            dialled,
            since,
            sending: Mutex::new(()),
            ended: Cancel::new(),
            finished: Cancel::new(),
            written: AtomicU64::new(0),
            probation,
            #[cfg(feature = "testing")]
            _live: Live::new("connection"),
        }
    }

    /// Returns how many messages were written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts a message whose write is done.
    pub fn count_written(&self) {
        self.written.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes what `outgoing` has.
    pub fn write(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.send_all(outgoing)
    }

    /// Starts to write without being able to block; `Ok(false)` if the write is still under way.
    pub fn start_write(&self, message: Bytes) -> Result<bool, StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.try_send(message)
    }

    /// Waits for a write that [`start_write`](Self::start_write) left under way. If `outgoing` gives it up, the stream is
    /// cancelled.
    pub fn finish_write(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.await_sent(outgoing)
    }

    /// Returns whether nothing more is to be written to it.
    pub fn is_finished(&self) -> bool {
        self.finished.is_cancelled()
    }

    /// Whether this is no refusal, but how Fabric ends a stream that we have ended: with the error that it read.
    pub fn was_answered_with(&self, text: &str) -> bool {
        self.finished.is_cancelled() && text == "EOF"
    }

    /// Says that nothing more comes from us. If somebody hangs in a write, cancels instead.
    pub fn finish(&self, status: &Status) {
        self.finished.cancel();
        match self.sending.try_lock_for(HANGS) {
            Some(_turn) => {
                if self.stream.finish(status).is_err() {
                    self.stream.cancel();
                }
            }
            None => self.stream.cancel(),
        }
    }
}
