//! Times as written in JSON and log lines: RFC 3339, UTC.

use std::time::SystemTime;

/// Formats seconds since 1970 as `2036-11-19T07:30:00Z`.
pub fn seconds(unix: i64) -> String {
    let (year, month, day) = civil(unix.div_euclid(86_400));
    let second = unix.rem_euclid(86_400);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

/// Formats a time as `2036-11-19T07:30:00.123456Z`.
pub fn micros(time: SystemTime) -> String {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let whole = seconds(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), since.subsec_micros())
}

/// Returns year, month and day of a day since 1970 in the Gregorian calendar: 400 years have 146,097 days, counted from
/// 1 March so that the leap day comes last.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn dates() {
        let ok = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
        ];
        for (unix, text) in ok {
            assert_eq!(seconds(unix), text);
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_micros(951_782_400_000_042);
        assert_eq!(micros(time), "2000-02-29T00:00:00.000042Z");
    }
}
