//! The settings of the C core's channels and servers, with their defaults and the reasons for them.

use super::queue::FOR_EVER;
use crate::error::{Error, ErrorKind, Result};
use crate::transport::Limits;
use grpcio_sys::*;
use parking_lot::Mutex;
use std::ffi::{CStr, CString};
use std::ptr::null_mut;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Settings of the C core's channels and servers in addition to the [`Limits`]. Most become a *channel argument* of the
/// C core, named in brackets; "core" is the core's own default. (The limits become channel arguments, too.)
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Options {
    /// Whether to ping, and let clients ping, while no call is open: yes, as Fabric (core: no).
    /// \[`grpc.keepalive_permit_without_calls`\]
    pub keepalive_without_calls: bool,
    /// Maximum number of pings without data in between: 0, no limit (core: 2). With a limit, keepalive silently stops
    /// on a stream that sends nothing. \[`grpc.http2.max_pings_without_data`\]
    pub max_pings_without_data: u32,
    /// Servers: number of too frequent pings after which the connection is closed: 2 (core: 2; 0: never).
    /// \[`grpc.http2.max_ping_strikes`\]
    pub max_ping_strikes: u32,
    /// Servers: share the port with other processes that request sharing: no (core: yes). With sharing, a second
    /// process silently binds the same port and takes half the connections. \[`grpc.so_reuseport`\]
    pub reuse_port: bool,
    /// Clients: give each channel its own connection: yes (core: no). Without it, channels to one target share a
    /// connection, its backoff and its certificate. \[`grpc.use_local_subchannel_pool`\]
    pub own_connection: bool,
    /// Clients: let the core retry failed calls: no (core: yes). For retries the core keeps up to 256 KiB of each call,
    /// may send a message twice, and passes every message through two more filters. \[`grpc.enable_retries`\]
    pub retries: bool,
    /// Clients: use the proxy variables of the environment: no (core: yes, even for loopback). A proxy that terminates
    /// TLS breaks the binding of a gossip handshake to its connection. \[`grpc.enable_http_proxy`\]
    pub http_proxy: bool,
    /// Measure the bandwidth-delay product and widen the receive window to fit, up to 4 MiB a stream: yes (core: yes).
    /// Turning it off limits the memory of a stalled stream to 64 KiB and halves the rate of large messages.
    /// \[`grpc.http2.bdp_probe`\]
    pub bdp_probe: bool,
    /// Number of bytes that a stream may hold back to send together: 64 KiB (core: 64 KiB). 1 MiB saves 15–20 % of a
    /// sender's processor time with large messages. \[`grpc.http2.write_buffer_size`\]
    pub write_buffer: usize,
    /// Time for which `recv` may poll before it blocks, in a conversation: if something was sent on the stream since
    /// the last call of `recv`. 50 µs; zero turns it off. Polling removes a thread switch from a round trip. Before
    /// polling, `recv` may wait three times as long for the reply to the previous message. Idle and one-way streams
    /// never do either. The number of threads that spin at the same time is limited to the number of processors.
    pub spin: Duration,
    /// Servers: number of calls requested in advance: 16, at least 1. A larger number absorbs bursts of new streams,
    /// but lengthens a stop.
    pub requests_ahead: usize,
    /// Additional integer arguments of the core, by name. They override the fields above and the limits.
    pub extra: Vec<(String, i32)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            keepalive_without_calls: true,
            max_pings_without_data: 0,
            max_ping_strikes: 2,
            reuse_port: false,
            own_connection: true,
            retries: false,
            http_proxy: false,
            bdp_probe: true,
            write_buffer: 64 << 10,
            spin: Duration::from_micros(50),
            requests_ahead: 16,
            extra: Vec::new(),
        }
    }
}

impl Options {
    /// Checks the options. Every function that takes options calls this.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the field.
    pub(crate) fn validate(&self) -> Result<()> {
        if self.requests_ahead == 0 {
            return Err(invalid("requests_ahead is zero; it must be at least 1"));
        }
        if self.spin > Duration::from_millis(1) {
            return Err(invalid(format!("spin is {:?}; more than 1 ms only burns processor time", self.spin)));
        }
        match self.extra.iter().find(|(name, _)| name.is_empty() || name.contains('\0')) {
            Some((name, _)) => Err(invalid(format!("extra argument {name:?} is not a valid name"))),
            None => Ok(()),
        }
    }
}

/// The settings from which a transport's channels and servers are made.
#[derive(Clone)]
pub(crate) struct Settings {
    pub limits: Limits,
    pub options: Options,
    /// The shared memory quota, while it is in use.
    quota: Arc<Mutex<Weak<Quota>>>,
}

impl Settings {
    /// Checks limits and options.
    pub fn new(limits: Limits, options: Options) -> Result<Self> {
        limits.validate()?;
        options.validate()?;
        Ok(Settings { limits, options, quota: Arc::default() })
    }

    /// Returns the quota, which lives as long as the result. The core must stay initialized for that time.
    pub(super) fn quota(&self) -> Option<Arc<Quota>> {
        let bytes = self.limits.memory_quota?;
        let mut shared = self.quota.lock();
        if let Some(quota) = shared.upgrade().filter(|quota| quota.bytes == bytes) {
            return Some(quota);
        }
        let quota = Arc::new(Quota::new(bytes));
        *shared = Arc::downgrade(&quota);
        Some(quota)
    }

    /// Returns the maximum time for a write to a frozen peer to end, with a margin for timers.
    pub(super) fn write_bound(&self) -> Duration {
        self.limits.keepalive_timeout + Duration::from_secs(2)
    }

    /// Returns the settings that the streams of this module apply themselves.
    pub(super) fn stream_options(&self) -> StreamOptions {
        StreamOptions {
            spin: self.options.spin,
            max_receive: self.limits.max_receive_message,
            max_send: self.limits.max_send_message,
        }
    }

    fn common(&self) -> Vec<(&'static CStr, i32)> {
        vec![
            (c"grpc.keepalive_time_ms", millis(self.limits.keepalive_time)),
            (c"grpc.keepalive_timeout_ms", millis(self.limits.keepalive_timeout)),
            (c"grpc.keepalive_permit_without_calls", self.options.keepalive_without_calls.into()),
            (c"grpc.http2.max_pings_without_data", int(self.options.max_pings_without_data as usize)),
            (c"grpc.http2.bdp_probe", self.options.bdp_probe.into()),
            (c"grpc.http2.write_buffer_size", int(self.options.write_buffer)),
            // Nothing is compressed. A peer that compresses receives UNIMPLEMENTED, as from a Fabric peer. The core
            // would decompress a message to any size before it checks a limit.
            (c"grpc.compression_enabled_algorithms_bitset", 1),
            (c"grpc.per_message_compression", 0),
            (c"grpc.per_message_decompression", 0),
        ]
    }

    /// Returns the arguments of a server.
    pub(super) fn server_args(&self) -> Args {
        let mut args = Args::new(self);
        args.ints(self.server());
        // A server built by the host has other services, whose clients may be idle between calls.
        args.ints([(c"grpc.max_connection_idle_ms", millis(self.limits.max_connection_idle))]);
        args.ints(NO_LIMITS);
        args
    }

    /// Returns the arguments for a server built by the host, without the quota and the idle limit.
    #[cfg(feature = "host-server")]
    fn server_ints(&self) -> Vec<(CString, i32)> {
        let mut args = Args::new(self);
        args.ints(self.server());
        args.ints([
            (c"grpc.max_receive_message_length", int(self.limits.max_receive_message)),
            (c"grpc.max_send_message_length", int(self.limits.max_send_message)),
        ]);
        let ints = args.args.into_iter();
        ints.filter_map(|(name, value)| if let Value::Int(value) = value { Some((name, value)) } else { None })
            .collect()
    }

    fn server(&self) -> Vec<(&'static CStr, i32)> {
        let mut args = self.common();
        args.extend([
            (c"grpc.http2.min_ping_interval_without_data_ms", millis(self.limits.min_ping_interval)),
            (c"grpc.http2.max_ping_strikes", int(self.options.max_ping_strikes as usize)),
            (c"grpc.server_handshake_timeout_ms", millis(self.limits.handshake_timeout)),
            (c"grpc.max_concurrent_streams", int(self.limits.max_concurrent_streams as usize)),
            (c"grpc.so_reuseport", self.options.reuse_port.into()),
        ]);
        args
    }

    /// Returns the arguments of a channel whose connection attempts time out after `connect`.
    pub(super) fn channel_args(&self, connect: Duration) -> Args {
        let mut args = Args::new(self);
        args.ints(self.common());
        args.ints(NO_LIMITS);
        args.ints([
            (c"grpc.use_local_subchannel_pool", self.options.own_connection.into()),
            (c"grpc.enable_retries", self.options.retries.into()),
            // Without the filters that are not needed here (of those the size limits cost most, see `NO_LIMITS`).
            // Retries need the filters; deadlines are requested separately.
            (c"grpc.minimal_stack", (!self.options.retries).into()),
            (c"grpc.enable_deadline_checking", 1),
            (c"grpc.enable_http_proxy", self.options.http_proxy.into()),
            // The larger of the two limits a connection attempt, which then fails with a text that states the reason.
            (c"grpc.min_reconnect_backoff_ms", millis(connect)),
            (c"grpc.initial_reconnect_backoff_ms", millis(connect)),
        ]);
        args
    }
}

/// Returns the arguments of a server built by the host.
#[cfg(feature = "host-server")]
pub(crate) fn server_arguments(limits: &Limits, options: &Options) -> Result<Vec<(CString, i32)>> {
    Ok(Settings::new(limits.clone(), options.clone())?.server_ints())
}

/// The core's size limits are a filter for every message, at a seventh of the processor time of a small one. The filter
/// checks a message that has been received completely, which [`Stream`](super::Stream) can do as well.
const NO_LIMITS: [(&CStr, i32); 2] = [(c"grpc.max_receive_message_length", -1), (c"grpc.max_send_message_length", -1)];

/// The settings that are not arguments of the core.
#[derive(Clone, Copy)]
pub(super) struct StreamOptions {
    pub spin: Duration,
    pub max_receive: usize,
    pub max_send: usize,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message).with_step("options")
}

fn int(value: usize) -> i32 {
    value.try_into().unwrap_or(i32::MAX)
}

fn millis(time: Duration) -> i32 {
    time.as_millis().try_into().unwrap_or(i32::MAX)
}

/// Returns a call's deadline; `None` means never.
pub(super) fn deadline(limit: Option<Duration>) -> gpr_timespec {
    limit.filter(|limit| *limit < FOR_EVER).map_or_else(gpr_timespec::inf_future, Into::into)
}

/// Channel arguments under construction. They own the memory they point to; the core copies all of it.
pub(super) struct Args {
    args: Vec<(CString, Value)>,
    quota: Option<Arc<Quota>>,
}

enum Value {
    Int(i32),
    Text(CString),
}

impl Args {
    fn new(settings: &Settings) -> Args {
        let extra = settings.options.extra.iter();
        let extra = extra.filter_map(|(name, value)| Some((CString::new(name.as_str()).ok()?, Value::Int(*value))));
        Args { args: extra.collect(), quota: None }
    }

    fn ints(&mut self, more: impl IntoIterator<Item = (&'static CStr, i32)>) {
        for (name, value) in more {
            if !self.args.iter().any(|(given, _)| given.as_c_str() == name) {
                self.args.push((name.to_owned(), Value::Int(value)));
            }
        }
    }

    pub(super) fn text(&mut self, name: &CStr, value: CString) {
        self.args.push((name.to_owned(), Value::Text(value)));
    }

    pub(super) fn quota(&mut self, quota: Option<Arc<Quota>>) {
        self.quota = quota;
    }

    /// Calls `f` with the arguments in the core's form.
    pub(super) fn with<R>(&self, f: impl FnOnce(*const grpc_channel_args) -> R) -> R {
        let mut raw: Vec<grpc_arg> = self.args.iter().map(|(name, value)| arg(name, value)).collect();
        if let Some(quota) = &self.quota {
            // SAFETY: returns a static table, with which the core takes its own reference to the quota.
            let vtable = unsafe { grpc_resource_quota_arg_vtable() };
            let pointer = grpc_arg_grpc_arg_value_grpc_arg_pointer { p: quota.raw.cast(), vtable };
            raw.push(grpc_arg {
                type_: grpc_arg_type::GRPC_ARG_POINTER,
                key: c"grpc.resource_quota".as_ptr().cast_mut(),
                value: grpc_arg_grpc_arg_value { pointer },
            });
        }
        f(&grpc_channel_args { num_args: raw.len(), args: if raw.is_empty() { null_mut() } else { raw.as_mut_ptr() } })
    }
}

fn arg(name: &CStr, value: &Value) -> grpc_arg {
    let (type_, value) = match value {
        Value::Int(integer) => (grpc_arg_type::GRPC_ARG_INTEGER, grpc_arg_grpc_arg_value { integer: *integer }),
        Value::Text(text) => {
            (grpc_arg_type::GRPC_ARG_STRING, grpc_arg_grpc_arg_value { string: text.as_ptr().cast_mut() })
        }
    };
    grpc_arg { type_, key: name.as_ptr().cast_mut(), value }
}

/// Memory quota shared by connections.
#[derive(Debug)]
pub(crate) struct Quota {
    raw: *mut grpc_resource_quota,
    bytes: usize,
}

// SAFETY: quotas of the core may be used from any thread.
unsafe impl Send for Quota {}
// SAFETY: as above.
unsafe impl Sync for Quota {}

impl Quota {
    fn new(bytes: usize) -> Quota {
        // SAFETY: the name is a static string; resizing a quota that we own is allowed.
        unsafe {
            let raw = grpc_resource_quota_create(c"gossip".as_ptr());
            grpc_resource_quota_resize(raw, bytes);
            Quota { raw, bytes }
        }
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // SAFETY: releases the reference that `create` returned.
        unsafe { grpc_resource_quota_unref(self.raw) }
    }
}
