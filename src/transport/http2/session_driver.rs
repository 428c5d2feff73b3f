//! Drives a session as a connection and its application do, for the fuzzer: bytes of the peer in, bytes for the peer
//! out.

use super::budget::Budget;
use super::flow::End;
use super::grpc::{self, reset};
use super::session::{Event, Session, SessionOptions, Violation};
use crate::transport::Status;
use bytes::Bytes;
use std::sync::Arc;

/// Number of streams that a client may open.
const MAX_STREAMS: u32 = 8;

/// Size in bytes of an answer that fills a window.
const LONG: usize = 100_000;

/// A session of a server or a client, with an application that does something else on each stream.
pub struct SessionDriver {
    session: Session,
    budget: Arc<Budget>,
    server: bool,
    streams: Vec<i32>,
}

impl std::fmt::Debug for SessionDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionDriver").field("server", &self.server).finish_non_exhaustive()
    }
}

impl SessionDriver {
    /// Starts a session. A client opens three streams.
    pub fn new(server: bool) -> SessionDriver {
        let budget = Arc::new(Budget::new(Some(200_000)));
        let options = SessionOptions {
            server,
            max_streams: MAX_STREAMS,
            stream_window: 1 << 20,
            connection_window: 1 << 20,
            max_receive: 1 << 20,
            budget: budget.clone(),
        };
        let session = Session::new(options).expect("memory");
        let mut driver = SessionDriver { session, budget, server, streams: Vec::new() };
        for _ in 0..if server { 0 } else { 3 } {
            let id = driver.session.request(&grpc::request(true, "h:1", "/a/b", None)).expect("a new session");
            driver.session.queue(id, vec![1; LONG].into());
            driver.streams.push(id);
        }
        driver
    }

    /// Takes bytes of the peer, and lets the application react. Returns the text of a violation, after which the session
    /// only sends its last frames.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), String> {
        let received = self.session.receive(bytes);
        if let Err(Violation(text)) = received {
            self.session.terminate(reset::PROTOCOL_ERROR, &text);
            return Err(text);
        }
        for event in self.session.take_events() {
            if let Event::Request(id, fields) = event {
                match grpc::read_request(&fields) {
                    Ok(_) => self.accept(id),
                    Err(response) => {
                        self.session.respond_only(id, &response);
                        self.session.forget(id);
                    }
                }
            }
        }
        for id in self.streams.clone() {
            self.attend(id);
        }
        Ok(())
    }

    fn accept(&mut self, id: i32) {
        self.streams.push(id);
        match id / 2 % 5 {
            0 => self.session.respond(id, &grpc::response()),
            1 => {
                self.session.respond(id, &grpc::response());
                self.session.queue(id, vec![2; LONG].into());
                self.session.end(id, End::Trailers(grpc::trailers(&Status::ok())));
            }
            2 => self.session.respond_only(id, &grpc::trailers_only(&Status::unknown("no"))),
            3 => self.session.reset(id, reset::CANCEL),
            _ => {}
        }
    }

    /// Takes the messages of every other stream, and forgets streams that are closed.
    fn attend(&mut self, id: i32) {
        let takes = id / 2 % 2 == 0;
        if takes {
            self.session.allow(id, 1 << 20);
            let mut messages: Vec<Bytes> = Vec::new();
            self.session.take_many(id, 64 << 10, &mut messages);
            for message in messages {
                self.session.queue(id, message);
            }
        } else {
            self.session.allow(id, 100);
        }
        let Some(flow) = self.session.flow(id) else { return };
        if let (false, Some(last)) = (self.server, &flow.last) {
            let _ = grpc::read_status(flow.head.as_deref(), last);
        }
        if flow.closed.is_some() || (flow.half_closed && !takes) || flow.flaw.is_some() {
            self.session.reset(id, reset::CANCEL);
            self.session.forget(id);
            self.streams.retain(|other| *other != id);
        }
    }

    /// Returns the bytes for the peer up to a batch's size, or the text of a violation.
    pub fn send(&mut self) -> Result<Vec<u8>, String> {
        match self.session.fill() {
            Ok(batch) => Ok(std::mem::take(batch)),
            Err(Violation(text)) => Err(text),
        }
    }

    /// Returns the number of bytes that were received and not taken.
    pub fn held(&self) -> usize {
        self.budget.used()
    }

    /// Returns the number of streams of which the session knows.
    pub fn streams(&mut self) -> usize {
        self.session.flows_mut().count()
    }

    /// Ends the session and returns the number of bytes that its memory budget still counts.
    pub fn finish(self) -> usize {
        let budget = self.budget.clone();
        drop(self);
        budget.used()
    }
}
