//! A server on tokio that logs without waiting and stops in order:
//! `cargo run --features postgres --example async_gateway`.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use namel3ss_safety::{
    AdapterError, AsyncAdapter, AsyncDatasetAdapter, Batch, Delivery, SafetyEvent,
    SafetyEventLogger,
};
use tokio::runtime::{Builder, Handle};

/// A client that needs tokio.
struct Client;

impl AsyncDatasetAdapter for Client {
    async fn insert(&self, batch: Batch<'_>) -> Result<(), AdapterError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        println!("{} rows are sent", batch.len());
        Ok(())
    }

    fn identity(&self) -> String {
        "client:example".into()
    }

    fn delivery(&self) -> Delivery {
        Delivery::AtLeastOnce
    }
}

/// One request. `log` may hold the thread up where a dataset is slow; `try_log` says that it would.
async fn request(logger: SafetyEventLogger, number: u64) {
    let event = SafetyEvent { trace_id: Some(number.to_string()), ..SafetyEvent::allow("pii") };
    while logger.try_log(&event).is_none() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    ready(()).await;
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let handle = Handle::current();
    let dataset = Arc::new(AsyncAdapter::spawned_by(Client, move |task| {
        handle.spawn(task);
    }));
    let logger = SafetyEventLogger::builder().dataset(dataset).home(home.path()).build()?;
    let requests: Vec<_> =
        (0..100).map(|number| tokio::spawn(request(logger.clone(), number))).collect();
    for request in requests {
        request.await?;
    }
    // After the last request, and before the runtime ends.
    let report = logger.stop_async(Some(Duration::from_secs(10))).await;
    assert!(report.complete, "{report:?}");
    assert_eq!(logger.stats().total_flushed, 100);
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    Builder::new_current_thread().enable_all().build()?.block_on(serve())
}
