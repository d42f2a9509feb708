//! Whoever compacts, writes, sends again and reads at the same time.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};

use namel3ss_safety_stores::objects::{CompactOptions, CompactStep, Place, compact};
use namel3ss_safety_stores::open;

use super::super::server::{Server, python_with};
use super::super::support::all;
use super::{BATCHES, Folder, JOURNALS, ROWS, TOTAL, batch, compacted, each_once, fill, options};
use super::{raw, s3, small, store};

#[test]
fn a_second_compactor_of_a_folder_is_refused() {
    let folder = Folder::new();
    fill(&folder.url);
    let place = || Place::parse(&folder.url).expect("a URL");
    let mut refused = 0;
    let mut step = |step: CompactStep<'_>| {
        if matches!(step, CompactStep::Day { .. }) {
            let error = compact(place(), &options(), &mut |_| true).unwrap_err();
            assert!(error.to_string().contains("being compacted already"), "{error}");
            refused += 1;
        }
        true
    };
    compact(place(), &options(), &mut step).expect("compacted");
    assert_eq!(refused, 1);
    each_once(&raw(&folder.path()), TOTAL);
    // Somebody who wants it to end is heard before anything is merged.
    fill(&folder.url);
    let (_, ended) = compact(place(), &options(), &mut |_| false).expect("stopped");
    assert!(!ended);
}

/// Writers that store new batches and send old ones again, while `compactors` compact.
fn at_once(url: &str, compactors: usize) {
    fill(url);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let compactors: Vec<_> = (0..compactors)
            .map(|_| scope.spawn(|| (0..4).for_each(|_| drop(compacted(url, &small())))))
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let adapter = open(url).expect("a URL");
                let mut random = fastrand::Rng::new();
                while !done.load(Ordering::Relaxed) {
                    let again = batch(JOURNALS[random.usize(..2)], random.u64(..BATCHES + 4));
                    store(&*adapter, &again);
                }
            });
        }
        let ended: Vec<_> = compactors.into_iter().map(|one| one.join()).collect();
        done.store(true, Ordering::Relaxed);
        assert!(ended.iter().all(Result::is_ok));
    });
    let adapter = open(url).expect("a URL");
    for journal in JOURNALS {
        for n in 0..BATCHES + 4 {
            store(&*adapter, &batch(journal, n));
        }
    }
    let [day] = &compacted(url, &options())[..] else { panic!("one day") };
    each_once(&all(url), JOURNALS.len() * ((BATCHES + 4) * ROWS) as usize);
    assert_eq!(day.objects[1], 1, "{day:?}");
    let planned = compacted(url, &CompactOptions { dry_run: true, ..options() });
    assert_eq!((planned[0].mended, planned[0].rows), (0, 0));
}

#[test]
fn compactors_of_a_bucket_and_writers_that_send_again_work_at_once() {
    let server = Server::start("s3");
    at_once(&s3(server.port, "at-once"), 2);
}

#[test]
fn a_compactor_of_a_folder_and_writers_that_send_again_work_at_once() {
    let folder = Folder::new();
    at_once(&folder.url, 1);
    each_once(&raw(&folder.path()), all(&folder.url).len());
}

#[test]
fn what_is_stored_once_while_a_folder_is_exchanged_stays() {
    const MORE: u64 = 150;
    let folder = Folder::new();
    fill(&folder.url);
    std::thread::scope(|scope| {
        let writers: Vec<_> = JOURNALS
            .map(|journal| {
                let adapter = open(&folder.url).expect("a URL");
                scope.spawn(move || {
                    for n in BATCHES..BATCHES + MORE {
                        store(&*adapter, &batch(journal, n));
                    }
                })
            })
            .into();
        while !writers.iter().all(|writer| writer.is_finished()) {
            compacted(&folder.url, &options());
        }
    });
    each_once(&raw(&folder.path()), JOURNALS.len() * ((BATCHES + MORE) * ROWS) as usize);
}

/// Has a reader of other people's count while a folder or bucket is written to and compacted.
fn watched(url: &str, python: &str, arguments: &[&str]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/it/objects/compact/watch.py");
    fill(url);
    let mut reader = Command::new(python)
        .arg(script)
        .args(arguments)
        .arg(TOTAL.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python runs");
    let mut out = std::io::BufReader::new(reader.stdout.take().expect("it is piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut out, &mut line).expect("it says that it reads");
    assert_eq!(line.trim(), "reading");
    let adapter = open(url).expect("a URL");
    for round in 0..8 {
        // Some more small ones, and some that are there already.
        for n in 0..4 {
            for journal in JOURNALS {
                let next = batch(journal, BATCHES + round * 4 + n);
                store(&*adapter, &next);
                store(&*adapter, &batch(journal, n));
            }
        }
        let options = CompactOptions { linger: CompactOptions::LINGER, ..options() };
        compacted(url, &options);
    }
    drop(reader.stdin.take());
    let mut said = String::new();
    std::io::Read::read_to_string(&mut out, &mut said).expect("it says what it saw");
    assert!(reader.wait().expect("it ends").success(), "{said}");
    each_once(&all(url), TOTAL + 8 * 4 * JOURNALS.len() * ROWS as usize);
    said
}

#[test]
fn readers_of_a_folder_see_each_row_once_or_an_error() {
    let python = python_with(&["duckdb", "pandas", "polars", "pyarrow", "pytz"]);
    let folder = Folder::new();
    let path = folder.path().display().to_string();
    let said = watched(&folder.url, &python, &["folder", &path]);
    assert!(said.contains("duckdb") && said.contains("polars"), "{said}");
    each_once(&raw(&folder.path()), all(&folder.url).len());
}

#[test]
fn readers_of_a_bucket_miss_no_row() {
    let python = python_with(&["duckdb", "pandas", "polars", "pyarrow", "pytz"]);
    let server = Server::start("s3");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let said = watched(&s3(server.port, "watch"), &python, &["bucket", "safety/watch", &endpoint]);
    assert!(said.contains("pyarrow"), "{said}");
}
