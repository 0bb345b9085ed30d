//! What the examples work with: a payments server and the shop's database.

use std::time::Duration;

use sqlx::{Connection, PgConnection};
use tokio::{net::TcpListener, task::JoinHandle};

use super::{super::postgres, count, manifests::example};

#[path = "../../../e2e/payments/server.rs"]
mod payments;

pub(crate) use payments::{Entry, Ledger};

/// A payments server of a test; it ends when dropped.
pub(crate) struct Payments {
    pub(crate) port: u16,
    pub(crate) ledger: Ledger,
    task: JoinHandle<()>,
}

impl Payments {
    /// Its requests take `delay`.
    pub(crate) async fn start(delay: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let ledger = Ledger::with_delay(delay);
        let shared = ledger.clone();
        let task = tokio::spawn(async move { payments::serve(listener, shared).await.unwrap() });
        Self { port, ledger, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What was done under this path.
    pub(crate) fn entries(&self, path: &str) -> Vec<Entry> {
        let mut entries = self.ledger.entries();
        entries.retain(|entry| entry.path == path);
        entries
    }
}

impl Drop for Payments {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The shop's own database: `stock(sku, qty)` with ten WIDGETs, and `reservation(id, order_id, sku, confirmed)`.
pub(crate) struct Shop {
    pub(crate) port: u16,
    /// As a Connection's Secret holds it.
    pub(crate) url: String,
}

impl Shop {
    pub(crate) async fn new() -> Self {
        let url = postgres::empty_database().await;
        let mut sql = PgConnection::connect(&url).await.unwrap();
        sqlx::raw_sql(
            "CREATE TABLE stock (sku text PRIMARY KEY, qty int NOT NULL);
             CREATE TABLE reservation (id serial PRIMARY KEY, order_id text NOT NULL UNIQUE, sku text NOT NULL,
                                       confirmed boolean NOT NULL DEFAULT false);
             INSERT INTO stock VALUES ('WIDGET', 10);",
        )
        .execute(&mut sql)
        .await
        .unwrap();
        Self {
            port: postgres::server().await.port(),
            url: format!("{url}?sslmode=disable"),
        }
    }

    /// The one number that a query answers.
    pub(crate) async fn count(&self, query: &str) -> i64 {
        count(&mut PgConnection::connect(&self.url).await.unwrap(), query).await
    }
}

/// `examples/order.yaml` on this database and this payments server.
pub(crate) fn order(shop: &Shop, payments: &Payments) -> String {
    at_home(&example("order.yaml"), shop, payments)
}

/// `examples/order-saga.yaml` on this database and this payments server.
pub(crate) fn order_saga(shop: &Shop, payments: &Payments) -> String {
    at_home(&example("order-saga.yaml"), shop, payments)
}

/// An example with its addresses replaced by those of a test.
fn at_home(text: &str, shop: &Shop, payments: &Payments) -> String {
    let (database, api) = (
        "postgres://shop:shop@127.0.0.1:5432/shop?sslmode=disable",
        "http://127.0.0.1:8099",
    );
    assert!(
        text.contains(database) && text.contains(api),
        "the example's addresses have changed"
    );
    text.replace(database, &shop.url).replace(api, &payments.url())
}
