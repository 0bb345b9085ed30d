//! Workflows that do what they say.

use std::time::{Duration, Instant};

use crate::support::system::{Payments, Shop, System, condition, example, order};

#[tokio::test]
async fn hello_ends_soon_after_its_nap() {
    let system = System::new("hello").await;
    let _all = system.start("all", &[]).await;

    let applied = Instant::now();
    assert_eq!(
        system.apply(&example("hello.yaml")).await,
        "workflow.everstep.dev/hello created\n"
    );
    system
        .kubectl(&["wait", "--for=condition=Finished", "--timeout=30s", "ewf/hello"])
        .await;
    let took = applied.elapsed();
    assert!(took < Duration::from_secs(2 + 5), "{took:?}");
    let hello = system.workflow("hello").await;
    assert_eq!(hello["status"]["run"]["output"]["said"], "hello, world!");
    assert_eq!(condition(&hello, "Succeeded")["status"], "True");

    assert_eq!(
        system.apply(&example("hello.yaml")).await,
        "workflow.everstep.dev/hello unchanged\n"
    );
    assert_eq!(system.count("SELECT count(*) FROM everstep.runs").await, 1);
}

#[tokio::test]
async fn order_is_charged_once_and_confirmed() {
    let system = System::new("order").await;
    let (shop, payments) = (Shop::new().await, Payments::start(Duration::ZERO).await);
    system.allow(shop.port);
    system.allow(payments.port);
    let _all = system.start("all", &[]).await;

    let applied = Instant::now();
    system.apply(&order(&shop, &payments)).await;
    let ended = system.finished("order-1041").await;
    let took = applied.elapsed();
    assert!(took < Duration::from_secs(1 + 5), "{took:?}");
    assert_eq!(ended["status"]["run"]["output"]["charge"], "ch_1");

    let charges = payments.entries("/v1/charges");
    assert_eq!(charges.len(), 1, "{charges:?}");
    assert_eq!(charges[0].requests, 1);
    let notes = payments.entries("/v1/notify");
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(notes[0].body["result"], "Succeeded");
    assert_eq!(shop.count("SELECT count(*) FROM reservation WHERE confirmed").await, 1);
    assert_eq!(shop.count("SELECT count(*) FROM reservation").await, 1);
}
