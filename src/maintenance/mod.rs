//! Sweeps: each a pure plan and a short execution.
