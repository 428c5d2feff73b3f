//! Messages from and to the form in which they are recorded: populated fields by their name, bytes in hex, enums as
//! numbers, `__unknown` for the unknown fields of a message.

use crate::record::Record;
use crate::support::{to_hex, unhex};
use fabric_gossip::proto::gossip::Empty;
use protobuf::reflect::{ReflectFieldRef, ReflectValueBox, ReflectValueRef, RuntimeFieldType, RuntimeType};
use protobuf::{CodedInputStream, Message, MessageDyn, MessageFull};
use serde_json::{Map, Value};

pub fn from_json<M: MessageFull>(json: &Record) -> M {
    let mut message = M::new();
    fill(&mut message, json.whole());
    message
}

fn fill(message: &mut dyn MessageDyn, json: &Value) {
    let descriptor = message.descriptor_dyn();
    for (name, value) in json.as_object().expect("a message") {
        let field = descriptor.field_by_name(name).unwrap_or_else(|| panic!("no field {name}"));
        match field.runtime_field_type() {
            RuntimeFieldType::Singular(kind) => {
                field.set_singular_field(message, boxed(&kind, value));
            }
            RuntimeFieldType::Repeated(kind) => {
                let mut list = field.mut_repeated(message);
                value.as_array().expect("a list").iter().for_each(|entry| list.push(boxed(&kind, entry)));
            }
            RuntimeFieldType::Map(..) => panic!("{name} is a map"),
        }
    }
}

fn boxed(kind: &RuntimeType, value: &Value) -> ReflectValueBox {
    let number = || value.as_i64().expect("a number") as i32;
    match kind {
        RuntimeType::U64 => ReflectValueBox::U64(value.as_u64().expect("a number")),
        RuntimeType::I32 => ReflectValueBox::I32(number()),
        RuntimeType::Bool => ReflectValueBox::Bool(value.as_bool().expect("a boolean")),
        RuntimeType::String => ReflectValueBox::String(value.as_str().expect("text").into()),
        RuntimeType::VecU8 => ReflectValueBox::Bytes(unhex(value.as_str().expect("hex"))),
        RuntimeType::Enum(descriptor) => ReflectValueBox::Enum(descriptor.clone(), number()),
        RuntimeType::Message(descriptor) => {
            let mut message = descriptor.new_instance();
            fill(&mut *message, value);
            ReflectValueBox::Message(message)
        }
        other => panic!("{other:?}"),
    }
}

/// Compares a decoded message with a recorded one, unknown fields included.
pub fn compare(message: &dyn MessageDyn, recorded: &Record) -> Result<(), String> {
    compare_json(message, recorded.whole())
}

fn compare_json(message: &dyn MessageDyn, json: &Value) -> Result<(), String> {
    let mut expected = json.as_object().expect("a message").clone();
    let unknown = expected.remove("__unknown").map(|raw| unhex(raw.as_str().expect("hex"))).unwrap_or_default();
    // A message without fields keeps all that there is, but groups, in the same form as the one to compare with.
    let mut input = CodedInputStream::from_bytes(&unknown);
    input.set_recursion_limit(10_000);
    let mut unknown = Empty::new();
    unknown.merge_from(&mut input).expect("unknown fields");
    if message.special_fields_dyn().unknown_fields() != unknown.special_fields.unknown_fields() {
        return Err(format!("unknown fields are {:?}", message.special_fields_dyn().unknown_fields()));
    }
    for field in message.descriptor_dyn().fields() {
        let expected = expected.remove(field.name());
        let disagree = |ours: String| Err(format!("{} is {ours}, expected {expected:?}", field.name()));
        match field.get_reflect(message) {
            ReflectFieldRef::Optional(value) => match (value.value(), &expected) {
                (Some(value), Some(expected)) => compare_value(&value, expected)?,
                // Without presence, absent is the same as the default.
                (Some(value), None) if field.containing_oneof().is_none() && is_default(&value) => {}
                (None, None) => {}
                (value, _) => return disagree(format!("{value:?}")),
            },
            ReflectFieldRef::Repeated(list) => {
                let entries = expected.as_ref().and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                if entries.len() != list.len() {
                    return disagree(format!("{} entries", list.len()));
                }
                list.into_iter().zip(entries).try_for_each(|(ours, expected)| compare_value(&ours, expected))?;
            }
            ReflectFieldRef::Map(_) => panic!("{} is a map", field.name()),
        }
    }
    if expected.is_empty() {
        Ok(())
    } else {
        Err(format!("{:?} are missing", Map::keys(&expected)))
    }
}

fn is_default(value: &ReflectValueRef) -> bool {
    ["0", "false", "\"\""].iter().any(|default| compare_value(value, &default.parse().expect("JSON")).is_ok())
}

fn compare_value(ours: &ReflectValueRef, expected: &Value) -> Result<(), String> {
    let ours = match ours {
        ReflectValueRef::Message(message) => {
            return if expected.is_object() {
                compare_json(&**message, expected)
            } else {
                Err("value is a message".into())
            }
        }
        ReflectValueRef::U64(value) => Value::from(*value),
        ReflectValueRef::I32(value) | ReflectValueRef::Enum(_, value) => Value::from(*value),
        ReflectValueRef::Bool(value) => Value::from(*value),
        ReflectValueRef::String(value) => Value::from(*value),
        ReflectValueRef::Bytes(value) => Value::from(to_hex(value)),
        other => panic!("{other:?}"),
    };
    if ours == *expected {
        Ok(())
    } else {
        Err(format!("value is {ours}, expected {expected}"))
    }
}
