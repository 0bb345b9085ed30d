//! A saga whose worker is killed at every boundary: what was done is undone once, in its order, whoever dies when.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, Uri},
};
use everstep::store::Bell;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use super::history;
use super::seed::Random;
use super::signals::connect;
use super::support::submission::submission;
use super::world::{DEADLINE, FLAGS, Fleet, World, eventually};

/// Effects of the saga in the order in which they must come.
const EFFECTS: [&str; 7] = [
    "/reserve",
    "/charge",
    "/ship",
    "/undo-ship",
    "/undo-charge",
    "/undo-reserve",
    "/notify",
];

/// How long the first request of an effect waits for its answer, after it was done: time to kill who waits.
const ANSWERS_AFTER: Duration = Duration::from_millis(400);

/// The longest time from an answer to the kill, in milliseconds: about as long as it takes until it is in the journal.
const AFTER_ANSWER: u64 = 10;

/// The effect has happened, and its answer never arrives.
#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_worker_dies_in_every_request_does_and_undoes_each_once() {
    let (shop, _) = saga("saga-requests", async |shop, effect| {
        eventually(EFFECTS[effect], DEADLINE, async || shop.seen().len() > effect).await;
    })
    .await;
    for effect in EFFECTS {
        assert!(shop.requests(effect) >= 2, "{effect} was not cut off");
    }
}

/// The answer has arrived; what it says is in the journal or not, and so is what follows.
#[tokio::test(flavor = "multi_thread")]
async fn a_saga_whose_worker_dies_after_every_answer_does_and_undoes_each_once() {
    let random = Mutex::new(Random::new("saga-answers"));
    let (shop, takeovers) = saga("saga-answers", async |shop, effect| {
        eventually(EFFECTS[effect], DEADLINE, async || shop.answered() > effect).await;
        let pause = random.lock().unwrap().below(AFTER_ANSWER);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    })
    .await;
    let repeated = EFFECTS.iter().filter(|effect| shop.requests(effect) > 1).count();
    eprintln!("saga-answers: {takeovers} takeovers, {repeated} effects were asked for again");
    assert!(takeovers > 0, "little was tested: nobody who was killed held the run");
}

/// Runs one saga; kills the worker that holds it whenever `moment` of an effect has come. Answers what the shop saw, and
/// how often the run was taken over.
async fn saga(name: &'static str, moment: impl AsyncFn(&Shop, usize)) -> (Shop, usize) {
    let (world, shop) = (World::new(name, Duration::ZERO).await, Shop::open().await);
    world.system.allow(shop.port);
    let store = connect(&world).await;
    let mut fleet = Fleet::of(&world.system, [("worker", FLAGS), ("worker", FLAGS)]).await;
    store
        .submit(&[submission(&world.system.namespace, name, &shop.saga())])
        .await
        .unwrap();
    store.ring(Bell::Work);
    for (effect, path) in EFFECTS.iter().enumerate() {
        // Who holds it is asked before: it may be over by the moment. One who was killed holds it until it is taken over.
        eventually(path, DEADLINE, async || shop.seen().len() > effect).await;
        let mut owner = None;
        eventually("a holder that lives, or the end", DEADLINE, async || {
            owner = world.owner_if_open(name).await;
            owner.is_none_or(|owner| fleet.has(owner))
        })
        .await;
        // The run may have ended with the answer to its last request: then there is nobody to kill.
        let Some(owner) = owner else { break };
        moment(&shop, effect).await;
        fleet.kill(owner).await;
    }
    world.all_ended(1, DEADLINE).await;

    assert_eq!(shop.seen(), EFFECTS, "one key each, in this order");
    let run = history::runs(&world.system.direct_url).await.remove(0);
    assert_eq!(run.phase, "Failed");
    let undone: Vec<&Value> = run
        .events()
        .filter(|(name, fields)| *name == "StepSucceeded" && fields["deed"] == "Undo")
        .map(|(_, fields)| &fields["step"])
        .collect();
    assert_eq!(undone, ["ship", "charge", "reserve"], "{:?}", run.outline());
    assert_eq!(run.how_many("CompensationEnded"), 1, "{:?}", run.outline());
    assert_eq!(run.how_many("AttemptFailed"), 0, "{:?}", run.outline());
    assert_eq!(history::left_behind(&world.system.direct_url).await, [""; 0]);
    fleet.all_run();
    fleet.stop().await;
    (shop, run.how_many("TakenOver"))
}

/// A server that does what it is asked at once and answers a while later; a repetition at once.
struct Shop {
    port: u16,
    state: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    /// Path and key of each request.
    requests: Vec<(String, String)>,
    /// Keys that were answered.
    answered: Vec<String>,
}

impl Shop {
    async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<Mutex<Seen>>::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, state, task }
    }

    fn saga(&self) -> Value {
        let post = |path: &str| json!({"method": "POST", "url": format!("http://127.0.0.1:{}{path}", self.port), "idempotent": true});
        let step = |name: &str| {
            json!({
                "name": name, "http": post(&format!("/{name}")),
                "compensate": {"http": post(&format!("/undo-{name}"))}
            })
        };
        json!({
            "steps": [step("reserve"), step("charge"), step("ship"), {"name": "no", "fail": {"code": "REJECTED"}}],
            "finally": [{"name": "notify", "http": post("/notify")}]
        })
    }

    /// The path of the first request of each key.
    fn seen(&self) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let first = |(place, (_, key)): &(usize, &(String, String))| {
            !state.requests[..*place].iter().any(|(_, other)| other == key)
        };
        let firsts = state.requests.iter().enumerate().filter(first);
        firsts.map(|(_, (path, _))| path.clone()).collect()
    }

    fn requests(&self, path: &str) -> usize {
        let state = self.state.lock().unwrap();
        state.requests.iter().filter(|(of, _)| of == path).count()
    }

    fn answered(&self) -> usize {
        self.state.lock().unwrap().answered.len()
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(State(state): State<Arc<Mutex<Seen>>>, uri: Uri, headers: HeaderMap) -> &'static str {
    let key = headers["idempotency-key"].to_str().unwrap().to_owned();
    let is_new = {
        let mut state = state.lock().unwrap();
        let is_new = !state.requests.iter().any(|(_, other)| *other == key);
        state.requests.push((uri.path().to_owned(), key.clone()));
        is_new
    };
    if is_new {
        tokio::time::sleep(ANSWERS_AFTER).await;
    }
    let mut state = state.lock().unwrap();
    if !state.answered.contains(&key) {
        state.answered.push(key);
    }
    "{}"
}
