//! An async adapter, driven on a thread of its own: `cargo run --example own_async_adapter`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, AsyncAdapter, AsyncDatasetAdapter, Batch, Delivery, SafetyEvent,
    SafetyEventLogger,
};

struct Webhook;

impl AsyncDatasetAdapter for Webhook {
    async fn insert(&self, batch: Batch<'_>) -> Result<(), AdapterError> {
        // Here a client would send the rows.
        ready(()).await;
        println!("{} rows of {}", batch.len(), batch.id());
        Ok(())
    }

    fn identity(&self) -> String {
        "webhook:example".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let dataset = Arc::new(AsyncAdapter::on_own_thread(Webhook));
    let builder = SafetyEventLogger::builder().dataset(dataset).home(home.path());
    // A call that takes longer is cancelled, and its batch tried again.
    let logger = builder.adapter_timeout(Duration::from_secs(5)).build()?;
    logger.log(&SafetyEvent::alert("toxicity"));
    assert!(logger.stop(Some(Duration::from_secs(10))).complete);
    Ok(())
}
