//! The order saga of the examples, moved by `kubectl` alone.

use std::time::Duration;

use serde_json::Value;

use crate::support::system::{Payments, Process, Shop, System, condition, example, order_saga};

/// A large order that waits for somebody's approval.
struct Saga {
    system: System,
    shop: Shop,
    payments: Payments,
    _all: Process,
}

impl Saga {
    async fn that_waits(name: &str) -> Self {
        let system = System::new(name).await;
        let (shop, payments) = (Shop::new().await, Payments::start(Duration::ZERO).await);
        system.allow(payments.port);
        let all = system.start("all", &[]).await;
        system.apply(&order_saga(&shop, &payments)).await;
        let saga = Self {
            system,
            shop,
            payments,
            _all: all,
        };
        let waits = |order: &Value| condition(order, "Waiting")["reason"] == "WaitingForSignal";
        let order = saga.system.until("order-1042", "waits for its approval", waits).await;
        assert_eq!(order["status"]["run"]["phase"], "Waiting");
        assert_eq!(order["status"]["run"]["step"], "approval");
        let until = order["status"]["run"]["waitingFor"].as_str().unwrap();
        assert!(until.starts_with("signal approve until 20"), "{until}");
        saga
    }

    /// Steps whose undo has ended well, in that order.
    async fn undone(&self) -> Vec<String> {
        let ended = "SELECT event->'StepSucceeded'->>'step' FROM everstep.journal,
            json_array_elements(events) WITH ORDINALITY AS one (event, place)
            WHERE event->'StepSucceeded'->>'deed' = 'Undo' ORDER BY seq, place";
        sqlx::query_scalar(ended)
            .fetch_all(&mut self.system.sql().await)
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn approved_order_is_confirmed() {
    let saga = Saga::that_waits("approved").await;
    let system = &saga.system;
    system.apply(&example("approve.yaml")).await;
    let consumed = [
        "wait",
        "--for=condition=Consumed",
        "--timeout=30s",
        "esig/order-1042-approve",
    ];
    system.kubectl(&consumed).await;
    let order = system.finished("order-1042").await;
    assert_eq!(order["status"]["run"]["phase"], "Succeeded", "{}", order["status"]);
    assert_eq!(order["status"]["run"]["output"]["charge"], "ch_1");

    let signal = system.get("signals", "order-1042-approve").await;
    for kind in ["Stored", "Consumed", "Ready"] {
        assert_eq!(condition(&signal, kind)["status"], "True", "{kind}");
    }
    assert_eq!(signal["status"]["run"], order["status"]["run"]["id"]);
    assert_eq!(signal["status"]["step"], "approval");

    assert_eq!(
        saga.shop
            .count("SELECT count(*) FROM reservation WHERE confirmed")
            .await,
        1
    );
    let charges = saga.payments.entries("/v1/charges");
    assert_eq!((charges.len(), charges[0].requests), (1, 1), "{charges:?}");
    assert!(saga.payments.entries("/v1/charges/ch_1/refund").is_empty());
}

#[tokio::test]
async fn rejected_order_gets_its_money_back_before_its_reservation_goes() {
    let saga = Saga::that_waits("rejected").await;
    let system = &saga.system;
    let approval = example("approve.yaml");
    assert!(approval.contains("approved: true"), "the example has changed");
    system
        .apply(&approval.replace("approved: true", "approved: false"))
        .await;
    let order = system.finished("order-1042").await;
    let run = &order["status"]["run"];
    assert_eq!(run["phase"], "Failed");
    assert_eq!(run["error"]["code"], "REJECTED");
    assert_eq!(run["error"]["message"], "rejected by alice@example.com");
    let succeeded = condition(&order, "Succeeded");
    assert_eq!(
        (&succeeded["status"], &succeeded["reason"]),
        (&"False".into(), &"Failed".into())
    );

    assert_eq!(saga.undone().await, ["charge", "reserve"]);
    let refunds = saga.payments.entries("/v1/charges/ch_1/refund");
    assert_eq!((refunds.len(), refunds[0].requests), (1, 1), "{refunds:?}");
    assert_eq!(saga.shop.count("SELECT count(*) FROM reservation").await, 0);
}
