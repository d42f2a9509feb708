//! Several writers at once, killed in the middle and started again: every row is there once.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use namel3ss_safety::{AdapterError, Failure, JournalId};
use namel3ss_safety_stores::open;

use super::support::{all, s3, with_table};
use crate::jobs::helper;
use crate::objects::server::Server;
use crate::objects::support::rows;

const JOB: &str = "N3_SAFETY_DELTA_JOB";
const WRITERS: usize = 4;

/// The process that is killed. It sends so many batches of ten rows.
pub(crate) fn child() {
    let job = std::env::var(JOB).expect("a job");
    let mut words = job.split('\n');
    let mut word = || words.next().expect("three lines");
    let (url, journal, batches) = (word(), word().parse().expect("an id"), word().parse());
    let adapter = open(url).expect("a URL");
    for batch in 0..batches.expect("a number") {
        let rows = rows(journal, batch * 10 + 1, 10);
        // On a busy machine the store may be late; the sink would try again as well.
        let late = |error: &AdapterError| *error.failure() == Failure::Transient;
        let tries = std::iter::repeat_with(|| adapter.insert(&rows.batch())).take(20);
        let mut settled = tries.filter(|done| !done.as_ref().is_err_and(late));
        settled.next().expect("the store answers at last").expect("stored");
    }
}

fn start(url: &str, journal: JournalId, batches: u64) -> Child {
    helper("delta::kills")
        .env(JOB, format!("{url}\n{journal}\n{batches}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child process starts")
}

/// Each writer has a journal of its own, but for the last, which sends what the first does.
fn killed_again_and_again(url: &str, batches: u64, kills: u32) {
    let mut journals: Vec<JournalId> = (1..WRITERS).map(|_| JournalId::generate()).collect();
    journals.push(journals[0]);
    let mut random = fastrand::Rng::new();
    let mut writers: Vec<Option<Child>> =
        journals.iter().map(|journal| Some(start(url, *journal, batches))).collect();
    let mut left = kills;
    let begun = Instant::now();
    while writers.iter().any(Option::is_some) {
        assert!(begun.elapsed() < Duration::from_secs(540), "the writers come to an end");
        std::thread::sleep(Duration::from_millis(random.u64(20..150)));
        for (writer, journal) in writers.iter_mut().zip(&journals) {
            let Some(child) = writer else { continue };
            match child.try_wait().expect("a child can be asked") {
                Some(status) if left == 0 => {
                    assert!(status.success(), "a writer that is not killed succeeds");
                    *writer = None;
                }
                // It is done before enough have been killed: it sends everything once more.
                Some(status) => {
                    assert!(status.success(), "a writer that is not killed succeeds");
                    *writer = Some(start(url, *journal, batches));
                }
                None if left > 0 && random.u8(0..3) == 0 => {
                    child.kill().expect("it can be killed");
                    child.wait().expect("it ends");
                    left -= 1;
                    *writer = Some(start(url, *journal, batches));
                }
                None => {}
            }
        }
    }
    let mut there: Vec<_> = all(url).into_iter().map(|row| row.id.expect("its place")).collect();
    there.sort_unstable();
    let stored = there.len();
    there.dedup();
    let logged = (WRITERS as u64 - 1) * batches * 10;
    assert_eq!((stored as u64, there.len() as u64), (logged, logged), "stored, different, logged");
}

#[test]
fn four_writers_to_a_folder_are_killed() {
    with_table(|_, url| killed_again_and_again(&format!("{url}?checkpoint=7"), 25, 12));
}

#[test]
fn four_writers_to_s3_are_killed() {
    let server = Server::start("s3");
    killed_again_and_again(&s3(server.port, "kills?checkpoint=7"), 15, 6);
}

#[test]
#[ignore = "takes minutes: ./prove runs it"]
fn four_writers_are_killed_for_long() {
    with_table(|_, url| killed_again_and_again(&format!("{url}?checkpoint=10"), 200, 300));
    let server = Server::start("s3");
    killed_again_and_again(&s3(server.port, "kills?checkpoint=10"), 100, 100);
}
