//! Random definitions: numbers that choose among a few of everything.

use proptest::prelude::*;
use serde_json::{Value, json};

/// A step of a random definition: numbers that choose among a few of everything.
#[derive(Debug, Clone)]
struct Plan {
    action: u8,
    needs: Option<Vec<u8>>,
    when: u8,
    reads: u8,
    output: u8,
    retry: u8,
    tolerated: bool,
    undo: u8,
}

fn plan() -> impl Strategy<Value = Plan> {
    let needs = proptest::option::of(proptest::collection::vec(any::<u8>(), 0..3));
    (
        0..11u8,
        needs,
        0..6u8,
        any::<u8>(),
        0..4u8,
        0..4u8,
        proptest::bool::weighted(0.2),
        0..5u8,
    )
        .prop_map(|(action, needs, when, reads, output, retry, tolerated, undo)| Plan {
            action,
            needs,
            when,
            reads,
            output,
            retry,
            tolerated,
            undo,
        })
}

fn list(prefix: &str, plans: &[Plan], visible: &[String]) -> Vec<Value> {
    plans
        .iter()
        .enumerate()
        .map(|(i, plan)| step(prefix, i, plan, visible))
        .collect()
}

fn step(prefix: &str, i: usize, plan: &Plan, visible: &[String]) -> Value {
    let name = format!("{prefix}{i}");
    let mut needs: Vec<String> = match &plan.needs {
        None => i
            .checked_sub(1)
            .map(|above| format!("{prefix}{above}"))
            .into_iter()
            .collect(),
        Some(_) if i == 0 => Vec::new(),
        Some(needs) => needs
            .iter()
            .map(|need| format!("{prefix}{}", usize::from(*need) % i))
            .collect(),
    };
    needs.sort();
    needs.dedup();
    let readable: Vec<&String> = needs.iter().chain(visible).collect();
    let read = readable.get(usize::from(plan.reads) % readable.len().max(1));
    let text = match (read, plan.reads % 5) {
        (None, _) => "=input.n + 1".to_owned(),
        (Some(step), 0) => format!("=steps.{step}.output"),
        (Some(step), 1) => format!("=steps.{step}.status"),
        (Some(step), 2) => format!("=steps.{step}.attempts"),
        (Some(step), 3) => format!("=steps.{step}.error"),
        (Some(step), _) => format!("=has(steps.{step}.output.a) ? steps.{step}.output.a : input.n"),
    };
    let mut step = json!({"name": name});
    let (action, body) = match plan.action {
        0 | 1 => ("set", json!({"a": text, "b": [1, {"c": "x"}]})),
        2 => ("sleep", json!({"for": format!("{}s", plan.reads % 90)})),
        3 => ("sleep", json!({"until": "=timestamp('2026-11-21T09:01:00Z')"})),
        4 => ("fail", json!({"code": "NO", "message": "='no ' + string(input.n)"})),
        5 => ("sql", json!({"connection": "db", "query": "SELECT $1", "args": [text]})),
        6 => (
            "http",
            json!({"connection": "c", "path": "/x", "method": "POST", "body": text}),
        ),
        7 => (
            "http",
            json!({"connection": "c", "path": "/x", "body": text, "successWhen": "result.status < 300"}),
        ),
        8 => ("waitForSignal", json!({"signal": format!("s{}", plan.reads % 3)})),
        9 => (
            "waitForSignal",
            json!({
                "signal": format!("s{}", plan.reads % 3), "timeout": format!("{}s", plan.reads.max(1)),
                "onTimeout": if plan.reads.is_multiple_of(2) { "Continue" } else { "Fail" }
            }),
        ),
        _ => ("http", json!({"connection": "c", "path": "/x", "query": {"q": text}})),
    };
    step[action] = body;
    if plan.needs.is_some() {
        step["needs"] = json!(needs);
    }
    match (plan.when, read) {
        (0, _) => step["when"] = json!("input.n > 5"),
        (1, _) => step["when"] = json!("input.absent"),
        (2, Some(read)) => step["when"] = json!(format!("steps.{read}.status == 'Succeeded'")),
        _ => {}
    }
    if action != "fail" {
        match plan.output {
            0 => step["output"] = json!({"a": "=result"}),
            1 => step["output"] = json!("=result.body.id"),
            _ => {}
        }
    }
    match plan.retry {
        // They have no attempts.
        _ if !matches!(action, "sql" | "http") => {}
        0 => step["retry"] = json!({"maxAttempts": 2}),
        1 => step["retry"] = json!({"maxAttempts": 3, "when": "error.kind == 'Ambiguous' || error.status >= 500"}),
        2 => step["retry"] = json!({"maxAttempts": 1}),
        _ => {}
    }
    step["continueOnError"] = json!(plan.tolerated);
    if prefix == "m" && action != "fail" {
        let read = format!("=[steps.{name}.output, steps.{name}.attempts]");
        match plan.undo {
            0 => {
                step["compensate"] = json!({"http": {"connection": "c", "path": "/u", "method": "POST", "body": read}});
            }
            1 => {
                step["compensate"] = json!({"sql": {"connection": "db", "query": "SELECT 1", "args": [read]}, "retry": {"maxAttempts": 2}});
            }
            2 => step["compensate"] = json!({"set": {"x": format!("=steps.{name}.output.absent")}}),
            _ => {}
        }
    }
    step
}

/// A random definition that compiles.
pub(crate) fn body() -> impl Strategy<Value = Value> {
    let main = proptest::collection::vec(plan(), 1..7);
    let finally = proptest::collection::vec(plan(), 0..4);
    let rest = (proptest::option::of(1..500u32), 0..4u8, proptest::bool::weighted(0.3));
    (main, finally, rest).prop_map(|(main, finally, (timeout, output, pauses))| {
        let names: Vec<String> = (0..main.len()).map(|i| format!("m{i}")).collect();
        let mut body = json!({"steps": list("m", &main, &[]), "finally": list("f", &finally, &names)});
        if pauses {
            body["onFailure"] = json!("Pause");
        }
        if let Some(seconds) = timeout {
            body["timeout"] = json!(format!("{seconds}s"));
        }
        match output {
            0 => {
                body["output"] =
                    json!({"all": names.iter().map(|name| format!("=steps.{name}.output")).collect::<Vec<_>>()});
            }
            1 => body["output"] = json!("=steps.m0.output.a"),
            _ => {}
        }
        body
    })
}
