//! One connection to a MySQL or MariaDB server.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, DriverError, Error, OptsBuilder, Row, SslOpts};
use namel3ss_safety::AdapterError;

use super::failure::problem;
use crate::server::problem::Problem;
use crate::server::roots::roots;
use crate::server::session::Connection;
use crate::server::{Host, Secret, Server, SslMode};

/// The most bytes of a packet, whatever the server says that it sends or takes.
const PACKET_BYTES_MAX: usize = 16 << 20;
/// Bound statements that a session keeps; see `values.rs` for their sizes.
const STATEMENTS: usize = 16;

impl Connection for Conn {
    type Row = Row;

    async fn connect(server: &Server) -> Result<Self, Problem> {
        let doing = format!("connect to {}", server.identity());
        let mut options = OptsBuilder::default()
            .user(server.user.as_deref())
            .pass(server.password.as_ref().map(|password| password.reveal()))
            .db_name(Some(&server.database))
            // What the server says of a socket is another machine's business.
            .prefer_socket(false)
            .tcp_nodelay(true)
            .max_allowed_packet(Some(PACKET_BYTES_MAX))
            .stmt_cache_size(STATEMENTS);
        let encrypted = match &server.host {
            Host::Tcp(host) => {
                options = options.ip_or_hostname(host).tcp_port(server.port);
                server.ssl_mode != SslMode::Disable
            }
            Host::Socket(path) => {
                options = options.socket(Some(path.to_string_lossy()));
                false
            }
        };
        let plain = options.clone();
        if encrypted {
            options = options.ssl_opts(ssl(server)?);
        }
        let connected = match Conn::new(options).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer))
                if server.ssl_mode == SslMode::Prefer =>
            {
                Conn::new(plain).await
            }
            connected => connected,
        };
        let password = server.password.as_ref().map(Secret::reveal);
        let mut connection = connected.map_err(|error| problem(&doing, &error, password))?;
        // Strict: a value that does not fit is an error, and never cut.
        let session = format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO', \
             time_zone = '+00:00', autocommit = 1, innodb_lock_wait_timeout = {wait}, \
             lock_wait_timeout = {wait}",
            wait = server.timeout.as_secs().clamp(1, 3600)
        );
        let set = connection.query_drop(session).await;
        set.map_err(|error| problem(&doing, &error, password))?;
        Ok(connection)
    }

    async fn query(&mut self, doing: &str, sql: &str) -> Result<Vec<Row>, Problem> {
        let found = Queryable::query(self, sql).await;
        found.map_err(|error| problem(doing, &error, self.opts().pass()))
    }
}

/// How many bytes the server takes in one packet: a row that has more can't be sent to it.
pub(super) async fn packet_bytes(connection: &mut Conn) -> Result<usize, Problem> {
    let asked = connection.query_first("SELECT CAST(@@max_allowed_packet AS UNSIGNED)").await;
    let bytes: Option<usize> = asked.map_err(|error| {
        problem("look at the size of packets", &error, connection.opts().pass())
    })?;
    Ok(bytes.map_or(PACKET_BYTES_MAX, |bytes| bytes.min(PACKET_BYTES_MAX)))
}

/// The driver's words for what `server` asks for.
fn ssl(server: &Server) -> Result<SslOpts, AdapterError> {
    crate::tls::need_default()?;
    let Some(roots) = roots(server)? else {
        return Ok(SslOpts::default().with_danger_accept_invalid_certs(true));
    };
    let roots = roots.into_iter().map(|root| root.to_vec().into()).collect();
    Ok(SslOpts::default()
        .with_root_certs(roots)
        .with_disable_built_in_roots(true)
        .with_danger_skip_domain_validation(server.ssl_mode != SslMode::VerifyFull))
}
