//! `ingest -` behind a program that goes on writing.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};

use crate::{Bench, Ran};

/// How long something may take that is promised within a second: other tests run beside this one.
const DEADLINE: Duration = Duration::from_secs(60);

struct Piped {
    child: Child,
    stdin: ChildStdin,
}

impl Piped {
    fn start(bench: &Bench) -> Self {
        let mut command = bench.command(["ingest", "-", "--to", "out.jsonl", "-o", "json"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        Self { child, stdin }
    }

    fn write(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).unwrap();
    }

    fn ends(self) -> Ran {
        drop(self.stdin);
        Ran::from(self.child.wait_with_output().unwrap())
    }
}

/// Waits until so many lines are stored.
fn await_stored(bench: &Bench, lines: usize) -> String {
    let began = Instant::now();
    loop {
        let text = std::fs::read_to_string(bench.path("out.jsonl")).unwrap_or_default();
        if text.lines().count() >= lines {
            return text;
        }
        assert!(began.elapsed() < DEADLINE, "{text}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The first hundred events were kept for ten seconds.
#[test]
fn what_follows_is_delivered_at_once() {
    let bench = Bench::new();
    let mut piped = Piped::start(&bench);
    piped.write("{\"reason\":\"x\"}\n{\"action\":\"block\"}\n");
    let text = await_stored(&bench, 2);
    assert!(text.lines().next().unwrap().contains("\"alert\""), "{text}");
    piped.write("{\"action\":\"deny\"}\n");
    await_stored(&bench, 3);
    let ran = piped.ends().exits(0);
    assert_eq!(ran.json()["no_action"], 1);
}

#[test]
fn a_pipe_without_actions_is_stored_as_alerts_with_one_warning() {
    let bench = Bench::new();
    let mut piped = Piped::start(&bench);
    piped.write("{\"verdict\":\"x\"}\n");
    let mut stderr = BufReader::new(piped.child.stderr.take().unwrap()).lines();
    let warning = stderr.next().unwrap().unwrap();
    assert!(warning.contains("stored as alerts; --map action=verdict"), "{warning}");
    await_stored(&bench, 1);
    piped.write("{\"verdict\":\"y\"}\n");
    let text = await_stored(&bench, 2);
    assert_eq!(text.matches("\"action\":\"alert\"").count(), 2, "{text}");
    let ran = piped.ends().exits(4);
    assert_eq!(ran.json()["flushed"], 2);
    assert!(stderr.next().is_none());
}

#[test]
fn a_long_pipe_without_actions_is_not_held_in_memory() {
    let bench = Bench::new();
    let line = format!("{{\"verdict\":\"{}\"}}\n", "x".repeat(1000));
    let ran =
        bench.feed(["ingest", "--to", "out.jsonl", "-o", "json"], line.repeat(2000).as_bytes());
    let ran = ran.exits(4).says("stored as alerts");
    assert_eq!(ran.json()["flushed"], 2000);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

/// A file that ends is a wrong mapping, also where it comes through a pipe; a short one is not
/// stored. One that has an action late is stored whole.
#[test]
fn what_a_pipe_held_back_is_stored_in_its_order() {
    let bench = Bench::new();
    let mut text: String = (0..50).map(|n| format!("{{\"event_id\":\"e{n}\"}}\n")).collect();
    bench.feed(["ingest", "--to", "out.jsonl"], text.as_bytes()).exits(2).says("in 50 lines");
    text.push_str("{\"event_id\":\"e50\",\"action\":\"block\"}\n");
    bench.feed(["ingest", "--to", "out.jsonl"], text.as_bytes()).exits(0);
    let stored = std::fs::read_to_string(bench.path("out.jsonl")).unwrap();
    for (n, line) in stored.lines().enumerate() {
        assert!(line.contains(&format!("\"event_id\":\"e{n}\"")), "{line}");
    }
    assert_eq!(stored.lines().count(), 51);
}
