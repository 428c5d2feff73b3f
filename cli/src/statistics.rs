//! Statistics of measured times.

use std::time::Duration;

/// Returns the smallest time that at least `percent` of the sorted times do not exceed; `None` without any.
pub fn quantile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_nearest_rank() {
        let of = |times: &[u64], percent| {
            let times: Vec<Duration> = times.iter().map(|ms| Duration::from_millis(*ms)).collect();
            quantile(&times, percent).map(|time| time.as_millis())
        };
        assert_eq!([0, 50, 99, 100].map(|percent| of(&[1, 2, 3, 4], percent)), [Some(1), Some(2), Some(4), Some(4)]);
        assert_eq!(of(&[7], 50), Some(7));
        assert_eq!(of(&[], 50), None);
    }
}
