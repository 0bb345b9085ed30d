//! The custom resources of `everstep.dev` as Rust types, and the CustomResourceDefinitions made from them.
//!
//! Types, schemas and names only: what a manifest means is the engine's, what to do about it the controller's.

mod crd;
mod schema;
pub mod v1alpha1;

pub use crd::{crd_yaml, crds};

/// The API group of every kind.
pub const GROUP: &str = "everstep.dev";
