//! Limits that every transport honours, with their defaults and where those come from.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Sizes, timeouts and numbers that bound connections and streams. Every transport honours them; its own options are beside
/// them (`c_core::Options`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest message that is accepted, in bytes: 100 MiB as in Fabric. A larger one ends the stream with
    /// RESOURCE_EXHAUSTED.
    pub max_receive_message: usize,
    /// The largest message that is sent, in bytes: 100 MiB as in Fabric. A larger one ends the stream with
    /// RESOURCE_EXHAUSTED.
    pub max_send_message: usize,
    /// Ping the peer after this long without hearing from it: 60 s. A Fabric server allows no less than 60 s between pings
    /// and closes the connection of a client that does not keep to that.
    pub keepalive_time: Duration,
    /// The connection is lost if a ping, or any data, stays unanswered this long: 5 s. Also TCP's user timeout, and so the
    /// bound of a write to a frozen peer and of the stop of a server.
    pub keepalive_timeout: Duration,
    /// Servers: the shortest interval at which clients may ping: 30 s, since Fabric's clients ping every 60 s.
    pub min_ping_interval: Duration,
    /// Servers: the time for TLS and HTTP/2 to be set up: 5 s as Fabric's connection timeout.
    pub handshake_timeout: Duration,
    /// Servers: streams at once on one connection: 64. A client that keeps the rules waits.
    pub max_concurrent_streams: u32,
    /// Servers: close a connection on which no stream is open for this long: 10 s. A peer that sets up TLS and HTTP/2 and
    /// then opens no stream otherwise stays without limit.
    pub max_connection_idle: Duration,
    /// Servers: streams served at once, each on its own thread: 4096. Those above it end immediately with
    /// RESOURCE_EXHAUSTED.
    pub max_served: usize,
    /// Memory for received data of all connections of one transport, in bytes: 1 GiB; `None`: unlimited.
    /// It bounds messages that never end. An idle connection takes about 100 KiB over the C core, one whose messages are not
    /// read up to 4 MiB, and a message that is being received as much as it is long. Over the C core, connections are not
    /// accepted near it, and over it streams are reset one by one until it suffices.
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

impl Limits {
    /// Checks the limits; done by everything that takes them.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the field.
    pub fn validate(&self) -> Result<()> {
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

fn invalid(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Config, message).step("transport limits")
}
