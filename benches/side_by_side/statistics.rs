//! Medians, percentiles, and ratios round by round.

/// Median, lowest and highest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
        Some(Spread { median, low, high })
    }

    pub fn scaled(self, factor: f64) -> Spread {
        Spread { median: self.median * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// Returns the value below which `per_mille` thousandths of the sorted values are.
pub fn at(sorted: &[f64], per_mille: usize) -> f64 {
    sorted[(sorted.len() * per_mille / 1000).min(sorted.len() - 1)]
}

/// The ratios of the values measured in the same round: not the ratio of two medians, which may come from rounds that
/// had different machines. A round that one of the two lacks does not count.
pub fn ratios(of: &[(u64, f64)], to: &[(u64, f64)]) -> Vec<f64> {
    let to: Vec<(u64, f64)> = to.iter().copied().filter(|(_, value)| *value > 0.0).collect();
    in_rounds(of, &to, |value, other| value / other)
}

/// Combines the values measured in the same round.
pub fn in_rounds(of: &[(u64, f64)], to: &[(u64, f64)], combine: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let same_round = |round: u64| to.iter().find(|(r, _)| *r == round);
    of.iter().filter_map(|(round, value)| Some(combine(*value, same_round(*round)?.1))).collect()
}
