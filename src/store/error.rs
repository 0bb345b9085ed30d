//! What can go wrong between us and PostgreSQL, sorted by what the caller has to do about it.

use std::time::Duration;

/// Why a statement gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, a timeout, a shutdown, too many connections, a lock or a conflict that outlasted our retries:
    /// nothing was decided, try again later.
    #[error("PostgreSQL is not available: {0}")]
    Unavailable(#[source] Cause),
    /// Somebody else was first.
    #[error("somebody else was first")]
    Lost,
    /// What was asked for is not there.
    #[error("not found")]
    NotFound,
    /// What is stored does not mean what it should, or a statement of ours is wrong.
    #[error("the database holds what it should not: {0}")]
    Corrupt(String),
    /// This database is not for us, or not yet: a human has to act.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What the driver or the server said.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why this database is not used. The text says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The URL cannot be read.
    #[error("the database URL is not valid: {0}. Expected postgres://USER:PASSWORD@HOST:PORT/DATABASE")]
    Url(String),
    /// Wrong user or password, or `pg_hba.conf` does not let us in.
    #[error("PostgreSQL refused the login: {0}. Check user and password of the database URL, and pg_hba.conf")]
    Credentials(String),
    /// The server has no TLS, or its certificate is not what the URL asks for.
    #[error(
        "PostgreSQL's TLS certificate is not trusted: {0}. Let sslrootcert of the database URL name a file with the \
         authority that signed it, and the URL name the host that it is for; or correct the server's certificate"
    )]
    Certificate(String),
    /// The database of the URL does not exist.
    #[error("PostgreSQL has no such database: {0}. Create it (CREATE DATABASE …), or correct the database URL")]
    NoSuchDatabase(String),
    /// Older than PostgreSQL 15.
    #[error("PostgreSQL {version} is too old: Everstep needs version 15 or newer")]
    TooOld {
        /// `server_version`.
        version: String,
    },
    /// A pooler is in front.
    #[error(
        "a connection pooler is in front of PostgreSQL: Everstep needs direct connections (LISTEN, prepared statements \
         and session settings do not survive a pooler in transaction mode, and the mode cannot be told for certain). \
         Let the database URL name the server itself; applications may call the SQL functions through any pooler"
    )]
    Pooler,
    /// A standby, or a server that only reads.
    #[error(
        "this PostgreSQL server is read-only ({0}): let the database URL name the primary, or list all hosts' common \
         name that follows the primary"
    )]
    Standby(String),
    /// Another Kubernetes cluster's database.
    #[error(
        "this database belongs to the cluster {theirs}, and this is the cluster {mine}: use another database, one for \
         each cluster"
    )]
    OtherCluster {
        /// Our cluster id.
        mine: String,
        /// The one in the database.
        theirs: String,
    },
    /// Another install of the same cluster.
    #[error(
        "this database belongs to the install in namespace {theirs}, and this one is in {mine}: use another database, \
         one for each install"
    )]
    OtherInstall {
        /// Our install.
        mine: String,
        /// The one in the database.
        theirs: String,
    },
    /// A newer release has migrated the schema.
    #[error(
        "the schema is at migration {database}, newer than this release knows ({binary}): run the newer release, or \
         restore the database from before the upgrade"
    )]
    NewerSchema {
        /// The newest migration that was applied.
        database: i32,
        /// The newest one that this release has.
        binary: i32,
    },
    /// The schema is not there or older than this release.
    #[error("the schema is at migration {database}, this release needs {binary}: run `everstep migrate`")]
    NotMigrated {
        /// The newest migration that was applied; 0 for none.
        database: i32,
        /// The newest one that this release has.
        binary: i32,
    },
    /// A migration that was applied is not the one that this release has.
    #[error(
        "migration {version} in the database is not the one of this release: another build has migrated it. Use the \
         release that did, or restore the database"
    )]
    ChangedMigration {
        /// Its number.
        version: i32,
    },
    /// The login may not do what it must.
    #[error(
        "the login may not do what Everstep needs: {0}. The login that migrates needs CREATE on the database, and owns what \
         it makes; one that does not own the schema needs USAGE on it, and SELECT, INSERT, UPDATE and DELETE on its tables: \
         the owner grants them"
    )]
    Privilege(String),
}

impl Error {
    /// Whether the same call may succeed later without a human.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Lost => true,
            Self::NotFound | Self::Corrupt(_) | Self::Refused(_) => false,
        }
    }

    pub(super) fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable(what.into().into())
    }

    pub(super) fn timeout(what: &str, after: Duration) -> Self {
        Self::unavailable(format!("{what}: no answer within {after:?}"))
    }

    /// Why no connection came about.
    pub(super) fn of_connecting(error: sqlx::Error) -> Self {
        let sqlx::Error::Database(said) = &error else {
            return match error {
                sqlx::Error::Configuration(why) => Refusal::Url(why.to_string()).into(),
                sqlx::Error::Tls(why) => Refusal::Certificate(why.to_string()).into(),
                sqlx::Error::Io(why) if is_distrust(&why) => Refusal::Certificate(why.to_string()).into(),
                error => Self::Unavailable(error.into()),
            };
        };
        let message = said.message().to_owned();
        match said.code().as_deref() {
            Some("28000" | "28P01") => Refusal::Credentials(message).into(),
            Some("3D000") => Refusal::NoSuchDatabase(message).into(),
            // Prepared by another client of the pooler, on the server connection that we share with it.
            Some("26000" | "42P05") => Refusal::Pooler.into(),
            // Poolers have no codes of their own, only words.
            Some("08P01") if message.contains("startup parameter") => Refusal::Pooler.into(),
            Some("08P01") if message.contains("password") || message.contains("no such user") => {
                Refusal::Credentials(message).into()
            }
            Some("08P01") if message.contains("no such database") => Refusal::NoSuchDatabase(message).into(),
            _ => Self::Unavailable(error.into()),
        }
    }

    /// Why a statement gave no answer, after whatever repetition it was worth.
    pub(super) fn of_statement(error: sqlx::Error) -> Self {
        let Some(code) = super::pool::code(&error) else {
            return match error {
                error @ (sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => {
                    Self::Unavailable(error.into())
                }
                error => Self::Corrupt(error.to_string()),
            };
        };
        match &*code {
            "42501" => Refusal::Privilege(error.to_string()).into(),
            "25006" => Refusal::Standby(error.to_string()).into(),
            // Statements name our tables only: they are not there, or older than we know.
            "3F000" | "42P01" | "42703" | "42883" => Refusal::NotMigrated {
                database: 0,
                binary: super::migrate::newest(),
            }
            .into(),
            // Data, constraints, syntax: the same again would fail the same.
            code if ["22", "23", "42"].iter().any(|class| code.starts_with(class)) => Self::Corrupt(error.to_string()),
            _ => Self::Unavailable(error.into()),
        }
    }
}

/// Whether the server's certificate was refused. One that has expired is not among these: it is renewed on the server,
/// and the URL is right.
fn is_distrust(error: &std::io::Error) -> bool {
    use rustls::{CertificateError, Error};

    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    matches!(
        cause,
        Some(Error::InvalidCertificate(
            CertificateError::UnknownIssuer
                | CertificateError::BadSignature
                | CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. }
        ))
    )
}
