//! The `http` action: what is sent, what is read, and what is told apart when it goes wrong.

use std::sync::Arc;
use std::time::Duration;

use everstep::engine::{ErrorKind, HttpRequest, HttpTarget, Outcome, Request};
use everstep::worker::action::Actions;
use everstep::worker::connection::{Manifests, Source};
use everstep::worker::egress::EgressPolicy;
use serde_json::{Map, Value, json};

use crate::http_server::{Reply, Server, answer};
use crate::{DEADLINE, KEY, actions, attempt, eventually, failed, open_actions};

const SHORT: Duration = Duration::from_millis(300);

fn request(method: &str, url: String, repeatable: bool) -> HttpRequest {
    HttpRequest {
        target: HttpTarget::Url(url),
        method: method.to_owned(),
        path_params: Map::new(),
        query: Map::new(),
        headers: Map::new(),
        body: (method == "POST").then(|| json!({"amount": 1})),
        repeatable,
    }
}

async fn perform(actions: &Actions, request: HttpRequest, timeout: Duration) -> Outcome {
    actions.perform(&attempt("shop", timeout), Request::Http(request)).await
}

/// One GET, of a worker that has sent nothing before.
async fn get(server: &Server) -> Outcome {
    let get = request("GET", server.url("/"), true);
    perform(&open_actions(Manifests::default()), get, DEADLINE).await
}

/// What the server says of one GET, as the kind and the code of a failure.
async fn failure_of_get(server: &Server) -> (ErrorKind, String) {
    let outcome = get(server).await;
    let (kind, code) = failed(&outcome);
    of(kind, code)
}

/// GET, POST and an idempotent POST against a server that always does the same.
async fn kinds_of_failure(reply: Reply, timeout: Duration) -> [(ErrorKind, String); 3] {
    let server = Server::start(move |_| reply.clone()).await;
    let actions = open_actions(Manifests::default());
    let mut kinds = Vec::new();
    for (method, repeatable) in [("GET", true), ("POST", false), ("POST", true)] {
        let outcome = perform(&actions, request(method, server.url("/"), repeatable), timeout).await;
        let (kind, code) = failed(&outcome);
        kinds.push((kind, code.to_owned()));
    }
    kinds.try_into().unwrap()
}

fn of(kind: ErrorKind, code: &str) -> (ErrorKind, String) {
    (kind, code.to_owned())
}

#[tokio::test]
async fn every_attempt_carries_the_key_and_reads_the_answer() {
    let server = Server::start(|_| Reply::Keep(answer("201 Created", "X-A: b\r\n", r#"{"id":"ch_1"}"#))).await;
    let actions = open_actions(Manifests::default());
    for _ in 0..2 {
        let result = perform(&actions, request("POST", server.url("/v1?a=b"), false), DEADLINE)
            .await
            .unwrap();
        assert_eq!(
            (&result["status"], &result["body"]),
            (&json!(201), &json!({"id": "ch_1"}))
        );
        assert_eq!(result["headers"]["x-a"], "b");
    }
    server.seen(|seen| {
        assert_eq!(seen.requests.len(), 2);
        for request in &seen.requests {
            assert!(request.starts_with("POST /v1?a=b HTTP/1.1\r\n"), "{request}");
            assert!(request.contains(&format!("idempotency-key: {KEY}\r\n")), "{request}");
            assert!(
                request.contains(&format!("host: 127.0.0.1:{}\r\n", server.port)),
                "{request}"
            );
            assert!(request.ends_with(r#"{"amount":1}"#), "{request}");
        }
    });
}

#[tokio::test]
async fn only_repeatable_requests_of_one_namespace_share_a_connection() {
    let server = Server::start(|_| Reply::Keep(answer("200 OK", "", ""))).await;
    let actions = open_actions(Manifests::default());
    let mut expected = 0;
    for (namespace, method, repeatable, opens) in [
        ("a", "GET", true, 1),
        ("a", "GET", true, 0),
        ("b", "GET", true, 1),
        ("a", "POST", false, 1),
        ("a", "POST", false, 1),
        ("b", "POST", true, 0),
    ] {
        let request = Request::Http(request(method, server.url("/"), repeatable));
        actions.perform(&attempt(namespace, DEADLINE), request).await.unwrap();
        expected += opens;
        assert_eq!(server.seen(|seen| seen.connections), expected, "{namespace} {method}");
    }
}

#[tokio::test]
async fn answer_of_100_mib_is_cut_off_at_the_limit() {
    let length = 100 << 20;
    for head in [format!("content-length: {length}\r\n"), String::new()] {
        let head = format!("HTTP/1.1 200 OK\r\n{head}\r\n").into_bytes();
        let server = Server::start(move |_| Reply::Flood {
            head: head.clone(),
            piece: vec![b'x'; 1 << 20],
            times: 100,
        })
        .await;
        assert_eq!(
            failure_of_get(&server).await,
            of(ErrorKind::Expectation, "ResponseTooLarge")
        );
        // What the sockets' buffers held, and no more.
        assert!(server.seen(|seen| seen.flooded) < 50 << 20);
    }
}

/// Whether it is tried again goes by the status.
#[tokio::test]
async fn an_endless_error_page_leaves_the_status() {
    let server = Server::start(|_| Reply::Flood {
        head: b"HTTP/1.1 503 Service Unavailable\r\n\r\n".to_vec(),
        piece: vec![b'x'; 1 << 20],
        times: 100,
    })
    .await;
    let actions = open_actions(Manifests::default());
    for connections in 1..=2 {
        let result = perform(&actions, request("GET", server.url("/"), true), DEADLINE)
            .await
            .unwrap();
        assert_eq!((&result["status"], &result["body"]), (&json!(503), &json!(null)));
        assert_eq!(
            server.seen(|seen| seen.connections),
            connections,
            "what was left unread is not read by the next"
        );
    }
    assert!(server.seen(|seen| seen.flooded) < 50 << 20);
}

#[tokio::test]
async fn endless_headers_are_cut_off_at_the_limit() {
    let head = b"HTTP/1.1 200 OK\r\n".to_vec();
    let server = Server::start(move |_| Reply::Flood {
        head: head.clone(),
        piece: b"x-a: bbbbbbbb\r\n".repeat(10),
        times: 1_000_000,
    })
    .await;
    assert_eq!(
        failure_of_get(&server).await,
        of(ErrorKind::Expectation, "ResponseTooLarge")
    );
    let one = format!(
        "HTTP/1.1 200 OK\r\nx-a: {}\r\ncontent-length: 0\r\n\r\n",
        "b".repeat(33 << 10)
    )
    .into_bytes();
    let server = Server::start(move |_| Reply::Keep(one.clone())).await;
    assert_eq!(
        failure_of_get(&server).await,
        of(ErrorKind::Expectation, "ResponseTooLarge")
    );
}

#[tokio::test]
async fn slow_answer_is_a_timeout_or_ambiguous() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    for reply in [Reply::Hang(Vec::new()), Reply::Hang(head)] {
        assert_eq!(
            kinds_of_failure(reply, SHORT).await,
            [
                of(ErrorKind::Timeout, "Timeout"),
                of(ErrorKind::Ambiguous, "OutcomeUnknown"),
                of(ErrorKind::Timeout, "Timeout")
            ]
        );
    }
}

#[tokio::test]
async fn cut_after_the_request_is_a_connect_error_or_ambiguous() {
    let part = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    for reply in [
        Reply::Close(Vec::new()),
        Reply::Close(part),
        Reply::Close(b"SSH-2.0-OpenSSH_9\r\n\r\n".to_vec()),
    ] {
        assert_eq!(
            kinds_of_failure(reply, DEADLINE).await,
            [
                of(ErrorKind::Connect, "IncompleteAnswer"),
                of(ErrorKind::Ambiguous, "OutcomeUnknown"),
                of(ErrorKind::Connect, "IncompleteAnswer")
            ]
        );
    }
}

#[tokio::test]
async fn nothing_sent_is_a_connect_error_even_for_post() {
    let port = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap().port()
    };
    let actions = open_actions(Manifests::default());
    let outcome = perform(
        &actions,
        request("POST", format!("http://127.0.0.1:{port}/"), false),
        DEADLINE,
    )
    .await;
    assert_eq!(failed(&outcome), (ErrorKind::Connect, "ConnectFailed"));
    let outcome = perform(
        &actions,
        request("POST", "http://no-such-host.invalid/".to_owned(), false),
        DEADLINE,
    )
    .await;
    assert_eq!(failed(&outcome), (ErrorKind::Connect, "ResolveFailed"));
}

#[tokio::test]
async fn redirect_is_an_answer_and_not_followed() {
    let elsewhere = Server::start(|_| Reply::Keep(answer("200 OK", "", "secret"))).await;
    let location = format!("Location: {}\r\n", elsewhere.url("/"));
    let server = Server::start(move |_| Reply::Keep(answer("302 Found", &location, ""))).await;
    let result = get(&server).await.unwrap();
    assert_eq!(result["status"], 302);
    assert_eq!(elsewhere.seen(|seen| seen.connections), 0);
}

#[tokio::test]
async fn body_that_is_no_text_is_a_clear_error() {
    let server = Server::start(|_| {
        Reply::Keep([b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".as_slice(), b"\xff\xfe"].concat())
    })
    .await;
    assert_eq!(failure_of_get(&server).await, of(ErrorKind::Expectation, "NotUtf8"));
}

#[tokio::test]
async fn policy_decides_before_anything_is_opened_and_follows_its_file() {
    let server = Server::start(|_| Reply::Keep(answer("200 OK", "", ""))).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("egress.yaml");
    let rule = |hosts: &str, addresses: &str| {
        format!(
            "allow: [{{hosts: [{hosts}], ports: [{}], methods: [GET], namespaces: [shop]}}]\nallowAddresses: [{addresses}]",
            server.port
        )
    };
    std::fs::write(&path, rule("127.0.0.1", "")).unwrap();
    let policy = EgressPolicy::load(&path).unwrap();
    let (actions, _findings) = actions(Source::Files(Manifests::default()), policy.clone());
    let get = || request("GET", server.url("/"), true);

    assert_eq!(
        failed(&perform(&actions, get(), DEADLINE).await),
        (ErrorKind::Refused, "AddressBlocked")
    );
    std::fs::write(&path, rule("api.example.com", "127.0.0.0/8")).unwrap();
    assert!(policy.reload().unwrap());
    assert_eq!(
        failed(&perform(&actions, get(), DEADLINE).await),
        (ErrorKind::Refused, "HostNotAllowed")
    );
    assert_eq!(server.seen(|seen| seen.connections), 0);

    std::fs::write(&path, rule("127.0.0.1", "127.0.0.0/8")).unwrap();
    assert!(policy.reload().unwrap());
    assert!(perform(&actions, get(), DEADLINE).await.is_ok());
    let post = request("POST", server.url("/"), true);
    assert_eq!(
        failed(&perform(&actions, post, DEADLINE).await),
        (ErrorKind::Refused, "HostNotAllowed")
    );
    let elsewhere = actions.perform(&attempt("other", DEADLINE), Request::Http(get())).await;
    assert_eq!(failed(&elsewhere), (ErrorKind::Refused, "HostNotAllowed"));

    // A kept connection does not outlive the policy that allowed it.
    std::fs::write(&path, rule("127.0.0.1", "10.0.0.0/8")).unwrap();
    assert!(policy.reload().unwrap());
    assert_eq!(
        failed(&perform(&actions, get(), DEADLINE).await),
        (ErrorKind::Refused, "AddressBlocked")
    );
}

#[tokio::test]
async fn aborted_attempt_closes_its_connection() {
    let server = Server::start(|_| Reply::Hang(Vec::new())).await;
    let actions = open_actions(Manifests::default());
    let get = request("GET", server.url("/"), true);
    let task = tokio::spawn(async move { perform(&actions, get, DEADLINE).await });
    eventually("the request", || async {
        server.seen(|seen| !seen.requests.is_empty())
    })
    .await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    eventually("the end of the connection", || async {
        server.seen(|seen| seen.given_up == 1)
    })
    .await;
}

fn tls_server() -> (tokio_rustls::TlsAcceptor, String) {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let pem = certificate.cert.pem();
    let key = rustls::pki_types::PrivateKeyDer::try_from(certificate.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.cert.der().clone()], key)
        .unwrap();
    (tokio_rustls::TlsAcceptor::from(Arc::new(config)), pem)
}

fn connection(port: u16, scheme: &str, extra: &Value) -> Value {
    let mut http = json!({"baseUrl": format!("{scheme}://127.0.0.1:{port}/base")});
    http.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"spec": {"http": http}})
}

fn on_connection(name: &str) -> HttpRequest {
    let mut request = request("GET", String::new(), true);
    request.target = HttpTarget::Connection {
        name: name.to_owned(),
        path: "/x".to_owned(),
    };
    request
}

#[tokio::test]
async fn tls_is_verified_by_the_connections_own_authority() {
    let (tls, pem) = tls_server();
    let server = Server::start_with(|_| Reply::Keep(answer("200 OK", "", "")), Some(tls)).await;
    let ca = json!({"tls": {"caFrom": {"secretKeyRef": {"name": "s", "key": "ca"}}}});
    let mut manifests = Manifests::default();
    manifests.add_connection("shop", "trusting", connection(server.port, "https", &ca));
    manifests.add_connection("shop", "plain", connection(server.port, "https", &json!({})));
    manifests.add_secret("shop", "s", json!({"stringData": {"ca": pem}}));
    let (actions, mut findings) = actions(Source::Files(manifests), EgressPolicy::open());

    assert_eq!(
        perform(&actions, on_connection("trusting"), DEADLINE).await.unwrap()["status"],
        200
    );
    assert!(findings.try_recv().unwrap().ready);
    assert_eq!(
        failed(&perform(&actions, on_connection("plain"), DEADLINE).await),
        (ErrorKind::Connect, "TlsFailed")
    );
    let finding = findings.try_recv().unwrap();
    assert_eq!((finding.ready, finding.reason.as_str()), (false, "TlsFailed"));
    assert!(actions.check("shop", "trusting").await.is_ok());
    assert_eq!(actions.check("shop", "plain").await.unwrap_err().code, "TlsFailed");
}

#[tokio::test]
async fn connection_adds_its_path_headers_and_credentials() {
    let server = Server::start(|_| Reply::Keep(answer("200 OK", "", ""))).await;
    let extra = json!({
        "headers": {"X-Team": "shop"},
        "auth": {"bearer": {"secretKeyRef": {"name": "s", "key": "token"}}},
    });
    let mut manifests = Manifests::default();
    manifests.add_connection("shop", "api", connection(server.port, "http", &extra));
    manifests.add_secret("shop", "s", json!({"data": {"token": "aHVudGVyMg=="}}));
    let actions = open_actions(manifests);
    perform(&actions, on_connection("api"), DEADLINE).await.unwrap();
    let sent = server.seen(|seen| seen.requests[0].clone());
    assert!(sent.starts_with("GET /base/x HTTP/1.1\r\n"), "{sent}");
    assert!(
        sent.contains("x-team: shop\r\n") && sent.contains("authorization: Bearer hunter2\r\n"),
        "{sent}"
    );

    let mut own = on_connection("api");
    own.headers.insert("authorization".to_owned(), json!("Bearer mine"));
    assert_eq!(
        failed(&perform(&actions, own, DEADLINE).await),
        (ErrorKind::Refused, "ReservedHeader")
    );
    let elsewhere = actions
        .perform(&attempt("other", DEADLINE), Request::Http(on_connection("api")))
        .await;
    assert_eq!(failed(&elsewhere), (ErrorKind::Connect, "ConnectionNotFound"));
}
