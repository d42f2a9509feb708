//! An adapter of one's own: `cargo run --example own_adapter`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, Batch, DatasetAdapter, Delivery, SafetyEvent, SafetyEventLogger,
};

/// Prints rows. It can't tell whether it printed a batch before a crash, so it says "at least once".
struct Printer;

impl DatasetAdapter for Printer {
    fn insert(&self, batch: &Batch<'_>) -> Result<(), AdapterError> {
        for row in batch.rows() {
            let policy = row.event.policy_name().unwrap_or("unknown");
            println!("{} {} {policy}: {}", row.journal, row.seq, row.event.action);
        }
        Ok(())
    }

    fn identity(&self) -> String {
        "printer".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let builder = SafetyEventLogger::builder().dataset(Arc::new(Printer));
    let logger = builder.home(home.path()).build()?;
    logger.log(&SafetyEvent::redact("pii"));
    logger.log(&SafetyEvent::allow("toxicity"));
    assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    Ok(())
}
