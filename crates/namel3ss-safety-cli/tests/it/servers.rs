//! Every verb that takes a dataset, on real database servers: scripts/sql-servers starts them.

use std::fs::File;
use std::path::Path;
use std::process::Command;

use crate::{Bench, events};

/// A running server, and the lock that keeps it running.
struct Server {
    port: u64,
    _lock: File,
}

fn output(command: &mut Command) -> String {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap().trim().to_owned()
}

impl Server {
    fn up(kind: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/sql-servers");
        let lock = File::create(output(Command::new(&script).args(["lock", kind]))).unwrap();
        lock.lock_shared().unwrap();
        let facts = output(Command::new(&script).args(["up", kind]));
        let facts: serde_json::Value = serde_json::from_str(&facts).unwrap();
        Self { port: facts["port"].as_u64().unwrap(), _lock: lock }
    }
}

fn table() -> String {
    // Enough to tell apart the runs of one process id.
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("cli_{}_{now}", std::process::id())
}

fn check(url: &str, make: impl Fn(&str), dialect: &str, table: &str) {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(30));
    let run = |args: &[&str]| {
        let mut command = bench.command(args);
        command.env("NAMEL3SS_SAFETY_URL", url);
        crate::Ran::from(command.output().unwrap())
    };
    run(&["tail"]).exits(5).says("no table");
    run(&["doctor"]).prints("its table is made at the first delivery");
    // The table that the DDL makes is the one that rows go to.
    make(&run(&["schema", "--dialect", dialect, "--table", table]).exits(0).stdout);
    run(&["ingest", &file]).exits(0);
    let lines = run(&["tail", "-n", "2", "-o", "json"]).exits(0).json_lines();
    assert_eq!((&lines[0]["event_id"], &lines[1]["event_id"]), (&"e29".into(), &"e30".into()));
    let lines = run(&["tail", "-o", "json", "action=block", "-n", "1"]).exits(0).json_lines();
    assert_eq!(lines[0]["metadata"]["n"], 30);
    let json = run(&["stats", "-o", "json"]).exits(0).json();
    assert_eq!(json["datasets"][0]["rows"], 30);
    assert_eq!(json["datasets"][0]["actions"]["block"], 15);
    assert_eq!(json["totals"]["flushed"], 30);
    run(&["doctor"]).exits(0).prints("stores each row once");
    let shown = json["datasets"][0]["dataset"].as_str().unwrap();
    assert!(shown.ends_with(&format!("?table={table}")) && !shown.contains('@'), "{shown}");
}

#[test]
fn postgres_is_fed_and_read() {
    let server = Server::up("postgres");
    let (port, table) = (server.port, table());
    let url = format!("postgresql://postgres@127.0.0.1:{port}/postgres?table={table}");
    let make = |ddl: &str| {
        let place = ["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "-X", "-q"];
        output(Command::new("psql").args(place).args(["-v", "ON_ERROR_STOP=1", "-c", ddl]));
    };
    check(&url, make, "postgres", &table);
}

#[test]
fn mariadb_is_fed_and_read() {
    let server = Server::up("mariadb");
    let (port, table) = (server.port, table());
    let client = |ddl: &str| {
        let place = ["--no-defaults", "-h", "127.0.0.1", "-P", &port.to_string(), "-u", "root"];
        output(Command::new("mariadb").args(place).args(["-e", ddl, "safety"]));
    };
    let url = format!("mariadb://root@127.0.0.1:{port}/safety?table={table}");
    check(&url, client, "mysql", &table);
}

#[test]
fn a_server_that_is_gone_is_told_without_its_password() {
    let bench = Bench::new();
    for url in ["postgresql://u:canary@127.0.0.1:1/d", "mysql://u@127.0.0.1:1/d?password=canary"] {
        let mut command = bench.command(["tail", "--from", url]);
        let ran = crate::Ran::from(command.output().unwrap()).exits(1).says("127.0.0.1:1/d");
        assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
        let file = bench.file("a.jsonl", events(2));
        let mut command = bench.command(["ingest", &file, "--to", url]);
        let ran = crate::Ran::from(command.output().unwrap()).exits(4);
        assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
        bench.run(["stats", "--from", url]).exits(1);
    }
    // The scheme was forgotten, so it was taken for a path, and the path was told.
    for command in [["tail", "--from"], ["stats", "--from"], ["journal", "ls"]] {
        let ran = bench.run([command[0], command[1], "u:canary@127.0.0.1:1/d"]);
        assert!(!format!("{ran:?}").contains("canary"), "{ran:?}");
    }
}
