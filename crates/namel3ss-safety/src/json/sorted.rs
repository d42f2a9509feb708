//! Objects with sorted keys: the same content is the same text, whoever logged it.

use super::write::{write_float, write_object, write_text, write_unsigned};
use crate::codec::{ArrayRef, ObjectRef, RawValue, ValueRef};

/// Appends `metadata` as one JSON object with sorted keys, in the objects within it as well. Of two
/// entries of one name the later one stands.
pub fn write_object_sorted(metadata: ObjectRef<'_>, out: &mut Vec<u8>) {
    if object_is_sorted(metadata) {
        return write_object(metadata, out);
    }
    let mut entries: Vec<(&str, ValueRef<'_>)> = metadata.collect();
    entries.reverse();
    entries.sort_by_key(|entry| entry.0);
    entries.dedup_by_key(|entry| entry.0);
    write_entries_sorted(entries.into_iter(), out);
}

/// Whether the keys ascend, without a repeated one, in `object` and in all within it.
fn object_is_sorted(mut object: ObjectRef<'_>) -> bool {
    let mut last = None;
    while let Some((key, value)) = object.next_raw() {
        if last.is_some_and(|last| last >= key) || !is_sorted(value) {
            return false;
        }
        last = Some(key);
    }
    true
}

fn array_is_sorted(mut array: ArrayRef<'_>) -> bool {
    while let Some(item) = array.next_raw() {
        if !is_sorted(item) {
            return false;
        }
    }
    true
}

fn is_sorted(value: RawValue<'_>) -> bool {
    match value {
        RawValue::Object(object) => object_is_sorted(object),
        RawValue::Array(array) => array_is_sorted(array),
        _ => true,
    }
}

fn write_entries_sorted<'a>(
    entries: impl Iterator<Item = (&'a str, ValueRef<'a>)>,
    out: &mut Vec<u8>,
) {
    out.push(b'{');
    for (i, (key, value)) in entries.enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_text(key, out);
        out.push(b':');
        write_value_sorted(value, out);
    }
    out.push(b'}');
}

fn write_value_sorted(value: ValueRef<'_>, out: &mut Vec<u8>) {
    match value {
        ValueRef::Object(entries) => write_object_sorted(entries, out),
        ValueRef::Array(items) => {
            out.push(b'[');
            for (i, item) in items.enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value_sorted(item, out);
            }
            out.push(b']');
        }
        ValueRef::Null => out.extend_from_slice(b"null"),
        ValueRef::Bool(b) => out.extend_from_slice(if b { b"true" } else { b"false" }),
        ValueRef::Int(n) => out.extend_from_slice(n.to_string().as_bytes()),
        ValueRef::UInt(n) => write_unsigned(n, out),
        ValueRef::Float(n) => write_float(n, out),
        ValueRef::Number(digits) => out.extend_from_slice(digits.as_bytes()),
        ValueRef::String(text) => write_text(text, out),
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_object;
    use super::*;
    use crate::codec;

    fn written(write: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn sorted_objects_are_sorted_at_every_depth_and_hold_the_same() {
        let text = r#"{"b":[{"d":1,"c":{"z":null,"y":"\""}}],"a":{},"B":-1.5}"#;
        // serde_json sorts a map's keys by itself, so one is made unsorted by hand: a name's bytes
        // are replaced in the payload, by others of the same length.
        let metadata = serde_json::from_str(text).expect("an object");
        let event = crate::event::SafetyEvent { metadata, ..Default::default() };
        let mut payload = Vec::new();
        codec::encode(&event, &mut payload);
        let at = payload.windows(2).position(|w| w == b"\x01B").expect("the first name");
        payload[at + 1] = b'x';
        let object = codec::decode(&payload).expect("still a payload").metadata();
        assert!(written(|out| write_object(object, out)).starts_with(r#"{"x":-1.5,"a""#));
        assert_eq!(
            written(|out| write_object_sorted(object, out)),
            r#"{"a":{},"b":[{"c":{"y":"\"","z":null},"d":1}],"x":-1.5}"#
        );
    }
}
