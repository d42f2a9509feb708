//! `doctor`: what is misconfigured, and how to mend it.

use clap::Args;
use serde_json::json;

use crate::checks::{self, Grade};
use crate::context::Context;
use crate::error::Error;
use crate::exit::Exit;
use crate::out::Cell;
use crate::style::Style;

/// Look for what is misconfigured or damaged, and say how to mend it
///
/// Exits with 0 when all is well, 3 when the record needs care (damage, orphaned journals, fallback
/// files that wait), 5 when only settings do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  n3-safety doctor
  n3-safety doctor -o json | jq '.findings[] | select(.remedy)'
  NAMEL3SS_SAFETY_URL=postgresql://db/safety n3-safety doctor")]
pub(crate) struct Doctor {}

impl Doctor {
    pub(crate) fn run(&self, context: &mut Context) -> Result<Exit, Error> {
        let findings = checks::all();
        let exit = checks::exit_of(&findings);
        if context.out.is_json() {
            let list: Vec<_> = findings
                .iter()
                .map(|finding| {
                    json!({
                        "grade": finding.grade.as_str(),
                        "check": finding.check,
                        "text": namel3ss_safety::internal::redact::redact(&finding.text),
                        "remedy": finding.remedy.as_deref().map(namel3ss_safety::internal::redact::redact),
                    })
                })
                .collect();
            context.out.json(&json!({"healthy": exit == Exit::Ok, "findings": list}))?;
            return Ok(exit);
        }
        for finding in &findings {
            let style = match finding.grade {
                Grade::Ok => Style::Good,
                Grade::Note => Style::Dim,
                Grade::Config => Style::Warn,
                Grade::Integrity => Style::Bad,
            };
            context.out.line(&[
                Cell::new(style, format!("{:<9}", finding.grade.as_str())),
                Cell::new(Style::Bold, format!("{:<11}", finding.check)),
                Cell::from(namel3ss_safety::internal::redact::redact(&finding.text)),
            ])?;
            if let Some(remedy) = &finding.remedy {
                let remedy = namel3ss_safety::internal::redact::redact(remedy);
                context
                    .out
                    .line(&[Cell::from(" ".repeat(21)), Cell::from(format!("-> {remedy}"))])?;
            }
        }
        Ok(exit)
    }
}
