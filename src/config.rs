//! Settings, with Fabric's defaults where Fabric has the setting.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Settings of the communication layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommConfig {
    /// How long connecting may take. `peer.gossip.dialTimeout`, 3 s. A refusal is reported at once.
    pub dial_timeout: Duration,
    /// How long a Ping may take, and how long a handshake waits for the other side's connection message.
    /// `peer.gossip.connTimeout`, 2 s. Also the window within which two simultaneous dials are told from a reconnection,
    /// and the longest that a connection is drained when it is closed.
    pub conn_timeout: Duration,
    /// How long the stream of a probing handshake may live. Fabric's constant, 10 s.
    pub handshake_timeout: Duration,
    /// Messages that may wait for one peer. `peer.gossip.sendBuffSize`, 200.
    pub send_buff_size: usize,
    /// Bytes that may wait for one peer, 64 MiB. A single message that is larger is accepted while nothing else waits.
    pub send_buff_bytes: usize,
    /// The largest message, as serialized envelope: 100 MiB, what Fabric's peers accept.
    pub max_message_size: usize,
    /// Connections at a time, 10,000. An inbound stream beyond is refused with a status that says so; a dial fails.
    pub max_connections: usize,
    /// Inbound streams at a time that have not authenticated yet, 256. One beyond is refused. None stays one for longer
    /// than `conn_timeout`, and the first message of each may have 256 KiB. (The C core reads a message to its end before
    /// it shows it. On Linux who sends more is refused meanwhile; `memory_quota` of the gRPC options bounds it anywhere.)
    pub max_unauthenticated: usize,
    /// Inbound streams at a time from one address, 2,048: an IPv4 address, or an IPv6 network of 64 bits. One beyond is
    /// refused. Many peers behind a translated address, or all of them on loopback, need as many.
    pub max_connections_per_address: usize,
    /// Inbound streams at a time of one authenticated peer, 16. It has one as a rule, and a second one while a new
    /// connection takes the place of the old. One beyond is refused.
    pub max_streams_per_identity: usize,
    /// Events that wait for one reader of [`Comm::events`](crate::comm::Comm::events), 1,024; beyond, they are dropped
    /// and counted.
    pub event_buff_size: usize,
    /// How long an identity may go unused before it is forgotten: Fabric's one hour.
    pub usage_threshold: Duration,
}

impl Default for CommConfig {
    fn default() -> Self {
        CommConfig {
            dial_timeout: Duration::from_secs(3),
            conn_timeout: Duration::from_secs(2),
            handshake_timeout: Duration::from_secs(10),
            send_buff_size: 200,
            send_buff_bytes: 64 << 20,
            max_message_size: 100 << 20,
            max_connections: 10_000,
            max_unauthenticated: 256,
            max_connections_per_address: 2048,
            max_streams_per_identity: 16,
            event_buff_size: 1024,
            usage_threshold: Duration::from_secs(3600),
        }
    }
}

impl CommConfig {
    /// Checks every value; the error names the first wrong one.
    pub fn validate(&self) -> Result<()> {
        let positive = [
            ("dial_timeout", !self.dial_timeout.is_zero()),
            ("conn_timeout", !self.conn_timeout.is_zero()),
            ("handshake_timeout", !self.handshake_timeout.is_zero()),
            ("send_buff_size", self.send_buff_size > 0),
            ("send_buff_bytes", self.send_buff_bytes > 0),
            ("max_message_size", self.max_message_size > 0),
            ("max_connections", self.max_connections > 0),
            ("max_unauthenticated", self.max_unauthenticated > 0),
            ("max_connections_per_address", self.max_connections_per_address > 0),
            ("max_streams_per_identity", self.max_streams_per_identity > 0),
            ("event_buff_size", self.event_buff_size > 0),
            ("usage_threshold", !self.usage_threshold.is_zero()),
        ];
        match positive.iter().find(|(_, ok)| !ok) {
            Some((name, _)) => Err(Error::new(ErrorKind::Config, format!("{name} must be greater than zero"))),
            None if self.max_message_size > i32::MAX as usize => {
                Err(Error::new(ErrorKind::Config, "max_message_size must be below 2 GiB"))
            }
            None => Ok(()),
        }
    }
}

/// How much one subscription may hold, and what happens when it is full.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionOptions {
    /// Messages that may wait to be received, 1,024.
    pub capacity: usize,
    /// Bytes that may wait to be received, 16 MiB. A single message that is larger is taken while nothing else waits.
    pub bytes: usize,
    /// What to do with a message that has no room.
    pub when_full: WhenFull,
}

/// What a full subscription does to a message that matches it. Every dropped message is counted, and the receiver can
/// ask how many it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The connection waits for room, at most this long (`None`: for ever). After it has waited in vain the
    /// subscription drops until it has room again.
    Wait(Option<Duration>),
    /// The message is dropped.
    Drop,
}

impl Default for SubscriptionOptions {
    fn default() -> Self {
        SubscriptionOptions { capacity: 1024, bytes: 16 << 20, when_full: WhenFull::Wait(Some(Duration::from_secs(1))) }
    }
}

impl SubscriptionOptions {
    /// Room for `capacity` messages.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// Room for this many bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// What to do when full.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_named() {
        CommConfig::default().validate().unwrap();
        let e = CommConfig { send_buff_size: 0, ..Default::default() }.validate().unwrap_err();
        assert_eq!(e.message(), "send_buff_size must be greater than zero");
    }
}
