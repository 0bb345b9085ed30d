//! CEL with a budget, over borrowed JSON.
