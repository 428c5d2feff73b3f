//! The results of a simulation.

use std::fmt;
use std::time::Duration;

/// Statistics of a simulation since its start, or since the last [reset](super::Simulator::reset_report).
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Virtual time since the start.
    pub elapsed: Duration,
    /// Time until every node knew every other, if that was waited for and reached.
    pub convergence: Option<Duration>,
    /// Number of times a node declared another dead that was up and reachable.
    pub false_deaths: u64,
    /// Messages sent by each node, including lost ones.
    pub messages: Vec<u64>,
    /// Bytes sent by each node, as serialized envelopes.
    pub bytes: Vec<u64>,
}

impl Report {
    pub(super) fn add_node(&mut self) {
        self.messages.push(0);
        self.bytes.push(0);
    }

    pub(super) fn count(&mut self, node: usize, bytes: u64) {
        self.messages[node] += 1;
        self.bytes[node] += bytes;
    }

    /// Returns the mean number of messages sent per node.
    pub fn mean_messages(&self) -> u64 {
        mean(&self.messages)
    }

    /// Returns the mean number of bytes sent per node.
    pub fn mean_bytes(&self) -> u64 {
        mean(&self.bytes)
    }
}

fn mean(of: &[u64]) -> u64 {
    of.iter().sum::<u64>() / (of.len() as u64).max(1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = |of: &[u64]| of.iter().max().copied().unwrap_or_default();
        write!(f, "{} nodes after {:.1} s: ", self.messages.len(), self.elapsed.as_secs_f64())?;
        match self.convergence {
            Some(time) => write!(f, "everybody knew everybody in {:.1} s, ", time.as_secs_f64())?,
            None => f.write_str("not everybody knows everybody, ")?,
        }
        write!(f, "{} messages a node (most {}), ", self.mean_messages(), most(&self.messages))?;
        write!(f, "{} KiB a node (most {}), ", self.mean_bytes() >> 10, most(&self.bytes) >> 10)?;
        write!(f, "{} false deaths", self.false_deaths)
    }
}
