//! Subscriptions, and the three ways to receive from them: waiting, a callback, a file descriptor to poll.

use super::error::{gossip_error, gossip_result};
use super::event::gossip_event;
use super::guard::{guard, quietly};
use super::handle::{self, Out, Owned};
use super::host::{gossip_free_callback, User};
use super::ready::Ready;
use super::{duration, gossip_duration};
use gossip::comm::{ByteSize, Subscription};
use gossip::config::{SubscriptionOptions, WhenFull};
use gossip::error::{Error, ErrorKind, Result};
use gossip::internals::spawn;
use parking_lot::Mutex;
use std::ffi::{c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Messages, or events, from now on. What comes in waits here, within its bounds, until it is received: by
/// gossip_subscription_recv, by a callback, or by polling its file descriptor. Threads that receive from the same one share
/// what comes in.
pub struct gossip_subscription {
    shared: Arc<Shared>,
    callback: Mutex<Option<JoinHandle<()>>>,
}

impl Owned for gossip_subscription {}

struct Shared {
    /// Nothing once it is closed: then nothing waits in it, and no publisher for it.
    source: Mutex<Option<Arc<dyn Source>>>,
    /// What it had missed by then.
    missed: AtomicU64,
    closed: AtomicBool,
    /// The callback is not called any more, not even with the end.
    freed: AtomicBool,
    ready: Arc<OnceLock<Ready>>,
}

/// A subscription of whatever kind, as one of events.
trait Source: Send + Sync {
    fn try_recv(&self) -> Result<Option<gossip_event>>;
    /// Until it is closed.
    fn recv(&self, timeout: Option<Duration>, closed: &AtomicBool) -> Result<gossip_event>;
    /// After it was.
    fn interrupt(&self);
    fn missed(&self) -> u64;
    fn len(&self) -> usize;
    fn on_ready(&self, ready: Arc<OnceLock<Ready>>);
}

impl<T: ByteSize + Into<gossip_event> + Send> Source for Subscription<T> {
    fn try_recv(&self) -> Result<Option<gossip_event>> {
        Ok(Subscription::try_recv(self)?.map(Into::into))
    }

    fn recv(&self, timeout: Option<Duration>, closed: &AtomicBool) -> Result<gossip_event> {
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Subscription::try_recv(self)?.map(Into::into).ok_or_else(nothing);
        }
        let event = self.recv_while(timeout, || !closed.load(Ordering::SeqCst)).map(Into::into);
        event.map_err(|e| if e.kind() == ErrorKind::Timeout { nothing() } else { ended() })
    }

    fn interrupt(&self) {
        Subscription::interrupt(self);
    }

    fn missed(&self) -> u64 {
        Subscription::missed(self)
    }

    fn len(&self) -> usize {
        Subscription::len(self)
    }

    fn on_ready(&self, ready: Arc<OnceLock<Ready>>) {
        Subscription::on_ready(self, move || {
            if let Some(ready) = ready.get() {
                ready.set();
            }
        });
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Stopped, "the subscription has ended")
}

fn nothing() -> Error {
    Error::new(ErrorKind::Timeout, "nothing received in time")
}

impl Shared {
    fn recv(&self, timeout: Option<Duration>) -> Result<gossip_event> {
        let source = self.source.lock().clone().ok_or_else(ended)?;
        let Some(ready) = self.ready.get() else { return source.recv(timeout, &self.closed) };
        // Whoever polls comes here until nothing is left: then the descriptor must not be readable any more.
        if let Some(event) = source.try_recv()? {
            return Ok(event);
        }
        ready.clear();
        let again = if self.closed.load(Ordering::SeqCst) { Err(ended()) } else { source.try_recv() };
        match again {
            Ok(None) if timeout.is_some_and(|timeout| timeout.is_zero()) => Err(nothing()),
            Ok(None) => source.recv(timeout, &self.closed),
            found => {
                ready.set();
                found.and_then(|event| event.ok_or_else(nothing))
            }
        }
    }

    fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let mut source = self.source.lock();
        if let Some(source) = &*source {
            self.missed.store(source.missed(), Ordering::Relaxed);
            source.interrupt();
        }
        let ended = source.take();
        drop(source);
        // Not under the lock: it frees what waited.
        drop(ended);
        if let Some(ready) = self.ready.get() {
            ready.set();
        }
    }
}

impl gossip_subscription {
    pub(super) fn new<T: ByteSize + Into<gossip_event> + Send + 'static>(of: Subscription<T>) -> gossip_subscription {
        let shared = Shared {
            source: Mutex::new(Some(Arc::new(of))),
            missed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            ready: Arc::default(),
        };
        gossip_subscription { shared: Arc::new(shared), callback: Mutex::new(None) }
    }
}

/// Ends the callback's thread, and waits for it; freed from within the callback it does not wait for itself.
impl Drop for gossip_subscription {
    fn drop(&mut self) {
        self.shared.freed.store(true, Ordering::SeqCst);
        self.shared.close();
        if let Some(thread) = self.callback.get_mut().take() {
            if thread.thread().id() != thread::current().id() {
                // It catches what panics.
                let _ = thread.join();
            }
        }
    }
}

/// What a full subscription does to what it has no room for.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_when_full {
    /// The connection it came from waits for room, at most as long as `wait` says. After it has waited in vain the
    /// subscription drops until it has room again. (Subscriptions of nodes always drop.)
    GOSSIP_WAIT = 0,
    /// It is dropped, and counted.
    GOSSIP_DROP = 1,
}

/// Bounds of one subscription. All zero but the size: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_subscription_options {
    /// sizeof(gossip_subscription_options), so that a later version can tell what the host knows of.
    pub size: usize,
    /// Messages that may wait to be received; 0: 1,024.
    pub capacity: usize,
    /// Bytes that may wait to be received; 0: 16 MiB. A single message that is larger is taken while nothing else waits.
    pub bytes: usize,
    /// A gossip_when_full.
    pub when_full: u32,
    /// How long a connection waits for room, in nanoseconds; 0: a second.
    pub wait: gossip_duration,
}

/// More than a subscription can mean to hold.
const MOST: usize = 1 << 24;

pub(super) unsafe fn options(
    options: *const gossip_subscription_options,
) -> super::error::Outcome<SubscriptionOptions> {
    let defaults = SubscriptionOptions::default();
    let Some(options) = handle::get_optional(options, "options")? else { return Ok(defaults) };
    if options.size != size_of::<gossip_subscription_options>() {
        let text = format!("options.size is {}: set it to sizeof(gossip_subscription_options)", options.size);
        return Err(super::invalid(text));
    }
    if options.capacity > MOST {
        return Err(super::invalid(format!("options.capacity is {}; {MOST} is the limit", options.capacity)));
    }
    let when_full = match options.when_full {
        full if full == gossip_when_full::GOSSIP_DROP as u32 => WhenFull::Drop,
        full if full != gossip_when_full::GOSSIP_WAIT as u32 => {
            return Err(super::invalid(format!("options.when_full is {full}, no gossip_when_full")));
        }
        _ if options.wait == super::GOSSIP_FOREVER => WhenFull::Wait(None),
        _ if options.wait == 0 => defaults.when_full,
        _ => WhenFull::Wait(Some(duration(options.wait))),
    };
    let or = |value: usize, default: usize| if value == 0 { default } else { value };
    Ok(SubscriptionOptions::default()
        .capacity(or(options.capacity, defaults.capacity))
        .bytes(or(options.bytes, defaults.bytes))
        .when_full(when_full))
}

/// Whether a subscription wants this event, which is lent for the length of the call. Called on the threads that read the
/// connections (of nodes: on the node's own), several at a time: it must not block.
pub type gossip_predicate = Option<unsafe extern "C" fn(user: *mut c_void, event: *const gossip_event) -> bool>;

/// Receives events one by one, each lent for the length of the call (gossip_event_clone keeps one). A last call has NULL: the
/// subscription has ended, and nothing more comes. It must return: no exception, no longjmp.
pub type gossip_event_callback = Option<unsafe extern "C" fn(user: *mut c_void, event: *const gossip_event)>;

/// The next message or event. To be freed with gossip_event_free. Blocks for at most `timeout`; 0 does not block.
/// GOSSIP_TIMEOUT: there is none yet. GOSSIP_STOPPED: what it came from was stopped and everything left was received, or
/// the subscription was closed.
///
/// Thread-safe.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_recv(
    subscription: *const gossip_subscription,
    timeout: gossip_duration,
    event: *mut *mut gossip_event,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let event = Out::new(event, "event")?;
        let subscription = handle::get(subscription, "subscription")?;
        let timeout = (timeout != super::GOSSIP_FOREVER).then(|| duration(timeout));
        event.give(subscription.shared.recv(timeout)?)
    })
}

/// A file descriptor that is readable while there is something to receive, and from the end on: for poll, epoll, kqueue and
/// what is built on them. When it is readable, call gossip_subscription_recv with timeout 0, once or until it says
/// GOSSIP_TIMEOUT; only then it stops being readable. It may be readable with nothing to receive. It belongs to the
/// subscription: only poll it, do not read from it or close it, and forget it before the subscription is freed.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_fd(
    subscription: *const gossip_subscription,
    fd: *mut c_int,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let fd = Out::new(fd, "fd")?;
        let shared = &handle::get(subscription, "subscription")?.shared;
        if shared.ready.get().is_none() {
            // Of two threads that come at once, one's is used and the other's is dropped.
            let _ = shared.ready.set(Ready::new()?);
            let source = shared.source.lock().clone();
            match source {
                Some(source) => source.on_ready(shared.ready.clone()),
                None => shared.close(),
            }
        }
        fd.set(shared.ready.get().map_or(-1, Ready::fd))
    })
}

/// Has every event given to `callback`, one at a time, on a thread of this subscription's own, named `gossip-callback`. The
/// callback may take long, may call the library, may stop what the subscription is of, and may free the subscription (from
/// then on it is not called again). `free` is called on `user` afterwards. A subscription has one callback at most, and
/// whoever receives from it meanwhile takes what the callback does not get.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_set_callback(
    subscription: *const gossip_subscription,
    callback: gossip_event_callback,
    user: *mut c_void,
    free: gossip_free_callback,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let subscription = handle::get(subscription, "subscription")?;
        let call = callback.ok_or_else(|| super::null("callback"))?;
        let mut running = subscription.callback.lock();
        if running.is_some() {
            return Err(super::invalid("the subscription has a callback already"));
        }
        // Given up to the thread only when it runs: after a failure `user` is still the caller's.
        let (hand_over, handed) = std::sync::mpsc::sync_channel::<User>(1);
        let shared = subscription.shared.clone();
        let thread = spawn("gossip-callback", move || {
            let Ok(user) = handed.recv() else { return };
            quietly((), || {
                while let Ok(event) = shared.recv(None) {
                    // SAFETY: the host's function, with what it was given with; the event lives during the call.
                    unsafe { call(user.pointer, &event) }
                }
                if !shared.freed.load(Ordering::SeqCst) {
                    // SAFETY: as above.
                    unsafe { call(user.pointer, std::ptr::null()) }
                }
            });
        });
        let thread = thread?;
        // Its receiver waits for it.
        let _ = hand_over.send(User::new(user, free));
        *running = Some(thread);
        Ok(())
    })
}

/// Ends it, and frees what waits in it: who waits in gossip_subscription_recv gets GOSSIP_STOPPED, a callback its last call,
/// and no connection waits for room in it any more. It is still to be freed.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_close(subscription: *const gossip_subscription) {
    super::look(subscription, (), |subscription| subscription.shared.close());
}

/// How many matching messages or events it did not get because it was full.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_missed(subscription: *const gossip_subscription) -> u64 {
    super::look(subscription, 0, |subscription| {
        let shared = &subscription.shared;
        let source = shared.source.lock().clone();
        source.map_or_else(|| shared.missed.load(Ordering::Relaxed), |source| source.missed())
    })
}

/// How many wait to be received.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_len(subscription: *const gossip_subscription) -> usize {
    super::look(subscription, 0, |subscription| {
        let source = subscription.shared.source.lock().clone();
        source.map_or(0, |source| source.len())
    })
}

/// Frees it, and what waits in it. With a callback it blocks until that has returned, and after it the callback is not called
/// again; from within the callback it does not block. May come before or after the comm or node that it is of. NULL is
/// nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_free(subscription: *mut gossip_subscription) {
    gossip_subscription::free(subscription);
}
