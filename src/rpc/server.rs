//! The accepting side: one thread that accepts calls, one for each stream that is served.

use super::call::Call;
use super::credentials::{ServerCredentials, Tls};
use super::library::Library;
use super::options::Options;
use super::peer::Peer;
use super::queue::PluckQueue;
use super::slice;
use super::status::{code, End, Status};
use super::stream::Stream;
use crate::error::{Error, ErrorKind, Result};
use bytes::Bytes;
use crossbeam_channel::{bounded, Receiver};
use grpcio_sys::*;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::ffi::{c_void, CString};
use std::net::TcpListener;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr::null_mut;
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Serves one stream, on a thread of its own; the stream ends with the status that it returns.
pub type Handler = Box<dyn Fn(Arc<Stream>) -> Status + Send + Sync>;

/// What a method does.
pub enum Method {
    /// Answers a request.
    Unary(Box<dyn Fn(Bytes) -> Result<Bytes, Status> + Send + Sync>),
    /// Serves streams.
    Stream(Handler),
}

/// How long a client may take to send the request of a unary call.
const REQUEST: Duration = Duration::from_secs(5);

/// A running server. Dropping it stops it, without grace.
pub struct Server {
    shared: Arc<Shared>,
    local_addr: String,
    running: Mutex<Option<Running>>,
}

struct Running {
    core: Arc<Core>,
    accept: JoinHandle<()>,
    /// Disconnected when the accepting thread has released the server.
    done: Receiver<()>,
}

struct Shared {
    options: Options,
    methods: HashMap<String, Method>,
    tls: Option<Tls>,
    served: Mutex<Served>,
    /// A stream was served to its end.
    ended: Condvar,
}

#[derive(Default)]
struct Served {
    stopping: bool,
    next_id: u64,
    running: HashMap<u64, Task>,
    ended: Vec<JoinHandle<()>>,
}

struct Task {
    stream: Weak<Stream>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts to listen on `ip:port` or `name:port`; port 0 takes a free one, an empty host means all addresses.
    /// `methods` are full paths, `/package.Service/Method`; calls of others end with UNIMPLEMENTED.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] if address or options are malformed; [`ErrorKind::Unreachable`] if the address cannot be
    /// bound, with the system's reason; [`ErrorKind::Internal`] if no thread can be started.
    pub fn start(listen: &str, options: Options, tls: Option<Tls>, methods: Vec<(String, Method)>) -> Result<Server> {
        options.validate()?;
        let (host, port) = parse_listen(listen)?;
        let core = Core::bind(&host, port, &options, tls.clone())?;
        let local_addr = format!("{host}:{}", core.port);
        let core = Arc::new(core);
        let methods = methods.into_iter().collect();
        let served = Mutex::new(Served::default());
        let shared = Arc::new(Shared { options, methods, tls, served, ended: Condvar::new() });
        let (alive, done) = bounded(0);
        let accepting = (core.clone(), shared.clone());
        let accept = thread::Builder::new().name("gossip-accept".into()).spawn(move || {
            let (core, shared) = accepting;
            accept(&core, &shared);
            // In this order: the server is released when whoever waits for it goes on.
            drop(core);
            drop(alive);
        });
        let accept = match accept {
            Ok(thread) => thread,
            Err(e) => {
                core.shut_down();
                core.drain();
                return Err(Error::new(ErrorKind::Internal, format!("cannot start a thread: {e}")).source(e));
            }
        };
        Ok(Server { shared, local_addr, running: Mutex::new(Some(Running { core, accept, done })) })
    }

    /// The address with the port that was bound.
    pub fn local_addr(&self) -> &str {
        &self.local_addr
    }

    /// How many streams are being served.
    pub fn serving(&self) -> usize {
        self.shared.served.lock().running.len()
    }

    /// Stops: no more calls are accepted; streams may end by themselves for `grace`, then they are cancelled (their
    /// clients see UNAVAILABLE). Blocks until all is released and every thread has ended, for at most the grace and
    /// [`Options::keepalive_timeout`] and 2 s: that long a frozen client can hold its connection. What is not over by
    /// then (a handler that does not return, say) ends later on its own threads. Calling it again does nothing; calling
    /// it from a handler does not wait for that handler. Returns whether all ended in time.
    pub fn stop(&self, grace: Duration) -> bool {
        let Some(Running { core, accept, done }) = self.running.lock().take() else { return true };
        core.shut_down();
        self.shared.served.lock().stopping = true;
        self.shared.await_served(Instant::now() + grace);
        let bound = Instant::now() + self.shared.options.write_bound();
        let streams: Vec<_> = self.shared.served.lock().running.values().map(|task| task.stream.clone()).collect();
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.mark_cancelled());
        core.cancel_all();
        drop(core);
        let mut in_time = self.shared.await_served(bound);
        self.shared.join_ended();
        if done.recv_deadline(bound).is_err_and(|e| e.is_disconnected()) {
            in_time &= accept.join().is_ok();
        } else {
            in_time = false;
        }
        if !in_time {
            log::warn!("server {}: some calls or connections are still ending after the stop", self.local_addr);
        }
        in_time
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl Shared {
    /// Waits until no stream is served, except by the calling thread. Whether that is so.
    fn await_served(&self, until: Instant) -> bool {
        let me = thread::current().id();
        let mut served = self.served.lock();
        loop {
            let mine = |task: &Task| task.thread.as_ref().is_some_and(|thread| thread.thread().id() == me);
            if served.running.values().all(mine) {
                return true;
            }
            if self.ended.wait_until(&mut served, until).timed_out() {
                return served.running.values().all(mine);
            }
        }
    }

    /// Joins the threads that have served their stream.
    fn join_ended(&self) {
        let ended = std::mem::take(&mut self.served.lock().ended);
        for thread in ended {
            // A handler's panic was caught before.
            let _ = thread.join();
        }
    }

    /// Serves one accepted call, or refuses it. Does not block.
    fn dispatch(self: &Arc<Self>, call: Call, method: &str) {
        let (call, refusal) = if self.methods.contains_key(method) {
            let call = Arc::new(call);
            match self.serve(call.clone(), method.to_owned()) {
                Ok(()) => return,
                Err(refusal) => (call, refusal),
            }
        } else {
            (Arc::new(call), Status::new(code::UNIMPLEMENTED, format!("unknown method {method}")))
        };
        // That even this cannot be started means that the call is over already.
        let _ = call.refuse(&refusal);
    }

    fn serve(self: &Arc<Self>, call: Arc<Call>, method: String) -> Result<(), Status> {
        // Held to the end, so that the thread finds itself registered.
        let mut served = self.served.lock();
        if served.stopping {
            return Err(Status::new(code::UNAVAILABLE, "the server is stopping"));
        }
        if served.running.len() >= self.options.max_served {
            let text = format!("too many streams: {} are being served", served.running.len());
            return Err(Status::new(code::RESOURCE_EXHAUSTED, text));
        }
        let id = served.next_id;
        served.next_id += 1;
        let peer = Peer {
            remote_addr: call.address(),
            remote_cert: call.certificate(),
            local_cert: self.tls.as_ref().map(Tls::server_cert),
            tls: self.tls.is_some(),
        };
        let stream = Arc::new(Stream::accepted(call, peer, self.options.spin));
        let weak = Arc::downgrade(&stream);
        let shared = self.clone();
        let thread = thread::Builder::new().name(format!("gossip-in-{}", id % 100_000));
        let thread = thread.spawn(move || {
            shared.run(stream, &method);
            shared.ended(id);
        });
        match thread {
            Ok(thread) => {
                served.running.insert(id, Task { stream: weak, thread: Some(thread) });
                Ok(())
            }
            Err(e) => Err(Status::new(code::RESOURCE_EXHAUSTED, format!("cannot start a thread for the stream: {e}"))),
        }
    }

    /// The life of a stream's thread.
    fn run(&self, stream: Arc<Stream>, method: &str) {
        let Some(method_of) = self.methods.get(method) else { return };
        if !stream.begin() {
            return;
        }
        let served = catch_unwind(AssertUnwindSafe(|| match method_of {
            Method::Stream(handler) => handler(stream.clone()),
            Method::Unary(answer) => answer_request(&stream, answer),
        }));
        let status = served.unwrap_or_else(|_| {
            log::error!("the handler of {method} panicked; the stream ends with INTERNAL");
            Status::new(code::INTERNAL, "the handler failed")
        });
        // An error means that the stream is over already.
        let _ = stream.finish(&status);
    }

    fn ended(&self, id: u64) {
        let mut served = self.served.lock();
        if let Some(thread) = served.running.remove(&id).and_then(|task| task.thread) {
            served.ended.push(thread);
        }
        self.ended.notify_all();
    }
}

/// Reads a request to its end before it answers: a client that is still sending may otherwise miss the answer.
fn answer_request(stream: &Stream, answer: impl Fn(Bytes) -> Result<Bytes, Status>) -> Status {
    let Ok(Some(request)) = stream.recv(Some(REQUEST)) else {
        return Status::new(code::INTERNAL, "no request came");
    };
    if !matches!(stream.recv(Some(REQUEST)), Err(End::Remote(_))) {
        return Status::new(code::INTERNAL, "a unary call takes one request");
    }
    match answer(request) {
        Ok(message) => {
            // If that fails, so does the status that follows.
            let _ = stream.send(message, false);
            Status::new(code::OK, "")
        }
        Err(status) => status,
    }
}

/// The accepting thread: keeps requests posted, and hands over what they bring, until the server is shut down and every
/// request came back.
fn accept(core: &Core, shared: &Arc<Shared>) {
    let mut posted = (0..shared.options.requests_ahead).filter(|_| core.request()).count();
    let mut shutting_down = false;
    while !(shutting_down && posted == 0) {
        match core.next() {
            Notice::Shutdown => shutting_down = true,
            Notice::Failed => posted -= 1,
            Notice::Call(call, method) => {
                // Before anything else, so that there is always one posted.
                if shutting_down || !core.request() {
                    posted -= 1;
                }
                shared.dispatch(call, &method);
                shared.join_ended();
            }
        }
    }
}

/// The C core's server, its credentials and its notification queue. Released when dropped, which may only happen after
/// the shutdown was notified and all requests came back.
struct Core {
    raw: *mut grpc_server,
    queue: *mut grpc_completion_queue,
    port: u16,
    /// The core asks these for certificates until the server is destroyed; declared here, they are dropped after that.
    _credentials: ServerCredentials,
    library: Arc<Library>,
}

// SAFETY: servers and queues of the core may be used from any thread.
unsafe impl Send for Core {}
// SAFETY: as above; only the accepting thread waits on the queue.
unsafe impl Sync for Core {}

/// The tag of the shutdown. Requests have the addresses of their boxes, which are never odd.
const SHUTDOWN: usize = 1;

/// A posted request, on the heap until it comes back.
struct Request {
    call: *mut grpc_call,
    details: grpc_call_details,
    metadata: grpc_metadata_array,
    queue: PluckQueue,
}

enum Notice {
    Shutdown,
    Failed,
    Call(Call, String),
}

impl Core {
    fn bind(host: &str, port: u16, options: &Options, tls: Option<Tls>) -> Result<Core> {
        let address = format!("{host}:{port}");
        let malformed = |_| Error::new(ErrorKind::Config, "the address contains a zero byte").step("listen");
        let c_address = CString::new(address.as_str()).map_err(malformed)?;
        let library = Arc::new(Library::acquire());
        let credentials = ServerCredentials::new(tls);
        // SAFETY: the core copies arguments and address and references the credentials; the queue is registered before
        // the start, and the reserved arguments are null.
        let core = unsafe {
            let queue = grpc_completion_queue_create_for_next(null_mut());
            let raw = options.server_args().with(|args| grpc_server_create(args, null_mut()));
            grpc_server_register_completion_queue(raw, queue, null_mut());
            let bound = grpc_server_add_http2_port(raw, c_address.as_ptr(), credentials.raw());
            let port = u16::try_from(bound).unwrap_or(0);
            grpc_server_start(raw);
            Core { raw, queue, port, _credentials: credentials, library }
        };
        if core.port == 0 {
            core.shut_down();
            core.drain();
            return Err(why_not_bound(&address));
        }
        Ok(core)
    }

    /// Posts a request for a call; `false` if the core takes none.
    fn request(&self) -> bool {
        let queue = PluckQueue::new();
        // SAFETY: all-zero is valid for the details and the array, which are then initialized as the core asks. The box
        // stays where it is until its tag comes back. A refused request does not, so its box is released here.
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

    /// Waits for what happens next.
    fn next(&self) -> Notice {
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

    /// Accepts nothing more; `Notice::Shutdown` follows when all calls and connections are gone.
    fn shut_down(&self) {
        // SAFETY: the queue is registered with the server; both live while `self` does.
        unsafe { grpc_server_shutdown_and_notify(self.raw, self.queue, SHUTDOWN as *mut c_void) }
    }

    /// Cancels all calls. Only after `shut_down`.
    fn cancel_all(&self) {
        // SAFETY: the server lives while `self` does.
        unsafe { grpc_server_cancel_all_calls(self.raw) }
    }

    /// Waits for the shutdown of a server that never accepted.
    fn drain(&self) {
        while !matches!(self.next(), Notice::Shutdown) {}
    }
}

impl Drop for Core {
    fn drop(&mut self) {
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
    /// Takes a request back, and the method it brought.
    ///
    /// # Safety
    /// It must be a box of `Core::request`, not taken before, that the core is done with.
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

/// Host and port of an address to listen on. The core would take a port like 99999 and bind another.
fn parse_listen(listen: &str) -> Result<(String, u16)> {
    let malformed = |why: &str| {
        let text = format!("malformed address {listen:?}: {why}; expected ip:port, such as 0.0.0.0:7051");
        Error::new(ErrorKind::Config, text).step("listen")
    };
    let (host, port) = listen.rsplit_once(':').ok_or_else(|| malformed("no port"))?;
    let digits = port.bytes().all(|b| b.is_ascii_digit());
    let port = port.parse().ok().filter(|_| digits).ok_or_else(|| malformed("the port is not from 0 to 65535"))?;
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    match bare {
        Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_err() => {
            Err(malformed("what stands in brackets is not an IPv6 address"))
        }
        None if !host.bytes().all(plain) => Err(malformed("the host is not a name or an address")),
        _ if host.is_empty() => Ok(("0.0.0.0".into(), port)),
        _ => Ok((host.to_owned(), port)),
    }
}

/// The core keeps the reason to itself, so ask the system once more.
fn why_not_bound(address: &str) -> Error {
    let error = Error::new(ErrorKind::Unreachable, "the address cannot be bound; the log line of `grpc` says why");
    match TcpListener::bind(address) {
        Ok(_) => error,
        Err(e) => Error::new(ErrorKind::Unreachable, format!("cannot listen: {e}")).source(e),
    }
    .peer(address)
    .step("listen")
}

#[cfg(test)]
mod tests {
    use super::parse_listen;

    #[test]
    fn addresses_are_checked() {
        for good in ["127.0.0.1:0", "0.0.0.0:7051", ":7051", "[::]:65535", "localhost:1"] {
            assert!(parse_listen(good).is_ok(), "{good}");
        }
        for bad in ["", "h", "127.0.0.1:99999", "127.0.0.1:-1", "127.0.0.1:+1", "::1:7051", "[x]:1", "unix:/a:1"] {
            assert!(parse_listen(bad).is_err(), "{bad:?}");
        }
    }
}
