//! The measurements, value by value, and those recorded elsewhere.

use crate::statistics::{in_rounds, ratios, Spread};
use serde_json::{json, Value};
use std::path::Path;

/// One measured value.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    pub workload: String,
    pub size: u64,
    pub connections: u64,
    pub variant: String,
    pub metric: String,
    pub unit: String,
    pub value: f64,
    pub round: u64,
}

impl Record {
    pub fn json(&self) -> Value {
        json!({
            "workload": self.workload, "size": self.size, "connections": self.connections, "variant": self.variant,
            "metric": self.metric, "unit": self.unit, "value": self.value, "round": self.round,
        })
    }

    pub fn from_json(value: &Value) -> Option<Record> {
        let text = |field: &str| value[field].as_str().map(str::to_owned);
        let number = |field: &str| value[field].as_u64();
        Some(Record {
            workload: text("workload")?,
            size: number("size")?,
            connections: number("connections")?,
            variant: text("variant")?,
            metric: text("metric")?,
            unit: text("unit")?,
            value: value["value"].as_f64()?,
            round: number("round")?,
        })
    }

    pub fn point(&self) -> Point {
        Point {
            workload: self.workload.clone(),
            size: self.size,
            connections: self.connections,
            metric: self.metric.clone(),
        }
    }
}

/// The subject of a series of values, one a round.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub workload: String,
    pub size: u64,
    pub connections: u64,
    pub metric: String,
}

impl Point {
    pub fn new(workload: &str, size: u64, connections: u64, metric: &str) -> Point {
        Point { workload: workload.into(), size, connections, metric: metric.into() }
    }
}

#[derive(Default)]
pub struct Results(pub Vec<Record>);

impl Results {
    /// Round and value.
    pub fn series(&self, point: &Point, variant: &str) -> Vec<(u64, f64)> {
        let wanted = self.0.iter().filter(|record| record.variant == variant && record.point() == *point);
        wanted.map(|record| (record.round, record.value)).collect()
    }

    pub fn spread(&self, point: &Point, variant: &str) -> Option<Spread> {
        let values: Vec<f64> = self.series(point, variant).into_iter().map(|(_, value)| value).collect();
        Spread::of(&values)
    }

    /// How two variants compare at one point.
    pub fn ratio(&self, point: &Point, variant: &str, other: &str) -> Option<Spread> {
        Spread::of(&ratios(&self.series(point, variant), &self.series(point, other)))
    }

    /// Returns how much more one variant has than another at one point.
    pub fn difference(&self, point: &Point, variant: &str, other: &str) -> Option<Spread> {
        let (of, to) = (self.series(point, variant), self.series(point, other));
        Spread::of(&in_rounds(&of, &to, |value, other| value - other))
    }

    /// How one variant compares at two points.
    pub fn ratio_of_points(&self, variant: &str, point: &Point, to: &Point) -> Option<Spread> {
        Spread::of(&ratios(&self.series(point, variant), &self.series(to, variant)))
    }

    /// Every point once, in the order of their first values.
    pub fn points(&self) -> Vec<(Point, &str)> {
        let mut points: Vec<(Point, &str)> = Vec::new();
        for record in &self.0 {
            if !points.iter().any(|(point, _)| *point == record.point()) {
                points.push((record.point(), &record.unit));
            }
        }
        points
    }

    pub fn json(&self) -> Value {
        self.0.iter().map(Record::json).collect()
    }

    /// Reads what [`json`](Self::json) wrote.
    pub fn read(file: &Path) -> Result<Results, String> {
        Results::from_json(&json_file(file)?).ok_or_else(|| format!("{}: these are no results", file.display()))
    }

    fn from_json(value: &Value) -> Option<Results> {
        value.as_array()?.iter().map(Record::from_json).collect::<Option<_>>().map(Results)
    }
}

/// Results of another run: `{"source": "who measured it, when, on what", "results": [...]}`.
pub struct Recorded {
    pub source: String,
    pub results: Results,
}

impl Recorded {
    pub fn read(file: &Path) -> Result<Recorded, String> {
        let wrong = |what: &str| format!("{}: {what}", file.display());
        let value = json_file(file)?;
        let source = value["source"].as_str().ok_or_else(|| wrong("it names no source"))?.to_owned();
        let results = Results::from_json(&value["results"]).ok_or_else(|| wrong("it has no results"))?;
        Ok(Recorded { source, results })
    }
}

fn json_file(file: &Path) -> Result<Value, String> {
    let wrong = |what: String| format!("{}: {what}", file.display());
    let text = std::fs::read_to_string(file).map_err(|e| wrong(e.to_string()))?;
    serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))
}
