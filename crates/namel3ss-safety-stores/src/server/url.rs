//! URLs of database servers. Errors repeat no part of a URL: an unescaped password may be anywhere
//! in it.

use std::path::PathBuf;
use std::time::Duration;

use namel3ss_safety::internal::nearest::nearest;

use super::address::{Host, Kind, Secret, Server, SslMode};
use crate::schema::Table;
use crate::url::OpenError;

/// The options that a URL may hold.
const OPTIONS: [&str; 16] = [
    "table",
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "ssl-mode",
    "ssl",
    "sslrootcert",
    "ssl-ca",
    "ssl_ca",
    "unix_socket",
    "connect_timeout",
    "timeout",
    "charset",
];
/// Options of other programs that change nothing here.
const IGNORED: [&str; 7] = [
    "charset",
    "application_name",
    "target_session_attrs",
    "keepalives",
    "client_encoding",
    "gssencmode",
    "binary_prefix",
];
/// Options of other programs that would change something, as we can't do: named, and refused.
const FOREIGN: [&str; 32] = [
    "autocommit",
    "command_timeout",
    "connection_limit",
    "currentSchema",
    "fallback_application_name",
    "hostaddr",
    "krbsrvname",
    "load_balance_hosts",
    "max_overflow",
    "options",
    "passfile",
    "pgbouncer",
    "pool_size",
    "pool_timeout",
    "prepare_threshold",
    "prepared_statement_cache_size",
    "replication",
    "requirepeer",
    "schema",
    "search_path",
    "serverTimezone",
    "service",
    "socket_timeout",
    "sslaccept",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslnegotiation",
    "sslpassword",
    "statement_cache_size",
    "statement_timeout",
    "useSSL",
];
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time that a URL may ask for: a day.
const SECONDS_MAX: u64 = 86_400;

/// What a URL, or else the environment, says.
#[derive(Default)]
struct Found {
    host: Option<String>,
    port: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    table: Table,
    ssl_mode: Option<String>,
    root: Option<String>,
    connect_timeout: Option<String>,
    timeout: Option<String>,
}

/// Reads `rest`, what stands behind `://`. PostgreSQL's usual variables fill in what it leaves out.
pub(crate) fn parse(
    kind: Kind,
    rest: &str,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Server, OpenError> {
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut found = Found::default();
    authority(place, &mut found)?;
    let mut is_sure = is_behind_the_host(place, query);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        option(pair, is_sure, &mut found)?;
        // What comes next may be the rest of one that has an `&` in it.
        is_sure &= !pair.to_ascii_lowercase().contains("pass");
    }
    if kind == Kind::Postgres {
        let fill = |field: &mut Option<String>, name: &str| {
            if field.is_none() {
                *field = environment(name).filter(|value| !value.is_empty());
            }
        };
        fill(&mut found.host, "PGHOST");
        fill(&mut found.port, "PGPORT");
        fill(&mut found.user, "PGUSER");
        fill(&mut found.password, "PGPASSWORD");
        fill(&mut found.database, "PGDATABASE");
        fill(&mut found.ssl_mode, "PGSSLMODE");
        fill(&mut found.root, "PGSSLROOTCERT");
        fill(&mut found.connect_timeout, "PGCONNECT_TIMEOUT");
    }
    let us = || ["USER", "LOGNAME"].into_iter().find_map(&environment).filter(|us| !us.is_empty());
    let user = found.user.or_else(us);
    // As libpq does.
    let own = || user.clone().filter(|_| kind == Kind::Postgres);
    let database = found.database.or_else(own).ok_or(OpenError::Malformed(
        "name the database: postgresql://user@host/database, mysql://user@host/database",
    ))?;
    let host = found.host.unwrap_or_else(|| "localhost".to_owned());
    if host.contains(',') {
        return Err(OpenError::Malformed("name one host; a failover belongs behind one name"));
    }
    let host = if host.starts_with('/') {
        Host::Socket(PathBuf::from(host))
    } else {
        Host::Tcp(host.to_ascii_lowercase())
    };
    let port = match found.port {
        Some(port) => port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or(OpenError::Malformed("write the port as a number from 1 to 65535"))?,
        None if kind == Kind::Postgres => 5432,
        None => 3306,
    };
    let ssl_mode = match found.ssl_mode.as_deref() {
        Some(word) => ssl_mode(word)?,
        // As MySQL's own clients do: whoever names a root wants it checked.
        None if kind == Kind::Mysql && found.root.is_some() => SslMode::VerifyCa,
        None => SslMode::default(),
    };
    Ok(Server {
        kind,
        host,
        port,
        user,
        password: found.password.map(Secret),
        database,
        table: found.table,
        ssl_mode,
        ssl_root_cert: found.root.filter(|root| root != "system").map(PathBuf::from),
        connect_timeout: seconds(found.connect_timeout, CONNECT_TIMEOUT)?,
        timeout: seconds(found.timeout, TIMEOUT)?,
    })
}

/// Whether what stands behind the first `?` is no part of a password: the `@` that ends one came before.
fn is_behind_the_host(place: &str, query: &str) -> bool {
    let authority = place.split_once('/').map_or(place, |(authority, _)| authority);
    authority.contains('@') && !query.contains('@')
}

/// The longest name of an option that is repeated.
const NAME_CHARS_MAX: usize = 40;

/// Whether a text looks like the name of an option.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_CHARS_MAX
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

/// `[user[:password]@][host[:port]][/database]`
fn authority(place: &str, found: &mut Found) -> Result<(), OpenError> {
    let (authority, database) = place.split_once('/').unwrap_or((place, ""));
    if !authority.contains('@') && database.contains('@') {
        return Err(OpenError::Malformed("write / in a user or a password as %2F"));
    }
    if !database.is_empty() {
        found.database = Some(decoded(database)?);
    }
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (user, host),
        None => ("", authority),
    };
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password)),
        None => (user, None),
    };
    if !name.is_empty() {
        found.user = Some(decoded(name)?);
    }
    found.password = password.map(decoded).transpose()?;
    let (host, port) = match host.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, rest))) => {
            (address, rest.strip_prefix(':').or((!rest.is_empty()).then_some(rest)))
        }
        Some(None) => return Err(OpenError::Malformed("close the bracket of the address")),
        None => match host.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (host, None),
        },
    };
    if !host.is_empty() {
        found.host = Some(decoded(host)?);
    }
    found.port = port.filter(|port| !port.is_empty()).map(str::to_owned);
    Ok(())
}

/// Takes in one option; `is_sure` says that it is no part of a password, so that it may be named.
fn option(pair: &str, is_sure: bool, found: &mut Found) -> Result<(), OpenError> {
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    let text = decoded(value)?;
    let field = match key {
        "table" => {
            found.table = text.parse()?;
            return Ok(());
        }
        "host" | "unix_socket" => &mut found.host,
        "port" => &mut found.port,
        "user" => &mut found.user,
        "password" => &mut found.password,
        "dbname" => &mut found.database,
        "sslmode" | "ssl-mode" | "ssl" => &mut found.ssl_mode,
        "sslrootcert" | "ssl-ca" | "ssl_ca" => &mut found.root,
        "connect_timeout" => &mut found.connect_timeout,
        "timeout" => &mut found.timeout,
        "channel_binding" if text != "require" => return Ok(()),
        "channel_binding" => {
            return Err(OpenError::Malformed(
                "channel_binding=require can't be kept: write sslmode=verify-full instead",
            ));
        }
        known if IGNORED.contains(&known) => return Ok(()),
        unknown => {
            let foreign = FOREIGN.into_iter().find(|name| *name == unknown);
            return Err(match foreign {
                Some(name) => OpenError::ForeignOption { name },
                None => OpenError::UnknownOption {
                    name: (is_sure && pair.contains('=') && is_name(unknown))
                        .then(|| unknown.to_owned()),
                    near: nearest(unknown, OPTIONS),
                },
            });
        }
    };
    *field = Some(text);
    Ok(())
}

fn ssl_mode(word: &str) -> Result<SslMode, OpenError> {
    Ok(match word.to_ascii_lowercase().replace('_', "-").as_str() {
        "disable" | "disabled" | "false" | "0" => SslMode::Disable,
        // A server that insists on TLS gets it either way.
        "allow" | "prefer" | "preferred" => SslMode::Prefer,
        "require" | "required" | "true" | "1" => SslMode::Require,
        "verify-ca" => SslMode::VerifyCa,
        "verify-full" | "verify-identity" => SslMode::VerifyFull,
        _ => {
            return Err(OpenError::Malformed(
                "write sslmode= disable, prefer, require, verify-ca or verify-full",
            ));
        }
    })
}

fn seconds(text: Option<String>, default: Duration) -> Result<Duration, OpenError> {
    let Some(text) = text else { return Ok(default) };
    match text.parse::<u64>() {
        Ok(seconds @ 1..=SECONDS_MAX) => Ok(Duration::from_secs(seconds)),
        // As libpq does: no time is no limit.
        Ok(0) => Ok(Duration::from_secs(SECONDS_MAX)),
        _ => Err(OpenError::Malformed("write a timeout in whole seconds, at most a day")),
    }
}

fn decoded(text: &str) -> Result<String, OpenError> {
    crate::url::percent::percent_decoded(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Kind, rest: &str) -> Result<Server, OpenError> {
        parse(kind, rest, |name| (name == "USER").then(|| "me".to_owned()))
    }

    fn check(kind: Kind, rest: &str, identity: &str) {
        let server = read(kind, rest).unwrap_or_else(|e| panic!("{rest}: {e}"));
        assert_eq!(server.identity(), identity, "{rest}");
        assert!(!format!("{server:?}").contains("canary"), "{server:?}");
        // An identity is a URL, and its own.
        let again = identity.split_once("://").unwrap().1;
        assert_eq!(read(kind, again).unwrap().identity(), identity);
    }

    #[test]
    fn identities_are_urls_without_secrets() {
        let p = Kind::Postgres;
        check(p, "u:canary@Host/db", "postgresql://host:5432/db?table=safety_events");
        check(p, "", "postgresql://localhost:5432/me?table=safety_events");
        check(
            p,
            "u@[::1]:5433/d%2Fb?password=canary&table=a.b",
            "postgresql://[::1]:5433/d/b?table=a.b",
        );
        check(
            p,
            "/db?host=/var/run/pg&user=u&sslmode=disable",
            "postgresql:///db?host=/var/run/pg&port=5432&table=safety_events",
        );
        check(Kind::Mysql, "u:c%40n%3Aary@h/db", "mysql://h:3306/db?table=safety_events");
        let server = read(Kind::Mysql, "u:c%40n%3Aary@h/db?ssl_ca=/x.pem&timeout=5").unwrap();
        assert_eq!(server.password.as_ref().unwrap().reveal(), "c@n:ary");
        assert_eq!(server.timeout, Duration::from_secs(5));
        assert_eq!(server.ssl_root_cert, Some("/x.pem".into()));
        assert_eq!(server.ssl_mode, SslMode::VerifyCa);
    }

    #[test]
    fn the_environment_fills_what_the_url_leaves_out() {
        let environment = |name: &str| {
            let value = match name {
                "PGHOST" => "db.example",
                "PGPORT" => "6432",
                "PGUSER" => "ann",
                "PGPASSWORD" => "canary",
                "PGDATABASE" => "safety",
                "PGSSLMODE" => "verify-full",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let server = parse(Kind::Postgres, "", environment).unwrap();
        assert_eq!(server.identity(), "postgresql://db.example:6432/safety?table=safety_events");
        assert_eq!((server.user.as_deref(), server.ssl_mode), (Some("ann"), SslMode::VerifyFull));
        assert_eq!(server.password.unwrap().reveal(), "canary");
        let server = parse(Kind::Postgres, "bob:x@h:1/d?sslmode=disable", environment).unwrap();
        assert_eq!(server.identity(), "postgresql://h:1/d?table=safety_events");
        assert_eq!((server.user.as_deref(), server.ssl_mode), (Some("bob"), SslMode::Disable));
        let server = parse(Kind::Mysql, "u@h/d", environment).unwrap();
        assert_eq!((server.password, server.ssl_mode), (None, SslMode::Prefer));
    }

    /// It had to be guessed which of five was meant.
    #[test]
    fn an_unknown_option_is_named_unless_it_may_be_part_of_a_password() {
        for (rest, name) in [
            ("u:pw@h/d?sslx=1", Some("sslx")),
            ("u@h?table=t&tcp.user-timeout_=1&port=1", Some("tcp.user-timeout_")),
            // The password may have a `?` in it, and the host come behind that,
            ("u:can?ary=1@h/d", None),
            ("u:c@n?ary=1@h/d", None),
            // or an `&`,
            ("u@h/d?password=can&ary=1", None),
            ("u@h/d?PassWord=can&ary=1", None),
            // or there is no host at all.
            ("u:can?ary=1", None),
            ("u@h/d?canary", None),
            ("u@h/d?can%20ary=1", None),
            ("u@h/d?1=1", None),
            ("u@h/d?=1", None),
        ] {
            let error = read(Kind::Postgres, rest).expect_err(rest).to_string();
            match name {
                Some(name) => assert!(error.contains(&format!("option {name} is")), "{error}"),
                None => assert!(!error.contains("ary"), "{rest}: {error}"),
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        for (kind, rest, hint) in [
            (Kind::Mysql, "u:canary@h", "name the database"),
            (Kind::Postgres, "u:canary@h:canary/d", "port"),
            (Kind::Postgres, "h/d?canary=1", "one of its URL's options"),
            (Kind::Postgres, "u:canary@h/d?ssl_mode=x", "did you mean"),
            (Kind::Postgres, "u:canary@h/d?sslmode=canary", "verify-full"),
            (Kind::Postgres, "u:canary@h/d?timeout=canary", "seconds"),
            (Kind::Postgres, "u:canary%zz@h/d", "%25"),
            (Kind::Postgres, "u:canary@h1,h2/d", "one host"),
            (Kind::Postgres, "u:canary@[::1/d", "bracket"),
            (Kind::Postgres, "u:canary@h/d?channel_binding=require", "verify-full"),
            (Kind::Postgres, "u:canary@h/d?table=a;b", "table name"),
            (Kind::Postgres, "u:canary@h/d?pgbouncer=true", "pgbouncer"),
            (Kind::Mysql, "u:canary@h/d?useSSL=canary", "useSSL"),
            // They were taken for a port and a database.
            (Kind::Postgres, "u:canary/canary@h/d", "%2F"),
            (Kind::Postgres, "u:12/canary@h/d?table=a", "%2F"),
        ] {
            let error = read(kind, rest).expect_err(rest).to_string();
            assert!(error.contains(hint), "{rest}: {error}");
            assert!(!error.contains("canary"), "{rest}: {error}");
        }
    }
}
