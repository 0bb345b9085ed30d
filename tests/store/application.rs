//! An application with a login of its own, as the tests of the SQL surface use it.

use everstep::store::Submission;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

use crate::rig::{Rig, rig, wish};

/// A database with the Workflow `shop/order`, and an application that may use the namespace.
pub(crate) struct Shop {
    pub(crate) rig: Rig,
    pub(crate) role: String,
    pub(crate) url: String,
    pub(crate) app: PgConnection,
}

pub(crate) async fn shop() -> Shop {
    let mut rig = rig().await;
    rig.submit(order()).await;
    let database: String = rig.one("SELECT current_database()::text").await;
    let role = format!("app_{database}");
    let url = login(&mut rig, &role).await;
    rig.run(&format!("SELECT everstep.grant_namespace('{role}', 'shop')"))
        .await;
    let app = PgConnection::connect(&url).await.unwrap();
    Shop { rig, role, url, app }
}

pub(crate) fn order() -> Submission {
    Submission {
        name: "order".to_owned(),
        workflow: "order".to_owned(),
        start: None,
        ..wish("order")
    }
}

/// A run in the namespace `bank`, which the application may not use.
pub(crate) async fn foreign(rig: &Rig) -> Uuid {
    let theirs = Submission {
        namespace: "bank".to_owned(),
        ..wish("b")
    };
    rig.submit(theirs).await.run.unwrap()
}

/// Roles are the server's, which tests share: they carry the name of the database.
pub(crate) async fn login(rig: &mut Rig, role: &str) -> String {
    rig.run(&format!("CREATE ROLE {role} LOGIN PASSWORD 'app'")).await;
    let mut url = url::Url::parse(&rig.url).unwrap();
    url.set_username(role).unwrap();
    url.set_password(Some("app")).unwrap();
    url.into()
}

pub(crate) async fn row(sql: &mut PgConnection, query: &str) -> Result<PgRow, sqlx::Error> {
    sqlx::query(AssertSqlSafe(query.to_owned())).fetch_one(sql).await
}

pub(crate) async fn run(sql: &mut PgConnection, query: &str) {
    sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
        .execute(sql)
        .await
        .unwrap();
}

pub(crate) async fn start(sql: &mut PgConnection, arguments: &str) -> Uuid {
    row(sql, &format!("SELECT everstep.start({arguments})"))
        .await
        .unwrap()
        .get(0)
}

/// Started, and met by a worker.
pub(crate) async fn started(shop: &mut Shop, arguments: &str) -> Uuid {
    let id = start(&mut shop.app, arguments).await;
    let worker = shop.rig.worker().await;
    assert_eq!(shop.rig.store.claim(worker, 10, None).await.unwrap(), 1);
    id
}

pub(crate) async fn signal(sql: &mut PgConnection, arguments: &str) -> String {
    row(sql, &format!("SELECT everstep.signal({arguments})"))
        .await
        .unwrap()
        .get(0)
}

/// SQLSTATE and message of a call that fails.
pub(crate) async fn refused(sql: &mut PgConnection, query: &str) -> (String, String) {
    let error = row(sql, query)
        .await
        .err()
        .unwrap_or_else(|| panic!("{query} was not refused"));
    let error = error.into_database_error().unwrap();
    (error.code().unwrap().into_owned(), error.message().to_owned())
}

/// How many rows there are of all that the SQL surface can write.
pub(crate) async fn rows(rig: &mut Rig) -> i64 {
    rig.one(
        "SELECT (SELECT count(*) FROM everstep.runs) + (SELECT count(*) FROM everstep.starts)
           + (SELECT count(*) FROM everstep.active) + (SELECT count(*) FROM everstep.inbox)
           + (SELECT count(*) FROM everstep.arrivals) + (SELECT count(*) FROM everstep.audit)",
    )
    .await
}

pub(crate) const UNKNOWN: &str = "00000000-0000-7000-8000-000000000000";
