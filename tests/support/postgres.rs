//! One private PostgreSQL server a test binary, and a database a test, copied from a migrated template.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};

use everstep::dev::postgres::{Options, Postgres};
use tokio::sync::OnceCell;

const TEMPLATE: &str = "template_migrated";

/// The server of this test binary. Tests that stop or kill a server start their own.
pub(crate) async fn server() -> &'static Postgres {
    static SERVER: OnceCell<Postgres> = OnceCell::const_new();
    SERVER
        .get_or_init(|| blocking(|| Postgres::start(Options::default()).unwrap()))
        .await
}

/// The address of a new database, with everything that `migrate` did to the template: it is called once a test
/// binary, with the template's address, and must have closed its connections when it returns.
pub(crate) async fn database<F, Fut>(migrate: F) -> String
where
    F: FnOnce(String) -> Fut,
    Fut: Future<Output = ()>,
{
    static MIGRATED: OnceCell<()> = OnceCell::const_new();
    let server = server().await;
    MIGRATED
        .get_or_init(|| async {
            blocking(|| server.create_database(TEMPLATE).unwrap()).await;
            migrate(server.url(TEMPLATE)).await;
        })
        .await;

    let name = new_name();
    blocking(move || {
        server.create_database_from_template(&name, TEMPLATE).unwrap();
        server.url(&name)
    })
    .await
}

/// The address of a new, empty database.
pub(crate) async fn empty_database() -> String {
    let server = server().await;
    let name = new_name();
    blocking(move || {
        server.create_database(&name).unwrap();
        server.url(&name)
    })
    .await
}

fn new_name() -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

async fn blocking<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(call).await.unwrap()
}
