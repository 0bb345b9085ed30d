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
const CRD: &str = "workflows.everstep.dev";

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
    #[error("the CRD {CRD} is being deleted")]
    CrdGoing,
    /// The CRD is another one than before: its objects vanished with the old one.
    #[error("the CRD {CRD} was replaced")]
    OtherCrd,
}

/// Asks one API server.
pub(super) struct Witness {
    client: Client,
    /// The CRD's UID when first seen.
    crd: Option<String>,
}

impl Witness {
    /// A witness that has seen nothing yet.
    pub(super) fn new(client: Client) -> Self {
        Self { client, crd: None }
    }

    /// Makes sure that this is the API server of cluster `theirs` and that it serves the kind it served before.
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
        let crd = ask(crds.get(CRD)).await?;
        if crd.metadata.deletion_timestamp.is_some() {
            return Err(Doubt::CrdGoing);
        }
        let crd = uid(&crd);
        match &self.crd {
            Some(before) if *before != crd => Err(Doubt::OtherCrd),
            Some(_) => Ok(()),
            None => {
                self.crd = Some(crd);
                Ok(())
            }
        }
    }

    /// Which of these namespaces are gone or going: all that was in them goes with them.
    pub(super) async fn is_going(&self, namespace: &str) -> Result<bool, Doubt> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = ask(api.get_opt(namespace)).await?;
        Ok(found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_some()))
    }

    /// The UIDs in a LIST that begins now, by namespace and name: what the watches may not have shown yet.
    pub(super) async fn list(&self, namespace: &str) -> Result<HashMap<String, String>, Doubt> {
        let api: Api<PartialObjectMeta<DynamicObject>> =
            Api::namespaced_with(self.client.clone(), namespace, &workflows());
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
            Api::namespaced_with(self.client.clone(), &owner.namespace, &workflows());
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

fn workflows() -> ApiResource {
    ApiResource::from_gvk_with_plural(
        &GroupVersionKind::gvk("everstep.dev", "v1alpha1", "Workflow"),
        "workflows",
    )
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
