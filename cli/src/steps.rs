//! Commands that run step by step: each step is one line, and the first failed step ends the command.

use crate::failure::{Failure, Result};
use crate::output::{printable, Output};
use serde_json::{json, Value};

/// Result of one step.
pub type Step<T> = std::result::Result<Passed<T>, Stumble>;

pub struct Passed<T> {
    pub result: T,
    pub detail: Value,
    pub text: String,
}

/// Reason why there is no next step.
pub enum Stumble {
    Problem(Box<Problem>),
    /// Not a failure of the step: stopped, or misconfigured.
    Failure(Failure),
}

/// A problem and a suggestion.
pub struct Problem {
    why: String,
    hint: String,
    detail: Value,
}

/// Creates a passed step; the counterpart of [`Problem::fail`].
pub trait Pass<T>: Sized {
    fn pass(result: T, detail: Value, text: String) -> Self;
}

impl<T> Pass<T> for Step<T> {
    fn pass(result: T, detail: Value, text: String) -> Self {
        Ok(Passed { result, detail, text })
    }
}

impl Problem {
    pub fn new(why: impl Into<String>) -> Self {
        Problem { why: why.into(), hint: String::new(), detail: json!({}) }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }

    pub fn fail<T>(self) -> Step<T> {
        Err(self.into())
    }
}

impl From<Problem> for Stumble {
    fn from(problem: Problem) -> Self {
        Stumble::Problem(Box::new(problem))
    }
}

impl From<Failure> for Stumble {
    fn from(failure: Failure) -> Self {
        Stumble::Failure(failure)
    }
}

/// Prints steps as they are taken.
pub struct Steps<'a> {
    out: &'a Output,
    error: Option<String>,
}

impl<'a> Steps<'a> {
    pub fn new(out: &'a Output) -> Self {
        Steps { out, error: None }
    }

    /// Prints a step, and returns its result if there is a next one.
    pub fn take<T>(&mut self, name: &'static str, step: Step<T>) -> Result<T> {
        match step {
            Ok(Passed { result, detail, text }) => {
                self.out.line(
                    || json!({"event": "step", "name": name, "ok": true, "detail": detail, "error": null}),
                    || format!("✔ {name:<12} {}", printable(&text)),
                );
                Ok(result)
            }
            Err(Stumble::Failure(failure)) => Err(failure),
            Err(Stumble::Problem(problem)) => {
                let Problem { why, hint, detail } = *problem;
                let why = printable(&why);
                self.error = Some(format!("{name}: {why}"));
                self.out.line(
                    || json!({"event": "step", "name": name, "ok": false, "detail": detail, "error": why, "hint": hint}),
                    || match hint.is_empty() {
                        true => format!("✘ {name:<12} {why}"),
                        false => format!("✘ {name:<12} {why}\n  {:<12} {hint}", "try"),
                    },
                );
                Err(Failure::Reported)
            }
        }
    }

    /// Returns the error of the first failed step.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}
