//! The accepting side: one thread that accepts calls, one for each stream that is served.

use super::call::Call;
use super::credentials::Tls;
use super::listener::{parse, Listener, Notice};
use super::options::Options;
use super::peer::Peer;
use super::poller::Traffic;
use super::reaper;
use super::resets::Resets;
use super::status::{code, End, Status};
use super::stream::Stream;
use crate::error::Result;
use crate::sync::{descriptor, spawn, Condvar, Mutex};
use bytes::Bytes;
use crossbeam_channel::{bounded, Receiver};
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
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
    listener: Arc<Listener>,
    accept: JoinHandle<()>,
    /// Disconnected when the accepting thread has released the server.
    done: Receiver<()>,
}

struct Shared {
    options: Options,
    methods: HashMap<String, Method>,
    tls: Option<Tls>,
    resets: Resets,
    traffic: Arc<Traffic>,
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
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if address or options are malformed;
    /// [`ErrorKind::Unreachable`](crate::ErrorKind::Unreachable) if the address cannot be bound, with the system's reason;
    /// [`ErrorKind::Full`](crate::ErrorKind::Full) if no thread can be started, or the C core has to be started and too few
    /// file descriptors or threads are to be had for it.
    pub fn start(listen: &str, options: Options, tls: Option<Tls>, methods: Vec<(String, Method)>) -> Result<Server> {
        options.validate()?;
        let (host, port) = parse(listen)?;
        let listener = Listener::bind(&host, port, &options, tls.clone())?;
        let local_addr = format!("{host}:{}", listener.port);
        let listener = Arc::new(listener);
        let methods = methods.into_iter().collect();
        let served = Mutex::new(Served::default());
        let resets = Resets::new(options.max_concurrent_streams);
        let shared = Arc::new(Shared {
            options,
            methods,
            tls,
            resets,
            traffic: listener.traffic().clone(),
            served,
            ended: Condvar::new(),
        });
        let (alive, done) = bounded(0);
        let accepting = (listener.clone(), shared.clone());
        let accept = spawn("gossip-accept", move || {
            let (listener, shared) = accepting;
            accept(&listener, &shared);
            // In this order: the server is released when whoever waits for it goes on.
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
        Ok(Server { shared, local_addr, running: Mutex::new(Some(Running { listener, accept, done })) })
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
    /// clients see UNAVAILABLE, or CANCELLED where the call was not accepted yet).
    ///
    /// Blocks until all is released and every thread has ended, for at most the grace, [`Options::keepalive_timeout`]
    /// and 2 s: that long a frozen client can hold its connection. What is not over by then (a handler that does not
    /// return, say) ends later on its own threads. Calling it again does nothing; calling it from a handler does not
    /// wait for that handler. Returns whether all ended in time.
    pub fn stop(&self, grace: Duration) -> bool {
        let Some(Running { listener, accept, done }) = self.running.lock().take() else { return true };
        listener.shut_down();
        self.shared.served.lock().stopping = true;
        self.shared.await_served(Instant::now() + grace);
        let bound = Instant::now() + self.shared.options.write_bound();
        let streams: Vec<_> = self.shared.served.lock().running.values().map(|task| task.stream.clone()).collect();
        streams.iter().filter_map(Weak::upgrade).for_each(|stream| stream.mark_cancelled());
        listener.cancel_all();
        drop(listener);
        let mut in_time = self.shared.await_served(bound);
        self.shared.join_ended();
        if !self.shared.served.lock().running.is_empty() && in_time {
            // We are in a handler; its call keeps the rest alive until it returns.
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
    ///
    /// Nor does it poll: then it could be the one who takes what a hostile client sends without end, and not come back to
    /// count its calls.
    fn dispatch(self: &Arc<Self>, call: Call, method: &str) {
        let address = call.address();
        if !self.resets.came(&address) {
            return;
        }
        // In tests the connection may be lost, as where the core has no descriptor to accept it.
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
        // That even this cannot be started means that the call is over already.
        let _ = call.refuse(&refusal);
        // Collecting polls.
        let mut call = Some(call);
        reaper::hand_over(Box::new(move || {
            drop(call.take());
            true
        }));
    }

    fn serve(self: &Arc<Self>, call: Arc<Call>, address: &str, method: String) -> Result<(), Status> {
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
            remote_addr: address.to_owned(),
            remote_cert: call.certificate(),
            local_cert: self.tls.as_ref().and_then(Tls::server_cert),
            tls: self.tls.is_some(),
        };
        let stream = Arc::new(Stream::accepted(call, peer, self.options.stream_options(), self.traffic.clone()));
        let weak = Arc::downgrade(&stream);
        let shared = self.clone();
        let thread = spawn(&format!("gossip-in-{}", id % 100_000), move || {
            shared.run(stream, &method);
            shared.ended(id);
        });
        match thread {
            Ok(thread) => {
                served.running.insert(id, Task { stream: weak, thread: Some(thread) });
                Ok(())
            }
            Err(e) => {
                log::error!("{address}: refused: {e}");
                Err(Status::new(code::RESOURCE_EXHAUSTED, "cannot start a thread for the stream"))
            }
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
        if !stream.was_reset() {
            self.resets.served(&stream.peer().remote_addr);
        }
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
fn accept(listener: &Listener, shared: &Arc<Shared>) {
    let mut posted = (0..shared.options.requests_ahead).filter(|_| listener.request()).count();
    let mut shutting_down = false;
    while !(shutting_down && posted == 0) {
        match listener.next() {
            Notice::Shutdown => shutting_down = true,
            Notice::Failed => posted -= 1,
            Notice::Call(call, method) => {
                // Before anything else, so that there is always one posted.
                if shutting_down || !listener.request() {
                    posted -= 1;
                }
                shared.dispatch(call, &method);
                shared.join_ended();
            }
        }
    }
}
