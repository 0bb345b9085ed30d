//! The outside world of the corpus: an HTTP server that misbehaves as its path says, and a tenant's database.

use sqlx::{Connection, PgConnection};

use crate::{
    http_server::{Reply, Server, answer},
    support::{
        postgres,
        system::{System, connection, secret},
    },
};

/// It must not show up anywhere.
pub(crate) const TENANT_PASSWORD: &str = "corpus-tenant-password";
const LIMIT: usize = 256 * 1024;

pub(crate) struct Servers {
    http: Server,
    database_url: String,
}

impl Servers {
    /// Starts them, and lets the system's steps reach any host on the HTTP server's port and on port 80, as far as
    /// addresses allow it: only 127.0.0.1 does.
    pub(crate) async fn start(system: &System) -> Self {
        let http = Server::start(reply).await;
        let policy = serde_json::json!({
            "allow": [{"hosts": ["*"], "ports": [http.port, 80], "methods": ["*"], "namespaces": [system.namespace]}],
            "allowAddresses": ["127.0.0.1/32"],
        });
        std::fs::write(system.policy_file(), policy.to_string()).unwrap();
        Self {
            http,
            database_url: database().await,
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.http.port)
    }

    pub(crate) fn port(&self) -> String {
        self.http.port.to_string()
    }

    /// The Connections `api` and `database`, and the Secret of the latter.
    pub(crate) fn manifests(&self) -> String {
        let api = format!("{{http: {{baseUrl: 'http://{}'}}}}", self.address());
        let database = "{postgres: {urlFrom: {secretKeyRef: {name: database, key: url}}}}";
        secret("database", "url", &self.database_url) + &connection("api", &api) + &connection("database", database)
    }
}

/// A database with a table of the administrator's, and the URL of a login that may read and write another one.
async fn database() -> String {
    let url = postgres::empty_database().await;
    let mut sql = PgConnection::connect(&url).await.unwrap();
    let setup = format!(
        "CREATE ROLE tenant LOGIN PASSWORD '{TENANT_PASSWORD}';
         CREATE TABLE crown_jewels (value text);
         CREATE TABLE mine (value int PRIMARY KEY);
         INSERT INTO crown_jewels VALUES ('gold');
         GRANT SELECT, INSERT, UPDATE, DELETE ON mine TO tenant;"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(setup))
        .execute(&mut sql)
        .await
        .unwrap();
    let (_, rest) = url.split_once('@').unwrap();
    format!("postgres://tenant:{TENANT_PASSWORD}@{rest}?sslmode=disable")
}

/// What the server does, by the path.
fn reply(request: &str) -> Reply {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let endless = |head: &str, piece: &str| Reply::Flood {
        head: head.as_bytes().to_vec(),
        piece: piece.repeat(1024).into_bytes(),
        times: 100_000,
    };
    let json = |body: &str| Reply::Close(answer("200 OK", "content-type: application/json\r\n", body));
    match path {
        "/fine" => json("{\"ok\": true}"),
        "/slow" => Reply::Hang(Vec::new()),
        "/slow-body" => Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf".to_vec()),
        "/endless-body" => endless("HTTP/1.1 200 OK\r\n\r\n", "0123456789"),
        "/endless-chunks" => endless("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
        "/endless-headers" => endless("HTTP/1.1 200 OK\r\n", "x-more: 0123456789\r\n"),
        "/endless-interim" => endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        "/claims-much" => Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_vec()),
        "/garbage" => Reply::Close(vec![0xff; 512]),
        "/two-lengths" => {
            Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc".to_vec())
        }
        "/not-utf8" => Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xff\xfe".to_vec()),
        "/lone-surrogate" => json(r#"{"a": "\ud800"}"#),
        "/zero-character" => json(r#""a\u0000b""#),
        "/deep" => json(&("[".repeat(5_000) + &"]".repeat(5_000))),
        "/nested-200" => json(&("[".repeat(100) + &"]".repeat(100))),
        "/big" => json(&format!("\"{}\"", "x".repeat(LIMIT))),
        "/huge-number" => json("{\"n\": 1e999}"),
        "/gzip" => Reply::Close(answer("200 OK", "content-encoding: gzip\r\n", "not really")),
        "/redirect-metadata" => Reply::Close(answer("302 Found", "location: http://169.254.169.254/\r\n", "")),
        "/redirect-self" => Reply::Close(answer("307 Temporary Redirect", "location: /redirect-self\r\n", "")),
        "/redirect-file" => Reply::Close(answer("301 Moved Permanently", "location: file:///etc/passwd\r\n", "")),
        _ => Reply::Close(answer("404 Not Found", "", "")),
    }
}
