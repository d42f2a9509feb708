//! Whether a row that a table has is the one that is sent: by its `event_id` and `timestamp`, as their
//! columns hold them.

use mysql_async::Value;

use super::table::Found;
use super::values::Bound;
use crate::server::Kind;
use crate::server::columns::{Column, EVENT_ID, TIMESTAMP};

/// What a row of the table has in these two columns; `None` where that says nothing.
pub(super) type Held = [Option<String>; 2];

/// The two columns, and where a row's values for them are.
pub(super) struct Identity<'m>([Option<(usize, &'m Column, Form)>; 2]);

/// How a column holds its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// In some, without the spaces at its end.
    Text,
    /// MariaDB's own type, of one spelling.
    Uuid,
    /// `2026-03-01 12:30:00`, with as many digits behind it as the column has.
    Moment,
}

impl<'m> Identity<'m> {
    pub(super) fn of(Found { matching, unreadable, .. }: &'m Found) -> Self {
        Self([EVENT_ID, TIMESTAMP].map(|ours| {
            let mut columns = matching.columns.iter().enumerate();
            let found = columns.find(|(_, column)| column.ours == ours);
            let (at, column) = found.filter(|(_, column)| !unreadable.contains(&column.theirs))?;
            Some((at, column, Form::of(ours, &column.sql_type)?))
        }))
    }

    /// What to select of a row for [`Held`].
    pub(super) fn columns(&self) -> [String; 2] {
        self.0.each_ref().map(|column| match column {
            Some((_, column, _)) => {
                format!("CAST({} AS CHAR)", Kind::Mysql.quoted(&column.theirs))
            }
            None => "NULL".to_owned(),
        })
    }

    /// Whether they are the same event, as far as that can be seen.
    pub(super) fn is_same(&self, held: &Held, sent: &Bound) -> bool {
        self.0.iter().zip(held).all(|(column, held)| {
            let (Some((at, _, form)), Some(held)) = (column, held) else { return true };
            match sent.values.get(*at) {
                Some(Value::Bytes(sent)) => form.is_same(held, &String::from_utf8_lossy(sent)),
                _ => true,
            }
        })
    }
}

impl Form {
    /// `None` for a type whose values can't be compared.
    fn of(ours: usize, sql_type: &str) -> Option<Self> {
        match sql_type.to_ascii_lowercase().as_str() {
            text if text.ends_with("char") || text.ends_with("text") => Some(Self::Text),
            "uuid" if ours == EVENT_ID => Some(Self::Uuid),
            "datetime" | "timestamp" if ours == TIMESTAMP => Some(Self::Moment),
            _ => None,
        }
    }

    fn is_same(self, held: &str, sent: &str) -> bool {
        match self {
            Self::Text => held.trim_end_matches(' ') == sent.trim_end_matches(' '),
            Self::Uuid => {
                let digits = |text: &str| text.replace('-', "").to_ascii_lowercase();
                digits(held) == digits(sent)
            }
            // Cut or rounded by the server, as its mode says.
            Self::Moment => match (micros(held), micros(sent)) {
                (Some((held, unit)), Some((sent, _))) => held.abs_diff(sent) < unit,
                _ => true,
            },
        }
    }
}

/// A moment as the server writes it, in microseconds, and the smallest part that it has.
fn micros(text: &str) -> Option<(i64, u64)> {
    let digits = text.split_once('.').map_or(0, |(_, digits)| digits.len());
    let at: namel3ss_safety::Timestamp = format!("{}Z", text.replace(' ', "T")).parse().ok()?;
    Some((at.micros(), 10_u64.checked_pow(u32::try_from(6_usize.checked_sub(digits)?).ok()?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_in_the_form_that_their_column_has() {
        let check = |form: Form, held: &str, sent: &str, same: bool| {
            assert_eq!(form.is_same(held, sent), same, "{form:?}: {held} {sent}");
        };
        check(Form::Text, "a", "a  ", true);
        check(Form::Text, "a", "A", false);
        check(
            Form::Uuid,
            "0190b0a0-0000-7000-8000-00000000000a",
            "0190B0A000007000800000000000000A",
            true,
        );
        let moments =
            ["2026-03-01 12:30:01", "2026-03-01 12:30:01.50", "2026-03-01 12:30:00.500000"];
        check(Form::Moment, moments[0], moments[2], true);
        check(Form::Moment, moments[1], moments[2], false);
        check(Form::Moment, "2026-03-01 12:30:00.500000", moments[2], true);
        check(Form::Moment, "2026-03-01 12:30:00.500001", moments[2], false);
        check(Form::Moment, "0000-00-00 00:00:00", moments[2], true);
        assert_eq!(Form::of(TIMESTAMP, "bigint"), None);
        assert_eq!(Form::of(EVENT_ID, "varbinary"), None);
    }
}
