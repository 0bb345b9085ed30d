//! Two controllers at once that both believe they lead, each by a Lease of its own: I-14.

use std::time::Duration;

use serde_json::{Value, json};

use super::history;
use super::seed::Random;
use super::workload::{Order, workflow};
use super::world::{DEADLINE, FLAGS, Flags, Fleet, World};

const OBJECTS: usize = 200;
const FIRST: Flags = &[("--leader-lease", "replicas-first"), FLAGS[0], FLAGS[1]];
const SECOND: Flags = &[("--leader-lease", "replicas-second"), FLAGS[0], FLAGS[1]];

#[tokio::test(flavor = "multi_thread")]
async fn two_controllers_start_one_run_for_each_object() {
    let mut random = Random::new("replicas");
    let world = World::new("replicas", Duration::ZERO).await;
    world.system.allow_other_leases().await;
    let members = [("worker", FLAGS), ("controller", FIRST), ("controller", SECOND)];
    let mut fleet = Fleet::of(&world.system, members).await;
    fleet.all_lead().await;
    let orders: Vec<Order> = (0..OBJECTS).map(lasting).collect();
    for (number, batch) in orders.chunks(OBJECTS / 4).enumerate() {
        world.create(batch.iter().map(|order| order.manifest.clone())).await;
        if number % 2 == 1 {
            fleet.kill_one(&mut random).await;
        }
    }
    world.all_ended(OBJECTS, Duration::from_secs(60)).await;
    world.all_shown(&orders, DEADLINE).await;

    let recorded = history::runs(&world.system.direct_url).await;
    let complaints = history::complaints(&orders, &recorded, &[]);
    assert!(complaints.is_empty(), "{complaints:#?}");
    for object in world.workflows().await {
        let name = object["metadata"]["name"].as_str().unwrap();
        let run = recorded.iter().find(|run| run.workflow == name).unwrap();
        assert_eq!(object["status"]["run"]["id"], run.id.to_string(), "{name}");
        assert_eq!(object["status"]["sequence"], run.summary_seq, "{name}");
    }
    at_most_twice(&world).await;
    fleet.stop().await;
}

/// Long enough to be told of while it goes on.
fn lasting(number: usize) -> Order {
    let name = format!("lasting-{number}");
    let spec = json!({
        "steps": [{"name": "rest", "sleep": {"for": "1500ms"}}, {"name": "say", "set": {"order": "=input.order"}}],
        "output": {"order": "=steps.say.output.order"},
    });
    Order {
        manifest: workflow(&name, spec),
        output: json!({"order": name}),
        steps: vec!["rest".to_owned(), "say".to_owned()],
        unsteady: Vec::new(),
        paths: Vec::new(),
        name,
    }
}

/// Each transition is told once, or by each of the two that saw it.
async fn at_most_twice(world: &World) {
    let text = world
        .system
        .kubectl(&["get", "events.events.k8s.io", "-o", "json"])
        .await;
    let list: Value = serde_json::from_str(&text).unwrap();
    let told = list["items"].as_array().unwrap();
    for number in 0..OBJECTS {
        let name = format!("lasting-{number}");
        for reason in ["Started", "Finished"] {
            let own = told
                .iter()
                .filter(|event| event["regarding"]["name"] == *name && event["reason"] == reason);
            let times: i64 = own.map(|event| event["series"]["count"].as_i64().unwrap_or(1)).sum();
            assert!(times <= 2, "{name}: {reason} was told {times} times");
        }
    }
    assert!(!told.is_empty(), "nothing was told");
}
