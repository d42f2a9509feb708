//! From a batch to its dataset: attempts, breaker, bisection of bad rows, fallback file, replay.
//!
//! The sink knows adapters only. Where rows come from, and what is written down about their
//! progress, is the caller's: it drives [`SafetyEventSink::step`] and is told by [`Progress`].
//! Nothing here raises or keeps a thread, and only [`SafetyEventSink::write`] sleeps.
//!
//! Defaults, and why: three attempts a second apart ride out a restart of a connection pool or a
//! leader election; what lasts longer is an outage, and then a file on disk is worth more than a
//! fourth attempt while the backlog grows.

mod safety_event_sink;
mod builder;
mod write;
mod deliver;
mod bisect;
mod attempt;
mod calls;
mod watched;
mod copied;
mod retry;
mod breaker;
mod fallback;
#[cfg_attr(not(unix), path = "folder_plain.rs")]
mod folder;
mod waiting;
mod filed;
mod replay;
mod replay_rows;
mod replay_error;
mod own_files;
mod own;

pub use self::builder::SinkBuilder;
pub(crate) use self::calls::secs;
pub use self::deliver::{Delivering, Progress, Settled, Step};
pub use self::fallback::{ERROR_KEY, default_fallback_path};
pub use self::own::Replayed;
pub use self::replay::{
    FILE_BYTES_MAX, REPLAYED, REPLAYED_BYTES_MAX, REPLAYED_FILES_MAX, ReplayOptions, ReplayReport,
    replay_file,
};
pub use self::replay_error::ReplayError;
pub use self::retry::WAIT_MAX;
pub use self::safety_event_sink::{
    DATASET_DEFAULT, MAX_RETRIES_DEFAULT, RETRY_DELAY_DEFAULT, SafetyEventSink,
};
pub use self::waiting::{DESTINATION_NAME, FallbackFolder, usual_fallback_folders};
pub use self::write::Outcome;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_fallback;
#[cfg(test)]
mod tests_model;
#[cfg(test)]
mod tests_replay;
