//! Tables of behaviour: what each input leads to. `a#2` is the second attempt of `a`, `a+` its success, `a-X` its
//! failure for good with code `X` (`a~X` tolerated, `a#1!X` followed by another attempt), `a/` skipped, `a@` a timer, `ax` cancelled.

use serde_json::{Value, json};

use crate::engine::{testing::*, *};

fn get(name: &str) -> Value {
    json!({"name": name, "http": {"url": "https://example.com/"}})
}

fn with(mut step: Value, fields: &Value) -> Value {
    step.as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    step
}

fn failed(kind: ErrorKind, code: &str) -> Outcome {
    Err(error(kind, code))
}

mod cancel_and_timeout;
mod failure;
mod order;
mod refusal;
mod retries;
mod takeover;
