//! The product as its users meet it: `kubectl` against a real API server, real PostgreSQL, real processes.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod change;
mod commands;
mod connections;
mod counts;
mod databases;
mod definitions;
mod deletion;
mod dev;
mod figures;
mod invalid;
mod leader;
mod logins;
mod outcomes;
mod people;
mod process;
mod readiness;
mod readme;
mod refusals;
mod resting;
mod retention;
mod retries;
mod runs;
mod saga;
mod secrets;
mod signals;
mod stuck;
#[path = "../support/mod.rs"]
mod support;
mod target;
