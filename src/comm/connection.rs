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

/// The peer at the other end of a connection, with its proof of identity. Fabric's `ConnectionInfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// The authenticated PKI-ID.
    pub id: PkiId,
    /// The identity it authenticated with.
    pub identity: PeerIdentity,
    /// The remote socket address. For an accepted connection the port is ephemeral, not the advertised one.
    pub endpoint: String,
    /// The signed connection message, so that the proof can be verified again.
    pub auth: AuthInfo,
}

/// The data that a peer signed when it connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthInfo {
    /// The serialized connection message.
    pub signed_data: Bytes,
    /// Its signature.
    pub signature: Bytes,
}

/// Duration after which a write counts as hanging because the socket is full.
const HANGS: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    /// Increases over all connections of one Comm; removal compares it.
    pub generation: u64,
    pub stream: Arc<dyn Stream>,
    pub info: Arc<ConnectionInfo>,
    /// Whether we dialled it and sent our connection message at `since`; otherwise the peer authenticated to us at
    /// `since`.
    pub dialled: bool,
    pub since: Instant,
    /// Held while writing: by the writer, by a sender that writes inline, or by the thread that ends the connection.
    sending: Mutex<()>,
    /// Set when its reader has reached the end.
    pub ended: Cancel,
    /// Set when we have signalled that we send nothing more.
    finished: Cancel,
    /// Number of messages written so far.
    written: AtomicU64,
    /// Holds the messages written before the peer has shown that it accepts us.
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

    /// Returns the number of messages written.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts messages whose write has completed.
    pub fn count_written(&self, messages: u64) {
        self.written.fetch_add(messages, Ordering::Relaxed);
    }

    /// Writes everything that `outgoing` provides.
    pub fn write(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.send_all(outgoing)
    }

    /// Starts a write without blocking. Returns `Ok(false)` if the write is still under way.
    pub fn start_write(&self, message: Bytes) -> Result<bool, StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.try_send(message)
    }

    /// Waits for a write that [`start_write`](Self::start_write) left under way. Cancels the stream if `outgoing` gives
    /// up on the write.
    pub fn finish_write(&self, outgoing: &mut dyn Outgoing) -> Result<(), StreamEnd> {
        let _turn = self.sending.lock();
        self.stream.await_sent(outgoing)
    }

    /// Returns whether nothing more may be written to it.
    pub fn is_finished(&self) -> bool {
        self.finished.is_cancelled()
    }

    /// Returns whether the text is not a refusal, but the error with which Fabric ends a stream that we have ended: the
    /// error that it read.
    pub fn was_answered_with(&self, text: &str) -> bool {
        self.finished.is_cancelled() && text == "EOF"
    }

    /// Signals that we send nothing more. If a write hangs, cancels the stream instead.
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
