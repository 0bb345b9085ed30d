//! Claims runs, performs their effects and settles what ended.

pub mod action;
pub mod connection;
pub mod egress;
pub mod guard;
pub mod secret;
mod tls;
