//! Settings of comms and nodes, by name.

use super::error::{gossip_error, gossip_result, Outcome};
use super::guard::{guard, quietly};
use super::handle::{self, Out, Owned};
use super::host::{gossip_free_callback, gossip_reply, User};
use super::message::gossip_message;
use super::nanoseconds;
use super::text::gossip_str;
use super::tls::gossip_tls;
use super::transport::Kind;
use bytes::Bytes;
use gossip::config::CommConfig;
use gossip::error::ErrorKind;
use gossip::message::SignedMessage;
use gossip::node::DiscoveryConfig;
use gossip::node::EmitterConfig;
use gossip::node::PullConfig;
use gossip::node::{BlockVerifier, ChannelConfig, NodeConfig};
#[cfg(feature = "c-core")]
use gossip::transport::c_core::Options as CoreOptions;
#[cfg(feature = "http2")]
use gossip::transport::http2::Options as Http2Options;
use gossip::transport::{Limits, Tls};
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

/// Settings for starting comms and nodes, initially Fabric's defaults. Not thread-safe. Can be used for any number of
/// comms and nodes.
#[derive(Clone, Default)]
pub struct gossip_config {
    pub(super) comm: CommConfig,
    pub(super) node: NodeConfig,
    pub(super) limits: Limits,
    pub(super) transport: Kind,
    #[cfg(feature = "c-core")]
    pub(super) c_core: CoreOptions,
    #[cfg(feature = "http2")]
    pub(super) http2: Http2Options,
    pub(super) listen: Option<String>,
    pub(super) tls: Option<Tls>,
    pub(super) endpoint: Option<String>,
    pub(super) external_endpoint: String,
    pub(super) metadata: Bytes,
    pub(super) blocks: Option<BlockVerifier>,
}

impl Owned for gossip_config {}

/// Shortest time span that a setting accepts, except 0, in nanoseconds: a microsecond.
const SHORTEST: u64 = 1_000;

/// A setting as a reference into its structure.
enum Slot<'a> {
    Duration(&'a mut Duration),
    OptionalDuration(&'a mut Option<Duration>),
    Usize(&'a mut usize),
    OptionalUsize(&'a mut Option<usize>),
    U64(&'a mut u64),
    U32(&'a mut u32),
    Bool(&'a mut bool),
}

macro_rules! slots {
    ($($kind:ident($of:ty)),*) => {
        $(impl<'a> From<&'a mut $of> for Slot<'a> {
            fn from(value: &'a mut $of) -> Self {
                Slot::$kind(value)
            }
        })*
    };
}

slots! {
    Duration(Duration), OptionalDuration(Option<Duration>), Usize(usize), OptionalUsize(Option<usize>), U64(u64), U32(u32),
    Bool(bool)
}

impl Slot<'_> {
    fn value(&self) -> u64 {
        match self {
            Slot::Duration(duration) => nanoseconds(**duration),
            Slot::OptionalDuration(duration) => duration.map_or(0, nanoseconds),
            Slot::Usize(count) => **count as u64,
            Slot::OptionalUsize(count) => count.unwrap_or(0) as u64,
            Slot::U64(count) => **count,
            Slot::U32(count) => u64::from(**count),
            Slot::Bool(flag) => u64::from(**flag),
        }
    }

    fn is_time(&self) -> bool {
        matches!(self, Slot::Duration(_) | Slot::OptionalDuration(_))
    }

    /// Returns `None` if the value is out of range.
    fn set(self, value: u64) -> Option<()> {
        match self {
            Slot::Duration(duration) => *duration = Duration::from_nanos(value),
            Slot::OptionalDuration(duration) => *duration = (value > 0).then(|| Duration::from_nanos(value)),
            Slot::Usize(count) => *count = usize::try_from(value).ok()?,
            Slot::OptionalUsize(count) => *count = (value > 0).then_some(usize::try_from(value).ok()?),
            Slot::U64(count) => *count = value,
            Slot::U32(count) => *count = u32::try_from(value).ok()?,
            Slot::Bool(flag) => *flag = [false, true].get(usize::try_from(value).ok()?).copied()?,
        }
        Some(())
    }
}

/// Lists the settings of one structure. It names all of the fields; a test checks that none is missing.
macro_rules! fields {
    ($slots:ident, $prefix:literal, $from:expr, $structure:ident { $($field:ident)* } $(, not $($other:ident)*)?) => {
        let $structure { $($field,)* $($($other: _,)*)? .. } = $from;
        $($slots.push((concat!($prefix, ".", stringify!($field), "\0"), Slot::from($field)));)*
    };
}

impl gossip_config {
    /// Every setting with its name, which ends with a zero byte.
    fn slots(&mut self) -> Vec<(&'static str, Slot<'_>)> {
        let mut slots = Vec::with_capacity(100);
        fields!(slots, "comm", &mut self.comm, CommConfig {
            dial_timeout conn_timeout handshake_timeout send_buff_size send_buff_bytes max_message_size max_connections
            max_unauthenticated max_connections_per_address max_streams_per_identity event_buff_size usage_threshold
        });
        fields!(slots, "transport", &mut self.limits, Limits {
            max_receive_message max_send_message keepalive_time keepalive_timeout min_ping_interval handshake_timeout
            max_concurrent_streams max_connection_idle max_served memory_quota
        });
        #[cfg(feature = "c-core")]
        fields!(slots, "c_core", &mut self.c_core, CoreOptions {
            keepalive_without_calls max_pings_without_data max_ping_strikes reuse_port own_connection retries http_proxy
            bdp_probe write_buffer spin requests_ahead
        }, not extra);
        #[cfg(feature = "http2")]
        fields!(slots, "http2", &mut self.http2, Http2Options {
            spin stream_window max_pending max_pending_per_address max_connections max_ping_strikes
        });
        let node = &mut self.node;
        fields!(slots, "node", node, NodeConfig {
            propagate_peer_num pull_interval pull_peer_num max_verifications
        }, not bootstrap discovery emitter pull channel);
        fields!(slots, "discovery", &mut node.discovery, DiscoveryConfig {
            alive_time_interval alive_expiration_timeout alive_expiration_check_interval reconnect_interval
            msg_expiration_factor sync_interval sync_peers publish_cert_period response_timeout seed_retry_wait max_seeds
            max_members max_verifications max_verification_bytes max_verifications_per_member max_pings max_alive_size
            request_burst request_interval
        });
        fields!(slots, "emitter", &mut node.emitter, EmitterConfig { iterations burst_size latency });
        fields!(slots, "pull", &mut node.pull, PullConfig {
            digest_wait request_wait response_wait max_items max_hellos_per_peer max_hello_peers
        });
        fields!(slots, "channel", &mut node.channel, ChannelConfig {
            publish_state_info_interval request_state_info_interval max_block_count_to_store block_expiration
            max_state_infos max_channels
        });
        slots
    }

    #[cfg(feature = "c-core")]
    fn c_core_argument(&mut self, name: &str, value: i32) -> Outcome<()> {
        self.c_core.extra.retain(|(known, _)| known != name);
        self.c_core.extra.push((name.to_owned(), value));
        Ok(())
    }

    #[cfg(not(feature = "c-core"))]
    fn c_core_argument(&mut self, name: &str, _: i32) -> Outcome<()> {
        Err(super::invalid(format!("cannot set {name}: the library was built without the C core (feature c-core)")))
    }

    fn slot(&mut self, name: &str) -> Outcome<Slot<'_>> {
        let found = self.slots().into_iter().find(|(known, _)| known.strip_suffix('\0') == Some(name));
        let (_, slot) = found.ok_or_else(|| super::invalid(format!("unknown setting {name:?}")))?;
        Ok(slot)
    }
}

/// Decides whether a block is delivered and passed on. Returns false to reject it; gossip_reply_fail gives the reason.
/// Called on the node's verifying threads, several at the same time; may block. The message is lent for the duration of
/// the call.
pub type gossip_block_verifier =
    Option<unsafe extern "C" fn(user: *mut c_void, message: *const gossip_message, reply: *mut gossip_reply) -> bool>;

/// Creates a configuration with the defaults. Free it with gossip_config_free.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_new(
    config: *mut *mut gossip_config,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || Out::new(config, "config")?.give(gossip_config::default()))
}

/// Sets a setting by its name, such as `comm.dial_timeout`. Time spans are in nanoseconds; booleans are 1 and 0.
/// gossip_config_name lists the names; docs/c-settings.md describes each. For `discovery.sync_interval` and
/// `transport.memory_quota`, 0 means none.
///
/// GOSSIP_INVALID_ARGUMENT: there is no such setting, the value is out of range for its type, or a time span is shorter
/// than a microsecond, which is usually a number of seconds or milliseconds. Further checks of the values are made when
/// something is started with them.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set(
    config: *mut gossip_config,
    name: *const c_char,
    value: u64,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (config, name) = (handle::get_mut(config, "config")?, handle::text(name, "name")?);
        let slot = config.slot(name)?;
        if slot.is_time() && (1..SHORTEST).contains(&value) {
            let text = format!(
                "{name} is a time span in nanoseconds, and {value} is too short: {value} s are {value}000000000"
            );
            return Err(super::invalid(text));
        }
        slot.set(value).ok_or_else(|| super::invalid(format!("{value} is out of range for {name}")))
    })
}

/// Returns the current value of a setting.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_value(
    config: *mut gossip_config,
    name: *const c_char,
    value: *mut u64,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let value = Out::new(value, "value")?;
        let config = handle::get_mut(config, "config")?;
        value.set(config.slot(handle::text(name, "name")?)?.value())
    })
}

/// Returns the name of the setting at an index, starting at 0; empty beyond the last one. Valid for the lifetime of the
/// process.
///
/// Thread-safe. Does not block.
#[no_mangle]
pub extern "C" fn gossip_config_name(index: usize) -> gossip_str {
    quietly(gossip_str::EMPTY, || match gossip_config::default().slots().get(index) {
        Some((name, _)) => gossip_str { data: name.as_ptr().cast(), len: name.len() - 1 },
        None => gossip_str::EMPTY,
    })
}

/// Sets the address to serve on, `host:port`. Port 0 takes a free port; gossip_comm_local_addr returns it. Default: no
/// server, only dialling.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_listen(
    config: *mut gossip_config,
    address: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get_mut(config, "config")?.listen = Some(handle::text(address, "address")?.to_owned());
        Ok(())
    })
}

/// Enables mutual TLS with these certificates. The handle remains the caller's and can replace them while they are in
/// use. Default: no TLS, which leaves connection messages open to replay and logs a warning.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_tls(
    config: *mut gossip_config,
    tls: *const gossip_tls,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get_mut(config, "config")?.tls = Some(handle::get(tls, "tls")?.0.clone());
        Ok(())
    })
}

/// Sets the transport, which dials and listens: `c-core` (gRPC's C core) or `http2` (nghttp2 and OpenSSL). The two ends
/// of a connection can use different ones. The settings `c_core.*` and `http2.*` affect only the transport of that name.
/// Default: `c-core`, or `http2` in a library that was built without the C core.
///
/// GOSSIP_INVALID_ARGUMENT: there is no such transport, or the library was built without it.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_transport(
    config: *mut gossip_config,
    name: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (config, name) = (handle::get_mut(config, "config")?, handle::text(name, "name")?);
        config.transport = Kind::named(name)?;
        Ok(())
    })
}

/// Sets an integer argument of the C core by its name, such as `grpc.http2.lookahead_bytes`. It takes precedence over
/// the settings of this library.
///
/// GOSSIP_INVALID_ARGUMENT: the library was built without the C core.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_c_core_argument(
    config: *mut gossip_config,
    name: *const c_char,
    value: i32,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let (config, name) = (handle::get_mut(config, "config")?, handle::text(name, "name")?);
        config.c_core_argument(name, value)
    })
}

/// Nodes: adds an endpoint of a peer of our organisation to contact first (`peer.gossip.bootstrap`). May be called
/// several times.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_add_bootstrap(
    config: *mut gossip_config,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        config.node.bootstrap.push(handle::text(endpoint, "endpoint")?.to_owned());
        Ok(())
    })
}

/// Nodes: sets the endpoint at which peers of our organisation reach us (`peer.gossip.endpoint`). Default: the address
/// that is listened on. Required if that address stands for all interfaces. Port 0 stands for the listener's port.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_endpoint(
    config: *mut gossip_config,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get_mut(config, "config")?.endpoint = Some(handle::text(endpoint, "endpoint")?.to_owned());
        Ok(())
    })
}

/// Nodes: sets the endpoint at which peers of other organisations reach us (`peer.gossip.externalEndpoint`). Default:
/// none; then other organisations neither see us nor send us their own membership.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_external_endpoint(
    config: *mut gossip_config,
    endpoint: *const c_char,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        handle::get_mut(config, "config")?.external_endpoint = handle::text(endpoint, "endpoint")?.to_owned();
        Ok(())
    })
}

/// Nodes: sets the metadata that we publish to all members. Default: empty. The bytes are copied.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_metadata(
    config: *mut gossip_config,
    data: *const u8,
    len: usize,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        config.metadata = Bytes::copy_from_slice(handle::array(data, len, "data")?);
        Ok(())
    })
}

/// Nodes: sets the callback that verifies blocks. Default: every block passes verification. Any member of the channel's
/// organisations can then send a block with a much higher number than the current ones, after which the genuine ones
/// are dropped as too old. `free` is called on `user` when nothing needs it any more.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_set_block_verifier(
    config: *mut gossip_config,
    verifier: gossip_block_verifier,
    user: *mut c_void,
    free: gossip_free_callback,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let config = handle::get_mut(config, "config")?;
        let verify = verifier.ok_or_else(|| super::null("verifier"))?;
        let user = User::new(user, free);
        config.blocks = Some(Arc::new(move |message: &SignedMessage| {
            let (user, message) = (&user, gossip_message::from(message.clone()));
            gossip_reply::of("block verifier", ErrorKind::Refused, |reply| {
                // SAFETY: the host's function, called with its own pointer.
                unsafe { verify(user.pointer, &message, reply) }
            })
            .map(drop)
        }));
        Ok(())
    })
}

/// Frees the configuration. Objects started with it are not affected. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_config_free(config: *mut gossip_config) {
    gossip_config::free(config);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_by_name_within_their_range() {
        let mut config = gossip_config::default();
        assert_eq!(config.slot("comm.dial_timeout").ok().unwrap().value(), 3_000_000_000);
        config.slot("discovery.sync_interval").ok().unwrap().set(0).unwrap();
        assert_eq!(config.node.discovery.sync_interval, None);
        #[cfg(feature = "c-core")]
        {
            config.slot("c_core.retries").ok().unwrap().set(1).unwrap();
            assert!(config.c_core.retries);
            assert!(config.slot("c_core.retries").ok().unwrap().set(2).is_none());
        }
        #[cfg(feature = "http2")]
        {
            config.slot("http2.max_pending").ok().unwrap().set(7).unwrap();
            assert_eq!(config.http2.max_pending, 7);
        }
        assert!(config.slot("emitter.iterations").ok().unwrap().set(1 << 32).is_none());
        assert!(config.slot("comm.dial").is_err());
    }

    fn is_compiled_in(setting: &str) -> bool {
        match setting.split('.').next() {
            Some("c_core") => cfg!(feature = "c-core"),
            Some("http2") => cfg!(feature = "http2"),
            _ => true,
        }
    }

    /// Returns the names of a structure's fields, from its `Debug` form over several lines.
    fn fields(of: impl std::fmt::Debug) -> Vec<String> {
        let text = format!("{of:#?}");
        let own = text.lines().filter_map(|line| line.strip_prefix("    ").filter(|line| !line.starts_with(' ')));
        own.filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect()
    }

    #[test]
    fn every_field_is_a_setting_or_left_out_on_purpose() {
        // Set by separate functions, or structures that are listed here themselves.
        let others = ["c_core.extra", "node.bootstrap", "node.discovery", "node.emitter", "node.pull", "node.channel"];
        let mut config = gossip_config::default();
        let structures = [
            ("comm", fields(&config.comm)),
            ("transport", fields(&config.limits)),
            #[cfg(feature = "c-core")]
            ("c_core", fields(&config.c_core)),
            #[cfg(feature = "http2")]
            ("http2", fields(&config.http2)),
            ("node", fields(&config.node)),
            ("discovery", fields(&config.node.discovery)),
            ("emitter", fields(config.node.emitter)),
            ("pull", fields(config.node.pull)),
            ("channel", fields(&config.node.channel)),
        ];
        let all = structures.iter().flat_map(|(prefix, fields)| fields.iter().map(move |f| format!("{prefix}.{f}")));
        let all: std::collections::BTreeSet<_> = all.collect();
        let names = config.slots().into_iter().map(|(name, _)| name.trim_end_matches('\0'));
        let others = others.into_iter().filter(|name| is_compiled_in(name));
        let named: std::collections::BTreeSet<_> = names.chain(others).map(str::to_owned).collect();
        assert_eq!(named, all);
    }

    fn with_commas(number: u64) -> String {
        let digits = number.to_string();
        let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
        groups.join(",")
    }

    fn in_bytes(number: u64) -> String {
        let (unit, name) = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")]
            .into_iter()
            .find(|(unit, _)| number % unit == 0)
            .unwrap_or((1, "B"));
        format!("{} {name}", number / unit)
    }

    #[test]
    fn the_documented_settings_are_all_there_are_with_their_defaults() {
        let document = include_str!("../../docs/c-settings.md");
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
        let rows = rows.map(|row| row.split(" | ").map(|cell| cell.trim_matches('`')).collect::<Vec<_>>());
        let rows: Vec<_> = rows.filter(|row| is_compiled_in(row[0])).collect();
        let mut config = gossip_config::default();
        let slots = config.slots();
        let names: Vec<_> = slots.iter().map(|(name, _)| name.trim_end_matches('\0')).collect();
        assert_eq!(rows.iter().map(|row| row[0]).collect::<Vec<_>>(), names);
        for (row, (name, slot)) in rows.iter().zip(&slots) {
            let value = slot.value();
            let default = match (slot, row[1]) {
                (Slot::Duration(_) | Slot::OptionalDuration(_), "time") => format!("{:?}", Duration::from_nanos(value)),
                (Slot::Bool(flag), "yes/no") => if **flag { "yes" } else { "no" }.to_owned(),
                (Slot::Usize(_) | Slot::OptionalUsize(_) | Slot::U32(_), "bytes") => in_bytes(value),
                (Slot::Usize(_) | Slot::U64(_) | Slot::U32(_), "number") => with_commas(value),
                (_, kind) => panic!("{name} is not of the kind {kind}"),
            };
            assert_eq!(row[2], default, "{name}");
        }
    }
}
