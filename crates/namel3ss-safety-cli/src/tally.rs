//! How many events a dataset holds, by policy and action.

use std::collections::BTreeMap;

use namel3ss_safety::{SafetyAction, Timestamp};
use serde_json::{Map, Value, json};

use crate::error::Error;
use crate::place::Place;
use crate::record::Record;
use crate::source;

/// The most policies that are told apart: their names come from events, and so from anybody.
const POLICIES_MAX: usize = 10_000;
/// Under which the rest is counted.
const OTHERS: &str = "(others)";

/// What a dataset holds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) rows: u64,
    pub(crate) unreadable: u64,
    pub(crate) first: Option<Timestamp>,
    pub(crate) last: Option<Timestamp>,
    /// By policy (empty for none), then by action.
    pub(crate) policies: BTreeMap<String, BTreeMap<&'static str, u64>>,
}

impl Tally {
    /// Counts a dataset by reading it, a page in memory at a time.
    pub(crate) fn of(place: &Place) -> Result<Self, Error> {
        let mut tally = Self::default();
        let mut source = source::open(place)?;
        let unreadable = source.poll(&mut |record| {
            tally.record(&record);
            Ok(())
        })?;
        tally.unreadable = unreadable + u64::from(source.lacks().is_some());
        Ok(tally)
    }

    /// Counts what waits for a dataset in the journals that this home knows.
    pub(crate) fn waiting_for(place: &Place) -> Result<Self, Error> {
        let mut tally = Self::default();
        if let Some(identity) = place.identity() {
            tally.unreadable = source::waiting_for(&identity).poll(&mut |record| {
                tally.record(&record);
                Ok(())
            })?;
        }
        Ok(tally)
    }

    fn record(&mut self, record: &Record) {
        let event = &record.event;
        let at = event.timestamp;
        self.first = Some(self.first.map_or(at, |first| first.min(at)));
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        self.rows += 1;
        let policy = event.policy_name.as_deref().unwrap_or_default();
        let full = self.policies.len() >= POLICIES_MAX && !self.policies.contains_key(policy);
        let policy = if full { OTHERS } else { policy };
        // Most events have a policy that was seen before: no copy of its name for those.
        if !self.policies.contains_key(policy) {
            self.policies.insert(policy.to_owned(), BTreeMap::new());
        }
        if let Some(actions) = self.policies.get_mut(policy) {
            *actions.entry(event.action.as_str()).or_default() += 1;
        }
    }

    /// How many rows have this action.
    pub(crate) fn of_action(&self, action: &str) -> u64 {
        self.policies.values().filter_map(|actions| actions.get(action)).sum()
    }

    pub(crate) fn to_json(&self) -> Value {
        let actions: Map<String, Value> = SafetyAction::ALL
            .iter()
            .map(|action| (action.to_string(), self.of_action(action.as_str()).into()))
            .collect();
        json!({
            "rows": self.rows,
            "unreadable": self.unreadable,
            "first": self.first.map(|at| at.to_string()),
            "last": self.last.map(|at| at.to_string()),
            "actions": actions,
            "policies": self.policies,
        })
    }
}
