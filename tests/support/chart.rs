//! The Helm chart: rendered by the real helm, and its containers started as the kubelet would, but for the container.
//!
//! There are no nodes here. So what a Deployment says is read from the rendered manifest and done by hand: the account's
//! token, the arguments and variables as they stand there, the files of its Secrets and ConfigMaps. Two things differ:
//! the files lie in a directory of the test, and the endpoints are on a free port of loopback.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use super::{
    controlplane::ControlPlane,
    system::Process,
    tools::{built, fed},
};

/// The chart, from the repository.
pub(crate) const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/everstep");
const BUILD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/e2e/tools/helm/build");
/// The release in all tests: each is in a namespace of its own.
pub(crate) const RELEASE: &str = "everstep";

/// The real helm, on one control plane, with settings of its own.
pub(crate) struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: TempDir,
}

impl Helm {
    /// As the administrator. If helm is not there yet, it is built first, which takes minutes and says so.
    pub(crate) async fn new(plane: &ControlPlane) -> Self {
        Self {
            program: built(BUILD, "helm").await,
            kubeconfig: plane.kubeconfig(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// What helm prints; panics with what it said when it fails.
    pub(crate) async fn run(&self, arguments: &[&str]) -> String {
        self.run_with_input(arguments, "").await
    }

    /// The same, with values to read: `--values=-`.
    pub(crate) async fn run_with_input(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(arguments, input).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "helm {}: {said}", arguments.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// For tests of what a failing helm says.
    pub(crate) async fn output(&self, arguments: &[&str], input: &str) -> Output {
        let mut helm = Command::new(&self.program);
        fed(helm.args(arguments).envs(self.environment()), input).await
    }

    /// The directory of the program.
    pub(crate) fn directory(&self) -> &Path {
        self.program.parent().unwrap()
    }

    /// What the program is told: whom to speak to, and where its own files are.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 4] {
        let home = |name| self.home.path().join(name);
        [
            ("KUBECONFIG", self.kubeconfig.clone()),
            ("HELM_CACHE_HOME", home("cache")),
            ("HELM_CONFIG_HOME", home("config")),
            ("HELM_DATA_HOME", home("data")),
        ]
    }

    /// The manifests that the chart makes of these values for a release in this namespace, as text.
    pub(crate) async fn template(&self, namespace: &str, values: &Value) -> String {
        let words = ["template", RELEASE, CHART, "--namespace", namespace, "--values=-"];
        self.run_with_input(&words, &values.to_string()).await
    }
}

/// The objects in manifests, in their order.
pub(crate) fn objects(manifests: &str) -> Vec<Value> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(manifests).unwrap();
    documents.into_iter().filter(Value::is_object).collect()
}

/// A release whose manifests are in the API server, and whose processes run here.
pub(crate) struct Release<'a> {
    pub(crate) namespace: String,
    pub(crate) objects: Vec<Value>,
    plane: &'a ControlPlane,
    /// The files of the pods' volumes, below the pods' names.
    files: TempDir,
}

impl<'a> Release<'a> {
    /// As [`apply`](Self::apply), with a Secret of this database's URL.
    pub(crate) async fn with_database(
        plane: &'a ControlPlane,
        namespace: &str,
        database_url: &str,
        mut values: Value,
    ) -> Self {
        const SECRET: &str = "everstep-database";
        let secret = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": namespace},
            "stringData": {"url": database_url},
        });
        let words = ["apply", "--server-side", "-f", "-"];
        plane.kubectl_with_input(&words, &secret.to_string()).await.unwrap();
        values["database"]["existingSecret"] = SECRET.into();
        Self::apply(plane, namespace, values).await
    }

    /// Renders the chart without the CRDs, which are there, and applies it. The namespace has the Secret that
    /// `database.existingSecret` names.
    pub(crate) async fn apply(plane: &'a ControlPlane, namespace: &str, mut values: Value) -> Self {
        values["crds"]["install"] = false.into();
        let manifests = Helm::new(plane).await.template(namespace, &values).await;
        let release = Self::of(plane, namespace, &manifests);
        let mut applied = release.objects.clone();
        applied.retain(|object| !is_hook(object));
        let list = serde_json::json!({"apiVersion": "v1", "kind": "List", "items": applied});
        let words = ["apply", "--server-side", "--validate=strict", "-f", "-"];
        plane.kubectl_with_input(&words, &list.to_string()).await.unwrap();
        release
    }

    /// One that is installed: by its manifests.
    pub(crate) fn of(plane: &'a ControlPlane, namespace: &str, manifests: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            objects: objects(manifests),
            plane,
            files: tempfile::tempdir().unwrap(),
        }
    }

    /// A ready process of the Deployment with this component: `controller` or `worker`.
    pub(crate) async fn start(&self, component: &str, flags: &[(&str, &str)]) -> Process {
        let mut process = self.spawn(component, flags).await;
        process.ready().await;
        process
    }

    /// The same, just started. `flags` take the place of what the Deployment says.
    pub(crate) async fn spawn(&self, component: &str, flags: &[(&str, &str)]) -> Process {
        self.launch(component).await.spawn(flags)
    }

    /// What the kubelet would start of the Deployment with this component, to be started any number of times.
    pub(crate) async fn launch(&self, component: &str) -> Launch {
        let deployment = self.component("Deployment", component);
        let mut launch = self.prepare(&deployment["spec"]["template"]["spec"], component).await;
        set(&mut launch.words, "--listen", "127.0.0.1:0");
        launch
    }

    /// The pod of `helm test`, as a process.
    pub(crate) async fn spawn_test(&self) -> Process {
        let pod = &self.component("Pod", "test")["spec"];
        self.prepare(pod, "test").await.spawn(&[])
    }

    /// Brings the files of all volumes up to date, as the kubelet does when a ConfigMap or a Secret has changed.
    pub(crate) async fn sync(&self) {
        for component in ["controller", "worker"] {
            let deployment = self.component("Deployment", component);
            self.mounts(&deployment["spec"]["template"]["spec"], component).await;
        }
    }

    /// The one object of this kind with this component.
    pub(crate) fn component(&self, kind: &str, component: &str) -> &Value {
        let is_it = |object: &&Value| {
            object["kind"] == kind && object["metadata"]["labels"]["app.kubernetes.io/component"] == component
        };
        let mut found = self.objects.iter().filter(is_it);
        let one = found
            .next()
            .unwrap_or_else(|| panic!("the chart has no {kind} of {component}"));
        assert!(
            found.next().is_none(),
            "the chart has more than one {kind} of {component}"
        );
        one
    }

    /// The one container of a pod: its files are written, its account has a token.
    async fn prepare(&self, pod: &Value, name: &str) -> Launch {
        let containers = list(&pod["containers"]);
        let [container] = containers else {
            panic!("{} containers", containers.len())
        };
        assert!(container["command"].is_null(), "the image says which program it is");
        let mounts = self.mounts(pod, name).await;
        let here = |text: &Value| {
            let mut text = text.as_str().unwrap().to_owned();
            for (there, here) in &mounts {
                text = text.replace(&format!("{there}/"), &format!("{}/", here.display()));
            }
            text
        };
        let words = list(&container["args"]).iter().map(here).collect();
        let mut environment: Vec<(String, String)> = list(&container["env"])
            .iter()
            .map(|variable| (variable["name"].as_str().unwrap().to_owned(), here(&variable["value"])))
            .collect();
        if pod["automountServiceAccountToken"] == true {
            let account = pod["serviceAccountName"].as_str().unwrap();
            let kubeconfig = self
                .plane
                .kubeconfig_of_account(&self.namespace, account)
                .await
                .unwrap();
            environment.push(("KUBECONFIG".to_owned(), kubeconfig.display().to_string()));
        }
        Launch { words, environment }
    }

    /// Writes the files of a pod's volumes; answers which directory stands for which path of the container.
    async fn mounts(&self, pod: &Value, name: &str) -> Vec<(String, PathBuf)> {
        let mut mounts = Vec::new();
        for mount in list(&pod["containers"][0]["volumeMounts"]) {
            let volume = list(&pod["volumes"])
                .iter()
                .find(|volume| volume["name"] == mount["name"]);
            let volume = volume.unwrap_or_else(|| panic!("no volume for {mount}"));
            let directory = self.files.path().join(name).join(volume["name"].as_str().unwrap());
            self.write(volume, &directory).await;
            mounts.push((mount["mountPath"].as_str().unwrap().to_owned(), directory));
        }
        mounts
    }

    async fn write(&self, volume: &Value, directory: &Path) {
        let (kind, source, name) = if volume["secret"].is_object() {
            ("secret", &volume["secret"], "secretName")
        } else {
            ("configmap", &volume["configMap"], "name")
        };
        let name = source[name]
            .as_str()
            .unwrap_or_else(|| panic!("not read here: {volume}"));
        let words = ["--namespace", &self.namespace, "get", kind, name, "--output=json"];
        let object: Value = serde_json::from_str(&self.plane.kubectl(&words).await.unwrap()).unwrap();
        let texts: BTreeMap<String, String> = serde_json::from_value(object["data"].clone()).unwrap();
        fs::create_dir_all(directory).unwrap();
        for item in list(&source["items"]) {
            let text = &texts[item["key"].as_str().unwrap()];
            let bytes = match kind {
                "secret" => BASE64_STANDARD.decode(text).unwrap(),
                _ => text.clone().into_bytes(),
            };
            let file = directory.join(item["path"].as_str().unwrap());
            let unfinished = file.with_added_extension("unfinished");
            fs::write(&unfinished, bytes).unwrap();
            fs::rename(&unfinished, &file).unwrap();
        }
    }
}

/// A process as a pod's container says, ready to be started.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    words: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Launch {
    /// Starts one. `flags` take the place of what the manifest says.
    pub(crate) fn spawn(&self, flags: &[(&str, &str)]) -> Process {
        self.spawn_with(flags, &[])
    }

    /// The same, with further variables, which win as well.
    pub(crate) fn spawn_with(&self, flags: &[(&str, &str)], variables: &[(&str, &str)]) -> Process {
        let mut words = self.words.clone();
        for (flag, value) in flags {
            set(&mut words, flag, value);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let own = self
            .environment
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let environment: Vec<(&str, &str)> = own.chain(variables.iter().copied()).collect();
        Process::spawn(&words, &environment)
    }

    /// A process of this role that is told what both are told.
    pub(crate) fn and(&self, other: &Self, role: &str, kubeconfig: &Path) -> Self {
        let mut both = self.clone();
        both.words[0] = role.to_owned();
        for word in &other.words[1..] {
            let (flag, value) = word.split_once('=').unwrap();
            set(&mut both.words, flag, value);
        }
        both.environment.extend(other.environment.iter().cloned());
        both.environment
            .push(("KUBECONFIG".to_owned(), kubeconfig.display().to_string()));
        both
    }
}

/// Whether an object is helm's own business: a hook.
pub(crate) fn is_hook(object: &Value) -> bool {
    object["metadata"]["annotations"]["helm.sh/hook"].is_string()
}

/// Of a manifest, where an absent list is an empty one.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Replaces `--flag=…` among the words, or adds it.
fn set(words: &mut Vec<String>, flag: &str, value: &str) {
    let begin = format!("{flag}=");
    words.retain(|word| !word.starts_with(&begin));
    words.push(format!("{flag}={value}"));
}
