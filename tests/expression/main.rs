//! Tests of expressions through their public interface: what the language means, what it may cost, and that nothing
//! whatever makes it panic or exceed its budget.

mod bombs;
mod conformance;
mod differential;
mod random;
mod references;
mod semantics;
mod speed;
mod templates;
