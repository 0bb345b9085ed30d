//! `everstep dev`: manifests on this machine, without a cluster.

pub mod child;
pub mod manifests;
pub mod postgres;
pub mod scratch;
