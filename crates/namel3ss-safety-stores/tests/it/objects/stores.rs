//! Objects in stores that are reached over the network.

use std::cell::Cell;
use std::io::Write as _;
use std::sync::Barrier;
use std::time::Duration;

use namel3ss_safety::{DatasetAdapter as _, Delivery, Failure, JournalId};
use namel3ss_safety_stores::{ObjectStoreAdapter, open};

use super::server::Server;
use super::support::{conforms, rows, seqs};
use super::xml_store::{Honours, XmlStore};
use crate::jobs::helper;

pub(crate) fn s3(port: u16, place: &str) -> String {
    let with = if place.contains('?') { '&' } else { '?' };
    format!(
        "s3://safety/{place}{with}endpoint=http://127.0.0.1:{port}&access_key_id=test\
         &secret_access_key=testtest&max_retries=1&timeout=20"
    )
}

/// The emulator's own account and key, which are the same everywhere.
pub(super) const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(super) fn azure(port: u16, place: &str) -> String {
    let key = AZURE_KEY.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let with = if place.contains('?') { '&' } else { '?' };
    format!(
        "az://safety/{place}{with}account_name=devstoreaccount1&account_key={key}\
         &endpoint=http://127.0.0.1:{port}/devstoreaccount1"
    )
}

/// The emulator, with a container.
pub(super) fn azurite() -> Server {
    let server = Server::start("azure");
    let python = super::server::python_with(&["azure-storage-blob"]);
    let make = format!(
        "import azure.storage.blob as b, sys\n\
         b.BlobServiceClient('http://127.0.0.1:{}/devstoreaccount1', \
         credential={{'account_name': 'devstoreaccount1', 'account_key': sys.argv[1]}})\
         .create_container('safety')",
        server.port
    );
    let made = std::process::Command::new(python).args(["-c", &make, AZURE_KEY]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    server
}

pub(super) fn gcs(port: u16, place: &str) -> String {
    let with = if place.contains('?') { '&' } else { '?' };
    format!("gs://safety/{place}{with}base_url=http://127.0.0.1:{port}&bearer_token=canary")
}

/// The prefixes `{name}/1`, `{name}/2` and so on.
fn prefixes(name: &str) -> impl Fn() -> String {
    let next = Cell::new(0);
    move || {
        next.set(next.get() + 1);
        format!("{name}/{}", next.get())
    }
}

#[test]
fn s3_conforms() {
    let server = Server::start("s3");
    let parquet = prefixes("parquet");
    conforms(|| s3(server.port, &parquet()));
    let json = prefixes("json");
    conforms(|| s3(server.port, &format!("{}?format=json&compression=gzip", json())));
}

#[test]
fn many_who_send_the_same_to_s3_store_it_once() {
    let server = Server::start("s3");
    let url = s3(server.port, "race?format=jsonl");
    let journal = JournalId::generate();
    for round in 0..8 {
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let adapter = open(&url).expect("a URL");
                    let rows = rows(journal, round * 10 + 1, 10);
                    start.wait();
                    adapter.insert(&rows.batch()).expect("one wins, and the others see the same");
                });
            }
        });
    }
    assert_eq!(seqs(&url), (1..=80).collect::<Vec<_>>());
}

#[test]
fn s3_says_what_is_wrong_and_repeats_no_secret() {
    let server = Server::start("s3");
    let rows = rows(JournalId::generate(), 1, 1);
    let check = |url: &str, failure: Failure, part: &str| {
        let adapter = open(url).expect("a URL");
        let error = adapter.insert(&rows.batch()).expect_err(part);
        let said = format!("{error} {error:?} {adapter:?} {}", adapter.identity());
        assert_eq!(*error.failure(), failure, "{said}");
        assert!(said.contains(part) && !said.contains("canary"), "{said}");
    };
    let url = s3(server.port, "p");
    check(&url.replace("testtest", "canary"), Failure::Config, "refuses these credentials");
    check(&url.replace("key_id=test", "key_id=canary"), Failure::Config, "refuses these");
    check(&format!("{url}&session_token=canary"), Failure::Config, "credentials");
    check(&url.replace("//safety", "//no-such-bucket"), Failure::Config, "no such bucket");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = s3(closed, "p").replace("testtest", "canary");
    check(&url, Failure::Transient, "can't be reached");
    // Nobody answers where nothing says no: a listener that never accepts.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = s3(silent.local_addr().unwrap().port(), "p").replace("timeout=20", "timeout=1");
    check(&url.replace("testtest", "canary"), Failure::Transient, "does not answer in time");
}

/// What a process with these variables and no others says in [`child`]. Variables are a process's own.
pub(super) fn said_with(url: &str, variables: &[(&str, &str)]) -> String {
    let done = helper("objects::stores")
        .env(JOB, url)
        .envs(variables.iter().copied())
        .output()
        .expect("a child process runs");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success() && !error.contains("panicked"), "{said}{error}");
    let said = said.lines().find_map(|line| line.strip_prefix("said ")).expect(&said);
    assert!(!said.contains("canary"), "{said}");
    said.to_owned()
}

#[test]
fn a_bare_bucket_with_the_usual_variables_is_all_that_a_writer_needs() {
    let server = Server::start("s3");
    let endpoint = format!("http://127.0.0.1:{}", server.port);
    let said = said_with(
        "safety",
        &[
            ("AWS_ENDPOINT_URL", &endpoint),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "testtest"),
            ("AWS_REGION", "us-east-1"),
            // Set to nothing, as by a template that has none of them.
            ("AWS_SESSION_TOKEN", ""),
            ("AWS_ENDPOINT_URL_S3", ""),
        ],
    );
    let encoded = endpoint.replace(':', "%3A").replace('/', "%2F");
    let identity = format!("s3://safety/events/safety?format=json&endpoint={encoded}");
    assert_eq!(said, format!("stored {identity}"));
    assert_eq!(seqs(&format!("{identity}&access_key_id=test&secret_access_key=testtest")), [1, 2]);
}

#[test]
fn azures_usual_variables_are_all_that_a_writer_needs() {
    let server = azurite();
    let endpoint = format!("http://127.0.0.1:{}/devstoreaccount1", server.port);
    let connection = format!(
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};\
         BlobEndpoint={endpoint};"
    );
    let account = [
        ("AZURE_STORAGE_ACCOUNT", "devstoreaccount1"),
        ("AZURE_STORAGE_KEY", AZURE_KEY),
        ("AZURE_STORAGE_ENDPOINT", &endpoint),
        ("AZURE_STORAGE_SAS_TOKEN", ""),
    ];
    let whole = [("AZURE_STORAGE_CONNECTION_STRING", connection.as_str())];
    for variables in [&account[..], &whole] {
        let said = said_with("az://safety", variables);
        assert!(said.starts_with("stored az://safety/events/safety?format=json&account"), "{said}");
    }
    // Azurite's own words, and its variable for another port than usual.
    let port = format!("http://127.0.0.1:{}", server.port);
    let emulator = [
        ("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true"),
        ("AZURITE_BLOB_STORAGE_URL", &port),
    ];
    let said = said_with("az://safety", &emulator);
    assert!(
        said.starts_with("stored az://safety/events/safety?format=json&use_emulator"),
        "{said}"
    );
    assert_eq!(seqs(&azure(server.port, "events/safety?format=json")), [1, 1, 1, 2, 2, 2]);
}

#[test]
fn the_usual_variables_name_the_proxy() {
    use std::io::Read as _;
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://ann:canary@{}", proxy.local_addr().expect("an address"));
    let heard = std::thread::spawn(move || {
        let mut heard = String::new();
        for stream in proxy.incoming().take(1) {
            let mut bytes = [0; 4096];
            let mut stream = stream.expect("a connection");
            let read = stream.read(&mut bytes).expect("a request");
            heard.push_str(&String::from_utf8_lossy(&bytes[..read]));
            let _ = stream.write_all(b"HTTP/1.1 407 canary\r\ncontent-length: 0\r\n\r\n");
        }
        heard
    });
    let bucket = "s3://safety/p?endpoint=https://store.invalid&max_retries=0&timeout=5";
    let keys = [("AWS_ACCESS_KEY_ID", "canary"), ("AWS_SECRET_ACCESS_KEY", "canary")];
    let excluded = [("HTTPS_PROXY", url.as_str()), ("NO_PROXY", ".invalid")];
    let said = said_with(bucket, &[&keys[..], &excluded].concat());
    assert!(said.starts_with("Transient list objects: the store can't be reached"), "{said}");
    let said = said_with(bucket, &[&keys[..], &excluded[..1]].concat());
    assert!(said.starts_with("Transient list objects: the store can't be reached"), "{said}");
    let heard = heard.join().expect("it was asked");
    assert!(heard.starts_with("CONNECT store.invalid:443 HTTP/1.1"), "{heard}");
    assert!(heard.to_ascii_lowercase().contains("proxy-authorization: basic"), "{heard}");
}

const JOB: &str = "N3_SAFETY_BARE_BUCKET";

pub(crate) fn child() {
    let bucket = std::env::var(JOB).expect("a bucket");
    let adapter = ObjectStoreAdapter::new(&bucket, "events/safety", "json").expect("three");
    let said = match adapter.insert(&rows(JournalId::generate(), 1, 2).batch()) {
        Ok(()) => format!("stored {}", adapter.identity()),
        Err(error) => format!("{:?} {error}", error.failure()),
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nsaid {said}").expect("it is read");
}

#[test]
fn urls_are_checked_before_anything_is_connected_to() {
    let check = |url: &str, part: &str| {
        let said = format!("{:?} {0}", open(url).expect_err(url));
        assert!(said.contains(part) && !said.contains("canary"), "{url}: {said}");
    };
    check("s3://safety/p?regoin=canary", "did you mean region=?");
    check("s3://safety/p?secret_access_key=ca&canary=x", "write a value's & as %26");
    check("s3://safety/p?bucket=canary", "unknown parameter");
    check("s3://safety/p?allow_invalid_certificates=true", "unknown parameter");
    check("s3://canary:canary@host/p", "no user and no password");
    check("s3://safety/../x", "none that is . or ..");
    check("s3://safety/a%0Ab", "control character");
    check("s3://safety/p?endpoint=http://canary@store.example", "is not encrypted");
    check("s3://safety/p?endpoint=canary.store.example", "endpoint is no URL");
    check("s3://safety/p?endpoint=canary.store.example:9000", "endpoint is no URL");
    check("gs://safety/p?base_url=canary:", "base_url is no URL");
    check("az://safety/p?endpoint=canary", "endpoint is no URL");
    check("s3://safety/p?rows=0", "rows= takes 1 to");
    check("s3://safety/p?timeout=canary", "timeout= takes 1 to 600");
    check("s3://safety/p?format=parket", "did you mean \"parquet\"?");
    check("s3://safety/p?compression=gzip", "parquet is compressed by itself");
    check("gs://safety/p?region=canary", "unknown parameter");
    check("az://safety/p?format=json&compression=lz4", "none, zstd, gzip");
    check("abfss://safety@/p", "abfss://container@account");
    let adapter = open("abfss://safety@mine.dfs.core.windows.net/a/b?sas_token=canary").unwrap();
    assert_eq!(adapter.identity(), "az://safety/a/b?format=parquet&account_name=mine");
    assert!(!format!("{adapter:?}").contains("canary"));
    let http = open("s3://safety/p?endpoint=http://store.example&allow_http=true").unwrap();
    assert!(http.identity().ends_with("&endpoint=http%3A%2F%2Fstore.example"));
    let writer = |bucket, prefix, format| ObjectStoreAdapter::new(bucket, prefix, format);
    for (bucket, prefix, format, part) in [
        ("a/b", "p", "json", "name a bucket alone"),
        ("bucket", "../p", "json", "none that is . or .."),
        ("bucket", "p", "jsn", "did you mean \"json\"?"),
        ("", "p", "json", "a bucket's name"),
    ] {
        let said = writer(bucket, prefix, format).expect_err(part).to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn azure_conforms() {
    let server = azurite();
    let url = |place: &str| azure(server.port, place);

    let parquet = prefixes("parquet");
    conforms(|| url(&parquet()));
    let csv = prefixes("csv");
    conforms(|| url(&format!("{}?format=csv&compression=zstd", csv())));

    #[cfg(feature = "delta")]
    {
        let tables = prefixes("tables");
        crate::delta::support::conforms(|| format!("delta+{}", url(&tables())));
    }

    let missing = url("p").replace("//safety", "//no-such-container");
    let adapter = open(&missing).expect("a URL");
    let error = adapter.insert(&rows(JournalId::generate(), 1, 1).batch()).unwrap_err();
    assert!(error.to_string().contains("no such bucket"), "{error}");
    assert!(!adapter.identity().contains("Eby8vd"), "{}", adapter.identity());
}

#[test]
fn gcs_conforms() {
    let store = XmlStore::start(Honours::Google);
    let (parquet, jsonl) = (prefixes("parquet"), prefixes("jsonl"));
    conforms(|| gcs(store.port, &parquet()));
    conforms(|| gcs(store.port, &format!("{}?format=jsonl", jsonl())));
    #[cfg(feature = "delta")]
    {
        let tables = prefixes("tables");
        crate::delta::support::conforms(|| format!("delta+{}", gcs(store.port, &tables())));
    }
    let again = gcs(store.port, "parquet/1");
    let adapter = open(&again).expect("a URL");
    let identity = adapter.identity();
    let here = format!(
        "gs://safety/parquet/1?format=parquet&base_url=http%3A%2F%2F127.0.0.1%3A{}",
        store.port
    );
    assert_eq!(identity, here);
}

#[test]
fn a_write_whose_answer_is_lost_is_stored_once() {
    for (honours, url) in [
        (Honours::Google, gcs as fn(u16, &str) -> String),
        (Honours::Amazon, s3 as fn(u16, &str) -> String),
    ] {
        let store = XmlStore::start(honours);
        let url = url(store.port, "p?format=jsonl");
        let adapter = open(&url).expect("a URL");
        let journal = JournalId::generate();
        store.lose_answers(1);
        // The driver may repeat the request by itself, or leave that to us.
        if let Err(error) = adapter.insert(&rows(journal, 1, 5).batch()) {
            assert_eq!(*error.failure(), Failure::Transient, "{error}");
            adapter.insert(&rows(journal, 1, 5).batch()).expect("it exists, and is the same");
        }
        assert_eq!(seqs(&url), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_store_that_overwrites_is_found_out_and_holds_rows_once_all_the_same() {
    for honours in [Honours::Nothing, Honours::Refuses] {
        let store = XmlStore::start(honours);
        let url = s3(store.port, "p?format=jsonl");
        let adapter = open(&url).expect("a URL");
        let journal = JournalId::generate();
        assert!(matches!(adapter.delivery(), Delivery::ExactlyOnce { .. }), "not asked yet");
        (0..2).for_each(|_| adapter.insert(&rows(journal, 1, 5).batch()).expect("stored"));
        assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
        assert_eq!(seqs(&url), [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_store_that_may_not_be_listed_is_written_to_all_the_same() {
    let store = XmlStore::start(Honours::Amazon);
    store.be_blind();
    let url = s3(store.port, "p?format=jsonl");
    let adapter = open(&url).expect("a URL");
    let journal = JournalId::generate();
    (0..2).for_each(|_| adapter.insert(&rows(journal, 1, 5).batch()).expect("stored"));
    assert_eq!(adapter.delivery(), Delivery::AtLeastOnce);
    assert_eq!(store.keys().len(), 2, "the probe and one object");
}

#[test]
fn a_store_that_is_busy_is_left_in_peace_for_as_long_as_it_asks() {
    let store = XmlStore::start(Honours::Amazon);
    let url = s3(store.port, "p?format=jsonl").replace("max_retries=1", "max_retries=0");
    let adapter = open(&url).expect("a URL");
    store.be_busy(1);
    let error = adapter.insert(&rows(JournalId::generate(), 1, 5).batch()).unwrap_err();
    let Failure::Throttled(Some(wait)) = error.failure() else { panic!("{error:?}") };
    assert!((Duration::from_secs(5)..=Duration::from_secs(7)).contains(wait), "{wait:?}");
}

#[test]
fn a_batch_costs_one_short_listing_and_one_write() {
    let store = XmlStore::start(Honours::Amazon);
    let url = s3(store.port, "p?format=jsonl");
    let adapter = open(&url).expect("a URL");
    let journal = JournalId::generate();
    for batch in 0..30 {
        adapter.insert(&rows(journal, batch * 2_000_000 + 1, 5).batch()).expect("stored");
    }
    assert_eq!(store.lists(), 30, "objects that lie far off are not listed");
    assert_eq!(store.keys().len(), 31);
    assert!(store.heard().contains("AWS4-HMAC-SHA256"), "requests are signed");
    assert!(!store.heard().contains("testtest"), "the secret itself is never sent");
}

/// A store could send up to 1 GiB where 64 KiB were asked for, and all of it was taken in.
#[test]
fn no_more_of_an_object_is_taken_in_than_was_asked_for() {
    for format in ["parquet", "jsonl"] {
        let store = XmlStore::start(Honours::Amazon);
        let url = s3(store.port, &format!("p?format={format}"));
        open(&url)
            .expect("a URL")
            .insert(&rows(JournalId::generate(), 1, 5).batch())
            .expect("stored");
        assert_eq!(seqs(&url), [1, 2, 3, 4, 5]);
        store.send_more(1);
        let read: Result<Vec<_>, _> =
            namel3ss_safety_stores::objects::read(&url).expect("a URL").collect();
        let error = read.expect_err("it is more than a part").to_string();
        assert!(error.contains("the answer makes no sense"), "{format}: {error}");
    }
}
