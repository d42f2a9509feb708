//! The two writers of a run. Every text passes an escape on its way; colour is added after it.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};

use clap::ValueEnum;
use serde_json::Value;
use unicode_width::UnicodeWidthStr as _;

use crate::error::Error;
use crate::escape::{escape, escape_json, escape_lines};
use crate::style::Style;
use namel3ss_safety::internal::redact::redact;

/// What standard output looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For a person
    #[default]
    #[value(alias = "table")]
    Text,
    /// For a program: one object, or for tail one a line
    Json,
    /// An object a line
    #[value(hide = true)]
    Ndjson,
    /// Comma-separated values
    #[value(hide = true)]
    Csv,
    /// A table in Markdown
    #[value(hide = true)]
    Markdown,
}

/// A piece of text and what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) text: String,
    pub(crate) style: Style,
}

impl Cell {
    pub(crate) fn new(style: Style, text: impl Into<String>) -> Self {
        Self { text: text.into(), style }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(Style::Plain, text)
    }
}

/// Standard output.
pub(crate) struct Out {
    writer: BufWriter<Box<dyn Write + Send>>,
    pub(crate) format: Format,
    color: bool,
    raw: bool,
}

impl Out {
    pub(crate) fn new(
        writer: Box<dyn Write + Send>,
        format: Format,
        color: bool,
        raw: bool,
    ) -> Self {
        Self { writer: BufWriter::new(writer), format, color, raw }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether texts are printed as they are.
    pub(crate) fn is_raw(&self) -> bool {
        self.raw
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.write_all(bytes).map_err(|e| Error::stdout(&e))
    }

    /// One line of cells, one space apart.
    pub(crate) fn line(&mut self, cells: &[Cell]) -> Result<(), Error> {
        let mut line = String::new();
        for (i, cell) in cells.iter().enumerate() {
            if i > 0 {
                line.push(' ');
            }
            let shown = if self.raw { cell.text.as_str().into() } else { escape(&cell.text) };
            let look = cell.style.look();
            if self.color {
                // Writing to a String can't fail.
                let _ = write!(line, "{look}{shown}{look:#}");
            } else {
                line.push_str(&shown);
            }
        }
        // Padding belongs between columns, not behind the last.
        let end = line.trim_end_matches(' ').len();
        line.truncate(end);
        line.push('\n');
        self.write(line.as_bytes())
    }

    /// One line of plain text.
    pub(crate) fn text(&mut self, text: impl Into<String>) -> Result<(), Error> {
        self.line(&[Cell::from(text)])
    }

    /// Text of this program's own, with its line breaks: help, scripts, DDL, pages.
    pub(crate) fn lines(&mut self, text: &str) -> Result<(), Error> {
        let mut text = escape_lines(text);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        self.write(text.as_bytes())
    }

    /// Rows under heads, in columns as wide as they need; numbers to the right.
    pub(crate) fn table(&mut self, heads: &[&str], rows: &[Vec<Cell>]) -> Result<(), Error> {
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let mut right = vec![!rows.is_empty(); heads.len()];
        for row in rows {
            for (i, cell) in row.iter().enumerate() {
                right[i] &= is_number(&cell.text);
            }
        }
        self.table_aligned(heads, rows, &right)
    }

    /// The same, with the columns to the right that are said to be.
    pub(crate) fn table_aligned(
        &mut self,
        heads: &[&str],
        rows: &[Vec<Cell>],
        right: &[bool],
    ) -> Result<(), Error> {
        let mut widths: Vec<usize> = heads.iter().map(|head| width(head)).collect();
        for row in rows {
            for (i, cell) in row.iter().enumerate() {
                widths[i] = widths[i].max(width(&cell.text));
            }
        }
        let heads = heads.iter().map(|head| Cell::new(Style::Bold, *head)).collect::<Vec<_>>();
        for row in std::iter::once(&heads).chain(rows) {
            let padded: Vec<Cell> = row
                .iter()
                .enumerate()
                .map(|(i, cell)| {
                    let fill = " ".repeat(widths[i].saturating_sub(width(&cell.text)));
                    let gap = if i > 0 { " " } else { "" };
                    let text = if right[i] {
                        format!("{gap}{fill}{}", cell.text)
                    } else {
                        format!("{gap}{}{fill}", cell.text)
                    };
                    Cell::new(cell.style, text)
                })
                .collect();
            self.line(&padded)?;
        }
        Ok(())
    }

    /// One JSON value on one line.
    pub(crate) fn json(&mut self, value: &Value) -> Result<(), Error> {
        self.json_text(&value.to_string())
    }

    /// JSON text on one line.
    pub(crate) fn json_text(&mut self, json: &str) -> Result<(), Error> {
        let shown = if self.raw { json.into() } else { escape_json(json) };
        self.write(shown.as_bytes())?;
        self.write(b"\n")
    }

    /// A line that is escaped already, as its format has it.
    pub(crate) fn record(&mut self, line: &str) -> Result<(), Error> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    /// Hands everything to whoever reads.
    pub(crate) fn flush(&mut self) -> Result<(), Error> {
        self.writer.flush().map_err(|e| Error::stdout(&e))
    }
}

/// How many columns of a terminal the escaped text takes: two for a CJK character or an emoji, none
/// for a combining mark.
fn width(text: &str) -> usize {
    escape(text).width()
}

/// Standard error: what is for the person, not for the next program.
pub(crate) struct Diagnostics {
    writer: Box<dyn Write + Send>,
    color: bool,
    is_terminal: bool,
}

impl Diagnostics {
    pub(crate) fn new(writer: Box<dyn Write + Send>, is_terminal: bool, color: bool) -> Self {
        Self { writer, color, is_terminal }
    }

    /// Whether a progress bar may be drawn.
    pub(crate) fn draws(&self) -> bool {
        self.is_terminal && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
    }

    /// One line. That standard error can't be written to is nobody's to tell.
    pub(crate) fn note(&mut self, text: &str) {
        let _ = writeln!(self.writer, "{}", escape(&redact(text)));
    }

    /// One line that begins with a coloured word.
    pub(crate) fn say(&mut self, style: Style, word: &str, text: &str) {
        let look = if self.color { style.look() } else { Style::Plain.look() };
        let _ = writeln!(self.writer, "{look}{word}{look:#} {}", escape(&redact(text)));
    }

    /// Text of several lines.
    pub(crate) fn lines(&mut self, text: &str) {
        let _ = self.writer.write_all(escape_lines(&redact(text)).as_bytes());
    }
}
