//! Workers against a real PostgreSQL: whole runs, and what faults do to them.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod arrivals;
mod commands;
mod faults;
mod figures;
mod life;
mod protocol;
mod repairs;
mod rig;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod target;
