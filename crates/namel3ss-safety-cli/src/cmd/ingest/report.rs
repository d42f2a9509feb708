//! What `ingest` counts, and how it says so.

use std::collections::BTreeMap;

use indicatif::ProgressBar;
use namel3ss_safety::SinkStats;
use namel3ss_safety::internal::parse::Remark;
use serde_json::{Value, json};

use crate::context::Context;
use crate::error::Error;
use crate::feed::Fed;
use crate::mapping::Mappings;
use crate::out::Diagnostics;
use crate::style::Style;

/// How many bad lines, and kinds of odd ones, are told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Events that went to the logger.
    pub(super) logged: u64,
    /// Lines that are no records.
    pub(super) bad: u64,
    /// Records without an action, stored as alerts or left out.
    pub(super) no_action: u64,
    /// How many of these were left out.
    pub(super) skipped: u64,
    /// Records of checks that decided nothing.
    pub(super) no_decision: u64,
    /// Events that are stored already, and those that could not be compared.
    pub(super) duplicates: u64,
    pub(super) without_id: u64,
    told: Vec<(u64, String)>,
    /// What was odd about records that are stored: the first line, and how many.
    odd: BTreeMap<String, (u64, u64)>,
}

impl Tally {
    pub(super) fn bad(
        &mut self,
        line: u64,
        wrong: String,
        bar: &ProgressBar,
        err: &mut Diagnostics,
    ) {
        self.bad += 1;
        if self.told.len() < TOLD_MAX {
            let text = format!("line {line}: {wrong}");
            bar.suspend(|| err.say(Style::Warn, "bad", &text));
            self.told.push((line, wrong));
        }
    }

    /// Tells the first of each kind at once.
    pub(super) fn odd(
        &mut self,
        line: u64,
        remark: &Remark,
        bar: &ProgressBar,
        err: &mut Diagnostics,
    ) {
        let text = remark.to_string();
        let may_tell = self.odd.len() < TOLD_MAX;
        match self.odd.get_mut(&text) {
            Some((_, lines)) => *lines += 1,
            None if may_tell => {
                let said = format!("line {line}: {text}");
                bar.suspend(|| err.say(Style::Warn, "warning:", &said));
                self.odd.insert(text, (line, 1));
            }
            // Names of fields come from the input: there may be any number of them.
            None => self.odd.entry("other remarks".to_owned()).or_insert((line, 0)).1 += 1,
        }
    }

    pub(super) fn report(
        &self,
        context: &mut Context,
        fed: &Fed,
        mappings: &Mappings,
    ) -> Result<(), Error> {
        let untold = self.bad - self.told.len() as u64;
        if untold > 0 {
            context.err.say(Style::Warn, "bad", &format!("{untold} more lines"));
        }
        for (text, (_, lines)) in self.odd.iter().filter(|(_, (_, lines))| *lines > 1) {
            context.err.say(Style::Warn, "warning:", &format!("{lines} lines: {text}"));
        }
        if self.without_id > 0 {
            let text = format!("{} lines have no event_id: stored, not compared", self.without_id);
            context.err.say(Style::Warn, "warning:", &text);
        }
        if self.logged > 0 {
            for path in mappings.unused() {
                let text = format!("no line had anything at the path '{path}': is it misspelt?");
                context.err.say(Style::Warn, "warning:", &text);
            }
            for (field, word) in mappings.unmet() {
                let text = format!("no line had '{word}' as its {field}: is it misspelt?");
                context.err.say(Style::Warn, "warning:", &text);
            }
        }
        if context.out.is_json() { self.json(context, fed) } else { self.text(context, fed) }
    }

    fn json(&self, context: &mut Context, fed: &Fed) -> Result<(), Error> {
        let fates = &fed.fates;
        let told = self.told.iter().map(|(line, wrong)| json!({"line": line, "error": wrong}));
        let odd = self
            .odd
            .iter()
            .map(|(text, (line, lines))| json!({"line": line, "lines": lines, "remark": text}));
        context.out.json(&json!({
            "logged": fates.logged,
            "flushed": fates.flushed,
            "fallback": fates.fallback,
            "dropped": fates.dropped,
            "pending": fates.pending,
            "bad": self.bad,
            "bad_lines": told.collect::<Vec<_>>(),
            "no_action": self.no_action,
            "skipped": self.skipped,
            "no_decision": self.no_decision,
            "duplicates": self.duplicates,
            "without_id": self.without_id,
            "remarks": odd.collect::<Vec<_>>(),
            "interrupted": context.interrupt.raised(),
            "sinks": fed.sinks.iter().map(sink_to_json).collect::<Vec<_>>(),
        }))
    }

    fn text(&self, context: &mut Context, fed: &Fed) -> Result<(), Error> {
        let fates = &fed.fates;
        let rows = [
            (self.bad, "bad lines left out"),
            (self.no_decision, "that are no decision left out"),
            (self.skipped, "without an action left out"),
            (self.duplicates, "stored already"),
        ];
        let [one] = &fed.sinks[..] else {
            for sink in &fed.sinks {
                let text = format!("{}: {} stored", sink.destination, sink.flushed);
                let text = with_counts(
                    text,
                    &rest(sink.fallback, sink.pending, sink.dropped, fed.in_memory),
                );
                context.out.text(text)?;
            }
            let text = with_counts(format!("logged {} events", fates.logged), &rows);
            return context.out.text(text);
        };
        let text = format!("logged {} events, {} stored", fates.logged, one.flushed);
        let text =
            with_counts(text, &rest(fates.fallback, fates.pending, fates.dropped, fed.in_memory));
        context.out.text(with_counts(text, &rows))
    }
}

/// What was not stored, and where it is.
fn rest(fallback: u64, pending: u64, dropped: u64, in_memory: bool) -> [(u64, &'static str); 3] {
    let waiting = match in_memory {
        true => "lost: they were in memory only, no place took them",
        false => "waiting in the journal: see n3-safety journal ls",
    };
    [
        (fallback, "in fallback files: see n3-safety replay"),
        (pending, waiting),
        (dropped, "dropped"),
    ]
}

fn with_counts(mut text: String, counts: &[(u64, &str)]) -> String {
    for (count, what) in counts.iter().filter(|(count, _)| *count > 0) {
        text.push_str(&format!(", {count} {what}"));
    }
    text
}

fn sink_to_json(sink: &SinkStats) -> Value {
    json!({
        "name": sink.name,
        "destination": sink.destination,
        "flushed": sink.flushed,
        "fallback": sink.fallback,
        "dropped": sink.dropped,
        "pending": sink.pending,
        "retries": sink.retries,
        "healthy": sink.healthy,
        "last_error": sink.last_error,
    })
}
