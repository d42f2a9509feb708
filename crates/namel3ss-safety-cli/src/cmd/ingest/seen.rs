//! What an input without actions holds, and the mapping that this proposes.

use std::collections::BTreeMap;

use namel3ss_safety::SafetyAction;
use namel3ss_safety::internal::parse::{self, ActionWord, field_of};
use serde_json::{Map, Value};

use crate::shell::shell;

/// The most names that a message lists.
const NAMES_TOLD: usize = 12;
/// The most paths that are remembered.
const PATHS_MAX: usize = 256;
/// How deep a path goes.
const DEPTH_MAX: usize = 4;

/// Names, without separators and in lower case, under which others write a verdict.
const VERDICTS: &[&str] = &[
    "verdict",
    "decision",
    "disposition",
    "enforcement",
    "actiontaken",
    "guardrailaction",
    "policyaction",
    "guardrailstatus",
    "guardrailresult",
    "judgement",
    "judgment",
    "ruling",
];
/// Names that may mean a verdict: if the values are words for one.
const PERHAPS: &[&str] = &["status", "result", "outcome", "effect", "response", "state", "type"];
/// Names of a truth that means block, and of one that means allow.
const BAD_IF_TRUE: &[&str] =
    &["flagged", "blocked", "isblocked", "isflagged", "violation", "denied"];
const GOOD_IF_TRUE: &[&str] = &["allowed", "passed", "safe", "issafe", "isallowed", "approved"];
/// Names of other fields.
const OTHERS: [(&str, &[&str]); 4] = [
    (
        "timestamp",
        &[
            "ts",
            "time",
            "date",
            "datetime",
            "eventtime",
            "createdat",
            "created",
            "starttime",
            "loggedat",
            "occurredat",
            "epoch",
            "unixtime",
        ],
    ),
    ("policy_name", &["policy", "guardrail", "guardrailname", "policyid", "guardrailid"]),
    ("reason", &["msg", "message", "explanation", "rationale", "detail", "details", "why"]),
    ("user_id", &["user", "uid", "username", "enduser", "customerid"]),
];

/// What lines without an action hold.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) lines: u64,
    /// The names in the order of the input, as far as that is known.
    order: Vec<String>,
    /// The names of the lines' own keys.
    names: BTreeMap<String, u64>,
    /// Where scalars stand: at which dotted path.
    paths: BTreeMap<String, Values>,
}

/// The values at a path.
#[derive(Clone, Copy, Debug, Default)]
struct Values {
    all: u64,
    /// Words for a verdict, and those of them that are not for `allow`.
    words: u64,
    against: u64,
    truths: u64,
}

impl Seen {
    /// The order in which the input has its names.
    pub(super) fn ordered(&mut self, names: Vec<String>) {
        if self.order.is_empty() {
            self.order = names;
        }
    }

    pub(super) fn line(&mut self, line: &Map<String, Value>) {
        self.lines += 1;
        for name in line.keys() {
            if self.names.len() < PATHS_MAX || self.names.contains_key(name) {
                *self.names.entry(name.clone()).or_default() += 1;
            }
        }
        self.walk("", line, 0);
    }

    fn walk(&mut self, before: &str, object: &Map<String, Value>, depth: usize) {
        for (key, value) in object {
            let path = if before.is_empty() { key.clone() } else { format!("{before}.{key}") };
            if let Value::Object(inner) = value
                && depth < DEPTH_MAX
            {
                self.walk(&path, inner, depth + 1);
            } else if !value.is_array()
                && (self.paths.len() < PATHS_MAX || self.paths.contains_key(&path))
            {
                let values = self.paths.entry(path).or_default();
                values.all += 1;
                values.truths += u64::from(value.is_boolean());
                if let Some(word) = value.as_str().map(parse::action) {
                    values.words += u64::from(word != ActionWord::Unknown);
                    let is_allow = matches!(
                        word,
                        ActionWord::Unknown | ActionWord::Decided(SafetyAction::Allow)
                    );
                    values.against += u64::from(!is_allow);
                }
            }
        }
    }

    /// `3 lines (ts, verdict, rule, msg)`.
    pub(super) fn summary(&self) -> String {
        let lines = if self.lines == 1 { "line" } else { "lines" };
        match self.names() {
            names if names.is_empty() => format!("{} {lines}", self.lines),
            names => format!("{} {lines} ({names})", self.lines),
        }
    }

    fn names(&self) -> String {
        let place = |name: &str| self.order.iter().position(|known| known == name);
        let mut names: Vec<&str> = self.names.keys().map(String::as_str).collect();
        names.sort_by_key(|name| (place(name).unwrap_or(usize::MAX), *name));
        let more = if names.len() > NAMES_TOLD { ", …" } else { "" };
        names.truncate(NAMES_TOLD);
        format!("{}{more}", names.join(", "))
    }

    /// What to type for it, behind the names.
    pub(super) fn hint(&self, file: &str) -> String {
        if self.names.contains_key("guardrail_information") {
            return format!(
                "this looks like LiteLLM's log, whose lines hold several decisions each: \
                 jq -c '.guardrail_information[]' {file} | n3-safety ingest - \
                 --map action=guardrail_status --map policy_name=guardrail_name"
            );
        }
        let Some(action) = self.action() else {
            return "name where the action stands, with --map action=PATH; or store each line as an \
                    alert, with --missing-action alert"
                .to_owned();
        };
        let others = OTHERS.into_iter().filter_map(|(field, names)| {
            let is_there = self.names.keys().any(|key| field_of(key) == field_of(field));
            let path =
                self.paths.keys().find(|path| !is_there && names.contains(&&*plain(path)))?;
            Some(format!(" --map {}", quoted(&format!("{field}={path}"))))
        });
        others.fold(action, |hint, map| hint + &map)
    }

    /// The path that most probably holds the verdict.
    fn action(&self) -> Option<String> {
        let by_name = |names: &[&str]| {
            self.paths.iter().find(|(path, _)| names.contains(&&*plain(path))).map(|(p, _)| p)
        };
        let are_words = |values: &Values| values.words == values.all;
        let perhaps = || {
            let mut all = self.paths.iter().filter(|(_, values)| are_words(values));
            let named = all.clone().find(|(path, _)| PERHAPS.contains(&&*plain(path)));
            named.or_else(|| all.find(|(_, values)| values.against > 0)).map(|(path, _)| path)
        };
        let map = |path: &str| format!("--map {}", quoted(&format!("action={path}")));
        if let Some(path) = by_name(VERDICTS).or_else(perhaps) {
            return Some(map(path));
        }
        let truth = |names: &[&str]| {
            by_name(names).filter(|path| self.paths[*path].truths == self.paths[*path].all)
        };
        let (path, yes, no) = match (truth(BAD_IF_TRUE), truth(GOOD_IF_TRUE)) {
            (Some(path), _) => (path, "block", "allow"),
            (None, Some(path)) => (path, "allow", "block"),
            (None, None) => return None,
        };
        let meanings = format!("--map-value action:true={yes} --map-value action:false={no}");
        Some(format!("{} {meanings}", map(path)))
    }
}

/// The last step of a path, without separators and in lower case.
fn plain(path: &str) -> String {
    let last = path.rsplit('.').next().unwrap_or(path);
    last.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// As a shell takes it for one word.
fn quoted(text: &str) -> String {
    match text.split_once('=') {
        Some((field, path)) => match shell(path.as_ref()) {
            whole if whole == path => text.to_owned(),
            whole => format!("{field}={whole}"),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(lines: &[Value], names: &str, hint: &str) {
        let mut seen = Seen::default();
        for line in lines {
            seen.line(line.as_object().unwrap());
        }
        assert_eq!((seen.names().as_str(), seen.hint("x.jsonl").as_str()), (names, hint));
    }

    #[test]
    fn a_mapping_is_proposed_from_names_and_values() {
        check(
            &[json!({"ts": 1, "verdict": "intervention", "rule": "r", "msg": "m"})],
            "msg, rule, ts, verdict",
            "--map action=verdict --map timestamp=ts --map reason=msg",
        );
        check(
            &[json!({"result": {"Outcome": "DENY"}, "timestamp": 1}), json!({"user": "u"})],
            "result, timestamp, user",
            "--map action=result.Outcome --map user_id=user",
        );
        check(&[json!({"x": "block", "z": "safe"})], "x, z", "--map action=x");
        check(
            &[json!({"flagged": true}), json!({"flagged": false})],
            "flagged",
            "--map action=flagged --map-value action:true=block --map-value action:false=allow",
        );
        check(
            &[json!({"status": "failure", "my name": "x"})],
            "my name, status",
            "name where the action stands, with --map action=PATH; or store each line as an alert, \
             with --missing-action alert",
        );
        let mut seen = Seen::default();
        seen.ordered(vec!["z".to_owned(), "a".to_owned()]);
        seen.line(json!({"a": 1, "z": 2, "b": 3}).as_object().unwrap());
        assert_eq!(seen.names(), "z, a, b");
    }
}
