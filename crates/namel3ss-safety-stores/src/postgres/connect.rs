//! One connection to a PostgreSQL server, driven by whoever waits for it.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use namel3ss_safety::AdapterError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::SslMode as Ssl;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Connection, Error, SimpleQueryMessage};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;

use super::capped::Capped;
use super::failure;
use super::tls;
use crate::server::problem::Problem;
use crate::server::{Host, Secret, Server, SslMode, said, session};

/// A byte stream to the server.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}
type Socket = Box<dyn Duplex>;
/// What the driver reads from.
type Messages = Capped<Socket>;

/// A connection. Nothing of it moves but inside [`Conn::run`].
pub(crate) struct Conn {
    client: Client,
    connection: Connection<Messages, Tls>,
    password: Option<Secret>,
    /// Its connection has ended.
    over: bool,
}

impl session::Connection for Conn {
    type Row = Vec<Option<String>>;

    async fn connect(server: &Server) -> Result<Self, Problem> {
        let doing = format!("connect to {}", server.identity());
        let unreachable =
            |e: io::Error| Problem::Lost(AdapterError::transient(format!("{doing}: {e}")));
        let (socket, name): (Socket, &str) = match &server.host {
            Host::Tcp(host) => {
                let stream =
                    TcpStream::connect((host.as_str(), server.port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                (Box::new(stream), host)
            }
            #[cfg(unix)]
            Host::Socket(folder) => {
                let path = folder.join(format!(".s.PGSQL.{}", server.port));
                let stream = tokio::net::UnixStream::connect(path).await.map_err(unreachable)?;
                (Box::new(stream), "")
            }
            #[cfg(not(unix))]
            Host::Socket(_) => {
                return Err(AdapterError::config(format!(
                    "{doing}: there are no Unix sockets here"
                ))
                .into());
            }
        };
        let mut config = Config::new();
        config.dbname(&server.database).application_name("namel3ss-safety").ssl_mode(
            match (server.ssl_mode, &server.host) {
                // As libpq does: a socket of this machine needs none.
                (SslMode::Disable, _) | (_, Host::Socket(_)) => Ssl::Disable,
                (SslMode::Prefer, _) => Ssl::Prefer,
                _ => Ssl::Require,
            },
        );
        if let Some(user) = &server.user {
            config.user(user);
        }
        if let Some(password) = &server.password {
            config.password(password.reveal());
        }
        let connector = match config.get_ssl_mode() {
            Ssl::Disable => Connector { tls: None, name: name.to_owned() },
            _ => {
                let tls = TlsConnector::from(Arc::new(tls::config(server)?));
                Connector { tls: Some(tls), name: name.to_owned() }
            }
        };
        // The answer to the question for TLS is one byte, and no message.
        let asks = config.get_ssl_mode() != Ssl::Disable;
        let socket = Capped::new(socket, usize::from(asks));
        let password = server.password.clone();
        let connected = config.connect_raw(socket, connector).await;
        let (client, connection) =
            connected.map_err(|e| failure::problem(&doing, &e, said::text(password.as_ref())))?;
        Ok(Self { client, connection, password, over: false })
    }

    async fn query(&mut self, doing: &str, sql: &str) -> Result<Vec<Self::Row>, Problem> {
        let messages = self
            .run(|client| client.simple_query(sql))
            .await
            .map_err(|e| self.problem(doing, &e))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    }
}

impl Conn {
    /// What `error` means; `doing` is a fragment that follows "failed to".
    pub(super) fn problem(&self, doing: impl fmt::Display, error: &Error) -> Problem {
        failure::problem(doing, error, said::text(self.password.as_ref()))
    }

    /// Runs `work` on the client while the connection carries its messages.
    pub(super) async fn run<'s, T, F: Future<Output = Result<T, Error>>>(
        &'s mut self,
        work: impl FnOnce(&'s Client) -> F,
    ) -> Result<T, Error> {
        let Self { client, connection, over, .. } = self;
        let mut work = pin!(work(client));
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done);
            }
            if !*over && let Poll::Ready(ended) = silently(connection, cx) {
                *over = true;
                // What the server said last tells more than that the connection is closed.
                if let Err(error) = ended {
                    return Poll::Ready(Err(error));
                }
                return work.as_mut().poll(cx);
            }
            Poll::Pending
        })
        .await
    }
}

/// Carries messages until the connection ends. The driver as a future would give the server's notices to
/// `log`: their words may quote a row, or be a terminal's commands.
fn silently(
    connection: &mut Connection<Messages, Tls>,
    cx: &mut Context<'_>,
) -> Poll<Result<(), Error>> {
    while let Some(message) = ready!(connection.poll_message(cx)) {
        message?;
    }
    Poll::Ready(Ok(()))
}

/// Makes the one TLS session of a connection.
struct Connector {
    tls: Option<TlsConnector>,
    name: String,
}

impl TlsConnect<Messages> for Connector {
    type Stream = Tls;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Tls>> + Send>>;

    fn connect(self, stream: Messages) -> Self::Future {
        Box::pin(async move {
            let Some(tls) = self.tls else { return Err(io::ErrorKind::Unsupported.into()) };
            let name =
                rustls::pki_types::ServerName::try_from(self.name).map_err(io::Error::other)?;
            let stream = tls.connect(name, stream.into_inner()).await?;
            Ok(Tls(Capped::new(stream, 0)))
        })
    }
}

/// An encrypted stream.
pub(super) struct Tls(Capped<Encrypted<Socket>>);

impl TlsStream for Tls {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
