//! What a controller would submit.

use everstep::{
    engine::revision,
    store::{DeletionPolicy, Retention, Start, Submission},
};
use serde_json::Value;

/// Of a new Workflow of these fields, which starts at once.
pub(crate) fn submission(namespace: &str, name: &str, body: &Value) -> Submission {
    let revision = revision(body);
    Submission {
        uid: name.to_owned(),
        kind: "Workflow".to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        workflow: name.to_owned(),
        generation: 1,
        deletion_policy: DeletionPolicy::Background,
        retention: Retention::default(),
        suspended: false,
        start: Some(Start {
            start_key: format!("uid/{name}/{revision}"),
            input: None,
            trigger: "OnApply".to_owned(),
            counted_by: None,
        }),
        revision,
        body: body.to_string(),
        only_when_idle: false,
        commands: Vec::new(),
    }
}
