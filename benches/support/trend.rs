//! Whether a series of measurements grows.

/// The growth of a series: the line, by least squares, through the means of its minutes.
#[derive(Clone, Copy, Debug)]
pub struct Trend {
    /// Growth in a minute.
    pub slope: f64,
    /// Standard error of the slope.
    pub error: f64,
}

/// Whether a growth is within a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The whole range of two standard errors around the slope is within the limit.
    Within,
    /// The whole range is above the limit.
    Above,
    /// The limit is inside the range, or there are too few minutes: a longer run would decide.
    Undecided,
}

impl Trend {
    /// Computes the trend of values that were measured after a number of minutes, in order of time.
    ///
    /// Values a few seconds apart depend on each other: one killed process is missing in several of them. The means of
    /// minutes hardly do, which the standard error supposes.
    pub fn of(points: &[(f64, f64)]) -> Trend {
        let mean = |points: &[(f64, f64)], of: fn(&(f64, f64)) -> f64| {
            points.iter().map(of).sum::<f64>() / points.len() as f64
        };
        let minutes: Vec<(f64, f64)> = points
            .chunk_by(|a, b| a.0.floor() == b.0.floor())
            .map(|minute| (mean(minute, |p| p.0), mean(minute, |p| p.1)))
            .collect();
        let (x, y) = (mean(&minutes, |p| p.0), mean(&minutes, |p| p.1));
        let spread: f64 = minutes.iter().map(|p| (p.0 - x).powi(2)).sum();
        let slope = minutes.iter().map(|p| (p.0 - x) * (p.1 - y)).sum::<f64>() / spread;
        let rest: f64 = minutes.iter().map(|p| (p.1 - y - slope * (p.0 - x)).powi(2)).sum();
        // Fewer than three minutes have no error that could be computed: not a number.
        let error = (rest / (minutes.len() as f64 - 2.0).max(0.0) / spread).sqrt();
        Trend { slope, error }
    }

    /// Compares the slope with the largest that is allowed.
    pub fn verdict(self, limit: f64) -> Verdict {
        let range = 2.0 * self.error;
        match (self.slope + range <= limit, self.slope - range > limit) {
            (true, _) => Verdict::Within,
            (_, true) => Verdict::Above,
            // Not a number is neither.
            _ => Verdict::Undecided,
        }
    }
}
