//! Everstep: durable workflows as Kubernetes custom resources, on plain PostgreSQL.
//!
//! A map of this tree, from the pure core outwards:
//!
//! | module | what it is |
//! |---|---|
//! | [`expression`] | CEL with a budget, over JSON; pure, and knows nothing of workflows |
//! | [`engine`] | the model: a run is a log, `decide` yields events, `effects` says what the run wants; pure |
//! | [`store`] | PostgreSQL: the only place that names a table |
//! | [`worker`] | claims runs, performs their effects and settles what ended |
//! | [`api`] | the custom resources as Rust types |
//! | [`controller`] | objects in, status out, repair always |
//! | [`maintenance`] | sweeps: mail, timers, dead workers, orphans, retention |
//! | [`app`] | builds all of the above for a role and owns start and shutdown |
//! | [`show`] | what people read in a terminal: tables, trees, histories; pure |
//! | [`tally`], [`metrics`] | what the parts of a process count, and how that is shown |
//! | [`dev`] | `everstep dev`: the same intents and workers on this machine, without a cluster |
//!
//! Who may import whom is held by `tests/layering.rs`.

pub mod api;
pub mod app;
pub mod cli;
pub mod controller;
pub mod dev;
pub mod engine;
pub mod expression;
pub mod http;
pub mod leading;
pub mod maintenance;
pub mod metrics;
pub mod show;
pub mod shutdown;
pub mod store;
pub mod tally;
pub mod telemetry;
pub mod worker;
