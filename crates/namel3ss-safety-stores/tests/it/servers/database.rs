//! What the suite must know of a kind of server.

use std::process::Command;

use namel3ss_safety::{Failure, JournalId};

use super::TestServer;

/// A kind of server, on which others make tables and users in words of their own.
pub(crate) trait Database {
    /// As `scripts/sql-servers` calls it.
    const KIND: &'static str;
    const SCHEME: &'static str;
    /// Who may do everything.
    const USER: &'static str;
    const DATABASE: &'static str;

    /// The server that tests share.
    fn shared() -> &'static TestServer;

    /// The server's own client, which prints what `text` gives.
    fn client(port: u64, text: &str) -> Command;

    /// In SQL, what the metadata have under `key`.
    fn in_metadata(key: &str) -> String;

    /// A table with columns, types and defaults of others.
    fn theirs(table: &str, journal: JournalId) -> Theirs;

    /// What a table of others has before its key.
    const COLUMNS: &'static str;
    /// The columns of a key and the key, and whether it keeps a row from being stored twice.
    const KEYS: &'static [(&'static str, bool)];

    /// The columns and the key of tables, and whether a row with another id or moment is told from one
    /// that is there: a second apart, and in letters.
    const IDENTITIES: &'static [(&'static str, bool)];

    /// Makes our table with its moment in the key, and a partition of what is before a day.
    fn partitioned(table: &str, before: &str) -> String;
    /// Makes a partition of the rest.
    fn rest(table: &str) -> String;

    /// A change of our table, and which of eleven rows it then refuses.
    const REFUSED: &'static [(&'static str, &'static [usize])];
    /// A key that is added shows when a connection is opened.
    const KEYS_SHOW_AT_OPENING: bool;

    /// Makes a user who may do everything, `tls_only` if encrypted.
    fn make_user(name: &str) -> String;
    /// Ends the sessions of the user `ended`.
    const END_SESSIONS: &'static str;

    /// Checking a certificate's root checks its name as well.
    const ROOT_NEEDS_NAME: bool;

    /// Makes the users `canary`, `reader` and `crowd`, the first with a password and with the rights
    /// that storing in `table` needs. A URL of what is wrong with this kind only, and what it says.
    fn wrong(table: &str) -> Vec<(String, Failure, &'static str)>;

    /// Holds `table` for longer than a batch waits that has one second.
    fn hold(table: &str) -> String;
    /// How many hold it.
    fn holders(table: &str) -> String;

    /// Makes what the next tables need.
    const MAKE_ODD: &'static str;
    /// The columns of tables of others that have ours in other types, or lack some.
    const ODD_TABLES: &'static [&'static str];
    /// What others may set in a row.
    const ODD_ROWS: &'static [&'static str];
    /// A query of all of `table` that takes a minute.
    fn slow(table: &str) -> String;
    /// How many statements that name `table` run there.
    fn running(table: &str) -> String;

    fn sql(text: &str) -> String {
        let ran = Self::client(Self::shared().port, text).output().expect("a client");
        assert!(ran.status.success(), "{text}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).expect("UTF-8").trim().to_owned()
    }

    /// The database as `user`, with a password perhaps.
    fn place(user: &str, host: &str, port: u64) -> String {
        format!("{}://{user}@{host}:{port}/{}", Self::SCHEME, Self::DATABASE)
    }

    fn url_of(user: &str, table: &str) -> String {
        format!("{}?table={table}", Self::place(user, "127.0.0.1", Self::shared().port))
    }

    fn url(table: &str) -> String {
        Self::url_of(Self::USER, table)
    }
}

/// A table of others.
pub(crate) struct Theirs {
    /// With its schema.
    pub(crate) table: String,
    pub(crate) make: String,
    /// What to ask it for, and what it says when event 9 is in it.
    pub(crate) ask: &'static str,
    pub(crate) says: String,
}

/// All of eleven rows.
pub(crate) const EVERY: &[usize] = &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
