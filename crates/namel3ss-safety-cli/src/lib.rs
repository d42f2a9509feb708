//! `n3-safety`, the command line of the record: feed it, read it, mend it, watch over it.
//!
//! Everything happens in [`run`], which takes its streams as arguments: the binary passes those of
//! its process, the Python wheel's console script does the same, a test passes buffers.
//!
//! Data goes to standard output and everything else to standard error. Whatever is printed is
//! escaped first ([`escape`]), and what goes to standard error loses its passwords ([`redact`]):
//! the texts of events come from prompts, and URLs come with credentials.

mod cli;
mod context;
mod exit;
mod error;
mod io;
pub mod escape;
mod style;
mod out;
mod progress;
mod place;
mod destination;
mod fallback;
mod span;
#[cfg(feature = "parquet")]
mod size;
mod mapping;
mod record;
mod input;
mod journals;
mod recovery;
mod source;
mod tally;
mod feed;
mod shell;
mod checks;
mod cmd;

pub use namel3ss_safety::internal::redact;

use std::ffi::OsString;

pub use cli::command;
pub use error::Error;
pub use exit::Exit;
pub use io::{Interrupt, Io};

/// Runs one command line; the first argument is the program's name. Never panics for its input,
/// and never ends the process.
///
/// ```
/// use namel3ss_safety_cli::{Exit, Io, run};
/// let (io, captured) = Io::buffers(b"");
/// assert_eq!(run(["n3-safety", "schema", "--dialect", "sqlite"], io), Exit::Ok);
/// assert!(captured.stdout().contains("CREATE TABLE"));
/// ```
pub fn run(args: impl IntoIterator<Item = impl Into<OsString>>, io: Io) -> Exit {
    cli::run(args.into_iter().map(Into::into).collect(), io)
}

/// Takes an input apart as `ingest` does, and counts its records and what is none: for fuzzing.
///
/// # Errors
/// If it can't be unpacked or decoded.
#[doc(hidden)]
pub fn read_input(bytes: &[u8]) -> std::io::Result<(u64, u64)> {
    let reader = Box::new(std::io::Cursor::new(bytes.to_vec()));
    let mut input = input::Input::open(reader, None, input::Options::default())?;
    let mut counts = (0, 0);
    while let Some(batch) = input.batch()? {
        for item in batch.items {
            match item.value {
                Ok(_) => counts.0 += 1,
                Err(_) => counts.1 += 1,
            }
        }
    }
    Ok(counts)
}
