//! Counters and gauges.

use super::error::{gossip_error, gossip_result};
use super::guard::guard;
use super::handle::{self, Out, Owned};
use super::text::{gossip_str, Text};
use std::ffi::c_char;

/// Counters and gauges at one moment. Immutable, thread-safe.
pub struct gossip_metrics {
    page: Text,
    /// Name, with its labels, and value.
    samples: Vec<(String, Text, f64)>,
}

impl Owned for gossip_metrics {}

impl gossip_metrics {
    pub(super) fn new(page: String) -> gossip_metrics {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), Text::from(name), value.parse().ok()?))
        };
        let samples = page.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect();
        gossip_metrics { page: Text::from(page), samples }
    }
}

/// All of them in Prometheus' text format, version 0.0.4: what to serve it with is the host's.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_prometheus(metrics: *const gossip_metrics) -> gossip_str {
    super::look(metrics, gossip_str::EMPTY, |metrics| metrics.page.as_str())
}

/// How many values there are.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_count(metrics: *const gossip_metrics) -> usize {
    super::look(metrics, 0, |metrics| metrics.samples.len())
}

/// The name of a value by its place from 0 on, with its labels, such as `gossip_comm_messages_sent` or
/// `gossip_membership_total_peers_known{channel="mychannel"}`; empty beyond the last one.
///
/// Does not block.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_name(metrics: *const gossip_metrics, index: usize) -> gossip_str {
    super::look(metrics, gossip_str::EMPTY, |metrics| {
        metrics.samples.get(index).map_or(gossip_str::EMPTY, |(_, name, _)| name.as_str())
    })
}

/// A value by its name, with its labels. GOSSIP_INVALID_ARGUMENT: there is none of this name.
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
        let (.., found) = found.ok_or_else(|| super::invalid(format!("there is no metric {name:?}")))?;
        value.set(*found)
    })
}

/// Frees it. NULL is nothing.
#[no_mangle]
pub unsafe extern "C" fn gossip_metrics_free(metrics: *mut gossip_metrics) {
    gossip_metrics::free(metrics);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_that_is_no_comment_is_a_value() {
        let metrics = gossip_metrics::new("# HELP a b\na 1\nb{c=\"d e\"} -2.5\n".into());
        let values: Vec<_> = metrics.samples.iter().map(|(name, _, value)| (name.as_str(), *value)).collect();
        assert_eq!(values, [("a", 1.0), ("b{c=\"d e\"}", -2.5)]);
    }
}
