//! One session on a tenant's database: opened to a checked address, cleaned before it is used again, cancelled when
//! it is given up. Not statements of steps.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{CancelToken, Client, Config, Connection as Driver, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database_error;
use super::stream::{Allowance, Bounded};
use crate::engine::{ErrorKind, StepError};
use crate::worker::connection::PostgresConnection;
use crate::worker::egress::Rules;
use crate::worker::guard;

/// What one statement may answer, in bytes on the wire: notices, rows in the wire's own format, everything. Well above
/// 256 KiB of JSON, whose numbers are shorter than the wire's.
const ANSWER_BYTES: u64 = 4 * 1024 * 1024;
/// A cancel request that takes longer is given up: the session is closed anyway.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);
/// Cleaning is quick, or the session is closed instead.
const CLEAN_TIMEOUT: Duration = Duration::from_secs(2);

/// An open session. Dropping it closes it, and the server rolls back what was open.
pub(super) struct Session {
    client: Client,
    allowance: Allowance,
    cancel: Cancel,
    /// Moves the bytes; ends with the session.
    driver: JoinHandle<()>,
}

/// How to cancel what the session is doing, from another connection to the same address.
pub(super) struct Cancel {
    token: CancelToken,
    address: SocketAddr,
    host: String,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Session {
    /// Resolves, checks, connects and logs in.
    ///
    /// Errors: kind Refused from the guard or with `TlsRequired`; kind Connect, with the SQLSTATE when the database
    /// refused the login.
    pub(super) async fn open(rules: &Rules, to: &PostgresConnection) -> Result<Self, StepError> {
        let addresses = guard::resolve(rules, &to.host, to.port).await?;
        if to.tls.is_none() && !addresses.iter().all(|address| rules.allows_address(address.ip())) {
            let message = format!(
                "sslmode=disable is only for addresses in the egress policy's allowAddresses, and {} is not among them",
                to.host
            );
            return Err(StepError::new(ErrorKind::Refused, "TlsRequired", message));
        }
        let stream = guard::connect_to(&addresses, &to.host, to.port).await?;
        let address = stream.peer_addr().map_err(|_| database_error::lost())?;
        let allowance = Allowance::new(ANSWER_BYTES);
        let stream = Bounded::new(stream, allowance.clone());
        let config = config(to);
        let (client, driver) = match &to.tls {
            None => login(&config, stream, NoTls, to).await?,
            Some(tls) => login(&config, stream, connector::<Bounded<TcpStream>>(tls, &to.host)?, to).await?,
        };
        let cancel = Cancel {
            token: client.cancel_token(),
            address,
            host: to.host.clone(),
            tls: to.tls.clone(),
        };
        Ok(Self {
            client,
            allowance,
            cancel,
            driver,
        })
    }

    /// The client, with a fresh allowance of bytes for what comes.
    pub(super) fn client(&self) -> &Client {
        self.allowance.renew(ANSWER_BYTES);
        &self.client
    }

    /// Whether the answer was larger than any answer may be.
    pub(super) fn answered_too_much(&self) -> bool {
        self.allowance.is_spent()
    }

    /// Whether the database answers.
    pub(super) async fn ping(&self) -> Result<(), StepError> {
        self.client()
            .batch_execute("SELECT 1")
            .await
            .map_err(|error| database_error::on_connect(&error))
    }

    /// Rolls back what is open, forgets everything that a statement may have left in the session, and proves it, in
    /// one round trip; `false` when the session must not be used again.
    pub(super) async fn clean(&self) -> bool {
        let client = self.client();
        let clean = future::join3(
            client.batch_execute("ROLLBACK"),
            client.batch_execute("DISCARD ALL"),
            client.simple_query(
                "SELECT 1 WHERE session_user = current_user \
                 AND pg_catalog.current_setting('role') = 'none' \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_prepared_statements) \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_cursors WHERE is_holdable) \
                 AND NOT EXISTS (SELECT FROM pg_catalog.pg_listening_channels())",
            ),
        );
        match tokio::time::timeout(CLEAN_TIMEOUT, clean).await {
            Ok((Ok(()), Ok(()), Ok(answer))) => answer
                .iter()
                .any(|message| matches!(message, SimpleQueryMessage::Row(_))),
            Ok(_) | Err(_) => false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Closes the session and asks the server to stop what it is doing: without this it would go on until it next
    /// writes to us.
    pub(super) async fn cancel_and_close(self) {
        let cancel = Cancel {
            token: self.cancel.token.clone(),
            address: self.cancel.address,
            host: self.cancel.host.clone(),
            tls: self.cancel.tls.clone(),
        };
        // In this order: once the connection is closed its process id may belong to somebody else.
        let _ = tokio::time::timeout(CANCEL_TIMEOUT, cancel.send()).await;
        drop(self);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Cancel {
    async fn send(self) {
        // To the address that was checked when the session was opened; nothing is resolved again.
        let Ok(stream) = TcpStream::connect(self.address).await else {
            return;
        };
        let _ = match &self.tls {
            None => self.token.cancel_query_raw(stream, NoTls).await,
            Some(tls) => match connector::<TcpStream>(tls, &self.host) {
                Ok(connector) => self.token.cancel_query_raw(stream, connector).await,
                Err(_) => Ok(()),
            },
        };
    }
}

fn config(to: &PostgresConnection) -> Config {
    let mut config = Config::new();
    config
        .user(&to.user)
        .dbname(&to.database)
        .application_name(&to.application_name)
        .ssl_mode(if to.tls.is_some() {
            SslMode::Require
        } else {
            SslMode::Disable
        });
    if let Some(password) = &to.password {
        config.password(password.expose());
    }
    config
}

fn connector<S>(
    tls: &Arc<rustls::ClientConfig>,
    host: &str,
) -> Result<<MakeRustlsConnect as MakeTlsConnect<S>>::TlsConnect, StepError>
where
    MakeRustlsConnect: MakeTlsConnect<S>,
{
    let mut make = MakeRustlsConnect::new(tls.as_ref().clone());
    MakeTlsConnect::<S>::make_tls_connect(&mut make, host).map_err(|_| {
        StepError::new(
            ErrorKind::Connect,
            "TlsFailed",
            format!("the name {host} cannot be verified by TLS"),
        )
    })
}

async fn login<S, T>(
    config: &Config,
    stream: S,
    tls: T,
    to: &PostgresConnection,
) -> Result<(Client, JoinHandle<()>), StepError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, driver) = config.connect_raw(stream, tls).await.map_err(|error| {
        let error = database_error::on_connect(&error);
        let message = format!("cannot log in to {} port {}: {}", to.host, to.port, error.message);
        StepError::new(error.kind, error.code, message)
    })?;
    Ok((client, tokio::spawn(drive(driver))))
}

/// Notices are dropped: they are the tenant's text, and the library would put them into our log.
async fn drive<S, T>(mut driver: Driver<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(Ok(_)) = poll_fn(|context| driver.poll_message(context)).await {}
}
