//! The engine's database over TLS: verified in full, or refused with what to do.

use everstep::store::{Error, Refusal, Store};

use crate::rig::options;
use crate::tls_postgres::TlsPostgres;

#[tokio::test]
async fn server_is_verified_by_its_authority_and_its_name_or_refused() {
    let tls = TlsPostgres::start("engine").await;
    let url = |options: &str| format!("{}?{options}", tls.server.url("engine"));
    let trusting = |authority: &std::path::Path| format!("sslmode=verify-full&sslrootcert={}", authority.display());

    let store = Store::connect(&options(&url(&trusting(&tls.authority)))).await.unwrap();
    store.ping().await.unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name = 'test'";
    let mut sql = <sqlx::PgConnection as sqlx::Connection>::connect(&tls.server.url("engine"))
        .await
        .unwrap();
    let sessions: i64 = sqlx::query_scalar(encrypted).fetch_one(&mut sql).await.unwrap();
    assert!(sessions > 0);

    let by_name = tls.server.url("engine").replace("127.0.0.1", "localhost");
    for (url, what) in [
        (url(&trusting(&tls.stranger)), "another authority"),
        (url("sslmode=verify-full"), "the machine's authorities"),
        (format!("{by_name}?{}", trusting(&tls.authority)), "another name"),
    ] {
        let error = Store::connect(&options(&url)).await.unwrap_err();
        let Error::Refused(refusal @ Refusal::Certificate(_)) = &error else {
            panic!("{what}: {error}")
        };
        let said = refusal.to_string();
        assert!(
            said.contains("sslrootcert") && said.contains("certificate"),
            "{what}: {said}"
        );
        assert!(!said.contains(tls.server.password()), "{said}");
    }
}

#[tokio::test]
async fn server_without_tls_is_refused_by_a_url_that_asks_for_it() {
    let url = crate::postgres::empty_database().await + "?sslmode=verify-full";
    let error = Store::connect(&options(&url)).await.unwrap_err();
    assert!(matches!(&error, Error::Refused(Refusal::Certificate(_))), "{error}");
    assert!(error.to_string().contains("does not support TLS"), "{error}");
}
