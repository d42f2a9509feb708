//! What the process may do, asked before it is tried.

use std::io;

/// Whether a file of `bytes` bytes is within the process's limit (`RLIMIT_FSIZE`). To write beyond
/// it is answered with SIGXFSZ, which kills a process that does not expect it, so it is asked
/// first.
///
/// # Errors
/// `FileTooLarge` where it is not.
pub fn check_file_size(bytes: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit};
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| bytes > limit) {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "the file would pass the process's file size limit (RLIMIT_FSIZE)",
            ));
        }
    }
    let _ = bytes;
    Ok(())
}
