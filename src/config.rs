//! Settings. The defaults are Fabric's where Fabric has the setting.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Settings of the communication layer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CommConfig {
    /// Time limit for connecting. `peer.gossip.dialTimeout`, 3 s. A refused connection is reported immediately.
    pub dial_timeout: Duration,
    /// Time limit for a Ping, and for receiving the other side's connection message in a handshake.
    /// `peer.gossip.connTimeout`, 2 s. Also the window within which a second stream of a peer counts as a simultaneous
    /// dial and not as a reconnection, and the time limit for draining a connection when it is closed.
    pub conn_timeout: Duration,
    /// Maximum lifetime of the stream of a probing handshake. Fabric's constant, 10 s.
    pub handshake_timeout: Duration,
    /// Maximum number of messages queued for one peer. `peer.gossip.sendBuffSize`, 200.
    pub send_buff_size: usize,
    /// Maximum number of bytes queued for one peer, 64 MiB. A single larger message is accepted if the queue is empty.
    pub send_buff_bytes: usize,
    /// Maximum size of a message, as a serialized envelope: 100 MiB, the limit of Fabric's peers.
    pub max_message_size: usize,
    /// Maximum number of open connections, 10,000. Above it, an inbound stream is refused with a status that names the
    /// limit, and a dial fails.
    pub max_connections: usize,
    /// Maximum number of inbound streams that have not authenticated yet, 256. Further streams are refused. One address
    /// can hold seven eighths of them. A stream
    /// stays unauthenticated for at most `conn_timeout`, and its first message may have up to 256 KiB. (The C core
    /// delivers a message only after it has received all of it. On Linux a peer that sends more is refused while it is
    /// sending; `memory_quota` of the gRPC options sets a bound on every system.)
    pub max_unauthenticated: usize,
    /// Maximum number of inbound streams from one address, 2,048. An address is an IPv4 address or an IPv6 /64 network.
    /// Further streams are refused. Raise the limit if many peers share a translated address or all run on loopback.
    pub max_connections_per_address: usize,
    /// Maximum number of inbound streams of one authenticated peer, 16. A peer normally has one, and two while a new
    /// connection replaces the old one. Further streams are refused.
    pub max_streams_per_identity: usize,
    /// Maximum number of events queued for one reader of [`Comm::events`](crate::comm::Comm::events), 1,024. Further
    /// events are dropped and counted.
    pub event_buff_size: usize,
    /// Time after which an unused identity is removed: Fabric's one hour.
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
    /// Checks every value. The error names the first invalid one.
    pub(crate) fn validate(&self) -> Result<()> {
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

/// Capacity of one subscription, and its behaviour when it is full.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SubscriptionOptions {
    /// Maximum number of queued messages, 1,024.
    pub capacity: usize,
    /// Maximum number of queued bytes, 16 MiB. A single larger message is accepted if the queue is empty.
    pub bytes: usize,
    /// Behaviour when a message does not fit.
    pub when_full: WhenFull,
}

/// Behaviour of a full subscription for a message that matches it. Every dropped message is counted, and the receiver
/// can query the number of messages it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhenFull {
    /// The connection waits for room, at most this long (`None`: without limit). If the wait fails, the subscription
    /// drops messages until it has room again.
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
    /// Sets the capacity to `capacity` messages.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.max(1);
        self
    }

    /// Sets the maximum number of queued bytes.
    #[must_use]
    pub fn bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes.max(1);
        self
    }

    /// Sets the behaviour when the subscription is full.
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
