//! The first event, into a file of JSON lines, and back: `cargo run --example first_event`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{JsonAdapter, SafetyEvent, SafetyEventLogger, Severity};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let dataset = Arc::new(JsonAdapter::new(folder.path().join("safety.jsonl"))?);
    let builder = SafetyEventLogger::builder().dataset(dataset.clone());
    let logger = builder.home(folder.path().join("home")).build()?;

    logger.log(&SafetyEvent { severity: Severity::High, ..SafetyEvent::block("jailbreak") });

    // Before the process ends; what is not delivered by then stays in the journal for the next run.
    let report = logger.stop(Some(Duration::from_secs(10)));
    assert!(report.complete, "{report:?}");
    for row in dataset.rows()? {
        println!("{}", row?.event.to_json());
    }
    Ok(())
}
