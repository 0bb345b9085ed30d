//! What a worker is told when it starts.

use std::{sync::Arc, time::Duration};

/// Settings of one worker process.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its lease in the database: after so long without a renewal its runs are taken over. At least 1 s.
    pub lease: Duration,
    /// Runs in memory at once.
    pub max_runs: usize,
    /// Only runs of these namespaces; none: all.
    pub namespaces: Option<Arc<[String]>>,
    /// Who this is, for people: host name and process id.
    pub session: String,
    /// How long running attempts may go on after shutdown was asked for.
    pub drain: Duration,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            max_runs: 1000,
            namespaces: None,
            session: format!("process {}", std::process::id()),
            // Kubernetes kills after 30 s; the rest is for the last answers.
            drain: Duration::from_secs(25),
        }
    }
}
