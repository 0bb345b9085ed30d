//! Which object: what the queue, the cache and the wake-ups speak of.

use std::fmt;
use std::sync::Arc;

use kube::api::DynamicObject;

/// The kinds that are reconciled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// `Workflow`.
    Workflow,
    /// `WorkflowRun`.
    WorkflowRun,
    /// `Signal`.
    Signal,
    /// `Connection`.
    Connection,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Workflow, Self::WorkflowRun, Self::Signal, Self::Connection];

    /// The kind of that name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether runs belong to its objects.
    pub(crate) fn owns_runs(self) -> bool {
        match self {
            Self::Workflow | Self::WorkflowRun => true,
            Self::Signal | Self::Connection => false,
        }
    }

    /// The name in manifests.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Workflow => "Workflow",
            Self::WorkflowRun => "WorkflowRun",
            Self::Signal => "Signal",
            Self::Connection => "Connection",
        }
    }
}

/// One object by name. Another object of the same name has the same key and another UID.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) kind: Kind,
    pub(crate) namespace: Arc<str>,
    pub(crate) name: Arc<str>,
}

impl Key {
    pub(crate) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The key of an object as the API server gave it: name and namespace are always there.
    pub(crate) fn of(kind: Kind, object: &DynamicObject) -> Self {
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        Self::new(kind, namespace, object.metadata.name.as_deref().unwrap_or_default())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind.as_str(), self.namespace, self.name)
    }
}
