//! Whoever compacts and is killed, anywhere.

use std::process::Stdio;
use std::time::Duration;

use namel3ss_safety_stores::objects::{CompactOptions, CompactStep, Place, compact};
use namel3ss_safety_stores::open;

use super::super::server::Server;
use super::super::support::all;
use super::{
    BATCHES, Folder, JOURNALS, TOTAL, batch, compacted, each_once, files, fill, options, store,
};
use super::{raw, s3, small};
use crate::jobs::helper;

const JOB: &str = "N3_SAFETY_COMPACT_JOB";

/// The process that dies after so many steps, or is killed.
pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let (url, steps) = job.split_once('\n').expect("two lines");
    let mut steps: u64 = steps.parse().expect("a number");
    let mut step = |step: CompactStep<'_>| {
        if step == CompactStep::Read {
            return true;
        }
        if steps == 0 {
            std::process::abort();
        }
        steps -= 1;
        true
    };
    let _ = compact(Place::parse(url).expect("a URL"), &small(), &mut step).expect("compacted");
}

fn start(url: &str, steps: u64) -> std::process::Child {
    helper("objects::compact::crashes")
        .env(JOB, format!("{url}\n{steps}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child process starts")
}

/// Has a compaction die at its first step, another one at its second, and so on, until one ends.
fn dies_everywhere(url: &str, check: impl Fn()) {
    for steps in 0.. {
        assert!(steps < 200, "it never ends");
        let ended = start(url, steps).wait().expect("it ends").success();
        check();
        // A row that is sent again meanwhile.
        let again = batch(JOURNALS[0], steps % BATCHES);
        store(&*open(url).expect("a URL"), &again);
        if ended {
            break;
        }
    }
}

#[test]
fn a_folder_whose_compactor_dies_anywhere_has_every_row_once_at_any_moment() {
    let folder = Folder::new();
    fill(&folder.url);
    dies_everywhere(&folder.url, || each_once(&raw(&folder.path()), TOTAL));
    // It begins anew each time, where one that goes on has less to do.
    for steps in 0..8 {
        let folder = Folder::new();
        fill(&folder.url);
        let _ = start(&folder.url, steps).wait().expect("it ends");
        each_once(&raw(&folder.path()), TOTAL);
        compacted(&folder.url, &options());
        each_once(&raw(&folder.path()), TOTAL);
        assert_eq!(files(&folder.path()).len(), 1);
    }
}

#[test]
fn a_bucket_whose_compactor_dies_anywhere_loses_nothing_and_is_mended_by_the_next() {
    let server = Server::start("s3");
    let url = s3(server.port, "dies");
    fill(&url);
    dies_everywhere(&url, || each_once(&all(&url), TOTAL));
    for steps in 0..6 {
        let url = s3(server.port, &format!("dies-{steps}"));
        fill(&url);
        let _ = start(&url, steps).wait().expect("it ends");
        let [day] = &compacted(&url, &options())[..] else { panic!("one day") };
        // One object of as many rows as there are: none is there twice.
        assert_eq!(day.objects[1], 1);
        each_once(&all(&url), TOTAL);
        let read = compacted(&url, &CompactOptions { dry_run: true, ..options() });
        assert_eq!((read[0].objects, read[0].mended), ([1, 1], 0));
    }
}

#[test]
fn a_folder_whose_compactor_is_killed_at_any_time_has_every_row_once() {
    let folder = Folder::new();
    let mut random = fastrand::Rng::new();
    for round in 0..12 {
        fill(&folder.url);
        let mut child = start(&folder.url, u64::MAX);
        std::thread::sleep(Duration::from_micros(random.u64(0..60_000)));
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
        each_once(&raw(&folder.path()), TOTAL);
        if round % 4 == 3 {
            compacted(&folder.url, &options());
            each_once(&raw(&folder.path()), TOTAL);
            std::fs::remove_dir_all(folder.path()).expect("it is removed");
        }
    }
}
