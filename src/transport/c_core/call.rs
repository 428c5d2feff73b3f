//! One call of the C core: its operations, the memory they use, and its orderly release.

use super::queue::{CallQueue, Wait};
use super::slice;
use super::{peer, reaper};
use crate::transport::{code, Status};
use bytes::Bytes;
use grpcio_sys::*;
use std::any::Any;
use std::ffi::{c_int, CString};
use std::mem::ManuallyDrop;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The operations of a call, of which at most one of each can be under way. The value is both the tag and a distinct
/// bit.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Op {
    /// Send our headers. On a dialled call this completes when the connection is up or has failed.
    Headers = 1,
    /// Receive the server's headers; they may arrive as late as its first message.
    PeerHeaders = 2,
    /// Send one message.
    Send = 4,
    /// Receive one message.
    Recv = 8,
    /// End our side: half-close, or send the status of an accepted call.
    Finish = 16,
    /// Receive the end of the call: the status on a dialled call, "closed" on an accepted one.
    End = 32,
    /// Send the whole answer to a refused call.
    Refusal = 64,
}

const ALL: [Op; 7] = [Op::Headers, Op::PeerHeaders, Op::Send, Op::Recv, Op::Finish, Op::End, Op::Refusal];

/// Time after which a call whose end is pending is cancelled.
const GENTLY: Duration = Duration::from_secs(5);

/// Memory that the core reads and writes while operations are under way: on the heap, at a fixed address, until every
/// operation has completed. Each field belongs to one operation. We access it only before that operation is started and
/// after it has completed.
struct Memory {
    headers: grpc_metadata_array,
    trailers: grpc_metadata_array,
    status: grpc_status_code::Type,
    details: grpc_slice,
    cancelled: c_int,
    received: *mut grpc_byte_buffer,
    sent: *mut grpc_byte_buffer,
    status_text: grpc_slice,
}

/// A call. Any thread may cancel it. For each kind of operation, only one thread at a time may start it and wait for
/// it; the users in this module ensure that with a lock each. Dropping the last handle cancels open operations and
/// never waits: operations that have not completed by then go to the reaper.
pub(super) struct Call {
    inner: ManuallyDrop<RawCall>,
    cancelled: AtomicBool,
    /// The call is about to end by itself, so dropping it does not cancel it immediately.
    gently: AtomicBool,
}

struct RawCall {
    raw: *mut grpc_call,
    memory: *mut Memory,
    queue: CallQueue,
    /// Must outlive the call: its channel, or the initialized core.
    _keep: Arc<dyn Any + Send + Sync>,
}

// SAFETY: calls of the core may be used from any thread; `memory` is only touched as described at `Memory`.
unsafe impl Send for RawCall {}
// SAFETY: as above, and the operations of one kind are serialized by the callers (`Stream` by locks, `Unary` by `&mut`).
unsafe impl Sync for RawCall {}

/// The core refused to start an operation, which ends the call: the operation's slot stays blocked.
#[derive(Debug)]
pub(super) struct Refused;

impl Call {
    /// Takes ownership of a call that was created for this queue.
    ///
    /// # Safety
    /// `raw` must be a valid call, bound to `queue`, with no operation started, whose reference the caller gives up.
    pub(super) unsafe fn new(raw: *mut grpc_call, queue: CallQueue, keep: Arc<dyn Any + Send + Sync>) -> Call {
        // SAFETY: all-zero is valid for every field: null pointers, and empty inlined slices; the arrays are then
        // initialized as the core requires.
        let memory = unsafe {
            let memory = Box::into_raw(Box::new(std::mem::zeroed::<Memory>()));
            grpc_metadata_array_init(&raw mut (*memory).headers);
            grpc_metadata_array_init(&raw mut (*memory).trailers);
            memory
        };
        let inner = RawCall { raw, memory, queue, _keep: keep };
        Call { inner: ManuallyDrop::new(inner), cancelled: false.into(), gently: false.into() }
    }

    /// Starts the initial operations of a dialled stream. (Without `PeerHeaders` no message would ever arrive.)
    pub(super) fn start_dialled(&self) -> Result<(), Refused> {
        self.start(Op::End, &[self.op_status()])?;
        self.start(Op::Headers, &[op(grpc_op_type::GRPC_OP_SEND_INITIAL_METADATA)])?;
        self.start(Op::PeerHeaders, &[self.op_headers()])
    }

    /// Starts the initial operations of an accepted stream.
    pub(super) fn start_accepted(&self) -> Result<(), Refused> {
        self.start(Op::Headers, &[op(grpc_op_type::GRPC_OP_SEND_INITIAL_METADATA)])?;
        self.start(Op::End, &[self.op_closed()])
    }

    /// Starts a dialled unary call. The operations are not one batch: if the server answers without reading, sending
    /// fails, and the core then drops the answer received in the same batch.
    pub(super) fn start_unary(&self, request: Bytes) -> Result<(), Refused> {
        self.start_dialled()?;
        self.start_send(request, false)?;
        self.start_half_close()?;
        self.start_recv()
    }

    /// Refuses an accepted call with this status, as `Refusal`. The call may be dropped right after: it ends
    /// gracefully.
    pub(super) fn refuse(&self, status: &Status) -> Result<(), Refused> {
        let headers = op(grpc_op_type::GRPC_OP_SEND_INITIAL_METADATA);
        self.gently.store(true, Ordering::Relaxed);
        self.start(Op::Refusal, &[headers, self.op_send_status(status), self.op_closed()])
    }

    /// Starts to receive one message.
    pub(super) fn start_recv(&self) -> Result<(), Refused> {
        self.start(Op::Recv, &[self.op_recv()])
    }

    /// Starts to send one message. With `hint`, the core may hold it back until the next one.
    pub(super) fn start_send(&self, message: Bytes, hint: bool) -> Result<(), Refused> {
        self.start(Op::Send, &[self.op_send(message, hint)])
    }

    /// Starts to half-close a dialled stream.
    pub(super) fn start_half_close(&self) -> Result<(), Refused> {
        self.start(Op::Finish, &[op(grpc_op_type::GRPC_OP_SEND_CLOSE_FROM_CLIENT)])
    }

    /// Starts to end an accepted stream. From here on, dropping the call leaves the status time to be sent.
    pub(super) fn start_status(&self, status: &Status) -> Result<(), Refused> {
        self.gently.store(true, Ordering::Relaxed);
        self.start(Op::Finish, &[self.op_send_status(status)])
    }

    /// Waits for a started operation. Returns its success, or `None` if it is still under way. Returns `Some(false)` if
    /// it was not started.
    pub(super) fn wait_for(&self, op: Op, wait: Wait) -> Option<bool> {
        self.inner.wait_for(op, wait)
    }

    /// Returns the success of a started operation if it has completed, without polling the connection or reading the
    /// clock.
    pub(super) fn take(&self, op: Op) -> Option<bool> {
        self.inner.queue.take(op as u8)
    }

    /// Returns whether an accepted call has ended, as far as the core has reported by now.
    pub(super) fn is_over(&self) -> bool {
        self.wait_for(Op::End, Wait::Not).is_some()
    }

    pub(super) fn is_pending(&self, op: Op) -> bool {
        self.inner.queue.is_started(op as u8)
    }

    /// After `Recv`: returns the message, or `None` at the end of the stream.
    ///
    /// # Errors
    /// The message is larger than `max`, and was dropped.
    pub(super) fn take_message(&self, max: usize) -> Result<Option<Bytes>, Status> {
        // SAFETY: the operation has completed, so the field is ours; a buffer in it is ours too.
        unsafe {
            let received = std::mem::replace(&mut (*self.memory()).received, null_mut());
            if received.is_null() {
                return Ok(None);
            }
            let len = grpc_byte_buffer_length(received);
            let message =
                if len <= max { Ok(Some(slice::from_buffer(received))) } else { Err(too_large("Received", len, max)) };
            grpc_byte_buffer_destroy(received);
            message
        }
    }

    /// After `Send`: releases the sent message.
    pub(super) fn release_sent(&self) {
        // SAFETY: the operation has completed, so the field and the buffer in it are ours.
        unsafe { release_buffer(&mut (*self.memory()).sent) }
    }

    /// After `End` of a dialled call: returns how it ended.
    pub(super) fn status(&self) -> Status {
        // SAFETY: the operation has completed, so the fields are ours.
        unsafe {
            let memory = self.memory();
            let message = String::from_utf8_lossy(slice::view(&raw const (*memory).details)).into_owned();
            Status::new((*memory).status, message)
        }
    }

    /// After the `Recv` that returned no more message on an accepted call: returns whether the call failed or was
    /// cancelled, and not half-closed.
    pub(super) fn failed(&self) -> bool {
        // SAFETY: the call is valid while `self` is, and the operation that sets the flag has completed.
        unsafe { grpc_call_failed_before_recv_message(self.inner.raw) != 0 }
    }

    /// Ends the call immediately. Operations complete soon after, except a write to a full socket.
    pub(super) fn cancel(&self) {
        self.gently.store(false, Ordering::Relaxed);
        self.cancelled.store(true, Ordering::Release);
        self.inner.cancel();
    }

    /// Ends the call immediately, with this status at both ends.
    pub(super) fn fail(&self, status: &Status) {
        let text = CString::new(status.message.as_str()).unwrap_or_default();
        // SAFETY: allowed from any thread while the call is valid; the core copies the text; the reserved argument is
        // null.
        unsafe { grpc_call_cancel_with_status(self.inner.raw, status.code, text.as_ptr(), null_mut()) };
    }

    /// Records that the server is about to cancel the call, so that the client receives UNAVAILABLE instead of
    /// CANCELLED.
    pub(super) fn mark_cancelled(&self) {
        self.gently.store(true, Ordering::Relaxed);
        self.cancelled.store(true, Ordering::Release);
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    /// Returns the remote address, as far as the core knows it by now.
    pub(super) fn address(&self) -> String {
        // SAFETY: the call is valid while `self` is.
        unsafe { peer::address(self.inner.raw) }
    }

    /// Returns the remote certificate as DER. Known once the call is connected.
    pub(super) fn certificate(&self) -> Option<Bytes> {
        // SAFETY: as above.
        unsafe { peer::certificate(self.inner.raw) }
    }

    fn memory(&self) -> *mut Memory {
        self.inner.memory
    }

    fn start(&self, tag: Op, ops: &[grpc_op]) -> Result<(), Refused> {
        debug_assert!(!self.is_pending(tag), "one operation of a kind at a time");
        // SAFETY: the call is valid, and all that the operations point to is in `memory`, which outlives them.
        let result = unsafe { self.inner.queue.start(self.inner.raw, tag as u8, ops) };
        if result == grpc_call_error::GRPC_CALL_OK {
            return Ok(());
        }
        log::warn!("the C core refused operation {} of a call: {result:?}", tag as u8);
        self.inner.cancel();
        Err(Refused)
    }

    fn op_headers(&self) -> grpc_op {
        let mut op = op(grpc_op_type::GRPC_OP_RECV_INITIAL_METADATA);
        // SAFETY: takes the address of a field of live memory.
        op.data.recv_initial_metadata.recv_initial_metadata = unsafe { &raw mut (*self.memory()).headers };
        op
    }

    fn op_recv(&self) -> grpc_op {
        let mut op = op(grpc_op_type::GRPC_OP_RECV_MESSAGE);
        // SAFETY: takes the address of a field of live memory.
        op.data.recv_message.recv_message = unsafe { &raw mut (*self.memory()).received };
        op
    }

    fn op_send(&self, message: Bytes, hint: bool) -> grpc_op {
        let buffer = slice::to_buffer(message);
        // SAFETY: no other send is under way, so the field is ours; an old buffer in it is replaced, not leaked.
        unsafe {
            release_buffer(&mut (*self.memory()).sent);
            (*self.memory()).sent = buffer;
        }
        let mut op = op(grpc_op_type::GRPC_OP_SEND_MESSAGE);
        op.flags = if hint { GRPC_WRITE_BUFFER_HINT } else { 0 };
        op.data.send_message.send_message = buffer;
        op
    }

    fn op_status(&self) -> grpc_op {
        let mut op = op(grpc_op_type::GRPC_OP_RECV_STATUS_ON_CLIENT);
        // SAFETY: takes the addresses of fields of live memory.
        op.data.recv_status_on_client = unsafe {
            grpc_op_grpc_op_data_grpc_op_recv_status_on_client {
                trailing_metadata: &raw mut (*self.memory()).trailers,
                status: &raw mut (*self.memory()).status,
                status_details: &raw mut (*self.memory()).details,
                error_string: null_mut(),
            }
        };
        op
    }

    fn op_closed(&self) -> grpc_op {
        let mut op = op(grpc_op_type::GRPC_OP_RECV_CLOSE_ON_SERVER);
        // SAFETY: takes the address of a field of live memory.
        op.data.recv_close_on_server.cancelled = unsafe { &raw mut (*self.memory()).cancelled };
        op
    }

    fn op_send_status(&self, status: &Status) -> grpc_op {
        // The receiver limits headers to 8 KiB, and percent-encoding can triple the text.
        let mut end = status.message.len().min(2048);
        while !status.message.is_char_boundary(end) {
            end -= 1;
        }
        let text = slice::copied(&status.message.as_bytes()[..end]);
        let known = (code::OK..=16).contains(&status.code);
        let mut op = op(grpc_op_type::GRPC_OP_SEND_STATUS_FROM_SERVER);
        // SAFETY: a status is sent once, so the field is ours and still empty.
        op.data.send_status_from_server = unsafe {
            (*self.memory()).status_text = text;
            grpc_op_grpc_op_data_grpc_op_send_status_from_server {
                trailing_metadata_count: 0,
                trailing_metadata: null_mut(),
                status: if known { status.code } else { 2 },
                status_details: &raw mut (*self.memory()).status_text,
            }
        };
        op
    }
}

/// Returns the error for a message above a limit, with the core's own wording, which is gRPC's.
pub(super) fn too_large(what: &str, len: usize, max: usize) -> Status {
    Status::new(code::RESOURCE_EXHAUSTED, format!("{what} message larger than max ({len} vs. {max})"))
}

fn op(kind: grpc_op_type) -> grpc_op {
    // SAFETY: all-zero is a valid operation: null pointers, no flags, zero counts.
    let mut op: grpc_op = unsafe { std::mem::zeroed() };
    op.op = kind;
    op
}

/// # Safety
/// The buffer must be null or ours, and no operation under way may use it.
unsafe fn release_buffer(buffer: &mut *mut grpc_byte_buffer) {
    let old = std::mem::replace(buffer, null_mut());
    if !old.is_null() {
        // SAFETY: ours, by the caller's promise.
        unsafe { grpc_byte_buffer_destroy(old) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // SAFETY: `inner` is not used after this.
        let inner = unsafe { ManuallyDrop::take(&mut self.inner) };
        let gently = self.gently.load(Ordering::Relaxed);
        if inner.collect() {
            return;
        }
        if !gently {
            inner.cancel();
            if inner.collect() {
                return;
            }
        }
        let mut cancel_at = gently.then(|| Instant::now() + GENTLY);
        // In an `Option`, so that the job has released the call by the time it reports its end.
        let mut inner = Some(inner);
        reaper::hand_over(Box::new(move || {
            if let Some(call) = &inner {
                if cancel_at.is_some_and(|at| Instant::now() >= at) {
                    cancel_at = None;
                    call.cancel();
                }
                if !call.collect() {
                    return false;
                }
            }
            inner = None;
            true
        }));
    }
}

impl RawCall {
    fn wait_for(&self, op: Op, wait: Wait) -> Option<bool> {
        self.queue.wait(op as u8, wait)
    }

    /// Collects the operations completed by now. Returns whether all have completed.
    fn collect(&self) -> bool {
        ALL.into_iter().all(|op| self.wait_for(op, Wait::Not).is_some())
    }

    fn cancel(&self) {
        // SAFETY: allowed from any thread while the call is valid; the reserved argument is null.
        unsafe { grpc_call_cancel(self.raw, null_mut()) };
    }
}

impl Drop for RawCall {
    fn drop(&mut self) {
        // SAFETY: every started operation has completed and was waited for (`Call::drop` and the reaper ensure that),
        // so the core neither reads nor writes `memory` any more, and its contents are ours. The metadata entries
        // belong to the call, so only the arrays are destroyed, before it. The queue follows, as a field.
        unsafe {
            let mut memory = Box::from_raw(self.memory);
            release_buffer(&mut memory.received);
            release_buffer(&mut memory.sent);
            grpc_metadata_array_destroy(&mut memory.headers);
            grpc_metadata_array_destroy(&mut memory.trailers);
            grpc_slice_unref(memory.details);
            grpc_slice_unref(memory.status_text);
            grpc_call_unref(self.raw);
        }
    }
}
