//! How a command reaches the API server and PostgreSQL, and which namespace it speaks of.

use std::{fmt::Debug, time::Duration};

use kube::{
    Client, Resource,
    api::{Api, PostParams},
    config::{Config, KubeConfigOptions, Kubeconfig},
    core::{NamespaceResourceScope, Status},
};
use serde::{Serialize, de::DeserializeOwned};

use super::super::{Failure, chain, database};
use crate::{
    cli::{self, people},
    store::{self, Surface},
};

/// Who writes, as the API server records it.
pub(super) const FIELD_MANAGER: &str = "everstep-command";
/// How long connecting to the API server may take.
const CONNECT: Duration = Duration::from_secs(5);

/// The SQL surface, as the role of the database URL has it.
pub(super) async fn surface(options: &cli::Database) -> Result<Surface, Failure> {
    if !has_database(options) {
        return Err(Failure::Configuration(
            "no database: give --database-url or EVERSTEP_DATABASE_URL (or …_FILE), with a role that was granted the \
             namespace (docs/sql.md). Without one, objects show their last run: kubectl get workflows,workflowruns"
                .to_owned(),
        ));
    }
    let options = store::Options {
        url: database::url(options)?,
        max_connections: 1,
        application_name: "everstep command".to_owned(),
    };
    Ok(Surface::connect(&options).await?)
}

pub(super) fn has_database(options: &cli::Database) -> bool {
    options.database_url.is_some() || options.database_url_file.is_some()
}

/// The namespace that was given, else the kubeconfig's. Without any way to an API server it is `default`.
pub(super) async fn namespace(options: &people::Cluster) -> Result<String, Failure> {
    if let Some(namespace) = &options.namespace {
        return Ok(namespace.clone());
    }
    match config(options).await {
        Ok(config) => Ok(config.default_namespace),
        // Nothing was said about a cluster, and none is needed to read a database.
        Err(_) if options.kubeconfig.is_none() && options.context.is_none() => Ok("default".to_owned()),
        Err(failure) => Err(failure),
    }
}

async fn config(options: &people::Cluster) -> Result<Config, Failure> {
    let wanted = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    let no_config = |error: String| {
        Failure::Configuration(format!(
            "no way to the API server: {error}. Give --kubeconfig and --context, or set KUBECONFIG"
        ))
    };
    let config = match (&options.kubeconfig, &options.context) {
        (Some(file), _) => {
            let read = Kubeconfig::read_from(file).map_err(|error| no_config(chain(&error)))?;
            Config::from_custom_kubeconfig(read, &wanted).await
        }
        (None, Some(_)) => Config::from_kubeconfig(&wanted).await,
        (None, None) => return Config::infer().await.map_err(|error| no_config(error.to_string())),
    };
    config.map_err(|error| no_config(chain(&error)))
}

/// The API server, and the namespace there.
pub(super) struct Cluster {
    pub(super) client: Client,
    pub(super) namespace: String,
}

impl Cluster {
    pub(super) async fn reach(options: &people::Cluster) -> Result<Self, Failure> {
        let mut config = config(options).await?;
        config.default_retry = false;
        config.connect_timeout = Some(CONNECT);
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let client = Client::try_from(config)
            .map_err(|error| Failure::Configuration(format!("the kubeconfig cannot be used: {}", chain(&error))))?;
        Ok(Self { client, namespace })
    }

    /// The objects of one kind in the namespace.
    pub(super) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object, and answers it as it is now.
    pub(super) async fn create<K>(&self, object: &K) -> Result<K, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Serialize + Debug,
        K::DynamicType: Default,
    {
        let how = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let created = self.api::<K>().create(&how, object).await;
        created.map_err(|error| self.failure(&error))
    }

    /// An object by its name; none when there is none.
    pub(super) async fn get<K>(&self, name: &str) -> Result<Option<K>, Failure>
    where
        K: Resource<Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
        K::DynamicType: Default,
    {
        match self.api::<K>().get(name).await {
            Ok(object) => Ok(Some(object)),
            // A missing kind is answered without the name of an object.
            Err(kube::Error::Api(status)) if status.is_not_found() && names_object(&status) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// There is no WorkflowRun of that name.
    pub(super) fn no_run(&self, name: &str) -> Failure {
        Failure::Broken(format!(
            "no WorkflowRun {name} in namespace {0}: kubectl get workflowruns -n {0} lists them",
            self.namespace
        ))
    }

    /// What the API server said, and what to do.
    pub(super) fn failure(&self, error: &kube::Error) -> Failure {
        let kube::Error::Api(status) = error else {
            return Failure::Broken(format!("the API server gave no answer: {}", chain(error)));
        };
        let said = &status.message;
        match status.code {
            400 | 422 => Failure::Configuration(format!("the API server refused it: {said}")),
            401 => Failure::Broken(format!("the API server does not know you: {said}. Renew the login of the kubeconfig")),
            403 => Failure::Broken(format!("{said}. Whoever administers the cluster grants it (a Role for everstep.dev)")),
            404 if !names_object(status) => Failure::Broken(
                "the cluster has no such kind of Everstep: install its CRDs (everstep crd | kubectl apply --server-side -f -)"
                    .to_owned(),
            ),
            404 if said.starts_with("namespaces ") => Failure::Broken(format!("there is no namespace {}", self.namespace)),
            _ => Failure::Broken(format!("the API server refused it: {said}")),
        }
    }
}

fn names_object(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| !details.name.is_empty())
}
