//! The private PostgreSQL server of `everstep::dev::postgres`: that it starts, comes back, refuses strangers, and that
//! nothing of it is left.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod support;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use everstep::dev::postgres::{Options, Postgres, Shutdown};
use sqlx::{Connection, PgConnection};
use support::process;

#[tokio::test]
async fn data_survives_a_crash_and_a_restart_on_the_same_port() {
    let mut server = Postgres::start(Options::default()).unwrap();
    let port = server.port();
    server.create_database("kept").unwrap();
    execute(
        &server.url("kept"),
        "CREATE TABLE word (word text); INSERT INTO word VALUES ('durable')",
    )
    .await;

    server.restart(Shutdown::Fast).unwrap();
    assert_eq!(word(&server).await, "durable");
    server.restart(Shutdown::Immediate).unwrap();
    assert_eq!(word(&server).await, "durable");
    server.kill().unwrap();
    assert_eq!(server.pid(), None);
    server.resume().unwrap();
    assert_eq!(word(&server).await, "durable");
    assert_eq!(server.port(), port);
}

#[tokio::test]
async fn settings_and_environment_reach_the_server() {
    let server = Postgres::start(Options {
        settings: vec![
            ("work_mem".to_owned(), "5MB".to_owned()),
            ("everstep.note".to_owned(), "it's".to_owned()),
            ("max_connections".to_owned(), "20".to_owned()),
        ],
        environment: vec![("PGTZ_OF_TEST".into(), "set".into())],
        parent: None,
    })
    .unwrap();
    let url = server.url("postgres");
    assert_eq!(text(&url, "SHOW work_mem").await, "5MB");
    assert_eq!(text(&url, "SHOW everstep.note").await, "it's");
    assert_eq!(
        text(&url, "SHOW max_connections").await,
        "20",
        "the caller's settings win over the defaults"
    );
    assert_eq!(text(&url, "SHOW fsync").await, "on");
    let environment = std::fs::read(format!("/proc/{}/environ", server.pid().unwrap())).unwrap();
    assert!(
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == b"PGTZ_OF_TEST=set")
    );
}

#[tokio::test]
async fn wrong_password_is_refused() {
    let server = Postgres::start(Options::default()).unwrap();
    let wrong = server.url("postgres").replace(server.password(), "guess");
    let error = PgConnection::connect(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("password authentication failed"), "{error}");
}

#[tokio::test]
async fn database_of_a_template_has_its_tables() {
    let server = Postgres::start(Options::default()).unwrap();
    server.create_database("template").unwrap();
    execute(
        &server.url("template"),
        "CREATE TABLE word (word text); INSERT INTO word VALUES ('copied')",
    )
    .await;
    server.create_database_from_template("kept", "template").unwrap();
    assert_eq!(word(&server).await, "copied");

    let again = server.create_database("kept").unwrap_err().to_string();
    assert!(again.contains("already exists"), "{again}");
}

#[test]
fn setting_that_the_server_does_not_know_is_an_error_with_its_log() {
    let settings = vec![("no_such_setting".to_owned(), "1".to_owned())];
    let error = Postgres::start(Options {
        settings,
        ..Options::default()
    })
    .unwrap_err()
    .to_string();
    assert!(error.contains("no_such_setting"), "{error}");
}

#[test]
fn nothing_is_left_of_a_dropped_server() {
    let server = Postgres::start(Options::default()).unwrap();
    let (pid, directory) = (server.pid().unwrap(), server.directory().to_owned());
    let family = process::family(pid);
    assert!(family.len() > 3, "the server and its background processes: {family:?}");
    drop(server);
    assert!(!directory.exists());
    process::wait_until_gone(&family);
}

#[test]
fn nothing_is_left_when_the_process_that_started_it_is_killed() {
    let mut holder = process::again("holds_a_server_until_killed", &[]);
    let mut holder = holder.stdout(Stdio::piped()).spawn().unwrap();
    let said = process::lines_until(holder.stdout.as_mut().unwrap(), "holding");
    let pid: u32 = said["pid"].parse().unwrap();
    let directory = PathBuf::from(&said["directory"]);
    let family = process::family(pid);
    assert!(directory.join("data").exists() && family.len() > 3);

    holder.kill().unwrap();
    holder.wait().unwrap();
    process::wait_until_gone(&family);
    process::wait_until_removed(&directory);
}

/// Not a test of its own: the process that the test above kills.
#[test]
fn holds_a_server_until_killed() {
    if !process::is_again() {
        return;
    }
    let server = Postgres::start(Options::default()).unwrap();
    println!("\npid={}", server.pid().unwrap());
    println!("directory={}", server.directory().display());
    println!("holding=yes");
    std::thread::sleep(Duration::from_secs(60));
}

#[tokio::test]
async fn each_test_has_its_own_copy_of_the_migrated_template() {
    async fn migrate(url: String) {
        execute(
            &url,
            "CREATE TABLE word (word text); INSERT INTO word VALUES ('migrated')",
        )
        .await;
    }
    let (one, two) = tokio::join!(
        support::postgres::database(migrate),
        support::postgres::database(migrate)
    );
    assert_ne!(one, two);
    execute(&one, "UPDATE word SET word = 'changed'").await;
    assert_eq!(text(&one, "SELECT word FROM word").await, "changed");
    assert_eq!(text(&two, "SELECT word FROM word").await, "migrated");
}

async fn execute(url: &str, statements: &'static str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(statements).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn text(url: &str, query: &'static str) -> String {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let text = sqlx::query_scalar(query).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    text
}

async fn word(server: &Postgres) -> String {
    text(&server.url("kept"), "SELECT word FROM word").await
}
