//! Is an object really gone? Asked of the API server by name, after making sure whom we ask.
//!
//! Only "there is no such object" and "that is another object" are answers. Everything else — no right to look, no
//! such kind, no answer — proves nothing.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, GetParams, GroupVersionKind, ListParams};
use kube::core::{DynamicObject, Request};
use kube::{Client, Resource};
use serde::Deserialize;

use super::crds::{Crds, Seen, Uids};
use crate::store::LiveOwner;

/// The longest one question may take.
const DEADLINE: Duration = Duration::from_secs(10);
const OLDEST_NAMESPACE: &str = "kube-system";
const GROUP: &str = "everstep.dev";
/// The kinds that runs belong to, and their plurals.
const OWNERS: [(&str, &str); 2] = [("Workflow", "workflows"), ("WorkflowRun", "workflowruns")];

/// Why nothing could be proven.
#[derive(Debug, thiserror::Error)]
pub(super) enum Doubt {
    /// The API server gave no answer, or one that says nothing.
    #[error("the API server does not say: {0}")]
    NoAnswer(String),
    /// This is not the API server that the runs' objects came from.
    #[error("this API server is of cluster {here}, the runs are of {theirs}")]
    OtherCluster {
        /// The cluster that answers.
        here: String,
        /// The cluster that the database belongs to.
        theirs: String,
    },
    /// The CRD is being deleted, and all objects with it: nobody asked for theirs.
    #[error("the CRD {0}.{GROUP} is being deleted")]
    CrdGoing(&'static str),
    /// A CRD is another one than before: its objects vanished with the old one.
    #[error(
        "a CRD of {GROUP} was replaced, and the objects vanished with it; passes begin anew a quarter of an hour later"
    )]
    OtherCrds,
    /// That was a while ago, and they have stayed: what was seen of objects before is to be forgotten.
    #[error("a CRD of {GROUP} was replaced a quarter of an hour ago; passes begin anew with the next one")]
    NewCrds,
}

/// Whether objects of this kind can be looked for.
pub(super) fn is_known(kind: &str) -> bool {
    OWNERS.iter().any(|(known, _)| *known == kind)
}

/// Asks one API server.
pub(super) struct Witness {
    client: Client,
    crds: Crds,
}

impl Witness {
    /// A witness that has seen nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            crds: Crds::default(),
        }
    }

    /// Makes sure that this is the API server of cluster `theirs` and that it serves, at `now`, the kinds it served before.
    pub(super) async fn check_server(&mut self, theirs: &str, now: Timestamp) -> Result<(), Doubt> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let here = uid(&ask(namespaces.get(OLDEST_NAMESPACE)).await?);
        if here != theirs {
            return Err(Doubt::OtherCluster {
                here,
                theirs: theirs.to_owned(),
            });
        }
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let mut served = Uids::new();
        for (_, plural) in OWNERS {
            // Without its schema: that is large, and nested deeper than a stack may bear.
            let crd = ask(crds.get_metadata(&format!("{plural}.{GROUP}"))).await?;
            if crd.metadata.deletion_timestamp.is_some() {
                return Err(Doubt::CrdGoing(plural));
            }
            served.insert(plural, uid(&crd));
        }
        match self.crds.see(served, now) {
            Seen::Known => Ok(()),
            Seen::Others => Err(Doubt::OtherCrds),
            Seen::Settled => Err(Doubt::NewCrds),
        }
    }

    /// Which of these namespaces are gone or going: all that was in them goes with them.
    pub(super) async fn is_going(&self, namespace: &str) -> Result<bool, Doubt> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = ask(api.get_opt(namespace)).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// The UIDs in a LIST that begins now, by namespace and name: what the watches may not have shown yet.
    pub(super) async fn list(&self, kind: &str, namespace: &str) -> Result<HashMap<String, String>, Doubt> {
        let request = asked(requests(kind, namespace).list_metadata(&ListParams::default()))?;
        let list: List = ask(self.client.request(request)).await?;
        let named = list.items.into_iter().flatten().map(|object| object.metadata);
        Ok(named.filter_map(|object| Some((object.uid?, object.name?))).collect())
    }

    /// Whether this object is gone, or another one has its name.
    pub(super) async fn is_gone(&self, owner: &LiveOwner) -> Result<bool, Doubt> {
        let request = asked(requests(&owner.kind, &owner.namespace).get_metadata(&owner.name, &GetParams::default()))?;
        match tokio::time::timeout(DEADLINE, self.client.request::<Named>(request)).await {
            Ok(Ok(object)) => Ok(object.metadata.uid.is_some_and(|uid| uid != owner.uid)),
            // A server that does not know the kind answers 404 too, but names no object.
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
                let named = status
                    .details
                    .as_ref()
                    .is_some_and(|details| details.name == owner.name);
                if named {
                    Ok(true)
                } else {
                    Err(Doubt::NoAnswer(status.message.clone()))
                }
            }
            Ok(Err(error)) => Err(Doubt::NoAnswer(error.to_string())),
            Err(_) => Err(Doubt::NoAnswer("timeout".to_owned())),
        }
    }
}

/// What is read of an object. Its managed fields are nested as deep as its spec, which a JSON reader may not stand.
#[derive(Deserialize)]
struct Named {
    metadata: Identity,
}

#[derive(Deserialize)]
struct Identity {
    name: Option<String>,
    uid: Option<String>,
}

#[derive(Deserialize)]
struct List {
    /// Null when there are none.
    items: Option<Vec<Named>>,
}

/// Of a kind that is not known, nothing is ever found.
fn requests(kind: &str, namespace: &str) -> Request {
    let plural = OWNERS
        .iter()
        .find(|(known, _)| *known == kind)
        .map_or("", |(_, plural)| plural);
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", kind), plural);
    Request::new(DynamicObject::url_path(&resource, Some(namespace)))
}

fn asked<T, E: ToString>(request: Result<T, E>) -> Result<T, Doubt> {
    request.map_err(|error| Doubt::NoAnswer(error.to_string()))
}

async fn ask<T>(question: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Doubt> {
    match tokio::time::timeout(DEADLINE, question).await {
        Ok(answer) => answer.map_err(|error| Doubt::NoAnswer(error.to_string())),
        Err(_) => Err(Doubt::NoAnswer("timeout".to_owned())),
    }
}

fn uid(object: &impl Resource) -> String {
    object.meta().uid.clone().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::extract::State;
    use axum::http::{StatusCode, Uri, header};
    use axum::response::IntoResponse;
    use serde_json::{Value, json};
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::DeletionPolicy;

    const CRD: &str = "workflows.everstep.dev";

    /// What an API server answers: to the namespace `kube-system`, to the CRD of Workflows and to that of WorkflowRuns, to
    /// the object `shop/order`.
    #[derive(Clone)]
    struct Answers {
        cluster: (u16, Value),
        crd: (u16, Value),
        other_crd: (u16, Value),
        object: (u16, Value),
    }

    fn meta(uid: &str) -> Value {
        json!({"metadata": {"name": "order", "uid": uid}})
    }

    fn status(code: u16, details: &Value) -> (u16, Value) {
        let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": "Because", "message": "because", "details": details});
        (code, status)
    }

    /// There is no such object, in a cluster that is ours.
    fn gone() -> Answers {
        let crd = json!({"metadata": {"name": CRD, "uid": "crd"}, "spec": {"group": "everstep.dev", "scope": "Namespaced",
            "names": {"kind": "Workflow", "plural": "workflows"}, "versions": []}});
        Answers {
            cluster: (200, meta("cluster")),
            crd: (200, crd.clone()),
            other_crd: (200, crd),
            object: status(404, &json!({"name": "order", "kind": "workflows"})),
        }
    }

    fn owner() -> LiveOwner {
        LiveOwner {
            uid: "uid".to_owned(),
            kind: "Workflow".to_owned(),
            namespace: "shop".to_owned(),
            name: "order".to_owned(),
            deletion_policy: DeletionPolicy::Background,
            live_runs: 1,
            uncancelled_runs: 1,
            suspected_at: Some(Timestamp::UNIX_EPOCH),
            gone_at: None,
            read_at: Timestamp::UNIX_EPOCH,
        }
    }

    async fn answer(State(answers): State<Arc<Mutex<Answers>>>, uri: Uri) -> impl IntoResponse {
        let answers = answers.lock().unwrap().clone();
        let (code, body) = match uri.path() {
            "/api/v1/namespaces/kube-system" => answers.cluster,
            path if path.ends_with("/customresourcedefinitions/workflows.everstep.dev") => answers.crd,
            path if path.ends_with("/customresourcedefinitions/workflowruns.everstep.dev") => answers.other_crd,
            path if path.ends_with("/namespaces/shop/workflows/order") => answers.object,
            path => panic!("nobody should ask for {path}"),
        };
        let json = [(header::CONTENT_TYPE, "application/json")];
        (StatusCode::from_u16(code).unwrap(), json, body.to_string())
    }

    /// A witness of a server that gives these answers, which may change.
    async fn witness(first: Answers) -> (Witness, Arc<Mutex<Answers>>) {
        let answers = Arc::new(Mutex::new(first));
        let router = axum::Router::new().fallback(answer).with_state(answers.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        let mut config = kube::Config::new(url.parse().unwrap());
        config.default_retry = false;
        (Witness::new(Client::try_from(config).unwrap()), answers)
    }

    /// As a pass asks: whether it would cancel.
    async fn proven(witness: &mut Witness) -> Result<bool, Doubt> {
        witness.check_server("cluster", Timestamp::UNIX_EPOCH).await?;
        witness.is_gone(&owner()).await
    }

    #[tokio::test]
    async fn only_an_answer_about_this_object_by_the_right_server_is_proof() {
        let (mut witness, answers) = witness(gone()).await;
        assert!(proven(&mut witness).await.unwrap());
        let going = {
            let (code, mut crd) = gone().crd;
            crd["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            (code, crd)
        };
        let replaced = {
            let (code, mut crd) = gone().crd;
            crd["metadata"]["uid"] = json!("another");
            (code, crd)
        };
        let nothing = json!({});
        type Table<'a> = [(&'a str, Answers, Result<bool, ()>); 11];
        let table: Table<'_> = [
            (
                "another object has its name",
                Answers {
                    object: (200, meta("new")),
                    ..gone()
                },
                Ok(true),
            ),
            (
                "it is there",
                Answers {
                    object: (200, meta("uid")),
                    ..gone()
                },
                Ok(false),
            ),
            (
                "the CRD is being deleted",
                Answers {
                    crd: going.clone(),
                    ..gone()
                },
                Err(()),
            ),
            (
                "the other CRD is being deleted",
                Answers {
                    other_crd: going,
                    ..gone()
                },
                Err(()),
            ),
            (
                "there is no CRD",
                Answers {
                    crd: status(404, &json!({"name": CRD})),
                    ..gone()
                },
                Err(()),
            ),
            (
                "the CRD is another one",
                Answers {
                    crd: replaced,
                    ..gone()
                },
                Err(()),
            ),
            (
                "we may not see the CRD",
                Answers {
                    crd: status(403, &nothing),
                    ..gone()
                },
                Err(()),
            ),
            (
                "the kind is not served",
                Answers {
                    object: status(404, &nothing),
                    ..gone()
                },
                Err(()),
            ),
            (
                "we may not see it",
                Answers {
                    object: status(403, &json!({"name": "order"})),
                    ..gone()
                },
                Err(()),
            ),
            (
                "the server is ill",
                Answers {
                    object: status(500, &json!({"name": "order"})),
                    ..gone()
                },
                Err(()),
            ),
            (
                "another cluster",
                Answers {
                    cluster: (200, meta("elsewhere")),
                    ..gone()
                },
                Err(()),
            ),
        ];
        for (name, now, expected) in table {
            *answers.lock().unwrap() = now;
            assert_eq!(proven(&mut witness).await.map_err(drop), expected, "{name}");
        }
        *answers.lock().unwrap() = gone();
        assert!(proven(&mut witness).await.unwrap(), "and again when all is well");
    }
}
