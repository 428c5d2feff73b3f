//! Settings of the membership.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Maximum of any wait, well below the limit of an `Instant`.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Settings of the membership, with the defaults of Fabric's `core.yaml` where Fabric has the setting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiscoveryConfig {
    /// Interval between our alive messages: `peer.gossip.aliveTimeInterval`, 5 s.
    pub alive_time_interval: Duration,
    /// Time without a newer alive message after which a peer is dead: `peer.gossip.aliveExpirationTimeout`, 25 s.
    pub alive_expiration_timeout: Duration,
    /// Interval between checks for such peers: as in Fabric, a tenth of the above, 2.5 s.
    pub alive_expiration_check_interval: Duration,
    /// Interval between rounds of pings to dead members, and maximum wait between attempts to contact a seed:
    /// `peer.gossip.reconnectInterval`, 25 s.
    pub reconnect_interval: Duration,
    /// Time for which a dead peer is remembered, as a multiple of
    /// [`alive_expiration_timeout`](Self::alive_expiration_timeout): `peer.gossip.msgExpirationFactor`, 20.
    pub msg_expiration_factor: u32,
    /// Interval between membership requests to random peers: `peer.gossip.pullInterval`, 4 s. With `None`, requests are
    /// made only on demand. A node that has just found the network asks sooner: first after a sixteenth of the
    /// interval, then at doubling intervals.
    pub sync_interval: Option<Duration>,
    /// Number of peers that get such a request: `peer.gossip.pullPeerNum`, 3.
    pub sync_peers: usize,
    /// Time after the start for which our alive messages include our identity: `peer.gossip.publishCertPeriod`, 10 s.
    pub publish_cert_period: Duration,
    /// Time that a seed has to answer a membership request: 2 s. (Fabric: 5 s.)
    pub response_timeout: Duration,
    /// Maximum wait after the first failed contact with a seed: 500 ms. It doubles with every failure, up to
    /// [`reconnect_interval`](Self::reconnect_interval); the actual wait is random, between half of it and all. (Fabric
    /// always waits `reconnectInterval`, and gives up after `maxConnectionAttempts`; we never do.) A peer of another
    /// organisation that accepts us but answers no membership request is retried after `reconnect_interval`.
    pub seed_retry_wait: Duration,
    /// Maximum number of seeds: 1,000.
    pub max_seeds: usize,
    /// Maximum number of members, alive and dead: 20,000. Beyond it, new members are not learned. The same number of
    /// forgotten members is remembered by their time alone, so that old messages do not bring them back.
    pub max_members: usize,
    /// Maximum number of verifications in progress: 20,000. Beyond it, new messages are dropped, and learned when they
    /// are received again. Messages of one sender use at most half of it.
    pub max_verifications: usize,
    /// Maximum number of bytes in messages being verified: 64 MiB; half of that for one sender.
    pub max_verification_bytes: usize,
    /// Maximum number of verifications in progress for one PKI-ID: 8. Each sender of such messages may use a quarter.
    /// Messages sent by the peer itself have the same number of separate places.
    pub max_verifications_per_member: usize,
    /// Maximum number of pings in progress: 128.
    pub max_pings: usize,
    /// Maximum size of an alive message, as a serialized envelope: 64 KiB.
    pub max_alive_size: usize,
    /// Number of membership requests of one peer that are answered immediately: 10; then one per
    /// [`request_interval`](Self::request_interval). The same limit applies to its responses.
    pub request_burst: u32,
    /// Interval at which one peer may repeat requests: 1 s. (Fabric's peers ask one another every few seconds.)
    pub request_interval: Duration,
}

impl Default for DiscoveryConfig {
    fn default() -> Self {
        DiscoveryConfig {
            alive_time_interval: Duration::from_secs(5),
            alive_expiration_timeout: Duration::from_secs(25),
            alive_expiration_check_interval: Duration::from_millis(2500),
            reconnect_interval: Duration::from_secs(25),
            msg_expiration_factor: 20,
            sync_interval: Some(Duration::from_secs(4)),
            sync_peers: 3,
            publish_cert_period: Duration::from_secs(10),
            response_timeout: Duration::from_secs(2),
            seed_retry_wait: Duration::from_millis(500),
            max_seeds: 1000,
            max_members: 20_000,
            max_verifications: 20_000,
            max_verification_bytes: 64 << 20,
            max_verifications_per_member: 8,
            max_pings: 128,
            max_alive_size: 64 << 10,
            request_burst: 10,
            request_interval: Duration::from_secs(1),
        }
    }
}

impl DiscoveryConfig {
    /// Returns how long a peer is remembered without news: `aliveExpirationTimeout` times `msgExpirationFactor`.
    #[doc(hidden)]
    pub fn message_ttl(&self) -> Duration {
        self.alive_expiration_timeout.saturating_mul(self.msg_expiration_factor).min(LONGEST)
    }

    /// Checks every value; the error names the first wrong one.
    pub(crate) fn validate(&self) -> Result<()> {
        let wrong = |name: &str, what: &str| Err(Error::new(ErrorKind::Config, format!("{name} must be {what}")));
        for (name, wait) in [
            ("alive_time_interval", self.alive_time_interval),
            ("alive_expiration_timeout", self.alive_expiration_timeout),
            ("alive_expiration_check_interval", self.alive_expiration_check_interval),
            ("reconnect_interval", self.reconnect_interval),
            ("sync_interval", self.sync_interval.unwrap_or(LONGEST)),
            ("response_timeout", self.response_timeout),
            ("seed_retry_wait", self.seed_retry_wait),
            ("request_interval", self.request_interval),
        ] {
            if wait.is_zero() || wait > LONGEST {
                return wrong(name, "greater than zero and at most ten years");
            }
        }
        if self.publish_cert_period > LONGEST {
            return wrong("publish_cert_period", "at most ten years");
        }
        for (name, number) in [
            ("sync_peers", self.sync_peers),
            ("msg_expiration_factor", self.msg_expiration_factor as usize),
            ("max_members", self.max_members),
            ("max_verifications", self.max_verifications),
            ("max_verifications_per_member", self.max_verifications_per_member),
            ("max_pings", self.max_pings),
            ("max_alive_size", self.max_alive_size),
            ("request_burst", self.request_burst as usize),
        ] {
            if number == 0 {
                return wrong(name, "greater than zero");
            }
        }
        if self.max_verification_bytes < 2 * self.max_alive_size {
            return wrong("max_verification_bytes", "at least twice max_alive_size");
        }
        if self.alive_expiration_timeout <= self.alive_time_interval {
            return wrong("alive_expiration_timeout", "longer than alive_time_interval");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_named() {
        DiscoveryConfig::default().validate().unwrap();
        let e = DiscoveryConfig { max_members: 0, ..Default::default() }.validate().unwrap_err();
        assert_eq!(e.message(), "max_members must be greater than zero");
        let e = DiscoveryConfig { reconnect_interval: Duration::MAX, ..Default::default() }.validate().unwrap_err();
        assert_eq!(e.message(), "reconnect_interval must be greater than zero and at most ten years");
    }

    #[test]
    fn dead_peers_are_remembered_for_500_s_by_default() {
        assert_eq!(DiscoveryConfig::default().message_ttl(), Duration::from_secs(500));
    }
}
