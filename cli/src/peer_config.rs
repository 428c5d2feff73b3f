//! Settings of a node: from the flags, else from Fabric's keys in the environment or `core.yaml`, else Fabric's
//! defaults.

use crate::failure::{Failure, Result};
use crate::keys::{self, Key};
use crate::settings::Settings;
use crate::values::{short, timeout};
use clap::Args;
use fabric_gossip::config::CommConfig;
use fabric_gossip::node::NodeConfig;
use std::time::Duration;

/// Intervals and time limits.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Intervals")]
pub struct IntervalArgs {
    /// Interval between two heartbeats [default: 5s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    alive_interval: Option<Duration>,
    /// Time without a heartbeat after which a peer is dead [default: 25s, or five times --alive-interval]
    #[arg(long, value_name = "D", value_parser = timeout)]
    alive_expiration: Option<Duration>,
    /// Interval between attempts to reach dead peers [default: that of --alive-expiration]
    #[arg(long, value_name = "D", value_parser = timeout)]
    reconnect_interval: Option<Duration>,
    /// Interval between two pulls of identities and of membership [default: 4s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    pull_interval: Option<Duration>,
    /// Maximum time for connecting [default: 3s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    dial_timeout: Option<Duration>,
    /// Maximum time for a Ping and for each step of a handshake [default: 2s]
    #[arg(long, value_name = "D", value_parser = timeout)]
    conn_timeout: Option<Duration>,
}

/// Applies flags and settings; leaves the default for everything else.
struct Reader<'a>(&'a Settings);

impl Reader<'_> {
    fn time(&self, key: Key, flag: Option<Duration>, to: &mut Duration) -> Result<bool> {
        let value = match flag {
            Some(flag) => Some(flag),
            None => self.0.duration(key)?,
        };
        *to = value.unwrap_or(*to);
        Ok(value.is_some())
    }

    fn number<T: TryFrom<u64>>(&self, key: Key, to: &mut T) -> Result<()> {
        if let Some(number) = self.0.number(key)? {
            let too_large = |_| self.0.wrong(key, &number.to_string(), "the number is too large");
            *to = T::try_from(number).map_err(too_large)?;
        }
        Ok(())
    }
}

impl IntervalArgs {
    pub fn node(&self, settings: &Settings) -> Result<NodeConfig> {
        let reader = Reader(settings);
        let mut config = NodeConfig::default();
        let discovery = &mut config.discovery;
        let other_beat =
            reader.time(keys::ALIVE_TIME_INTERVAL, self.alive_interval, &mut discovery.alive_time_interval)?;
        let expiration = &mut discovery.alive_expiration_timeout;
        if !reader.time(keys::ALIVE_EXPIRATION_TIMEOUT, self.alive_expiration, expiration)? && other_beat {
            *expiration = 5 * discovery.alive_time_interval;
        }
        if discovery.alive_expiration_timeout <= discovery.alive_time_interval {
            let names = |key: Key| format!("{} or {}", key.flag(), key.name());
            return Err(Failure::usage(format!(
                "a peer is dead after {} ({}): this must be longer than the interval of heartbeats, {} ({})",
                short(discovery.alive_expiration_timeout),
                names(keys::ALIVE_EXPIRATION_TIMEOUT),
                short(discovery.alive_time_interval),
                names(keys::ALIVE_TIME_INTERVAL)
            )));
        }
        discovery.alive_expiration_check_interval = discovery.alive_expiration_timeout / 10;
        discovery.reconnect_interval = discovery.alive_expiration_timeout;
        reader.time(keys::RECONNECT_INTERVAL, self.reconnect_interval, &mut discovery.reconnect_interval)?;
        reader.time(keys::PUBLISH_CERT_PERIOD, None, &mut discovery.publish_cert_period)?;
        reader.number(keys::MSG_EXPIRATION_FACTOR, &mut discovery.msg_expiration_factor)?;
        reader.time(keys::PULL_INTERVAL, self.pull_interval, &mut config.pull_interval)?;
        config.discovery.sync_interval = Some(config.pull_interval);
        reader.number(keys::PULL_PEER_NUM, &mut config.pull_peer_num)?;
        config.discovery.sync_peers = config.pull_peer_num;
        reader.number(keys::PROPAGATE_PEER_NUM, &mut config.propagate_peer_num)?;
        reader.number(keys::PROPAGATE_ITERATIONS, &mut config.emitter.iterations)?;
        reader.number(keys::MAX_PROPAGATION_BURST_SIZE, &mut config.emitter.burst_size)?;
        reader.time(keys::MAX_PROPAGATION_BURST_LATENCY, None, &mut config.emitter.latency)?;
        reader.time(keys::DIGEST_WAIT_TIME, None, &mut config.pull.digest_wait)?;
        reader.time(keys::REQUEST_WAIT_TIME, None, &mut config.pull.request_wait)?;
        reader.time(keys::RESPONSE_WAIT_TIME, None, &mut config.pull.response_wait)?;
        let channel = &mut config.channel;
        reader.time(keys::PUBLISH_STATE_INFO_INTERVAL, None, &mut channel.publish_state_info_interval)?;
        reader.time(keys::REQUEST_STATE_INFO_INTERVAL, None, &mut channel.request_state_info_interval)?;
        reader.number(keys::MAX_BLOCK_COUNT_TO_STORE, &mut channel.max_block_count_to_store)?;
        Ok(config)
    }

    pub fn comm(&self, settings: &Settings) -> Result<CommConfig> {
        let reader = Reader(settings);
        let mut config = CommConfig::default();
        reader.time(keys::DIAL_TIMEOUT, self.dial_timeout, &mut config.dial_timeout)?;
        reader.time(keys::CONN_TIMEOUT, self.conn_timeout, &mut config.conn_timeout)?;
        reader.number(keys::SEND_BUFF_SIZE, &mut config.send_buff_size)?;
        Ok(config)
    }
}
