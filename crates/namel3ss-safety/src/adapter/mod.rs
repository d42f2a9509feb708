//! Where rows land. An adapter stores one batch at a time, wholly or not at all, and says honestly
//! what it guarantees; retrying, falling back and counting are the sink's.

mod dataset;
mod error;
mod registry;
mod read;
mod memory;
mod disk;
mod per_process;
mod asynchronous;
mod delivered;
mod ledger;
mod tail;
mod file;
mod settle;
mod compare;
pub mod csv;
pub mod json;

pub use self::asynchronous::{AdapterTask, AsyncAdapter, AsyncDatasetAdapter};
pub use self::csv::CsvAdapter;
pub use self::dataset::{Batching, DatasetAdapter, Delivery};
pub use self::disk::{make_folder, real_path};
pub use self::error::{AdapterError, Failure};
pub use self::json::JsonAdapter;
pub use self::memory::{MemoryAdapter, StoredRow};
pub use self::per_process::PerProcess;
pub use self::read::{ReadError, ReadRow};
pub use self::registry::{AdapterRegistry, Registry};
