//! The manifests that `everstep dev` is given: read, told apart by kind, and complained about all at once.
//! Not what a Workflow means: that is the intent's.

use std::{fs, path::Path, path::PathBuf};

use serde_json::{Map, Value, json};
use uuid::Uuid;

/// Largest file that is read. A Workflow is at most 512 KiB.
const MAX_FILE: u64 = 16 << 20;
const GROUP: &str = "everstep.dev/v1alpha1";

/// What the files hold, in their order.
#[derive(Debug, Default, PartialEq)]
pub struct Manifests {
    /// Workflow objects, with namespace, UID and generation as an API server would give them.
    pub workflows: Vec<Value>,
    /// WorkflowRun objects, likewise.
    pub runs: Vec<Value>,
    /// Signal objects, likewise.
    pub signals: Vec<Value>,
    /// Connection objects, likewise.
    pub connections: Vec<Value>,
    /// Secret objects, likewise.
    pub secrets: Vec<Value>,
}

/// Something in a file that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", file.display())]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// What is wrong, where in the file, and what to do.
    pub message: String,
}

/// Reads all files.
///
/// # Errors
/// Every problem of every file.
pub fn read(files: &[PathBuf]) -> Result<Manifests, Vec<Problem>> {
    let (mut manifests, mut problems) = (Manifests::default(), Vec::new());
    for file in files {
        let in_file = |message: String| Problem {
            file: file.clone(),
            message,
        };
        match text_of(file).and_then(|text| documents(&text)) {
            Ok(documents) => {
                for (number, document) in documents.into_iter().enumerate() {
                    let added = manifests.add(document);
                    problems.extend(
                        added
                            .err()
                            .map(|message| in_file(format!("document {}: {message}", number + 1))),
                    );
                }
            }
            Err(message) => problems.push(in_file(message)),
        }
    }
    if problems.is_empty() && manifests.workflows.is_empty() && manifests.runs.is_empty() {
        let file = files.first().cloned().unwrap_or_default();
        problems.push(Problem {
            file,
            message: "no Workflow here, and no WorkflowRun: nothing to run".to_owned(),
        });
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(problems)
    }
}

impl Manifests {
    fn add(&mut self, document: Value) -> Result<(), String> {
        let Value::Object(mut object) = document else {
            return Err("not a Kubernetes object (apiVersion, kind, metadata, spec)".to_owned());
        };
        let field = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, kind) = (field("apiVersion"), field("kind"));
        let list = match (version.as_str(), kind.as_str()) {
            (GROUP, "Workflow") => &mut self.workflows,
            (GROUP, "WorkflowRun") => &mut self.runs,
            (GROUP, "Signal") => &mut self.signals,
            (GROUP, "Connection") => &mut self.connections,
            ("v1", "Secret") => &mut self.secrets,
            ("", _) | (_, "") => return Err("apiVersion and kind are missing".to_owned()),
            (GROUP, kind) => {
                return Err(format!(
                    "kind {kind} cannot be run by `dev`: it takes Workflow, WorkflowRun, Signal, Connection and Secret"
                ));
            }
            (version, kind) => {
                return Err(format!(
                    "{version} {kind} is not ours: `dev` takes {GROUP} Workflow, WorkflowRun, Signal and Connection, and v1 Secret"
                ));
            }
        };
        complete_metadata(&mut object, &kind)?;
        let (namespace, name) = identity(&Value::Object(object.clone()));
        if list
            .iter()
            .any(|known| identity(known) == (namespace.clone(), name.clone()))
        {
            return Err(format!("{kind} {namespace}/{name} is there twice"));
        }
        list.push(Value::Object(object));
        Ok(())
    }
}

/// Namespace and name of an object that [`read`] returned.
pub fn identity(object: &Value) -> (String, String) {
    let field = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    (field("namespace"), field("name"))
}

fn text_of(file: &Path) -> Result<String, String> {
    let size = fs::metadata(file).map_err(|error| error.to_string())?.len();
    if size > MAX_FILE {
        return Err(format!("{size} bytes: a file of manifests has at most {MAX_FILE}"));
    }
    fs::read_to_string(file).map_err(|error| error.to_string())
}

fn documents(text: &str) -> Result<Vec<Value>, String> {
    // YAML 1.2: only `true` and `false` are booleans, so that a Workflow may be called `n`.
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| format!("not YAML: {error}"))?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// Gives what an API server would: namespace, UID, generation.
fn complete_metadata(object: &mut Map<String, Value>, kind: &str) -> Result<(), String> {
    let metadata = object.entry("metadata").or_insert_with(|| json!({}));
    let Value::Object(metadata) = metadata else {
        return Err("metadata is not an object".to_owned());
    };
    let Some(name) = metadata.get("name").and_then(Value::as_str).map(str::to_owned) else {
        return Err(format!("a {kind} needs metadata.name"));
    };
    let namespace = metadata
        .get("namespace")
        .and_then(Value::as_str)
        .unwrap_or("default")
        .to_owned();
    let uid = uid_of(kind, &namespace, &name);
    metadata.insert("namespace".to_owned(), json!(namespace));
    metadata.insert("uid".to_owned(), json!(uid.to_string()));
    metadata.insert("generation".to_owned(), json!(1));
    metadata.insert("resourceVersion".to_owned(), json!("1"));
    Ok(())
}

fn uid_of(kind: &str, namespace: &str, name: &str) -> Uuid {
    let hash = blake3::hash(format!("{kind}/{namespace}/{name}").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.as_bytes()[..16]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Manifests, Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("m.yaml");
        fs::write(&file, text).unwrap();
        read(&[file]).map_err(|problems| problems.into_iter().map(|problem| problem.message).collect())
    }

    #[test]
    fn kinds_are_told_apart_and_completed() {
        let manifests = parse(
            "# first\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {url: x}\n---\n\
             apiVersion: everstep.dev/v1alpha1\nkind: Connection\nmetadata: {name: c, namespace: shop}\nspec: {}\n---\n\
             apiVersion: everstep.dev/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {steps: []}\n",
        )
        .unwrap();
        assert_eq!(
            (
                manifests.workflows.len(),
                manifests.connections.len(),
                manifests.secrets.len()
            ),
            (1, 1, 1)
        );
        assert_eq!(identity(&manifests.connections[0]), ("shop".to_owned(), "c".to_owned()));
        let metadata = &manifests.workflows[0]["metadata"];
        assert_eq!(metadata["namespace"], "default");
        assert!(metadata["uid"].as_str().unwrap().parse::<Uuid>().is_ok());
    }

    #[test]
    fn numbers_and_strings_stay_what_they_are() {
        let manifests = parse(
            "apiVersion: everstep.dev/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {input: {a: \"1042\", b: 1042, c: 1.5, d: null, e: yes}}\n",
        )
        .unwrap();
        assert_eq!(manifests.workflows[0]["spec"]["input"]["a"], json!("1042"));
        assert_eq!(manifests.workflows[0]["spec"]["input"]["b"], json!(1042));
        assert_eq!(manifests.workflows[0]["spec"]["input"]["c"], json!(1.5));
        assert_eq!(manifests.workflows[0]["spec"]["input"]["d"], json!(null));
    }

    #[test]
    fn a_workflow_may_be_called_n() {
        let manifests = parse(
            "apiVersion: everstep.dev/v1alpha1\nkind: Workflow\nmetadata: {name: n}\nspec: {input: {on: true}}\n",
        )
        .unwrap();
        assert_eq!(identity(&manifests.workflows[0]).1, "n");
        assert_eq!(manifests.workflows[0]["spec"]["input"], json!({"on": true}));
    }

    #[test]
    fn what_is_not_ours_is_named() {
        for (text, expected) in [
            (
                "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n",
                "v1 ConfigMap is not ours",
            ),
            (
                "apiVersion: everstep.dev/v1alpha1\nkind: Schedule\nmetadata: {name: x}\n",
                "kind Schedule cannot be run",
            ),
            (
                "apiVersion: everstep.dev/v1alpha1\nkind: Signal\nmetadata: {name: x}\n",
                "no Workflow here",
            ),
            ("- 1\n- 2\n", "not a Kubernetes object"),
            ("kind: Workflow\n", "apiVersion and kind are missing"),
            (
                "apiVersion: everstep.dev/v1alpha1\nkind: Workflow\n",
                "needs metadata.name",
            ),
            ("a: [1\n", "not YAML"),
            (
                "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n",
                "no Workflow here",
            ),
        ] {
            let problems = parse(text).expect_err(text);
            assert!(problems[0].contains(expected), "{text}: {problems:?}");
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = parse("kind: A\n---\n[]\n").unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[1].starts_with("document 2: "), "{problems:?}");
    }

    #[test]
    fn an_object_given_twice_is_refused() {
        let workflow = "apiVersion: everstep.dev/v1alpha1\nkind: Workflow\nmetadata: {name: w}\nspec: {}\n";
        let problems = parse(&format!("{workflow}---\n{workflow}")).unwrap_err();
        assert!(problems[0].contains("default/w is there twice"), "{problems:?}");
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let inner = format!("*a{}", level - 1);
            bomb.push_str(&format!("a{level}: &a{level} [{}]\n", [inner.as_str(); 10].join(", ")));
        }
        let problems = parse(&bomb).unwrap_err();
        assert!(problems[0].contains("not YAML"), "{problems:?}");
    }
}
