//! What `doctor` looks at. Each check says what it found, and for what is not well, what to do.

mod finding;
mod dataset;
mod environment;
mod fallback;
mod home;
mod journals;

pub(crate) use self::finding::{Finding, Grade};

use crate::exit::Exit;

/// Looks at everything.
pub(crate) fn all() -> Vec<Finding> {
    let mut findings = Vec::new();
    let home = namel3ss_safety::internal::home::home();
    environment::check(&home, &mut findings);
    home::check(&home, &mut findings);
    dataset::check(&mut findings);
    journals::check(&home, &mut findings);
    fallback::check(&home, &mut findings);
    findings
}

/// Rows at stake weigh more than settings.
pub(crate) fn exit_of(findings: &[Finding]) -> Exit {
    let any = |grade| findings.iter().any(|finding| finding.grade == grade);
    if any(Grade::Integrity) {
        Exit::Integrity
    } else if any(Grade::Config) {
        Exit::Config
    } else {
        Exit::Ok
    }
}
