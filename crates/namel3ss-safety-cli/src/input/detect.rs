//! How an input is written, told from its beginning, and from its name where that does not tell.

use std::path::Path;

use clap::ValueEnum;
use namel3ss_safety::internal::parse::field_of;
use serde_json::{Deserializer, Value};

use namel3ss_safety_stores::read::scanner::envelope::{RECORD_SEPARATOR, is_cri};
use namel3ss_safety_stores::read::scanner::header::{Header, sep_line};

/// How much is looked at to tell the formats apart.
pub(super) const PEEK_BYTES: usize = 64 << 10;

/// How events are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// JSON objects, each on a line
    #[value(alias = "jsonl")]
    Ndjson,
    /// A JSON array of objects, or objects over several lines
    Json,
    /// Cells with a header line; between them , ; a tab or |
    #[value(alias = "tsv")]
    Csv,
}

/// What the name of an input says.
fn of_name(name: &Path) -> Option<Format> {
    let extension = |path: &Path| Some(path.extension()?.to_str()?.to_ascii_lowercase());
    match extension(name)?.as_str() {
        "jsonl" | "ndjson" => Some(Format::Ndjson),
        "csv" | "tsv" => Some(Format::Csv),
        // What is in it is told by the name within.
        "gz" | "zst" | "zstd" => of_name(Path::new(name.file_stem()?)),
        _ => None,
    }
}

/// The format, or `None` where more of the input is needed. `is_all`: there is no more.
pub(super) fn detect(
    start: &[u8],
    is_all: bool,
    name: Option<&Path>,
    wanted: &[String],
) -> Option<Format> {
    let is_all = is_all || start.len() >= PEEK_BYTES;
    let begins = |byte: &u8| !byte.is_ascii_whitespace() && *byte != RECORD_SEPARATOR;
    let body = start.iter().position(begins).map_or(&[][..], |at| &start[at..]);
    let mut lines = body.split(|b| *b == b'\n').map(|l| l.strip_suffix(b"\r").unwrap_or(l));
    let first = lines.next().unwrap_or_default();
    let second = lines.next();
    // A line is there when its end is.
    let has_first = is_all || second.is_some();
    let has_second = is_all || lines.next().is_some();
    match body.first() {
        Some(b'{') if !has_first => None,
        Some(b'{') => match begin_of(first) {
            Begin::Whole | Begin::Nonsense => Some(Format::Ndjson),
            Begin::Part if !has_second => None,
            // A line that was cut short, among whole ones.
            Begin::Part
                if !first.trim_ascii().ends_with(b"[") // an envelope's list
                    && second.is_some_and(|line| begin_of(line) == Begin::Whole) =>
            {
                Some(Format::Ndjson)
            }
            Begin::Part => Some(Format::Json),
        },
        Some(b'[') => match body[1..].iter().find(|byte| begins(byte)) {
            Some(b'{' | b']') => Some(Format::Json),
            Some(_) => Some(Format::Ndjson),
            None => is_all.then_some(Format::Json),
        },
        _ if !has_first => None,
        _ => {
            if sep_line(body).is_some() {
                return Some(Format::Csv);
            }
            if is_cri(first) {
                return Some(Format::Ndjson);
            }
            let named = name.and_then(of_name);
            let known = |name: &str| field_of(name).is_some() || wanted.iter().any(|w| w == name);
            let header = Header::of(first, known);
            if named.is_some() || header.names.iter().any(|name| known(name)) {
                return named.or(Some(Format::Csv));
            }
            if header.names.len() < 2 || !header.names.iter().all(|name| is_word(name)) {
                return Some(Format::Ndjson);
            }
            if !has_second {
                return None;
            }
            let cells = second.map(|line| {
                let cells = Header::of(line, |_| false);
                (cells.delimiter, cells.names.len())
            });
            let looks_alike = cells == Some((header.delimiter, header.names.len()));
            Some(if looks_alike { Format::Csv } else { Format::Ndjson })
        }
    }
}

/// Whether a text may be the name of a column that nobody has heard of.
fn is_word(text: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ' ' | '@');
    !text.is_empty() && text.len() <= 64 && text.chars().all(is_part)
}

/// What a line that begins as JSON is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    /// One value or several, all of them whole.
    Whole,
    /// The beginning of a value that goes on.
    Part,
    /// Neither.
    Nonsense,
}

fn begin_of(line: &[u8]) -> Begin {
    let line = line.trim_ascii();
    if !line.starts_with(b"{") {
        return Begin::Nonsense;
    }
    for value in Deserializer::from_slice(line).into_iter::<Value>() {
        match value {
            Ok(_) => {}
            Err(error) if error.is_eof() => return Begin::Part,
            Err(_) => return Begin::Nonsense,
        }
    }
    Begin::Whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Format) {
        let whole = detect(text.as_bytes(), true, None, &["verdict".to_owned()]);
        assert_eq!(whole, Some(expected), "{text:?}");
        // What is told from a part must not differ.
        for end in 0..text.len() {
            let part = detect(&text.as_bytes()[..end], false, None, &["verdict".to_owned()]);
            assert!(part.is_none() || part == whole, "{:?}: {part:?}", &text[..end]);
        }
    }

    #[test]
    fn formats_are_told_apart() {
        for text in [
            "{\"action\":\"block\"}\n",
            "{\"action\":\"block\"}{\"action\":\"allow\"}",
            "\u{1e}{\"action\":\"block\"}\n",
            "{\"action\":\"bl\n{\"action\":\"block\"}\n",
            "{\"action\":\"block\"\n{\"action\":\"block\"}\n",
            "{\"confidence\":NaN}\n",
            "not json\n{}\n",
            "starting, please wait\n{\"action\":\"block\"}\n",
            "[2026-03-01] up\n{\"action\":\"block\"}\n",
            "[[[[",
            "2026-03-01T12:00:00Z stdout F {\"action\":\"block\"}\n",
            "",
        ] {
            check(text, Format::Ndjson);
        }
        for text in [
            "[{\"action\":\"block\"}]",
            "[\r\n]\n",
            "{\n \"action\": \"block\"\n}\n",
            "{ \r\n \"action\": \"block\"\r\n}\r\n{}",
            "{\"action\":\n\"block\"}",
            "{\"Records\":[\n{\"action\":\"block\"}\n]}",
        ] {
            check(text, Format::Json);
        }
        for text in [
            "action,reason\nblock,x\n",
            "Action;x\nblock;x\n",
            "policyName\tx\n",
            "action",
            "sep=;\nx;y\n",
            "x|verdict\n1|block\n",
            "ts,verdict_of_it\r\n1,block\r\n",
        ] {
            check(text, Format::Csv);
        }
    }

    #[test]
    fn names_tell_what_the_beginning_does_not() {
        let of = |text: &str, name: &str| detect(text.as_bytes(), true, Some(name.as_ref()), &[]);
        assert_eq!(of("ts\n1\n", "a.CSV"), Some(Format::Csv));
        assert_eq!(of("ts\n1\n", "a.csv.gz"), Some(Format::Csv));
        assert_eq!(of("ts,v\n1,2\n", "a.jsonl"), Some(Format::Ndjson));
        assert_eq!(of("{\"a\":1}\n", "a.csv"), Some(Format::Ndjson));
    }
}
