//! What a check found, and what to do about it.

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
