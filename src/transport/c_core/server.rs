//! The accepting side: one thread accepts calls, and each stream is served on its own thread.

use super::call::Call;
use super::listener::{Listener, Notice};
use super::options::Settings;
use super::poller::Traffic;
use super::rapid_reset::RapidReset;
use super::reaper;
use super::stream::CallStream;
use crate::error::Result;
use crate::sync::{descriptor, spawn, Mutex};
use crate::transport::listen_address::parse;
use crate::transport::serving::Serving;
use crate::transport::{code, Server, Status, Stream, StreamEnd, StreamInfo, Tls};
use bytes::Bytes;
use crossbeam_channel::{bounded, Receiver};
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Serves one stream on a separate thread. The stream ends with the returned status.
pub(super) type Handler = Box<dyn Fn(Arc<CallStream>) -> Status + Send + Sync>;

/// The implementation of a method.
pub(super) enum Method {
    /// Answers a request.
    Unary(Box<dyn Fn(Bytes) -> Result<Bytes, Status> + Send + Sync>),
    /// Serves streams.
    Stream(Handler),
}

/// Time limit for a client to send the request of a unary call.
const REQUEST: Duration = Duration::from_secs(5);

/// A running server.
pub(super) struct CoreServer {
    shared: Arc<Service>,
    local_addr: String,
    running: Mutex<Option<Running>>,
}

struct Running {
    listener: Arc<Listener>,
    accept: JoinHandle<()>,
    /// Disconnected when the accepting thread has released the server.
    done: Receiver<()>,
}

struct Service {
    settings: Settings,
    methods: HashMap<String, Method>,
    tls: Option<Tls>,
    resets: RapidReset,
    traffic: Arc<Traffic>,
    serving: Arc<Serving<CallStream>>,
}

impl CoreServer {
    /// Starts to listen on `ip:port` or `name:port`; port 0 selects a free port, an empty host means all addresses.
    /// `methods` are full paths, `/package.Service/Method`; calls of other methods end with UNIMPLEMENTED.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if the address or the options are malformed;
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) if the address cannot be bound, with the system's
    /// reason; [`ErrorKind::Full`](crate::ErrorKind::Full) if no thread can be started, or if the C core must be
    /// started and too few file descriptors or threads are available.
    pub fn start(listen: &str, settings: Settings, tls: Option<Tls>, methods: Vec<(String, Method)>) -> Result<Self> {
        let (host, port) = parse(listen)?;
        let listener = Listener::bind(&host, port, &settings, tls.clone())?;
        let local_addr = format!("{host}:{}", listener.port);
        let listener = Arc::new(listener);
        let methods = methods.into_iter().collect();
        let shared = Arc::new(Service {
            methods,
            tls,
            resets: RapidReset::new(settings.limits.max_concurrent_streams),
            traffic: listener.traffic().clone(),
            serving: Serving::new(settings.limits.max_served),
            settings,
        });
        let (alive, done) = bounded(0);
        let accepting = (listener.clone(), shared.clone());
        let accept = spawn("gossip-accept", move || {
            let (listener, shared) = accepting;
            accept(&listener, &shared);
            // In this order: the server must be released before a waiting thread continues.
            drop(listener);
            drop(alive);
        });
        let accept = match accept {
            Ok(thread) => thread,
            Err(e) => {
                listener.shut_down();
                listener.drain();
                return Err(e);
            }
        };
        Ok(CoreServer { shared, local_addr, running: Mutex::new(Some(Running { listener, accept, done })) })
    }
}

impl Server for CoreServer {
    fn local_addr(&self) -> &str {
        &self.local_addr
    }

    fn serving(&self) -> usize {
        self.shared.serving.count()
    }

    /// Stops the server. For their clients, cancelled streams end with UNAVAILABLE, or with CANCELLED if the call was
    /// not accepted yet.
    ///
    /// Blocks for at most the sum of the grace,
    /// [`Limits::keepalive_timeout`](crate::transport::Limits::keepalive_timeout) and 2 s: a frozen client can hold its
    /// connection that long. A call from an acceptor does not wait for that acceptor.
    fn stop(&self, grace: Duration) -> bool {
        let Some(Running { listener, accept, done }) = self.running.lock().take() else { return true };
        let serving = &self.shared.serving;
        listener.shut_down();
        serving.refuse();
        serving.await_end(Instant::now() + grace);
        let bound = Instant::now() + self.shared.settings.write_bound();
        serving.streams().iter().for_each(|stream| stream.mark_cancelled());
        listener.cancel_all();
        drop(listener);
        let mut in_time = serving.await_end(bound);
        serving.join_ended();
        if serving.count() > 0 && in_time {
            // Called by an acceptor, whose own call keeps the rest alive until it returns.
            return true;
        }
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

impl Drop for CoreServer {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}

impl Service {
    /// Serves one accepted call, or refuses it. Does not block.
    ///
    /// It does not poll either. A polling thread could be occupied with a hostile client's endless data, and would not
    /// return to count that client's calls.
    fn dispatch(self: &Arc<Self>, call: Call, method: &str) {
        let address = call.address();
        if !self.resets.record_call(&address) {
            return;
        }
        // In tests the connection may be lost, as when the core has no descriptor to accept it.
        if let Err(e) = descriptor("accept") {
            log::warn!("{address}: cannot accept: {e}");
            return;
        }
        let (call, refusal) = if self.methods.contains_key(method) {
            let call = Arc::new(call);
            match self.serve(call.clone(), &address, method.to_owned()) {
                Ok(()) => return,
                Err(refusal) => (call, refusal),
            }
        } else {
            (Arc::new(call), Status::new(code::UNIMPLEMENTED, format!("unknown method {method}")))
        };
        // If even this cannot be started, the call has already ended.
        let _ = call.refuse(&refusal);
        // Collecting polls the connection.
        let mut call = Some(call);
        reaper::hand_over(Box::new(move || {
            drop(call.take());
            true
        }));
    }

    fn serve(self: &Arc<Self>, call: Arc<Call>, address: &str, method: String) -> Result<(), Status> {
        let info = StreamInfo {
            remote_addr: address.to_owned(),
            remote_cert: call.certificate(),
            local_cert: self.tls.as_ref().and_then(Tls::server_cert),
            tls: self.tls.is_some(),
        };
        let options = self.settings.stream_options();
        let stream = Arc::new(CallStream::accepted(call, info, options, self.traffic.clone()));
        let service = self.clone();
        self.serving.serve(address, &stream, move |stream| service.run(stream, &method))
    }

    /// Serves a stream to its end, on its thread.
    fn run(&self, stream: Arc<CallStream>, method: &str) {
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
        if !stream.was_reset() {
            self.resets.served(&stream.info().remote_addr);
        }
        // An error means that the stream has already ended.
        let _ = stream.finish(&status);
    }
}

/// Reads a request to its end before answering it: a client that is still sending may otherwise miss the answer.
fn answer_request(stream: &CallStream, answer: impl Fn(Bytes) -> Result<Bytes, Status>) -> Status {
    let Ok(Some(request)) = stream.recv(Some(REQUEST)) else {
        return Status::new(code::INTERNAL, "no request came");
    };
    if !matches!(stream.recv(Some(REQUEST)), Err(StreamEnd::Remote(_))) {
        return Status::new(code::INTERNAL, "a unary call takes one request");
    }
    match answer(request) {
        Ok(message) => {
            // If that fails, the status that follows fails too.
            let _ = stream.send(message);
            Status::new(code::OK, "")
        }
        Err(status) => status,
    }
}

/// Runs the accepting thread: keeps requests posted and passes on the calls they bring, until the server is shut down
/// and every request was returned.
fn accept(listener: &Listener, shared: &Arc<Service>) {
    let mut posted = (0..shared.settings.options.requests_ahead).filter(|_| listener.request()).count();
    let mut shutting_down = false;
    while !(shutting_down && posted == 0) {
        match listener.next() {
            Notice::Shutdown => shutting_down = true,
            Notice::Failed => posted -= 1,
            Notice::Call(call, method) => {
                // First, so that one request is always posted.
                if shutting_down || !listener.request() {
                    posted -= 1;
                }
                shared.dispatch(call, &method);
                shared.serving.join_ended();
            }
        }
    }
}
