//! Colours, width and times on a terminal.

use crate::rfc3339;
use clap::ValueEnum;
use console::Term;
use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::time::SystemTime;

/// When to use colours: `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Colors {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    Always,
    Never,
}

/// The colour of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Warning,
    Bad,
    Faint,
}

/// The terminal that stdout is, if it is one.
#[derive(Clone, Debug)]
pub struct Terminal {
    colored: bool,
    stdout: Option<Term>,
    /// Whether progress is shown on stderr.
    progress: bool,
}

/// A width at which nothing useful is left of a line.
const TOO_NARROW: usize = 20;

impl Terminal {
    /// `quiet` hides the progress.
    pub fn new(colors: Colors, quiet: bool) -> Terminal {
        let stdout = io::stdout().is_terminal().then(Term::stdout);
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let colored = match colors {
            Colors::Auto => stdout.is_some() && !refused,
            Colors::Always => true,
            Colors::Never => false,
        };
        let progress = !quiet && stdout.is_some() && io::stderr().is_terminal();
        Terminal { colored, stdout, progress }
    }

    /// Returns whether to show progress on stderr: stdout and stderr are terminals, and it is not switched off.
    pub fn shows_progress(&self) -> bool {
        self.progress
    }

    /// Returns the number of columns; `None` if stdout is not a terminal.
    pub fn width(&self) -> Option<usize> {
        let (_, columns) = self.stdout.as_ref()?.size_checked()?;
        Some(usize::from(columns)).filter(|columns| *columns >= TOO_NARROW)
    }

    /// Formats the time of a line: RFC 3339 with microseconds, on a terminal the time of day in UTC.
    pub fn time(&self, now: SystemTime) -> String {
        let time = rfc3339::micros(now);
        match (&self.stdout, time.get(11..19)) {
            (Some(_), Some(of_day)) => format!("{of_day}Z"),
            _ => time,
        }
    }

    /// Joins the time and a line, cut to the width of the terminal.
    pub fn timed(&self, time: &str, tone: Tone, line: &str) -> String {
        let width = self.width().map(|width| width.saturating_sub(time.len() + 1));
        let line = width.map_or(Cow::Borrowed(line), |width| console::truncate_str(line, width, "…"));
        format!("{} {}", self.paint(Tone::Faint, time), self.paint(tone, &line))
    }

    /// Colours a text. In plain text, the marks at the beginnings of lines.
    pub fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            _ if !self.colored || text.is_empty() => return text.to_owned(),
            Tone::Plain => return text.split('\n').map(|line| self.mark(line)).collect::<Vec<_>>().join("\n"),
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn mark(&self, line: &str) -> String {
        for (mark, tone) in [("✔", Tone::Good), ("✘", Tone::Bad)] {
            if let Some(rest) = line.strip_prefix(mark) {
                return self.paint(tone, mark) + rest;
            }
        }
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_used_where_they_are_wanted() {
        let terminal = |colored| Terminal { colored, stdout: None, progress: false };
        assert_eq!(terminal(true).paint(Tone::Bad, "no"), "\x1b[31mno\x1b[0m");
        assert_eq!(terminal(false).paint(Tone::Bad, "no"), "no");
        assert_eq!(terminal(true).paint(Tone::Plain, "text\n✔ done"), "text\n\x1b[32m✔\x1b[0m done");
    }

    #[test]
    fn the_full_time_stands_where_no_terminal_is() {
        let terminal = Terminal { colored: false, stdout: None, progress: false };
        assert_eq!(terminal.time(SystemTime::UNIX_EPOCH), "1970-01-01T00:00:00.000000Z");
        assert_eq!(terminal.timed("12:00:00Z", Tone::Good, "a long line"), "12:00:00Z a long line");
    }
}
