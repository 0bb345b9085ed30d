//! Databases and configurations that cannot be used: what is said, how the process ends, and that nothing was changed.

use std::{
    fs,
    net::TcpListener,
    process::{Command, Stdio},
};

use everstep::dev::child::{self, Child};
use nix::{sys::signal::Signal, unistd::Uid};
use tempfile::TempDir;

use crate::support::{
    postgres,
    system::{Process, System},
};

const ROLES: [&str; 3] = ["all", "controller", "worker"];

#[tokio::test]
async fn service_waits_for_a_database_that_is_away_and_says_so() {
    let mut system = System::new("away").await;
    system.database_url = format!("postgres://postgres:secret@127.0.0.1:{}/x", free_port());
    for role in ROLES {
        let mut process = system.spawn(role, &[]);
        let said = process.not_ready("store: PostgreSQL is not available: ").await;
        assert!(said.contains("refused"), "{said}");
        assert_eq!(process.get("/livez").await.0, 200, "it is alive");
        process
            .logged("the database is away", |line| {
                line["level"] == "ERROR" && line["message"].as_str().unwrap().contains("trying again")
            })
            .await;
        process.stop().await;
    }
    let mut migrate = Process::spawn(&["migrate", "--database-url", &system.database_url], &[]);
    assert_eq!(migrate.ended().await.code(), Some(1));
    assert!(
        migrate.errors().contains("PostgreSQL is not available"),
        "{}",
        migrate.errors()
    );
    assert!(!migrate.errors().contains("secret"), "{}", migrate.errors());
}

#[tokio::test]
async fn database_that_will_not_do_is_refused_with_what_to_do() {
    let mut system = System::new("refused").await;
    let server = postgres::server().await;
    let right = system.direct_url.clone();
    let wrong_password = right.replace(server.password(), "wrong");
    let no_such = format!("{right}_absent");
    for (url, said) in [
        (&wrong_password, "PostgreSQL refused the login"),
        (&wrong_password, "Check user and password of the database URL"),
        (&no_such, "PostgreSQL has no such database"),
        (&no_such, "CREATE DATABASE"),
    ] {
        system.database_url.clone_from(url);
        refuses(&mut system.spawn("all", &[]), 3, &[said]).await;
        refuses(
            &mut Process::spawn(&["migrate", "--database-url", url], &[]),
            3,
            &[said],
        )
        .await;
    }
}

#[tokio::test]
async fn database_of_another_cluster_is_refused_with_both_ids() {
    let system = System::new("foreign").await;
    execute(
        &system,
        "INSERT INTO everstep.cluster (id, install) VALUES ('theirs-4711', 'default')",
    )
    .await;
    let ours = system.api_get("/api/v1/namespaces/kube-system").await["metadata"]["uid"]
        .as_str()
        .unwrap()
        .to_owned();
    for role in ROLES {
        refuses(
            &mut system.spawn(role, &[]),
            3,
            &["theirs-4711", &ours, "use another database"],
        )
        .await;
    }
    assert_eq!(
        system
            .count("SELECT count(*) FROM everstep.cluster WHERE id = 'theirs-4711' AND epoch = 1")
            .await,
        1
    );
    assert_eq!(system.count("SELECT count(*) FROM everstep.workers").await, 0);
}

#[tokio::test]
async fn database_of_a_newer_release_is_refused() {
    let system = System::new("newer").await;
    let known = "SELECT count(*) FROM everstep.migrations";
    let ours = system.count(known).await;
    execute(
        &system,
        "INSERT INTO everstep.migrations (version, name, checksum) VALUES (900, '0900_later', '')",
    )
    .await;
    let said = ["migration 900", "newer than this release", "run the newer release"];
    for role in ROLES {
        refuses(&mut system.spawn(role, &[]), 3, &said).await;
    }
    for mode in ["auto", "verify"] {
        let words = ["migrate", "--migrations", mode, "--database-url", &system.database_url];
        refuses(&mut Process::spawn(&words, &[]), 3, &said).await;
    }
    assert_eq!(system.count("SELECT count(*) FROM everstep.cluster").await, 0);
    assert_eq!(system.count(known).await, ours + 1);
}

#[tokio::test]
async fn empty_database_is_migrated_by_the_controller_and_awaited_by_the_worker() {
    let mut system = System::new("empty").await;
    system.database_url = postgres::empty_database().await;
    system.direct_url.clone_from(&system.database_url);
    let verify = [
        "migrate",
        "--migrations",
        "verify",
        "--database-url",
        &system.database_url,
    ];
    refuses(&mut Process::spawn(&verify, &[]), 3, &["run `everstep migrate`"]).await;
    refuses(
        &mut system.spawn("controller", &[("--migrations", "verify")]),
        3,
        &["run `everstep migrate`"],
    )
    .await;

    let mut worker = system.spawn("worker", &[]);
    worker.not_ready("waiting for the controller").await;
    assert_eq!(
        system
            .count("SELECT count(*) FROM pg_namespace WHERE nspname = 'everstep'")
            .await,
        0
    );
    let controller = system.start("controller", &[]).await;
    worker.ready().await;
    assert!(
        worker.logs().iter().all(|line| line["level"] != "ERROR"),
        "the usual order of a first install is no error"
    );
    controller.stop().await;
    worker.stop().await;

    let mut migrate = Process::spawn(&["migrate", "--database-url", &system.database_url], &[]);
    assert!(migrate.ended().await.success());
    assert!(migrate.output().contains("nothing to do"), "{}", migrate.output());
}

#[tokio::test]
async fn pooler_in_transaction_mode_is_refused() {
    let mut system = System::new("pooled").await;
    let pooler = Pooler::start().await;
    system.database_url = system.direct_url.replace(
        &format!(":{}/", postgres::server().await.port()),
        &format!(":{}/", pooler.port),
    );
    let said = [
        "a connection pooler is in front of PostgreSQL",
        "needs direct connections",
    ];
    for role in ROLES {
        refuses(&mut system.spawn(role, &[]), 3, &said).await;
    }
    refuses(
        &mut Process::spawn(&["migrate", "--database-url", &system.database_url], &[]),
        3,
        &said,
    )
    .await;
    assert_eq!(system.count("SELECT count(*) FROM everstep.cluster").await, 0);
}

#[tokio::test]
async fn wrong_usage_ends_with_2_and_says_what_is_wrong() {
    let system = System::new("usage").await;
    let kubeconfig = system.kubeconfig.to_str().unwrap();
    let (url, config) = (
        ("EVERSTEP_DATABASE_URL", system.direct_url.as_str()),
        ("KUBECONFIG", kubeconfig),
    );
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty_policy = file("empty.yaml", "");
    let wrong_policy = file(
        "wrong.yaml",
        "allow: [{hosts: [h], ports: [443], methods: [get], namespaces: ['*']}]",
    );
    let odd_policy = file("odd.yaml", "allow: []\nallowAdresses: []");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();

    type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        (
            &["all"],
            &[config, url, ("EVERSTEP_LEESE", "30s")],
            &["unknown environment variable EVERSTEP_LEESE", "EVERSTEP_LEASE"],
        ),
        (&["crd"], &[("EVERSTEP_LEESE", "30s")], &["EVERSTEP_LEESE"]),
        (&["all", "--leese", "30s"], &[config, url], &["--leese"]),
        (&["alles"], &[], &["alles"]),
        (&["worker", "--lease", "999ms"], &[config, url], &["at least 1s"]),
        (
            &["worker"],
            &[config, url, ("EVERSTEP_LEASE", "soon")],
            &["write a duration such as"],
        ),
        (&["worker", "--max-runs", "0"], &[config, url], &["--max-runs"]),
        (&["controller", "--resync", "1ms"], &[config, url], &["at least 100ms"]),
        (&["all", "--log", "everstep=loud"], &[config, url], &["everstep=loud"]),
        (
            &["all", "--log", "everstep=debug,warning"],
            &[config, url],
            &[
                "warning",
                "is no level (off, error, warn, info, debug, trace)",
                "warning=info",
            ],
        ),
        (&["all", "--log-format", "xml"], &[config, url], &["xml", "json, text"]),
        (
            &["all", "--namespaces", "Shop"],
            &[config, url],
            &["not the name of a namespace"],
        ),
        (&["all"], &[config], &["no database", "EVERSTEP_DATABASE_URL"]),
        (
            &["all", "--database-url", "mysql://h/d"],
            &[config],
            &["postgres://USER:PASSWORD@HOST:PORT/DATABASE"],
        ),
        (
            &["migrate", "--database-url", "mysql://h/d"],
            &[],
            &["postgres://USER:PASSWORD@HOST:PORT/DATABASE"],
        ),
        (&["all", "--database-url-file", "/absent"], &[config], &["/absent"]),
        (
            &["all", "--database-url-file", "/absent"],
            &[config, url],
            &["--database-url-file /absent"],
        ),
        (
            &["all", "--database-url-file", "/absent", "--database-url", url.1],
            &[config],
            &["--database-url cannot be used with --database-url-file"],
        ),
        (
            &["all"],
            &[url, ("KUBECONFIG", "/absent")],
            &["no way to the API server", "/absent"],
        ),
        (&["all", "--listen", &taken], &[config, url], &["--listen", &taken]),
        (&["all", "--egress-policy", "/absent"], &[config, url], &["/absent"]),
        (
            &["all", "--egress-policy", &empty_policy],
            &[config, url],
            &["empty.yaml", "`allow: []`"],
        ),
        (
            &["worker", "--egress-policy", &wrong_policy],
            &[config, url],
            &["wrong.yaml", "allow[0].methods", "get"],
        ),
        (
            &["worker", "--egress-policy", &odd_policy],
            &[config, url],
            &["odd.yaml", "allowAdresses"],
        ),
    ];
    for (words, environment, said) in cases {
        refuses(&mut Process::spawn(words, environment), 2, said).await;
    }
    assert_eq!(system.count("SELECT count(*) FROM everstep.cluster").await, 0);
}

#[tokio::test]
async fn last_words_of_a_service_are_a_log_line_and_those_of_a_command_are_not() {
    let system = System::new("last-words").await;
    let url = format!("{}_absent", system.direct_url);
    let config = ("KUBECONFIG", system.kubeconfig.to_str().unwrap());
    for role in ROLES {
        // Also where the filter lets nothing through.
        for filter in ["info", "off"] {
            let words = [role, "--log", filter, "--listen", "127.0.0.1:0", "--database-url", &url];
            let mut process = Process::spawn(&words, &[config]);
            assert_eq!(process.ended().await.code(), Some(3));
            let errors = process.errors();
            let lines = process.logs();
            assert_eq!(lines.len(), errors.lines().count(), "each line is JSON: {errors}");
            let last = lines.last().unwrap();
            for field in ["timestamp", "level", "message", "target"] {
                assert!(last[field].is_string(), "{field} of {last}");
            }
            let said = last["message"].as_str().unwrap();
            assert!(said.contains("PostgreSQL has no such database"), "{last}");
        }
    }
    for words in [
        &["all", "--log-format", "text", "--listen", "127.0.0.1:0"][..],
        &["migrate"],
    ] {
        let words = [words, &["--database-url", &url]].concat();
        let mut process = Process::spawn(&words, &[config]);
        process.ended().await;
        let errors = process.errors();
        let last = errors.lines().last().unwrap();
        assert!(
            last.starts_with("everstep: PostgreSQL has no such database"),
            "{errors}"
        );
    }
}

/// It ends with this code, and says all of this on standard error.
async fn refuses(process: &mut Process, code: i32, said: &[&str]) {
    let status = process.ended().await;
    let errors = process.errors();
    assert_eq!(status.code(), Some(code), "{errors}");
    for fragment in said {
        assert!(errors.contains(fragment), "{fragment:?} is not said by:\n{errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
}

async fn execute(system: &System, sql: &'static str) {
    sqlx::query(sql).execute(&mut system.sql().await).await.unwrap();
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A pgbouncer in transaction mode in front of the test binary's server. It lets everybody in.
struct Pooler {
    port: u16,
    _process: Child,
    _directory: TempDir,
}

impl Pooler {
    async fn start() -> Self {
        let server = postgres::server().await;
        let (directory, port) = (tempfile::tempdir().unwrap(), free_port());
        let file = directory.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres password={}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\n",
            server.port(),
            server.password()
        );
        fs::write(&file, text).unwrap();
        let mut command = child::command(program(), Signal::SIGKILL);
        if Uid::effective().is_root() {
            // It refuses to be root, and must be able to read its file.
            let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            fs::set_permissions(directory.path(), everybody).unwrap();
            command.args(["-u", "nobody"]);
        }
        let process = Child::spawn(silent(command, &file)).expect("pgbouncer is there: `make deps` installs it");
        let until = std::time::Instant::now() + crate::support::system::DEADLINE;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(std::time::Instant::now() < until, "pgbouncer does not listen");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        Self {
            port,
            _process: process,
            _directory: directory,
        }
    }
}

fn silent(mut command: Command, file: &std::path::Path) -> Command {
    command
        .arg(file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// Debian keeps it where only administrators look.
fn program() -> &'static str {
    let debian = "/usr/sbin/pgbouncer";
    if fs::exists(debian).unwrap_or(false) {
        debian
    } else {
        "pgbouncer"
    }
}
