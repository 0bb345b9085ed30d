//! Builds what a role needs and owns the order of start and shutdown.
