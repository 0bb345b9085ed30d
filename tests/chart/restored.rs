//! A database that goes back to a backup, by the commands of `docs/backup-and-restore.md`, and what becomes of runs then.

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    chart::Release,
    controlplane::{self, ControlPlane},
    pages::commands,
    postgres,
    system::{Process, System, condition, install_crds, signal, workflow},
    tools::typed,
};

const PAGE: &str = include_str!("../../docs/backup-and-restore.md");
const GREET: &str = "{steps: [{name: greet, set: {text: hello}}]}";
const WAITS: &str = "{steps: [{name: approval, waitForSignal: {signal: approve}}]}";
const DOWN: &str = "--replicas=0";
const UP: &str = "--replicas=2";

#[tokio::test]
async fn runs_go_on_from_a_backup_and_what_it_does_not_know_begins_again() {
    let plane = controlplane::shared().await;
    install_crds(plane).await;
    let system = System::on(plane, "restored", postgres::empty_database().await).await;
    let values = json!({
        "namespaces": [system.namespace],
        "controller": {"leaderLeaseDuration": "1s"},
        "worker": {"lease": "1s"},
    });
    let release = Release::with_database(plane, &system.namespace, &system.database_url, values).await;
    let place = Place::new(plane, &system);
    let processes = started(&release).await;
    system
        .apply(&(workflow("done", GREET) + &workflow("waits", WAITS)))
        .await;
    let done = system.finished("done").await;
    system.until("waits", "it waits", waits).await;
    place.run("pg_dump").await;

    // What the backup does not know.
    let approve = "{target: {workflow: waits}, signal: approve}";
    system
        .apply(&(signal("approved", approve) + &workflow("order", GREET) + &workflow("after", GREET)))
        .await;
    for name in ["waits", "order", "after"] {
        system.finished(name).await;
    }
    let consumed = |it: &Value| condition(it, "Consumed")["status"] == "True";
    system.until_of("signals", "approved", "is consumed", consumed).await;
    let before = system.workflow("after").await;

    place.run(DOWN).await;
    for process in processes {
        process.stop().await;
    }
    place.run("pg_restore").await;
    let listed = place.run("kubectl get").await;
    for name in ["done", "waits", "order", "after"] {
        let shows = |line: &str| line.contains(&format!(" {name} ")) && line.contains("Succeeded");
        assert!(listed.lines().any(shows), "{name}: {listed}");
    }
    place.run("kubectl --namespace shop patch").await;
    place.run(UP).await;
    let processes = started(&release).await;

    system.until("waits", "it waits again", waits).await;
    let again = |it: &Value| {
        it["status"]["run"]["id"] != before["status"]["run"]["id"] && condition(it, "Finished")["status"] == "True"
    };
    system.until("after", "it runs again", again).await;
    let suspended = |it: &Value| condition(it, "Suspended")["status"] == "True";
    system.until("order", "it stands still", suspended).await;
    assert_eq!(system.workflow("done").await, done, "it is as it was");
    assert_eq!(
        system.count("SELECT count(*) FROM everstep.inbox").await,
        0,
        "what was said is not said again"
    );
    system.apply(&signal("approved-again", approve)).await;
    system
        .until("waits", "it ends again", |it| {
            it["status"]["run"]["phase"] == "Succeeded"
        })
        .await;
    let runs = "SELECT count(*) FROM everstep.runs WHERE workflow IN ('done', 'waits', 'after')";
    assert_eq!(system.count(runs).await, 3);
    assert_eq!(
        system.count("SELECT count(*) FROM everstep.runs").await,
        3,
        "nothing else has begun"
    );
    for process in processes {
        process.stop().await;
    }
}

fn waits(object: &Value) -> bool {
    object["status"]["run"]["phase"] == "Waiting"
}

async fn started(release: &Release<'_>) -> [Process; 2] {
    [
        release.start("controller", &[]).await,
        release.start("worker", &[]).await,
    ]
}

/// A person with kubectl and PostgreSQL's programs, in a directory of their own.
struct Place<'a> {
    plane: &'a ControlPlane,
    system: &'a System,
    directory: TempDir,
}

impl<'a> Place<'a> {
    fn new(plane: &'a ControlPlane, system: &'a System) -> Self {
        Self {
            plane,
            system,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// Runs the page's one command that contains this, in the namespace of the test.
    async fn run(&self, part: &str) -> String {
        let commands = commands(PAGE);
        let mut found = commands.iter().filter(|command| command.contains(part));
        let (Some(command), None) = (found.next(), found.next()) else {
            panic!("docs/backup-and-restore.md has not one {part}: {commands:?}");
        };
        let here = format!("--namespace {}", self.system.namespace);
        let line = ["--namespace everstep-system", "--namespace shop"]
            .iter()
            .fold(command.clone(), |line, there| line.replace(there, &here));
        let programs = [self.plane.programs(), postgres::server().await.programs()];
        let kubeconfig = self.plane.kubeconfig().display().to_string();
        let environment = [
            ("KUBECONFIG", &kubeconfig),
            ("EVERSTEP_DATABASE_URL", &self.system.database_url),
        ];
        typed(&line, self.directory.path(), &programs, &environment).await
    }
}
