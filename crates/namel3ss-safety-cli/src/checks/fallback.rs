//! Fallback files that nobody has replayed, and folders for them that are somebody else's.

use std::path::Path;

use super::finding::Finding;
use crate::shell::shell;
use crate::{fallback, recovery};

pub(super) fn check(home: &Path, findings: &mut Vec<Finding>) {
    let before = findings.len();
    for folder in fallback::usual(home) {
        match folder {
            Ok(folder) if folder.files().is_empty() => {}
            Ok(folder) => {
                let (to, hint) = match folder.destination() {
                    Some(to) if recovery::open(to).is_some() => (format!(", for {to}"), ""),
                    Some(to) => (format!(", for {to}"), " --to URL"),
                    None => (", which does not say for which destination".to_owned(), " --to URL"),
                };
                findings.push(Finding::integrity(
                    "fallback",
                    format!(
                        "{} fallback files wait in {}{to}",
                        folder.files().len(),
                        folder.path().display()
                    ),
                    format!("n3-safety replay {}{hint}", shell(folder.path())),
                ));
            }
            Err((path, error)) => findings.push(Finding::config(
                "fallback",
                format!("{} is not trusted, or can't be read: {error}", path.display()),
                format!("chmod 700 {}", shell(&path)),
            )),
        }
    }
    let shared = fallback::given_none();
    if shared.symlink_metadata().is_ok() && !fallback::is_ours(&shared) {
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
