//! Deferred log lines. The state machines run while a lock is held, and the user's logger may call the library, so
//! their lines are kept until the lock is released.

use crate::sync::thread_local;
use log::{Level, Record};
use std::cell::RefCell;
use std::fmt;

thread_local! {
    static KEPT: RefCell<Option<Vec<Line>>> = const { RefCell::new(None) };
}

struct Line {
    level: Level,
    module: &'static str,
    text: String,
}

/// Keeps the log lines of the current thread and logs them when dropped. Create it before taking the lock.
pub(crate) struct Deferred(());

impl Deferred {
    pub fn begin() -> Self {
        KEPT.with(|kept| _ = kept.borrow_mut().get_or_insert_default());
        Deferred(())
    }
}

impl Drop for Deferred {
    fn drop(&mut self) {
        let lines = KEPT.with(|kept| kept.borrow_mut().take()).unwrap_or_default();
        lines.iter().for_each(|line| log_now(line.level, line.module, format_args!("{}", line.text)));
    }
}

/// Logs a line, or keeps it until [`Deferred`] is dropped.
pub(crate) fn line(level: Level, module: &'static str, text: fmt::Arguments<'_>) {
    let kept = KEPT.with(|kept| match &mut *kept.borrow_mut() {
        Some(lines) => {
            lines.push(Line { level, module, text: text.to_string() });
            true
        }
        None => false,
    });
    if !kept {
        log_now(level, module, text);
    }
}

fn log_now(level: Level, module: &'static str, text: fmt::Arguments<'_>) {
    let record = Record::builder().level(level).target(module).module_path_static(Some(module)).args(text).build();
    log::logger().log(&record);
}

macro_rules! journal {
    ($level:ident, $($text:tt)+) => {
        if log::log_enabled!(log::Level::$level) {
            $crate::journal::line(log::Level::$level, module_path!(), format_args!($($text)+))
        }
    };
}

macro_rules! error { ($($text:tt)+) => { $crate::journal::journal!(Error, $($text)+) }; }
macro_rules! warning { ($($text:tt)+) => { $crate::journal::journal!(Warn, $($text)+) }; }
macro_rules! info { ($($text:tt)+) => { $crate::journal::journal!(Info, $($text)+) }; }
macro_rules! debug { ($($text:tt)+) => { $crate::journal::journal!(Debug, $($text)+) }; }

pub(crate) use {debug, error, info, journal, warning};
