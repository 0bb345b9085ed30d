//! A person with a login of their own, who calls the binary.

use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::{rig::Rig, support::system::Process};

/// What a call of the binary came to.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
}

impl Said {
    /// The output of a call that worked.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.output, self.errors);
        self.output
    }

    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// That it ended so, and said all of this on standard error.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert_eq!(self.output, "", "nothing for a pipe");
        for word in words {
            assert!(self.errors.contains(word), "{word:?} in {}", self.errors);
        }
    }
}

/// Calls the binary without any way to a cluster.
pub(crate) async fn call(words: &[&str], environment: &[(&str, &str)]) -> Said {
    let mut without = vec![("KUBECONFIG", "/nonexistent"), ("HOME", "/nonexistent")];
    without.extend(environment);
    let mut process = Process::spawn(words, &without);
    let status = process.ended().await;
    Said {
        code: status.code(),
        output: process.output(),
        errors: process.errors(),
    }
}

/// Somebody who may use the namespace `default` of this rig's database, and none of its tables.
pub(crate) struct Person {
    pub(crate) role: String,
    pub(crate) url: String,
}

impl Person {
    pub(crate) async fn new(rig: &Rig) -> Self {
        let person = Self::stranger(rig).await;
        let grant = format!("SELECT everstep.grant_namespace('{}', 'default')", person.role);
        run(&mut rig.sql().await, &grant).await;
        person
    }

    /// Who was granted nothing.
    pub(crate) async fn stranger(rig: &Rig) -> Self {
        let mut sql = rig.sql().await;
        let database: String = sqlx::query_scalar("SELECT current_database()::text")
            .fetch_one(&mut sql)
            .await
            .unwrap();
        // Roles are the server's, which tests share: they carry the name of the database.
        let role = format!("person_{database}");
        run(&mut sql, &format!("CREATE ROLE {role} LOGIN PASSWORD 'person'")).await;
        let mut url = url::Url::parse(&rig.url).unwrap();
        url.set_username(&role).unwrap();
        url.set_password(Some("person")).unwrap();
        Self { role, url: url.into() }
    }

    pub(crate) async fn says(&self, words: &[&str]) -> Said {
        call(words, &[("EVERSTEP_DATABASE_URL", &self.url)]).await
    }
}

pub(crate) async fn run(sql: &mut PgConnection, query: &str) {
    sqlx::raw_sql(AssertSqlSafe(query.to_owned()))
        .execute(sql)
        .await
        .unwrap();
}

pub(crate) async fn connected(url: &str) -> PgConnection {
    PgConnection::connect(url).await.unwrap()
}
