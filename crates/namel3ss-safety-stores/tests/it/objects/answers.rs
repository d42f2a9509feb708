//! Stores answer oddly: errors that pass with a status that stays, the wrong region, a token that is over.

use namel3ss_safety::{Failure, JournalId, Level, NoticeKind};
use namel3ss_safety_stores::open;

use super::server::Server;
use super::stores::{gcs, s3, said_with};
use super::support::{rows, seqs};
use super::xml_store::{Demands, Honours, XmlStore};

/// They counted as answers that stay, since their status is 400, and the batch was filed at once.
#[test]
fn what_passes_is_repeated_whatever_its_status() {
    let bad = "400 Bad Request";
    for code in ["RequestTimeout", "KMS.ThrottlingException"] {
        for (honours, url) in [
            (Honours::Amazon, s3 as fn(u16, &str) -> String),
            (Honours::Google, gcs as fn(u16, &str) -> String),
        ] {
            let store = XmlStore::start(honours);
            let url = url(store.port, "p?format=jsonl");
            let adapter = open(&url).expect("a URL");
            store.refuse("events_", &[(bad, code)]);
            adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).expect("repeated by itself");
            assert_eq!((store.refusals(), seqs(&url)), (0, vec![1, 2, 3, 4, 5]));
        }
    }
    // What lasts is left to the sink's attempts.
    let store = XmlStore::start(Honours::Amazon);
    let adapter = open(&s3(store.port, "p?format=jsonl")).expect("a URL");
    for (code, failure) in [
        ("RequestTimeout", Failure::Transient),
        ("KMS.ThrottlingException", Failure::Throttled(None)),
    ] {
        store.refuse("events_", &[(bad, code), (bad, code)]);
        let error = adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).expect_err(code);
        assert_eq!(*error.failure(), failure, "{error}");
        assert!(error.to_string().contains(code) && store.refusals() == 0, "{error}");
    }
    adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).expect("stored");
}

#[test]
fn clocks_that_differ_are_named_and_the_batch_is_tried_again() {
    let store = XmlStore::start(Honours::Amazon);
    let adapter = open(&s3(store.port, "p?format=jsonl")).expect("a URL");
    store.refuse("events_", &[("403 Forbidden", "RequestTimeTooSkewed")]);
    let journal = JournalId::generate();
    let error = adapter.insert(&rows(journal, 1, 5).batch()).expect_err("skewed");
    assert_eq!(*error.failure(), Failure::Transient, "{error}");
    let said = error.to_string();
    assert!(
        said.contains("(here it is 2") && said.contains("there 2026-03-01T12:00:00Z"),
        "{said}"
    );
    adapter.insert(&rows(journal, 1, 5).batch()).expect("stored");
}

/// The client kept it for as long as it was said to be good.
#[test]
fn an_expired_token_is_asked_for_again() {
    let store = XmlStore::start(Honours::Amazon);
    store.demand(Demands { token: Some(2), ..Demands::default() });
    let file = tempfile::NamedTempFile::new().expect("a file");
    let url = format!(
        "s3://safety/p?format=jsonl&endpoint=http://127.0.0.1:{0}&max_retries=1&timeout=20\
         &container_credentials_full_uri=http://127.0.0.1:{0}/credentials\
         &container_authorization_token_file={1}",
        store.port,
        file.path().display()
    );
    let adapter = open(&url).expect("a URL");
    let journal = JournalId::generate();
    let error = adapter.insert(&rows(journal, 1, 5).batch()).expect_err("the first token is over");
    assert_eq!(*error.failure(), Failure::Transient, "{error}");
    assert!(error.to_string().contains("it is asked for again"), "{error}");
    adapter.insert(&rows(journal, 1, 5).batch()).expect("with the second one");

    // What is in the URL stays as it is.
    let url = s3(store.port, "p?format=jsonl&session_token=canary");
    let error = open(&url).unwrap().insert(&rows(journal, 1, 5).batch()).expect_err("no token");
    assert_eq!(*error.failure(), Failure::Transient, "{error}");
    let said = error.to_string();
    assert!(said.contains("into the URL") && !said.contains("canary"), "{said}");
    let endpoint = format!("http://127.0.0.1:{}", store.port);
    let said = said_with(
        "s3://safety/p",
        &[
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "testtest"),
            ("AWS_SESSION_TOKEN", "canary"),
        ],
    );
    assert!(said.starts_with("Transient ") && said.contains("which can't change"), "{said}");
}

/// It was refused for good, though the answer says where the bucket is.
#[test]
fn a_bucket_in_another_region_is_asked_there() {
    for status in ["400 Bad Request", "301 Moved Permanently"] {
        let store = XmlStore::start(Honours::Amazon);
        store.demand(Demands { region: Some(("eu-west-7", status)), ..Demands::default() });
        let url = s3(store.port, "p?format=jsonl&region=us-east-2");
        let adapter = open(&url).expect("a URL");
        let journal = JournalId::generate();
        (1..=3).for_each(|seq| adapter.insert(&rows(journal, seq, 1).batch()).expect(status));
        assert_eq!(seqs(&url), [1, 2, 3]);
        let told = adapter.notices();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!((told[0].level, told[0].kind), (Level::Warning, NoticeKind::Region));
        let text = &told[0].text;
        assert!(text.contains("not in us-east-2") && text.contains("region=eu-west-7"), "{text}");
        let wrong = store.heard().matches("/us-east-2/s3/aws4_request").count();
        assert!((1..=4).contains(&wrong), "only until the answer: {wrong}");
        // One that can't be is no part of a host's name.
        store.demand(Demands { region: Some(("evil.example", status)), ..Demands::default() });
        let error = adapter.insert(&rows(journal, 9, 1).batch()).expect_err("no region");
        assert_eq!(*error.failure(), Failure::Config, "{error}");
        assert!(
            error.to_string().contains("region") && !error.to_string().contains("evil"),
            "{error}"
        );
    }
}

/// A bucket with Object Lock refuses a write without a checksum.
#[test]
fn writes_have_a_checksum() {
    let store = XmlStore::start(Honours::Amazon);
    store.demand(Demands { checksum: true, ..Demands::default() });
    let url = s3(store.port, "p?format=jsonl");
    open(&url).unwrap().insert(&rows(JournalId::generate(), 1, 5).batch()).expect("stored");
    assert_eq!(seqs(&url), [1, 2, 3, 4, 5]);
    let other = format!("{url}&checksum_algorithm=crc64nvme");
    let error = open(&other).unwrap().insert(&rows(JournalId::generate(), 1, 5).batch());
    assert!(error.is_err(), "this store wants another one");
    assert!(store.heard().to_lowercase().contains("x-amz-checksum-crc64nvme: "));
    let error = open(&format!("{url}&checksum_algorithm=canary")).unwrap();
    let error = error.insert(&rows(JournalId::generate(), 1, 5).batch()).expect_err("no such one");
    assert!(error.to_string().contains("checksum_algorithm"), "{error}");
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn a_second_server_conforms_also_where_its_objects_are_locked() {
    let server = Server::start("moto");
    for prefix in ["parquet", "jsonl?format=jsonl"] {
        let url = s3(server.port, prefix).replace("//safety", "//locked");
        let adapter = open(&url).expect("a URL");
        let journal = JournalId::generate();
        adapter.insert(&rows(journal, 1, 5).batch()).expect("stored");
        adapter.insert(&rows(journal, 1, 9).batch()).expect("stored");
        assert_eq!(seqs(&url), (1..=9).collect::<Vec<_>>());
    }
    let next = std::cell::Cell::new(0);
    super::support::conforms(|| {
        next.set(next.get() + 1);
        s3(server.port, &format!("suite/{}", next.get()))
    });
}
