//! Connecting, and refusing what cannot work: too old, read-only, behind a pooler.
//!
//! Two checks find a pooler. A setting that only our startup packet brings is looked for in each session (`pool`): a
//! pooler hands out sessions that it has opened itself, and refuses or drops what it does not know. That does not depend
//! on who else uses the pooler, and it finds those in session mode too. For one that passes startup packets on and yet
//! shares its sessions, two sessions are asked which server process they have.

use std::{str::FromStr, sync::Arc};

use jiff::Timestamp;
use sqlx::{Executor, PgConnection, Row, postgres::PgConnectOptions};

use super::{
    Error, Refusal, Store,
    clock::Clock,
    listen::Bells,
    pool::{OUR_OWN, Pool},
};

/// `server_version_num` of the oldest release that has what we use.
const OLDEST: i32 = 150_000;
/// Who is asked for its server process: the first session or the second. A pooler that hands out the connection last used
/// gives itself away when the session changes, one that goes round when the same is asked twice.
const TURNS: [Turn; 8] = [
    Turn::One,
    Turn::Other,
    Turn::One,
    Turn::One,
    Turn::Other,
    Turn::Other,
    Turn::Other,
    Turn::One,
];

/// Where and how to connect.
#[derive(Clone)]
pub struct Options {
    /// `postgres://…`; holds a password, so it is never printed.
    pub url: String,
    /// At most so many connections, those of the doorbell and of [`Store::apart`] not counted.
    pub max_connections: u32,
    /// What `pg_stat_activity` shows.
    pub application_name: String,
}

impl Store {
    /// Connects, and checks that this server can be used: version 15 or newer, a direct connection, read-write.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers (try again), `Refused` when a human has to act.
    pub async fn connect(options: &Options) -> Result<Self, Error> {
        let server = PgConnectOptions::from_str(&options.url)
            .map_err(|error| Refusal::Url(error.to_string()))?
            .application_name(&options.application_name)
            // Answers are binary: there are no digits to ask for, and poolers refuse parameters they do not know.
            .extra_float_digits(None)
            .options([OUR_OWN]);
        let pool = Pool::new(server, options.max_connections);
        let clock = Arc::new(Clock::default());
        {
            let (mut one, mut other) = (pool.open().await?, pool.open().await?);
            refuse_pooler(&mut one, &mut other).await?;
            clock.learn(refuse_server(&mut one).await?);
        }
        let bells = Arc::new(Bells::new(pool.again(1)));
        Ok(Self {
            pool: Arc::new(pool),
            clock,
            cluster: Arc::default(),
            bells,
        })
    }

    /// The same store on connections of its own, for another runtime: a worker's heartbeat must wait neither for the
    /// main runtime nor for its pool. Connections are opened when first used, in the runtime that uses them.
    #[must_use]
    pub fn apart(&self, max_connections: u32) -> Self {
        Self {
            pool: Arc::new(self.pool.again(max_connections)),
            ..self.clone()
        }
    }
}

#[derive(Clone, Copy)]
enum Turn {
    One,
    Other,
}

/// Two sessions that are open at once have two server processes, and keep them.
async fn refuse_pooler(one: &mut PgConnection, other: &mut PgConnection) -> Result<(), Error> {
    let (first, second) = (server_process(one).await?, server_process(other).await?);
    let mut shared = first == second;
    for turn in TURNS {
        shared |= match turn {
            Turn::One => server_process(one).await? != first,
            Turn::Other => server_process(other).await? != second,
        };
    }
    if shared { Err(Refusal::Pooler.into()) } else { Ok(()) }
}

async fn server_process(session: &mut PgConnection) -> Result<i32, Error> {
    let row = session
        .fetch_one(sqlx::raw_sql("SELECT pg_backend_pid()"))
        .await
        .map_err(Error::of_connecting)?;
    row.try_get(0).map_err(Error::of_statement)
}

/// Version and role of the server; answers its clock.
async fn refuse_server(session: &mut PgConnection) -> Result<Timestamp, Error> {
    let asked = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS number,
                current_setting('server_version') AS version,
                pg_is_in_recovery() AS standby,
                current_setting('transaction_read_only')::bool AS read_only,
                clock_timestamp() AS now",
    );
    let row = session.fetch_one(asked).await.map_err(Error::of_connecting)?;
    let column = Error::of_statement;
    if row.try_get::<i32, _>("number").map_err(column)? < OLDEST {
        return Err(Refusal::TooOld {
            version: row.try_get("version").map_err(column)?,
        }
        .into());
    }
    if row.try_get("standby").map_err(column)? {
        return Err(Refusal::Standby("it is a standby in recovery".to_owned()).into());
    }
    if row.try_get("read_only").map_err(column)? {
        return Err(Refusal::Standby("default_transaction_read_only is on".to_owned()).into());
    }
    Ok(row.try_get::<jiff_sqlx::Timestamp, _>("now").map_err(column)?.to_jiff())
}
