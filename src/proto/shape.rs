//! Cases where Go's protobuf and the generated parsers disagree, resolved as in Go.
//!
//! The generated parsers replace a message field that occurs twice (Go merges), lose groups, and reject enum values
//! beyond 32 bits (Go truncates them) and long forms of tags. [`check`] detects in one pass over the fields whether a
//! message has any of these; very few do. If so, [`canonical`] writes an equivalent that both read in the same way.

use super::wire::{put_bytes, put_tag, put_varint, Reader, GROUP, LEN, VARINT};
use super::MAX_ELEMENTS;
use crate::error::{Error, ErrorKind, Result};
use protobuf::reflect::{FieldDescriptor, MessageDescriptor, RuntimeFieldType, RuntimeType};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The fields of a message type.
pub struct Shape(Vec<Option<Field>>);

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shape").finish_non_exhaustive()
    }
}

struct Field {
    kind: Kind,
    repeated: bool,
    /// All message types here have at most one oneof.
    oneof: bool,
}

enum Kind {
    U64,
    Bool,
    /// `int32`, and enums, which are the same on the wire.
    I32,
    String,
    Bytes,
    Message(Shape),
}

impl Shape {
    pub(super) fn of(message: &MessageDescriptor) -> Shape {
        let mut fields = Vec::new();
        for field in message.fields() {
            let number = field.number() as usize;
            if fields.len() <= number {
                fields.resize_with(number + 1, || None);
            }
            fields[number] = Some(Field::of(&field));
        }
        Shape(fields)
    }

    #[inline]
    fn field(&self, number: u32, wire_type: u8) -> Option<&Field> {
        let field = self.0.get(number as usize)?.as_ref()?;
        (field.kind.wire_type() == wire_type).then_some(field)
    }
}

impl Field {
    fn of(field: &FieldDescriptor) -> Field {
        let (runtime, repeated) = match field.runtime_field_type() {
            RuntimeFieldType::Singular(t) => (t, false),
            RuntimeFieldType::Repeated(t) => (t, true),
            RuntimeFieldType::Map(..) => unreachable!("no message in proto/ has a map"),
        };
        let kind = match runtime {
            RuntimeType::U64 => Kind::U64,
            RuntimeType::Bool => Kind::Bool,
            RuntimeType::I32 | RuntimeType::Enum(_) => Kind::I32,
            RuntimeType::String => Kind::String,
            RuntimeType::VecU8 => Kind::Bytes,
            RuntimeType::Message(m) => Kind::Message(Shape::of(&m)),
            other => unreachable!("no message in proto/ has a field of type {other:?}"),
        };
        Field { kind, repeated, oneof: field.containing_oneof().is_some() }
    }
}

impl Kind {
    #[inline]
    fn wire_type(&self) -> u8 {
        match self {
            Kind::U64 | Kind::Bool | Kind::I32 => VARINT,
            Kind::String | Kind::Bytes | Kind::Message(_) => LEN,
        }
    }

    /// Returns an integer as interpreted, in the form in which it is encoded.
    fn integer(&self, value: u64) -> u64 {
        match self {
            Kind::Bool => (value != 0).into(),
            Kind::I32 => i64::from(value as i32) as u64,
            _ => value,
        }
    }
}

/// Checks that a message is well formed, and returns its unusual features.
pub(super) fn check(shape: &Shape, bytes: &[u8]) -> Result<Findings> {
    let mut check = Check { elements: MAX_ELEMENTS, found: Findings { alike: true, unknown: false, oneof: 0 } };
    check.found.oneof = check.message(shape, bytes)?;
    Ok(check.found)
}

pub(super) struct Findings {
    /// The generated parser reads it as Go does.
    pub(super) alike: bool,
    /// It has unknown fields, whose order the generated code does not preserve.
    pub(super) unknown: bool,
    /// Number of the last field of its oneof; 0 if there is none.
    pub(super) oneof: u32,
}

struct Check {
    /// Number of further elements that the message may have.
    elements: usize,
    found: Findings,
}

impl Check {
    /// Returns the number of the last field of the message's oneof; 0 if there is none.
    fn message(&mut self, shape: &Shape, bytes: &[u8]) -> Result<u32> {
        let mut reader = Reader::new(bytes);
        let mut oneof = 0;
        // Numbers of the message fields seen, as a bit set. None is above 63.
        let mut messages = 0_u64;
        while let Some((number, wire_type)) = reader.tag()? {
            let Some(field) = shape.field(number, wire_type) else {
                self.count()?;
                self.found.unknown = true;
                self.found.alike &= wire_type != GROUP;
                reader.skip(number, wire_type)?;
                continue;
            };
            if field.oneof {
                self.found.alike &= std::mem::replace(&mut oneof, number) == 0;
            }
            if field.repeated {
                self.count()?;
            }
            match &field.kind {
                Kind::U64 | Kind::Bool => drop(reader.varint()?),
                Kind::I32 => self.found.alike &= i32::try_from(reader.varint()? as i64).is_ok(),
                Kind::Bytes => drop(reader.bytes()?),
                Kind::String => drop(
                    std::str::from_utf8(reader.bytes()?)
                        .map_err(|_| Error::new(ErrorKind::Protocol, "string field contains invalid UTF-8"))?,
                ),
                Kind::Message(inner) => {
                    self.found.alike &= field.repeated || messages & (1 << number) == 0;
                    messages |= 1 << number;
                    self.message(inner, reader.bytes()?)?;
                }
            }
        }
        self.found.alike &= reader.minimal;
        Ok(oneof)
    }

    fn count(&mut self) -> Result<()> {
        let too_many = || Error::new(ErrorKind::TooLarge, "too many elements");
        self.elements = self.elements.checked_sub(1).ok_or_else(too_many)?;
        Ok(())
    }
}

/// Treatment of groups, which are always unknown fields: the generated parsers cannot represent them.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Groups {
    Keep,
    Drop,
}

/// The value to write for one known field.
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// The concatenation of all parts of one message; parsing it merges them.
    Message(Cow<'a, [u8]>),
    Repeated(Vec<&'a [u8]>),
}

/// Re-encodes a message that [`check`] has found well formed: known fields by number, each scalar once, without
/// defaults, then the unknown fields in their original order.
pub(super) fn canonical(shape: &Shape, bytes: &[u8], groups: Groups) -> Result<Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let mut values = BTreeMap::new();
    let mut oneof = None;
    let mut unknown = Vec::new();
    while let Some((number, wire_type)) = reader.tag()? {
        let Some(field) = shape.field(number, wire_type) else {
            let value = reader.skip(number, wire_type)?;
            if groups == Groups::Keep || wire_type != GROUP {
                put_tag(&mut unknown, number, wire_type);
                unknown.extend_from_slice(value);
            }
            continue;
        };
        if field.oneof {
            if let Some(other) = oneof.replace(number).filter(|other| *other != number) {
                values.remove(&other);
            }
        }
        if wire_type == VARINT {
            values.insert(number, Value::Varint(field.kind.integer(reader.varint()?)));
            continue;
        }
        let value = reader.bytes()?;
        match (values.get_mut(&number), &field.kind) {
            (Some(Value::Repeated(all)), _) => all.push(value),
            (Some(Value::Message(merged)), _) => merged.to_mut().extend_from_slice(value),
            (None, _) if field.repeated => drop(values.insert(number, Value::Repeated(vec![value]))),
            (None, Kind::Message(_)) => drop(values.insert(number, Value::Message(value.into()))),
            _ => drop(values.insert(number, Value::Bytes(value))),
        }
    }

    let mut out = Vec::with_capacity(bytes.len());
    for (number, value) in values {
        let Some(field) = &shape.0[number as usize] else { continue };
        let mut put = |value: &[u8]| -> Result<()> {
            match &field.kind {
                Kind::Message(inner) => put_bytes(&mut out, number, &canonical(inner, value, groups)?),
                _ => put_bytes(&mut out, number, value),
            }
            Ok(())
        };
        match value {
            Value::Varint(0) if !field.oneof => {}
            Value::Varint(value) => {
                put_tag(&mut out, number, VARINT);
                put_varint(&mut out, value);
            }
            Value::Bytes(b"") if !field.oneof => {}
            Value::Bytes(value) => put(value)?,
            Value::Message(value) => put(&value)?,
            Value::Repeated(all) => all.into_iter().try_for_each(put)?,
        }
    }
    out.append(&mut unknown);
    Ok(out)
}
