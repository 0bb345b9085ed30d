//! Everstep under Argo CD and Flux, as far as it goes without them: what they would make of each object of a live
//! system, and that the recipes of `docs/gitops/` do what they say.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod drift;
mod health;
mod judge;
mod recipes;
mod states;
#[path = "../support/mod.rs"]
mod support;
