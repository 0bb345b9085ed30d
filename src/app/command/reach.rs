//! How a command reaches the API server and PostgreSQL, and which namespace it speaks of.

use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::super::{Failure, chain, database};
use crate::{
    cli::{self, people},
    store::{self, Surface},
};

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
