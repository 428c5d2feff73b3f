//! Announces the expiry of our identity in advance.

use std::time::{Duration, Instant};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Times before the expiry at which it is announced; the last is the expiry itself. (Fabric warns a week ahead.)
const AHEAD: [Duration; 4] = [DAY.saturating_mul(7), DAY, Duration::from_secs(3600), Duration::ZERO];

/// The expiry of our identity, and the warnings still to come.
#[derive(Debug)]
pub(super) struct Expiry {
    at: Instant,
    warnings: &'static [Duration],
}

impl Expiry {
    pub(super) fn new(at: Instant) -> Self {
        Expiry { at, warnings: &AHEAD }
    }

    /// Returns the remaining validity if a warning is due; several due warnings are given as one.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Duration> {
        let remaining = self.at.saturating_duration_since(now);
        let due = self.warnings.iter().take_while(|ahead| remaining <= **ahead).count();
        self.warnings = &self.warnings[due..];
        (due > 0).then_some(remaining)
    }

    /// Returns the time of the next warning.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let ahead = self.warnings.first()?;
        Some(self.at.checked_sub(*ahead).unwrap_or(self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_a_week_a_day_and_an_hour_ahead() {
        let start = Instant::now() + 100 * DAY;
        let mut expiry = Expiry::new(start + 30 * DAY);
        assert_eq!(expiry.poll(start), None);
        let mut told = Vec::new();
        while let Some(at) = expiry.next_deadline() {
            told.push((at.duration_since(start), expiry.poll(at).unwrap()));
        }
        let hour = Duration::from_secs(3600);
        let expected = [(23 * DAY, 7 * DAY), (29 * DAY, DAY), (30 * DAY - hour, hour), (30 * DAY, Duration::ZERO)];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_late_is_told_once() {
        let start = Instant::now() + 100 * DAY;
        let mut expiry = Expiry::new(start + DAY / 2);
        assert_eq!(expiry.poll(start), Some(DAY / 2));
        assert_eq!(expiry.poll(start), None);
        assert_eq!(expiry.poll(start + DAY), Some(Duration::ZERO));
        assert_eq!((expiry.poll(start + DAY), expiry.next_deadline()), (None, None));
    }
}
