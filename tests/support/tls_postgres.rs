//! A PostgreSQL server that speaks TLS, with a certificate of an authority of its own.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use everstep::dev::postgres::{Options, Postgres};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// The server; it ends when dropped.
pub(crate) struct TlsPostgres {
    pub(crate) server: Postgres,
    /// The authority that its certificate is to be verified by, as PEM.
    pub(crate) authority: PathBuf,
    /// One that did not sign it.
    pub(crate) stranger: PathBuf,
}

impl TlsPostgres {
    /// A server with a certificate for 127.0.0.1, and an empty database.
    pub(crate) async fn start(database: &str) -> Self {
        let name = database.to_owned();
        let started = tokio::task::spawn_blocking(move || {
            let server = Postgres::start(Options::default()).unwrap();
            server.create_database(&name).unwrap();
            server
        });
        let server = started.await.unwrap();
        let (authority, key) = certificate(&server, "authority");
        let (stranger, _) = certificate(&server, "stranger");
        let mut sql = PgConnection::connect(&server.url("postgres")).await.unwrap();
        for (setting, value) in [
            ("ssl_cert_file", authority.to_str().unwrap()),
            ("ssl_key_file", key.to_str().unwrap()),
            ("ssl", "on"),
        ] {
            let set = format!("ALTER SYSTEM SET {setting} = '{value}'");
            sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut sql).await.unwrap();
        }
        sqlx::raw_sql("SELECT pg_reload_conf()")
            .execute(&mut sql)
            .await
            .unwrap();
        let this = Self {
            server,
            authority,
            stranger,
        };
        let url = this.server.url("postgres") + "?sslmode=require";
        let until = Instant::now() + Duration::from_secs(60);
        while let Err(error) = PgConnection::connect(&url).await {
            assert!(Instant::now() < until, "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        this
    }
}

/// A certificate that is its own authority, and its key, where the server may read them.
fn certificate(server: &Postgres, name: &str) -> (PathBuf, PathBuf) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let owner = fs::metadata(server.directory()).unwrap();
    let write = |ending: &str, text: &str| {
        let path: PathBuf = Path::new(server.directory()).join(format!("{name}.{ending}"));
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        path
    };
    (
        write("crt", &made.cert.pem()),
        write("key", &made.signing_key.serialize_pem()),
    )
}
