//! Journals: damaged ones, and those that nobody will adopt.

use std::path::Path;

use super::{Finding, shell};
use crate::destination;
use crate::journals::{self, Journal};

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    let folder = home.join("journal");
    let journals = match journals::find(&folder) {
        Ok(journals) => journals,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            findings.push(Finding::config(
                "journals",
                format!("{} can't be read: {error}", folder.display()),
                format!("let this user read {}", shell(&folder)),
            ));
            return;
        }
    };
    let before = findings.len();
    let ours = destination::open(None).map(|adapter| adapter.identity()).ok();
    for journal in &journals {
        one(journal, ours.as_deref(), findings);
    }
    if findings.len() == before {
        let live = journals.iter().filter(|journal| journal.live).count();
        findings
            .push(Finding::ok("journals", format!("{live} in use, none damaged or left behind")));
    }
}

fn one(journal: &Journal, ours: Option<&str>, findings: &mut Vec<Finding>) {
    let path = journal.path.display();
    let content = match &journal.content {
        Ok(content) => content,
        Err(error) => {
            findings.push(Finding::integrity(
                "journals",
                format!("{path} can't be read: failed to {error}"),
                "look for a failing disk; a newer n3-safety may be able to read it",
            ));
            return;
        }
    };
    for name in &content.set_aside {
        findings.push(Finding::integrity(
            "journals",
            format!("{path}/{name} was damaged and is set aside"),
            "keep it for whoever looks into the disk, then remove it: what could be read of the \
             journal was delivered",
        ));
    }
    for damage in &content.damage {
        findings.push(Finding::integrity(
            "journals",
            format!("{path}/{}: {}", damage.file, damage.what),
            "look for a failing disk; every whole event outside the damage is still delivered",
        ));
    }
    let pending = journal.fates().pending;
    if journal.live || pending == 0 {
        return;
    }
    let orphan = format!(
        "{pending} events of the dataset {} wait in {path}, which no process has open",
        content.header.dataset
    );
    // The next logger of the default dataset takes what goes to the same place.
    if content.header.dataset == crate::place::DEFAULT_DATASET
        && ours == Some(content.header.destination.as_str())
    {
        findings.push(Finding::note("journals", format!("{orphan}: the next logger adopts it")));
    } else {
        findings.push(Finding::integrity(
            "journals",
            format!("{orphan}; they go to {}", crate::recovery::shown(&content.header.destination)),
            format!("start its program again, or: {}", crate::recovery::command(content)),
        ));
    }
}
