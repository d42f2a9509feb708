//! What `doctor` looks at. Each check says what it found, and for what is not well, what to do.

mod dataset;
mod environment;
mod fallback;
mod home;
mod journals;

use crate::exit::Exit;

/// How bad a finding is, and of which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grade {
    /// As it should be.
    Ok,
    /// Worth knowing; nothing is wrong.
    Note,
    /// Somebody must change a setting, a folder or a database.
    Config,
    /// Rows are damaged, or wait where nobody will fetch them.
    Integrity,
}

impl Grade {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Config => "config",
            Self::Integrity => "integrity",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) grade: Grade,
    /// What was looked at, in a word.
    pub(crate) check: &'static str,
    /// What was found.
    pub(crate) text: String,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Ok, check, text: text.into(), remedy: None }
    }

    pub(crate) fn note(check: &'static str, text: impl Into<String>) -> Self {
        Self { grade: Grade::Note, check, text: text.into(), remedy: None }
    }

    pub(crate) fn config(
        check: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { grade: Grade::Config, check, text: text.into(), remedy }
    }

    pub(crate) fn integrity(
        check: &'static str,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let remedy = Some(remedy.into());
        Self { grade: Grade::Integrity, check, text: text.into(), remedy }
    }
}

/// Looks at everything.
pub(crate) fn all() -> Vec<Finding> {
    let mut findings = Vec::new();
    let home = namel3ss_safety::home::home();
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

/// A path as a shell takes it, for remedies that can be pasted.
pub(crate) fn shell(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}
