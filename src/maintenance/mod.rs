//! Sweeps: each a pure plan and a short execution.

pub mod orphans;
pub mod retention;
