//! What goes to stdout: lines for a person, or with `--json` one object per line and nothing else.

use crate::failure::{Failure, Result};
use fabric_gossip::cancel::Cancel;
use parking_lot::Mutex;
use serde_json::Value;
use std::io::{self, BufWriter, IsTerminal, Stderr, Stdout, Write};
use std::sync::Arc;

/// Where results go. Clones write to the same place.
#[derive(Clone)]
pub struct Output(Arc<Inner>);

struct Inner {
    json: bool,
    stdout: Mutex<BufWriter<Stdout>>,
    /// Nobody reads any more once stdout is closed: then there is nothing left to do.
    stop: Cancel,
    /// Why else nothing could be written.
    broken: Mutex<Option<io::Error>>,
}

impl Output {
    /// With `json`, machine-readable. `stop` is set when stdout turns out to be closed.
    pub fn new(json: bool, stop: Cancel) -> Self {
        let stdout = Mutex::new(BufWriter::with_capacity(64 << 10, io::stdout()));
        Output(Arc::new(Inner { json, stdout, stop, broken: Mutex::new(None) }))
    }

    /// Writes a line, seen at once.
    pub fn line(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        self.bulk(json, text);
        self.flush();
    }

    /// Writes a line that may wait for [`flush`](Self::flush).
    pub fn bulk(&self, json: impl FnOnce() -> Value, text: impl FnOnce() -> String) {
        let mut line = match self.0.json {
            true => json().to_string(),
            false => text(),
        };
        line.push('\n');
        let written = self.0.stdout.lock().write_all(line.as_bytes());
        self.check(written);
    }

    /// Writes a line that only a person wants to see.
    pub fn note(&self, text: impl FnOnce() -> String) {
        if !self.0.json {
            self.line(|| Value::Null, text);
        }
    }

    /// Makes everything written visible.
    pub fn flush(&self) {
        let flushed = self.0.stdout.lock().flush();
        self.check(flushed);
    }

    /// Fails if something could not be written, for another reason than that nobody reads any more.
    pub fn finish(&self) -> Result<()> {
        self.flush();
        match self.0.broken.lock().take() {
            None => Ok(()),
            Some(e) => Err(Failure::Peer(format!("cannot write to stdout: {e}"))),
        }
    }

    pub fn is_json(&self) -> bool {
        self.0.json
    }

    /// A line that shows how far a long task has come, where there is a person who watches.
    pub fn progress(&self) -> Progress {
        let stderr = io::stderr();
        Progress((!self.0.json && stderr.is_terminal()).then_some(stderr))
    }

    fn check(&self, result: io::Result<()>) {
        if let Err(e) = result {
            if e.kind() != io::ErrorKind::BrokenPipe {
                self.0.broken.lock().get_or_insert(e);
            }
            self.0.stop.cancel();
        }
    }
}

/// A line on a terminal that is overwritten, and gone when this is dropped.
pub struct Progress(Option<Stderr>);

impl Progress {
    pub fn show(&mut self, text: impl FnOnce() -> String) {
        if let Some(stderr) = &mut self.0 {
            let _ = write!(stderr, "\r\x1b[K{}", text()).and_then(|()| stderr.flush());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show(String::new);
    }
}

/// A text from the network or a file, safe to show on a terminal.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
