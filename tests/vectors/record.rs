//! Recorded values that remember whether they were read.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Index;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// A recorded value. Its leaves (texts, numbers, truth values, nulls, empty lists and empty objects) count as read once
/// their content was taken; indexing alone does not count.
#[derive(Debug)]
pub struct Record {
    value: Value,
    fields: BTreeMap<String, Record>,
    items: Vec<Record>,
    read: AtomicBool,
}

/// Stands for every field that is not there, as null does in `serde_json`.
static ABSENT: Record =
    Record { value: Value::Null, fields: BTreeMap::new(), items: Vec::new(), read: AtomicBool::new(true) };

impl From<Value> for Record {
    fn from(value: Value) -> Record {
        let mut record = Record { value, fields: BTreeMap::new(), items: Vec::new(), read: AtomicBool::new(false) };
        match &record.value {
            Value::Object(fields) => {
                record.fields = fields.iter().map(|(name, it)| (name.clone(), it.clone().into())).collect()
            }
            Value::Array(items) => record.items = items.iter().cloned().map(Record::from).collect(),
            _ => {}
        }
        record
    }
}

impl Record {
    fn read(&self) -> &Value {
        self.read.store(true, Relaxed);
        &self.value
    }

    /// Returns the value with all that is in it, and marks all of it as read.
    pub fn whole(&self) -> &Value {
        self.fields.values().chain(&self.items).for_each(|it| {
            it.whole();
        });
        self.read()
    }

    pub fn get(&self, name: &str) -> Option<&Record> {
        self.fields.get(name)
    }

    pub fn as_str(&self) -> Option<&str> {
        self.read().as_str()
    }

    pub fn as_u64(&self) -> Option<u64> {
        self.read().as_u64()
    }

    pub fn as_i64(&self) -> Option<i64> {
        self.read().as_i64()
    }

    pub fn as_bool(&self) -> Option<bool> {
        self.read().as_bool()
    }

    pub fn is_null(&self) -> bool {
        self.read().is_null()
    }

    pub fn is_object(&self) -> bool {
        self.read().is_object()
    }

    pub fn is_array(&self) -> bool {
        self.read().is_array()
    }

    pub fn as_array(&self) -> Option<&Vec<Record>> {
        self.is_array().then_some(&self.items)
    }

    pub fn as_object(&self) -> Option<&BTreeMap<String, Record>> {
        self.is_object().then_some(&self.fields)
    }

    /// Returns the paths of the leaves that were not read.
    pub fn unread(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect_unread("", &mut found);
        found
    }

    fn collect_unread(&self, path: &str, found: &mut Vec<String>) {
        if self.fields.is_empty() && self.items.is_empty() {
            if !self.read.load(Relaxed) {
                found.push(path.to_owned());
            }
            return;
        }
        let dot = if path.is_empty() { "" } else { "." };
        self.fields.iter().for_each(|(name, it)| it.collect_unread(&format!("{path}{dot}{name}"), found));
        self.items.iter().enumerate().for_each(|(i, it)| it.collect_unread(&format!("{path}[{i}]"), found));
    }
}

impl Index<&str> for Record {
    type Output = Record;

    fn index(&self, name: &str) -> &Record {
        self.get(name).unwrap_or(&ABSENT)
    }
}

impl PartialEq<bool> for Record {
    fn eq(&self, other: &bool) -> bool {
        self.read() == other
    }
}

impl PartialEq<str> for Record {
    fn eq(&self, other: &str) -> bool {
        self.read() == other
    }
}

impl PartialEq<&str> for Record {
    fn eq(&self, other: &&str) -> bool {
        self == *other
    }
}

impl PartialEq<String> for Record {
    fn eq(&self, other: &String) -> bool {
        self == other.as_str()
    }
}

/// The value as JSON; all of it is read.
impl Display for Record {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.whole())
    }
}

#[test]
fn what_was_not_read_is_named_by_its_path() {
    let value =
        serde_json::json!({"a": 1, "b": {"c": "x", "d": [], "e": null}, "f": [{"g": 1}, {"g": 2}], "h": {"i": 3}});
    let record = Record::from(value);
    assert_eq!(record.unread(), ["a", "b.c", "b.d", "b.e", "f[0].g", "f[1].g", "h.i"]);
    assert_eq!((record["a"].as_u64(), record["b"]["c"].as_str()), (Some(1), Some("x")));
    let items = record["f"].as_array().expect("a list");
    assert_eq!(items[1]["g"].as_u64(), Some(2));
    assert!(record["absent"]["too"].is_null());
    assert_eq!(record["h"].to_string(), r#"{"i":3}"#);
    let _ = (&record["b"]["e"], record["b"].get("e"), record["b"].as_object());
    assert_eq!(record.unread(), ["b.d", "b.e", "f[0].g"]);
}
