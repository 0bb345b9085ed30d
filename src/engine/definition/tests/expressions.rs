//! What the expressions of a definition may name, and where.

use serde_json::{Value, json};

use super::violations;

#[test]
fn an_expression_names_only_what_exists_and_has_happened() {
    let step = |name: &str, when: &str| json!({"name": name, "when": when, "set": {}});
    for (when, expected) in [
        ("steps.a.output.x == 1", None),
        ("has(steps.a.output.x)", None),
        ("steps['a'].error.code == ''", None),
        (
            "steps.side.status == ''",
            Some("`steps.side` is not available here: `b` does not depend on `side`; add it to `needs`"),
        ),
        (
            "steps.later.status == ''",
            Some("`steps.later` is not available here: `b` does not depend on `later`; add it to `needs`"),
        ),
        (
            "steps.z.status == ''",
            Some("`steps.z` is not available here: `finally` runs after this step"),
        ),
        (
            "steps.b.status == ''",
            Some("`b` cannot read itself; its answer is `result`"),
        ),
        ("steps.nobody.status == ''", Some("there is no step `nobody`")),
        (
            "steps.a.outptu.x == 1",
            Some("`steps.a` has no field `outptu`; it has output, status, attempts, error"),
        ),
        (
            "steps[input.x].status == ''",
            Some("name the step, as in `steps.name.output`: which steps an expression reads must be known"),
        ),
        (
            "size(steps) == 1",
            Some("name the step, as in `steps.name.output`: which steps an expression reads must be known"),
        ),
        ("run.name == ''", None),
        (
            "run.nmae == ''",
            Some("`run` has no field `nmae`; it has id, name, namespace, workflow, revision, startedAt, scheduledAt"),
        ),
        (
            "run.result == ''",
            Some("`run.result` is known only in `finally` and `output`"),
        ),
        (
            "result.status == 1",
            Some("unknown variable `result`; known here: input, steps, run"),
        ),
        (
            "error.status == 1",
            Some("unknown variable `error`; known here: input, steps, run"),
        ),
        (
            "item == 1",
            Some("unknown variable `item`; known here: input, steps, run"),
        ),
        (
            "index == 1",
            Some("unknown variable `index`; known here: input, steps, run"),
        ),
        (
            "iteration == 1",
            Some("unknown variable `iteration`; known here: input, steps, run"),
        ),
    ] {
        let found = violations(&json!({
            "steps": [
                {"name": "a", "set": {}},
                step("b", when),
                {"name": "later", "set": {}},
                {"name": "side", "needs": [], "set": {}}
            ],
            "finally": [{"name": "z", "set": {}}]
        }));
        match expected {
            None => assert_eq!(found, [""; 0], "{when}"),
            Some(message) => {
                assert_eq!(found.len(), 1, "{when}: {found:#?}");
                assert!(
                    found[0].starts_with("spec.steps[1].when: at character ") && found[0].ends_with(message),
                    "{}",
                    found[0]
                );
            }
        }
    }
}

#[test]
fn each_place_has_its_own_variables() {
    let body = |step: Value, output: Value, finally: Value| json!({"steps": [{"name": "a", "set": {}}, step], "output": output, "finally": [finally]});
    let set = |name: &str, text: &str| json!({"name": name, "set": {"x": text}});
    let fine = [
        body(
            json!({"name": "b", "set": {}, "output": "=result.x"}),
            json!("=run.result"),
            set("z", "=run.error.code"),
        ),
        body(
            json!({"name": "b", "http": {"url": "https://h/"}, "retry": {"when": "error.kind == run.name"}}),
            json!("=steps.b.output"),
            set("z", "=steps.b.output"),
        ),
    ];
    for body in fine {
        assert_eq!(violations(&body), [""; 0]);
    }
    let wrong = [
        (
            body(
                json!({"name": "b", "set": {}, "output": "=error.code"}),
                json!(1),
                set("z", "x"),
            ),
            "unknown variable `error`",
        ),
        (
            body(
                json!({"name": "b", "http": {"url": "https://h/"}, "retry": {"when": "result.x"}}),
                json!(1),
                set("z", "x"),
            ),
            "unknown variable `result`",
        ),
        (
            body(
                json!({"name": "b", "http": {"url": "https://h/"}, "retry": {"when": "error.x == 1"}}),
                json!(1),
                set("z", "x"),
            ),
            "`error` has no field `x`",
        ),
        (
            body(set("b", "x"), json!("=steps.z.output"), set("z", "x")),
            "there is no step `z` in `steps`",
        ),
        (
            body(set("b", "x"), json!("=result"), set("z", "x")),
            "unknown variable `result`",
        ),
        (
            body(set("b", "x"), json!(1), set("z", "=steps.z.output")),
            "cannot read itself",
        ),
    ];
    for (body, message) in wrong {
        let found = violations(&body);
        assert!(found.len() == 1 && found[0].contains(message), "{found:#?}\n{message}");
    }
}
