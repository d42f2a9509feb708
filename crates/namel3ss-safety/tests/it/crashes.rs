//! Processes that share a file, and processes that are killed while they append to it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use namel3ss_safety::JournalId;

use crate::adapters::{FILES, open, read, rows};
use crate::children::{ROWS, start};

/// That each journal has the seqs 1 to `last`, once each.
fn once_each(path: &Path, journals: &[JournalId], last: u64) {
    let mut times: BTreeMap<(JournalId, u64), u32> = BTreeMap::new();
    for row in read(path) {
        let (journal, seq) = row.id.expect("every row is ours");
        *times.entry((journal, seq.0)).or_default() += 1;
    }
    for journal in journals {
        for seq in 1..=last {
            assert_eq!(times.remove(&(*journal, seq)), Some(1), "{journal} {seq}");
        }
    }
    assert!(times.is_empty(), "rows that nobody sent: {times:?}");
}

#[test]
fn two_processes_of_two_threads_store_every_event_once() {
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let journals: Vec<JournalId> = (0..3).map(|_| JournalId::generate()).collect();
        // The middle journal is sent by both.
        let children = [&journals[..2], &journals[1..]].map(|ids| start(&path, ids, 8));
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        once_each(&path, &journals, 8 * ROWS);
    }
}

#[test]
fn a_killed_process_leaves_a_file_that_the_next_one_completes() {
    const KILLS: u64 = 36;
    const BATCHES: u64 = 16;
    for name in FILES {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        let mut journals = Vec::new();
        for kill in 0..KILLS / FILES.len() as u64 {
            let ids = [JournalId::generate(), JournalId::generate()];
            let mut child = start(&path, &ids, BATCHES);
            // From before its first batch to after many: where it is cut is up to the machine.
            std::thread::sleep(Duration::from_millis(3 + kill * 3));
            child.kill().unwrap();
            child.wait().unwrap();
            journals.extend(ids);
            // What a logger does after a crash: everything unacknowledged is sent again, here all.
            let adapter = open(&path);
            for id in ids {
                for batch in 0..BATCHES {
                    adapter.insert(&rows(id, batch * ROWS + 1, ROWS).batch()).unwrap();
                }
            }
        }
        once_each(&path, &journals, BATCHES * ROWS);
    }
}
