//! A reader skips what need not be read, and goes on with what is new.

use namel3ss_safety::conformance::{buffer, plain_event};
use namel3ss_safety::{JournalId, SafetyEvent, Timestamp};
use namel3ss_safety_stores::objects::{Place, Reader};
use namel3ss_safety_stores::open;

use super::server::Server;

fn seqs_of(reader: &mut Reader) -> Vec<u64> {
    reader.map(|row| row.expect("a whole row").id.expect("ours").1.0).collect()
}

fn reader(url: &str) -> Reader {
    Reader::open(Place::parse(url).expect("a URL")).expect("a reader")
}

#[test]
fn row_groups_of_other_times_are_not_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("file://{}/", folder.path().display());
    let noon: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    let at = |seq: u64| Timestamp::from_micros(noon.micros() + seq.cast_signed() * 10_000);
    let events: Vec<SafetyEvent> =
        (1..=60_000).map(|n| SafetyEvent { timestamp: at(n), ..plain_event(n) }).collect();
    open(&url).expect("a URL").insert(&buffer(JournalId::generate(), 1, &events).batch()).unwrap();
    let day = folder.path().join("year=2026/month=03/day=01");
    let file = std::fs::read_dir(day).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&file).unwrap();
    // The first row group is damaged, and nobody notices who wants later rows.
    bytes[4..10_000].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let mut since = reader(&url);
    since.only_since(at(55_000));
    since.look().expect("a listing");
    assert_eq!(seqs_of(&mut since).into_iter().min(), Some(50_001));
    let mut newest = reader(&url);
    newest.look_at_newest(5).expect("a listing");
    assert_eq!(seqs_of(&mut newest), (50_001..=60_000).collect::<Vec<_>>());
    let mut all = reader(&url);
    all.look().expect("a listing");
    assert!(all.any(|row| row.is_err()));
}

#[test]
fn a_bucket_is_read_on_and_on() {
    let server = Server::start("s3");
    for format in ["parquet", "jsonl&compression=zstd"] {
        let url = format!(
            "s3://safety/{format}?format={format}&endpoint=http://127.0.0.1:{}&access_key_id=test\
             &secret_access_key=testtest",
            server.port
        )
        .replacen("&compression=zstd", "", 1);
        // Stored in the same second they are read by their names.
        let journal = JournalId([2; 16]);
        let adapter = open(&url).expect("a URL");
        let rows = |journal, first: u64, count| {
            let now = |n| SafetyEvent { timestamp: Timestamp::now(), ..plain_event(n) };
            let events: Vec<SafetyEvent> = (first..first + count).map(now).collect();
            buffer(journal, first, &events)
        };
        adapter.insert(&rows(JournalId([1; 16]), 1, 3).batch()).expect("stored");
        adapter.insert(&rows(journal, 101, 10).batch()).expect("stored");
        let mut all = reader(&url);
        all.look().expect("a listing");
        assert_eq!(seqs_of(&mut all).len(), 13);
        let mut newest = reader(&url);
        newest.look_at_newest(2).expect("a listing");
        assert_eq!(seqs_of(&mut newest).last(), Some(&110));
        adapter.insert(&rows(journal, 111, 2).batch()).expect("stored");
        for reader in [&mut all, &mut newest] {
            reader.look().expect("a listing");
            assert_eq!(seqs_of(reader), [111, 112]);
            reader.look().expect("a listing");
            assert_eq!(seqs_of(reader), [0_u64; 0]);
        }
    }
}
