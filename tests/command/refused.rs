//! What cannot work is said with what to do about it, under the exit code that the help names.

use serde_json::json;

use crate::{
    person::{Person, call, connected, run},
    rig::Rig,
    support::postgres,
};

const ID: &str = "0192f3c4-7d1e-7aaa-8000-000000000000";

#[tokio::test(flavor = "multi_thread")]
async fn wrong_words_are_usage_errors_before_anything_is_asked() {
    let cases: &[(&[&str], &[&str])] = &[
        (&["runs"], &["no database", "--database-url", "kubectl get"]),
        (&["tree", ID], &["no database"]),
        (&["history", ID], &["no database"]),
        (&["tree", "Order"], &["\"Order\" names no run", "erun/NAME"]),
        (&["tree", "pod/x"], &["\"pod\" is no kind that has runs"]),
        (&["runs", "--phase", "Broken"], &["--phase Broken", "Compensating"]),
        (&["runs", "--continue", "2"], &["--continue 2", "not a token"]),
        (&["runs", "--limit", "0"], &["--limit"]),
        (&["runs", "-A", "-n", "shop"], &["cannot be used with"]),
        (&["runs", "-n", "Shop"], &["not the name of a namespace"]),
        (&["runs", "--context", "there-is-none"], &["no way to the API server"]),
        (
            &["runs", "--database-url", "mysql://h/d"],
            &["does not begin with postgres://"],
        ),
        (&["tree"], &["RUN"]),
        (&["runs", "-o", "xml"], &["xml"]),
        // Nothing would be timed.
        (&["run", "order", "--timeout", "5s"], &["--wait|--follow"]),
        (&["retry", ID, "--timeout", "5s"], &["--wait|--follow"]),
        (&["cancel", ID, "--timeout", "5s"], &["--wait"]),
        (&["signal", ID, "go", "--timeout", "5s"], &["--wait"]),
    ];
    for (words, expected) in cases {
        let said = call(words, &[]).await;
        said.refused(2, expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flag_wins_over_the_variable_of_the_other_form_and_two_of_a_kind_are_refused() {
    let (url, file) = ("EVERSTEP_DATABASE_URL", "EVERSTEP_DATABASE_URL_FILE");
    let typed = call(&["runs", "--database-url-file", "/absent"], &[(url, "mysql://h/d")]).await;
    typed.refused(2, &["--database-url-file /absent"]);
    let typed = call(&["runs", "--database-url", "mysql://h/d"], &[(file, "/absent")]).await;
    typed.refused(2, &["does not begin with postgres://"]);
    let both = [
        "runs",
        "--database-url",
        "postgres://h/d",
        "--database-url-file",
        "/absent",
    ];
    call(&both, &[])
        .await
        .refused(2, &["--database-url cannot be used with --database-url-file"]);
    call(&["runs"], &[(url, "postgres://h/d"), (file, "/absent")])
        .await
        .refused(
            2,
            &["EVERSTEP_DATABASE_URL cannot be used with EVERSTEP_DATABASE_URL_FILE"],
        );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_or_not_ours_is_named() {
    let away = call(&["runs", "--database-url", "postgres://u:secret@127.0.0.1:9/d"], &[]).await;
    away.refused(1, &["PostgreSQL is not available"]);
    assert!(!away.errors.contains("secret"));

    let empty = postgres::empty_database().await;
    call(&["runs", "--database-url", &empty], &[])
        .await
        .refused(3, &["everstep migrate"]);

    let rig = Rig::new().await;
    let wrong = rig.url.replacen(postgres::server().await.password(), "wrong", 1);
    assert_ne!(wrong, rig.url);
    call(&["runs", "--database-url", &wrong], &[])
        .await
        .refused(3, &["refused the login"]);
    let mut nowhere = url::Url::parse(&rig.url).unwrap();
    nowhere.set_path("/nowhere");
    call(&["runs", "--database-url", nowhere.as_str()], &[])
        .await
        .refused(3, &["no such database"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_release_is_refused() {
    let rig = Rig::new().await;
    let mut sql = connected(&rig.url).await;
    run(
        &mut sql,
        "INSERT INTO everstep.migrations (version, name, checksum) VALUES (99, '0099_later', '')",
    )
    .await;
    call(&["runs", "--database-url", &rig.url], &[])
        .await
        .refused(3, &["newer than this release knows"]);
    run(&mut sql, "DELETE FROM everstep.migrations WHERE version > 1").await;
    call(&["runs", "--database-url", &rig.url], &[])
        .await
        .refused(3, &["at migration 1", "everstep migrate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_a_grant_is_told_how_to_get_one() {
    let rig = Rig::new().await;
    let stranger = Person::stranger(&rig).await;
    let grant = format!("SELECT everstep.grant_namespace('{}', 'NAMESPACE')", stranger.role);
    for words in [&["runs"][..], &["tree", ID], &["history", "order"]] {
        stranger.says(words).await.refused(1, &[&grant]);
    }
    // Also the owner, who could read every table: the views are for everybody the same.
    call(&["runs", "--database-url", &rig.url], &[])
        .await
        .refused(1, &["SELECT everstep.grant_namespace('postgres', 'NAMESPACE')"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_is_not_there_or_not_one_alone_is_said_so() {
    let rig = Rig::new().await;
    let person = Person::new(&rig).await;
    person.says(&["tree", ID]).await.refused(1, &["no run", ID]);
    person
        .says(&["tree", "ghost"])
        .await
        .refused(1, &["ghost", "everstep runs"]);
    person
        .says(&["tree", "erun/ghost"])
        .await
        .refused(1, &["WorkflowRun ghost"]);
    person
        .says(&["history", "ewf/ghost"])
        .await
        .refused(1, &["Workflow ghost"]);
    person.says(&["tree", "0192f3c4"]).await.refused(1, &["no id"]);

    let body = json!({"steps": [{"name": "a", "set": {}}]});
    let first = rig.start("twice", body).await;
    let again = "INSERT INTO everstep.runs (id, namespace, workflow, start_key, definition_id, trigger)
                 SELECT everstep.uuidv7(), namespace, workflow, 'again', definition_id, 'SQL' FROM everstep.runs";
    rig.execute(again).await;
    let said = person.says(&["tree", "twice"]).await;
    said.refused(2, &["more than one run that has not ended", &first.to_string()]);
    let beginning = &first.to_string()[..8];
    person
        .says(&["tree", beginning])
        .await
        .refused(2, &["begins more than one id", &first.to_string()]);

    // A WorkflowRun with the name of a Workflow.
    let owned = "UPDATE everstep.runs SET workflow = 'other', owner_kind = 'WorkflowRun', owner_name = 'twice',
                 owner_uid = 'u' WHERE start_key = 'again'";
    rig.execute(owned).await;
    person
        .says(&["tree", "twice"])
        .await
        .refused(2, &["erun/twice or ewf/twice"]);
    person.says(&["tree", "erun/twice"]).await.ok();
}
