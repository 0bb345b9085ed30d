//! A store on a database of its own, and short words for what tests say often.

use std::time::{Duration, Instant};

use everstep::dev::postgres::Postgres;
use everstep::engine::{Phase, Summary};
use everstep::store::{
    Append, DeletionPolicy, Loaded, Migrations, Options, Retention, Start, Store, Submission, Submitted, Then, Told,
};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use uuid::Uuid;

use crate::postgres;

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A store, and a plain connection to look behind it.
pub(crate) struct Rig {
    pub(crate) store: Store,
    pub(crate) url: String,
    pub(crate) sql: PgConnection,
}

pub(crate) fn options(url: &str) -> Options {
    Options {
        url: url.to_owned(),
        max_connections: 4,
        application_name: "test".to_owned(),
    }
}

pub(crate) async fn rig() -> Rig {
    let url = postgres::database(|url| async move {
        let store = Store::connect(&options(&url)).await.unwrap();
        store.migrate(Migrations::Auto).await.unwrap();
        store.adopt_cluster("cluster-1", "default").await.unwrap();
    })
    .await;
    Rig {
        store: Store::connect(&options(&url)).await.unwrap(),
        sql: PgConnection::connect(&url).await.unwrap(),
        url,
    }
}

/// A store on a server of its own, which ends when dropped.
pub(crate) async fn private(settings: &[(&str, &str)]) -> (Postgres, Rig) {
    let settings = settings
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    let options = everstep::dev::postgres::Options {
        settings: settings.collect(),
        ..Default::default()
    };
    let start = move || {
        let server = Postgres::start(options).unwrap();
        server.create_database("engine").unwrap();
        server
    };
    let server = tokio::task::spawn_blocking(start).await.unwrap();
    let url = server.url("engine");
    let store = Store::connect(&self::options(&url)).await.unwrap();
    store.migrate(Migrations::Auto).await.unwrap();
    store.adopt_cluster("cluster-1", "default").await.unwrap();
    let sql = PgConnection::connect(&url).await.unwrap();
    (server, Rig { store, url, sql })
}

impl Rig {
    /// Waits until a session of this database, other than this one, waits as `wait` says (a condition on
    /// `pg_stat_activity`); answers its process and when its statement began.
    pub(crate) async fn waiting(&mut self, wait: &str) -> (i32, String) {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let sessions = format!(
                "SELECT pid, query_start::text FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid() AND state = 'active' AND {wait}"
            );
            let found: Option<(i32, String)> = sqlx::query_as(AssertSqlSafe(sessions))
                .fetch_optional(&mut self.sql)
                .await
                .unwrap();
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < until, "nobody waits: {wait}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// One value.
    pub(crate) async fn one<T>(&mut self, sql: &str) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres>,
    {
        sqlx::query(AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.sql)
            .await
            .unwrap()
            .get(0)
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.sql)
            .await
            .unwrap();
    }

    pub(crate) async fn count(&mut self, from: &str) -> i64 {
        self.one(&format!("SELECT count(*) FROM everstep.{from}")).await
    }

    /// What every session of the database begins with; the store connects anew.
    pub(crate) async fn set(&mut self, setting: &str) {
        let database: String = self.one("SELECT current_database()::text").await;
        self.run(&format!("ALTER DATABASE {database} SET {setting}")).await;
        self.store = Store::connect(&options(&self.url)).await.unwrap();
    }

    /// Lets the database's clock run ahead.
    pub(crate) async fn later(&mut self, interval: &str) {
        self.run(&format!(
            "CREATE OR REPLACE FUNCTION everstep.now() RETURNS timestamptz LANGUAGE sql VOLATILE PARALLEL SAFE
             RETURN pg_catalog.clock_timestamp() + interval '{interval}'"
        ))
        .await;
    }

    pub(crate) async fn submit(&self, wish: Submission) -> Submitted {
        self.store.submit(&[wish]).await.unwrap().remove(0)
    }

    pub(crate) async fn start(&self, uid: &str) -> Uuid {
        self.submit(wish(uid)).await.run.unwrap()
    }

    pub(crate) async fn worker(&self) -> Uuid {
        self.store.register("test", LEASE).await.unwrap()
    }

    /// Registers a worker that owns the one run that is ready, and reads it.
    pub(crate) async fn owned(&self) -> (Uuid, Loaded) {
        let worker = self.worker().await;
        assert_eq!(self.store.claim(worker, 10, None).await.unwrap(), 1);
        (worker, self.loaded(worker).await)
    }

    pub(crate) async fn loaded(&self, worker: Uuid) -> Loaded {
        let mut loads = self.store.load(worker, &[], 10).await.unwrap();
        assert_eq!((loads.runs.len(), loads.unreadable.len()), (1, 0));
        loads.runs.remove(0)
    }

    pub(crate) async fn mail(&mut self, run: Uuid, key: &str) -> i64 {
        self.one(&format!(
            "INSERT INTO everstep.inbox (run_id, kind, dedup_key, payload)
             VALUES ('{run}', 'Cancel', '{key}', '{{\"reason\": \"test\"}}') RETURNING id"
        ))
        .await
    }
}

/// The object `uid` wishes for the run of its first revision.
pub(crate) fn wish(uid: &str) -> Submission {
    Submission {
        uid: uid.to_owned(),
        kind: "Workflow".to_owned(),
        namespace: "shop".to_owned(),
        name: format!("name-{uid}"),
        workflow: format!("name-{uid}"),
        generation: 1,
        deletion_policy: DeletionPolicy::Background,
        retention: Retention::default(),
        suspended: false,
        revision: "r1".to_owned(),
        body: json!({"input": {"n": 1}, "steps": []}).to_string(),
        start: Some(Start {
            start_key: format!("uid/{uid}/r1"),
            input: None,
            trigger: "OnApply".to_owned(),
            counted_by: None,
        }),
        only_when_idle: true,
        commands: Vec::new(),
    }
}

/// The object after an edit.
pub(crate) fn edited(uid: &str, generation: i64) -> Submission {
    let start_key = format!("uid/{uid}/r{generation}");
    Submission {
        generation,
        revision: format!("r{generation}"),
        start: Some(Start {
            start_key,
            input: None,
            trigger: "OnApply".to_owned(),
            counted_by: None,
        }),
        ..wish(uid)
    }
}

pub(crate) fn told(phase: Phase) -> Told {
    let at = "2026-01-01T00:00:00Z".parse().unwrap();
    let summary = Summary {
        phase,
        started_at: Some(at),
        finished_at: phase.is_terminal().then_some(at),
        step: None,
        waiting_for: None,
        wake_at: None,
        stalled: None,
        still_since: None,
        progress: "1/2".to_owned(),
        attempts: 1,
        error: None,
        output: None,
        output_omitted: false,
    };
    Told {
        summary,
        reason: None,
        deadline: None,
    }
}

/// The next decision of a run, of which nothing remains but its row.
pub(crate) fn step(run: Uuid, seq: i32) -> Append {
    Append {
        run,
        seq,
        at: "2026-01-01T00:00:00.000001Z".parse().unwrap(),
        nonce: i64::from(seq) * 1000 + 7,
        events: r#"["HoldEnded"]"#.to_owned(),
        taken: vec![],
        consumed: vec![],
        undelivered: vec![],
        then: Then::Keep { told: None },
    }
}

pub(crate) fn park(run: Uuid, seq: i32, wake_at: Option<&str>) -> Append {
    let then = Then::Park {
        wake_at: wake_at.map(|at| at.parse().unwrap()),
        snapshot: json!({"seq": seq}),
        told: told(Phase::Sleeping),
    };
    Append { then, ..step(run, seq) }
}

pub(crate) fn finish(run: Uuid, seq: i32) -> Append {
    Append {
        then: Then::Finish {
            told: told(Phase::Succeeded),
        },
        ..step(run, seq)
    }
}
