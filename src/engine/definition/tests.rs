//! What is accepted, and what every kind of mistake is called.

use serde_json::{Value, json};

use super::*;

mod expressions;

fn violations(body: &Value) -> Vec<String> {
    match Definition::compile(body) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.iter().map(ToString::to_string).collect(),
    }
}

/// The violations of a body with this one step.
fn of_step(step: &Value) -> Vec<String> {
    violations(&json!({ "steps": [step] }))
}

#[test]
fn a_definition_of_everything_that_is_supported_is_accepted() {
    let body = json!({
        "input": {"orderId": "1042", "amountCents": 250_000},
        "params": [{"name": "orderId", "type": "string", "required": true}, {"name": "amountCents", "type": "integer", "minimum": 1}],
        "timeout": "7d",
        "retry": {"maxAttempts": 5, "backoff": {"initial": "1s", "factor": 2, "max": "1m", "jitter": 0.2}, "when": "error.status >= 500"},
        "steps": [
            {"name": "reserve", "sql": {
                "connection": "shopdb", "query": "SELECT $1", "args": ["=input.orderId"], "readOnly": true,
                "expect": {"minRows": 1, "maxRows": 5, "code": "OUT_OF_STOCK"}
            }},
            {"name": "charge", "http": {
                "connection": "payments", "method": "POST", "path": "/v1/charges/{id}", "pathParams": {"id": "=input.orderId"},
                "query": {"q": [1, 2]}, "headers": {"X-Trace": "=run.id"}, "body": {"order": "=input.orderId"},
                "idempotent": true, "successWhen": "result.status in [200, 201]"
            }, "retry": {"maxAttempts": 10, "when": "error.kind == 'Timeout' || error.status == 429"}, "timeout": "30s",
            "output": {"chargeId": "=result.body.id"},
            "compensate": {"http": {"connection": "payments", "path": "/refund", "body": "=steps.charge.output"}, "retry": {"maxAttempts": 9}, "timeout": "7s"}},
            {"name": "approval", "waitForSignal": {"signal": "approve", "timeout": "48h", "onTimeout": "Continue"}},
            {"name": "side", "needs": [], "sleep": {"until": "=input.when"}, "continueOnError": true},
            {"name": "join", "needs": ["approval", "side"], "when": "steps.reserve.output.rowCount > 0 && steps.side.status == 'Failed'",
             "fail": {"code": "NO", "message": "='no ' + steps.charge.output.chargeId"}}
        ],
        "finally": [{"name": "notify", "http": {"url": "https://example.com/x", "body": {"r": "=run.result", "e": "=run.error", "s": "=steps.join.status"}}}],
        "output": {"charge": "=steps.charge.output.chargeId", "r": "=run.result"}
    });
    let definition = Definition::compile(&body).unwrap_or_else(|violations| panic!("{violations:#?}"));
    assert_eq!(definition.timeout(), Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(definition.attempt_timeout("charge", Deed::Do), Duration::from_secs(30));
    assert_eq!(definition.attempt_timeout("reserve", Deed::Do), Duration::from_secs(60));
    assert_eq!(definition.default_input(), &body["input"]);
    assert_eq!(
        definition.check_input(&json!({"orderId": "x", "amountCents": 0}))[0].to_string(),
        "input.amountCents: must be at least 1"
    );
    assert_eq!(
        definition.step_names().map(|name| &**name).collect::<Vec<_>>(),
        ["reserve", "charge", "approval", "side", "join", "notify"]
    );
}

#[test]
fn an_absent_input_is_an_empty_object() {
    let definition = Definition::compile(&json!({"steps": [{"name": "a", "set": {}}]})).unwrap();
    assert_eq!(definition.default_input(), &json!({}));
}

#[test]
fn all_violations_are_reported_at_once_and_say_where() {
    let body = json!({
        "stepz": [],
        "timeout": "soon",
        "retry": {"maxAttempts": 0, "when": "steps.a.status == 'Failed'"},
        "blocks": {}, "onFailure": "Stop",
        "steps": [
            {"name": "a", "set": {"x": {"y": ["=1 +"]}}, "wen": "true"},
            {"name": "a", "http": {"path": "/x"}},
            {"name": "1st", "needs": ["nobody"], "sleep": {}},
            {"set": []},
            "step"
        ],
        "finally": {"name": "z"},
        "output": "=steps.nobody.output"
    });
    let found = violations(&body);
    let starts = [
        "spec.steps[0].set.x.y[0]: at character 3: ",
        "spec.steps[0].wen: unknown field",
        "spec.steps[1].http: needs either `connection` and `path`, or `url`",
        "spec.steps[2].name: must be a letter followed by",
        "spec.steps[2].sleep: needs `for` (a duration) or `until` (a point in time)",
        "spec.steps[3].name: is required",
        "spec.steps[3].set: must be an object, not a list",
        "spec.steps[4]: must be an object, not a string",
        "spec.finally: must be a list, not an object",
        "spec.timeout: `soon` is not a duration",
        "spec.retry.maxAttempts: must be a whole number from 1 to 100000",
        "spec.blocks: not supported yet",
        "spec.onFailure: must be `Compensate` or `Pause`",
        "spec.stepz: unknown field",
        "spec.steps[1].name: `a` is also the name of spec.steps[0]",
        "spec.steps[2].needs[0]: there is no step `nobody`",
        "spec.output: at character 0: there is no step `nobody` in `steps`",
        "spec.retry.when: at character 0: unknown variable `steps`; known here: input, run, error",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\n  should begin with\n{start}");
    }
}

#[test]
fn a_body_must_be_an_object_with_steps() {
    assert_eq!(violations(&json!(null)), ["spec: must be an object, not null"]);
    assert_eq!(violations(&json!({})), ["spec.steps: is required"]);
    assert_eq!(
        violations(&json!({"steps": []})),
        ["spec.steps: must hold at least one step"]
    );
    assert_eq!(
        violations(&json!({"steps": "a"})),
        ["spec.steps: must be a list, not a string"]
    );
}

#[test]
fn what_this_release_does_not_perform_is_refused() {
    for action in ["job", "parallel", "race", "forEach", "repeat", "call"] {
        assert_eq!(
            of_step(&json!({"name": "a", action: {}})),
            [format!("spec.steps[0].{action}: not supported yet")]
        );
    }
    for (action, fields) in [
        ("job", json!({})),
        ("sleep", json!({"for": "1s"})),
        ("waitForSignal", json!({"signal": "x"})),
    ] {
        assert_eq!(
            of_step(&json!({"name": "a", "set": {}, "compensate": {action: fields}})),
            [format!("spec.steps[0].compensate.{action}: not supported yet")]
        );
    }
}

#[test]
fn a_wait_has_a_signal_and_a_timeout_that_makes_sense() {
    let wait = |fields: Value| of_step(&json!({"name": "a", "waitForSignal": fields}));
    assert_eq!(wait(json!({"signal": "go"})), [""; 0]);
    assert_eq!(
        wait(json!({"signal": "go", "timeout": "48h", "onTimeout": "Continue"})),
        [""; 0]
    );
    assert_eq!(
        wait(json!({"signal": "go", "timeout": "48h", "onTimeout": "Fail"})),
        [""; 0]
    );
    for (fields, expected) in [
        (json!({}), "spec.steps[0].waitForSignal.signal: is required"),
        (
            json!({"signal": ""}),
            "spec.steps[0].waitForSignal.signal: must not be empty",
        ),
        (
            json!({"signal": "x".repeat(254)}),
            "spec.steps[0].waitForSignal.signal: is longer than 253 bytes",
        ),
        (
            json!({"signal": 1}),
            "spec.steps[0].waitForSignal.signal: must be a string, not this number",
        ),
        (
            json!({"signal": "x", "timeout": "0s"}),
            "spec.steps[0].waitForSignal.timeout: must be longer than zero",
        ),
        (
            json!({"signal": "x", "timeout": "1s", "onTimeout": "Skip"}),
            "spec.steps[0].waitForSignal.onTimeout: must be `Fail` or `Continue`",
        ),
        (
            json!({"signal": "x", "onTimeout": "Continue"}),
            "spec.steps[0].waitForSignal.onTimeout: `Continue` needs a `timeout`: without one the wait is for ever",
        ),
        (
            json!({"signal": "x", "until": "y"}),
            "spec.steps[0].waitForSignal.until: unknown field",
        ),
    ] {
        assert_eq!(wait(fields), [expected]);
    }
}

#[test]
fn a_compensation_is_one_action_that_sees_its_step_and_what_that_depends_on() {
    let set = |name: &str| json!({"name": name, "set": {}});
    let undone = |compensate: Value| {
        violations(&json!({"steps": [
            set("a"),
            {"name": "b", "set": {}, "compensate": compensate},
            set("c")
        ]}))
    };
    let http = |body: &str| json!({"http": {"url": "https://h/", "body": body}});
    assert_eq!(undone(http("=[steps.a.output, steps.b.output, run.id]")), [""; 0]);
    assert_eq!(
        undone(
            json!({"http": {"url": "https://h/", "successWhen": "result.status == steps.b.attempts"},
            "timeout": "3s", "retry": {"maxAttempts": 2, "when": "error.status == 500 && steps.b.status == 'Succeeded'"}})
        ),
        [""; 0]
    );
    for (compensate, expected) in [
        (
            http("=steps.c.output"),
            "spec.steps[1].compensate.http.body: at character 0: `steps.c` is not available here: `b` does not depend on `c`; add it to `needs`",
        ),
        (
            http("=run.result"),
            "spec.steps[1].compensate.http.body: at character 0: `run.result` is known only in `finally` and `output`",
        ),
        (
            json!({}),
            "spec.steps[1].compensate: has no action; give it exactly one of sql, http, set, fail",
        ),
        (
            json!({"set": {}, "when": "true"}),
            "spec.steps[1].compensate.when: unknown field",
        ),
        (json!("x"), "spec.steps[1].compensate: must be an object, not a string"),
        (
            json!({"http": {"url": "https://h/"}, "timeout": "0s"}),
            "spec.steps[1].compensate.timeout: must be longer than zero",
        ),
        (
            json!({"set": {}, "retry": {"maxAttempts": 2}}),
            "spec.steps[1].compensate.retry: is of attempts, and this action has none; remove it",
        ),
    ] {
        assert_eq!(undone(compensate), [expected]);
    }
    assert_eq!(
        violations(&json!({"steps": [set("a")], "finally": [{"name": "z", "set": {}, "compensate": {"set": {}}}]})),
        ["spec.finally[0].compensate: a step of `finally` is never undone; remove it, or move the step to `steps`"]
    );
}

#[test]
fn a_step_has_exactly_one_action() {
    assert_eq!(
        of_step(&json!({"name": "a"})),
        ["spec.steps[0]: has no action; give it exactly one of sql, http, sleep, waitForSignal, set, fail"]
    );
    assert_eq!(
        of_step(&json!({"name": "a", "set": {}, "sleep": {"for": "1s"}})),
        ["spec.steps[0]: has 2 actions (sleep, set); a step has exactly one"]
    );
}

#[cfg(not(feature = "bench"))]
#[test]
fn the_benchmark_action_does_not_exist_in_the_product() {
    assert_eq!(
        of_step(&json!({"name": "a", "set": {}, "noop": {}})),
        ["spec.steps[0].noop: unknown field"]
    );
}

#[test]
fn wrong_fields_of_actions_are_named() {
    for (step, expected) in [
        (json!({"sql": {"query": "SELECT 1"}}), "sql.connection: is required"),
        (json!({"sql": {"connection": "db"}}), "sql.query: is required"),
        (
            json!({"sql": {"connection": "db", "query": "  "}}),
            "sql.query: must hold a statement",
        ),
        (
            json!({"sql": {"connection": "Db", "query": "x"}}),
            "sql.connection: must be the name of an object in this namespace: lower-case letters, digits, `-` and `.`",
        ),
        (
            json!({"sql": {"connection": "db", "query": "x", "args": {}}}),
            "sql.args: must be a list, not an object",
        ),
        (
            json!({"sql": {"connection": "db", "query": "x", "expect": {"minRows": 2, "maxRows": 1}}}),
            "sql.expect: minRows 2 is more than maxRows 1",
        ),
        (
            json!({"sql": {"connection": "db", "query": "x", "expect": {"min": 2}}}),
            "sql.expect.min: unknown field",
        ),
        (
            json!({"http": {"url": "https://h/", "connection": "c"}}),
            "http: needs either `connection` and `path`, or `url`",
        ),
        (
            json!({"http": {"connection": "c"}}),
            "http: needs either `connection` and `path`, or `url`",
        ),
        (
            json!({"http": {"connection": "c", "path": "x"}}),
            "http.path: must begin with `/`",
        ),
        (
            json!({"http": {"connection": "c", "path": "/x y"}}),
            "http.path: must not hold spaces or control characters; write %20 for a space",
        ),
        (
            json!({"http": {"connection": "c", "path": "/x#y"}}),
            "http.path: must not hold a fragment (`#`): it is never sent",
        ),
        (
            json!({"http": {"url": "ftp://h/"}}),
            "http.url: must begin with `https://` or `http://`",
        ),
        (
            json!({"http": {"url": "https://u:p@h/"}}),
            "http.url: must name a host, without user and password, and not by a `{place}`",
        ),
        (
            json!({"http": {"url": "https://h/", "method": "FETCH"}}),
            "http.method: must be one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        ),
        (
            json!({"http": {"url": "https://h/{id}"}}),
            "http: the path has a place {id}; give it a value in `pathParams`",
        ),
        (
            json!({"http": {"url": "https://h/{id}", "pathParams": {"id": 1, "x": 2}}}),
            "http.pathParams: the path has no place {x}",
        ),
        (
            json!({"http": {"url": "https://h/{a}/{b}", "pathParams": {"a": 1}}}),
            "http.pathParams: the path has a place {b}; give it a value",
        ),
        (
            json!({"http": {"url": "https://h/", "query": "=input"}}),
            "http.query: must be an object, not a string",
        ),
        (
            json!({"http": {"url": "https://h/", "headers": {"Host": "x"}}}),
            "http.headers: `Host` is set by the worker and cannot be chosen",
        ),
        (
            json!({"http": {"url": "https://h/", "headers": {"proxy-x": "x"}}}),
            "http.headers: `proxy-x` is set by the worker and cannot be chosen",
        ),
        (
            json!({"http": {"url": "https://h/", "headers": {"IDEMPOTENCY-KEY": "x"}}}),
            "http.headers: `IDEMPOTENCY-KEY` is set by the worker and cannot be chosen",
        ),
        (
            json!({"http": {"url": "https://h/", "headers": {"Authorization": "x"}}}),
            "http.headers: `Authorization` comes only from the Secret of a Connection; use `connection` with `auth`",
        ),
        (
            json!({"http": {"url": "https://h/", "headers": {"a b": "x"}}}),
            "http.headers: has a name that is no header name",
        ),
        (
            json!({"http": {"url": "https://h/", "idempotent": "yes"}}),
            "http.idempotent: must be true or false, not a string",
        ),
        (
            json!({"http": {"url": "https://h/", "successWhen": "result.status =="}}),
            "http.successWhen: at character 16: ",
        ),
        (
            json!({"sleep": {"for": "1s", "until": "=input.x"}}),
            "sleep: has both `for` and `until`; keep one",
        ),
        (
            json!({"sleep": {"until": "tomorrow"}}),
            "sleep.until: is no point in time; write RFC 3339 as in 2026-11-23T09:00:00Z, or an expression that begins with `=`",
        ),
        (json!({"fail": {"message": "x"}}), "fail.code: is required"),
        (json!({"fail": {"code": ""}}), "fail.code: must not be empty"),
        (
            json!({"fail": {"code": "X"}, "output": 1}),
            "output: a `fail` step has no output",
        ),
        (
            json!({"fail": {"code": "X"}, "compensate": {"set": {}}}),
            "compensate: a `fail` step never succeeds, so there is nothing to undo",
        ),
        (
            json!({"http": {"url": "https://h/"}, "timeout": "0s"}),
            "timeout: must be longer than zero",
        ),
        (
            json!({"waitForSignal": {"signal": "go"}, "timeout": "48h"}),
            "timeout: is of attempts, and a wait has none; how long it lasts is `waitForSignal.timeout`",
        ),
        (
            json!({"waitForSignal": {"signal": "go"}, "retry": {}}),
            "retry: is of attempts, and a wait has none",
        ),
        (
            json!({"sleep": {"for": "1s"}, "timeout": "1m"}),
            "timeout: is of attempts, and this action has none; remove it",
        ),
        (
            json!({"fail": {"code": "X"}, "retry": {"maxAttempts": 2}}),
            "retry: is of attempts, and this action has none",
        ),
        (json!({"set": {}, "needs": "a"}), "needs: must be a list, not a string"),
        (
            json!({"set": {}, "when": true}),
            "when: must be a string, not a boolean",
        ),
    ] {
        let mut named = step.clone();
        named["name"] = json!("a");
        let found = of_step(&named);
        let expected = format!("spec.steps[0].{expected}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected),
            "{step}\n{found:#?}\n{expected}"
        );
    }
}

#[test]
fn a_cycle_is_named_and_needs_stay_in_their_list() {
    let step = |name: &str, needs: &[&str]| json!({"name": name, "needs": needs, "set": {}});
    assert_eq!(
        violations(&json!({"steps": [step("a", &["b"]), step("b", &["a"])]})),
        ["spec.steps[0]: `needs` form a cycle: a needs b needs a"]
    );
    assert_eq!(
        violations(&json!({"steps": [step("a", &[])], "finally": [step("z", &["a"])]})),
        ["spec.finally[0].needs[0]: `a` is not in the same list; a step can need only steps of its own list"]
    );
}

#[test]
fn limits_are_held() {
    let steps = |count: usize| {
        (0..count)
            .map(|i| json!({"name": format!("s{i}"), "set": {}}))
            .collect::<Vec<_>>()
    };
    assert_eq!(violations(&json!({"steps": steps(200)})), [""; 0]);
    assert_eq!(
        violations(&json!({"steps": steps(201)})),
        ["spec.steps: has 201 steps, more than 200"]
    );
    assert_eq!(
        violations(&json!({"steps": steps(1), "x": "x".repeat(512 * 1024)})),
        ["spec: is larger than 512 KiB"]
    );
    assert_eq!(
        violations(&json!({"steps": steps(1), "input": "x".repeat(256 * 1024)})),
        ["spec.input: is larger than 256 KiB"]
    );
    let deep = (0..100).fold(json!(1), |value, _| json!([value]));
    assert_eq!(
        violations(&json!({"steps": steps(1), "input": deep})),
        ["spec: is nested deeper than 100 levels"]
    );
    assert_eq!(
        violations(&json!({"steps": steps(1), "input": {"a": ["\0"]}})),
        ["spec.input.a[0]: holds the character U+0000, which PostgreSQL cannot store; remove it"]
    );
    let many: serde_json::Map<String, Value> = (0..150).map(|i| (format!("f{i:03}"), json!(1))).collect();
    let mut body = json!({"steps": steps(1)});
    body.as_object_mut().unwrap().extend(many);
    let found = violations(&body);
    assert_eq!(found.len(), 101);
    assert_eq!(found[100], "spec: and 50 more violations");
}
