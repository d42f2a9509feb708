//! Rows as JSON text: the 17 fields in their order, then `journal_id` and `seq`.
//!
//! The shape is fixed, so it is written by hand (a sixth of the cost of a generic serializer,
//! measured); only numbers of many decimals go through `serde_json`. Numbers that JSON lacks are
//! written as the texts `NaN`, `Infinity` and `-Infinity`, as in
//! [protobuf's JSON mapping](https://protobuf.dev/programming-guides/json/).

mod row;
mod time;
mod number;
mod pen;
mod write;
mod sorted;

pub use self::sorted::write_object_sorted;
pub use self::time::{Times, civil};

pub(crate) use self::number::non_finite;
pub(crate) use self::write::{Around, write_rows, write_unsigned};
pub use self::write::{
    row_bytes_max, write_event, write_float, write_journal, write_lines, write_list, write_object,
    write_row, write_text, write_texts, write_timestamp,
};
