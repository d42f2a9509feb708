//! The record of what an AI application's guardrails decided, kept through any crash.
//!
//! [`SafetyEventLogger::log`] writes an event to a journal on disk before it returns; threads of the
//! logger deliver it to its datasets, also in the next run of the program.
//!
//! ```
//! use namel3ss_safety::{JsonAdapter, SafetyEvent, SafetyEventLogger, Severity};
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("safety.jsonl");
//! // A dataset; the crate namel3ss-safety-stores has SQLite, PostgreSQL, MySQL, S3 and others.
//! let dataset = Arc::new(JsonAdapter::new(path)?);
//!
//! // A logger for the whole program. Clones of it are handles.
//! let logger = SafetyEventLogger::builder().dataset(dataset.clone()).home(folder.path()).build()?;
//!
//! // A decision of a guardrail, with whatever is known of it.
//! logger.log(&SafetyEvent {
//!     severity: Severity::High,
//!     reason: Some("asked to forget its instructions".into()),
//!     ..SafetyEvent::block("jailbreak")
//! });
//!
//! // At the end of the program. What is not delivered in this time is delivered by the next run.
//! let report = logger.stop(Some(Duration::from_secs(10)));
//! assert!(report.complete, "{report:?}");
//! assert_eq!(dataset.rows()?.count(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | task | use |
//! | --- | --- |
//! | ids and names that all events of a request have | [`SafetyEventLogger::bind`] |
//! | what became of the events | [`SafetyEventLogger::stats`], [`SafetyEventLogger::notices`] |
//! | a dataset of your own | [`DatasetAdapter`], or [`AsyncDatasetAdapter`] with [`AsyncAdapter`] |
//! | tests of your program | [`SafetyEventLogger::collecting`] |
//! | tests of your adapter | the feature `conformance` |
//! | programs that use `tracing` | the feature `tracing` |
//! | files of batches that a dataset did not take | [`replay_file`], or the command `n3-safety replay` |
//!
//! # Async code
//!
//! `log` does no I/O while the journal has room, and then costs less than passing the event to another
//! task. It holds its thread up in two cases: where the disk is full or failing, and where more than half
//! of `backlog_limit_bytes` waits for a slow dataset, by up to 500 ms. Where a task must not stand still,
//! call [`try_log`](SafetyEventLogger::try_log) in a loop: it is `None` where `log` would wait for a
//! millisecond or more, and keeps nothing then.
//!
//! ```
//! # use namel3ss_safety::{SafetyEvent, SafetyEventLogger};
//! # async fn sleep(_: std::time::Duration) {}
//! async fn log(logger: &SafetyEventLogger, event: &SafetyEvent) {
//!     while logger.try_log(event).is_none() {
//!         sleep(std::time::Duration::from_millis(5)).await; // the runtime's own
//!     }
//! }
//! ```
//!
//! **The loop ends when the dataset goes on; with the strategies that drop events it ends at the latest
//! when the destination no longer counts as delivering** (`adapter_timeout`), with `block` not before.
//! `flush` and `stop` wait on the calling thread, and a logger that has no threads delivers there: await
//! [`flush_async`](SafetyEventLogger::flush_async) and [`stop_async`](SafetyEventLogger::stop_async)
//! instead.
//!
//! ARCHITECTURE.md in the repository maps the modules; they are declared in the order in which to read
//! them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod id;
mod seqs;
mod event;
mod parse;
mod codec;
mod json;
mod batch;
mod clock;
mod enums;
mod notice;
mod overflow;
mod stats;
mod adapter;
mod sink;
mod journal;
mod logger;
mod waiting;
mod bound;
mod collected;
mod home;
mod register;
mod nearest;
mod limits;
mod memory;
mod process;
mod redact;
mod locks;
#[cfg(feature = "tracing")]
mod tracing_layer;
#[cfg(feature = "conformance")]
pub mod conformance;

#[doc(hidden)]
pub mod internal;

pub use adapter::{
    AdapterError, AdapterRegistry, AdapterTask, AsyncAdapter, AsyncDatasetAdapter, Batching,
    CsvAdapter, DatasetAdapter, Delivery, Failure, JsonAdapter, MemoryAdapter, PerProcess,
    ReadError, ReadRow, Registry, StoredRow,
};
pub use batch::{Batch, Durability, Row, RowBuffer};
pub use bound::{BoundLogger, EventDefaults};
pub use clock::{ParseTimestampError, Timestamp};
pub use codec::{ArrayRef, Categories, EventRef, ObjectRef, ValueRef};
pub use collected::Collected;
pub use event::{Direction, FIELDS, NotAnObject, SafetyAction, SafetyEvent, Severity, UnknownWord};
pub use id::{BatchId, EventId, JournalId, ParseIdError, Seq};
pub use journal::{DropReason, JournalError};
pub use logger::{
    ConfigError, FlushReport, JournalKind, Logged, LoggerBuilder, SafetyEventLogger, after_restore,
};
pub use notice::{Level, Notice, NoticeKind, take_left};
pub use overflow::OverflowStrategy;
pub use sink::{
    Outcome, ReplayError, ReplayOptions, ReplayReport, SafetyEventSink, SinkBuilder, replay_file,
};
pub use stats::{DropCounts, JournalStorage, SinkStats, Stats, Unhealthy};
#[cfg(feature = "tracing")]
pub use tracing_layer::SafetyLayer;
