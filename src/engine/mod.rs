//! The model: a run is a log, and it changes in exactly one way.
