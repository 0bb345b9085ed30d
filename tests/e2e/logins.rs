//! A login that may change the schema, and one that may only use it: the statements of `docs/operations.md`, as they stand
//! there. Roles are the server's: no other test may make these.

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

use crate::support::{
    postgres,
    system::{Process, System, example},
};

const PAGE: &str = include_str!("../../docs/operations.md");

#[tokio::test]
async fn login_that_does_not_own_the_schema_runs_workflows_with_the_rights_of_the_page() {
    let mut system = System::new("logins").await;
    let [administrator, owner] = &blocks()[..] else {
        panic!("{:?}", blocks())
    };
    let mut sql = PgConnection::connect(&postgres::server().await.url("postgres"))
        .await
        .unwrap();
    for statement in administrator {
        run(&mut sql, statement).await;
    }
    let owners = url("everstep_owner").await;
    let mut migrate = Process::spawn(&["migrate", "--database-url", &owners], &[]);
    assert!(migrate.ended().await.success(), "{}", migrate.errors());

    system.database_url = url("everstep_runtime").await;
    let mut sql = PgConnection::connect(&owners).await.unwrap();
    let mut denied = [
        "permission denied for schema everstep",
        "permission denied for table migrations",
    ]
    .into_iter();
    for statement in owner {
        if let Some(said) = denied.next() {
            refused(&system, said).await;
        }
        run(&mut sql, statement).await;
    }

    let flags = [("--migrations", "verify"), ("--orphan-period", "1s")];
    let mut controller = system.start("controller", &flags).await;
    let mut worker = system.start("worker", &[]).await;
    system.apply(&example("hello.yaml")).await;
    assert_eq!(system.finished("hello").await["status"]["run"]["phase"], "Succeeded");
    controller
        .shows("everstep_orphan_passes_total{result=\"done\"}", 1.0)
        .await;
    controller
        .shows("everstep_detector_last_success_timestamp_seconds", 1.0)
        .await;
    for process in [&mut controller, &mut worker] {
        assert!(!process.errors().contains("permission denied"), "{}", process.errors());
    }

    run(&mut sql, "CREATE TABLE everstep.of_a_later_release (id int)").await;
    let may = "SELECT has_table_privilege('everstep_runtime', 'everstep.of_a_later_release', 'INSERT')";
    assert!(sqlx::query_scalar::<_, bool>(may).fetch_one(&mut sql).await.unwrap());
}

/// The statements of the section about PostgreSQL, block by block.
fn blocks() -> Vec<Vec<&'static str>> {
    let (_, section) = PAGE.split_once("\n## PostgreSQL\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let blocks = section.split("```sql\n").skip(1);
    blocks
        .map(|block| block.split_once("```").unwrap().0.lines().collect())
        .collect()
}

/// Neither service starts with these rights, and each says what is missing and what to do.
async fn refused(system: &System, said: &str) {
    for role in ["controller", "worker"] {
        let mut process = system.spawn(role, &[("--migrations", "verify")]);
        assert_eq!(process.ended().await.code(), Some(3), "{}", process.errors());
        let errors = process.errors();
        for said in [
            said,
            "needs USAGE on it, and SELECT, INSERT, UPDATE and DELETE on its tables",
        ] {
            assert!(errors.contains(said), "{said:?} is not said by:\n{errors}");
        }
    }
}

async fn url(role: &str) -> String {
    let mut url = url::Url::parse(&postgres::server().await.url("everstep")).unwrap();
    url.set_username(role).unwrap();
    url.set_password(Some("secret")).unwrap();
    url.into()
}

async fn run(sql: &mut PgConnection, statement: &str) {
    sql.execute(AssertSqlSafe(statement.to_owned())).await.unwrap();
}
