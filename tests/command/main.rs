//! The commands for people: the real binary, a real PostgreSQL, a worker that carries the runs.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod objects;
mod person;
#[path = "../store/pgbouncer.rs"]
#[allow(dead_code, reason = "the store's tests use all of it")]
mod pgbouncer;
mod reading;
mod refused;
#[path = "../worker/rig.rs"]
#[allow(dead_code, reason = "the worker's tests use all of it")]
mod rig;
mod sending;
mod starting;
#[path = "../support/mod.rs"]
mod support;
