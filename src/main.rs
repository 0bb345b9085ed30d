//! The binary: parse, telemetry, dispatch to a role.
fn main() {}
