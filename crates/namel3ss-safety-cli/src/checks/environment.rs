//! The two variables, before anything is looked up by them.

use std::path::Path;

use super::Finding;
use crate::error::Error;
use crate::place;

pub(super) fn check(findings: &mut Vec<Finding>) {
    match place::home() {
        Ok(home) if home.is_relative() => findings.push(Finding::config(
            "environment",
            format!(
                "NAMEL3SS_SAFETY_HOME is the relative path {}: journals land wherever each program \
                 was started",
                home.display()
            ),
            "set it to an absolute path",
        )),
        Ok(_) => {}
        Err(error) => findings.push(Finding::config(
            "environment",
            "there is no home folder",
            remedy_of(&error, "set NAMEL3SS_SAFETY_HOME"),
        )),
    }
    // Any temporary folder is emptied at a reboot, and with it every event that waits.
    const PASSING: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
    if let Ok(home) = place::home()
        && PASSING.iter().any(|folder| home.starts_with(Path::new(folder)))
    {
        findings.push(Finding::note(
            "environment",
            format!("the home folder {} does not outlive a reboot", home.display()),
        ));
    }
}

fn remedy_of(error: &Error, otherwise: &str) -> String {
    let text = error.to_string();
    text.split_once(": ").map_or_else(|| otherwise.to_owned(), |(_, remedy)| remedy.to_owned())
}
