//! `doctor`: what is wrong, and the code that says so.

use crate::{Bench, Ran};

#[cfg(unix)]
#[test]
fn a_home_that_others_can_read_is_a_finding_with_a_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    std::fs::create_dir(bench.home()).unwrap();
    std::fs::set_permissions(bench.home(), PermissionsExt::from_mode(0o755)).unwrap();
    bench.run(["doctor"]).exits(5).prints("mode 0755").prints("-> chmod 700");
    std::fs::set_permissions(bench.home(), PermissionsExt::from_mode(0o700)).unwrap();
    let json = bench.run(["doctor", "-o", "json"]).exits(0).json();
    assert_eq!(json["healthy"], true);
    assert!(json["findings"].as_array().unwrap().len() > 2);
}

#[test]
fn fallback_files_that_wait_are_for_the_record() {
    let bench = Bench::new();
    std::fs::create_dir_all(bench.home().join("fallback")).unwrap();
    let name = "home/fallback/safety_events_20260301_120000_1.json";
    bench.file(name, "[]");
    bench.run(["doctor"]).exits(3).prints("1 fallback file").prints("n3-safety replay");
    // Those of programs that were given no folder.
    let bench = Bench::new();
    std::fs::create_dir(bench.path("given-none")).unwrap();
    bench.file("given-none/safety_events_20260301_120000_1.json", "[{}]");
    bench.run(["doctor"]).exits(3).prints("1 fallback file").prints("given-none");
    bench.run(["replay", "--to", "out.jsonl"]).exits(0).prints("stored 1 rows");
}

#[test]
fn a_file_in_the_home_folders_place_is_a_finding() {
    let bench = Bench::new();
    bench.file("home", "");
    bench.run(["doctor"]).exits(5).prints("is no folder");
}

#[test]
fn a_url_that_makes_no_sense_is_a_finding() {
    let bench = Bench::new();
    let mut command = bench.command(["doctor"]);
    command.env("NAMEL3SS_SAFETY_URL", "postgressql://ann:secret@db/x");
    let ran = Ran::from(command.output().unwrap()).exits(5).prints("did you mean");
    assert!(!ran.stdout.contains("secret"));
}
