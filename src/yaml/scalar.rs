//! The type of a scalar, by the rules of Go's YAML libraries.

use super::error;
use crate::error::Result;

/// A scalar: its text as written, and the type that an untyped reader gives it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalar<'a> {
    /// The text, without quotes and with escapes replaced; empty for an empty value.
    pub text: &'a str,
    /// Whether the scalar is plain: neither quoted nor a block of text.
    pub plain: bool,
    /// The type.
    pub kind: ScalarKind,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ScalarKind {
    /// An empty value, `~`, `null`, `Null` or `NULL`.
    Null,
    /// `true` or `false` in the spellings of YAML 1.2.
    Bool(bool),
    /// An integer of 64 bits, signed or unsigned; decimal, or with a prefix for base 2, 8 or 16.
    Int(i128),
    /// A floating-point number.
    Float(f64),
    /// The merge key `<<`.
    Merge,
    /// Anything else.
    Text,
}

/// The tag of a node, as far as it decides about the type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tag {
    None,
    Str,
    Bool,
    Int,
    Float,
    Null,
    Merge,
    /// Another tag: the value is text.
    Other,
}

impl Tag {
    pub(super) fn new(handle: &str, suffix: &str) -> Tag {
        match (handle, suffix) {
            // The non-specific tag is equivalent to none.
            ("", "!") | ("!", "") => Tag::None,
            ("tag:yaml.org,2002:", "str") => Tag::Str,
            ("tag:yaml.org,2002:", "bool") => Tag::Bool,
            ("tag:yaml.org,2002:", "int") => Tag::Int,
            ("tag:yaml.org,2002:", "float") => Tag::Float,
            ("tag:yaml.org,2002:", "null") => Tag::Null,
            ("tag:yaml.org,2002:", "merge") => Tag::Merge,
            _ => Tag::Other,
        }
    }
}

impl ScalarKind {
    /// Returns the type of a scalar. A tag that contradicts the text is an error.
    pub(super) fn resolve(text: &str, plain: bool, tag: Tag) -> Result<ScalarKind> {
        let found = match tag {
            Tag::Str | Tag::Other => return Ok(ScalarKind::Text),
            Tag::Merge => return Ok(ScalarKind::Merge),
            Tag::None if !plain => return Ok(ScalarKind::Text),
            _ => ScalarKind::of_plain(text),
        };
        match (tag, found) {
            (Tag::None, _)
            | (Tag::Bool, ScalarKind::Bool(_))
            | (Tag::Int, ScalarKind::Int(_))
            | (Tag::Float, ScalarKind::Float(_))
            | (Tag::Null, ScalarKind::Null) => Ok(found),
            (Tag::Float, ScalarKind::Int(number)) => Ok(ScalarKind::Float(number as f64)),
            _ => Err(error(format!("the value {text:?} is not of the type that its tag states"))),
        }
    }

    fn of_plain(text: &str) -> ScalarKind {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => ScalarKind::Null,
            "true" | "True" | "TRUE" => ScalarKind::Bool(true),
            "false" | "False" | "FALSE" => ScalarKind::Bool(false),
            "<<" => ScalarKind::Merge,
            ".nan" | ".NaN" | ".NAN" => ScalarKind::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => ScalarKind::Float(f64::INFINITY),
            "-.inf" | "-.Inf" | "-.INF" => ScalarKind::Float(f64::NEG_INFINITY),
            "-0" | "-0.0" => ScalarKind::Float(-0.0),
            _ if text.starts_with(['+', '-', '.']) || text.starts_with(|c: char| c.is_ascii_digit()) => number(text),
            _ => ScalarKind::Text,
        }
    }
}

/// Underscores between digits are ignored. A leading zero means base 8; where that fails the number is decimal and a float.
fn number(text: &str) -> ScalarKind {
    let digits = text.replace('_', "");
    if let Some(number) = integer(&digits) {
        return ScalarKind::Int(number);
    }
    let float = digits.chars().all(|c| matches!(c, '0'..='9' | '.' | 'e' | 'E' | '+' | '-'));
    match digits.parse::<f64>() {
        Ok(number) if float && number.is_finite() => ScalarKind::Float(number),
        _ => ScalarKind::Text,
    }
}

fn integer(digits: &str) -> Option<i128> {
    let (sign, magnitude) = match digits.as_bytes().first()? {
        b'-' => (Some(-1), &digits[1..]),
        b'+' => (Some(1), &digits[1..]),
        _ => (None, digits),
    };
    let prefix = magnitude.get(..2).map(str::to_ascii_lowercase);
    let (base, magnitude) = match prefix.as_deref() {
        Some("0x") => (16, &magnitude[2..]),
        Some("0o") => (8, &magnitude[2..]),
        Some("0b") => (2, &magnitude[2..]),
        Some(_) if magnitude.starts_with('0') => (8, &magnitude[1..]),
        _ => (10, magnitude),
    };
    // `from_str_radix` accepts a sign, but only one sign is allowed.
    if !magnitude.starts_with(|c: char| c.is_digit(base)) {
        return None;
    }
    let number = sign.unwrap_or(1) * i128::from(u64::from_str_radix(magnitude, base).ok()?);
    // Only an unsigned number may need all 64 bits.
    let range = i128::from(i64::MIN)..=i128::from(if sign.is_none() { u64::MAX } else { i64::MAX as u64 });
    range.contains(&number).then_some(number)
}
