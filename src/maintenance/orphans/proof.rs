//! Is an object really gone? Asked of the API server by name, after making sure whom we ask.
//!
//! Only "there is no such object" and "that is another object" are answers. Everything else — no right to look, no
//! such kind, no answer — proves nothing.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, GroupVersionKind, PartialObjectMeta};
use kube::core::DynamicObject;
use kube::{Client, Resource};

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
    /// The CRD is another one than before: its objects vanished with the old one.
    #[error("the CRD {0}.{GROUP} was replaced")]
    OtherCrd(&'static str),
}

/// Whether objects of this kind can be looked for.
pub(super) fn is_known(kind: &str) -> bool {
    OWNERS.iter().any(|(known, _)| *known == kind)
}

/// Asks one API server.
pub(super) struct Witness {
    client: Client,
    /// The CRDs' UIDs when first seen, by plural.
    crds: HashMap<&'static str, String>,
}

impl Witness {
    /// A witness that has seen nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            crds: HashMap::new(),
        }
    }

    /// Makes sure that this is the API server of cluster `theirs` and that it serves the kinds it served before.
    pub(super) async fn check_server(&mut self, theirs: &str) -> Result<(), Doubt> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let here = uid(&ask(namespaces.get(OLDEST_NAMESPACE)).await?);
        if here != theirs {
            return Err(Doubt::OtherCluster {
                here,
                theirs: theirs.to_owned(),
            });
        }
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for (_, plural) in OWNERS {
            let crd = ask(crds.get(&format!("{plural}.{GROUP}"))).await?;
            if crd.metadata.deletion_timestamp.is_some() {
                return Err(Doubt::CrdGoing(plural));
            }
            let crd = uid(&crd);
            if *self.crds.entry(plural).or_insert_with(|| crd.clone()) != crd {
                return Err(Doubt::OtherCrd(plural));
            }
        }
        Ok(())
    }

    /// Which of these namespaces are gone or going: all that was in them goes with them.
    pub(super) async fn is_going(&self, namespace: &str) -> Result<bool, Doubt> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = ask(api.get_opt(namespace)).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// The UIDs in a LIST that begins now, by namespace and name: what the watches may not have shown yet.
    pub(super) async fn list(&self, kind: &str, namespace: &str) -> Result<HashMap<String, String>, Doubt> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), namespace, &resource(kind));
        let list = ask(api.list(&kube::api::ListParams::default())).await?;
        let named = list
            .items
            .into_iter()
            .filter_map(|object| Some((object.metadata.uid?, object.metadata.name?)));
        Ok(named.collect())
    }

    /// Whether this object is gone, or another one has its name.
    pub(super) async fn is_gone(&self, owner: &LiveOwner) -> Result<bool, Doubt> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), &owner.namespace, &resource(&owner.kind));
        match tokio::time::timeout(DEADLINE, api.get_metadata(&owner.name)).await {
            Ok(Ok(object)) => Ok(object.metadata.uid.as_deref().is_some_and(|uid| uid != owner.uid)),
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

/// Of a kind that is not known, nothing is ever found.
fn resource(kind: &str) -> ApiResource {
    let plural = OWNERS.iter().find(|(known, _)| *known == kind).map_or("", |(_, plural)| plural);
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", kind), plural)
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
