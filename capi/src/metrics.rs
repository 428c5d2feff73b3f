//! Counters and gauges.

use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::text::{gossip_str, Text};
use gossip::metrics::Sample;
use std::ffi::c_char;

/// A snapshot of counters and gauges. Immutable, thread-safe.
pub struct gossip_metrics {
    page: Text,
    /// Name, with its labels, and value.
    samples: Vec<(String, Text, f64)>,
}

impl Owned for gossip_metrics {}

impl gossip_metrics {
    pub(super) fn new(page: String, samples: Vec<Sample>) -> gossip_metrics {
        let sample = |sample: Sample| {
            let name = sample.to_string();
            (name.clone(), Text::from(name), sample.value)
        };
        gossip_metrics { page: Text::from(page), samples: samples.into_iter().map(sample).collect() }
    }
}

/// Returns all values in Prometheus' text format, version 0.0.4. The host serves it.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_prometheus(metrics: *const gossip_metrics) -> gossip_str {
    super::look(metrics, gossip_str::EMPTY, |metrics| metrics.page.as_str())
}

/// Returns the number of values.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_count(metrics: *const gossip_metrics) -> usize {
    super::look(metrics, 0, |metrics| metrics.samples.len())
}

/// Returns the name of a value, with its labels, by its index starting at 0, such as `gossip_comm_messages_sent` or
/// `gossip_membership_total_peers_known{channel="mychannel"}`; empty beyond the last one.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_name(metrics: *const gossip_metrics, index: usize) -> gossip_str {
    super::look(metrics, gossip_str::EMPTY, |metrics| {
        metrics.samples.get(index).map_or(gossip_str::EMPTY, |(_, name, _)| name.as_str())
    })
}

/// Returns a value by its name, with its labels. GOSSIP_INVALID_ARGUMENT: there is no value of this name.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_value(
    metrics: *const gossip_metrics,
    name: *const c_char,
    value: *mut f64,
    error: *mut *mut gossip_error,
) -> gossip_result {
    guard(error, || {
        let value = Out::new(value, "value")?;
        let (metrics, name) = (handle::get(metrics, "metrics")?, handle::text(name, "name")?);
        let found = metrics.samples.iter().find(|(known, ..)| known == name);
        let (.., found) = found.ok_or_else(|| super::invalid(format!("unknown metric {name:?}")))?;
        value.set(*found)
    })
}

/// Frees the snapshot. Passing NULL is a no-op.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_free(metrics: *mut gossip_metrics) {
    gossip_metrics::free(metrics);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_has_its_name_and_value() {
        let mut snapshot = gossip::metrics::CommSnapshot::default();
        snapshot.gossip_comm_dials = 2;
        let metrics = gossip_metrics::new(snapshot.to_prometheus(), snapshot.samples());
        let value = |name: &str| metrics.samples.iter().find(|(it, ..)| it == name).map(|(.., value)| *value);
        assert_eq!(value("gossip_comm_dials"), Some(2.0));
        assert_eq!(value("gossip_comm_ack_round_trip_seconds_bucket{le=\"+Inf\"}"), Some(0.0));
        assert_eq!(value("gossip_comm_tls_expires_in_seconds"), None);
    }
}
