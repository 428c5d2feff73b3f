//! The log on stderr: levels, escaping for terminals, and counting of repeated causes.

use crate::output::printable;
use env_logger::{Builder, Env};
use log::{Level, LevelFilter};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io::Write;

/// Maximum number of remembered causes. When it is exceeded, counting starts again.
const REMEMBERED: usize = 1024;

/// Starts the log at the level of `RUST_LOG`, else of a flag (`named`), else of `FABRIC_LOGGING_SPEC`, else `default`. At
/// the default, the warnings of the modules in `reported` are left out: the command reports the same causes on stdout.
pub fn start(named: Option<LevelFilter>, default: LevelFilter, reported: &'static [&'static str]) {
    let mut builder = Builder::new();
    let fabric = || fabric_level(&std::env::var("FABRIC_LOGGING_SPEC").ok()?);
    let chosen = named.or_else(fabric);
    builder.filter_level(chosen.unwrap_or(default));
    builder.parse_env(Env::default());
    let is_default = chosen.is_none() && std::env::var_os("RUST_LOG").is_none();
    let repeated = Repeated::default();
    builder.format(move |buffer, record| {
        if is_default && record.level() == Level::Warn && reported.contains(&record.target()) {
            return Ok(());
        }
        let text = record.args().to_string();
        let times = match record.level() {
            Level::Error | Level::Warn => repeated.count(format!("{} {text}", record.target())),
            _ => Some(1),
        };
        let again = match times {
            None => return Ok(()),
            Some(1) => String::new(),
            Some(times) => format!(" ({times} times so far)"),
        };
        let (time, level, target) = (buffer.timestamp(), record.level(), record.target());
        writeln!(buffer, "[{time} {level} {target}] {}{again}", printable(&text))
    });
    builder.init();
}

/// Returns the level that Fabric's variable names for all loggers: `info`, or the part without a logger in
/// `gossip=warn:debug`.
fn fabric_level(spec: &str) -> Option<LevelFilter> {
    let level = spec.split(':').rfind(|part| !part.contains('='))?;
    Some(match level.to_ascii_lowercase().as_str() {
        "debug" => LevelFilter::Debug,
        "info" => LevelFilter::Info,
        "warn" | "warning" => LevelFilter::Warn,
        "error" | "fatal" | "panic" | "dpanic" => LevelFilter::Error,
        _ => return None,
    })
}

/// Counts texts.
#[derive(Default)]
pub struct Repeated(Mutex<HashMap<String, u64>>);

impl Repeated {
    /// Counts a text. Returns the count if it is to be logged: the first, tenth, hundredth time, and so on.
    pub fn count(&self, text: String) -> Option<u64> {
        let mut seen = self.0.lock();
        if seen.len() >= REMEMBERED && !seen.contains_key(&text) {
            seen.clear();
        }
        let times = seen.entry(text).or_default();
        *times += 1;
        let mut power = *times;
        while power % 10 == 0 {
            power /= 10;
        }
        (power == 1).then_some(*times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once_and_then_counted() {
        let repeated = Repeated::default();
        let told: Vec<u64> = (0..1000).filter_map(|_| repeated.count("down".into())).collect();
        assert_eq!(told, [1, 10, 100, 1000]);
        assert_eq!(repeated.count("other".into()), Some(1));
    }

    #[test]
    fn fabrics_logging_spec_names_a_level() {
        assert_eq!(fabric_level("INFO"), Some(LevelFilter::Info));
        assert_eq!(fabric_level("gossip=debug:warn"), Some(LevelFilter::Warn));
        assert_eq!((fabric_level("gossip=debug"), fabric_level("loud"), fabric_level("")), (None, None, None));
    }
}
