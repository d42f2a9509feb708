//! Journals: damaged ones, and those that nobody will adopt.

use std::path::Path;

use namel3ss_safety::internal::register;

use super::finding::Finding;
use crate::journals::{self, Journal};
use crate::shell::shell;

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    let before = findings.len();
    if let Err(error) = register::folders(home) {
        let register = home.join(register::REGISTER_NAME);
        findings.push(Finding::config(
            "journals",
            format!("the register {} can't be read: {error}", register.display()),
            format!("let this user read {}", shell(&register)),
        ));
    }
    let mut journals = Vec::new();
    for folder in journals::folders_of(home) {
        match journals::find(&folder) {
            Ok(found) => journals.extend(found),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => findings.push(Finding::config(
                "journals",
                format!("{} can't be read: {error}", folder.display()),
                format!("let this user read {}", shell(&folder)),
            )),
        }
    }
    for journal in &journals {
        one(journal, findings);
    }
    if findings.len() == before {
        let live = journals.iter().filter(|journal| journal.live).count();
        findings
            .push(Finding::ok("journals", format!("{live} in use, none damaged or left behind")));
    }
}

fn one(journal: &Journal, findings: &mut Vec<Finding>) {
    let path = journal.path.display();
    for name in &journal.set_aside {
        findings.push(Finding::integrity(
            "journals",
            format!("{path}/{name} was damaged and is set aside"),
            "keep it for whoever looks into the disk, then remove it: what could be read of the \
             journal was delivered",
        ));
    }
    let content = match &journal.content {
        Ok(content) => content,
        Err(_) if journal.is_gone() => return,
        Err(error) => {
            findings.push(Finding::integrity(
                "journals",
                format!("{path} can't be read: failed to {error}"),
                "look for a failing disk; a newer n3-safety may be able to read it",
            ));
            return;
        }
    };
    for damage in &content.damage {
        findings.push(Finding::integrity(
            "journals",
            format!("{path}/{}: {}", damage.file, damage.what),
            "look for a failing disk; every whole event outside the damage is still delivered",
        ));
    }
    if journal.live {
        return;
    }
    let sinks = content.sinks();
    for sink in sinks.iter().filter(|sink| sink.pending > 0) {
        let orphan = format!(
            "{} events of the dataset {} wait in {path}, which no process has open",
            sink.pending, content.header.dataset
        );
        let to = crate::recovery::shown(&sink.destination);
        let others = if sinks.len() > 1 { ", which is one of several destinations" } else { "" };
        findings.push(Finding::integrity(
            "journals",
            format!("{orphan}; they go to {to}{others}"),
            format!(
                "start its program again, or: {}",
                crate::recovery::command(&content.header.dataset, &sink.destination)
            ),
        ));
    }
}
