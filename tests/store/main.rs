//! Every statement of the store on a real PostgreSQL: what it does, its races, and the rules of the run protocol.

#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

mod appending;
mod application;
mod arriving;
mod calling;
mod commanding;
mod connecting;
mod controlling;
mod durability;
mod granting;
mod handing_over;
mod others;
mod pgbouncer;
mod plans;
mod pooled;
#[path = "../support/postgres.rs"]
#[allow(dead_code, reason = "shared by test binaries that each use a part")]
mod postgres;
mod repairing;
mod retrying;
mod rig;
mod signalling;
mod startable;
mod stuck;
mod sweeping;
mod tls;
#[path = "../support/tls_postgres.rs"]
#[allow(dead_code, reason = "shared by test binaries that each use a part")]
mod tls_postgres;
mod viewing;
mod working;
