//! The work of the thread that drives connections which no other thread reads: the steward, or the acceptor.

use super::connection::{Conn, Effects, LINGER};
use super::session::Session;
use super::socket::Interest;
use super::state::{Core, ReadBuffers, Role};
use crate::sync;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Interval at which withheld window is reconsidered.
const WITHHELD: Duration = Duration::from_millis(100);

impl Conn {
    /// Reads what has arrived. If readers wait for it, they read from now on. If their application does not keep up, the
    /// driver reads again when the connection has been unattended for a while. Otherwise it goes on.
    pub fn drive_read(self: &Arc<Self>) {
        let mut core = self.core.lock();
        if core.role != Role::Armed || core.ended {
            return;
        }
        core.role = Role::Taken;
        drop(core);
        let mut buffers = ReadBuffers::default();
        let received = self.receive(&mut buffers, Some(Duration::ZERO), None);
        let mut core = self.core.lock();
        let effects = self.process(&mut core, buffers, received);
        let unread = core.session().is_some_and(Session::has_unread);
        if core.ended || effects.arrival && (core.waiting > 0 || unread) {
            core.role = Role::Free(sync::now());
            if !core.ended && !std::mem::replace(&mut core.watched, true) {
                self.steward.watch(self);
            }
        } else {
            core.role = Role::Armed;
            core.release_buffers();
        }
        if effects.arrival || effects.window && core.writers > 0 {
            self.changed.notify_all();
        }
        drop(core);
        self.carry_out(effects);
    }

    /// Continues to send: the socket has room again. If another thread has the write turn, that thread continues, and
    /// the driver does not watch for room meanwhile.
    pub fn drive_write(self: &Arc<Self>) {
        self.with(|core| core.blocked = false);
        self.flush();
    }

    /// Reads what has arrived on a connection that has no stream yet, and returns what follows from it.
    pub fn drive_pending(self: &Arc<Self>) -> Effects {
        let mut buffers = ReadBuffers::default();
        let received = self.receive(&mut buffers, Some(Duration::ZERO), None);
        let mut core = self.core.lock();
        let effects = self.process(&mut core, buffers, received);
        // A stranger's connection keeps no buffers while it is silent.
        core.release_buffers();
        drop(core);
        self.flush();
        effects
    }

    /// Takes the read role over for the driver if nobody has used it for `unattended`. Returns `true` if the driver must
    /// register the socket now; `None` if it has to look again.
    pub fn drive_watch(&self, now: Instant, unattended: Duration) -> Option<bool> {
        let mut core = self.core.lock();
        match core.role {
            _ if core.ended => {
                core.watched = false;
                Some(false)
            }
            Role::Taken => None,
            Role::Free(since) if now.saturating_duration_since(since) < unattended => None,
            Role::Free(_) => {
                core.watched = false;
                core.role = Role::Armed;
                core.release_buffers();
                Some(true)
            }
            // A thread has registered the socket.
            Role::Armed => {
                core.watched = false;
                Some(false)
            }
        }
    }

    /// Marks the read role as the driver's, before the connection is used by threads.
    pub fn drive_first(&self) {
        self.core.lock().role = Role::Armed;
    }

    /// Returns what the driver has to wait for.
    pub fn interest(&self) -> Interest {
        let core = self.core.lock();
        Interest { read: core.role == Role::Armed && !core.ended, write: core.blocked && !core.ended }
    }

    /// Does what is due at this time. Returns when it must be called again; `None` if the connection is over.
    pub fn drive_timers(self: &Arc<Self>, now: Instant) -> Option<Instant> {
        // Closing has three steps, each of which may have to send something.
        for _ in 0..3 {
            let (next, flush) = self.with(|core| self.timers(core, now));
            if !flush {
                return next;
            }
            self.flush();
        }
        Some(now)
    }

    fn timers(&self, core: &mut Core, now: Instant) -> (Option<Instant>, bool) {
        if core.ended {
            return (None, false);
        }
        if core.closing.is_none() && core.failure.is_some() {
            core.close(LINGER);
            self.changed.notify_all();
        }
        if let Some(at) = core.closing {
            if at <= now {
                core.end("the connection was closed by us");
                return (None, false);
            }
            let sent = !core.wants_write() && core.encrypted == core.written;
            if sent && !core.shut {
                core.shut = true;
                core.wire.close();
                return (Some(at), true);
            }
            if sent {
                self.socket.shut_down_write();
            }
            return (Some(at), !sent && !core.blocked);
        }
        let limits = &self.settings.limits;
        let mut flush = false;
        if core.pinged.is_some_and(|at| now >= at + limits.keepalive_timeout) {
            core.end("keepalive: the peer did not answer a ping in time");
            self.changed.notify_all();
            return (None, false);
        }
        let mut next = match core.pinged {
            Some(at) => at + limits.keepalive_timeout,
            None if now >= core.heard + limits.keepalive_time => {
                if let Some(session) = &mut core.session {
                    session.ping();
                }
                core.pinged = Some(now);
                flush = true;
                now + limits.keepalive_timeout
            }
            None => core.heard + limits.keepalive_time,
        };
        if self.service.is_some() && core.users == 0 {
            let until = core.idle_since + limits.max_connection_idle;
            if now >= until {
                core.close(LINGER);
                self.changed.notify_all();
                return (Some(now + LINGER), true);
            }
            next = next.min(until);
        }
        let (expired, deadline) = core.expire(now);
        if expired {
            self.changed.notify_all();
            flush = true;
        }
        next = deadline.map_or(next, |at| next.min(at));
        if let Some(session) = &mut core.session {
            let budget = &self.settings.budget;
            if session.return_withheld(false) || budget.may_overdraw(self.id) && session.return_withheld(true) {
                budget.stop_overdrawing(self.id);
            } else {
                next = next.min(now + WITHHELD);
            }
            flush |= session.wants_write() && !core.blocked;
        }
        core.look_at = next;
        (Some(next), flush)
    }

    /// Ends the connection for good; the driver has forgotten it.
    pub fn drive_end(&self) {
        let mut core = self.core.lock();
        core.end("the connection was closed by us");
        drop(core);
        self.settings.budget.stop_overdrawing(self.id);
        self.socket.shut_down();
        self.changed.notify_all();
        if let Some(service) = &self.service {
            service.connection_ended(self.id);
        }
    }
}
