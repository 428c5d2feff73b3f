//! The metrics of a node.

use super::driver::NodeState;
use crate::discovery::State;
use crate::metrics::table::{self, Samples};
use crate::metrics::{self, CommSnapshot, Sample};
use std::collections::BTreeMap;

/// The counters and gauges of a node at one moment, under Fabric's names where Fabric has them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NodeSnapshot {
    /// The metrics of the communication layer.
    pub comm: CommSnapshot,
    /// By channel, the number of its peers that are alive, without this node. Fabric's gauge.
    pub gossip_membership_total_peers_known: BTreeMap<String, usize>,
    /// Members that are alive, without this node.
    pub gossip_membership_alive: usize,
    /// Members that died and are remembered.
    pub gossip_membership_dead: usize,
    /// Seeds that have not answered yet.
    pub gossip_membership_seeds_missing: usize,
    /// Identities that others can pull from us.
    pub gossip_identities_offered: usize,
    /// Incoming messages that wait to be handled.
    pub gossip_messages_waiting: usize,
    /// Messages that wait to be verified.
    pub gossip_verifications_waiting: usize,
}

impl NodeSnapshot {
    pub(super) fn take(shared: &NodeState) -> Self {
        let comm = shared.comm.metrics();
        let gossip_verifications_waiting = shared.workers.waiting();
        let core = shared.core.lock();
        let discovery = core.discovery();
        NodeSnapshot {
            comm,
            gossip_membership_total_peers_known: core
                .channels()
                .map(|name| {
                    let known = core.channel_peers(name).map_or(0, |peers| peers.len());
                    (String::from_utf8_lossy(name).into_owned(), known)
                })
                .collect(),
            gossip_membership_alive: core.alive_count(),
            gossip_membership_dead: discovery.records().filter(|(_, state)| *state == State::Dead).count(),
            gossip_membership_seeds_missing: discovery.seeds().iter().filter(|seed| !seed.connected).count(),
            gossip_identities_offered: core.offered_identities().count(),
            gossip_messages_waiting: shared.inbox.len(),
            gossip_verifications_waiting,
        }
    }

    /// Returns all values, in the order of the [table](crate::metrics::all): those of the communication layer first.
    pub fn samples(&self) -> Vec<Sample> {
        let mut samples = Samples(self.comm.samples());
        for (channel, known) in &self.gossip_membership_total_peers_known {
            samples.add_labelled(&table::TOTAL_PEERS_KNOWN, &[channel], *known);
        }
        samples.add(&table::MEMBERS_ALIVE, self.gossip_membership_alive);
        samples.add(&table::MEMBERS_DEAD, self.gossip_membership_dead);
        samples.add(&table::SEEDS_MISSING, self.gossip_membership_seeds_missing);
        samples.add(&table::IDENTITIES_OFFERED, self.gossip_identities_offered);
        samples.add(&table::MESSAGES_WAITING, self.gossip_messages_waiting);
        samples.add(&table::VERIFICATIONS_WAITING, self.gossip_verifications_waiting);
        samples.0
    }

    /// Returns the [samples](Self::samples) in Prometheus' text format, version 0.0.4.
    pub fn to_prometheus(&self) -> String {
        table::prometheus(metrics::all(), &self.samples())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_every_metric_of_the_table_once_and_every_sample() {
        let mut comm = CommSnapshot::default();
        (comm.gossip_comm_identity_expires_in, comm.gossip_comm_tls_expires_in) = (Some(1), Some(2));
        let snapshot = NodeSnapshot {
            comm,
            gossip_membership_total_peers_known: [("a \"channel\"".to_owned(), 3)].into(),
            gossip_membership_alive: 4,
            gossip_membership_dead: 0,
            gossip_membership_seeds_missing: 0,
            gossip_identities_offered: 0,
            gossip_messages_waiting: 0,
            gossip_verifications_waiting: 0,
        };
        let text = snapshot.to_prometheus();
        let heads: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let table: Vec<_> = metrics::all().map(|it| format!("{} {}", it.name, it.kind.as_str())).collect();
        assert_eq!(heads, table);
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let samples: Vec<_> = snapshot.samples().iter().map(|it| format!("{it} {}", it.value)).collect();
        assert_eq!(values, samples);
        assert!(samples.contains(&"gossip_membership_total_peers_known{channel=\"a \\\"channel\\\"\"} 3".to_owned()));
        assert!(samples.contains(&"gossip_membership_alive 4".to_owned()));
    }
}
