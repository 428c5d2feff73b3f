//! Limits that every transport honours, with their defaults and the reasons for them.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Limits on sizes, timeouts and counts of connections and streams. Every transport honours them. Options specific to
/// one transport are separate (`c_core::Options`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Maximum size of a received message, in bytes: 100 MiB as in Fabric. A larger one ends the stream with
    /// RESOURCE_EXHAUSTED.
    pub max_receive_message: usize,
    /// Maximum size of a sent message, in bytes: 100 MiB as in Fabric. A larger one ends the stream with
    /// RESOURCE_EXHAUSTED.
    pub max_send_message: usize,
    /// Time without data from the peer after which it is pinged: 60 s. A Fabric server requires at least 60 s between
    /// pings and closes the connection of a client that pings more often.
    pub keepalive_time: Duration,
    /// Maximum time for a peer to answer a ping or to acknowledge sent data: 5 s; after that the connection is closed.
    /// Also set as TCP's user timeout (`TCP_USER_TIMEOUT`), so a write to a peer that has stopped reading keeps the
    /// connection open for at most this long. Stopping a server over the C core can take this time plus 2 s, in
    /// addition to the grace period.
    pub keepalive_timeout: Duration,
    /// Servers: minimum interval between a client's pings: 30 s, since Fabric's clients ping every 60 s.
    pub min_ping_interval: Duration,
    /// Servers: time limit for TLS and HTTP/2 setup: 5 s as Fabric's connection timeout.
    pub handshake_timeout: Duration,
    /// Servers: maximum number of concurrent streams on one connection: 64. A conforming client waits.
    pub max_concurrent_streams: u32,
    /// Servers: time without an open stream after which a connection is closed: 10 s. Without this limit, a peer could
    /// set up TLS and HTTP/2, open no stream, and stay connected indefinitely.
    pub max_connection_idle: Duration,
    /// Servers: maximum number of streams served at the same time, each on its own thread: 4096. Further streams end
    /// immediately with RESOURCE_EXHAUSTED.
    pub max_served: usize,
    /// Memory for received data of all connections of one transport, in bytes: 1 GiB; `None`: unlimited. It bounds
    /// messages that never end. Over the C core, an idle connection takes about 100 KiB, a connection whose messages
    /// are not read up to 4 MiB, and a message being received its full length. Near the limit the C core accepts no
    /// connections; above it, it resets streams one by one until the memory suffices. The HTTP/2 transport counts
    /// received messages that nobody has taken yet; near the limit it lets peers send less, and resets nothing.
    pub memory_quota: Option<usize>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_receive_message: 100 << 20,
            max_send_message: 100 << 20,
            keepalive_time: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(5),
            min_ping_interval: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            max_concurrent_streams: 64,
            max_connection_idle: Duration::from_secs(10),
            max_served: 4096,
            memory_quota: Some(1 << 30),
        }
    }
}

// Without a real transport, nothing has limits.
#[cfg_attr(not(feature = "c-core"), allow(dead_code))]
impl Limits {
    /// Checks the limits. Every function that takes limits calls this.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the field.
    pub(crate) fn validate(&self) -> Result<()> {
        let positive = [
            ("max_receive_message", self.max_receive_message),
            ("max_send_message", self.max_send_message),
            ("max_served", self.max_served),
            ("max_concurrent_streams", self.max_concurrent_streams as usize),
            ("keepalive_time", self.keepalive_time.as_millis() as usize),
            ("keepalive_timeout", self.keepalive_timeout.as_millis() as usize),
            ("handshake_timeout", self.handshake_timeout.as_millis() as usize),
            ("max_connection_idle", self.max_connection_idle.as_millis() as usize),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(invalid(format!("{name} is zero; it must be at least 1 (durations: 1 ms)")));
        }
        if self.memory_quota == Some(0) {
            return Err(invalid("memory_quota is zero; leave it out for no limit"));
        }
        Ok(())
    }
}

#[cfg_attr(not(feature = "c-core"), allow(dead_code))]
fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message).with_step("transport limits")
}
