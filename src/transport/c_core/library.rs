//! Initialization and shutdown of the C core: started with the first object, shut down after the last one. Its log
//! lines go to `log`.

use super::headroom;
use crate::error::Result;
use crate::sync::Mutex;
use grpcio_sys::*;
use log::{Level, LevelFilter};
use std::ffi::CStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Once;

/// Keeps the C core initialized. Every object of this module holds one, directly or indirectly.
pub(super) struct Library(());

impl Library {
    /// Initializes the core, or keeps it initialized.
    ///
    /// # Errors
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if the core must be started and too few descriptors or threads are
    /// available.
    pub(super) fn acquire() -> Result<Library> {
        static ONCE: Once = Once::new();
        // No other caller may use the checked resources between the check and the initialization.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock();
        ONCE.call_once(|| {
            // Before the core: this makes OpenSSL register no exit handler. The handler would free memory that the
            // core's threads still use when the process exits with open connections.
            openssl::init();
            // SAFETY: `route` matches the expected signature and stays valid for the whole process.
            unsafe { gpr_set_log_function(Some(route)) };
        });
        let severity = match log::max_level() {
            LevelFilter::Trace => gpr_log_severity::GPR_LOG_SEVERITY_DEBUG,
            LevelFilter::Debug => gpr_log_severity::GPR_LOG_SEVERITY_INFO,
            _ => gpr_log_severity::GPR_LOG_SEVERITY_ERROR,
        };
        // SAFETY: all may be called at any time from any thread; init counts, and `drop` undoes it.
        unsafe {
            gpr_set_log_verbosity(severity);
            if grpc_is_initialized() == 0 {
                headroom::check()?;
            }
            grpc_init();
        }
        Ok(Library(()))
    }
}

impl Drop for Library {
    fn drop(&mut self) {
        // The core counts a thread that did not start, and its shutdown would wait for that thread indefinitely. So it
        // stays initialized for the rest of the process.
        if THREAD_FAILED.load(Ordering::SeqCst) {
            return;
        }
        // SAFETY: pairs with the `grpc_init` of `acquire`.
        unsafe { grpc_shutdown() }
    }
}

/// Keeps the core's event engine alive after a thread failed to start: ending the engine, like the shutdown, waits for
/// such threads. Must be called before destroying a channel or a server, which may be the engine's last user.
pub(super) fn keep_engine_after_failure() {
    static KEPT: Once = Once::new();
    if !THREAD_FAILED.load(Ordering::SeqCst) {
        return;
    }
    KEPT.call_once(|| {
        // SAFETY: the core is initialized while a channel or server exists, and stays so after the failure; the target
        // is static, there are no arguments, and the credentials are released once. The channel never connects, and is
        // never destroyed.
        unsafe {
            let credentials = grpc_insecure_credentials_create();
            grpc_channel_create(c"dns:///localhost:1".as_ptr(), credentials, std::ptr::null());
            grpc_channel_credentials_release(credentials);
        }
    });
}

/// Set when the core could not start one of its threads. The core reports this only in its log.
static THREAD_FAILED: AtomicBool = AtomicBool::new(false);

/// Prefix of that log line.
const THREAD_FAILURE: &[u8] = b"pthread_create failed";

/// Makes OpenSSL register no exit handler. Must be called before the C core is started by other means.
#[cfg(feature = "host-server")]
pub(crate) fn prepare_tls() {
    openssl::init();
}

/// Returns the version of the C core, such as `33.0.0`. (It is numbered independently of gRPC's releases.)
pub fn core_version() -> &'static str {
    // SAFETY: the core returns a static NUL-terminated string; asking needs no initialization.
    unsafe { CStr::from_ptr(grpc_version_string()) }.to_str().unwrap_or("unknown")
}

/// Receives the core's log lines, on any of its threads. It must not call the core. A line that the core logs as error
/// is mostly a peer that failed to connect, and the user of the connection reports that, so it is logged for debugging
/// only.
unsafe extern "C" fn route(args: *mut gpr_log_func_args) {
    // A host's logger that panics must not unwind into the core.
    let _ = std::panic::catch_unwind(|| {
        // SAFETY: the core passes a valid structure with two NUL-terminated strings that live during the call.
        let (args, file, message) = unsafe {
            let args = &*args;
            (args, CStr::from_ptr(args.file), CStr::from_ptr(args.message))
        };
        if message.to_bytes().starts_with(THREAD_FAILURE) {
            THREAD_FAILED.store(true, Ordering::SeqCst);
        }
        let level = match args.severity {
            gpr_log_severity::GPR_LOG_SEVERITY_ERROR | gpr_log_severity::GPR_LOG_SEVERITY_INFO => Level::Debug,
            gpr_log_severity::GPR_LOG_SEVERITY_DEBUG => Level::Trace,
        };
        let file = file.to_string_lossy();
        let file = file.rsplit('/').next().unwrap_or_default();
        log::log!(target: "grpc", level, "{} ({file}:{})", message.to_string_lossy(), args.line);
    });
}
