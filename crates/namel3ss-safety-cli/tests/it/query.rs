//! `query`: formats, limits and mistakes.

use std::time::{Duration, Instant};

use crate::{Bench, events};

#[test]
fn each_format_says_the_same() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    let sql = "select action, count(*) n, null x, 0.5 r from events group by 1 order by 1;";
    let query =
        |format: &str| bench.run(["query", "--from", &file, "-o", format, sql]).exits(0).stdout;
    assert_eq!(query("table"), "action  n  x    r\nallow   3  -  0.5\nblock   2  -  0.5\n");
    assert_eq!(query("csv"), "action,n,x,r\nallow,3,,0.5\nblock,2,,0.5\n");
    let object =
        |action: &str, n: u8| format!("{{\"action\":\"{action}\",\"n\":{n},\"x\":null,\"r\":0.5}}");
    let (allow, block) = (object("allow", 3), object("block", 2));
    assert_eq!(query("ndjson"), format!("{allow}\n{block}\n"));
    assert_eq!(query("json"), format!("[{allow}\n,{block}\n]\n"));
    assert_eq!(
        query("markdown"),
        "| action | n | x | r |\n| --- | --- | --- | --- |\n| allow | 3 | - | 0.5 |\n| block | 2 | - | 0.5 |\n"
    );
    // Off a terminal, an object a line.
    let plain = bench.run(["query", "--from", &file, sql]).exits(0).stdout;
    assert_eq!(plain, query("ndjson"));
    let none = ["query", "--from", &file, "-o", "json", "select 1 a, 2 a from events where 1 = 2"];
    assert_eq!(bench.run(none).exits(0).stdout, "[]\n");
    let twice = bench.run(["query", "--from", &file, "select 1 a, 2 a"]).exits(0).stdout;
    assert_eq!(twice, "{\"a\":1,\"a:1\":2}\n");
    // Other verbs have no such formats.
    bench.run(["tail", "-o", "csv", "--from", &file]).exits(2).says("text or json");
}

#[test]
fn statements_come_from_files_and_values_from_parameters() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    let sql =
        bench.file("q.sql", "-- all\nselect count(*) n, :user u, :n m, :code c from events;\n");
    let params = ["--param", "user=o'b\"c", "--param", "n=5", "--param", "code=007"];
    let args = ["query", "--from", &file, "-f", &sql].into_iter().chain(params);
    assert_eq!(
        bench.run(args).exits(0).stdout,
        "{\"n\":5,\"u\":\"o'b\\\"c\",\"m\":5,\"c\":\"007\"}\n"
    );
    let fed = bench.feed(["query", "--from", &file, "-f", "-"], b"select 1 one");
    assert_eq!(fed.exits(0).stdout, "{\"one\":1}\n");
    bench.run(["query", "select :x"]).exits(2).says(":x has no value");
    bench.run(["query", "--param", "x=1", "select 1"]).exits(2).says("no parameter 'x'");
    bench.run(["query"]).exits(2);
    bench.run(["query", "-f", "nothing.sql"]).exits(2).says("nothing.sql");
}

#[test]
fn tables_have_names() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    let other = bench.file("b.csv", "action\nredact\n");
    bench.run(["ingest", &file]).exits(0);
    let count = |args: &[&str]| bench.run([&["query"], args].concat()).exits(0).stdout;
    // The default dataset.
    assert_eq!(count(&["select count(*) n from events"]), "{\"n\":5}\n");
    let named = format!("old={other}");
    assert_eq!(count(&["--from", &named, "select count(*) n from events, old"]), "{\"n\":5}\n");
    let both = ["--from", &other, "--from", &named, "select count(*) n from events, old"];
    assert_eq!(count(&both), "{\"n\":1}\n");
    bench.run(["query", "--from", &file, "--from", &other, "select 1"]).exits(2).says("NAME=URL");
    bench.run(["query", "--from", "nothing.csv", "select * from events"]).exits(5);
    bench.run(["query", "--from", "nothing.csv", "select 1"]).exits(0);
}

#[test]
fn mistakes_are_pointed_at() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(1));
    let wrong = |sql: &str| bench.run(["query", "--from", &file, sql]).exits(2).stderr;
    assert_eq!(
        wrong("select polcy_name\nfrom events"),
        "n3-safety: no column 'polcy_name': did you mean policy_name?\n  select polcy_name\n         ^^^^^^^^^^\n"
    );
    assert!(wrong("select * from evnts").contains("no table 'evnts': did you mean events?"));
    assert!(wrong("select 1; select 2").contains("one statement"));
    assert!(wrong("drop table events").contains("n3-safety: "));
    assert!(wrong("attach 'x.db' as x").contains("ATTACH is not allowed"));
    assert!(!bench.path("x.db").exists());
    assert!(!wrong("select '\u{1b}[2J' from x\u{1b}[2J").contains('\u{1b}'));
}

#[test]
fn what_is_cut_is_said() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(5));
    let all = "select event_id from events";
    let cut = bench.run(["query", "--from", &file, "--limit", "2", all]).exits(4);
    assert_eq!(cut.stderr, "n3-safety: cut after 2 rows (--limit)\n");
    assert_eq!(cut.stdout.lines().count(), 2);
    let whole = bench.run(["query", "--from", &file, "--limit", "5", all]).exits(0);
    assert_eq!(whole.stderr, "");
    let endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select i from n";
    let began = Instant::now();
    let cut = bench.run(["query", "-o", "json", "--timeout", "300ms", endless]).exits(4);
    assert!(cut.stderr.contains("(--timeout 300ms)"), "{}", cut.stderr);
    assert!(began.elapsed() < Duration::from_secs(30));
    let rows: serde_json::Value = serde_json::from_str(&cut.stdout).unwrap();
    assert!(rows.as_array().is_some_and(|rows| !rows.is_empty()));
    bench
        .run(["query", "-o", "table", endless])
        .exits(4)
        .says("cut after 10000 rows (set another with --limit)");
    bench.run(["query", "select zeroblob(1e9)"]).exits(4).says("too big");
    let bad = bench.file("b.jsonl", "{\"action\":\"allow\"}\n5\n");
    bench
        .run(["query", "--from", &bad, "select action from events"])
        .exits(4)
        .says("1 rows of events");
}

/// What a statement sorts or groups is in memory: the process has a limit, and SQLite says that it met it.
#[test]
#[cfg(target_os = "linux")]
fn memory_has_a_limit() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", events(1));
    let much = "with recursive n(i, b) as (select 1, randomblob(1000000) union
        select i + 1, randomblob(1000000) from n limit 2000) select count(*) c from n";
    let args = ["query", "--from", &file, "--memory", "300", "--timeout", "10m", much];
    bench.run(args).exits(4).says("out of memory");
}

#[test]
fn hostile_texts_do_nothing_to_a_terminal() {
    let bench = Bench::new();
    let text = "\u{1b}[2J|<b>\r\n\u{202e}x";
    let line = serde_json::json!({"action": "block", "reason": text}).to_string();
    let file = bench.file("a.jsonl", line);
    let query = |format: &str| {
        bench
            .run(["query", "--from", &file, "-o", format, "select reason from events"])
            .exits(0)
            .stdout
    };
    for format in ["table", "csv", "json", "ndjson", "markdown"] {
        let printed = query(format);
        assert!(!printed.contains(['\u{1b}', '\u{202e}', '\r']), "{format}: {printed:?}");
    }
    assert!(query("markdown").contains("\\|&lt;b>"), "{}", query("markdown"));
    // A program reads back what was logged.
    assert_eq!(query("csv"), "reason\n\\x1b[2J|<b>\\r\\n\\u{202e}x\n");
    let json: serde_json::Value = serde_json::from_str(&query("ndjson")).unwrap();
    assert_eq!(json["reason"], text);
}
