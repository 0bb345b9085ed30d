//! Runs that do not end well, and what their objects say about it.

use std::time::Duration;

use serde_json::json;

use crate::{
    support::system::{System, condition, connection, workflow},
    target::Target,
};

#[tokio::test]
async fn failing_run_retries_skips_goes_on_fails_and_tells() {
    let (system, target) = (System::new("failing").await, Target::start().await);
    system.allow(target.port);
    let _all = system.start("all", &[]).await;
    let spec = "
retry: {maxAttempts: 3, backoff: {initial: 10ms, factor: 1, max: 10ms}}
steps:
- name: flaky
  http: {connection: target, path: /flaky}
- name: slow
  http: {connection: target, path: /slow}
  timeout: 200ms
  retry: {maxAttempts: 2}
  continueOnError: true
- name: unwanted
  when: steps.slow.status == 'Succeeded'
  set: {}
- name: rejected
  http: {connection: target, method: POST, path: /status/422}
  continueOnError: true
- name: stop
  when: steps.slow.error.kind == 'Timeout' && steps.rejected.error.status == 422
  fail: {code: TOO_SLOW, message: \"='gave up after ' + string(steps.slow.attempts)\"}
- name: never
  set: {}
finally:
- name: tell
  http:
    connection: target
    method: POST
    path: /told
    body:
      result: =run.result
      code: =run.error.code
      attempts: [=steps.flaky.attempts, =steps.slow.attempts, =steps.rejected.attempts]
      states: [=steps.flaky.status, =steps.slow.status, =steps.unwanted.status, =steps.stop.status, =steps.never.status]
";
    system
        .apply(&(connection("target", &target.spec()) + &workflow("failing", spec)))
        .await;
    let failing = system.finished("failing").await;

    assert_eq!(
        target.told(),
        [json!({
            "result": "Failed",
            "code": "TOO_SLOW",
            "attempts": [3, 2, 1],
            "states": ["Succeeded", "Failed", "Skipped", "Failed", "NotRun"],
        })]
    );
    let run = &failing["status"]["run"];
    assert_eq!(run["phase"], "Failed");
    assert_eq!(
        run["error"],
        json!({"step": "stop", "code": "TOO_SLOW", "message": "gave up after 2"})
    );
    for kind in ["Succeeded", "Ready"] {
        let condition = condition(&failing, kind);
        assert_eq!(
            (&condition["status"], &condition["reason"]),
            (&json!("False"), &json!("Failed")),
            "{kind}"
        );
        assert!(
            condition["message"]
                .as_str()
                .unwrap()
                .contains("step stop: TOO_SLOW: gave up after 2"),
            "{condition}"
        );
    }
    assert_eq!(condition(&failing, "Stalled")["status"], "True");
    assert!(condition(&failing, "Reconciling").is_null());
    assert_eq!(failing["status"]["counts"]["failed"], 1);
}

#[tokio::test]
async fn run_past_its_time_is_timed_out() {
    let system = System::new("late").await;
    let _all = system.start("all", &[]).await;
    let spec = "{timeout: 1s, steps: [{name: nap, sleep: {for: 1h}}], output: {x: =steps.nap.status}}";
    system.apply(&workflow("late", spec)).await;
    let late = system.finished("late").await;
    assert_eq!(late["status"]["run"]["phase"], "TimedOut");
    assert_eq!(condition(&late, "Succeeded")["reason"], "TimedOut");
    assert_eq!(condition(&late, "Stalled")["status"], "True");
}

#[tokio::test]
async fn run_whose_output_or_step_cannot_be_computed_fails() {
    let system = System::new("computed").await;
    let _all = system.start("all", &[]).await;
    let absent = "{steps: [{name: a, set: {}}], output: {x: =steps.a.output.absent}}";
    let bomb = "{steps: [{name: a, when: \"range_is_absent == 1\", set: {}}]}".replace(
        "range_is_absent",
        "input.list.map(x, input.list.map(y, input.list.map(z, x + y + z))).size()",
    );
    let input = format!("{{input: {{list: [{}]}}, ", vec!["1"; 100].join(","));
    let bomb = bomb.replacen('{', &input, 1);
    system
        .apply(&(workflow("absent", absent) + &workflow("bomb", &bomb)))
        .await;
    let absent = system.finished("absent").await;
    assert_eq!(absent["status"]["run"]["phase"], "Failed", "{}", absent["status"]);
    assert!(
        absent["status"]["run"]["error"]["message"]
            .as_str()
            .unwrap()
            .contains("absent"),
        "{}",
        absent["status"]
    );
    let bomb = system.finished("bomb").await;
    assert_eq!(
        bomb["status"]["run"]["error"]["code"], "ExpressionBudget",
        "{}",
        bomb["status"]
    );
    assert_eq!(bomb["status"]["run"]["error"]["step"], "a");
}

#[tokio::test]
async fn run_that_ends_soon_is_told_by_one_event() {
    let system = System::new("told").await;
    let _all = system.start("all", &[]).await;
    system.apply(&workflow("short", "{steps: [{name: a, set: {}}]}")).await;
    system
        .apply(&workflow("long", "{steps: [{name: a, sleep: {for: 2s}}]}"))
        .await;
    system.finished("short").await;
    system.finished("long").await;
    let reasons = async |name: &str| {
        let mut reasons: Vec<String> = system
            .events(name)
            .await
            .iter()
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect();
        reasons.sort();
        reasons
    };
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while reasons("long").await != ["Finished", "Started"] || reasons("short").await != ["Finished"] {
        assert!(
            std::time::Instant::now() < until,
            "{:?} {:?}",
            reasons("short").await,
            reasons("long").await
        );
    }
}
