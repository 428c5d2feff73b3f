//! Values of `core.yaml` and of variables, as Go and viper read them.
//!
//! viper silently turns values that it cannot read into zero. Here they are an error.

use std::time::Duration;

/// A value and its form: in YAML, a scalar without quotes can be a number or a boolean; a variable is text.
#[derive(Clone, Copy, Debug)]
pub struct Scalar<'a> {
    pub text: &'a str,
    pub plain: bool,
}

/// The longest duration that any clock can wait for.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
const TOO_LONG: &str = "too long: 87600h (ten years) at most";

impl Scalar<'_> {
    /// Reads a boolean: the spellings of `strconv.ParseBool`; a plain number is true if it is not zero. `no` and `off`
    /// are text for viper, which makes them false.
    pub fn boolean(self) -> Result<bool, String> {
        match self.text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => return Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => return Ok(false),
            _ => {}
        }
        if self.plain {
            if let Some(number) = yaml_number(self.text) {
                return Ok(number != 0.0);
            }
        }
        match self.text.to_ascii_lowercase().as_str() {
            "no" | "off" | "n" => Ok(false),
            _ => Err("expected true or false (Fabric's peer would take it for false)".into()),
        }
    }

    /// Reads a duration: `1m30s`, or a number of nanoseconds.
    pub fn duration(self) -> Result<Duration, String> {
        if self.plain {
            if let Some(nanoseconds) = yaml_number(self.text) {
                return match Duration::try_from_secs_f64(nanoseconds.trunc() / 1e9) {
                    Ok(duration) if duration <= LONGEST => Ok(duration),
                    _ if nanoseconds < 0.0 => Err("a duration cannot be negative".into()),
                    _ => Err(TOO_LONG.into()),
                };
            }
        }
        match self.text.contains(['n', 's', 'u', 'µ', 'm', 'h']) {
            true => duration(self.text),
            false => duration(&format!("{}ns", self.text)),
        }
        .map_err(|why| match why.is_empty() {
            true => "expected a duration such as 300ms, 5s or 1m30s, or a number of nanoseconds".into(),
            false => why,
        })
    }

    /// Reads a non-negative number.
    pub fn number(self) -> Result<u64, String> {
        let expected = || "expected a number".to_owned();
        let number = match self.text {
            "true" | "True" | "TRUE" if self.plain => 1.0,
            "false" | "False" | "FALSE" if self.plain => 0.0,
            text if self.plain => yaml_number(text).ok_or_else(expected)?,
            text => integer(whole(text)).ok_or_else(expected)?,
        };
        match number {
            n if n < 0.0 => Err("expected a number that is not negative".into()),
            n if n > 9e15 => Err("the number is too large".into()),
            n => Ok(n as u64),
        }
    }
}

/// Removes a zero fraction: `3.0` is 3, as in `cast`.
fn whole(text: &str) -> &str {
    match text.split_once('.') {
        Some((whole, zeros)) if !zeros.is_empty() && zeros.bytes().all(|b| b == b'0') => whole,
        _ => text,
    }
}

/// Reads an integer with the prefixes of `strconv.ParseInt(…, 0, …)`.
fn integer(text: &str) -> Option<f64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.get(..2) {
        Some("0x") => (16, &lower[2..]),
        Some("0o") => (8, &lower[2..]),
        Some("0b") => (2, &lower[2..]),
        _ if lower.len() > 1 && lower.starts_with('0') => (8, &lower[1..]),
        _ => (10, &*lower),
    };
    let valid = !digits.is_empty() && digits.chars().all(|c| c.is_digit(radix));
    valid.then(|| i64::from_str_radix(digits, radix).ok()).flatten().map(|n| sign * n as f64)
}

/// Reads a number in YAML's syntax.
fn yaml_number(text: &str) -> Option<f64> {
    let text = text.replace('_', "");
    let float = |text: &str| {
        let number = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
        (number && text.bytes().any(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
    };
    integer(&text).or_else(|| float(&text))
}

/// Reads a duration as `time.ParseDuration` does: numbers with units, one after the other. Units are required; the
/// error is empty if the text is not a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanoseconds = 0_u128;
    loop {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (digits, after) = rest.split_at(end);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => after.split_at(after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len())),
            None => ("", after),
        };
        if digits.is_empty() && fraction.is_empty() {
            return Err(String::new());
        }
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len()));
        let scale: u128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(String::new()),
        };
        // Digits after the eighteenth are below the resolution of any unit.
        let fraction = &fraction[..fraction.len().min(18)];
        let parts = 10_u128.pow(fraction.len() as u32);
        let whole: u64 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| TOO_LONG.to_owned())? };
        let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| String::new())? };
        nanoseconds += u128::from(whole) * scale + u128::from(fraction) * scale / parts;
        if nanoseconds > LONGEST.as_nanos() {
            return Err(TOO_LONG.into());
        }
        if after.is_empty() {
            break;
        }
        rest = after;
    }
    match negative && nanoseconds > 0 {
        true => Err("a duration cannot be negative".into()),
        false => Ok(Duration::from_nanos(nanoseconds as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Scalar<'_> {
        Scalar { text, plain: false }
    }

    fn plain(text: &str) -> Scalar<'_> {
        Scalar { text, plain: true }
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let cases = [
            ("1m30s", s(90)),
            ("1h0m0s", s(3600)),
            ("0", s(0)),
            ("0s", s(0)),
            ("5000000000", s(5)),
            ("10000000ns", ms(10)),
            ("1.5h", s(5400)),
            (".5s", ms(500)),
            ("100us", Duration::from_micros(100)),
            ("100µs", Duration::from_micros(100)),
            ("+3s", s(3)),
        ];
        for (given, expected) in cases {
            assert_eq!(text(given).duration(), Ok(expected), "{given}");
            assert_eq!(plain(given).duration(), Ok(expected), "{given}");
        }
        assert_eq!(plain("5e9").duration(), Ok(s(5)));
        for wrong in ["", "soon", "5 s", " 5s", "5s ", "-1s", "1d", "5x", "s", "1s2", "99999999999h", "5e9", "1.2.3s"] {
            assert!(text(wrong).duration().is_err(), "{wrong}");
        }
    }

    #[test]
    fn booleans_are_read_as_viper_reads_them() {
        for on in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!((text(on).boolean(), plain(on).boolean()), (Ok(true), Ok(true)), "{on}");
        }
        for off in ["0", "f", "F", "false", "FALSE", "False", "no", "off", "No", "OFF", "n"] {
            assert_eq!((text(off).boolean(), plain(off).boolean()), (Ok(false), Ok(false)), "{off}");
        }
        assert_eq!(
            (plain("2").boolean(), plain("0.0").boolean(), plain("0x0").boolean()),
            (Ok(true), Ok(false), Ok(false))
        );
        for wrong in ["", "2", "yes", "on", "y", "tRue", "true ", "treu"] {
            assert!(text(wrong).boolean().is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_read_as_viper_reads_them() {
        for (given, expected) in [("3", 3), ("0x10", 16), ("010", 8), ("3.0", 3), ("0", 0), ("+7", 7)] {
            assert_eq!(text(given).number(), Ok(expected), "{given}");
        }
        assert_eq!((plain("1_000").number(), plain("3.7").number(), plain("true").number()), (Ok(1000), Ok(3), Ok(1)));
        for wrong in ["", "many", "-1", "3.7", "1 ", "99999999999999999999", "0x"] {
            assert!(text(wrong).number().is_err(), "{wrong}");
        }
    }
}
