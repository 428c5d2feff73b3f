//! The functions that nghttp2 calls back, with the state of their session.
// Called by C code; every block states why it is sound.
#![allow(unsafe_code)]
#![warn(clippy::undocumented_unsafe_blocks)]

use super::*;

/// nghttp2's table of callbacks, which a session copies.
pub(super) struct Callbacks(pub(super) *mut nghttp2_session_callbacks);

impl Callbacks {
    pub(super) fn new() -> Option<Callbacks> {
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

pub(super) fn provider() -> nghttp2_data_provider2 {
    nghttp2_data_provider2 { source: nghttp2_data_source { fd: 0 }, read_callback: Some(on_read) }
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
