//! What `/readyz` and `/livez` say while PostgreSQL or the API server is away.

use std::time::{Duration, Instant};

use everstep::dev::postgres::{Options, Postgres, Shutdown};

use crate::support::{
    controlplane::{self, ControlPlane},
    postgres,
    system::{Process, System, install_crds, migrate},
};

/// The longest silence that changes nothing.
const GRACE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_a_long_outage_of_postgresql_and_no_short_one() {
    let mut server = tokio::task::block_in_place(|| Postgres::start(Options::default())).unwrap();
    tokio::task::block_in_place(|| server.create_database("engine")).unwrap();
    let url = server.url("engine");
    migrate(url.clone()).await;
    // Installs the CRDs there.
    drop(System::new("pulse-crds").await);
    let system = System::on(controlplane::shared().await, "pulse", url).await;
    let mut processes = [system.start("controller", &[]).await, system.start("worker", &[]).await];

    let stop = |server: &mut Postgres| tokio::task::block_in_place(|| server.stop(Shutdown::Immediate)).unwrap();
    stop(&mut server);
    let away = Instant::now();
    while away.elapsed() < Duration::from_secs(4) {
        stay(&mut processes, 200).await;
    }
    tokio::task::block_in_place(|| server.resume()).unwrap();
    // As long as the grace would have lasted, had the outage gone on.
    while away.elapsed() < GRACE + Duration::from_secs(3) {
        stay(&mut processes, 200).await;
    }

    stop(&mut server);
    let away = Instant::now();
    for process in &mut processes {
        let said = process.not_ready("database: PostgreSQL has been away for ").await;
        assert!(said.contains("refused"), "why: {said}");
        // The last answer came up to a question's period before it went away.
        assert!(away.elapsed() > GRACE - Duration::from_secs(2), "{:?}", away.elapsed());
    }
    for _ in 0..20 {
        stay(&mut processes, 503).await;
    }
    tokio::task::block_in_place(|| server.resume()).unwrap();
    for mut process in processes {
        process.ready().await;
        process
            .logged("its return", |line| {
                line["part"] == "database" && line["level"] == "INFO"
            })
            .await;
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn controller_without_its_api_server_is_not_ready_and_a_worker_is() {
    let mut plane = ControlPlane::start().await.unwrap();
    install_crds(&plane).await;
    let system = System::on(&plane, "pulse", postgres::database(migrate).await).await;
    let mut controller = system.start("controller", &[]).await;
    let mut worker = system.start("worker", &[]).await;
    plane.stop_api_server().await.unwrap();
    controller.not_ready("objects: the API server has been away for ").await;
    assert_eq!(controller.get("/livez").await.0, 200);
    assert_eq!(worker.get("/readyz").await.0, 200, "runs go on without it");
    plane.start_api_server().await.unwrap();
    controller.ready().await;
    controller.stop().await;
    worker.stop().await;
}

/// All say so now, and are alive.
async fn stay(processes: &mut [Process], expected: u16) {
    for process in processes {
        let (status, body) = process.get("/readyz").await;
        assert_eq!(status, expected, "{body}");
        assert_eq!(process.get("/livez").await, (200, "ok\n".to_owned()));
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
}
