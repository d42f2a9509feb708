//! Fallback files that nobody has replayed, and folders for them that are somebody else's.

use std::path::Path;

use namel3ss_safety::sink::default_fallback_path;

use super::{Finding, shell};
use crate::fallback;

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    let before = findings.len();
    let folders = fallback::usual_folders(home);
    let each = folders.iter().flat_map(|folder| fallback::with_those_within(folder));
    for folder in each {
        match fallback::waiting_in(&folder) {
            Ok(files) if files.is_empty() => {}
            Ok(files) => findings.push(Finding::integrity(
                "fallback",
                format!("{} fallback files wait in {}", files.len(), folder.display()),
                format!("n3-safety replay {}", shell(&folder)),
            )),
            Err(error) => findings.push(Finding::config(
                "fallback",
                format!("{} can't be read: {error}", folder.display()),
                format!("chmod 700 {}", shell(&folder)),
            )),
        }
    }
    let shared = default_fallback_path();
    if shared.symlink_metadata().is_ok() && !folders.contains(&shared) {
        findings.push(Finding::note(
            "fallback",
            format!(
                "{} is somebody else's or a link: fallback files go to a folder of this user's own",
                shared.display()
            ),
        ));
    }
    if findings.len() == before {
        findings.push(Finding::ok("fallback", "no fallback files wait"));
    }
}
