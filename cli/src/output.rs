//! Output on stdout: human-readable lines, or with `--json` one object per line and nothing else.

use crate::failure::{Failure, Result};
use crate::rfc3339;
use crate::terminal::{Terminal, Tone};
use fabric_gossip::cancel::Cancel;
use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use serde_json::{json, Value};
use std::io::{self, BufWriter, Stdout, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Writer of the results. Clones write to the same place.
#[derive(Clone)]
pub struct Output(Arc<Sink>);

struct Sink {
    form: Form,
    terminal: Terminal,
    stdout: Mutex<BufWriter<Stdout>>,
    /// The bar that is on the screen. Lines are written above it.
    bar: Mutex<Option<ProgressBar>>,
    /// Set when stdout turns out to be closed.
    closed: Cancel,
    /// Any other reason why writing failed.
    broken: Mutex<Option<io::Error>>,
}

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    /// Text with a leading time stamp, for commands that run until they are stopped. A terminal shows the time of day
    /// and as much of each line as fits.
    TimedText,
    Json,
}

impl Output {
    /// Writes lines of a form. `closed` is set when stdout turns out to be closed.
    pub fn new(form: Form, terminal: Terminal, closed: Cancel) -> Self {
        let stdout = Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()));
        Output(Arc::new(Sink { form, terminal, stdout, bar: Mutex::new(None), closed, broken: Mutex::new(None) }))
    }

    /// Writes a line and flushes it.
    pub fn line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        self.toned(Tone::Plain, json, text);
    }

    /// Writes a line in a colour, where colours are wanted, and flushes it.
    pub fn toned(&self, tone: Tone, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        self.write(tone, json, text);
        self.flush();
    }

    /// Writes a line that may wait for [`flush`](Self::flush).
    pub fn bulk(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        self.write(Tone::Plain, json, text);
    }

    fn write(&self, tone: Tone, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let (now, terminal) = (SystemTime::now(), &self.0.terminal);
        let mut line = match self.0.form {
            Form::Json => {
                let mut object = json();
                object["time"] = json!(rfc3339::micros(now));
                escaped_json(&object.to_string())
            }
            Form::Text => terminal.paint(tone, &printable_lines(&text())),
            Form::TimedText => {
                let (time, text) = (terminal.time(now), printable_lines(&text()));
                let line = |line: &str| terminal.timed(&time, tone, line);
                text.lines().map(line).collect::<Vec<_>>().join("\n")
            }
        };
        line.push('\n');
        let written = self.above_bar(|| self.0.stdout.lock().write_all(line.as_bytes()));
        self.check(written);
    }

    /// Writes a line in text form only.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if !self.is_json() {
            self.line(|| Value::Null, text);
        }
    }

    /// Writes a line in a colour, in text form only.
    pub fn toned_note(&self, tone: Tone, text: impl FnOnce() -> String) {
        if !self.is_json() {
            self.toned(tone, || Value::Null, text);
        }
    }

    /// Flushes everything written.
    pub fn flush(&self) {
        let flushed = self.above_bar(|| self.0.stdout.lock().flush());
        self.check(flushed);
    }

    /// Hides the progress bar while something is written.
    fn above_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        let bar = self.0.bar.lock().clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Fails if writing failed for a reason other than a closed stdout.
    pub fn finish(&self) -> Result<()> {
        self.flush();
        match self.0.broken.lock().take() {
            None => Ok(()),
            Some(e) => Err(Failure::Peer(format!("cannot write to stdout: {e}"))),
        }
    }

    pub fn is_json(&self) -> bool {
        self.0.form == Form::Json
    }

    pub fn terminal(&self) -> &Terminal {
        &self.0.terminal
    }

    /// Shows a progress bar on stderr for a long task, until the result is dropped. Does nothing with `--json`
    /// or `--quiet`, or unless stdout and stderr are terminals.
    pub fn progress(&self, what: &'static str, total: u64) -> Progress {
        if self.is_json() || !self.0.terminal.shows_progress() {
            return Progress(None);
        }
        let bar = ProgressBar::new(total).with_message(what);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {human_pos} of {human_len} {msg} {eta}") {
            bar.set_style(style);
        }
        *self.0.bar.lock() = Some(bar.clone());
        Progress(Some((bar, self.clone())))
    }

    fn check(&self, result: io::Result<()>) {
        if let Err(e) = result {
            if e.kind() != io::ErrorKind::BrokenPipe {
                self.0.broken.lock().get_or_insert(e);
            }
            self.0.closed.cancel();
        }
    }
}

/// A progress bar, erased when this is dropped.
pub struct Progress(Option<(ProgressBar, Output)>);

impl Progress {
    pub fn set(&self, done: u64) {
        if let Some((bar, _)) = &self.0 {
            bar.set_position(done);
        }
    }

    /// Sets the amount of work, which grows while a task finds more to do.
    pub fn set_total(&self, total: u64) {
        if let Some((bar, _)) = &self.0 {
            bar.set_length(total);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((bar, out)) = self.0.take() {
            *out.0.bar.lock() = None;
            bar.finish_and_clear();
        }
    }
}

/// Escapes the control characters of a text from the network, a file or the environment, so that a terminal can show
/// it.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match is_unsafe(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

/// Does the same as [`printable`] for a text of several lines.
fn printable_lines(text: &str) -> String {
    text.split('\n').map(printable).collect::<Vec<_>>().join("\n")
}

/// Returns whether a character is a control character or changes the text direction.
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes characters that JSON allows in a text and a terminal interprets.
fn escaped_json(text: &str) -> String {
    match text.contains(is_unsafe) {
        false => text.to_owned(),
        true => text
            .chars()
            .map(|c| if is_unsafe(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() })
            .collect(),
    }
}

/// Formats a path for an error: quoted and escaped if it has control characters, or a space or quote at an end.
pub fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    let odd = |c: char| is_unsafe(c) || c.is_whitespace() || "\"'".contains(c);
    match text.contains(is_unsafe) || text.starts_with(odd) || text.ends_with(odd) || text.is_empty() {
        true => format!("{text:?}"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_escaped() {
        assert_eq!(printable("a\x1b[31m\r\u{9b}é\u{202e}"), "a\\u{1b}[31m\\r\\u{9b}é\\u{202e}");
        assert_eq!(printable_lines("a\nb\x07"), "a\nb\\u{7}");
        assert_eq!(escaped_json("\"\u{9b}\""), "\"\\u009b\"");
        assert_eq!(shown(Path::new("/a b")), "/a b");
        assert_eq!(shown(Path::new("/a\r")), "\"/a\\r\"");
        assert_eq!(shown(Path::new("\"/a\"")), "\"\\\"/a\\\"\"");
    }
}
