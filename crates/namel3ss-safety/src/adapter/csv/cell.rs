//! Cells: which column is what, and texts that no spreadsheet runs.

use crate::event::FIELDS;
use crate::json;

/// All columns, in their order.
pub(super) const COLUMNS: usize = FIELDS.len() + 2;

pub(super) const EVENT_ID: usize = 0;

pub(super) const TIMESTAMP: usize = 1;

pub(super) const METADATA: usize = 16;

pub(super) const JOURNAL: usize = 17;

pub(super) const SEQ: usize = 18;

pub(super) fn column(name: &str) -> Option<usize> {
    match name {
        "journal_id" => Some(JOURNAL),
        "seq" => Some(SEQ),
        _ => FIELDS.iter().position(|field| *field == name),
    }
}

pub(super) fn column_name(column: usize) -> &'static str {
    match column {
        JOURNAL => "journal_id",
        SEQ => "seq",
        field => FIELDS[field],
    }
}

/// Confidence, latency and seq.
pub(super) fn is_number(column: usize) -> bool {
    matches!(column, 14 | 15 | SEQ)
}

/// Whether a cell that began so would be run, or be taken for none or for one of ours.
pub(super) fn needs_apostrophe(text: &[u8]) -> bool {
    let rest = text.iter().position(|byte| *byte != b'\'').map_or(&b""[..], |at| &text[at..]);
    match rest {
        [] | [b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r' | b'\n', ..] => true,
        // U+FF1D, U+FF0B, U+FF0D, U+FF20.
        [0xef, 0xbc, 0x9d | 0x8b | 0x8d | 0xa0, ..] => true,
        _ => false,
    }
}

pub(super) fn inert(text: &str, out: &mut Vec<u8>) {
    if needs_apostrophe(text.as_bytes()) {
        out.push(b'\'');
    }
    out.extend_from_slice(text.as_bytes());
}

/// The text of a cell, as it was before it was made inert; `None` for the empty one. For readers that
/// split the cells of a dataset themselves.
#[must_use]
pub fn uninert(cell: &str) -> Option<&str> {
    match cell.strip_prefix('\'') {
        Some(rest) if needs_apostrophe(rest.as_bytes()) => Some(rest),
        _ if cell.is_empty() => None,
        _ => Some(cell),
    }
}

pub(super) fn write_number(n: f64, out: &mut Vec<u8>) {
    if n.is_finite() {
        json::write_float(n, out);
    } else {
        out.extend_from_slice(json::non_finite(n).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_spreadsheet_would_run_is_inert() {
        for text in [
            "=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "＝1", "＋1", "－1", "＠a", "'＝1",
            "'=1", "''=1", "", "'", "''",
        ] {
            let mut cell = Vec::new();
            inert(text, &mut cell);
            assert_eq!(cell, format!("'{text}").as_bytes());
            assert_eq!(uninert(std::str::from_utf8(&cell).unwrap()), Some(text));
        }
        for text in ["it's", "'quoted'", "1-1", " =1", "'a=", "１", "ｅ＝"] {
            let mut cell = Vec::new();
            inert(text, &mut cell);
            assert_eq!(cell, text.as_bytes());
            assert_eq!(uninert(text), Some(text));
        }
        assert_eq!(uninert(""), None);
    }

    proptest! {
        #[test]
        fn every_text_reads_back(text in "['=+@\t\r\na＝＋－＠ｅ-]{0,6}") {
            let mut cell = Vec::new();
            inert(&text, &mut cell);
            let cell = String::from_utf8(cell).unwrap();
            prop_assert_eq!(uninert(&cell), Some(text.as_str()));
            prop_assert!(!cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']));
        }
    }
}
