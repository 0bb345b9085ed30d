//! Compiled definitions, kept while they are likely to be needed again. Not where bodies come from.

use std::{collections::HashMap, sync::Arc};

use crate::{engine::Definition, store::DefinitionId};

/// A worker meets the definitions of the Workflows that run now; of a thousand runs in memory hardly more than this many
/// are new at a time, and runs hold theirs beyond it.
const KEPT: usize = 512;

/// A bounded cache. Definitions are immutable, so nothing in it is ever stale.
#[derive(Default)]
pub(super) struct Definitions(HashMap<DefinitionId, Arc<Definition>>);

impl Definitions {
    /// The compiled definition, if it is here.
    pub(super) fn get(&self, id: DefinitionId) -> Option<Arc<Definition>> {
        self.0.get(&id).cloned()
    }

    /// Keeps a definition; when there are too many, those go first that no run uses.
    pub(super) fn put(&mut self, id: DefinitionId, definition: Arc<Definition>) {
        if self.0.len() >= KEPT {
            self.0.retain(|_, kept| Arc::strong_count(kept) > 1);
        }
        if self.0.len() >= KEPT {
            // All in use: their runs hold them, and only the short way to them is lost.
            self.0.clear();
        }
        self.0.insert(id, definition);
    }
}
