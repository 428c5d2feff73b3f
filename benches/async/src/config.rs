//! Settings, with Fabric's defaults where Fabric has the setting.

use std::time::Duration;

/// Settings of a [`Comm`](crate::Comm).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How long connecting may take, TLS included: 3 s.
    pub dial_timeout: Duration,
    /// Time limit for a Ping, and for the other side's connection message: 2 s. Also the time within which two
    /// simultaneous dials are distinguished from a reconnection, and the longest that a connection is drained when it
    /// is closed.
    pub conn_timeout: Duration,
    /// Messages that may wait for one peer: 20.
    pub send_buff_size: usize,
    /// Bytes that may wait for one peer, 64 MiB. A single larger message is taken while nothing else waits.
    pub send_buff_bytes: usize,
    /// The largest message, as serialized envelope: 100 MiB.
    pub max_message_size: usize,
    /// Peers at a time, and TCP connections that the server has open at a time: 10,000 each.
    pub max_connections: usize,
    /// Accepted streams that have not authenticated yet, at a time: 256.
    pub max_unauthenticated: usize,
    /// The transport.
    pub http2: Http2,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dial_timeout: Duration::from_secs(3),
            conn_timeout: Duration::from_secs(2),
            send_buff_size: 20,
            send_buff_bytes: 64 << 20,
            max_message_size: 100 << 20,
            max_connections: 10_000,
            max_unauthenticated: 256,
            http2: Http2::default(),
        }
    }
}

/// Settings of HTTP/2 and TCP. The README has the effect of other values.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Http2 {
    /// Flow-control window of a stream, in bytes (HTTP/2's own: 65,535).
    pub stream_window: u32,
    /// Flow-control window of a connection, in bytes (HTTP/2's own: 65,535).
    pub connection_window: u32,
    /// Let hyper measure bandwidth × delay and set the windows by it, instead of the two above.
    pub adaptive_window: bool,
    /// The largest frame that we accept, in bytes (HTTP/2's own: 16,384), which is the largest that the peer sends.
    pub max_frame_size: u32,
    /// How much hyper takes from a stream's body before it has been written, in bytes (its own: 1 MiB for clients,
    /// 400 KiB for servers).
    pub max_send_buf_size: usize,
    /// `TCP_NODELAY` (the system's own: off).
    pub tcp_nodelay: bool,
    /// Ping the peer after this long in silence, 60 s, as Fabric's peers do.
    pub keepalive_time: Duration,
    /// How long a ping may stay unanswered, 5 s.
    pub keepalive_timeout: Duration,
    /// Calls at a time on one accepted connection, 64.
    pub max_concurrent_streams: u32,
}

impl Default for Http2 {
    fn default() -> Http2 {
        Http2 {
            stream_window: 1 << 20,
            connection_window: 1 << 20,
            adaptive_window: false,
            max_frame_size: 64 << 10,
            max_send_buf_size: 1 << 20,
            tcp_nodelay: true,
            keepalive_time: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(5),
            max_concurrent_streams: 64,
        }
    }
}

/// How much one subscription may hold, and how long its publisher waits for it when it is full.
#[derive(Clone, Debug)]
pub struct SubscriptionOptions {
    /// Messages that may wait to be received, 1,024.
    pub capacity: usize,
    /// Bytes that may wait to be received, 16 MiB. A single larger message is taken while nothing else waits.
    pub bytes: usize,
    /// How long a connection waits for room, 1 s; zero: not at all. After waiting without success the subscription
    /// drops, and counts, until it has room again.
    pub wait: Duration,
}

impl Default for SubscriptionOptions {
    fn default() -> SubscriptionOptions {
        SubscriptionOptions { capacity: 1024, bytes: 16 << 20, wait: Duration::from_secs(1) }
    }
}
