//! Messages with every field set, made from their descriptors.
#![allow(clippy::unwrap_used, unreachable_pub, missing_docs)]

use std::collections::HashMap;

use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

/// Messages within messages: deeper than any of ours.
const DEEPEST: u32 = 6;

/// How many messages it takes to show every alternative of every oneof once.
pub fn alternatives(message: &MessageDescriptor) -> usize {
    alternatives_within(message, DEEPEST)
}

fn alternatives_within(message: &MessageDescriptor, depth: u32) -> usize {
    let own = message.oneofs().map(|oneof| oneof.fields().count()).max().unwrap_or(1);
    let inner = message.fields().filter_map(|field| match field.kind() {
        Kind::Message(inner) if depth > 0 => Some(alternatives_within(&inner, depth - 1)),
        _ => None,
    });
    inner.max().unwrap_or(1).max(own)
}

/// A message with every field set; of each oneof the alternative with this number, or the first when it has fewer.
pub fn filled(message: &MessageDescriptor, alternative: usize) -> DynamicMessage {
    filled_within(message, alternative, DEEPEST)
}

fn filled_within(message: &MessageDescriptor, alternative: usize, depth: u32) -> DynamicMessage {
    let mut made = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let is_chosen = field.containing_oneof().is_none_or(|oneof| {
            let chosen = oneof.fields().nth(alternative).or_else(|| oneof.fields().next()).unwrap();
            chosen.number() == field.number()
        });
        let is_too_deep = depth == 0 && matches!(field.kind(), Kind::Message(_));
        if is_chosen && !is_too_deep {
            made.set_field(&field, value(&field, alternative, depth));
        }
    }
    made
}

fn value(field: &FieldDescriptor, alternative: usize, depth: u32) -> Value {
    if let (true, Kind::Message(entry)) = (field.is_map(), field.kind()) {
        let value = one(&entry.map_entry_value_field(), alternative, depth);
        return Value::Map(HashMap::from([(key(&entry.map_entry_key_field()), value)]));
    }
    let one = one(field, alternative, depth);
    if field.is_list() { Value::List(vec![one.clone(), one]) } else { one }
}

fn key(field: &FieldDescriptor) -> MapKey {
    match one(field, 0, 0) {
        Value::Bool(key) => MapKey::Bool(key),
        Value::I32(key) => MapKey::I32(key),
        Value::I64(key) => MapKey::I64(key),
        Value::U32(key) => MapKey::U32(key),
        Value::U64(key) => MapKey::U64(key),
        Value::String(key) => MapKey::String(key),
        other => unreachable!("no key of a map is {other:?}"),
    }
}

/// Depends on the field's number and type only, so both sides make the same.
fn one(field: &FieldDescriptor, alternative: usize, depth: u32) -> Value {
    let number = field.number();
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(i32::try_from(number).unwrap()),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(i64::from(number)),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(u64::from(number)),
        Kind::Float => Value::F32(0.5),
        Kind::Double => Value::F64(0.25),
        Kind::String => Value::String(format!("text {number}")),
        Kind::Bytes => Value::Bytes(vec![u8::try_from(number % 256).unwrap(); 3].into()),
        // The zeroth is what is not set.
        Kind::Enum(kind) => Value::EnumNumber(kind.values().nth(1).or_else(|| kind.values().next()).unwrap().number()),
        Kind::Message(inner) => Value::Message(filled_within(&inner, alternative, depth.saturating_sub(1))),
    }
}

/// What prost's generated types keep of a message: no field that they do not know.
pub fn known(mut message: DynamicMessage) -> DynamicMessage {
    drop_unknown(&mut message);
    message
}

fn drop_unknown(message: &mut DynamicMessage) {
    drop(message.take_unknown_fields().collect::<Vec<_>>());
    message.fields_mut().for_each(|(_, value)| drop_unknown_in(value));
}

fn drop_unknown_in(value: &mut Value) {
    match value {
        Value::Message(inner) => drop_unknown(inner),
        Value::List(items) => items.iter_mut().for_each(drop_unknown_in),
        Value::Map(items) => items.values_mut().for_each(drop_unknown_in),
        _ => {}
    }
}
