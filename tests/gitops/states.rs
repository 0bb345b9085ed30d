//! The states that an object can be in, and what they are to those who look at health. The tables of `docs/gitops/` say the
//! same in words.

use Health::{Degraded, Healthy, Progressing, Suspended};

/// What Argo CD shows. Each is one word of kstatus, as `docs/gitops/argocd.md` says.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Health {
    Healthy,
    Progressing,
    Suspended,
    Degraded,
}

impl Health {
    /// The word of kstatus, and of Flux.
    pub(crate) fn kstatus(self) -> &'static str {
        match self {
            Healthy => "Current",
            Progressing | Suspended => "InProgress",
            Degraded => "Failed",
        }
    }
}

/// Kind in the plural, name, spec, `Ready` as status and reason, and how that is judged.
pub(crate) type State = (&'static str, &'static str, &'static str, &'static str, Health);

/// Objects that nobody has looked at: all kinds, and definitions that would be judged otherwise at once.
pub(crate) const NEW: &[State] = &[
    ("workflows", "new", "{steps: [{name: a, set: {}}]}", "", Progressing),
    (
        "workflows",
        "wrong",
        "{steps: [{name: a, needs: [b], set: {}}]}",
        "",
        Progressing,
    ),
    (
        "workflowruns",
        "new",
        "{workflow: {steps: [{name: a, set: {}}]}}",
        "",
        Progressing,
    ),
    (
        "signals",
        "new",
        "{target: {workflow: new}, signal: go}",
        "",
        Progressing,
    ),
    (
        "connections",
        "new",
        "{http: {baseUrl: 'http://127.0.0.1:1'}}",
        "",
        Progressing,
    ),
];

/// What can be said of objects that stand for themselves.
pub(crate) const ALONE: &[State] = &[
    (
        "workflows",
        "new",
        "{steps: [{name: a, set: {}}]}",
        "True/Succeeded",
        Healthy,
    ),
    (
        "workflows",
        "wrong",
        "{steps: [{name: a, needs: [b], set: {}}]}",
        "False/InvalidSpec",
        Degraded,
    ),
    ("workflows", "running", RUNNING, "False/Running", Progressing),
    (
        "workflows",
        "running-accepted",
        RUNNING_ACCEPTED,
        "True/Running",
        Healthy,
    ),
    (
        "workflows",
        "waiting",
        "{steps: [{name: a, waitForSignal: {signal: go}}]}",
        "False/Waiting",
        Progressing,
    ),
    (
        "workflows",
        "waiting-accepted",
        "{readiness: Accepted, steps: [{name: a, waitForSignal: {signal: go}}]}",
        "True/Waiting",
        Healthy,
    ),
    ("workflows", "sleeping", NAP, "False/Sleeping", Progressing),
    (
        "workflows",
        "sleeping-accepted",
        "{readiness: Accepted, steps: [{name: a, sleep: {for: 1h}}]}",
        "True/Sleeping",
        Healthy,
    ),
    (
        "workflows",
        "failed",
        "{steps: [{name: a, fail: {code: STOP, message: enough}}]}",
        "False/Failed",
        Degraded,
    ),
    (
        "workflows",
        "failed-accepted",
        "{readiness: Accepted, steps: [{name: a, fail: {code: STOP, message: enough}}]}",
        "False/Failed",
        Degraded,
    ),
    (
        "workflows",
        "late",
        "{timeout: 1s, steps: [{name: a, sleep: {for: 1h}}]}",
        "False/TimedOut",
        Degraded,
    ),
    (
        "workflows",
        "paused",
        "{onFailure: Pause, steps: [{name: a, fail: {code: STOP, message: enough}}]}",
        "False/PausedOnFailure",
        Degraded,
    ),
    (
        "workflows",
        "not-undone",
        NOT_UNDONE,
        "False/CompensationFailed",
        Degraded,
    ),
    (
        "workflows",
        "registered",
        "{start: OnDemand, steps: [{name: a, set: {}}]}",
        "True/Registered",
        Healthy,
    ),
    (
        "workflows",
        "registered-suspended",
        "{start: OnDemand, suspend: true, steps: [{name: a, set: {}}]}",
        "True/Suspended",
        Healthy,
    ),
    (
        "workflows",
        "not-started",
        "{suspend: true, steps: [{name: a, set: {}}]}",
        "False/Suspended",
        Suspended,
    ),
    (
        "workflowruns",
        "new",
        "{workflow: {steps: [{name: a, set: {}}]}}",
        "True/Succeeded",
        Healthy,
    ),
    (
        "workflowruns",
        "wrong",
        "{workflow: {steps: [{name: a, needs: [b], set: {}}]}}",
        "False/InvalidSpec",
        Degraded,
    ),
    (
        "workflowruns",
        "waiting",
        "{workflow: {steps: [{name: a, waitForSignal: {signal: go}}]}}",
        "False/Waiting",
        Progressing,
    ),
    (
        "workflowruns",
        "failed",
        "{workflow: {steps: [{name: a, fail: {code: STOP, message: enough}}]}}",
        "False/Failed",
        Degraded,
    ),
    (
        "workflowruns",
        "to-cancel",
        "{workflow: {steps: [{name: a, sleep: {for: 1h}}]}}",
        "False/Sleeping",
        Progressing,
    ),
    (
        "workflowruns",
        "to-hold",
        "{workflow: {steps: [{name: a, sleep: {for: 1h}}]}}",
        "False/Sleeping",
        Progressing,
    ),
    (
        "connections",
        "new",
        "{http: {baseUrl: 'http://127.0.0.1:1'}}",
        "Unknown/NotChecked",
        Progressing,
    ),
    (
        "workflows",
        "asks",
        "{steps: [{name: a, sql: {connection: works, query: SELECT 1, readOnly: true}}]}",
        "True/Succeeded",
        Healthy,
    ),
    (
        "connections",
        "works",
        "{postgres: {urlFrom: {secretKeyRef: {name: shop, key: url}}}}",
        "True/*",
        Healthy,
    ),
    (
        "workflows",
        "asks-in-vain",
        "{retry: {maxAttempts: 100, backoff: {initial: 1s, factor: 1, max: 1s}}, steps: [{name: a, sql: {connection: fails, query: SELECT 1, readOnly: true}}]}",
        "False/Running",
        Progressing,
    ),
    (
        "connections",
        "fails",
        "{postgres: {urlFrom: {secretKeyRef: {name: absent, key: url}}}}",
        "False/*",
        Progressing,
    ),
];

/// What can be said of Signals to those, and of edits of those.
pub(crate) const AFTER: &[State] = &[
    ("signals", "stored", ONCE, "True/Stored", Healthy),
    (
        "signals",
        "consumed",
        "{target: {workflow: waiting}, signal: go}",
        "True/Consumed",
        Healthy,
    ),
    (
        "signals",
        "refused",
        "{target: {workflow: new}, signal: go}",
        "False/Rejected",
        Degraded,
    ),
    (
        "signals",
        "searching",
        "{target: {workflow: nobody}, signal: go}",
        "Unknown/TargetNotFound",
        Progressing,
    ),
    (
        "signals",
        "expired",
        "{target: {workflow: nobody}, signal: go, expiresAfter: 1s}",
        "False/TargetNotFound",
        Degraded,
    ),
    (
        "workflows",
        "waiting",
        "{steps: [{name: a, waitForSignal: {signal: go}}]}",
        "True/Succeeded",
        Healthy,
    ),
    (
        "workflowruns",
        "early",
        "{workflowRef: {name: nobody}}",
        "*/WorkflowNotFound",
        Progressing,
    ),
    (
        "workflowruns",
        "to-cancel",
        "{desiredState: Cancelled, workflow: {steps: [{name: a, sleep: {for: 1h}}]}}",
        "False/Cancelled",
        Degraded,
    ),
    (
        "workflowruns",
        "to-hold",
        "{desiredState: Paused, workflow: {steps: [{name: a, sleep: {for: 1h}}]}}",
        "False/Suspended",
        Suspended,
    ),
    (
        "workflows",
        "sleeping",
        "{suspend: true, steps: [{name: a, sleep: {for: 1h}}]}",
        "False/Suspended",
        Suspended,
    ),
];

/// What can be said of the same Signals once more.
pub(crate) const AGAIN: &[State] = &[
    ("signals", "again", ONCE, "True/Duplicate", Healthy),
    ("signals", "otherwise", OTHERWISE, "False/Duplicate", Degraded),
];

/// While PostgreSQL is away.
pub(crate) const AWAY: &[State] = &[
    (
        "workflows",
        "away",
        "{steps: [{name: a, set: {}}]}",
        "Unknown/StoreUnavailable",
        Progressing,
    ),
    (
        "workflowruns",
        "away",
        "{workflow: {steps: [{name: a, set: {}}]}}",
        "Unknown/StoreUnavailable",
        Progressing,
    ),
    (
        "signals",
        "away",
        "{target: {workflow: away}, signal: go}",
        "Unknown/StoreUnavailable",
        Progressing,
    ),
];

/// Its Connection is not there: it tries again, and that is no failure yet.
const RUNNING: &str =
    "{retry: {backoff: {initial: 1h, max: 1h}}, steps: [{name: a, http: {connection: absent, path: /}}]}";
const RUNNING_ACCEPTED: &str = "{readiness: Accepted, retry: {backoff: {initial: 1h, max: 1h}}, steps: [{name: a, http: {connection: absent, path: /}}]}";
const NAP: &str = "{steps: [{name: a, sleep: {for: 1h}}]}";
/// The egress policy lets nothing pass, so the undoing is refused for good.
const NOT_UNDONE: &str = "{steps: [{name: a, set: {}, compensate: {http: {url: 'http://127.0.0.1:1/'}}}, {name: b, fail: {code: STOP, message: enough}}]}";
const ONCE: &str = "{target: {workflow: sleeping-accepted}, signal: go, payload: {number: 1}, dedupKey: k}";
const OTHERWISE: &str = "{target: {workflow: sleeping-accepted}, signal: go, payload: {number: 2}, dedupKey: k}";
