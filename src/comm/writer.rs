//! The writer thread of one peer: connects, writes queued messages, reconnects after a loss, and reports the messages
//! it could not write.

use super::conn_store::{Claim, Installed};
use super::connection::Connection;
use super::dial;
use super::event::Event;
use super::outbox::{Item, Unfinished};
use super::peer_entry::{BeginDial, Ended, PeerEntry, Step};
use super::reader;
use super::redial::{self, Decision, Ending};
use super::state::CommState;
use crate::cancel::Cancel;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::atomic::Ordering;
use crate::sync::channel::{bounded, select, Sender};
use crate::sync::thread;
use crate::transport::{Outgoing, Status, StreamEnd};
use bytes::Bytes;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Starts the writer of a new entry.
///
/// # Errors
/// [`ErrorKind::Full`]: no thread can be started.
pub(super) fn start(comm: &Arc<CommState>, peer: &Arc<PeerEntry>) -> Result<()> {
    let writer = Writer {
        comm: comm.clone(),
        peer: peer.clone(),
        hand: VecDeque::new(),
        redialled_at: None,
        leave_by: Cell::new(None),
    };
    comm.spawn("gossip-write", move || writer.run())
}

struct Writer {
    comm: Arc<CommState>,
    peer: Arc<PeerEntry>,
    /// Messages taken out of the queue and not written yet.
    hand: VecDeque<Item>,
    /// Number of settled messages at the last redial. If it has not grown since, another dial would not help.
    redialled_at: Option<u64>,
    /// While the entry is being closed: time after which unwritten messages are given up.
    leave_by: Cell<Option<Instant>>,
}

/// The messages in the writer's hand, while they are being written to this connection.
struct Batch<'a> {
    writer: &'a mut Writer,
    conn: &'a Arc<Connection>,
    /// Number of messages, at the front of the hand, that were passed to the stream and are not known to be written.
    under_way: usize,
    /// Number and bytes of messages that were written and are not settled yet.
    written: (usize, usize),
    /// Small items that were written.
    spent: Vec<Item>,
}

impl<'a> Batch<'a> {
    fn new(writer: &'a mut Writer, conn: &'a Arc<Connection>, under_way: usize) -> Self {
        Batch { writer, conn, under_way, written: (0, 0), spent: Vec::new() }
    }

    /// Settles what was written, before anything that may block.
    fn settle(&mut self) {
        let (messages, bytes) = std::mem::take(&mut self.written);
        if messages > 0 {
            self.writer.comm.count_written(self.conn, messages);
            self.writer.peer.outbox.settle(messages, bytes);
        }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl Outgoing for Batch<'_> {
    fn next(&mut self) -> Option<Bytes> {
        self.settle();
        let Writer { comm, peer, hand, .. } = &mut *self.writer;
        if !peer.writes_to(self.conn) || self.conn.is_finished() {
            return None;
        }
        if peer.closing.is_cancelled() && matches!(peer.step(), Step::Close) {
            return None;
        }
        if hand.len() == self.under_way {
            let queued = peer.outbox.take_queued(hand, &mut self.spent);
            self.spent.clear();
            if queued == 0 {
                return None;
            }
        }
        while let Some(item) = hand.get(self.under_way) {
            if let Some(wire) = item.sending_on(self.conn, &*comm.clock) {
                self.under_way += 1;
                return Some(wire);
            }
            // Nothing to write for this item.
            if let Some(item) = hand.remove(self.under_way) {
                peer.outbox.settle(1, item.len());
            }
        }
        None
    }

    fn written(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
        if let Some(item) = self.writer.hand.pop_front() {
            self.written.0 += 1;
            self.written.1 += item.len();
            if self.conn.probation.is_open() {
                self.settle();
                let Writer { comm, peer, .. } = &*self.writer;
                comm.keep_written(peer, self.conn, item);
            } else if item.is_small() {
                self.spent.push(item);
            }
        }
    }

    fn expired(&mut self) -> bool {
        self.writer.is_overdue()
    }

    /// A write to a peer that reads nothing, or reads slowly, may never end.
    fn poll_interval(&self) -> Duration {
        self.writer.comm.config.conn_timeout / 4
    }
}

/// Whether the writer continues.
#[derive(PartialEq)]
enum Next {
    Continue,
    End,
}

impl Writer {
    fn run(mut self) {
        loop {
            let next = match self.peer.step() {
                Step::Write(conn) => {
                    self.write(&conn);
                    Next::Continue
                }
                Step::Connect(None) if self.peer.outbox.owed() == 0 => {
                    self.await_first();
                    Next::Continue
                }
                Step::Connect(None) => self.connect(),
                Step::Connect(Some(ended)) => self.reconnect(&ended),
                Step::Close => {
                    self.close();
                    Next::End
                }
            };
            if next == Next::End {
                break;
            }
        }
    }

    /// Waits for the message for which the entry was made. It would not be informed of a dial that failed before it was
    /// queued.
    fn await_first(&self) {
        select! {
            recv(self.peer.outbox.woken()) -> _ => {}
            recv(self.peer.closing.signal()) -> _ => {}
        }
    }

    /// Writes for as long as this connection is the one to write to.
    fn write(&mut self, conn: &Arc<Connection>) {
        while self.peer.writes_to(conn) {
            if self.peer.closing.is_cancelled() && matches!(self.peer.step(), Step::Close) {
                return;
            }
            if self.is_overdue() {
                conn.stream.cancel();
                return self.comm.connection_ended(&self.peer, conn, StreamEnd::Local, None);
            }
            if let Some(unfinished) = self.peer.outbox.take(&mut self.hand) {
                self.finish_inline(unfinished);
                continue;
            }
            if self.hand.is_empty() {
                self.idle(conn);
                continue;
            }
            let written = conn.write(&mut Batch::new(self, conn, 0));
            if let Err(end) = written {
                self.write_failed(conn, end);
            }
        }
    }

    /// Waits for the end of an inline write that is under way.
    fn finish_inline(&mut self, (item, conn): Unfinished) {
        self.hand.push_front(item);
        let mut batch = Batch::new(self, &conn, 1);
        let finished = conn.finish_write(&mut batch);
        if finished.is_ok() {
            batch.written();
        }
        drop(batch);
        if let Err(end) = finished {
            self.write_failed(&conn, end);
        }
    }

    /// Handles a failed write, which means that the connection has failed.
    fn write_failed(&self, conn: &Connection, end: StreamEnd) {
        // The reader has the better reason: the peer's status comes after the messages it sent before.
        self.await_end(conn);
        // A reader that has not reached the end by now, on a stalled connection, never would: no other thread can
        // detect it.
        conn.stream.cancel();
        self.comm.connection_ended(&self.peer, conn, end, None);
    }

    /// Returns whether the entry has been closing for longer than the connection timeout.
    fn is_overdue(&self) -> bool {
        if !self.peer.closing.is_cancelled() {
            return false;
        }
        let now = self.comm.clock.now();
        let by = self.leave_by.get().unwrap_or(now + self.comm.config.conn_timeout);
        self.leave_by.set(Some(by));
        by <= now
    }

    /// Waits until the reader has reached the end, within the connection timeout.
    fn await_end(&self, conn: &Connection) {
        select! {
            recv(conn.ended.signal()) -> _ => {}
            recv(self.comm.clock.after(self.comm.config.conn_timeout)) -> _ => {}
            recv(self.comm.cut.signal()) -> _ => {}
        }
    }

    /// Sleeps until there is something to write or to do.
    fn idle(&self, conn: &Connection) {
        if self.peer.closing.is_cancelled() {
            // Everything queued was written. Messages still owed are in an inline write, and its end wakes the writer.
            if self.peer.outbox.owed() == 0 {
                return self.leave(conn);
            }
            let _ = self.peer.outbox.woken().recv();
            return;
        }
        let config = &self.comm.config;
        let Some(at) = self.peer.yield_deadline(&self.comm.handshaker.pki_id, config.conn_timeout) else {
            // Closing wakes the writer as well. A `select!` would contend for the locks of its channels with the thread
            // that wakes it, for every message of a sender that is slower than the writer.
            let _ = self.peer.outbox.woken().recv();
            // If the sender has more to send and no processor to do so, it goes first: its messages are then written
            // together.
            thread::yield_now();
            return;
        };
        let timer = self.comm.clock.after(at.saturating_duration_since(self.comm.clock.now()));
        select! {
            recv(self.peer.outbox.woken()) -> _ => {}
            recv(self.peer.closing.signal()) -> _ => {}
            // Both sides dialled and both streams live: ours is drained and closed in favour of the other.
            recv(timer) -> _ => self.leave(conn),
        }
    }

    /// Ends a connection so that nothing written to it is lost: signals that we send nothing more, then reads it to its
    /// end, within the connection timeout. Messages that the peer has not read by then are reported as unconfirmed.
    fn leave(&self, conn: &Connection) {
        conn.finish(&Status::ok());
        self.await_end(conn);
        if !conn.ended.is_cancelled() {
            self.comm.unconfirmed(conn, "closed by us, and the peer did not close its side in time");
        }
        conn.stream.cancel();
        self.comm.connection_ended(&self.peer, conn, StreamEnd::Local, None);
    }

    fn connect(&mut self) -> Next {
        let (endpoint, expected, cancel) = match self.peer.begin_dial() {
            BeginDial::Connected => return Next::Continue,
            BeginDial::NoEndpoint => {
                let text = "not connected, and no endpoint to dial is known";
                return self.unreachable(Error::new(ErrorKind::Unreachable, text).with_step("dial"));
            }
            BeginDial::Dial { endpoint, expected, cancel } => (endpoint, expected, cancel),
        };
        let _close = self.peer.closing.on_cancel({
            let cancel = cancel.clone();
            move || cancel.cancel()
        });
        let confirm = self.peer.outbox.wants_confirmation();
        let dial = match dial::open(&self.comm, &endpoint, expected.as_ref(), &cancel, confirm) {
            Ok(dial) => dial,
            Err(e) => return self.dial_failed(e, &endpoint),
        };
        match &dial.peer {
            None => self.peer.conn_sent(self.comm.clock.now()),
            Some(answered) => {
                let at = self.comm.clock.now();
                match self.comm.store.claim(&self.peer, &answered.info.id, &mut self.hand, at) {
                    Claim::Granted => {}
                    Claim::Joined => {
                        dial.stream.cancel();
                        return self.joined();
                    }
                    Claim::Later(over) => {
                        dial.stream.cancel();
                        self.has_inbound();
                        return self.await_leaving(&over);
                    }
                    Claim::Unwanted => {
                        dial.stream.cancel();
                        self.has_inbound();
                        return Next::Continue;
                    }
                }
            }
        }
        // Before our connection message is sent: without a reader, the connection could only be closed again.
        let (connected, connection) = bounded::<(Arc<PeerEntry>, Arc<Connection>)>(1);
        let reader = {
            let comm = self.comm.clone();
            move || {
                if let Ok((peer, conn)) = connection.recv() {
                    reader::read(&comm, &peer, &conn);
                }
            }
        };
        let finished = self.comm.spawn("gossip-read", reader).and_then(|()| dial.finish(&self.comm));
        match finished {
            Ok(conn) => self.install(Arc::new(conn), endpoint, &connected),
            Err(e) => self.dial_failed(e, &endpoint),
        }
    }

    fn dial_failed(&mut self, error: Error, endpoint: &str) -> Next {
        let again = self.peer.dials_again();
        if self.has_inbound() || again || self.peer.closing.is_cancelled() {
            return Next::Continue;
        }
        self.unreachable(error.with_peer(endpoint))
    }

    /// Handles a dial without a result. Returns whether a stream of the peer arrived meanwhile, which is written to
    /// then.
    fn has_inbound(&self) -> bool {
        let inbound = self.peer.dial_failed();
        if let Some((conn, true)) = &inbound {
            self.comm.publish(Event::Connected { info: conn.info.clone(), dialled: None });
        }
        inbound.is_some()
    }

    /// Another entry now has everything except a message in an inline write.
    fn joined(&mut self) -> Next {
        self.report_owed(Error::new(ErrorKind::Disconnected, "the connection was closed"));
        Next::End
    }

    /// Waits until a connection to the same peer that is being closed has ended.
    fn await_leaving(&self, over: &Cancel) -> Next {
        select! {
            recv(over.signal()) -> _ => {}
            recv(self.peer.closing.signal()) -> _ => {}
        }
        Next::Continue
    }

    fn install(
        &mut self,
        conn: Arc<Connection>,
        endpoint: String,
        reader: &Sender<(Arc<PeerEntry>, Arc<Connection>)>,
    ) -> Next {
        let (target, fresh, displaced) = match self.comm.store.dialled(&self.peer, &conn, &mut self.hand) {
            Installed::Current { peer, fresh, displaced } => (peer, fresh, displaced),
            _ => {
                conn.stream.cancel();
                self.has_inbound();
                return Next::Continue;
            }
        };
        if let Some(old) = displaced {
            self.comm.unconfirmed(&old, "replaced: the peer was dialled under another name");
            old.stream.cancel();
        }
        if fresh {
            self.comm.publish(Event::Connected { info: conn.info.clone(), dialled: Some(endpoint) });
        }
        self.comm.store.open.add(&conn);
        // There is room, and the reader waits for it.
        let _ = reader.try_send((target.clone(), conn));
        if Arc::ptr_eq(&target, &self.peer) {
            return Next::Continue;
        }
        self.joined()
    }

    /// Handles the end of the connection, as [`redial::decide`] determines.
    fn reconnect(&mut self, ended: &Ended) -> Next {
        if ended.dialled && ended.lasted > self.comm.config.conn_timeout {
            self.redialled_at = None;
        }
        let settled = self.peer.outbox.settled();
        let decision = redial::decide(Ending {
            dialled: ended.dialled,
            broke: matches!(ended.end, StreamEnd::Lost(_)),
            refused: ended.end.refusal().is_some(),
            owed: self.peer.outbox.owed() > 0,
            progress: self.redialled_at != Some(settled),
            can_dial: self.peer.can_dial(),
        });
        match decision {
            Decision::Redial => {
                self.redialled_at = Some(settled);
                self.comm.metrics.reconnects.fetch_add(1, Ordering::Relaxed);
                self.connect()
            }
            Decision::GiveUp => self.lost(ended),
            Decision::Ping if self.is_silent() => self.lost(ended),
            Decision::Ping | Decision::Retire => self.retire(),
        }
    }

    /// Handles a peer that cannot be reached again: reports the messages owed, and presumes the peer dead unless it
    /// refused us.
    fn lost(&mut self, ended: &Ended) -> Next {
        if !self.comm.store.remove_unless_connected(&self.peer) {
            return Next::Continue;
        }
        let refused = ended.dialled && ended.end.refusal().is_some();
        let kind = if refused { ErrorKind::Refused } else { ErrorKind::Disconnected };
        let text = ended.end.refusal().map_or_else(|| ended.end.to_string(), str::to_owned);
        self.give_up(Error::new(kind, text));
        if !refused {
            self.comm.presume_dead(self.peer.remote().pki_id);
        }
        Next::End
    }

    /// Removes the entry when nothing is owed, unless something has been queued meanwhile.
    fn retire(&mut self) -> Next {
        if !self.comm.store.remove_if_settled(&self.peer) {
            return Next::Continue;
        }
        self.peer.done.cancel();
        Next::End
    }

    /// Returns whether a Ping to the peer's endpoint is unanswered; `false` if no endpoint is known.
    fn is_silent(&self) -> bool {
        let peer = self.peer.remote();
        self.peer.can_dial()
            && dial::reach(&self.comm, &peer.endpoint, &self.peer.closing).is_err()
            && !self.peer.closing.is_cancelled()
    }

    /// Handles a failed dial: presumes the peer dead and reports the messages still owed.
    fn unreachable(&mut self, error: Error) -> Next {
        if !self.comm.store.remove_unless_connected(&self.peer) {
            return Next::Continue;
        }
        log::info!("{error}");
        self.comm.metrics.dial_failed(error.kind());
        let peer = self.peer.remote();
        let told = Error::new(error.kind(), error.message()).with_peer(&peer).with_step(error.step().unwrap_or("dial"));
        self.give_up(error);
        self.comm.presume_dead(peer.pki_id.clone());
        self.comm.publish(Event::DialFailed { peer, error: Arc::new(told) });
        Next::End
    }

    /// Closes the entry on our side: ends its streams so that written messages arrive, and reports the rest.
    fn close(&mut self) {
        if let Some(unfinished) = self.peer.outbox.take_unfinished() {
            self.finish_inline(unfinished);
        }
        for conn in self.peer.streams() {
            self.leave(&conn);
        }
        self.give_up(Error::new(ErrorKind::Stopped, "closed by us"));
    }

    fn give_up(&mut self, error: Error) {
        self.comm.store.remove(&self.peer);
        self.report_owed(error);
    }

    /// Reports the messages still owed, and that nothing more will be written.
    fn report_owed(&mut self, error: Error) {
        self.peer.outbox.refuse_and_await_inline_write();
        let owed = self.peer.outbox.close(&mut self.hand);
        self.comm.undelivered(&self.peer, error, owed);
        self.peer.done.cancel();
    }
}
