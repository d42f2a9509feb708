//! `--map field=path` and `--map-value field:word=value`: somebody else's records as safety events.

use std::str::FromStr;

use namel3ss_safety::internal::nearest::nearest;
use namel3ss_safety::internal::parse::{self, ActionWord, field_of};
use namel3ss_safety::{FIELDS, SafetyAction};
use namel3ss_safety_stores::read::check_field;
use serde_json::{Map, Value};

/// Where in a line one field is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapping {
    field: String,
    path: String,
}

impl FromStr for Mapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((field, path)) = text.split_once('=') else {
            return Err("a mapping is field=path, such as user_id=request.user.id".to_owned());
        };
        check_field(field)?;
        if path.is_empty() {
            return Err(format!("the path of '{field}' is empty: name a key, such as {field}=a.b"));
        }
        Ok(Self { field: field.to_owned(), path: path.to_owned() })
    }
}

/// What a word of somebody else's means, in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    field: String,
    word: String,
    value: String,
}

impl FromStr for Meaning {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once(':').and_then(|(field, rest)| {
            let (word, value) = rest.rsplit_once('=')?;
            Some((field, word.trim(), value.trim()))
        });
        let Some((field, word, value)) = parts else {
            return Err("it is FIELD:WORD=VALUE, such as action:intervened=block".to_owned());
        };
        check_field(field)?;
        if field == "action" && parse::action(value) == ActionWord::Unknown {
            let known = SafetyAction::ALL.iter().map(|action| action.as_str());
            return Err(match nearest(value, known) {
                Some(near) => format!("'{value}' is no action: did you mean '{near}'?"),
                None => format!("'{value}' is no action: use allow, block, redact or alert"),
            });
        }
        Ok(Self { field: field.to_owned(), word: word.to_owned(), value: value.to_owned() })
    }
}

/// All mappings of a run, and how often each found something.
#[derive(Debug)]
pub(crate) struct Mappings {
    mappings: Vec<(Mapping, u64)>,
    meanings: Vec<(Meaning, u64)>,
}

impl Mappings {
    pub(crate) fn new(mappings: &[Mapping], meanings: &[Meaning]) -> Self {
        Self {
            mappings: mappings.iter().map(|mapping| (mapping.clone(), 0)).collect(),
            meanings: meanings.iter().map(|meaning| (meaning.clone(), 0)).collect(),
        }
    }

    /// The names that the paths begin with, and the paths: of keys, or of columns.
    pub(crate) fn wanted(&self) -> Vec<String> {
        let names = self.mappings.iter().flat_map(|(mapping, _)| {
            let path = mapping.path.as_str();
            [path, path.split('.').next().unwrap_or(path)]
        });
        names.map(str::to_owned).collect()
    }

    /// The paths at which the action is looked for.
    pub(crate) fn of_action(&self) -> impl Iterator<Item = &str> {
        let of_action = self.mappings.iter().filter(|(mapping, _)| mapping.field == "action");
        of_action.map(|(mapping, _)| mapping.path.as_str())
    }

    /// The line as a row: mapped fields from their paths, and what no mapping took as it was, so
    /// that nothing is lost (what is none of the 17 fields ends up in `metadata`).
    pub(crate) fn apply(&mut self, line: Map<String, Value>) -> Map<String, Value> {
        let mut row = if self.mappings.is_empty() { line } else { self.mapped(line) };
        for (meaning, times) in &mut self.meanings {
            if let Some(value) = named(&mut row, &meaning.field)
                && text_of(value).is_some_and(|text| text.eq_ignore_ascii_case(&meaning.word))
            {
                *value = Value::from(meaning.value.as_str());
                *times += 1;
            }
        }
        row
    }

    fn mapped(&mut self, line: Map<String, Value>) -> Map<String, Value> {
        let mut line = Value::Object(line);
        // Look everything up before taking anything away: two fields may share one path.
        let found = self.mappings.iter().map(|(mapping, _)| at(&line, &mapping.path).cloned());
        let found: Vec<Option<Value>> = found.collect();
        for (mapping, _) in &self.mappings {
            remove(&mut line, &mapping.path);
        }
        let mut row = match line {
            Value::Object(row) => row,
            _ => Map::new(),
        };
        // What stands under a mapped field's own name is something else, also where this line has
        // nothing at the path: it must not be taken for a verdict.
        for (mapping, _) in &self.mappings {
            set_aside(&mut row, &mapping.field);
        }
        let mut set: Vec<&str> = Vec::new();
        for ((mapping, times), value) in self.mappings.iter_mut().zip(found) {
            let (field, Some(value)) = (mapping.field.as_str(), value) else { continue };
            *times += 1;
            match field.strip_prefix("metadata.") {
                Some(key) => {
                    let metadata = row.entry("metadata").or_insert_with(|| Map::new().into());
                    if let Value::Object(metadata) = metadata {
                        metadata.insert(key.to_owned(), value);
                    } else {
                        row.insert(key.to_owned(), value);
                    }
                }
                // Of several paths to one field the first that is there counts.
                None if set.contains(&field) => {
                    row.insert(free(&row, field), value);
                }
                None => {
                    set.push(field);
                    row.insert(field.to_owned(), value);
                }
            }
        }
        row
    }

    /// The paths that no line had, which are probably misspelt.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.mappings.iter().filter(|(_, times)| *times == 0).map(|(m, _)| m.path.as_str())
    }

    /// The words that no line had, likewise.
    pub(crate) fn unmet(&self) -> impl Iterator<Item = (&str, &str)> {
        let unmet = self.meanings.iter().filter(|(_, times)| *times == 0);
        unmet.map(|(meaning, _)| (meaning.field.as_str(), meaning.word.as_str()))
    }
}

/// Moves what stands under a field's name to one that no field has.
fn set_aside(row: &mut Map<String, Value>, field: &str) {
    if field.starts_with("metadata.") {
        return;
    }
    let is_field = |key: &&String| field_of(key).is_some_and(|at| FIELDS[at] == field);
    while let Some(key) = row.keys().find(is_field).cloned() {
        if let Some(value) = row.remove(&key) {
            row.insert(free(row, field), value);
        }
    }
}

/// `row.` and the field, as often as it takes until no key has that name.
fn free(row: &Map<String, Value>, field: &str) -> String {
    let mut name = format!("row.{field}");
    while row.contains_key(&name) {
        name.insert_str(0, "row.");
    }
    name
}

/// What a row holds in a field, which may be written in another way.
fn named<'r>(row: &'r mut Map<String, Value>, field: &str) -> Option<&'r mut Value> {
    if let Some(key) = field.strip_prefix("metadata.") {
        return match row.get(key) {
            Some(_) => row.get_mut(key),
            None => row.get_mut("metadata")?.as_object_mut()?.get_mut(key),
        };
    }
    let is_field = |key: &&String| field_of(key).is_some_and(|at| FIELDS[at] == field);
    let key = if row.contains_key(field) { field } else { &row.keys().find(is_field)?.clone() };
    row.get_mut(key)
}

/// A scalar as text.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        _ => None,
    }
}

/// The value at a dotted path; a key that itself has dots wins over the steps.
fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let step = |value: &'a Value, key: &str| match value {
        Value::Object(map) => map.get(key),
        Value::Array(items) => items.get(key.parse::<usize>().ok()?),
        _ => None,
    };
    if let Some(found) = step(value, path) {
        return Some(found);
    }
    path.char_indices()
        .filter(|(_, c)| *c == '.')
        .find_map(|(dot, _)| at(step(value, &path[..dot])?, &path[dot + 1..]))
}

/// Takes the value at a path away, if it stands in objects only: a list keeps its positions.
fn remove(value: &mut Value, path: &str) {
    let Value::Object(map) = value else { return };
    if map.remove(path).is_some() {
        return;
    }
    for (dot, _) in path.char_indices().filter(|(_, c)| *c == '.') {
        if let Some(inner) = map.get_mut(&path[..dot]) {
            remove(inner, &path[dot + 1..]);
            if inner.as_object().is_some_and(Map::is_empty) {
                map.remove(&path[..dot]);
            }
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn apply(mappings: &[&str], meanings: &[&str], line: Value) -> (Value, Mappings) {
        let mappings: Vec<_> = mappings.iter().map(|text| text.parse().unwrap()).collect();
        let meanings: Vec<_> = meanings.iter().map(|text| text.parse().unwrap()).collect();
        let mut mappings = Mappings::new(&mappings, &meanings);
        let Value::Object(line) = line else { panic!("a line is an object") };
        (Value::Object(mappings.apply(line)), mappings)
    }

    #[test]
    fn mapped_fields_come_from_their_paths_and_the_rest_stays() {
        let paths =
            ["user_id=who.id", "action=verdict", "reason=notes.1", "metadata.model=llm.name"];
        let line = json!({"who": {"id": 7}, "verdict": "block", "notes": ["a", "b"],
                          "llm": {"name": "m", "t": 1}, "latency_ms": 2});
        let (row, mappings) = apply(&paths, &[], line);
        let expected = json!({"user_id": 7, "action": "block", "reason": "b", "notes": ["a", "b"],
                   "llm": {"t": 1}, "latency_ms": 2, "metadata": {"model": "m"}});
        assert_eq!(row, expected);
        assert_eq!(mappings.unused().count(), 0);
        assert_eq!(mappings.wanted()[..2], ["who.id", "who"]);
    }

    /// A line that had nothing at the path kept its own `action`, which meant something else.
    #[test]
    fn a_mapped_field_is_taken_from_its_path_only() {
        let paths = ["action=verdict", "action=other"];
        let line = json!({"action": "allow_login", "verdict": "block", "other": "allow"});
        let expected = json!({"row.action": "allow_login", "action": "block",
                              "row.row.action": "allow"});
        assert_eq!(apply(&paths, &[], line).0, expected);
        let line = json!({"Action": "allow"});
        assert_eq!(apply(&paths, &[], line).0, json!({"row.action": "allow"}));
    }

    #[test]
    fn words_get_the_meaning_that_was_given() {
        let meanings = ["action:Intervened=block", "action:true=block", "metadata.mode:x=monitor"];
        let line = json!({"action": " INTERVENED ", "mode": "x"});
        let expected = json!({"action": "block", "mode": "monitor"});
        let (row, mappings) = apply(&[], &meanings, line);
        assert_eq!(row, expected);
        assert_eq!(mappings.unmet().collect::<Vec<_>>(), [("action", "true")]);
        let (row, _) = apply(&["action=hit"], &meanings, json!({"hit": true}));
        assert_eq!(row, json!({"action": "block"}));
        let (row, _) = apply(&[], &meanings, json!({"Action": "intervened"}));
        assert_eq!(row, json!({"Action": "block"}));
    }

    #[test]
    fn a_path_that_never_matched_is_known() {
        let (row, mappings) = apply(&["user_id=nobody"], &[], json!({"a": 1}));
        assert_eq!(row, json!({"a": 1}));
        assert_eq!(mappings.unused().collect::<Vec<_>>(), ["nobody"]);
    }

    #[test]
    fn misspelt_fields_and_words_are_answered() {
        assert!("usr_id=x".parse::<Mapping>().unwrap_err().contains("'user_id'"));
        assert!("user_id".parse::<Mapping>().is_err());
        assert!("user_id=".parse::<Mapping>().is_err());
        assert!("action:x=blok".parse::<Meaning>().unwrap_err().contains("'block'"));
        assert!("actoin:x=block".parse::<Meaning>().unwrap_err().contains("'action'"));
        assert!("action=block".parse::<Meaning>().is_err());
    }
}
