//! Workflows that do what they say, and how they look meanwhile.

use std::time::{Duration, Instant};

use crate::support::system::{DEADLINE, Payments, Shop, System, columns, condition, example, order};

#[tokio::test]
async fn hello_ends_soon_after_its_nap_and_runs_once() {
    let system = System::new("hello").await;
    let _all = system.start("all", &[]).await;

    let applied = Instant::now();
    let said = system.apply(&example("hello.yaml")).await;
    assert_eq!(said, "workflow.everstep.dev/hello created\n");
    system
        .until("hello", "asleep", |hello| hello["status"]["run"]["phase"] == "Sleeping")
        .await;
    let row = columns(&system, "ewf", "hello").await;
    let expected = [
        ("READY", "False"),
        ("STATUS", "Sleeping"),
        ("STEP", "nap"),
        ("PROGRESS", "1/3"),
        ("STUCK", "0"),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "{column} of {row:?}");
    }
    assert!(row["WAITING"].contains("until 20"), "{row:?}");

    let wait = ["wait", "--for=condition=Finished", "--timeout=30s", "ewf/hello"];
    system.kubectl(&wait).await;
    let took = applied.elapsed();
    assert!(took < Duration::from_secs(2 + 5), "{took:?}");
    let hello = system.finished("hello").await;
    assert_eq!(hello["status"]["run"]["output"]["said"], "hello, world!");
    for kind in ["Accepted", "Succeeded", "Ready", "Finished"] {
        assert_eq!(condition(&hello, kind)["status"], "True", "{kind}");
    }
    for kind in ["Reconciling", "Stalled", "Waiting"] {
        assert!(condition(&hello, kind).is_null(), "{kind}");
    }
    let row = columns(&system, "ewf", "hello").await;
    let expected = [
        ("READY", "True"),
        ("STATUS", "Succeeded"),
        ("STEP", ""),
        ("WAITING", ""),
        ("PROGRESS", "3/3"),
    ];
    for (column, value) in expected {
        assert_eq!(row[column], value, "{column} of {row:?}");
    }

    let said = system.apply(&example("hello.yaml")).await;
    assert_eq!(said, "workflow.everstep.dev/hello unchanged\n");
    let after = system.workflow("hello").await;
    assert_eq!(
        after["metadata"]["resourceVersion"],
        hello["metadata"]["resourceVersion"]
    );
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}

#[tokio::test]
async fn order_is_reserved_charged_and_told_once() {
    let system = System::new("order").await;
    let (shop, payments) = (Shop::new().await, Payments::start(Duration::ZERO).await);
    system.allow(payments.port);
    let _all = system.start("all", &[]).await;

    let applied = Instant::now();
    system.apply(&order(&shop, &payments)).await;
    let ended = system.finished("order-1041").await;
    let took = applied.elapsed();
    assert!(took < Duration::from_secs(1 + 5), "{took:?}");
    assert_eq!(ended["status"]["run"]["output"]["charge"], "ch_1");

    let charges = payments.entries("/v1/charges");
    assert_eq!((charges.len(), charges[0].requests), (1, 1), "{charges:?}");
    assert_eq!(charges[0].body["amount"], 4200);
    let notes = payments.entries("/v1/notify");
    assert_eq!((notes.len(), notes[0].requests), (1, 1), "{notes:?}");
    assert_eq!(notes[0].body["result"], "Succeeded");
    assert_eq!(shop.count("SELECT count(*) FROM reservation WHERE confirmed").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM reservation").await, 1);

    for (name, kind) in [("shopdb", "postgres"), ("payments", "http")] {
        let until = Instant::now() + DEADLINE;
        loop {
            let row = columns(&system, "econn", name).await;
            if row["READY"] == "True" {
                assert_eq!(row["KIND"], kind);
                break;
            }
            assert!(Instant::now() < until, "{row:?}");
        }
    }
    let said = system.apply(&order(&shop, &payments)).await;
    assert!(said.contains("workflow.everstep.dev/order-1041 unchanged"), "{said}");
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}
