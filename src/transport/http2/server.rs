//! The accepting side: methods, the connections of a server, and its end.

use super::connection::{time_after, Conn, LINGER};
use super::flow::End;
use super::grpc::{self, Field};
use super::listener::Listener;
use super::options::Settings;
use super::stream::{end_with, Http2Stream};
use crate::error::Result;
use crate::sync::{self, entering_user_code, Condvar, Mutex};
use crate::transport::serving::Serving;
use crate::transport::{code, Server, Status, Stream};
use bytes::Bytes;
use std::collections::HashMap;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Serves one stream on a separate thread. The stream ends with the returned status.
pub type Handler = Box<dyn Fn(Arc<dyn Stream>) -> Status + Send + Sync>;

/// Answers a request. Runs on a thread that does I/O, and must not block.
pub type Answer = Box<dyn Fn(Bytes) -> Result<Bytes, Status> + Send + Sync>;

/// The implementation of a method.
pub enum Method {
    /// One request, one answer.
    Unary(Answer),
    /// A stream of messages in each direction.
    Stream(Handler),
}

impl std::fmt::Debug for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Method::Unary(_) => "Unary",
            Method::Stream(_) => "Stream",
        })
    }
}

/// Margin beyond the time limits of connections within which a stop ends.
const MARGIN: Duration = Duration::from_secs(2);

/// Longest time limit.
const LONGEST: Duration = Duration::from_secs(365 * 86_400);

/// Time between the two GOAWAY frames of a graceful stop: longer than a round trip.
const NOTICE: Duration = Duration::from_millis(100);

/// The methods of a server, and its connections.
pub(super) struct Service {
    methods: HashMap<String, Method>,
    pub serving: Arc<Serving<Http2Stream>>,
    connections: Mutex<HashMap<u64, Weak<Conn>>>,
    /// Signalled when a connection has ended.
    ended: Condvar,
    max_connections: usize,
}

impl Service {
    pub fn new(methods: Vec<(String, Method)>, settings: &Settings) -> Service {
        Service {
            methods: methods.into_iter().collect(),
            serving: Serving::new(settings.limits.max_served),
            connections: Mutex::default(),
            ended: Condvar::new(),
            max_connections: settings.options.max_connections,
        }
    }

    /// Registers a connection. Returns `false` if there are too many.
    pub fn register(&self, conn: &Arc<Conn>) -> bool {
        let mut connections = self.connections.lock();
        if connections.len() >= self.max_connections {
            return false;
        }
        connections.insert(conn.id, Arc::downgrade(conn));
        true
    }

    /// Records that a connection has ended.
    pub fn connection_ended(&self, id: u64) {
        self.connections.lock().remove(&id);
        self.ended.notify_all();
    }

    fn connections(&self) -> Vec<Arc<Conn>> {
        // Upgraded after the lock is released: the last handle may be dropped here.
        let connections: Vec<_> = self.connections.lock().values().cloned().collect();
        connections.iter().filter_map(Weak::upgrade).collect()
    }

    fn await_connections(&self, until: Instant) -> bool {
        let mut connections = self.connections.lock();
        while !connections.is_empty() {
            if self.ended.wait_until(&mut connections, until).timed_out() {
                return connections.is_empty();
            }
        }
        true
    }

    /// Serves a new stream, or refuses it. Does not block.
    pub fn dispatch(self: &Arc<Self>, conn: &Arc<Conn>, id: i32, fields: &[Field]) {
        conn.touch();
        let request = match grpc::read_request(fields) {
            Ok(request) => request,
            Err(response) => return refuse_with(conn, id, &response),
        };
        let Some(method) = self.methods.get(&request.path) else {
            let status = Status::new(code::UNIMPLEMENTED, format!("unknown method {}", request.path));
            return refuse_with(conn, id, &grpc::trailers_only(&status));
        };
        let deadline = request.timeout.and_then(time_after);
        if let Some(at) = deadline {
            conn.set_deadline(id, at);
        }
        match method {
            Method::Unary(_) => conn.await_request(id, request.path),
            Method::Stream(_) => self.serve(conn, id, request.path),
        }
    }

    fn serve(self: &Arc<Self>, conn: &Arc<Conn>, id: i32, method: String) {
        let remote_cert = conn.with(|core| {
            core.users += 1;
            core.remote_cert.clone()
        });
        let stream = Arc::new(Http2Stream::new(conn.clone(), id, remote_cert, None));
        let service = self.clone();
        let run = move |stream: Arc<Http2Stream>| service.run(&stream, &method);
        if let Err(refusal) = self.serving.serve(&conn.remote_addr, &stream, run) {
            // An error means that the stream has already ended.
            let _ = stream.finish(&refusal);
        }
        self.serving.join_ended();
    }

    /// Serves a stream to its end, on its thread.
    fn run(&self, stream: &Arc<Http2Stream>, method: &str) {
        let Some(Method::Stream(handler)) = self.methods.get(method) else { return };
        let served = catch_unwind(AssertUnwindSafe(|| handler(stream.clone())));
        let status = served.unwrap_or_else(|_| {
            log::error!("the handler of {method} panicked; the stream ends with INTERNAL");
            Status::new(code::INTERNAL, "the handler failed")
        });
        // An error means that the stream has already ended.
        let _ = stream.finish(&status);
    }

    /// Answers a unary call whose request is complete, or has ended.
    pub fn answer(&self, conn: &Arc<Conn>, id: i32, method: &str) {
        let Some(Method::Unary(answer)) = self.methods.get(method) else { return };
        let request = conn.with(|core| {
            let session = core.session_mut()?;
            let flow = session.flow(id)?;
            if flow.closed.is_some() {
                session.forget(id);
                return None;
            }
            let whole = flow.half_closed && !flow.is_truncated();
            let request = session.take(id);
            let more = session.flow(id).is_some_and(|flow| flow.has_message());
            Some(request.filter(|_| whole && !more))
        });
        let Some(request) = request else { return };
        let answered = match request {
            Some(request) => {
                entering_user_code();
                answer(request)
            }
            None => Err(Status::new(code::INTERNAL, "a unary call takes one request")),
        };
        conn.with(|core| {
            let Some(session) = core.session_mut() else { return };
            match answered {
                Ok(message) => {
                    session.respond(id, &grpc::response());
                    session.queue(id, message);
                    session.end(id, End::Trailers(grpc::trailers(&Status::ok())));
                }
                Err(status) => end_with(session, id, &status),
            }
            session.forget(id);
        });
    }
}

fn refuse_with(conn: &Arc<Conn>, id: i32, response: &[Field]) {
    conn.with(|core| {
        if let Some(session) = core.session_mut() {
            session.respond_only(id, response);
            session.forget(id);
        }
    });
}

/// A running server.
pub(super) struct Http2Server {
    service: Arc<Service>,
    settings: Arc<Settings>,
    local_addr: String,
    listener: Mutex<Option<Listener>>,
}

impl Http2Server {
    pub fn new(service: Arc<Service>, settings: Arc<Settings>, listener: Listener) -> Http2Server {
        let local_addr = listener.local_addr.clone();
        Http2Server { service, settings, local_addr, listener: Mutex::new(Some(listener)) }
    }
}

impl Server for Http2Server {
    fn local_addr(&self) -> &str {
        &self.local_addr
    }

    fn serving(&self) -> usize {
        self.service.serving.count()
    }

    /// Stops the server. For their clients, cancelled streams are lost with the connection.
    ///
    /// Blocks for at most the sum of the grace,
    /// [`Limits::keepalive_timeout`](crate::transport::Limits::keepalive_timeout) and 2 s. A call from an acceptor does
    /// not wait for that acceptor.
    fn stop(&self, grace: Duration) -> bool {
        let Some(listener) = self.listener.lock().take() else { return true };
        let serving = &self.service.serving;
        serving.refuse();
        listener.stop();
        let until = time_after(grace).unwrap_or_else(|| sync::now() + LONGEST);
        if !grace.is_zero() && serving.count() > 0 {
            for conn in self.service.connections() {
                conn.with(|core| core.session_mut().map(|session| session.announce_shutdown()));
                conn.flush();
            }
            serving.await_end(until.min(sync::now() + NOTICE));
            for conn in self.service.connections() {
                conn.with(|core| core.session_mut().map(|session| session.refuse_further()));
                conn.flush();
            }
            serving.await_end(until);
        }
        let bound = sync::now() + self.settings.limits.keepalive_timeout + MARGIN;
        serving.streams().iter().for_each(|stream| stream.mark_cancelled());
        self.service.connections().iter().for_each(|conn| conn.close(LINGER));
        let mut in_time = serving.await_end(bound);
        serving.join_ended();
        if serving.count() > 0 && in_time {
            // Called by an acceptor, whose own stream ends when it returns.
            return true;
        }
        in_time &= self.service.await_connections(bound);
        if !in_time {
            log::warn!("server {}: some streams or connections are still ending after the stop", self.local_addr);
        }
        in_time
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.stop(Duration::ZERO);
    }
}
