//! Each event into two datasets, none of which waits for the other:
//! `cargo run --example several_datasets`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{CsvAdapter, MemoryAdapter, SafetyEvent, SafetyEventLogger};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (memory, path) = (Arc::new(MemoryAdapter::default()), folder.path().join("safety.csv"));
    let logger = SafetyEventLogger::builder()
        .dataset(Arc::new(CsvAdapter::new(path)?))
        .dataset(memory.clone())
        .home(folder.path().join("home"))
        .build()?;
    logger.log(&SafetyEvent::block("jailbreak"));
    assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    assert_eq!(memory.len(), 1);
    for sink in logger.stats().sinks {
        println!("{}: {} flushed", sink.destination, sink.flushed);
    }
    Ok(())
}
