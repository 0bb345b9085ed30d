//! The product as its users meet it: `kubectl` against a real API server, real PostgreSQL, real processes.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod invalid;
mod runs;
#[path = "../support/mod.rs"]
mod support;
