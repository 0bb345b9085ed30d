//! The step key: what an effect is known by, outside.

use serde::{Deserialize, Serialize};

use super::origin::Origin;

/// 128 bits of BLAKE3 over what identifies a step of a start; shown as 32 hex digits.
///
/// It holds no run id and no attempt, so a start repeated after a lost failover repeats its effects under the same keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepKey([u8; 16]);

impl StepKey {
    /// The key of a step: `iteration` counts loops and items, `round` grows only by adopt or by a manual retry.
    pub fn new(origin: &Origin, path: &str, iteration: u32, deed: Deed, round: u32) -> Self {
        let mut hasher = blake3::Hasher::new();
        let deed = match deed {
            Deed::Do => "do",
            Deed::Undo => "undo",
        };
        for part in [
            &*origin.cluster,
            &origin.namespace,
            &origin.workflow,
            &origin.start_key,
            path,
            deed,
        ] {
            // Length first: no two lists of parts are the same bytes.
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&iteration.to_le_bytes());
        hasher.update(&round.to_le_bytes());
        let mut key = [0; 16];
        key.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Self(key)
    }

    /// The bits of the key.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

/// Whether a step's effect is done or undone.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// The step itself.
    #[default]
    Do,
    /// Its compensation.
    Undo,
}

impl Deed {
    /// The step itself: what a stored event or step means that does not say.
    pub fn is_do(&self) -> bool {
        *self == Self::Do
    }
}

impl std::fmt::Display for StepKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
