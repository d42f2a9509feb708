//! What a program's JSON is wrapped in on its way: lines of container runtimes (Docker's JSON, CRI),
//! RFC 7464's record separators, lists, and objects whose single key holds the records.

use std::collections::VecDeque;

use namel3ss_safety::FIELDS;
use namel3ss_safety::internal::parse::field_of;
use serde_json::{Map, Value};

use super::item::{ITEM_BYTES_MAX, Item};
use super::value::parse_all;

/// RFC 7464 begins each record with this.
pub const RECORD_SEPARATOR: u8 = 0x1e;
/// How many envelopes there may be around a record.
const DEPTH_MAX: usize = 8;
/// What a container runtime or its collector adds to a line, and nobody looks for in an event.
const ADDED: [&str; 7] = ["stream", "time", "attrs", "logtag", "_p", "date", "partial_message"];

/// Takes records out of their envelopes. Pieces of a line that a container runtime has split wait
/// for the rest.
#[derive(Clone, Debug, Default)]
pub struct Envelope {
    /// Keys that a mapping looks for: what stands under one of them is no envelope.
    kept: Vec<String>,
    /// The split line of standard output, and the one of standard error.
    split: [Option<Split>; 2],
}

#[derive(Clone, Debug)]
struct Split {
    line: u64,
    text: Vec<u8>,
    time: Option<String>,
}

/// A line as a container runtime writes it: `2026-03-01T12:00:00Z stdout F text`.
struct Cri<'t> {
    time: &'t str,
    stream: usize,
    is_whole: bool,
    text: &'t [u8],
}

fn cri(line: &[u8]) -> Option<Cri<'_>> {
    let mut parts = line.splitn(4, |b| *b == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = match parts.next()? {
        b"stdout" => 0,
        b"stderr" => 1,
        _ => return None,
    };
    let is_whole = match parts.next()?.split(|b| *b == b':').next()? {
        b"F" => true,
        b"P" => false,
        _ => return None,
    };
    let has_date = time.len() >= 20 && time.as_bytes()[10] == b'T';
    has_date.then(|| Cri { time, stream, is_whole, text: parts.next().unwrap_or_default() })
}

/// Whether a line is one of a container runtime.
pub fn is_cri(line: &[u8]) -> bool {
    cri(line).is_some()
}

impl Envelope {
    pub fn new(kept: Vec<String>) -> Self {
        Self { kept, ..Self::default() }
    }

    /// The records of one line of text.
    pub fn line(&mut self, line: u64, text: &[u8], found: &mut VecDeque<Item>) {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        let text = text.trim_ascii().strip_prefix(&[RECORD_SEPARATOR]).unwrap_or(text).trim_ascii();
        if text.is_empty() {
            return;
        }
        if !matches!(text[0], b'{' | b'[')
            && let Some(cri) = cri(text)
        {
            let time = Some(cri.time.to_owned());
            return self.piece(line, cri.stream, cri.text, cri.is_whole, time, found);
        }
        self.json(line, text, None, found);
    }

    /// The records of JSON text that is whole.
    fn json(&mut self, line: u64, text: &[u8], time: Option<&str>, found: &mut VecDeque<Item>) {
        match parse_all(text) {
            Ok(values) => {
                for value in values {
                    self.open(line, value, time, 0, found);
                }
            }
            Err(wrong) => found.push_back(Item::bad(line, wrong)),
        }
    }

    /// A piece of a line that may have been split.
    fn piece(
        &mut self,
        line: u64,
        stream: usize,
        text: &[u8],
        is_whole: bool,
        time: Option<String>,
        found: &mut VecDeque<Item>,
    ) {
        let mut split = self.split[stream].take().unwrap_or(Split { line, text: Vec::new(), time });
        if split.text.len() + text.len() > ITEM_BYTES_MAX {
            let wrong = format!("longer than {} MiB", ITEM_BYTES_MAX >> 20);
            found.push_back(Item::bad(split.line, wrong));
            return;
        }
        split.text.extend_from_slice(text);
        if !is_whole {
            self.split[stream] = Some(split);
        } else if !split.text.trim_ascii().is_empty() {
            self.json(split.line, split.text.trim_ascii(), split.time.as_deref(), found);
        }
    }

    /// The records in one value.
    pub fn value(&mut self, line: u64, value: Value, found: &mut VecDeque<Item>) {
        self.open(line, value, None, 0, found);
    }

    fn open(
        &mut self,
        line: u64,
        value: Value,
        time: Option<&str>,
        depth: usize,
        found: &mut VecDeque<Item>,
    ) {
        match value {
            Value::Array(values) if depth < DEPTH_MAX => {
                for value in values {
                    self.open(line, value, time, depth + 1, found);
                }
            }
            Value::Object(mut object) if depth < DEPTH_MAX => {
                if let Some(text) = self.log_of(&object) {
                    return self.log(line, &text, object, depth, found);
                }
                match self.wrapped(&mut object) {
                    Some(inner) => self.open(line, inner, time, depth + 1, found),
                    None => {
                        let (value, time) = (Ok(Value::Object(object)), time.map(str::to_owned));
                        found.push_back(Item { line, value, time });
                    }
                }
            }
            Value::Object(_) => {
                let (value, time) = (Ok(value), time.map(str::to_owned));
                found.push_back(Item { line, value, time });
            }
            _ => found.push_back(Item::bad(line, "not an object: a row is a JSON object".into())),
        }
    }

    /// What a single key holds, if that is records: a list of objects, or an object.
    fn wrapped(&self, object: &mut Map<String, Value>) -> Option<Value> {
        let (key, value) = object.iter().next()?;
        let is_list = |items: &[Value]| items.iter().all(Value::is_object);
        let holds = match value {
            Value::Array(items) => is_list(items),
            Value::Object(inner) => !inner.is_empty(),
            _ => false,
        };
        if object.len() != 1 || !holds || !self.may_wrap(key) {
            return None;
        }
        object.iter_mut().next().map(|(_, value)| value.take())
    }

    /// Whether records may stand under this key: not where a field or a mapping takes it.
    pub fn may_wrap(&self, key: &str) -> bool {
        field_of(key).is_none() && !self.kept.iter().any(|kept| kept == key)
    }

    /// The program's own line, where an object is Docker's or a collector's around it.
    fn log_of(&self, object: &Map<String, Value>) -> Option<String> {
        let log = object.get("log")?.as_str()?;
        let is_dockers = object.keys().all(|key| key == "log" || ADDED.contains(&key.as_str()));
        let begins = log.trim_start().starts_with(['{', '[', char::from(RECORD_SEPARATOR)]);
        let has_action =
            object.keys().any(|key| field_of(key).is_some_and(|at| FIELDS[at] == "action"));
        let takes = !self.kept.iter().any(|kept| kept == "log") && !has_action;
        (takes && (is_dockers || begins)).then(|| log.to_owned())
    }

    fn log(
        &mut self,
        line: u64,
        log: &str,
        mut outer: Map<String, Value>,
        depth: usize,
        found: &mut VecDeque<Item>,
    ) {
        let stream = usize::from(outer.get("stream").is_some_and(|stream| stream == "stderr"));
        let time = ["time", "date"].iter().find_map(|key| outer.get(*key)?.as_str());
        let time = time.map(str::to_owned);
        outer.retain(|key, _| key != "log" && !ADDED.contains(&key.as_str()));
        // Docker splits lines of over 16 KiB: only the last piece ends with the line's end.
        let is_whole = log.ends_with('\n')
            || (self.split[stream].is_none() && parse_all(log.trim().as_bytes()).is_ok());
        let first = found.len();
        if depth + 1 < DEPTH_MAX {
            self.piece(line, stream, log.as_bytes(), is_whole, time, found);
        }
        for item in found.range_mut(first..) {
            if let Ok(Value::Object(inner)) = &mut item.value {
                for (key, value) in &outer {
                    inner.entry(key.clone()).or_insert_with(|| value.clone());
                }
            }
        }
    }

    /// The input has ended: a split line has no rest.
    pub fn finish(&mut self, found: &mut VecDeque<Item>) {
        for stream in 0..self.split.len() {
            if let Some(split) = self.split[stream].take() {
                self.json(split.line, split.text.trim_ascii(), split.time.as_deref(), found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(lines: &str, expected: &[Value]) {
        let mut found = VecDeque::new();
        let mut envelope = Envelope::new(vec!["mine".to_owned()]);
        for (at, line) in lines.lines().enumerate() {
            envelope.line(at as u64 + 1, line.as_bytes(), &mut found);
        }
        envelope.finish(&mut found);
        let found: Vec<Value> = found
            .into_iter()
            .map(|item| match item.value {
                Ok(value) => match item.time {
                    Some(time) => json!([value, time]),
                    None => value,
                },
                Err(wrong) => json!(format!("{}: {wrong}", item.line)),
            })
            .collect();
        assert_eq!(found, expected, "{lines}");
    }

    #[test]
    fn records_are_found_in_whatever_is_around_them() {
        let a = json!({"action": "block"});
        check("\u{1e}{\"action\":\"block\"}", std::slice::from_ref(&a));
        check("{\"Records\":[{\"action\":\"block\"},{\"x\":1}]}", &[a.clone(), json!({"x": 1})]);
        check("{\"data\":{\"items\":[{\"action\":\"block\"}]}}", std::slice::from_ref(&a));
        check("[{\"action\":\"block\"}]", std::slice::from_ref(&a));
        check("{\"action\":\"block\"}{\"results\":[]} {\"x\":1}", &[a, json!({"x": 1})]);
        // These are events.
        for line in [
            json!({"metadata": {"a": 1}}),
            json!({"Categories": [{"a": 1}]}),
            json!({"mine": {"a": 1}}),
            json!({"a": [1]}),
            json!({"a": {}}),
        ] {
            check(&line.to_string(), &[line]);
        }
    }

    #[test]
    fn lines_of_container_runtimes_are_joined_and_give_their_time() {
        let a = json!({"action": "block"});
        let time = "2026-03-01T12:00:00.5Z";
        check(&format!("{time} stdout F {{\"action\":\"block\"}}"), &[json!([a, time])]);
        check(
            &format!(
                "{time} stdout P {{\"action\":\n{time} stderr F {{\"x\":1}}\n{time} stdout F \"block\"}}"
            ),
            &[json!([{"x": 1}, time]), json!([a, time])],
        );
        let docker = |log: &str| json!({"log": log, "stream": "stdout", "time": time}).to_string();
        check(&docker("{\"action\":\"block\"}\n"), &[json!([a, time])]);
        check(&docker("{\"action\":\"block\"}"), &[json!([a, time])]);
        let split = [docker("{\"action\":"), docker("\"block\"}\n")].join("\n");
        check(&split, &[json!([a, time])]);
        check(&docker("started\n"), &[json!("1: no JSON: expected value at column 1")]);
        let collected = json!({"log": "{\"action\":\"block\"}", "pod": "p"}).to_string();
        check(&collected, &[json!({"action": "block", "pod": "p"})]);
        let own = json!({"log": "free text", "action": "block"});
        check(&own.to_string(), &[own]);
    }
}
