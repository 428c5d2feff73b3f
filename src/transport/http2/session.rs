//! A safe interface to nghttp2: one HTTP/2 session, without I/O.
//!
//! Bytes of the peer go into [`Session::receive`], bytes for the peer come out of [`Session::fill`]. In between, the
//! session keeps a [`Flow`] for each stream: its queues in both directions and what is known of its end.
//!
//! nghttp2 calls back into [`State`], which only the holder of the session touches. No callback panics, and none
//! receives or sends. An assertion that fails in nghttp2 aborts the process.
// Wraps all of nghttp2's raw interface; every block states why it is sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod callbacks;

use super::budget::Budget;
use super::flow::{End, Flow, FIRST_WINDOW};
use super::framing::PREFIX;
use super::grpc::{reset, Field};
use bytes::Bytes;
use callbacks::{provider, Callbacks};
use libnghttp2_sys::*;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

/// Size in bytes of a batch at which [`Session::fill`] stops: 64 KiB, four TLS records.
pub(super) const BATCH: usize = 64 << 10;

/// Limits of a peer that a session enforces.
const MAX_HEADER_BYTES: usize = 16 << 10;
const MAX_HEADER_FIELDS: usize = 64;
const MAX_CONTINUATIONS: usize = 8;
const MAX_SETTINGS: usize = 32;
const MAX_QUEUED_ACKS: usize = 64;
const MAX_QUEUED_FRAMES: usize = 256;

/// Maximum number of streams that a client may open above the limit before it knows it. None does so afterwards.
const MAX_REFUSED: usize = 256;
const RESETS: (u64, u64) = (20, 1);
const HEADER_TABLE: u32 = 1 << 10;

/// Number of bytes that a connection may receive beyond the memory budget at a time: 64 KiB.
const OVERDRAWN: usize = 64 << 10;

/// Settings of a session.
#[derive(Clone)]
pub(super) struct SessionOptions {
    pub server: bool,
    /// Maximum number of streams that the peer may have open.
    pub max_streams: u32,
    /// Receive window of each stream, in bytes.
    pub stream_window: u32,
    /// Receive window of the connection, in bytes.
    pub connection_window: u32,
    /// Maximum size of a received message, in bytes.
    pub max_receive: usize,
    pub budget: Arc<Budget>,
}

/// Something that a peer did and that is not part of a [`Flow`].
#[derive(Debug)]
pub(super) enum Event {
    /// A client opened a stream.
    Request(i32, Vec<Field>),
    /// The peer sent a PING frame that is no answer.
    Ping,
    /// The peer accepts no further streams.
    GoAway { code: u32, text: String },
}

/// An HTTP/2 session. Every method may be called by one thread at a time.
pub(super) struct Session {
    raw: *mut nghttp2_session,
    /// On the heap, where nghttp2's callbacks find it.
    state: *mut State,
}

// SAFETY: the session and its state are used by whoever owns the `Session`, and belong to no thread.
unsafe impl Send for Session {}

struct State {
    options: SessionOptions,
    /// Frames for the peer.
    batch: Vec<u8>,
    flows: HashMap<i32, Flow>,
    events: Vec<Event>,
    /// The header block that is being received.
    headers: Headers,
    settings_received: bool,
    /// Whether a frame other than PING and WINDOW_UPDATE arrived, and a WINDOW_UPDATE, since the marks were read.
    stirred: bool,
    window_grew: bool,
    /// Whether the headers of a new stream were sent since the mark was read.
    opened: bool,
    /// Bytes of DATA frames that arrived since the last call of `receive`.
    arrived: usize,
    /// Bytes that arrived and for which no connection window was returned yet.
    withheld: usize,
    /// Number of streams above the limit.
    refused: usize,
    /// Whether DATA or HEADERS were sent since the last PING of the peer.
    answered: bool,
    /// The first thing in which the peer violated the protocol or a limit.
    violation: Option<String>,
    /// Whether the session was ended, and no violation is to be reported any more.
    terminated: bool,
}

#[derive(Default)]
struct Headers {
    fields: Vec<Field>,
    bytes: usize,
}

/// The session cannot continue: the peer violated the protocol or a limit, or memory is exhausted.
#[derive(Debug)]
pub(super) struct Violation(pub String);

impl Session {
    /// Creates a session. Its first bytes, preface and SETTINGS, can be read immediately.
    ///
    /// # Errors
    /// Memory is exhausted.
    pub fn new(options: SessionOptions) -> Result<Session, Violation> {
        let state = Box::new(State {
            options: options.clone(),
            batch: Vec::new(),
            flows: HashMap::new(),
            events: Vec::new(),
            headers: Headers::default(),
            settings_received: false,
            stirred: false,
            window_grew: false,
            opened: false,
            arrived: 0,
            withheld: 0,
            refused: 0,
            answered: false,
            violation: None,
            terminated: false,
        });
        let mut session = Session { raw: null_mut(), state: Box::into_raw(state) };
        let mut settings = vec![
            setting(NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, FIRST_WINDOW as u32),
            setting(NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, MAX_HEADER_BYTES as u32),
        ];
        settings.push(match options.server {
            true => setting(NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, options.max_streams),
            false => setting(NGHTTP2_SETTINGS_ENABLE_PUSH, 0),
        });
        let callbacks = Callbacks::new().ok_or_else(out_of_memory)?;
        let option = OptionSet::new().ok_or_else(out_of_memory)?;
        // SAFETY: callbacks and options are valid during the call and copied; the state lives until the session is
        // deleted. The settings are copied.
        let created = unsafe {
            let user_data = session.state.cast::<c_void>();
            let new = if options.server { nghttp2_session_server_new2 } else { nghttp2_session_client_new2 };
            let mut result = new(&mut session.raw, callbacks.0, user_data, option.0);
            if result == 0 {
                result = nghttp2_submit_settings(session.raw, 0, settings.as_ptr(), settings.len());
            }
            if result == 0 {
                let window = options.connection_window as i32;
                result = nghttp2_session_set_local_window_size(session.raw, 0, 0, window);
            }
            result
        };
        match created {
            0 => Ok(session),
            _ => Err(out_of_memory()),
        }
    }

    fn state(&self) -> &State {
        // SAFETY: the state lives as long as `self`, and callbacks use it only during calls that take `&mut self`.
        unsafe { &*self.state }
    }

    fn state_mut(&mut self) -> &mut State {
        // SAFETY: as above; the reference ends before the next call into nghttp2.
        unsafe { &mut *self.state }
    }

    /// Takes bytes of the peer.
    ///
    /// # Errors
    /// The session must end; [`terminate`](Self::terminate) says so to the peer.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<(), Violation> {
        // SAFETY: the bytes are valid during the call, which uses the state through its own pointer.
        let taken = unsafe { nghttp2_session_mem_recv2(self.raw, bytes.as_ptr(), bytes.len()) };
        if taken < 0 {
            return Err(Violation(describe(taken as c_int)));
        }
        self.return_windows();
        if let Some(violation) = self.state_mut().violation.take() {
            return Err(Violation(violation));
        }
        // SAFETY: reads a number.
        let queued = unsafe { nghttp2_session_get_outbound_queue_size(self.raw) };
        if queued > MAX_QUEUED_FRAMES {
            return Err(Violation(format!("{queued} frames are queued in answer to the peer's")));
        }
        Ok(())
    }

    /// Returns the connection window of what arrived, if the memory budget has room, and the window of streams whose long
    /// message the application waits for.
    fn return_windows(&mut self) {
        let state = self.state_mut();
        if state.arrived > 0 {
            state.withheld += std::mem::take(&mut state.arrived);
            let ids: Vec<i32> =
                state.flows.iter().filter(|(_, flow)| flow.window_is_due()).map(|(id, _)| *id).collect();
            for id in ids {
                self.adjust_window(id);
            }
        }
        self.return_withheld(false);
    }

    /// Returns withheld connection window if the memory budget has room; with `overdraw`, a piece of it in any case.
    /// Returns whether nothing is withheld afterwards.
    pub fn return_withheld(&mut self, overdraw: bool) -> bool {
        let state = self.state_mut();
        let size = match (state.options.budget.has_room(), overdraw) {
            (true, _) => state.withheld,
            (false, true) => state.withheld.min(OVERDRAWN),
            (false, false) => 0,
        };
        state.withheld -= size;
        let left = state.withheld;
        if size > 0 {
            // SAFETY: a number; an error is possible only for want of memory.
            unsafe { nghttp2_session_consume_connection(self.raw, size) };
        }
        left == 0
    }

    /// Returns whether connection window is withheld.
    pub fn withholds(&self) -> bool {
        self.state().withheld > 0
    }

    /// Widens the window of a stream, and grants it again for what has arrived of a long message.
    fn adjust_window(&mut self, id: i32) {
        let Some(flow) = self.flow_mut(id) else { return };
        let (widened, due) = flow.take_due();
        if let Some(window) = widened {
            let window = i32::try_from(window).unwrap_or(i32::MAX);
            // SAFETY: numbers; a stream that is closed already makes the call fail.
            unsafe { nghttp2_session_set_local_window_size(self.raw, 0, id, window) };
        }
        self.consume(id, due);
    }

    /// Appends the frames for the peer to the batch until it has [`BATCH`] bytes or nothing is left, and returns it. The
    /// caller empties it.
    ///
    /// # Errors
    /// The session must end: nghttp2 has found a violation, or memory is exhausted.
    pub fn fill(&mut self) -> Result<&mut Vec<u8>, Violation> {
        while self.state().batch.len() < BATCH {
            let mut bytes: *const u8 = null();
            // SAFETY: nghttp2 sets the pointer; what it points to stays valid until the next call.
            let length = unsafe { nghttp2_session_mem_send2(self.raw, &mut bytes) };
            match usize::try_from(length) {
                Err(_) => return Err(Violation(describe(length as c_int))),
                Ok(0) => break,
                Ok(length) => {
                    // SAFETY: as above.
                    let bytes = unsafe { std::slice::from_raw_parts(bytes, length) };
                    self.state_mut().batch.extend_from_slice(bytes);
                }
            }
        }
        // The batch, with a GOAWAY frame of nghttp2's at its end, remains for the next call.
        match self.state_mut().violation.take() {
            Some(violation) => Err(Violation(violation)),
            None => Ok(&mut self.state_mut().batch),
        }
    }

    /// Returns whether there are frames for the peer.
    pub fn wants_write(&self) -> bool {
        // SAFETY: reads the session.
        !self.state().batch.is_empty() || unsafe { nghttp2_session_want_write(self.raw) } != 0
    }

    /// Returns whether the peer's SETTINGS have arrived.
    pub fn settings_received(&self) -> bool {
        self.state().settings_received
    }

    /// Returns what happened since the last call.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.state_mut().events)
    }

    /// Returns whether anything arrived, since the last call of this method, for which a reader may wait: any frame but
    /// PING and WINDOW_UPDATE; and whether a WINDOW_UPDATE arrived, for which a writer may wait.
    pub fn take_stirred(&mut self) -> (bool, bool) {
        let state = self.state_mut();
        (std::mem::take(&mut state.stirred), std::mem::take(&mut state.window_grew))
    }

    /// Returns whether the headers of a new stream were sent since the last call of this method.
    pub fn take_opened(&mut self) -> bool {
        std::mem::take(&mut self.state_mut().opened)
    }

    /// Returns whether DATA or HEADERS were sent since the last call of this method.
    pub fn take_answered(&mut self) -> bool {
        std::mem::take(&mut self.state_mut().answered)
    }

    /// Returns whether a message with content has arrived and was not taken.
    pub fn has_unread(&self) -> bool {
        self.state().flows.values().any(|flow| flow.unread() > 0)
    }

    /// Returns the stream.
    pub fn flow(&self, id: i32) -> Option<&Flow> {
        self.state().flows.get(&id)
    }

    /// Returns the stream.
    pub fn flow_mut(&mut self, id: i32) -> Option<&mut Flow> {
        self.state_mut().flows.get_mut(&id)
    }

    /// Returns all streams.
    pub fn flows_mut(&mut self) -> impl Iterator<Item = (i32, &mut Flow)> {
        self.state_mut().flows.iter_mut().map(|(id, flow)| (*id, flow))
    }

    /// Opens a stream, as a client. It waits if the server's limit of streams is reached.
    ///
    /// # Errors
    /// The peer accepts no further streams, or their numbers are exhausted.
    pub fn request(&mut self, fields: &[Field]) -> Result<i32, Violation> {
        let fields = raw_fields(fields);
        let provider = provider();
        // SAFETY: the fields are valid during the call and copied, as is the provider.
        let id =
            unsafe { nghttp2_submit_request2(self.raw, null(), fields.as_ptr(), fields.len(), &provider, null_mut()) };
        // SAFETY: reads the session.
        if id < 0 || unsafe { nghttp2_session_check_request_allowed(self.raw) } == 0 {
            return Err(Violation("the peer accepts no further streams".into()));
        }
        let state = self.state_mut();
        let mut flow = Flow::new(state.options.max_receive, state.options.stream_window, state.options.budget.clone());
        flow.responding = true;
        state.flows.insert(id, flow);
        Ok(id)
    }

    /// Starts the response of a stream, as a server, with messages to follow.
    pub fn respond(&mut self, id: i32, fields: &[Field]) {
        let Some(flow) = self.flow_mut(id) else { return };
        if std::mem::replace(&mut flow.responding, true) {
            return;
        }
        let fields = raw_fields(fields);
        let provider = provider();
        // SAFETY: as in `request`; a stream that is closed already makes the call fail.
        unsafe { nghttp2_submit_response2(self.raw, id, fields.as_ptr(), fields.len(), &provider) };
    }

    /// Ends a stream, as a server, with header fields and nothing else.
    pub fn respond_only(&mut self, id: i32, fields: &[Field]) {
        if let Some(flow) = self.flow_mut(id) {
            flow.responding = true;
        }
        let fields = raw_fields(fields);
        // SAFETY: as in `respond`; without a provider, the headers end the stream.
        unsafe { nghttp2_submit_response2(self.raw, id, fields.as_ptr(), fields.len(), null()) };
    }

    /// Queues a message on a stream.
    pub fn queue(&mut self, id: i32, message: Bytes) {
        self.queue_all(id, [message]);
    }

    /// Queues messages on a stream.
    pub fn queue_all(&mut self, id: i32, messages: impl IntoIterator<Item = Bytes>) {
        if let Some(flow) = self.flow_mut(id) {
            messages.into_iter().for_each(|message| flow.queue(message));
            self.resume(id);
        }
    }

    /// Ends this side of a stream behind what is queued.
    pub fn end(&mut self, id: i32, end: End) {
        if let Some(flow) = self.flow_mut(id) {
            flow.end = Some(end);
            self.resume(id);
        }
    }

    fn resume(&mut self, id: i32) {
        let Some(flow) = self.flow_mut(id) else { return };
        if std::mem::take(&mut flow.deferred) {
            // SAFETY: a number; a stream that is closed already makes the call fail.
            unsafe { nghttp2_session_resume_data(self.raw, id) };
        }
    }

    /// Resets a stream.
    pub fn reset(&mut self, id: i32, code: u32) {
        if let Some(flow) = self.flow_mut(id) {
            flow.clear_queue();
        }
        // SAFETY: numbers; a stream that is closed already makes the call fail.
        unsafe { nghttp2_submit_rst_stream(self.raw, 0, id, code) };
    }

    /// Removes a stream that nobody uses any more. If it is still open, it must have been reset or ended before.
    pub fn forget(&mut self, id: i32) {
        if let Some(flow) = self.flow_mut(id) {
            flow.abandon();
            if flow.closed.is_some() {
                self.state_mut().flows.remove(&id);
            }
        }
    }

    /// Returns the next message of a stream and grants window for as many bytes again.
    pub fn take(&mut self, id: i32) -> Option<Bytes> {
        let (message, returned) = self.flow_mut(id)?.take()?;
        self.consume(id, returned);
        Some(message)
    }

    /// Appends the complete messages of a stream to `messages`, up to `max` bytes, and grants window for as many bytes
    /// again.
    pub fn take_many(&mut self, id: i32, max: usize, messages: &mut Vec<Bytes>) {
        let Some(flow) = self.flow_mut(id) else { return };
        let (mut bytes, mut returned) = (0, 0);
        while bytes < max {
            let Some((message, window)) = flow.take() else { break };
            bytes += message.len();
            returned += window;
            messages.push(message);
        }
        self.consume(id, returned);
    }

    fn consume(&mut self, id: i32, size: usize) {
        if size > 0 {
            // SAFETY: numbers; a stream that is closed already makes the call fail.
            unsafe { nghttp2_session_consume_stream(self.raw, id, size) };
        }
        self.return_withheld(false);
    }

    /// Releases the memory of an empty batch.
    pub fn release_batch(&mut self) {
        let batch = &mut self.state_mut().batch;
        if batch.is_empty() {
            *batch = Vec::new();
        }
    }

    /// States up to which size the application is ready to take the next message. The window grows if the message has
    /// begun.
    pub fn allow(&mut self, id: i32, size: usize) {
        let Some(flow) = self.flow_mut(id) else { return };
        flow.allow(size);
        if flow.window_is_due() {
            self.adjust_window(id);
        }
    }

    /// Returns whether the session neither reads nor writes any more: the peer is going away and no stream is left.
    pub fn is_finished(&self) -> bool {
        // SAFETY: both read flags.
        unsafe { nghttp2_session_want_read(self.raw) == 0 && nghttp2_session_want_write(self.raw) == 0 }
    }

    /// Sends a PING frame.
    pub fn ping(&mut self) {
        // SAFETY: no data, which stands for zeros.
        unsafe { nghttp2_submit_ping(self.raw, 0, null()) };
    }

    /// Announces that no further streams will be accepted, before a later [`terminate`](Self::terminate) or
    /// [`refuse_further`](Self::refuse_further).
    pub fn announce_shutdown(&mut self) {
        // SAFETY: a server's session, as the function requires; for a client it fails.
        unsafe { nghttp2_submit_shutdown_notice(self.raw) };
    }

    /// Accepts no further streams. Those that are open go on.
    pub fn refuse_further(&mut self) {
        // SAFETY: numbers, and no text.
        unsafe {
            let last = nghttp2_session_get_last_proc_stream_id(self.raw);
            nghttp2_submit_goaway(self.raw, 0, last, reset::NO_ERROR, null(), 0);
        }
    }

    /// Ends the session: a GOAWAY frame with this code and text, and nothing after it.
    pub fn terminate(&mut self, code: u32, text: &str) {
        self.state_mut().terminated = true;
        // SAFETY: the text is copied.
        unsafe {
            if !text.is_empty() {
                let last = nghttp2_session_get_last_proc_stream_id(self.raw);
                nghttp2_submit_goaway(self.raw, 0, last, code, text.as_ptr(), text.len());
            }
            nghttp2_session_terminate_session(self.raw, code);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: both are ours and released once, the state after the session that points to it. A session that was
        // not created is null, which deleting ignores.
        unsafe {
            nghttp2_session_del(self.raw);
            drop(Box::from_raw(self.state));
        }
    }
}

/// Returns the version of nghttp2, such as `1.68.1`.
pub fn nghttp2_version() -> &'static str {
    // SAFETY: without a least version, the function returns a constant whose text lives as long as the program.
    let text = unsafe { std::ffi::CStr::from_ptr((*libnghttp2_sys::nghttp2_version(0)).version_str) };
    text.to_str().unwrap_or("unknown")
}

fn setting(id: nghttp2_settings_id, value: u32) -> nghttp2_settings_entry {
    nghttp2_settings_entry { settings_id: id as i32, value }
}

fn out_of_memory() -> Violation {
    Violation("nghttp2 has no memory".into())
}

/// Returns nghttp2's text for an error.
fn describe(error: c_int) -> String {
    // SAFETY: returns a static text for every number.
    let text = unsafe { std::ffi::CStr::from_ptr(nghttp2_strerror(error)) };
    text.to_string_lossy().into_owned()
}

/// Returns a text for a code with which nghttp2 ends a session.
fn describe_code(code: u32) -> String {
    match code {
        // INTERNAL_ERROR is nghttp2's code for too many resets.
        2 | reset::ENHANCE_YOUR_CALM => "a limit was exceeded, such as that of reset streams".into(),
        code => format!("error {code}"),
    }
}

/// Returns fields in nghttp2's form, which point into the given ones.
fn raw_fields(fields: &[Field]) -> Vec<nghttp2_nv> {
    let raw = |(name, value): &Field| nghttp2_nv {
        name: name.as_ptr().cast_mut(),
        value: value.as_ptr().cast_mut(),
        namelen: name.len(),
        valuelen: value.len(),
        flags: NGHTTP2_NV_FLAG_NONE as u8,
    };
    fields.iter().map(raw).collect()
}

/// nghttp2's options, which a session copies.
struct OptionSet(*mut nghttp2_option);

impl OptionSet {
    fn new() -> Option<OptionSet> {
        let mut raw = null_mut();
        // SAFETY: sets the pointer or fails; then numbers.
        unsafe {
            if nghttp2_option_new(&mut raw) != 0 {
                return None;
            }
            nghttp2_option_set_no_auto_window_update(raw, 1);
            nghttp2_option_set_max_reserved_remote_streams(raw, 0);
            nghttp2_option_set_max_continuations(raw, MAX_CONTINUATIONS);
            nghttp2_option_set_max_settings(raw, MAX_SETTINGS);
            nghttp2_option_set_max_outbound_ack(raw, MAX_QUEUED_ACKS);
            nghttp2_option_set_max_deflate_dynamic_table_size(raw, HEADER_TABLE as usize);
            nghttp2_option_set_stream_reset_rate_limit(raw, RESETS.0, RESETS.1);
            // Else metadata with a space at either end disappears silently.
            nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(raw, 1);
        }
        Some(OptionSet(raw))
    }
}

impl Drop for OptionSet {
    fn drop(&mut self) {
        // SAFETY: ours, released once.
        unsafe { nghttp2_option_del(self.0) }
    }
}

#[cfg(test)]
mod tests;
