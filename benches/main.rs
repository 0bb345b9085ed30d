//! `everstep-bench`.
fn main() {}
