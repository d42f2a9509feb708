//! The streams of a run, and whether somebody wants it to end.

use std::fmt;
use std::io::{self, IsTerminal, Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a run reads from and writes to.
pub struct Io {
    /// What `-` reads.
    pub stdin: Box<dyn Read + Send>,
    /// Data.
    pub stdout: Box<dyn Write + Send>,
    /// Everything else.
    pub stderr: Box<dyn Write + Send>,
    /// Whether a person types standard input: then they are told that it is read.
    pub stdin_is_terminal: bool,
    /// Whether a person watches standard output: colours.
    pub stdout_is_terminal: bool,
    /// Whether a person watches standard error: colours and progress bars.
    pub stderr_is_terminal: bool,
    /// How a person says "enough".
    pub interrupt: Interrupt,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("stdout_is_terminal", &self.stdout_is_terminal)
            .field("stderr_is_terminal", &self.stderr_is_terminal)
            .finish_non_exhaustive()
    }
}

impl Io {
    /// The process's own streams; Ctrl-C and SIGTERM end `ingest` and `tail -f` in good order.
    #[must_use]
    pub fn process() -> Self {
        Self {
            stdin: Box::new(io::stdin()),
            stdout: Box::new(io::stdout()),
            stderr: Box::new(io::stderr()),
            stdin_is_terminal: io::stdin().is_terminal(),
            stdout_is_terminal: io::stdout().is_terminal(),
            stderr_is_terminal: io::stderr().is_terminal(),
            interrupt: Interrupt { flag: Arc::default(), signals: true },
        }
    }

    /// Streams in memory, and a handle to read what was written.
    #[must_use]
    pub fn buffers(stdin: &[u8]) -> (Self, Captured) {
        let captured = Captured::default();
        let io = Self {
            stdin: Box::new(io::Cursor::new(stdin.to_vec())),
            stdout: Box::new(captured.stdout.clone()),
            stderr: Box::new(captured.stderr.clone()),
            stdin_is_terminal: false,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            interrupt: Interrupt::default(),
        };
        (io, captured)
    }
}

/// What a run in memory has written.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    stdout: Shared,
    stderr: Shared,
}

impl Captured {
    /// What went to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What went to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }
}

#[derive(Clone, Debug, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether somebody pressed Ctrl-C, or set the flag from another thread.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    flag: Arc<AtomicBool>,
    signals: bool,
}

impl Interrupt {
    /// One that a host raises itself.
    #[must_use]
    pub fn from_flag(flag: Arc<AtomicBool>) -> Self {
        Self { flag, signals: false }
    }

    /// Whether to end now.
    #[must_use]
    pub fn raised(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Whether the run is all that its process does.
    pub(crate) fn is_of_process(&self) -> bool {
        self.signals
    }

    /// From now on SIGINT and SIGTERM raise it; the second one ends the process at once. Only the
    /// verbs that have something to end in good order ask for this.
    pub(crate) fn arm(&self) {
        #[cfg(unix)]
        if self.signals {
            use signal_hook::consts::{SIGINT, SIGTERM};
            for signal in [SIGINT, SIGTERM] {
                // Without the handlers a signal ends the process as it always did, which the
                // journal survives; there is nothing better to do here.
                let _ = signal_hook::flag::register_conditional_shutdown(
                    signal,
                    128 + signal,
                    Arc::clone(&self.flag),
                );
                let _ = signal_hook::flag::register(signal, Arc::clone(&self.flag));
            }
        }
    }
}
