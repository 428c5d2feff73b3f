//! The C core's server: binding, requesting calls, shutdown, release.
//!
//! It uses two threads. A thread that waits on a polling queue also does the I/O of all connections, and does not
//! return while one of them is busy. So one thread ([`Poller`]) only polls, and the other, which receives the calls,
//! always can.

use super::call::Call;
use super::credentials::ServerCredentials;
use super::headroom;
use super::library::{keep_engine_after_failure, Library};
use super::options::{Quota, Settings};
use super::poller::{Poller, Traffic};
use super::queue::CallQueue;
use super::slice;
use crate::error::{Error, ErrorKind, Result};
use crate::sync::descriptor;
use crate::transport::Tls;
use grpcio_sys::*;
use std::ffi::{c_void, CString};
use std::net::TcpListener;
use std::ptr::null_mut;
use std::sync::Arc;

/// The C core's server, its credentials and its notification queue. Released when dropped, which is allowed only after
/// the shutdown was notified and all requests were returned.
pub(super) struct Listener {
    raw: *mut grpc_server,
    /// Delivers the requested calls; does not poll.
    queue: *mut grpc_completion_queue,
    /// Polls; delivers no calls.
    poller: Poller,
    pub(super) port: u16,
    /// The core reads certificates from these until the server is destroyed; declared here, they are dropped after
    /// that.
    _credentials: ServerCredentials,
    /// Kept for later channels. Declared before the library, which it needs.
    _quota: Option<Arc<Quota>>,
    library: Arc<Library>,
}

// SAFETY: servers and queues of the core may be used from any thread.
unsafe impl Send for Listener {}
// SAFETY: as above; only the accepting thread waits on the queue.
unsafe impl Sync for Listener {}

/// Returns a queue whose `next` waits without doing I/O.
fn unpolled() -> *mut grpc_completion_queue {
    let attributes = grpc_completion_queue_attributes {
        version: GRPC_CQ_CURRENT_VERSION as i32,
        cq_completion_type: grpc_cq_completion_type::GRPC_CQ_NEXT,
        cq_polling_type: grpc_cq_polling_type::GRPC_CQ_NON_POLLING,
        cq_shutdown_cb: null_mut(),
    };
    // SAFETY: the attributes are read during the calls, and the reserved argument is null.
    unsafe { grpc_completion_queue_create(grpc_completion_queue_factory_lookup(&attributes), &attributes, null_mut()) }
}

/// Tag of the shutdown. The tags of requests are the addresses of their boxes, which are never odd.
const SHUTDOWN: usize = 1;

/// A posted request, on the heap until the core returns it.
struct Request {
    call: *mut grpc_call,
    details: grpc_call_details,
    metadata: grpc_metadata_array,
    queue: CallQueue,
}

/// Notification to the accepting thread.
pub(super) enum Notice {
    /// Everything is closed.
    Shutdown,
    /// A request was returned without a call.
    Failed,
    /// A new call, and its method.
    Call(Call, String),
}

impl Listener {
    /// Binds an address and starts to listen.
    pub(super) fn bind(host: &str, port: u16, settings: &Settings, tls: Option<Tls>) -> Result<Listener> {
        let address = format!("{host}:{port}");
        let malformed = |_| Error::new(ErrorKind::Config, "the address contains a zero byte").with_step("listen");
        let c_address = CString::new(address.as_str()).map_err(malformed)?;
        descriptor("listen").map_err(|e| cannot_listen(&address, e))?;
        let library = Arc::new(Library::acquire()?);
        let credentials = ServerCredentials::new(tls)?;
        let quota = settings.quota();
        let mut args = settings.server_args();
        args.quota(quota.clone());
        let poller = Poller::start()?;
        // SAFETY: the core copies arguments and address and references the credentials; the queues are registered before
        // the start, the polling one keeps the library, and the reserved arguments are null.
        let core = unsafe {
            let queue = unpolled();
            let raw = args.with(|args| grpc_server_create(args, null_mut()));
            grpc_server_register_completion_queue(raw, queue, null_mut());
            grpc_server_register_completion_queue(raw, poller.queue(), null_mut());
            let bound = grpc_server_add_http2_port(raw, c_address.as_ptr(), credentials.raw());
            let port = u16::try_from(bound).unwrap_or(0);
            grpc_server_start(raw);
            Listener { raw, queue, poller, port, _credentials: credentials, _quota: quota, library }
        };
        if core.port == 0 {
            core.shut_down();
            core.drain();
            return Err(why_not_bound(&address));
        }
        Ok(core)
    }

    /// Returns the read counter of the streams.
    pub(super) fn traffic(&self) -> &Arc<Traffic> {
        self.poller.traffic()
    }

    /// Posts a request for a call. Returns `false` if the core accepts none.
    pub(super) fn request(&self) -> bool {
        let queue = CallQueue::new();
        // SAFETY: all-zero is valid for the details and the array, which are then initialized as the core requires. The
        // box stays in place until its tag is returned. The tag of a refused request is not returned, so its box is
        // released here.
        unsafe {
            let request = Box::into_raw(Box::new(Request {
                call: null_mut(),
                details: std::mem::zeroed(),
                metadata: std::mem::zeroed(),
                queue,
            }));
            grpc_call_details_init(&raw mut (*request).details);
            grpc_metadata_array_init(&raw mut (*request).metadata);
            let result = grpc_server_request_call(
                self.raw,
                &raw mut (*request).call,
                &raw mut (*request).details,
                &raw mut (*request).metadata,
                (*request).queue.raw(),
                self.queue,
                request.cast::<c_void>(),
            );
            if result != grpc_call_error::GRPC_CALL_OK {
                log::error!("the C core takes no more requests: {result:?}");
                drop(Request::take(request));
                return false;
            }
        }
        true
    }

    /// Waits for the next notification.
    pub(super) fn next(&self) -> Notice {
        loop {
            // SAFETY: the queue lives while `self` does, and only the accepting thread (or `drain`) waits on it.
            let event = unsafe { grpc_completion_queue_next(self.queue, gpr_timespec::inf_future(), null_mut()) };
            if event.type_ != grpc_completion_type::GRPC_OP_COMPLETE {
                continue;
            }
            if event.tag as usize == SHUTDOWN {
                return Notice::Shutdown;
            }
            // SAFETY: every other tag is a box of `request`, which comes back once.
            let (request, method) = unsafe { Request::take(event.tag.cast()) };
            if event.success == 0 || request.call.is_null() {
                return Notice::Failed;
            }
            // SAFETY: the new call is bound to this queue, nothing was started on it, and its reference is ours.
            let call = unsafe { Call::new(request.call, request.queue, self.library.clone()) };
            return Notice::Call(call, method);
        }
    }

    /// Stops accepting. `Notice::Shutdown` follows when all calls and connections are gone.
    pub(super) fn shut_down(&self) {
        // SAFETY: the queue is registered with the server; both live while `self` does.
        unsafe { grpc_server_shutdown_and_notify(self.raw, self.queue, SHUTDOWN as *mut c_void) }
    }

    /// Cancels all calls. Allowed only after `shut_down`.
    pub(super) fn cancel_all(&self) {
        // SAFETY: the server lives while `self` does.
        unsafe { grpc_server_cancel_all_calls(self.raw) }
    }

    /// Waits for the shutdown of a server that never accepted.
    pub(super) fn drain(&self) {
        while !matches!(self.next(), Notice::Shutdown) {}
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        keep_engine_after_failure();
        // SAFETY: the shutdown was notified and all requests are back, so the server may be destroyed; then nothing
        // comes to the queue any more.
        unsafe {
            grpc_server_destroy(self.raw);
            grpc_completion_queue_shutdown(self.queue);
            loop {
                let event = grpc_completion_queue_next(self.queue, gpr_timespec::inf_future(), null_mut());
                if event.type_ == grpc_completion_type::GRPC_QUEUE_SHUTDOWN {
                    break;
                }
            }
            grpc_completion_queue_destroy(self.queue);
        }
    }
}

impl Request {
    /// Takes back a request, and returns the method it received.
    ///
    /// # Safety
    /// It must be a box from `Listener::request`, not taken before, that the core no longer uses.
    unsafe fn take(request: *mut Request) -> (Request, String) {
        // SAFETY: by the caller's promise; details and array are ours to destroy once.
        unsafe {
            let mut request = *Box::from_raw(request);
            let method = String::from_utf8_lossy(slice::view(&request.details.method)).into_owned();
            grpc_call_details_destroy(&mut request.details);
            grpc_metadata_array_destroy(&mut request.metadata);
            (request, method)
        }
    }
}

/// Returns the reason for a failed bind. The core does not report it, so this asks the system.
fn why_not_bound(address: &str) -> Error {
    let error = Error::new(
        ErrorKind::Unreachable,
        "the C core cannot listen there; its log at debug level (target `grpc`) says why",
    );
    match TcpListener::bind(address) {
        Ok(_) => error.with_peer(address).with_step("listen"),
        Err(e) => cannot_listen(address, e),
    }
}

fn cannot_listen(address: &str, cause: std::io::Error) -> Error {
    let text = format!("cannot listen: {}", headroom::explain(&cause));
    Error::new(ErrorKind::Unreachable, text).with_peer(address).with_step("listen").with_source(cause)
}
