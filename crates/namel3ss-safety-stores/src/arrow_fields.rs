//! The columns of events in Arrow, in memory and in Parquet.

use std::sync::Arc;

use arrow_schema::{DataType, Field, TimeUnit};
use namel3ss_safety::FIELDS;

/// The columns of the 17 fields, in their order.
pub(crate) fn of_events() -> Vec<Field> {
    let words = || DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let field = |name: &str| match name {
        "event_id" | "metadata" => Field::new(name, DataType::Utf8, false),
        "timestamp" => {
            let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            Field::new(name, utc, false)
        }
        "direction" | "action" | "severity" => Field::new(name, words(), false),
        "policy_name" => Field::new(name, words(), true),
        "categories" => Field::new(name, DataType::List(category()), false),
        "confidence" | "latency_ms" => Field::new(name, DataType::Float64, false),
        _ => Field::new(name, DataType::Utf8, true),
    };
    FIELDS.iter().map(|name| field(name)).collect()
}

/// An element of `categories`.
pub(crate) fn category() -> Arc<Field> {
    Arc::new(Field::new("element", DataType::Utf8, false))
}
