//! Specs and edits, and what the API server says to each.

/// What the API server says to a spec: nothing, or all of these fragments.
pub(crate) type Answer = &'static [&'static str];
pub(crate) const ACCEPTED: Answer = &[];

/// Specs of a Workflow, in YAML. `STEP` stands for a step that is right.
pub(crate) const WORKFLOWS: &[(&str, &str, Answer)] = &[
    ("the least", "steps: [STEP]", ACCEPTED),
    ("no steps", "input: {}", &["spec.steps: Required value"]),
    ("an empty list of steps", "steps: []", &["spec.steps", "at least 1"]),
    (
        "an unknown field",
        "{steps: [STEP], timeuot: 1h}",
        &[".spec.timeuot: field not declared in schema"],
    ),
    (
        "an unknown field of a step",
        "steps: [{name: a, set: {}, wehn: 'true'}]",
        &[".spec.steps[0].wehn: field not declared in schema"],
    ),
    (
        "a mistyped field",
        "{steps: [STEP], suspend: 'yes'}",
        &["spec.suspend", "expected boolean"],
    ),
    (
        "null for what is no free JSON",
        "{steps: [STEP], timeout: null}",
        &["spec.timeout", "must be of type string"],
    ),
    (
        "null as free JSON",
        "{steps: [{name: a, set: {x: null}, output: null}], input: null, output: [null]}",
        ACCEPTED,
    ),
    (
        "an enumeration's other value",
        "{steps: [STEP], start: Sometimes}",
        &["spec.start", "\"OnApply\", \"OnDemand\""],
    ),
    (
        "two actions",
        "steps: [{name: a, set: {x: 1}, sleep: {for: 1s}}]",
        &["spec.steps[0]", "one and only one", "Found 2 valid"],
    ),
    (
        "no action",
        "steps: [{name: a}]",
        &["spec.steps[0]", "one and only one", "Found none valid"],
    ),
    (
        "a step without a name",
        "steps: [{set: {x: 1}}]",
        &["spec.steps[0].name: Required value"],
    ),
    (
        "a name that is no identifier",
        "steps: [{name: a-b, set: {}}]",
        &["spec.steps[0].name", "should match"],
    ),
    ("the longest name", "steps: [{name: LETTERS63, set: {}}]", ACCEPTED),
    (
        "a name too long",
        "steps: [{name: LETTERS64, set: {}}]",
        &["spec.steps[0].name", "63"],
    ),
    (
        "every unit of time",
        "{steps: [STEP], timeout: 1d2h3m4.5s6ms7us8ns}",
        ACCEPTED,
    ),
    (
        "a bad duration",
        "{steps: [STEP], timeout: soon}",
        &["spec.timeout", "should match"],
    ),
    (
        "a duration without a unit",
        "steps: [{name: a, sleep: {for: '5'}}]",
        &["spec.steps[0].sleep.for", "should match"],
    ),
    (
        "a negative duration",
        "{steps: [STEP], timeout: -5s}",
        &["spec.timeout", "should match"],
    ),
    (
        "a sleep for and until",
        "steps: [{name: a, sleep: {for: 1s, until: x}}]",
        &["spec.steps[0].sleep", "Found 2 valid"],
    ),
    (
        "no attempt at all",
        "{steps: [STEP], retry: {maxAttempts: 0}}",
        &["spec.retry.maxAttempts", "greater than or equal to 1"],
    ),
    (
        "a request to nowhere",
        "steps: [{name: a, http: {connection: c}}]",
        &["spec.steps[0].http", "path: Required value"],
    ),
    (
        "a request to two places",
        "steps: [{name: a, http: {connection: c, path: /, url: 'http://h'}}]",
        &["spec.steps[0].http", "Found 2 valid"],
    ),
    (
        "a path that would extend the host",
        "steps: [{name: a, http: {connection: c, path: .evil.example}}]",
        &["spec.steps[0].http.path", "should match"],
    ),
    (
        "a method that is none",
        "steps: [{name: a, http: {connection: c, path: /, method: get}}]",
        &["spec.steps[0].http.method", "\"GET\""],
    ),
    (
        "amounts as numbers and strings",
        "steps: [{name: a, job: {image: i, resources: {limits: {cpu: 1, memory: 64Mi}}}}]",
        ACCEPTED,
    ),
    (
        "a privilege of a job",
        "steps: [{name: a, job: {image: i, hostNetwork: true}}]",
        &[".spec.steps[0].job.hostNetwork: field not declared in schema"],
    ),
    (
        "two actions that undo",
        "steps: [{name: a, set: {}, compensate: {set: {}, sleep: {for: 1s}}}]",
        &["spec.steps[0].compensate", "Found 2 valid"],
    ),
    (
        "every block",
        "steps: [{name: a, parallel: {branches: [{name: x, steps: [STEP]}]}}, {name: b, race: {branches: [{name: x, steps: [STEP]}]}}, \
      {name: c, forEach: {items: input.l, steps: [STEP], tolerate: {percent: 1}}}, {name: d, repeat: {until: 'true', steps: [STEP]}}, {name: e, call: {block: x}}]",
        ACCEPTED,
    ),
    (
        "a block in a block",
        "steps: [{name: a, parallel: {branches: [{name: x, steps: [{name: b, race: {branches: []}}]}]}}]",
        &[".spec.steps[0].parallel.branches[0].steps[0].race: field not declared in schema"],
    ),
    (
        "until and while",
        "steps: [{name: a, repeat: {until: 'true', while: 'true', steps: [STEP]}}]",
        &["spec.steps[0].repeat", "Found 2 valid"],
    ),
    ("as many steps as a list may have", "steps: [STEPS200]", ACCEPTED),
    ("a step too many", "steps: [STEPS201]", &["spec.steps", "200"]),
    (
        "blocks by name",
        "{steps: [STEP], blocks: {a_1: {steps: [STEP]}}}",
        ACCEPTED,
    ),
    (
        "a block whose name is no identifier",
        "{steps: [STEP], blocks: {a-1: {steps: [STEP]}}}",
        &["spec.blocks", "the name of a block begins with a letter"],
    ),
    (
        "a parameter's minimum",
        "{steps: [STEP], params: [{name: age, type: integer, minimum: 1}]}",
        ACCEPTED,
    ),
    (
        "a minimum of a string",
        "{steps: [STEP], params: [{name: age, type: string, minimum: 1}]}",
        &["spec.params[0]", "minimum needs type integer or number"],
    ),
    (
        "a minimum of anything",
        "{steps: [STEP], params: [{name: age, minimum: 1}]}",
        &["spec.params[0]", "minimum needs type integer or number"],
    ),
];

/// Specs of a Connection, in YAML. `KEY` stands for a reference to a Secret.
pub(crate) const CONNECTIONS: &[(&str, &str, Answer)] = &[
    ("a database", "postgres: {urlFrom: KEY}", ACCEPTED),
    (
        "an API with all there is",
        "{http: {baseUrl: 'https://h:8443/v1/@x', auth: {bearer: KEY}, headers: {X-Host: a}, tls: {caFrom: KEY}}, limits: {maxConnections: 5}}",
        ACCEPTED,
    ),
    (
        "neither",
        "{}",
        &["spec", "a Connection has exactly one of postgres and http"],
    ),
    (
        "both",
        "{postgres: {urlFrom: KEY}, http: {baseUrl: 'http://h'}}",
        &["spec", "a Connection has exactly one of postgres and http"],
    ),
    (
        "a URL in the open",
        "postgres: {url: 'postgres://u:p@h/d'}",
        &[".spec.postgres.url: field not declared in schema"],
    ),
    (
        "another scheme",
        "http: {baseUrl: 'ftp://h'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a password in the URL",
        "http: {baseUrl: 'http://u:p@h'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a query in the URL",
        "http: {baseUrl: 'http://h/?a=b'}",
        &["spec.http.baseUrl", "should match"],
    ),
    (
        "a user and password",
        "http: {baseUrl: 'http://h', auth: {basic: KEY}}",
        ACCEPTED,
    ),
    (
        "a header that is a credential",
        "http: {baseUrl: 'http://h', auth: {header: {name: Authorization, secretKeyRef: {name: s, key: k}}}}",
        ACCEPTED,
    ),
    (
        "a credential in the wrong header",
        "http: {baseUrl: 'http://h', auth: {header: {name: Proxy-Authorization, secretKeyRef: {name: s, key: k}}}}",
        &[
            "spec.http.auth.header.name",
            "Proxy-* and Idempotency-Key cannot be set",
        ],
    ),
    (
        "no kind of credential",
        "http: {baseUrl: 'http://h', auth: {}}",
        &["spec.http.auth", "exactly one of bearer, basic and header"],
    ),
    (
        "two kinds of credentials",
        "http: {baseUrl: 'http://h', auth: {bearer: KEY, basic: KEY}}",
        &["spec.http.auth", "exactly one of bearer, basic and header"],
    ),
    (
        "a reserved header",
        "http: {baseUrl: 'http://h', headers: {iDEMPOTENCY-kEY: a}}",
        &["spec.http.headers", "cannot be set here"],
    ),
    (
        "a credential in a header",
        "http: {baseUrl: 'http://h', headers: {authorization: a}}",
        &["spec.http.headers", "credentials belong in auth"],
    ),
    (
        "a Secret of another namespace",
        "postgres: {urlFrom: {secretKeyRef: {name: s, key: k, namespace: other}}}",
        &[".spec.postgres.urlFrom.secretKeyRef.namespace: field not declared in schema"],
    ),
];

/// Specs of a Signal, in YAML.
pub(crate) const SIGNALS: &[(&str, &str, Answer)] = &[
    ("the least", "{target: {workflow: w}, signal: go}", ACCEPTED),
    (
        "all there is",
        "{target: {workflow: w, key: k}, signal: go, payload: {a: [null, 1.5]}, by: me, dedupKey: t-1, expiresAfter: 1d, ttlAfterFinished: 7d}",
        ACCEPTED,
    ),
    ("a run by its object", "{target: {run: r}, signal: go}", ACCEPTED),
    (
        "no target",
        "{target: {}, signal: go}",
        &["spec.target", "exactly one of workflow and run"],
    ),
    (
        "two targets",
        "{target: {workflow: w, run: r}, signal: go}",
        &["spec.target", "exactly one of workflow and run"],
    ),
    (
        "a key without a workflow",
        "{target: {run: r, key: k}, signal: go}",
        &["spec.target", "a key needs the workflow"],
    ),
    (
        "a target in another namespace",
        "{target: {workflow: w, namespace: other}, signal: go}",
        &[".spec.target.namespace: field not declared in schema"],
    ),
    (
        "a target in another namespace by its name",
        "{target: {workflow: other/w}, signal: go}",
        &["spec.target.workflow", "should match"],
    ),
    (
        "no name",
        "{target: {workflow: w}, signal: ''}",
        &["spec.signal", "at least 1"],
    ),
    (
        "a payload that is no object",
        "{target: {workflow: w}, signal: go, payload: [1]}",
        &["spec.payload", "expected map"],
    ),
    (
        "a time that is none",
        "{target: {workflow: w}, signal: go, expiresAfter: soon}",
        &["spec.expiresAfter", "should match"],
    ),
];

/// Specs of a WorkflowRun, in YAML.
pub(crate) const RUNS: &[(&str, &str, Answer)] = &[
    ("of a Workflow", "workflowRef: {name: w}", ACCEPTED),
    ("of its own", "workflow: {steps: [STEP]}", ACCEPTED),
    (
        "all there is",
        "{workflowRef: {name: w}, input: {a: null}, idempotencyKey: k, readiness: Accepted, deletionPolicy: Orphan, \
          ttlAfterFinished: 7d, desiredState: Paused, retryOf: {name: r, fromStep: s}}",
        ACCEPTED,
    ),
    (
        "of nothing",
        "{input: {}}",
        &["spec", "exactly one of workflowRef and workflow"],
    ),
    ("of an earlier run", "retryOf: {name: r}", ACCEPTED),
    (
        "of two and an earlier run",
        "{workflowRef: {name: w}, workflow: {steps: [STEP]}, retryOf: {name: r}}",
        &["spec", "exactly one of workflowRef and workflow"],
    ),
    (
        "of two",
        "{workflowRef: {name: w}, workflow: {steps: [STEP]}}",
        &["spec", "exactly one of workflowRef and workflow"],
    ),
    (
        "a state that is none",
        "{workflowRef: {name: w}, desiredState: Stopped}",
        &["spec.desiredState", "\"Running\", \"Paused\""],
    ),
    (
        "an input that is no object",
        "{workflowRef: {name: w}, input: 5}",
        &["spec.input", "expected map"],
    ),
    (
        "a definition that is none",
        "workflow: {steps: []}",
        &["spec.workflow.steps", "at least 1"],
    ),
];

/// A spec, what it is changed into, and what the API server says to that.
pub(crate) const SIGNAL_EDITS: &[(&str, &str, &str, Answer)] = &[
    (
        "nothing",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        ACCEPTED,
    ),
    (
        "the payload",
        "{target: {workflow: w}, signal: go, payload: {a: [1]}}",
        "{target: {workflow: w}, signal: go, payload: {a: [2]}}",
        &["spec", "a Signal never changes"],
    ),
    (
        "a field's name in the payload",
        "{target: {workflow: w}, signal: go, payload: {a: 1}}",
        "{target: {workflow: w}, signal: go, payload: {b: 1}}",
        &["spec", "a Signal never changes"],
    ),
    (
        "the target",
        "{target: {workflow: w}, signal: go}",
        "{target: {workflow: v}, signal: go}",
        &["spec", "a Signal never changes"],
    ),
    (
        "what was absent",
        "{target: {workflow: w}, signal: go}",
        "{target: {workflow: w}, signal: go, by: me}",
        &["spec", "a Signal never changes"],
    ),
];

/// As above.
pub(crate) const RUN_EDITS: &[(&str, &str, &str, Answer)] = &[
    (
        "the state there and back",
        "{workflowRef: {name: w}, input: {a: 1}, desiredState: Paused}",
        "{workflowRef: {name: w}, input: {a: 1}, desiredState: Running}",
        ACCEPTED,
    ),
    (
        "the time to live",
        "{workflow: {steps: [STEP]}}",
        "{workflow: {steps: [STEP]}, ttlAfterFinished: 1d}",
        ACCEPTED,
    ),
    (
        "the end of an end",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        "{workflowRef: {name: w}, desiredState: Running}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "one end for the other",
        "{workflowRef: {name: w}, desiredState: Terminated}",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "an end left out",
        "{workflowRef: {name: w}, desiredState: Cancelled}",
        "{workflowRef: {name: w}}",
        &["spec", "Cancelled and Terminated are final"],
    ),
    (
        "the Workflow",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: v}}",
        &["workflowRef never changes"],
    ),
    (
        "the definition, deep within",
        "{workflow: {steps: [{name: a, set: {x: {y: 1}}}]}}",
        "{workflow: {steps: [{name: a, set: {x: {y: 2}}}]}}",
        &["workflow never changes"],
    ),
    (
        "the input",
        "{workflowRef: {name: w}, input: {a: {b: 1}}}",
        "{workflowRef: {name: w}, input: {a: {b: 2}}, desiredState: Paused}",
        &["input never changes"],
    ),
    (
        "a field more of the input",
        "{workflowRef: {name: w}, input: {a: 1}}",
        "{workflowRef: {name: w}, input: {a: 1, b: 1}}",
        &["input never changes"],
    ),
    (
        "an input that was absent, and the state",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: w}, input: {b: 1}, desiredState: Paused}",
        &["input never changes"],
    ),
    (
        "the key",
        "{workflowRef: {name: w}, idempotencyKey: a}",
        "{workflowRef: {name: w}, idempotencyKey: b}",
        &["idempotencyKey never changes"],
    ),
    (
        "the readiness",
        "{workflowRef: {name: w}, readiness: Accepted}",
        "{workflowRef: {name: w}}",
        &["readiness never changes"],
    ),
    (
        "the deletion policy",
        "{workflowRef: {name: w}}",
        "{workflowRef: {name: w}, deletionPolicy: Orphan}",
        &["deletionPolicy never changes"],
    ),
    (
        "the step to retry from",
        "{workflowRef: {name: w}, retryOf: {name: r, fromStep: a}}",
        "{workflowRef: {name: w}, retryOf: {name: r, fromStep: b}}",
        &["retryOf never changes"],
    ),
];
