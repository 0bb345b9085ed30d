//! Claims runs, performs their effects and settles what ended.
