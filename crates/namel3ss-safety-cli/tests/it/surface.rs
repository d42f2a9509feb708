//! The command line itself: help, pages, completions, colours, misspellings.

use crate::Bench;

const VERBS: [&str; 11] = [
    "ingest",
    "tail",
    "stats",
    "replay",
    "recover",
    "journal",
    "compact",
    "doctor",
    "schema",
    "completions",
    "man",
];

#[test]
fn every_verb_has_help_with_an_example() {
    let bench = Bench::new();
    let help = bench.run(["--help"]).exits(0).prints("Exit codes:").prints("NAMEL3SS_SAFETY_URL");
    for verb in VERBS {
        assert!(help.stdout.contains(verb), "{verb}");
        let help = bench.run([verb, "--help"]).exits(0).prints("Examples:");
        assert!(help.stdout.contains(&format!("n3-safety {verb}")), "{verb}");
        assert!(help.stderr.is_empty());
    }
    bench.run(["--version"]).exits(0).prints("n3-safety 0");
}

#[test]
fn misspelt_words_are_answered() {
    let bench = Bench::new();
    for (args, hint) in [
        (&["tial"][..], "'tail'"),
        (&["schema", "--dialect", "sqllite"], "did you mean \"sqlite\"?"),
        (&["schema", "--dialect", "oracle"], "use sqlite"),
        (&["tail", "polcy_name=x"], "did you mean 'policy_name'?"),
        (&["tail", "--from", "sqlit:///x.db"], "did you mean \"sqlite\"?"),
        (&["ingest", "--map", "usr_id=x"], "did you mean 'user_id'?"),
        (&["ingest", "--map-value", "action:x=blok"], "did you mean 'block'?"),
        (&["ingest", "--missing-action", "alrt"], "'alert'"),
        (&["ingest", "--dedupe", "eventid"], "event_id"),
        (&["tail", "--since", "soon"], "ISO 8601"),
        (&["tail", "--output", "jsn"], "'json'"),
        (&["completions", "bsh"], "'bash'"),
        (&["ingest", "--format", "ndjsn"], "'ndjson'"),
        (&["replya"], "'replay'"),
        (&["compact", "a.csv", "--target-size", "big"], "such as 128MB"),
        (&["compact", "a.csv", "--target-size", "1TB"], "use bytes"),
        (&["compact", "a.csv", "--target-size", "9GB"], "512MiB"),
        (&["compact", "a.csv"], "Parquet objects"),
    ] {
        let ran = bench.run(args).exits(2).says(hint);
        assert!(ran.stdout.is_empty(), "{args:?}");
    }
    bench.run::<&str>([]).exits(2).says("Usage:");
}

#[test]
fn no_password_is_ever_printed() {
    let bench = Bench::new();
    for args in [
        &["tail", "--from", "postgresql://ann:CANARY@db/x"][..],
        &["tail", "postgresql://ann:CANARY@db/x"],
        &["replay", "--to", "postgresqll://ann:CANARY@db/x", "postgres://ann:CANARY@db/x"],
        &["ingest", "postgresql://ann:CANARY@db/x"],
        &["postgresql://ann:CANARY@db/x"],
        &["tail", "--from", "password='a CANARY b'"],
        &["tail", "--from", "host=db password = CANARY"],
        &["tail", "--from", "postgresql://ann:my CANARY@db/x"],
        &["tail", "--since", "mysql://h/d?user=u&password=CANARY"],
    ] {
        let ran = bench.run(args);
        assert_ne!(ran.code, 0, "{args:?}");
        assert!(!format!("{ran:?}").contains("CANARY"), "{ran:#?}");
    }
    let mut command = bench.command(["doctor"]);
    command.env("NAMEL3SS_SAFETY_URL", "postgresqll://ann:CANARY@db/x");
    let ran = crate::Ran::from(command.output().unwrap()).exits(5);
    assert!(!format!("{ran:?}").contains("CANARY"), "{ran:#?}");
}

#[test]
fn control_characters_in_arguments_come_out_escaped() {
    let bench = Bench::new();
    // `Ran` itself checks that no such byte is printed.
    bench.run(["tail", "x\u{1b}]0;evil\u{7}=1"]).exits(2);
    bench.run(["\u{1b}[31m"]).exits(2);
    bench.run(["tail", "--from", "no\u{1b}[2Jthere.csv"]).exits(5).says("no\\x1b[2Jthere.csv");
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", crate::events(2));
    let plain = bench.run(["tail", "--from", &file]).exits(0);
    assert!(!plain.stdout.contains('\u{1b}'));
    let output = bench.command(["tail", "--from", &file, "--color", "always"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("\u{1b}[31mblock"));
    let mut never = bench.command(["tail", "--from", &file, "--color", "never"]);
    crate::Ran::from(never.output().unwrap()).exits(0);
    let mut quiet = bench.command(["tail", "--from", &file]);
    crate::Ran::from(quiet.env("NO_COLOR", "1").output().unwrap()).exits(0);
}

#[test]
fn every_shell_gets_its_script_and_every_verb_its_page() {
    let bench = Bench::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        bench.run(["completions", shell]).exits(0).prints("n3-safety");
    }
    let json = bench.run(["completions", "bash", "-o", "json"]).exits(0).json();
    assert_eq!(json["shell"], "bash");
    bench.run(["man"]).exits(0).prints(".TH n3-safety 1").prints("Exit codes");
    let pages = bench.path("man1");
    let json = bench.run(["man", "--dir", pages.to_str().unwrap(), "-o", "json"]).exits(0).json();
    for verb in VERBS {
        let page = std::fs::read_to_string(pages.join(format!("n3-safety-{verb}.1"))).unwrap();
        assert!(page.contains(&format!(".TH n3-safety-{verb} 1")), "{verb}");
        assert!(json["pages"][format!("n3-safety-{verb}")].is_string());
    }
    let file = bench.file("file", "");
    bench.run(["man", "--dir", &file]).exits(1).says("failed to write");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    use std::io::Read as _;
    let bench = Bench::new();
    let file = bench.file("a.jsonl", crate::events(20_000));
    let mut command = bench.command(["tail", "-n", "20000", "-o", "json", "--from", &file]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    drop(stdout);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_under_standard_output_is_a_failure() {
    let bench = Bench::new();
    let file = bench.file("a.jsonl", crate::events(2));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = bench.command(["tail", "--from", &file]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("write to standard output"));
}

#[test]
fn schemas_are_printed_for_each_dialect() {
    let bench = Bench::new();
    for dialect in namel3ss_safety_stores::Dialect::WORDS {
        let ddl = bench.run(["schema", "--dialect", dialect]).exits(0).prints("CREATE TABLE");
        for field in namel3ss_safety::FIELDS {
            assert!(ddl.stdout.contains(field), "{dialect}: {field}");
        }
        let json = bench.run(["schema", "--dialect", dialect, "-o", "json"]).exits(0).json();
        assert_eq!(json["dialect"], dialect);
        assert!(json["ddl"].as_str().unwrap().contains("journal_id"));
    }
    bench.run(["schema", "--dialect", "sqlite", "--table", "a;b"]).exits(2);
}
