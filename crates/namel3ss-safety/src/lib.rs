//! The record of what an AI application's guardrails decided, kept through any crash.
//!
//! Modules are declared in the order in which to read them; ARCHITECTURE.md draws how they stand.

pub mod id;
#[doc(hidden)]
pub mod seqs;
pub mod event;
pub mod parse;
pub mod codec;
pub mod json;
pub mod batch;
pub mod clock;
pub mod notice;
pub mod stats;
pub mod adapter;
pub mod sink;
pub mod journal;
pub mod logger;
pub mod home;
pub mod register;
pub mod nearest;
pub mod limits;
pub mod memory;
pub mod process;
pub mod redact;
mod locks;
#[cfg(feature = "tracing")]
pub mod tracing_layer;
#[cfg(feature = "conformance")]
pub mod conformance;

pub use adapter::{
    AdapterError, AdapterRegistry, Batching, CsvAdapter, DatasetAdapter, Delivery, Failure,
    JsonAdapter, MemoryAdapter, PerProcess, Registry,
};
pub use batch::{Batch, Durability, Row, RowBuffer};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use codec::EventRef;
pub use event::{Direction, FIELDS, SafetyAction, SafetyEvent, Severity};
pub use id::{BatchId, EventId, JournalId, Seq};
pub use journal::{DropReason, JournalError};
pub use logger::{
    Builder, ConfigError, FlushReport, JournalKind, Logged, OverflowStrategy, SafetyEventLogger,
    after_restore,
};
pub use notice::{Level, Notice, Notices};
pub use sink::{
    Outcome, ReplayError, ReplayOptions, ReplayReport, SafetyEventSink, SinkBuilder, replay_file,
};
pub use stats::Stats;
