//! The stores that are tried so.

use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use super::{Store, hold};
use crate::mysql::Mysql;
use crate::postgres::Postgres;
use crate::servers::{Database, TestServer, all, fresh_table};

/// A folder for each scene.
fn folder_of(home: &Path, number: u64) -> String {
    home.join(number.to_string()).display().to_string()
}

#[test]
fn sqlite_holds_every_event_once() {
    let home = tempfile::tempdir().expect("a folder");
    hold(&Store {
        server: None,
        url: &|number, _| format!("sqlite:///{}.db", folder_of(home.path(), number)),
        read: &|url| {
            crate::sqlite::all(Path::new(url.strip_prefix("sqlite:///").expect("its URL")))
        },
        restart: None,
    });
}

#[test]
fn a_folder_of_objects_holds_every_event_once() {
    let home = tempfile::tempdir().expect("a folder");
    hold(&Store {
        server: None,
        url: &|number, _| format!("file://{}/?seconds=0", folder_of(home.path(), number)),
        read: &crate::objects::support::all,
        restart: None,
    });
}

#[test]
fn a_bucket_holds_every_event_once() {
    let server = Mutex::new(crate::objects::server::Server::start("s3"));
    let port = Arc::new(AtomicU16::new(server.lock().expect("a lock").port));
    hold(&Store {
        server: Some((port.clone(), b"PUT /")),
        url: &|number, port| {
            format!(
                "s3://safety/faults-{number}?endpoint=http://127.0.0.1:{port}&seconds=0&timeout=1\
                 &access_key_id=test&secret_access_key=testtest"
            )
        },
        read: &crate::objects::support::all,
        restart: Some(&|| {
            let mut server = server.lock().expect("a lock");
            server.restart();
            port.store(server.port, Ordering::SeqCst);
        }),
    });
}

#[test]
fn a_delta_table_holds_every_event_once() {
    let server = crate::objects::server::Server::start("s3");
    hold(&Store {
        server: Some((Arc::new(AtomicU16::new(server.port)), b"PUT /")),
        url: &|number, port| {
            format!(
                "delta+s3://safety/faults-{number}?endpoint=http://127.0.0.1:{port}&seconds=0\
                 &timeout=1&access_key_id=test&secret_access_key=testtest"
            )
        },
        read: &crate::delta::support::all,
        restart: None,
    });
}

fn tables_hold<D: Database>() {
    let server = TestServer::up(D::KIND, "faults");
    let port = Arc::new(AtomicU16::new(server.port.try_into().expect("a port")));
    let table = fresh_table();
    hold(&Store {
        server: Some((port, b"COMMIT")),
        url: &|number, port| {
            let place = D::place(D::USER, "127.0.0.1", port.into());
            format!("{place}?sslmode=disable&timeout=1&table={table}_{number}")
        },
        read: &all,
        restart: Some(&|| server.restart()),
    });
}

#[test]
fn postgres_holds_every_event_once() {
    tables_hold::<Postgres>();
}

#[test]
fn mariadb_holds_every_event_once() {
    tables_hold::<Mysql>();
}
