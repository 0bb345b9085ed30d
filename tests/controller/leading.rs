//! What a controller says that led, and leads no more, or leads again.

use std::sync::Arc;
use std::time::Duration;

use everstep::controller::Controller;
use everstep::leading::Leading;
use everstep::maintenance::detector;
use everstep::store::StuckReason;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, HELLO, eventually};

#[tokio::test]
async fn former_leader_reports_no_lag_and_shows_what_is_left_when_it_leads_again() {
    let fixture = Fixture::new("formerly").await;
    let (told, leading) = Leading::when_told();
    let mut context = fixture.context();
    context.leading = leading;
    let controller = Controller::new(context);
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(controller.clone().run(shutdown.clone()));
    told.say(true);
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    // What was shown cannot be marked: the change is told of, and stays.
    fixture
        .execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not now'; END $$;
             CREATE TRIGGER unmarked BEFORE UPDATE OF projected_seq ON everstep.runs
             FOR EACH ROW EXECUTE FUNCTION refuse()",
        )
        .await;
    fixture.finish_all("Succeeded").await;
    let lag = || controller.projection_lag();
    eventually("it lags", || async { lag() > Duration::from_millis(100) }).await;

    told.say(false);
    eventually("it says no more", || async { lag().is_zero() }).await;
    fixture.execute("DROP TRIGGER unmarked ON everstep.runs").await;
    told.say(true);
    let unprojected = "SELECT count(*) FROM everstep.runs WHERE summary_seq > projected_seq";
    eventually("marked", || async { fixture.count(unprojected).await == 0 }).await;
    eventually("nothing is left", || async { lag().is_zero() }).await;
    shutdown.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn former_leader_says_nothing_of_stuck_runs_and_looks_anew_when_it_leads_again() {
    let fixture = Fixture::new("anew").await;
    let controller = fixture.controller();
    fixture.apply(HELLO).await;
    fixture.condition("hello", "Accepted").await;
    drop(controller);
    let (told, leading) = Leading::when_told();
    let (seen, shutdown) = (Arc::<detector::Seen>::default(), CancellationToken::new());
    let looks = detector::run(fixture.store.clone(), seen.clone(), leading, shutdown.clone());
    let looks = tokio::spawn(looks);
    let unclaimed = "UPDATE everstep.active SET ready_at = ready_at - interval '1 hour'";
    fixture.execute(unclaimed).await;
    let reasons = || seen.last().stuck.iter().map(|stuck| stuck.reason).collect::<Vec<_>>();
    told.say(true);
    eventually("it is seen", || async { reasons() == [StuckReason::Unclaimed] }).await;

    told.say(false);
    eventually("it says no more", || async { seen.last().at.is_none() }).await;
    assert_eq!(reasons(), []);
    fixture.finish_all("Succeeded").await;
    told.say(true);
    eventually("it has looked", || async { seen.last().at.is_some() }).await;
    assert_eq!(reasons(), []);
    shutdown.cancel();
    looks.await.unwrap();
}
