//! Series of measurements, and tables of them.

use serde_json::{json, Value};
use std::fmt;

/// The figures of the rounds.
#[derive(Default)]
pub struct Series(Vec<f64>);

impl Series {
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    pub fn last(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    pub fn median(&self) -> f64 {
        let sorted = self.sorted();
        if sorted.is_empty() {
            return f64::NAN;
        }
        let middle = sorted.len() / 2;
        if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            (sorted[middle - 1] + sorted[middle]) / 2.0
        }
    }

    fn range(&self) -> (f64, f64) {
        let sorted = self.sorted();
        let end = |value: Option<&f64>| value.copied().unwrap_or(f64::NAN);
        (end(sorted.first()), end(sorted.last()))
    }

    pub fn json(&self) -> Value {
        let (low, high) = self.range();
        json!({ "median": self.median(), "low": low, "high": high })
    }

    fn text(&self, one: impl Fn(f64) -> String) -> String {
        let (low, high) = self.range();
        format!("{} ({} – {})", one(self.median()), one(low), one(high))
    }

    pub fn thousands(&self) -> String {
        self.text(|v| {
            let digits = (v.round() as u64).to_string();
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().filter_map(|g| std::str::from_utf8(g).ok()).collect();
            groups.join(",")
        })
    }

    pub fn percent(&self) -> String {
        self.text(|v| format!("{:.0} %", v * 100.0))
    }

    pub fn one_decimal(&self) -> String {
        self.text(|v| format!("{v:.1}"))
    }
}

/// The value below which `percent` of them are.
pub fn percentile(values: &mut [f64], percent: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(values.len() * percent / 100).min(values.len() - 1)]
}

/// A table for people.
pub struct Table {
    title: String,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(title: &str, head: &[&str]) -> Table {
        Table { title: title.into(), rows: vec![head.iter().map(|s| (*s).to_owned()).collect()] }
    }

    pub fn row(&mut self, mut cells: Vec<String>) {
        cells.resize(self.rows[0].len(), String::new());
        self.rows.push(cells);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        let width = |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        for (i, row) in self.rows.iter().enumerate() {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            writeln!(f, "{}", format!("| {} |", cells.join(" | ")).trim_end())?;
            if i == 0 {
                let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
                writeln!(f, "| {} |", rule.join(" | "))?;
            }
        }
        Ok(())
    }
}
