//! What several test binaries share: servers to test against, and looks at processes.
//!
//! One PostgreSQL server and one control plane a test binary, a database and a namespace a test. All of it ends with
//! the test binary, however that ends.

#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "tests say what they expect by unwrapping it")]

pub(crate) mod chart;
pub(crate) mod controlplane;
pub(crate) mod pages;
pub(crate) mod pgproxy;
pub(crate) mod postgres;
pub(crate) mod process;
pub(crate) mod prometheus;
pub(crate) mod submission;
pub(crate) mod system;
pub(crate) mod tls_postgres;
pub(crate) mod tools;
