//! The settings of a node: from the flags, else from Fabric's keys in the environment or `core.yaml`, else Fabric's own.

use crate::failure::{Failure, Result};
use crate::settings::Settings;
use crate::values::{duration, timeout};
use clap::Args;
use fabric_gossip::config::CommConfig;
use fabric_gossip::node::NodeConfig;
use std::time::Duration;

/// Intervals and limits of time.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Intervals")]
pub struct IntervalArgs {
    /// Between two heartbeats [default: 5s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    alive_interval: Option<Duration>,
    /// After how long without one a peer is dead [default: 25s, or five times --alive-interval]
    #[arg(long, value_name = "D", value_parser = timeout)]
    alive_expiration: Option<Duration>,
    /// Between two rounds of trying to reach the dead [default: that of --alive-expiration]
    #[arg(long, value_name = "D", value_parser = timeout)]
    reconnect_interval: Option<Duration>,
    /// Between two pulls of identities and of membership [default: 4s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    pull_interval: Option<Duration>,
    /// How long connecting may take [default: 3s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    dial_timeout: Option<Duration>,
    /// How long a Ping and each step of a handshake may take [default: 2s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    conn_timeout: Option<Duration>,
}

/// Looks keys up under `peer.gossip`. A zero there means the default, as in Fabric.
struct Keys<'a>(&'a Settings);

impl Keys<'_> {
    fn time(&self, key: &str, flag: Option<Duration>, to: &mut Duration) -> Result<bool> {
        let configured = self.0.parsed(&format!("peer.gossip.{key}"), duration)?.filter(|d| !d.is_zero());
        let value = flag.or(configured);
        *to = value.unwrap_or(*to);
        Ok(value.is_some())
    }

    fn number<T: TryFrom<u64>>(&self, key: &str, to: &mut T) -> Result<()> {
        let key = format!("peer.gossip.{key}");
        let parse = |text: &str| text.parse::<u64>().map_err(|_| "expected a number".to_owned());
        if let Some(number) = self.0.parsed(&key, parse)?.filter(|n| *n > 0) {
            let too_large = || Failure::usage(format!("{} is too large", self.0.source(&key)));
            *to = T::try_from(number).map_err(|_| too_large())?;
        }
        Ok(())
    }
}

impl IntervalArgs {
    pub fn node(&self, settings: &Settings) -> Result<NodeConfig> {
        let keys = Keys(settings);
        let mut config = NodeConfig::default();
        let discovery = &mut config.discovery;
        let other_beat = keys.time("aliveTimeInterval", self.alive_interval, &mut discovery.alive_time_interval)?;
        let expiration = &mut discovery.alive_expiration_timeout;
        if !keys.time("aliveExpirationTimeout", self.alive_expiration, expiration)? && other_beat {
            *expiration = 5 * discovery.alive_time_interval;
        }
        discovery.alive_expiration_check_interval = discovery.alive_expiration_timeout / 10;
        discovery.reconnect_interval = discovery.alive_expiration_timeout;
        keys.time("reconnectInterval", self.reconnect_interval, &mut discovery.reconnect_interval)?;
        keys.time("publishCertPeriod", None, &mut discovery.publish_cert_period)?;
        keys.number("msgExpirationFactor", &mut discovery.msg_expiration_factor)?;
        keys.time("pullInterval", self.pull_interval, &mut config.pull_interval)?;
        config.discovery.sync_interval = Some(config.pull_interval);
        keys.number("pullPeerNum", &mut config.pull_peer_num)?;
        config.discovery.sync_peers = config.pull_peer_num;
        keys.number("propagatePeerNum", &mut config.propagate_peer_num)?;
        keys.number("propagateIterations", &mut config.emitter.iterations)?;
        keys.number("maxPropagationBurstSize", &mut config.emitter.burst_size)?;
        keys.time("maxPropagationBurstLatency", None, &mut config.emitter.latency)?;
        keys.time("digestWaitTime", None, &mut config.pull.digest_wait)?;
        keys.time("requestWaitTime", None, &mut config.pull.request_wait)?;
        keys.time("responseWaitTime", None, &mut config.pull.response_wait)?;
        let channel = &mut config.channel;
        keys.time("publishStateInfoInterval", None, &mut channel.publish_state_info_interval)?;
        keys.time("requestStateInfoInterval", None, &mut channel.request_state_info_interval)?;
        keys.number("maxBlockCountToStore", &mut channel.max_block_count_to_store)?;
        Ok(config)
    }

    pub fn comm(&self, settings: &Settings) -> Result<CommConfig> {
        let keys = Keys(settings);
        let mut config = CommConfig::default();
        keys.time("dialTimeout", self.dial_timeout, &mut config.dial_timeout)?;
        keys.time("connTimeout", self.conn_timeout, &mut config.conn_timeout)?;
        keys.number("sendBuffSize", &mut config.send_buff_size)?;
        Ok(config)
    }
}
