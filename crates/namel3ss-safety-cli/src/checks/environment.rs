//! Where the home folder is meant to be, before it is looked at.

use std::path::Path;

use super::finding::Finding;

/// Folders that are emptied at a reboot, and with them every event that waits.
const PASSING: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    if home.is_relative() {
        findings.push(Finding::config(
            "environment",
            format!(
                "NAMEL3SS_SAFETY_HOME is the relative path {}: journals land wherever each program \
                 was started",
                home.display()
            ),
            "set it to an absolute path",
        ));
    }
    if PASSING.iter().any(|folder| home.starts_with(folder)) {
        findings.push(Finding::note(
            "environment",
            format!("the home folder {} may not outlive a reboot", home.display()),
        ));
    }
}
