//! PostgreSQL: the only place that names a table.
