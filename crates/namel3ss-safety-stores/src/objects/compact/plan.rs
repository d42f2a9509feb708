//! Which objects of a day are merged with which, and which are there in vain.

use super::source::Source;
use crate::ids::Ids;

/// An object that is to be merged, and those of its rows that another object has as well.
#[derive(Clone, Debug)]
pub(super) struct Chosen {
    pub(super) source: Source,
    pub(super) held: Ids,
}

/// What is to be done with a day.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Objects all of whose rows are in merged ones.
    pub(super) idle: Vec<String>,
    /// Objects of which each group becomes one.
    pub(super) groups: Vec<Vec<Chosen>>,
}

/// Plans a day for merged objects of `target_bytes`.
pub(super) fn plan(mut sources: Vec<Source>, target_bytes: u64) -> Plan {
    // Merged ones first, the newest of them before the others: what is in two is in the newest.
    sources.sort_by(|a, b| (b.generation, &a.name).cmp(&(a.generation, &b.name)));
    let mut plan = Plan::default();
    let (mut merged, mut met) = (Ids::default(), Ids::default());
    let mut chosen = Vec::new();
    for source in sources {
        if merged.holds(&source.ids) {
            plan.idle.push(source.name);
            continue;
        }
        let held = source.ids.common(&met);
        met.add(&source.ids);
        if source.generation.is_some() {
            merged.add(&source.ids);
        }
        if held.len() > 0 || source.bytes < target_bytes / 2 {
            chosen.push(Chosen { source, held });
        }
    }
    chosen.sort_by(|a, b| {
        (a.source.first(), &a.source.name).cmp(&(b.source.first(), &b.source.name))
    });
    let mut group: Vec<Chosen> = Vec::new();
    let mut bytes = 0_u64;
    for one in chosen {
        if bytes.saturating_add(one.source.bytes) > target_bytes {
            plan.take(std::mem::take(&mut group));
            bytes = 0;
        }
        bytes = bytes.saturating_add(one.source.bytes);
        group.push(one);
    }
    plan.take(group);
    plan
}

impl Plan {
    /// One object alone is written anew only if it has rows of others.
    fn take(&mut self, group: Vec<Chosen>) {
        if group.len() > 1 || group.iter().any(|one| one.held.len() > 0) {
            self.groups.push(group);
        }
    }
}
