//! `--map field=path`: somebody else's JSON lines as safety events.

use std::str::FromStr;

use serde_json::{Map, Value};

use crate::record::check_field;

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

/// All mappings of a run, and how often each found something.
#[derive(Debug)]
pub(crate) struct Mappings {
    mappings: Vec<(Mapping, u64)>,
}

impl Mappings {
    pub(crate) fn new(mappings: &[Mapping]) -> Self {
        Self { mappings: mappings.iter().map(|mapping| (mapping.clone(), 0)).collect() }
    }

    /// The line as a row: mapped fields from their paths, and what no mapping took as it was, so
    /// that nothing is lost (what is none of the 17 fields ends up in `metadata`).
    pub(crate) fn apply(&mut self, mut line: Value) -> Value {
        if self.mappings.is_empty() || !line.is_object() {
            return line;
        }
        let mut found = Vec::new();
        // Look everything up before taking anything away: two fields may share one path.
        for (mapping, times) in &mut self.mappings {
            if let Some(value) = at(&line, &mapping.path) {
                *times += 1;
                found.push((mapping.field.clone(), value.clone()));
            }
        }
        for (mapping, _) in &self.mappings {
            remove(&mut line, &mapping.path);
        }
        let Value::Object(mut row) = line else { return line };
        for (field, value) in found {
            match field.strip_prefix("metadata.") {
                Some(key) => {
                    let metadata = row.entry("metadata").or_insert_with(|| Map::new().into());
                    if let Value::Object(metadata) = metadata {
                        metadata.insert(key.to_owned(), value);
                    } else {
                        row.insert(key.to_owned(), value);
                    }
                }
                None => {
                    row.insert(field, value);
                }
            }
        }
        Value::Object(row)
    }

    /// The paths that no line had, which are probably misspelt.
    pub(crate) fn unused(&self) -> impl Iterator<Item = &str> {
        self.mappings.iter().filter(|(_, times)| *times == 0).map(|(m, _)| m.path.as_str())
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

    #[test]
    fn mapped_fields_come_from_their_paths_and_the_rest_stays() {
        let mappings: Vec<Mapping> =
            ["user_id=who.id", "action=verdict", "reason=notes.1", "metadata.model=llm.name"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let mut mappings = Mappings::new(&mappings);
        let line = json!({"who": {"id": 7}, "verdict": "block", "notes": ["a", "b"],
                          "llm": {"name": "m", "t": 1}, "latency_ms": 2});
        assert_eq!(
            mappings.apply(line),
            json!({"user_id": 7, "action": "block", "reason": "b", "notes": ["a", "b"],
                   "llm": {"t": 1}, "latency_ms": 2, "metadata": {"model": "m"}})
        );
        assert_eq!(mappings.unused().count(), 0);
    }

    #[test]
    fn a_path_that_never_matched_is_known() {
        let mut mappings = Mappings::new(&["user_id=nobody".parse().unwrap()]);
        assert_eq!(mappings.apply(json!({"a": 1})), json!({"a": 1}));
        assert_eq!(mappings.unused().collect::<Vec<_>>(), ["nobody"]);
    }

    #[test]
    fn misspelt_fields_are_answered() {
        assert!("usr_id=x".parse::<Mapping>().unwrap_err().contains("'user_id'"));
        assert!("user_id".parse::<Mapping>().is_err());
        assert!("user_id=".parse::<Mapping>().is_err());
    }
}
