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

use super::budget::Budget;
use super::flow::{End, Flow, FIRST_WINDOW};
use super::framing::PREFIX;
use super::grpc::{reset, Field};
use bytes::Bytes;
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

fn provider() -> nghttp2_data_provider2 {
    nghttp2_data_provider2 { source: nghttp2_data_source { fd: 0 }, read_callback: Some(on_read) }
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

/// nghttp2's table of callbacks, which a session copies.
struct Callbacks(*mut nghttp2_session_callbacks);

impl Callbacks {
    fn new() -> Option<Callbacks> {
        let mut raw = null_mut();
        // SAFETY: sets the pointer or fails; the functions below have the types that nghttp2 declares.
        unsafe {
            if nghttp2_session_callbacks_new(&mut raw) != 0 {
                return None;
            }
            nghttp2_session_callbacks_set_on_begin_headers_callback(raw, Some(on_begin_headers));
            nghttp2_session_callbacks_set_on_header_callback(raw, Some(on_header));
            nghttp2_session_callbacks_set_on_frame_recv_callback(raw, Some(on_frame));
            nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(raw, Some(on_invalid_frame));
            nghttp2_session_callbacks_set_on_data_chunk_recv_callback(raw, Some(on_data));
            nghttp2_session_callbacks_set_on_frame_send_callback(raw, Some(on_sent));
            nghttp2_session_callbacks_set_send_data_callback(raw, Some(on_send_data));
            nghttp2_session_callbacks_set_on_stream_close_callback(raw, Some(on_close));
        }
        Some(Callbacks(raw))
    }
}

impl Drop for Callbacks {
    fn drop(&mut self) {
        // SAFETY: ours, released once.
        unsafe { nghttp2_session_callbacks_del(self.0) }
    }
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

/// Returns the state in a callback.
///
/// # Safety
/// `user_data` must be the pointer with which the session was created.
unsafe fn state<'a>(user_data: *mut c_void) -> &'a mut State {
    // SAFETY: by the caller's promise. While nghttp2 runs, nothing else refers to the state.
    unsafe { &mut *user_data.cast::<State>() }
}

unsafe extern "C" fn on_begin_headers(
    _: *mut nghttp2_session,
    _: *const nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state.
    unsafe { state(user_data) }.headers = Headers::default();
    0
}

unsafe extern "C" fn on_header(
    _: *mut nghttp2_session,
    _: *const nghttp2_frame,
    name: *const u8,
    name_length: usize,
    value: *const u8,
    value_length: usize,
    _: u8,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state, and name and value of these lengths.
    let (state, name, value) = unsafe {
        let slice = |at: *const u8, length| if length == 0 { &[][..] } else { std::slice::from_raw_parts(at, length) };
        (state(user_data), slice(name, name_length), slice(value, value_length))
    };
    let headers = &mut state.headers;
    // As RFC 9113, section 6.5.2, counts a header list.
    headers.bytes += name.len() + value.len() + 32;
    if headers.bytes > MAX_HEADER_BYTES || headers.fields.len() >= MAX_HEADER_FIELDS {
        state.violation.get_or_insert_with(|| "the header list is too large".into());
        return 0;
    }
    headers.fields.push((name.into(), value.into()));
    0
}

unsafe extern "C" fn on_frame(_: *mut nghttp2_session, frame: *const nghttp2_frame, user_data: *mut c_void) -> c_int {
    // SAFETY: nghttp2 passes the session's state and a frame, whose header every kind of frame has.
    let (state, hd) = unsafe { (state(user_data), (*frame).hd) };
    let kind = nghttp2_frame_type::from(hd.type_);
    let has = |flag: nghttp2_flag| nghttp2_flag::from(hd.flags) & flag != 0;
    match kind {
        NGHTTP2_PING => {}
        NGHTTP2_WINDOW_UPDATE => state.window_grew = true,
        _ => state.stirred = true,
    }
    match kind {
        NGHTTP2_HEADERS => {
            let fields = std::mem::take(&mut state.headers.fields);
            let ended = has(NGHTTP2_FLAG_END_STREAM);
            // SAFETY: a HEADERS frame.
            if unsafe { (*frame).headers.cat } == NGHTTP2_HCAT_REQUEST {
                let options = &state.options;
                let mut flow = Flow::new(options.max_receive, options.stream_window, options.budget.clone());
                flow.opened = true;
                state.flows.insert(hd.stream_id, flow);
                state.events.push(Event::Request(hd.stream_id, fields));
            } else if let Some(flow) = state.flows.get_mut(&hd.stream_id) {
                flow.headers_received(fields, ended);
            }
            if let Some(flow) = state.flows.get_mut(&hd.stream_id).filter(|_| ended) {
                flow.remote_ended();
            }
        }
        NGHTTP2_DATA if has(NGHTTP2_FLAG_END_STREAM) => {
            if let Some(flow) = state.flows.get_mut(&hd.stream_id) {
                flow.remote_ended();
            }
        }
        NGHTTP2_SETTINGS if !has(NGHTTP2_FLAG_ACK) => state.settings_received = true,
        NGHTTP2_PING if !has(NGHTTP2_FLAG_ACK) => state.events.push(Event::Ping),
        NGHTTP2_GOAWAY => {
            // SAFETY: a GOAWAY frame, with a text of this length, or none.
            let (code, text) = unsafe {
                let goaway = &(*frame).goaway;
                let length = goaway.opaque_data_len.min(200);
                let text = match length {
                    0 => &[][..],
                    _ => std::slice::from_raw_parts(goaway.opaque_data.cast_const(), length),
                };
                (goaway.error_code, String::from_utf8_lossy(text).into_owned())
            };
            state.events.push(Event::GoAway { code, text });
        }
        _ => {}
    }
    0
}

unsafe extern "C" fn on_invalid_frame(
    _: *mut nghttp2_session,
    _: *const nghttp2_frame,
    error: c_int,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state.
    let state = unsafe { state(user_data) };
    if error != NGHTTP2_ERR_REFUSED_STREAM {
        state.violation.get_or_insert_with(|| describe(error));
        return 0;
    }
    // A client that does not know the limit of streams yet may exceed it.
    state.refused += 1;
    if state.refused > MAX_REFUSED {
        state.violation.get_or_insert_with(|| "too many streams above the limit".into());
    }
    0
}

unsafe extern "C" fn on_data(
    _: *mut nghttp2_session,
    _: u8,
    id: i32,
    data: *const u8,
    length: usize,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state and data of this length, which is not zero.
    let (state, data) = unsafe { (state(user_data), std::slice::from_raw_parts(data, length)) };
    state.arrived += length;
    state.stirred = true;
    if let Some(flow) = state.flows.get_mut(&id) {
        flow.receive(data);
    }
    0
}

unsafe extern "C" fn on_close(_: *mut nghttp2_session, id: i32, code: u32, user_data: *mut c_void) -> c_int {
    // SAFETY: nghttp2 passes the session's state.
    let state = unsafe { state(user_data) };
    if let Some(flow) = state.flows.get_mut(&id) {
        flow.closed = Some(code);
        flow.clear_queue();
        if flow.is_abandoned() {
            state.flows.remove(&id);
        }
    }
    0
}

unsafe extern "C" fn on_sent(
    session: *mut nghttp2_session,
    frame: *const nghttp2_frame,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state and a frame, whose header every kind of frame has.
    let (state, hd) = unsafe { (state(user_data), (*frame).hd) };
    match nghttp2_frame_type::from(hd.type_) {
        NGHTTP2_HEADERS => {
            state.answered = true;
            if let Some(flow) = state.flows.get_mut(&hd.stream_id) {
                state.opened |= !std::mem::replace(&mut flow.opened, true);
            }
            let ended = nghttp2_flag::from(hd.flags) & NGHTTP2_FLAG_END_STREAM != 0;
            // The client is still sending. It learns that its request is not read to the end.
            // SAFETY: numbers; submitting is allowed in a callback.
            unsafe {
                if state.options.server && ended && nghttp2_session_get_stream_remote_close(session, hd.stream_id) == 0
                {
                    nghttp2_submit_rst_stream(session, 0, hd.stream_id, reset::NO_ERROR);
                }
            }
        }
        NGHTTP2_DATA => state.answered = true,
        NGHTTP2_RST_STREAM => {
            // SAFETY: a RST_STREAM frame.
            let code = unsafe { (*frame).rst_stream.error_code };
            // Only nghttp2 resets with these.
            if code == reset::PROTOCOL_ERROR || code == reset::FLOW_CONTROL_ERROR {
                state.violation.get_or_insert_with(|| describe_code(code));
            }
        }
        NGHTTP2_GOAWAY => {
            // SAFETY: a GOAWAY frame.
            let code = unsafe { (*frame).goaway.error_code };
            if code != reset::NO_ERROR && !std::mem::replace(&mut state.terminated, true) {
                state.violation.get_or_insert_with(|| describe_code(code));
            }
        }
        _ => {}
    }
    0
}

/// Says how much of a stream's queue goes into the next DATA frame.
unsafe extern "C" fn on_read(
    session: *mut nghttp2_session,
    id: i32,
    _: *mut u8,
    length: usize,
    data_flags: *mut u32,
    _: *mut nghttp2_data_source,
    user_data: *mut c_void,
) -> nghttp2_ssize {
    // SAFETY: nghttp2 passes the session's state.
    let state = unsafe { state(user_data) };
    let Some(flow) = state.flows.get_mut(&id) else { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE as nghttp2_ssize };
    let count = flow.queued().min(length);
    let mut flags = NGHTTP2_DATA_FLAG_NO_COPY;
    if count == flow.queued() {
        match flow.end.take() {
            None if count == 0 => {
                flow.deferred = true;
                return NGHTTP2_ERR_DEFERRED as nghttp2_ssize;
            }
            None => {}
            Some(End::HalfClose) => flags |= NGHTTP2_DATA_FLAG_EOF,
            Some(End::Trailers(fields)) => {
                flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
                let fields = raw_fields(&fields);
                // SAFETY: the fields are copied; submitting trailers is allowed in this callback.
                unsafe { nghttp2_submit_trailer(session, id, fields.as_ptr(), fields.len()) };
            }
        }
    }
    // SAFETY: nghttp2 passes a place for the flags.
    unsafe { *data_flags |= flags };
    count as nghttp2_ssize
}

/// Moves a DATA frame into the batch.
unsafe extern "C" fn on_send_data(
    _: *mut nghttp2_session,
    frame: *mut nghttp2_frame,
    header: *const u8,
    length: usize,
    _: *mut nghttp2_data_source,
    user_data: *mut c_void,
) -> c_int {
    // SAFETY: nghttp2 passes the session's state, a DATA frame, and its header of nine bytes.
    let (state, id, header) =
        unsafe { (state(user_data), (*frame).hd.stream_id, std::slice::from_raw_parts(header, 9)) };
    let Some(flow) = state.flows.get_mut(&id) else { return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE };
    if state.batch.capacity() == 0 {
        state.batch.reserve(flow.queued().min(BATCH) + 9 * (1 + BATCH / 16384) + PREFIX);
    }
    state.batch.extend_from_slice(header);
    flow.write(length, &mut state.batch);
    match state.batch.len() >= BATCH {
        true => NGHTTP2_ERR_PAUSE,
        false => 0,
    }
}

#[cfg(test)]
mod tests;
