//! The product as its users meet it: `kubectl` against a real API server, real PostgreSQL, real processes.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod change;
mod commands;
mod connections;
mod counts;
mod databases;
mod deletion;
mod dev;
mod invalid;
mod leader;
mod outcomes;
mod people;
mod process;
mod readiness;
mod refusals;
mod resting;
mod retries;
mod runs;
mod saga;
mod secrets;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod target;
