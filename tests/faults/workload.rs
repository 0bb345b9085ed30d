//! The workflows that faults happen to: a mixture of all kinds of steps, each with the one right result.
//!
//! No result depends on when a step ran or how often: a run that was disturbed must look like one that was not.

use serde_json::{Value, json};

use super::seed::Random;

/// What the shop's database holds. `unsteady` fails one time in three, and not by a counter that a rollback resets.
pub(crate) const SHOP: &str = "
    CREATE TABLE reservation (order_id text PRIMARY KEY, times int NOT NULL, confirmed boolean NOT NULL DEFAULT false);
    CREATE SEQUENCE tries;
    CREATE FUNCTION unsteady(order_id text) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN
      IF nextval('tries') % 3 = 0 THEN
        RAISE EXCEPTION 'not this time' USING ERRCODE = 'serialization_failure';
      END IF;
      RETURN order_id;
    END $$;";

/// One Workflow and what must come of it.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) manifest: Value,
    /// `status.run.output`.
    pub(crate) output: Value,
    /// All its steps.
    pub(crate) steps: Vec<String>,
    /// Steps that may need more than one attempt without any fault of ours.
    pub(crate) unsteady: Vec<String>,
    /// Paths of the payments server that it asks, each once.
    pub(crate) paths: Vec<&'static str>,
}

/// The `number`th order.
pub(crate) fn order(number: usize, random: &mut Random) -> Order {
    let id = format!("order-{number}");
    match random.below(5) {
        0 => naps(&id, random),
        1 => sleeps(&id),
        2 => sells(&id),
        3 => graph(&id),
        _ => tries(&id),
    }
}

/// Steps of a few milliseconds around a sleep that is too short to park for.
fn naps(id: &str, random: &mut Random) -> Order {
    let nap = format!("{}ms", 50 + random.below(800));
    let steps = json!([
        {"name": "greet", "set": {"text": "='hello, ' + input.order"}},
        {"name": "nap", "sleep": {"for": nap}},
        reserve(),
        {"name": "shout", "set": {"text": "=steps.greet.output.text + '!'"}},
    ]);
    let body = json!({"steps": steps, "output": {"said": "=steps.shout.output.text", "order": "=steps.reserve.output.row.order_id"}});
    Order::new(id, body, json!({"said": format!("hello, {id}!"), "order": id}), &[])
}

/// Parked between an SQL step and a request.
fn sleeps(id: &str) -> Order {
    let steps = json!([reserve(), {"name": "rest", "sleep": {"for": "1500ms"}}, charge()]);
    let body = json!({"steps": steps, "output": {"charged": CHARGED, "order": "=steps.reserve.output.row.order_id"}});
    Order::new(id, body, json!({"charged": true, "order": id}), &["/v1/charges"])
}

/// All of it, and something to do at the end.
fn sells(id: &str) -> Order {
    let steps = json!([reserve(), charge(), {"name": "pack", "sleep": {"for": "200ms"}}, confirm()]);
    let finally = json!([{"name": "notify", "http": {"connection": "payments", "method": "POST", "path": "/v1/notify",
        "body": {"order": "=input.order", "result": "=run.result"}, "idempotent": true}}]);
    let output = json!({"charged": CHARGED, "confirmed": "=steps.confirm.output.row.confirmed"});
    let body = json!({"steps": steps, "finally": finally, "output": output});
    let mut order = Order::new(
        id,
        body,
        json!({"charged": true, "confirmed": true}),
        &["/v1/charges", "/v1/notify"],
    );
    order.steps.push("notify".to_owned());
    order
}

/// Branches that join.
fn graph(id: &str) -> Order {
    let mut charge = charge();
    charge["needs"] = json!([]);
    let mut reserve = reserve();
    reserve["needs"] = json!([]);
    let steps = json!([
        charge,
        reserve,
        {"name": "wait", "needs": ["reserve"], "sleep": {"for": "1200ms"}},
        {"name": "skipped", "needs": ["wait"], "when": "input.order == ''", "set": {"x": 1}},
        {"name": "join", "needs": ["charge", "skipped"], "set": {"skipped": "=steps.skipped.status"}},
    ]);
    let body = json!({"steps": steps, "output": {"charged": CHARGED, "skipped": "=steps.join.output.skipped"}});
    let mut order = Order::new(
        id,
        body,
        json!({"charged": true, "skipped": "Skipped"}),
        &["/v1/charges"],
    );
    order.steps.retain(|step| step != "skipped");
    order
}

/// A step that needs its retries.
fn tries(id: &str) -> Order {
    let steps = json!([
        {"name": "unsteady", "sql": {"connection": "shopdb", "query": "SELECT unsteady($1) AS order_id", "args": ["=input.order"]},
         "retry": {"maxAttempts": 30, "backoff": {"initial": "50ms", "factor": 1.5, "max": "1200ms"}}},
        charge(),
    ]);
    let body = json!({"steps": steps, "output": {"charged": CHARGED, "order": "=steps.unsteady.output.row.order_id"}});
    let mut order = Order::new(id, body, json!({"charged": true, "order": id}), &["/v1/charges"]);
    order.unsteady.push("unsteady".to_owned());
    order
}

pub(crate) const CHARGED: &str = "=steps.charge.output.id.startsWith('ch_')";

/// An order's row, after a while.
pub(crate) fn reserve() -> Value {
    let query = "INSERT INTO reservation (order_id, times) VALUES ($1, 1) \
                 ON CONFLICT (order_id) DO UPDATE SET times = reservation.times + 1 \
                 RETURNING order_id, pg_sleep(0.3)::text";
    json!({"name": "reserve", "sql": {"connection": "shopdb", "query": query, "args": ["=input.order"]}})
}

fn confirm() -> Value {
    let query = "UPDATE reservation SET confirmed = true WHERE order_id = $1 RETURNING confirmed";
    json!({"name": "confirm", "sql": {"connection": "shopdb", "query": query, "args": ["=input.order"]}})
}

/// An order's payment.
pub(crate) fn charge() -> Value {
    json!({"name": "charge", "http": {"connection": "payments", "method": "POST", "path": "/v1/charges",
        "body": {"order": "=input.order"}, "idempotent": true}, "output": {"id": "=result.body.id"}})
}

/// A Workflow object.
pub(crate) fn workflow(name: &str, mut spec: Value) -> Value {
    if spec.get("input").is_none() {
        spec["input"] = json!({"order": name});
    }
    json!({"apiVersion": "everstep.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": name}, "spec": spec})
}

impl Order {
    /// All steps of `body` run, each once.
    pub(crate) fn new(id: &str, body: Value, output: Value, paths: &[&'static str]) -> Self {
        let steps = body["steps"].as_array().unwrap();
        let steps = steps
            .iter()
            .map(|step| step["name"].as_str().unwrap().to_owned())
            .collect();
        Self {
            name: id.to_owned(),
            manifest: workflow(id, body),
            output,
            steps,
            unsteady: Vec::new(),
            paths: paths.to_vec(),
        }
    }
}
