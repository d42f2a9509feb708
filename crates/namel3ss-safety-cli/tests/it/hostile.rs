//! What comes from prompts, and what no program wrote on purpose.

use crate::Bench;

const EVIL: &str = "\u{1b}]52;c;ZXZpbA==\u{7}\u{202e}\u{9b}2J\r\nforged line\t\u{7f}\u{0}";

#[test]
fn events_can_not_move_the_cursor() {
    let bench = Bench::new();
    let event = serde_json::json!({"event_id": EVIL, "reason": EVIL, "policy_name": EVIL,
        "severity": EVIL, "categories": [EVIL], "metadata": {EVIL: EVIL}});
    let file = bench.file("a.jsonl", format!("{event}\n"));
    // `Ran` checks for the bytes; here is what it can't see.
    let ran = bench.run(["tail", "--from", &file]).exits(0);
    assert_eq!(ran.stdout.lines().count(), 1, "{ran:#?}");
    assert!(!ran.stdout.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}' | '\u{202e}')));
    let json = bench.run(["tail", "-o", "json", "--from", &file]).exits(0);
    assert!(!json.stdout.chars().any(|c| matches!(c, '\u{80}'..='\u{9f}' | '\u{202e}')));
    assert_eq!(json.json()["reason"], EVIL);
    bench.run(["stats", "--from", &file]).exits(0);
    let raw = bench.command(["tail", "--raw", "--from", &file]).output().unwrap();
    assert!(String::from_utf8_lossy(&raw.stdout).contains('\u{1b}'));
}

#[test]
fn junk_is_counted_and_nothing_panics() {
    let bench = Bench::new();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let nested = format!("{{\"metadata\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000));
    let long = format!("{{\"reason\":\"{}\"}}", "x".repeat(10 << 20));
    for (name, content) in [
        ("deep.jsonl", deep.into_bytes()),
        ("nested.json", nested.into_bytes()),
        ("utf8.jsonl", b"{\"reason\":\"\xff\xfe\"}\n".to_vec()),
        ("zeros.jsonl", vec![0; 100_000]),
        ("quote.csv", b"action\n\"block\n".to_vec()),
        ("braces.json", b"}}}]]]{{{".to_vec()),
    ] {
        let file = bench.file(name, content);
        let ran = bench.run(["tail", "--from", &file]);
        assert!(matches!(ran.code, 0 | 4), "{name}: {ran:#?}");
        assert!(!ran.stderr.contains("panicked"), "{name}: {ran:#?}");
    }
    let file = bench.file("long.jsonl", long);
    bench.run(["tail", "--from", &file, "-o", "json"]).exits(0);
}

#[test]
fn a_database_that_is_none_is_an_error() {
    let bench = Bench::new();
    let file = bench.file("a.db", "SQLite format 3\0 and then nothing of the kind");
    bench.run(["tail", "--from", &file]).exits(1).says("a.db");
    let file = bench.file("b.db", "");
    bench.run(["stats", "--from", &file]).exits(5).says("there is no table");
}
