//! The one reader of events: what an app, a file or a table says, as what the record knows.
//!
//! Python, `ingest`, replay, the tracing layer and the datasets' readers all use it, so that the
//! same words mean the same everywhere. Nothing is refused, nothing is lost, and **nothing becomes
//! `allow` by accident**: what does not fit its field stands in `metadata` under the field's name
//! (`row.` and the name where that key is taken), and the [`Remark`]s say so.
//!
//! | function | reads |
//! | --- | --- |
//! | [`action`], [`severity`], [`direction`] | a word, by one table: see [`action`] |
//! | [`moment`], [`moment_of_text`], [`moment_of_int`], [`moment_of_float`] | a point in time |
//! | [`object`] | a JSON object as an app or another program wrote it |
//! | [`stored_row`] | a row of a dataset, whose table may lack some of our columns |
//! | [`field_of`], [`misspelt_field`] | the name of a field |
//! | [`keep`], [`take_missing`] | what stands in `metadata` for a field, to put there and to take |

mod remark;
mod words;
mod moment;
mod object;
#[cfg(test)]
mod tests_object;

pub use self::moment::{moment, moment_of_float, moment_of_int, moment_of_text};
pub(crate) use self::object::find_missing;
pub use self::object::{keep, object, stored_row, take_missing};
pub use self::remark::{Parsed, Remark};
pub use self::words::{ActionWord, action, direction, field_of, misspelt_field, severity};
