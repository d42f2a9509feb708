//! The record of what an AI application's guardrails decided, kept through any crash.
//!
//! Modules are declared in the order in which to read them; ARCHITECTURE.md draws how they stand.

mod id;
mod seqs;
mod event;
mod parse;
mod codec;
mod json;
mod batch;
mod clock;
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
pub use notice::{Level, Notice, take_left};
pub use overflow::OverflowStrategy;
pub use sink::{
    Outcome, ReplayError, ReplayOptions, ReplayReport, SafetyEventSink, SinkBuilder, replay_file,
};
pub use stats::{JournalStorage, SinkStats, Stats, Unhealthy};
#[cfg(feature = "tracing")]
pub use tracing_layer::SafetyLayer;
