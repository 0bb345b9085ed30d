//! The endpoints `/livez`, `/readyz` and `/metrics`.
