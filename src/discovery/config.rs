//! Settings of the membership.

use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// The longest any wait can be set to: far from what an `Instant` can hold.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Settings of the membership, with the defaults of Fabric's `core.yaml` where Fabric has the setting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DiscoveryConfig {
    /// Between two alive messages of ours. `peer.gossip.aliveTimeInterval`, 5 s.
    pub alive_time_interval: Duration,
    /// After how long without a newer alive message a peer is dead. `peer.gossip.aliveExpirationTimeout`, 25 s.
    pub alive_expiration_timeout: Duration,
    /// How often is looked for such peers: Fabric's tenth of the above, 2.5 s.
    pub alive_expiration_check_interval: Duration,
    /// Between two rounds of trying to reach the dead, and the longest wait between two attempts to contact a seed.
    /// `peer.gossip.reconnectInterval`, 25 s.
    pub reconnect_interval: Duration,
    /// How many times [`alive_expiration_timeout`](Self::alive_expiration_timeout) a dead peer is remembered.
    /// `peer.gossip.msgExpirationFactor`, 20.
    pub msg_expiration_factor: u32,
    /// Between two membership requests to random peers; `None` for none but those asked for.
    /// `peer.gossip.pullInterval`, 4 s. A node that just found the network asks sooner, at a sixteenth of this first and
    /// then at doubling intervals.
    pub sync_interval: Option<Duration>,
    /// How many peers get such a request. `peer.gossip.pullPeerNum`, 3.
    pub sync_peers: usize,
    /// For how long after the start our alive messages bring our identity. `peer.gossip.publishCertPeriod`, 10 s.
    pub publish_cert_period: Duration,
    /// How long a seed has to answer a membership request, 2 s. (Fabric: 5 s.)
    pub response_timeout: Duration,
    /// The longest wait after the first failed contact with a seed, 500 ms; it doubles with every failure, up to
    /// [`reconnect_interval`](Self::reconnect_interval), and the actual wait is between half of it and all. (Fabric
    /// waits `reconnectInterval` at once, and gives up after `maxConnectionAttempts`; we never do.) A peer of another
    /// organisation that accepts us and answers no membership request is tried again after `reconnect_interval`.
    pub seed_retry_wait: Duration,
    /// Seeds at most, 1,000.
    pub max_seeds: usize,
    /// Members at most, alive and dead, 20,000; beyond, new ones are not learned. As many forgotten ones are remembered by
    /// their time alone, so that old messages do not bring them back.
    pub max_members: usize,
    /// Verifications under way at most, 20,000; beyond, what is new is dropped, and learned when it comes again. What one
    /// peer brings takes half of that at most.
    pub max_verifications: usize,
    /// Bytes of messages whose verification is under way at most, 64 MiB; of one peer half of that.
    pub max_verification_bytes: usize,
    /// Verifications under way for one PKI-ID at most, 8, of which each peer that brings such messages takes a quarter.
    /// What the peer itself brings has as many places of its own.
    pub max_verifications_per_member: usize,
    /// Pings under way at most, 128.
    pub max_pings: usize,
    /// The largest alive message, as serialized envelope, 64 KiB.
    pub max_alive_size: usize,
    /// Membership requests of one peer that are answered at once, 10; then one per
    /// [`request_interval`](Self::request_interval) is. Of its responses as many are used.
    pub request_burst: u32,
    /// How soon one peer may ask again and again, 1 s. (Fabric's peers ask one another every few seconds.)
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
    /// How long what is known of a peer lasts without news: `aliveExpirationTimeout` times `msgExpirationFactor`.
    pub fn message_ttl(&self) -> Duration {
        self.alive_expiration_timeout.saturating_mul(self.msg_expiration_factor).min(LONGEST)
    }

    /// Checks every value; the error names the first wrong one.
    pub fn validate(&self) -> Result<()> {
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
