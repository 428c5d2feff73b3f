//! Subscriptions, and the three ways to receive from them: a blocking call, a callback, a file descriptor to poll.

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

/// A queue of messages or events from the time of subscribing on. Items wait here, within its limits, until they are
/// received: by gossip_subscription_recv, by a callback, or by polling its file descriptor. If several threads receive
/// from the same subscription, each item goes to one of them.
pub struct gossip_subscription {
    shared: Arc<Delivery>,
    callback: Mutex<Option<JoinHandle<()>>>,
}

impl Owned for gossip_subscription {}

struct Delivery {
    /// `None` once it is closed: then no items wait in it, and no publisher waits for it.
    source: Mutex<Option<Arc<dyn Source>>>,
    /// The number of missed items at that time.
    missed: AtomicU64,
    closed: AtomicBool,
    /// Whether the callback must not be called any more, not even with the end.
    freed: AtomicBool,
    ready: Arc<OnceLock<Ready>>,
}

/// A subscription of any item type, seen as one of events.
trait Source: Send + Sync {
    fn try_recv(&self) -> Result<Option<gossip_event>>;
    /// Waits for an item until `closed` is set.
    fn recv(&self, timeout: Option<Duration>, closed: &AtomicBool) -> Result<gossip_event>;
    /// Wakes the receivers after it was closed.
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
    Error::new(ErrorKind::Timeout, "timed out: nothing was received")
}

impl Delivery {
    fn recv(&self, timeout: Option<Duration>) -> Result<gossip_event> {
        let source = self.source.lock().clone().ok_or_else(ended)?;
        let Some(ready) = self.ready.get() else { return source.recv(timeout, &self.closed) };
        // A polling thread calls this until nothing is left: then the descriptor must not be readable any more.
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
        // Not under the lock: it frees the waiting items.
        drop(ended);
        if let Some(ready) = self.ready.get() {
            ready.set();
        }
    }
}

impl gossip_subscription {
    pub(super) fn new<T: ByteSize + Into<gossip_event> + Send + 'static>(of: Subscription<T>) -> gossip_subscription {
        let shared = Delivery {
            source: Mutex::new(Some(Arc::new(of))),
            missed: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            freed: AtomicBool::new(false),
            ready: Arc::default(),
        };
        gossip_subscription { shared: Arc::new(shared), callback: Mutex::new(None) }
    }
}

/// Ends the callback's thread and waits for it, unless it is freed from within the callback.
impl Drop for gossip_subscription {
    fn drop(&mut self) {
        self.shared.freed.store(true, Ordering::SeqCst);
        self.shared.close();
        if let Some(thread) = self.callback.get_mut().take() {
            if thread.thread().id() != thread::current().id() {
                // The thread catches panics.
                let _ = thread.join();
            }
        }
    }
}

/// Behaviour of a full subscription for a new item.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_when_full {
    /// The connection that the item came from waits for space, for at most `wait`. After a wait without success the
    /// subscription drops items until it has space again. (Subscriptions of nodes always drop.)
    GOSSIP_WAIT = 0,
    /// The item is dropped and counted.
    GOSSIP_DROP = 1,
}

/// Limits of a subscription. Set all fields except `size` to zero for the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct gossip_subscription_options {
    /// sizeof(gossip_subscription_options), so that a later version can recognise the host's version of the structure.
    pub size: usize,
    /// Maximum number of messages that wait to be received; 0 means 1,024.
    pub capacity: usize,
    /// Maximum number of bytes that wait to be received; 0 means 16 MiB. A single larger message is accepted while
    /// nothing else waits.
    pub bytes: usize,
    /// A gossip_when_full.
    pub when_full: u32,
    /// Maximum time for which a connection waits for space, in nanoseconds; 0 means one second.
    pub wait: gossip_duration,
}

/// Upper limit for the capacity of a subscription.
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
            return Err(super::invalid(format!("options.when_full is {full}, which is not a gossip_when_full")));
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

/// Returns whether a subscription wants this event, which is lent for the duration of the call. Called on the threads
/// that read the connections (for nodes: on the node's own thread), several at the same time. It must not block.
pub type gossip_predicate = Option<unsafe extern "C" fn(user: *mut c_void, event: *const gossip_event) -> bool>;

/// Receives events one by one, each lent for the duration of the call; gossip_event_clone keeps one. A last call with
/// NULL means that the subscription has ended and no more events follow. It must return: no exception, no longjmp.
pub type gossip_event_callback = Option<unsafe extern "C" fn(user: *mut c_void, event: *const gossip_event)>;

/// Returns the next message or event. Free it with gossip_event_free. Blocks for at most `timeout`; 0 does not block.
/// GOSSIP_TIMEOUT: there is none yet. GOSSIP_STOPPED: the comm or node was stopped and everything left was received, or
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

/// Returns a file descriptor that is readable while there is something to receive, and after the subscription has
/// ended. It is meant for poll, epoll, kqueue and libraries on top of them. When it is readable, call
/// gossip_subscription_recv with timeout 0, once or until it returns GOSSIP_TIMEOUT; only then it stops being readable.
/// It may be readable with nothing to receive. It belongs to the subscription: only poll it, do not read from it or
/// close it, and stop polling it before the subscription is freed.
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
            // If two threads get here at the same time, one value is used and the other is dropped.
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

/// Passes every event to `callback`, one at a time, on a separate thread of this subscription, named `gossip-callback`.
/// The callback may take long, may call the library, may stop the comm or node, and may free the subscription, after
/// which it is not called again. `free` is called on `user` afterwards. A subscription has at most one callback. Events
/// that another thread receives meanwhile do not reach the callback.
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
            return Err(super::invalid("the subscription already has a callback"));
        }
        // Handed over to the thread only once it runs: after a failure `user` is still the caller's.
        let (hand_over, handed) = std::sync::mpsc::sync_channel::<User>(1);
        let shared = subscription.shared.clone();
        let thread = spawn("gossip-callback", move || {
            let Ok(user) = handed.recv() else { return };
            quietly((), || {
                while let Ok(event) = shared.recv(None) {
                    // SAFETY: the host's function, called with its own pointer; the event lives during the call.
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

/// Ends the subscription and frees the waiting items. A thread that waits in gossip_subscription_recv gets
/// GOSSIP_STOPPED, a callback its last call, and no connection waits for space in it any more. The handle must still be
/// freed.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_close(subscription: *const gossip_subscription) {
    super::look(subscription, (), |subscription| subscription.shared.close());
}

/// Returns the number of matching messages or events that were dropped because the subscription was full.
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

/// Returns the number of items that wait to be received.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_len(subscription: *const gossip_subscription) -> usize {
    super::look(subscription, 0, |subscription| {
        let source = subscription.shared.source.lock().clone();
        source.map_or(0, |source| source.len())
    })
}

/// Frees the subscription and the waiting items. With a callback it blocks until the callback has returned, after which
/// it is not called again; from within the callback it does not block. May be called before or after its comm or node
/// is freed. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_subscription_free(subscription: *mut gossip_subscription) {
    gossip_subscription::free(subscription);
}
