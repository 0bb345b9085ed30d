//! Connections read from an API server: which requests are made, rotation, and outages.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use everstep::engine::{ErrorKind, HttpRequest, HttpTarget, Outcome, Request};
use everstep::worker::action::Actions;
use everstep::worker::connection::Source;
use everstep::worker::egress::EgressPolicy;
use serde_json::{Map, json};

use crate::http_server::{Reply, Server, answer};
use crate::{DEADLINE, actions, attempt, eventually, failed};

/// `token` as the Secret holds it now; `None`: the API server answers 500.
type Token = Arc<Mutex<Option<String>>>;

async fn api_server(api: u16, token: Token) -> Server {
    Server::start(move |request| {
        let line = request.lines().next().unwrap_or_default();
        let Some(token) = token.lock().unwrap().clone() else {
            return Reply::Keep(answer("500 Internal Server Error", "", "{}"));
        };
        let object = if line.starts_with("GET /apis/everstep.dev/v1alpha1/namespaces/shop/connections/api") {
            json!({
                "apiVersion": "everstep.dev/v1alpha1", "kind": "Connection",
                "metadata": {"name": "api", "namespace": "shop", "generation": 3, "uid": "6e7e9b3e-61a4-4d5a-8b1c-3a9d3c1f9a10"},
                "spec": {"http": {
                    "baseUrl": format!("http://127.0.0.1:{api}"),
                    "auth": {"header": {"name": "X-Key", "secretKeyRef": {"name": "s", "key": "token"}}},
                }},
            })
        } else if line.starts_with("GET /api/v1/namespaces/shop/secrets/s") {
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"token": token}})
        } else {
            let status = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404,
                "message": "not found",
            });
            return Reply::Keep(answer("404 Not Found", "content-type: application/json\r\n", &status.to_string()));
        };
        Reply::Keep(answer("200 OK", "content-type: application/json\r\n", &object.to_string()))
    })
    .await
}

fn source(server: &Server) -> Source {
    let config = kube::Config::new(server.url("").parse().unwrap());
    Source::Cluster(kube::Client::try_from(config).unwrap())
}

async fn get(actions: &Actions, connection: &str) -> Outcome {
    get_within(actions, connection, DEADLINE).await
}

async fn get_within(actions: &Actions, connection: &str, timeout: Duration) -> Outcome {
    let request = HttpRequest {
        target: HttpTarget::Connection {
            name: connection.to_owned(),
            path: "/".to_owned(),
        },
        method: "GET".to_owned(),
        path_params: Map::new(),
        query: Map::new(),
        headers: Map::new(),
        body: None,
        repeatable: true,
    };
    actions
        .perform(&attempt("shop", timeout), Request::Http(request))
        .await
}

#[tokio::test]
async fn rotated_secret_is_read_again_after_a_401_and_only_by_name() {
    let accepted = Arc::new(Mutex::new("one".to_owned()));
    let expected = Arc::clone(&accepted);
    let api = Server::start(move |request| {
        let header = format!("x-key: {}\r\n", expected.lock().unwrap());
        Reply::Keep(answer(
            if request.contains(&header) {
                "200 OK"
            } else {
                "401 Unauthorized"
            },
            "",
            "",
        ))
    })
    .await;
    let token: Token = Arc::new(Mutex::new(Some("one".to_owned())));
    let cluster = api_server(api.port, Arc::clone(&token)).await;
    let (actions, mut findings) = actions(source(&cluster), EgressPolicy::open());

    assert_eq!(get(&actions, "api").await.unwrap()["status"], 200);
    let reads = cluster.seen(|seen| seen.requests.len());
    assert_eq!(get(&actions, "api").await.unwrap()["status"], 200);
    assert_eq!(
        cluster.seen(|seen| seen.requests.len()),
        reads,
        "a fresh Connection is not read again"
    );
    let finding = findings.try_recv().unwrap();
    assert_eq!(
        (finding.generation, finding.kind.as_str(), finding.ready),
        (3, "http", true)
    );

    "two".clone_into(&mut accepted.lock().unwrap());
    *token.lock().unwrap() = Some("two".to_owned());
    eventually("the new credentials", || async {
        get(&actions, "api").await.unwrap()["status"] == 200
    })
    .await;

    // The API server goes away: the last good state is used. It rotates meanwhile: 401 and no crash.
    *token.lock().unwrap() = None;
    assert_eq!(get(&actions, "api").await.unwrap()["status"], 200);
    "three".clone_into(&mut accepted.lock().unwrap());
    assert_eq!(get(&actions, "api").await.unwrap()["status"], 401);

    cluster.seen(|seen| {
        for request in &seen.requests {
            let path = request.split_whitespace().nth(1).unwrap();
            assert!(
                path.contains("/secrets/s") || path.contains("/connections/api"),
                "{path}"
            );
            assert!(!path.contains("watch") && !path.contains("fieldSelector"), "{path}");
        }
    });
}

#[tokio::test]
async fn missing_connection_and_absent_api_server_are_connect_errors() {
    let token: Token = Arc::new(Mutex::new(Some("one".to_owned())));
    let cluster = api_server(1, Arc::clone(&token)).await;
    let (actions, _findings) = actions(source(&cluster), EgressPolicy::open());
    assert_eq!(
        failed(&get(&actions, "missing").await),
        (ErrorKind::Connect, "ConnectionNotFound")
    );
    *token.lock().unwrap() = None;
    assert_eq!(
        failed(&get_within(&actions, "api", Duration::from_millis(500)).await),
        (ErrorKind::Connect, "ApiUnavailable")
    );
}

#[tokio::test]
async fn first_use_of_a_connection_waits_until_the_api_server_is_back() {
    let api = Server::start(|_| Reply::Keep(answer("200 OK", "", ""))).await;
    let token: Token = Arc::default();
    let cluster = api_server(api.port, Arc::clone(&token)).await;
    let (actions, _findings) = actions(source(&cluster), EgressPolicy::open());
    let back = async {
        eventually("a read that fails", || async {
            cluster.seen(|seen| !seen.requests.is_empty())
        })
        .await;
        *token.lock().unwrap() = Some("one".to_owned());
    };
    let (outcome, ()) = tokio::join!(get(&actions, "api"), back);
    assert_eq!(outcome.unwrap()["status"], 200, "one attempt, however long the outage");
}
