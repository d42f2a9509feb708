//! The header of a CSV file: its names, and what stands between its cells.

use namel3ss_safety::internal::parse::field_of;

/// What may stand between cells, the most usual first.
const DELIMITERS: [u8; 4] = *b",;\t|";

/// What stands between the cells of a header, and the cells.
#[derive(Debug)]
pub struct Header {
    pub delimiter: u8,
    /// Their names, for telling the format; quoted ones without their quotes.
    pub names: Vec<String>,
}

impl Header {
    /// Of a header's first line: the delimiter that gives most fields that are known, then the one
    /// that gives most cells.
    pub fn of(line: &[u8], is_known: impl Fn(&str) -> bool) -> Self {
        let split = |delimiter: u8| -> Vec<String> {
            let mut quoted = false;
            line.split(|byte| {
                quoted ^= *byte == b'"';
                *byte == delimiter && !quoted
            })
            .map(|cell| String::from_utf8_lossy(cell).trim().trim_matches('"').to_owned())
            .collect()
        };
        let known = |names: &[String]| names.iter().filter(|name| is_known(name)).count();
        let all = DELIMITERS.map(|delimiter| Self { delimiter, names: split(delimiter) });
        let best = all.into_iter().rev().max_by_key(|h| (known(&h.names), h.names.len()));
        best.unwrap_or(Self { delimiter: b',', names: Vec::new() })
    }
}

/// The delimiter that Excel's first line names, and how long that line is, with its end.
pub fn sep_line(start: &[u8]) -> Option<(u8, usize)> {
    let end = start.iter().position(|b| *b == b'\n').map_or(start.len(), |at| at + 1);
    let line = start[..end].trim_ascii_end();
    let line = line.strip_prefix(b"\"").and_then(|l| l.strip_suffix(b"\"")).unwrap_or(line);
    // A tab at its end is the delimiter, not white space.
    let line = if line.len() == 4 { start.get(..5)? } else { line };
    match line {
        [name @ .., b'=', delimiter]
            if name.eq_ignore_ascii_case(b"sep")
                && !delimiter.is_ascii_alphanumeric()
                && !matches!(delimiter, b'\r' | b'\n') =>
        {
            Some((*delimiter, end))
        }
        _ => None,
    }
}

/// The names of the columns, from the beginning of an input.
pub fn names_of(start: &[u8]) -> Vec<String> {
    let start = &start[sep_line(start).map_or(0, |(_, length)| length)..];
    let mut lines = start.split(|b| matches!(b, b'\r' | b'\n'));
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    Header::of(line, |name| field_of(name).is_some()).names
}

/// The names of the columns; a name that is there already gets a number, so that no cell hides
/// another.
pub fn columns<'c>(cells: impl Iterator<Item = &'c [u8]>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for cell in cells {
        let name = String::from_utf8_lossy(cell).trim().to_owned();
        let taken = |name: &str| names.iter().any(|known| known == name);
        let numbered = || (2..).map(|n| format!("{name}.{n}")).find(|name| !taken(name));
        let name = if taken(&name) { numbered().unwrap_or_default() } else { name };
        names.push(name);
    }
    names
}
