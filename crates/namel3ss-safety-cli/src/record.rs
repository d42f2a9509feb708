//! One event as a verb meets it: with its place in a journal, where that is known.

use namel3ss_safety::{
    JournalId, SafetyEvent, Seq,
    internal::{codec, json},
};
use serde_json::Value;

use crate::out::Cell;
use crate::style::Style;

/// An event and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    pub(crate) event: SafetyEvent,
    pub(crate) place: Option<(JournalId, Seq)>,
}

impl Record {
    /// The row as JSON text, in the order of the fields.
    pub(crate) fn to_json(&self) -> String {
        let mut payload = Vec::new();
        codec::encode(&self.event, &mut payload);
        let mut out = Vec::new();
        if let Ok(event) = codec::decode(&payload) {
            match self.place {
                Some((journal, seq)) => {
                    namel3ss_safety::Row { journal, seq, event }.write_json(&mut out);
                }
                None => json::write_event(&event, &mut out),
            }
        }
        // The writer's texts are all UTF-8.
        String::from_utf8(out).unwrap_or_default()
    }

    /// The row as one line for a person: the fixed columns, then what else is set.
    pub(crate) fn to_cells(&self) -> Vec<Cell> {
        let event = &self.event;
        let padded = |word: &str, width| Cell::new(Style::of_word(word), format!("{word:<width$}"));
        let mut cells = vec![
            Cell::new(Style::Dim, event.timestamp.to_string()),
            padded(event.action.as_str(), 6),
            Cell::from(format!("{:<6}", event.direction.as_str())),
            padded(event.severity.as_str(), 8),
            Cell::new(Style::Bold, event.policy_name.clone().unwrap_or_else(|| "-".to_owned())),
        ];
        if let Some(reason) = &event.reason {
            cells.push(Cell::from(quoted(reason)));
        }
        for (name, text) in self.others() {
            // Metadata is JSON, which has quotes of its own, and the last on the line.
            let text = if name == "metadata" { text } else { bare(&text) };
            cells.push(Cell::new(Style::Dim, format!("{name}={text}")));
        }
        cells
    }

    /// What the fixed columns don't show, where it is more than the default.
    fn others(&self) -> Vec<(&'static str, String)> {
        let event = &self.event;
        let mut others = Vec::new();
        let texts = [
            ("app", &event.app_name),
            ("chain", &event.chain_name),
            ("agent", &event.agent_name),
            ("trace", &event.trace_id),
            ("session", &event.session_id),
            ("user", &event.user_id),
        ];
        if !event.categories.is_empty() {
            others.push(("categories", event.categories.join(",")));
        }
        if (event.confidence - 1.0).abs() > f64::EPSILON || event.confidence.is_nan() {
            others.push(("confidence", event.confidence.to_string()));
        }
        if event.latency_ms != 0.0 {
            others.push(("latency_ms", event.latency_ms.to_string()));
        }
        for (name, text) in texts {
            if let Some(text) = text {
                others.push((name, text.clone()));
            }
        }
        others.push(("id", event.event_id.clone()));
        if !event.metadata.is_empty() {
            others.push(("metadata", Value::Object(event.metadata.clone()).to_string()));
        }
        others
    }
}

/// In quotes, so that no text can pass for the columns behind it.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\\\""))
}

/// In quotes where it has to be.
fn bare(text: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && c != '"' && c != '=';
    if !text.is_empty() && text.chars().all(plain) { text.to_owned() } else { quoted(text) }
}
