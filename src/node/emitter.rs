//! Collects messages for a short time and emits them in batches.

use std::time::{Duration, Instant};

/// Settings of an [`Emitter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmitterConfig {
    /// Number of times each message is emitted: `peer.gossip.propagateIterations`, 1. With 0, no message is ever
    /// emitted.
    pub iterations: u32,
    /// Number of waiting messages that triggers a batch: `peer.gossip.maxPropagationBurstSize`, 10.
    pub burst_size: usize,
    /// Interval between batches while messages wait: `peer.gossip.maxPropagationBurstLatency`, 10 ms.
    pub latency: Duration,
}

impl Default for EmitterConfig {
    fn default() -> Self {
        EmitterConfig { iterations: 1, burst_size: 10, latency: Duration::from_millis(10) }
    }
}

/// A batching emitter. It never holds more than [`burst_size`](EmitterConfig::burst_size) plus
/// [`iterations`](EmitterConfig::iterations) messages.
#[derive(Debug)]
pub struct Emitter<T> {
    config: EmitterConfig,
    waiting: Vec<Waiting<T>>,
    /// Time when the next batch is due; `None` while no message waits.
    due: Option<Instant>,
    stopped: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    left: u32,
}

impl<T: Clone> Emitter<T> {
    /// Returns an empty emitter.
    pub fn new(config: EmitterConfig) -> Self {
        Emitter { config, waiting: Vec::new(), due: None, stopped: false }
    }

    /// Adds a message. Returns the batch that it triggers, usually empty.
    pub fn add(&mut self, item: T, now: Instant) -> Vec<T> {
        if self.stopped || self.config.iterations == 0 {
            return Vec::new();
        }
        self.waiting.push(Waiting { item, left: self.config.iterations });
        self.due.get_or_insert(now + self.config.latency);
        if self.waiting.len() >= self.config.burst_size {
            self.emit()
        } else {
            Vec::new()
        }
    }

    /// Returns the batch that is due by now, or an empty one.
    pub fn poll(&mut self, now: Instant) -> Vec<T> {
        match self.due {
            Some(due) if due <= now => {
                self.due = Some(next_after(due, self.config.latency, now));
                self.emit()
            }
            _ => Vec::new(),
        }
    }

    /// Returns the time when the next batch is due.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the number of waiting messages.
    pub fn size(&self) -> usize {
        self.waiting.len()
    }

    /// Discards waiting messages and accepts no more.
    pub fn stop(&mut self) {
        self.stopped = true;
        self.waiting.clear();
        self.due = None;
    }

    fn emit(&mut self) -> Vec<T> {
        let batch = self.waiting.iter().map(|w| w.item.clone()).collect();
        self.waiting.iter_mut().for_each(|w| w.left -= 1);
        self.waiting.retain(|w| w.left > 0);
        if self.waiting.is_empty() {
            self.due = None;
        }
        batch
    }
}

/// Returns the time one latency after the last due time, or after `now` if that has passed too; missed batches are not
/// made up for.
fn next_after(due: Instant, latency: Duration, now: Instant) -> Instant {
    let next = due + latency;
    if next > now {
        next
    } else {
        now + latency
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn emitter(iterations: u32, burst_size: usize, latency: Duration) -> Emitter<u32> {
        Emitter::new(EmitterConfig { iterations, burst_size, latency })
    }

    /// Returns the batches emitted until `until`, polled when they are due.
    fn batches(emitter: &mut Emitter<u32>, until: Instant) -> Vec<Vec<u32>> {
        let mut all = Vec::new();
        while let Some(due) = emitter.next_deadline().filter(|due| *due <= until) {
            all.push(emitter.poll(due));
        }
        all
    }

    #[test]
    fn g28_each_message_goes_out_as_often_as_there_are_iterations() {
        let start = Instant::now();
        let mut emitter = emitter(10, 10, 10 * MS);
        for item in 1..=3 {
            assert!(emitter.add(item, start).is_empty());
        }
        assert_eq!(emitter.size(), 3);
        let batches = batches(&mut emitter, start + 1000 * MS);
        assert_eq!(batches, vec![vec![1, 2, 3]; 10]);
        assert_eq!((emitter.size(), emitter.next_deadline()), (0, None));
    }

    #[test]
    fn g29_a_full_burst_goes_out_at_once() {
        let start = Instant::now();
        let mut emitter = emitter(1, 10, 800 * MS);
        let at_once: Vec<_> = (0..50).map(|item| emitter.add(item, start)).filter(|batch| !batch.is_empty()).collect();
        assert_eq!(at_once.len(), 5);
        assert!(at_once.iter().all(|batch| batch.len() == 10));
        assert!(batches(&mut emitter, start + 800 * MS).is_empty());
    }

    #[test]
    fn g30_what_came_later_has_gone_out_less_often() {
        let start = Instant::now();
        let mut emitter = emitter(5, 100, 500 * MS);
        let mut seen = [0; 5];
        for item in 0..5u32 {
            let at = start + item * 600 * MS;
            batches(&mut emitter, at).iter().flatten().for_each(|item| seen[*item as usize] += 1);
            emitter.add(item, at);
        }
        emitter.stop();
        assert_eq!(seen[1..], [3, 2, 1, 0]);
    }

    #[test]
    fn g31_a_stopped_emitter_gives_out_nothing() {
        let start = Instant::now();
        let mut emitter = emitter(1, 10, 10 * MS);
        emitter.add(1, start);
        assert_eq!(emitter.poll(start + 10 * MS), [1]);
        emitter.add(2, start + 10 * MS);
        emitter.stop();
        emitter.add(3, start + 11 * MS);
        assert!(batches(&mut emitter, start + 1000 * MS).is_empty());
        assert_eq!(emitter.size(), 0);
    }

    #[test]
    fn without_iterations_nothing_is_kept() {
        let start = Instant::now();
        let mut emitter = emitter(0, 10, 10 * MS);
        assert!(emitter.add(1, start).is_empty());
        assert_eq!((emitter.size(), emitter.next_deadline()), (0, None));
    }
}
