//! What must hold when processes, the API server and PostgreSQL die in the middle of something: with real ones of each,
//! and real signals.
//!
//! | file | what happens |
//! |---|---|
//! | `kills` | SIGKILLs of workers and controllers, at random, for as long as there are runs |
//! | `signal_objects` | SIGKILLs of workers and controllers between the creation of Signals and their consumption |
//! | `signals` | SIGKILLs of workers between the posting of signals and their consumption |
//! | `sagas` | the worker dies at every boundary of a run that is undone |
//! | `takeover` | one worker dies, stalls or is stopped; another one goes on |
//! | `outages` | the API server or PostgreSQL is away |
//! | `replicas` | two controllers that both lead |
//! | `vanished` | objects that are gone, and objects that only seem to be |
//! | `upgrade` | another version of the chart takes the place of this one |
//!
//! What the runs are is in `workload`, what must be true of them afterwards in `history`.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod history;
mod kills;
mod outages;
mod replicas;
mod sagas;
mod seed;
mod signal_objects;
mod signals;
#[path = "../support/mod.rs"]
mod support;
mod takeover;
mod upgrade;
mod vanished;
mod workload;
mod world;
