//! JSON text as values, or why it is none.

use serde_json::{Deserializer, Value};

use super::repair;

/// One JSON value, or why it is none: without the text around it, which is not ours to print.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        // Python writes what JSON has not; the rest of the row is good.
        Err(error) => repair::repair(bytes)
            .and_then(|repaired| serde_json::from_slice(&repaired).ok())
            .ok_or_else(|| wrong_json(&error)),
    }
}

/// One JSON value or several, one behind the other.
pub fn parse_all(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let first = match parse(bytes) {
        Ok(value) => return Ok(vec![value]),
        Err(wrong) => wrong,
    };
    let repaired = repair::repair(bytes);
    let values = Deserializer::from_slice(repaired.as_deref().unwrap_or(bytes)).into_iter();
    values.collect::<Result<_, _>>().map_err(|_| first)
}

pub fn wrong_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    // The line within the row is always 1: only the column says something.
    match text.split_once(" at line ") {
        Some((what, _)) => format!("no JSON: {what} at column {}", error.column()),
        None => format!("no JSON: {text}"),
    }
}
