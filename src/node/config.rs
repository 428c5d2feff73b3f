//! Settings of a node.

use super::channel::ChannelConfig;
use super::emitter::EmitterConfig;
use super::pull::PullConfig;
use crate::discovery::{check_endpoint, DiscoveryConfig};
use crate::error::{Error, ErrorKind, Result};
use std::time::Duration;

/// Settings of a node, with the defaults of Fabric's `core.yaml` where Fabric has the setting.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeConfig {
    /// Endpoints of peers of our organisation that we contact first: `peer.gossip.bootstrap`; none by default.
    pub bootstrap: Vec<String>,
    /// Membership.
    pub discovery: DiscoveryConfig,
    /// Batching of gossiped messages.
    pub emitter: EmitterConfig,
    /// Number of peers that a message is pushed to: `peer.gossip.propagatePeerNum`, 3.
    pub propagate_peer_num: usize,
    /// Interval between pulls of identities: `peer.gossip.pullInterval`, 4 s.
    pub pull_interval: Duration,
    /// Number of peers per pull: `peer.gossip.pullPeerNum`, 3.
    pub pull_peer_num: usize,
    /// The exchanges in which identities are pulled.
    pub pull: PullConfig,
    /// Channels.
    pub channel: ChannelConfig,
    /// Maximum number of verifications in progress, without those of the membership: 4,096. Beyond it, new messages are
    /// dropped and learned when they are received again.
    pub max_verifications: usize,
}

impl Default for NodeConfig {
    fn default() -> Self {
        NodeConfig {
            bootstrap: Vec::new(),
            discovery: DiscoveryConfig::default(),
            emitter: EmitterConfig::default(),
            propagate_peer_num: 3,
            pull_interval: Duration::from_secs(4),
            pull_peer_num: 3,
            pull: PullConfig::default(),
            channel: ChannelConfig::default(),
            max_verifications: 4096,
        }
    }
}

impl NodeConfig {
    /// Checks every value; the error names the first wrong one.
    pub(crate) fn validate(&self) -> Result<()> {
        self.discovery.validate()?;
        self.bootstrap.iter().try_for_each(|peer| check_endpoint(peer).map_err(|e| e.with_step("bootstrap")))?;
        let positive = [
            ("emitter.burst_size", self.emitter.burst_size > 0),
            ("emitter.latency", !self.emitter.latency.is_zero()),
            ("pull_interval", !self.pull_interval.is_zero()),
            ("pull.digest_wait", !self.pull.digest_wait.is_zero()),
            ("pull.request_wait", !self.pull.request_wait.is_zero()),
            ("pull.response_wait", !self.pull.response_wait.is_zero()),
            ("pull.max_items", self.pull.max_items > 0),
            ("channel.publish_state_info_interval", !self.channel.publish_state_info_interval.is_zero()),
            ("channel.request_state_info_interval", !self.channel.request_state_info_interval.is_zero()),
            ("max_verifications", self.max_verifications > 0),
        ];
        match positive.iter().find(|(_, ok)| !ok) {
            Some((name, _)) => Err(Error::new(ErrorKind::Config, format!("{name} must be greater than zero"))),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g33_the_defaults_are_those_of_fabric() {
        let config = NodeConfig::default();
        config.validate().unwrap();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        assert_eq!((config.emitter.iterations, config.emitter.burst_size, config.emitter.latency), (1, 10, ms(10)));
        assert_eq!((config.propagate_peer_num, config.pull_interval, config.pull_peer_num), (3, s(4), 3));
        let pull = config.pull;
        assert_eq!((pull.digest_wait, pull.request_wait, pull.response_wait), (s(1), ms(1500), s(2)));
        let discovery = &config.discovery;
        assert_eq!((discovery.alive_time_interval, discovery.alive_expiration_timeout), (s(5), s(25)));
        assert_eq!(discovery.alive_expiration_check_interval, discovery.alive_expiration_timeout / 10);
        assert_eq!((discovery.reconnect_interval, discovery.msg_expiration_factor), (s(25), 20));
        assert_eq!((discovery.publish_cert_period, discovery.sync_peers), (s(10), 3));
        assert_eq!(discovery.sync_interval, Some(config.pull_interval));
        let channel = &config.channel;
        assert_eq!((channel.publish_state_info_interval, channel.request_state_info_interval), (s(4), s(4)));
        assert_eq!(channel.max_block_count_to_store, 10);
    }

    #[test]
    fn a_wrong_value_is_named() {
        let emitter = EmitterConfig { burst_size: 0, ..EmitterConfig::default() };
        let wrong = NodeConfig { emitter, ..NodeConfig::default() }.validate().unwrap_err();
        assert_eq!(wrong.message(), "emitter.burst_size must be greater than zero");
        let bootstrap = vec!["peer0:7051".to_owned(), "peer1".to_owned()];
        let wrong = NodeConfig { bootstrap, ..NodeConfig::default() }.validate().unwrap_err();
        assert_eq!(wrong.to_string(), "bootstrap: endpoint 'peer1' isn't formatted as 'host:port'");
    }
}
