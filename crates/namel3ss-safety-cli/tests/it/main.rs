//! The real binary in temporary folders: each verb's main path and error path, and hostile input.

mod surface;
mod ingest;
mod ingest_cases;
#[cfg(unix)]
mod ingest_pipe;
mod tail;
mod stats;
mod query;
#[cfg(all(unix, feature = "parquet"))]
mod objects;
#[cfg(all(unix, feature = "delta"))]
mod delta;
#[cfg(all(feature = "mysql", feature = "postgres"))]
mod servers;
mod replay;
mod journals;
mod fan_out;
mod doctor;
mod hostile;
#[cfg(all(unix, feature = "delta"))]
mod corpus;

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A home of its own for each test.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn home(&self) -> std::path::PathBuf {
        self.path("home")
    }

    /// A file of the bench, and its path as an argument.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        std::fs::write(self.path(name), content).unwrap();
        self.path(name).to_str().unwrap().to_owned()
    }

    fn command(&self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_n3-safety"));
        command
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("NAMEL3SS_SAFETY_URL")
            .env_remove("NO_COLOR")
            .env("NAMEL3SS_SAFETY_HOME", self.home())
            // What other programs of this user have left is none of a test's.
            .env("NAMEL3SS_SAFETY_FALLBACK_PATH", self.path("given-none"))
            .stdin(Stdio::null());
        command
    }

    fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    fn feed<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>, stdin: &[u8]) -> Ran {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let bytes = stdin.to_vec();
        let feeder = std::thread::spawn(move || {
            // A verb may refuse its input before it has read all of it.
            let _ = pipe.write_all(&bytes);
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Ran::from(output)
    }
}

/// How a run ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    /// Checks what must hold for every run, whatever it was asked: no control byte but newlines.
    fn from(output: Output) -> Self {
        for stream in [&output.stdout, &output.stderr] {
            let bad = stream.iter().find(|b| (**b < 0x20 && **b != b'\n') || **b == 0x7f);
            assert!(bad.is_none(), "control byte {bad:?} in {}", String::from_utf8_lossy(stream));
        }
        Self {
            code: output.status.code().expect("it ended by itself"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// Asserts the exit code; returns itself.
    #[track_caller]
    fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, part: &str) -> Self {
        assert!(self.stderr.contains(part), "no {part:?} in {self:#?}");
        self
    }

    #[track_caller]
    fn prints(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "no {part:?} in {self:#?}");
        self
    }

    /// Standard output as one JSON object.
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    /// Standard output as JSON lines.
    #[track_caller]
    fn json_lines(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// `n` events, with `event_id` e1 … and alternating actions.
fn events(n: usize) -> String {
    let mut lines = String::new();
    for i in 1..=n {
        let action = if i % 2 == 0 { "block" } else { "allow" };
        lines.push_str(&format!(
            "{{\"event_id\":\"e{i}\",\"timestamp\":\"2026-03-01T12:00:{:02}Z\",\"policy_name\":\
             \"pii\",\"action\":\"{action}\",\"metadata\":{{\"n\":{i}}}}}\n",
            i % 60
        ));
    }
    lines
}

fn exists(path: impl AsRef<Path>) -> bool {
    path.as_ref().exists()
}
