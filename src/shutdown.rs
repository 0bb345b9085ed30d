//! How a process learns that it should end.
