//! Connections, Secrets and servers that are not what a step needs: what the object says, and that a cure is taken.

use std::time::Instant;

use serde_json::Value;

use crate::{
    support::system::{DEADLINE, Shop, System, condition, connection, secret, workflow},
    target::Target,
};

const HTTP: &str = "{retry: {maxAttempts: 60, backoff: {initial: 200ms, factor: 1, max: 200ms}}, steps: [{name: call, http: {connection: api, method: POST, path: /told, body: {x: 1}}}]}";
const API: &str = "{http: {baseUrl: URL, auth: {bearer: {secretKeyRef: {name: token, key: token}}}}}";

#[tokio::test]
async fn step_waits_for_its_connection_secret_and_key_and_goes_on_when_they_come() {
    let (system, target) = (System::new("missing").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    system.apply(&workflow("caller", HTTP)).await;
    let said = |fragment: &'static str| move |it: &Value| error(it).contains(fragment);
    let missing = system
        .until("caller", "the Connection is missed", said("api does not exist"))
        .await;
    assert_eq!(missing["status"]["run"]["phase"], "Running");
    assert_eq!(condition(&missing, "Accepted")["status"], "True", "it may come");

    system
        .apply(&connection(
            "api",
            &API.replace("URL", &format!("'http://127.0.0.1:{}'", target.port)),
        ))
        .await;
    system.until("caller", "the Secret is missed", said("token")).await;
    not_ready(&system, "api", "Secret").await;
    system.apply(&secret("token", "other", "x")).await;
    system
        .until("caller", "the key is missed", |it| error(it).contains("key"))
        .await;
    system.apply(&secret("token", "token", "open-sesame")).await;
    let ended = system.finished("caller").await;
    assert_eq!(ended["status"]["run"]["phase"], "Succeeded");
    assert_eq!(target.credentials(), ["Bearer open-sesame"]);
    let ready = |connection: &Value| condition(connection, "Ready")["status"] == "True";
    until(&system, "api", ready).await;
}

#[tokio::test]
async fn wrong_password_of_a_database_is_said_and_a_corrected_secret_is_taken() {
    let (system, shop) = (System::new("password").await, Shop::new().await);
    let _all = system.start("all", &[]).await;
    let password = crate::support::postgres::server().await.password();
    let wrong = shop.url.replace(password, "swordfish");
    let spec = "{retry: {maxAttempts: 60, backoff: {initial: 300ms, factor: 1, max: 300ms}, when: 'true'}, steps: [{name: count, sql: {connection: shopdb, query: SELECT qty FROM stock, readOnly: true}}], output: =steps.count.output.row.qty}";
    let database = connection(
        "shopdb",
        "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}",
    );
    system
        .apply(&(secret("shop", "url", &wrong) + &database + &workflow("counter", spec)))
        .await;
    let refused = system
        .until("counter", "the login is refused", |it| error(it).contains("password"))
        .await;
    assert!(!error(&refused).contains("swordfish"), "{}", error(&refused));
    let connection = not_ready(&system, "shopdb", "password").await;
    assert!(!connection.to_string().contains("swordfish"), "{connection}");

    system.apply(&secret("shop", "url", &shop.url)).await;
    let ended = system.finished("counter").await;
    assert_eq!(ended["status"]["run"]["output"], 10);
}

#[tokio::test]
async fn host_that_the_policy_does_not_name_is_refused_at_once_and_a_policy_that_names_it_is_taken() {
    let (system, target) = (System::new("egress").await, Target::start().await);
    let _all = system.start("all", &[]).await;
    let call = |url: &str| format!("{{steps: [{{name: call, http: {{url: '{url}'}}}}]}}");
    let url = format!("http://127.0.0.1:{}/status/200", target.port);
    let metadata = "http://169.254.169.254/latest/meta-data";
    system
        .apply(&(workflow("first", &call(&url)) + &workflow("metadata", &call(metadata))))
        .await;
    for name in ["first", "metadata"] {
        let ended = system.finished(name).await;
        assert_eq!(ended["status"]["run"]["phase"], "Failed");
        assert_eq!(ended["status"]["run"]["error"]["step"], "call");
        assert!(
            error(&ended).contains("the egress policy does not allow GET to"),
            "{}",
            error(&ended)
        );
    }

    system.allow(target.port);
    let until = Instant::now() + DEADLINE;
    // The file is looked at every other second.
    for attempt in 0.. {
        let name = format!("later{attempt}");
        system.apply(&workflow(&name, &call(&url))).await;
        if system.finished(&name).await["status"]["run"]["phase"] == "Succeeded" {
            break;
        }
        assert!(Instant::now() < until, "the new policy is not taken");
    }
}

#[tokio::test]
async fn answer_of_100_mib_fails_its_step_and_nothing_else() {
    let (system, target) = (System::new("huge").await, Target::start().await);
    system.allow(target.port);
    let mut all = system.start("all", &[]).await;
    let spec = "{steps: [{name: fetch, http: {connection: api, path: /huge}}, {name: after, set: {}}]}";
    let api = connection("api", &target.spec());
    system
        .apply(&(api + &workflow("huge", spec) + &workflow("beside", "{steps: [{name: a, set: {}}]}")))
        .await;
    let huge = system.finished("huge").await;
    assert_eq!(huge["status"]["run"]["phase"], "Failed");
    assert!(error(&huge).contains("256 KiB"), "{}", error(&huge));
    assert_eq!(system.finished("beside").await["status"]["run"]["phase"], "Succeeded");
    all.ready().await;
    let peak = peak_memory(all.id());
    assert!(peak < 150 << 20, "the answer was not held: {} MiB", peak >> 20);
}

#[tokio::test]
async fn server_that_is_not_there_is_tried_again_and_then_named() {
    let system = System::new("absent").await;
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    system.allow(port);
    let all = system.start("all", &[]).await;
    let spec = "{retry: {maxAttempts: 3, backoff: {initial: 10ms, max: 10ms}}, steps: [{name: call, http: {connection: api, path: /}}]}";
    let api = connection("api", &format!("{{http: {{baseUrl: 'http://127.0.0.1:{port}'}}}}"));
    system.apply(&(api + &workflow("caller", spec))).await;
    let ended = system.finished("caller").await;
    assert!(error(&ended).contains("127.0.0.1"), "{}", error(&ended));
    let attempts = all
        .logs()
        .iter()
        .filter(|line| line["message"] == "attempt ended")
        .count();
    assert_eq!(attempts, 3);
}

fn error(workflow: &Value) -> String {
    workflow["status"]["run"]["error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The Connection, once it is not ready with a message that holds `fragment`.
async fn not_ready(system: &System, name: &str, fragment: &str) -> Value {
    let holds = |connection: &Value| {
        let ready = condition(connection, "Ready");
        ready["status"] == "False"
            && ready["message"]
                .as_str()
                .is_some_and(|message| message.contains(fragment))
    };
    until(system, name, holds).await
}

async fn until(system: &System, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + DEADLINE;
    loop {
        let connection = system.get("connections", name).await;
        if holds(&connection) {
            return connection;
        }
        assert!(Instant::now() < until, "{:#}", connection["status"]);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// The most memory that a process has ever held, in bytes.
fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}
