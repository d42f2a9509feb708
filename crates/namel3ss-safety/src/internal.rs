//! What the other crates of this workspace, its tests and its benchmarks use of this one beyond its
//! public API. **Not public:** it changes without notice, whatever the version says.

pub mod adapter {
    pub use crate::adapter::*;
}
pub mod batch {
    pub use crate::batch::*;
}
pub mod clock {
    pub use crate::clock::*;
}
pub mod codec {
    pub use crate::codec::*;
}
pub mod event {
    pub use crate::event::*;
}
pub mod home {
    pub use crate::home::*;
}
pub mod id {
    pub use crate::id::*;
}
pub mod journal {
    pub use crate::journal::*;
}
pub mod json {
    pub use crate::json::*;
}
pub mod limits {
    pub use crate::limits::*;
}
pub mod logger {
    pub use crate::logger::*;
}
pub mod memory {
    pub use crate::memory::*;
}
pub mod nearest {
    pub use crate::nearest::*;
}
pub mod notice {
    pub use crate::notice::*;
}
pub mod parse {
    pub use crate::parse::*;
}
pub mod process {
    pub use crate::process::*;
}
pub mod redact {
    pub use crate::redact::*;
}
pub mod register {
    pub use crate::register::*;
}
pub mod seqs {
    pub use crate::seqs::*;
}
pub mod sink {
    pub use crate::sink::*;
}
pub mod stats {
    pub use crate::stats::*;
}
