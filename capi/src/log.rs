//! Passes the library's log to the host.

use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::host::{gossip_free_callback, User};
use super::text::gossip_str;
use gossip::error::{Error, ErrorKind};
use gossip::internals::LibraryThread;
use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::RwLock;
use std::cell::Cell;
use std::ffi::c_void;
use std::sync::Arc;

/// Severity of a log line.
#[repr(u32)]
#[derive(Clone, Copy)]
pub enum gossip_log_level {
    /// As a limit: no lines.
    GOSSIP_LOG_OFF = 0,
    /// An error.
    GOSSIP_LOG_ERROR = 1,
    /// A possible error.
    GOSSIP_LOG_WARN = 2,
    /// Information for operators.
    GOSSIP_LOG_INFO = 3,
    /// Information for developers.
    GOSSIP_LOG_DEBUG = 4,
    /// All lines.
    GOSSIP_LOG_TRACE = 5,
}

/// Receives a log line: its level, the part of the library that logged it, and the text. Both texts are lent for the
/// duration of the call and do not end with a zero byte. Called on any thread, several at the same time, and, for lines
/// of the C core, from within it. Therefore the callback may call the stop functions, which then return immediately,
/// and functions that do not involve a comm, a node or a subscription; it must not call any others. Lines that the
/// library logs because of the callback's own calls are discarded. It must return: no exception, no longjmp.
pub type gossip_log_callback =
    Option<unsafe extern "C" fn(user: *mut c_void, level: gossip_log_level, target: gossip_str, text: gossip_str)>;

struct Sink {
    call: unsafe extern "C" fn(*mut c_void, gossip_log_level, gossip_str, gossip_str),
    user: User,
}

struct HostLog(RwLock<Option<Arc<Sink>>>);

/// The only state that belongs to the process and not to a handle, because `log` has one logger.
static HOST_LOG: HostLog = HostLog(RwLock::new(None));

thread_local! {
    /// Whether this thread is in the callback.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Log for HostLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(sink) = self.0.read().clone() else { return };
        if INSIDE.replace(true) {
            return;
        }
        // The thread may be anywhere in the library or in the C core, so a stop cannot wait for it.
        let _marked = LibraryThread::mark();
        let text = record.args().to_string();
        let level = match record.level() {
            Level::Error => gossip_log_level::GOSSIP_LOG_ERROR,
            Level::Warn => gossip_log_level::GOSSIP_LOG_WARN,
            Level::Info => gossip_log_level::GOSSIP_LOG_INFO,
            Level::Debug => gossip_log_level::GOSSIP_LOG_DEBUG,
            Level::Trace => gossip_log_level::GOSSIP_LOG_TRACE,
        };
        // SAFETY: the host's function, called with its own pointer; its arguments live during the call.
        unsafe { (sink.call)(sink.user.pointer, level, gossip_str::lend(record.target()), gossip_str::lend(&text)) }
        INSIDE.set(false);
    }

    fn flush(&self) {}
}

/// Passes the library's log to `callback`, up to `max_level`, a gossip_log_level. There is one callback for the whole
/// process: a further call replaces it, and NULL removes it. `free` is called on the old `user` once no thread is in
/// the callback any more. Keys and the content of messages are never logged. GOSSIP_CONFIG: the program is a Rust
/// program that has already set a logger.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_set_log_callback(
    callback: gossip_log_callback,
    max_level: u32,
    user: *mut c_void,
    free: gossip_free_callback,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let limits = [
            (gossip_log_level::GOSSIP_LOG_OFF, LevelFilter::Off),
            (gossip_log_level::GOSSIP_LOG_ERROR, LevelFilter::Error),
            (gossip_log_level::GOSSIP_LOG_WARN, LevelFilter::Warn),
            (gossip_log_level::GOSSIP_LOG_INFO, LevelFilter::Info),
            (gossip_log_level::GOSSIP_LOG_DEBUG, LevelFilter::Debug),
            (gossip_log_level::GOSSIP_LOG_TRACE, LevelFilter::Trace),
        ];
        let limit = limits.iter().find(|(level, _)| *level as u32 == max_level);
        let (_, limit) = limit.ok_or_else(|| super::invalid(format!("unknown log level {max_level}")))?;
        let is_ours = || std::ptr::addr_eq(log::logger(), &HOST_LOG);
        if log::set_logger(&HOST_LOG).is_err() && !is_ours() {
            return Err(Error::new(ErrorKind::Config, "the program has already set a logger").into());
        }
        let sink = callback.map(|call| Arc::new(Sink { call, user: User::new(user, free) }));
        log::set_max_level(if sink.is_some() { *limit } else { LevelFilter::Off });
        let old = std::mem::replace(&mut *HOST_LOG.0.write(), sink);
        // Not under the lock: it may call the host's `free`.
        drop(old);
        Ok(())
    })
}
