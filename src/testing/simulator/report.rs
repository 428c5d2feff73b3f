//! What a simulation has seen.

use std::fmt;
use std::time::Duration;

/// What has happened in a simulation since it began, or since it was last asked to count anew.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// How far virtual time has come, from the beginning.
    pub elapsed: Duration,
    /// How long it took until everybody knew everybody, if that was waited for and came about.
    pub convergence: Option<Duration>,
    /// How often a node took another for dead that was up and could be reached.
    pub false_deaths: u64,
    /// Messages that each node has sent, lost ones too.
    pub messages: Vec<u64>,
    /// Bytes that each node has sent, as serialized envelopes.
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

    /// How many messages a node has sent on average.
    pub fn mean_messages(&self) -> u64 {
        mean(&self.messages)
    }

    /// How many bytes a node has sent on average.
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
