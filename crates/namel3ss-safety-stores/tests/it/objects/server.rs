//! Real servers, from `scripts/servers`: each of them lives as long as its value.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn script() -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../..");
    Command::new(root.join("scripts/servers"))
}

/// A server with an empty folder of data.
pub(crate) struct Server {
    kind: &'static str,
    child: Child,
    folder: tempfile::TempDir,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) fn start(kind: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (child, port) = run(kind, folder.path());
        Self { kind, child, folder, port }
    }

    /// Kills it without a warning, and starts it again on its data, at another port.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.port) = run(self.kind, self.folder.path());
    }

    fn kill(&mut self) {
        // It is killed when its standard input ends.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn run(kind: &str, folder: &Path) -> (Child, u16) {
    let mut child = script()
        .args(["run", kind])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("scripts/servers runs");
    let mut said = String::new();
    let out = child.stdout.take().expect("it is piped");
    BufReader::new(out).read_line(&mut said).expect("it says something");
    let port = said.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
    (child, port.unwrap_or_else(|| panic!("{kind}: {said:?}")))
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A Python that has these packages.
pub(crate) fn python_with(packages: &[&str]) -> String {
    let said = script().arg("python").args(packages).output().expect("scripts/servers runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8(said.stdout).expect("a path").trim().to_owned()
}
