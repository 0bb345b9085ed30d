//! The egress policy: which hosts the HTTP steps of a namespace may call, and which blocked addresses are opened.
//! Deny by default. Not resolving and connecting: that is the guard's.

mod rules;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use self::rules::Rules;

/// A policy larger than this is a mistake, not a policy.
const MAX_FILE: usize = 1024 * 1024;

/// The policy in force, shared by all steps of a worker; the file may change under it.
#[derive(Clone)]
pub struct EgressPolicy(Arc<Shared>);

struct Shared {
    path: Option<PathBuf>,
    /// The text that `current` was parsed from.
    text: Mutex<String>,
    current: RwLock<Arc<Rules>>,
}

/// Why a policy file is not taken; the policy before it stays in force.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file cannot be read.
    #[error("cannot read the egress policy {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no policy.
    #[error("the egress policy is invalid: {0}")]
    Invalid(String),
}

impl EgressPolicy {
    /// The policy in a YAML file; [`reload`](Self::reload) reads it again.
    pub fn load(path: &Path) -> Result<Self, PolicyError> {
        let text = read(path)?;
        let rules = Rules::parse(&text)?;
        Ok(Self::with(Some(path.to_owned()), text, rules))
    }

    /// Nothing is allowed: what holds when no policy is given.
    pub fn deny_all() -> Self {
        Self::with(None, String::new(), Rules::none())
    }

    /// Everything is allowed, loopback and private networks too. For `everstep dev` only.
    pub fn open() -> Self {
        Self::with(None, String::new(), Rules::all())
    }

    fn with(path: Option<PathBuf>, text: String, rules: Rules) -> Self {
        Self(Arc::new(Shared {
            path,
            text: Mutex::new(text),
            current: RwLock::new(Arc::new(rules)),
        }))
    }

    /// Reads the file again; `true` when the policy changed. An invalid file is refused and the old policy stays.
    /// Cheap when nothing changed, so call it every few seconds. It reads a file: not for an async thread's hot path.
    pub fn reload(&self) -> Result<bool, PolicyError> {
        let Some(path) = &self.0.path else { return Ok(false) };
        let text = read(path)?;
        let mut known = self.0.text.lock().unwrap_or_else(PoisonError::into_inner);
        if *known == text {
            return Ok(false);
        }
        let rules = Rules::parse(&text)?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        *known = text;
        Ok(true)
    }

    /// The rules in force now.
    pub fn current(&self) -> Arc<Rules> {
        Arc::clone(&self.0.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn read(path: &Path) -> Result<String, PolicyError> {
    let text = std::fs::read_to_string(path).map_err(|source| PolicyError::Read {
        path: path.to_owned(),
        source,
    })?;
    if text.len() > MAX_FILE {
        return Err(PolicyError::Invalid(format!("it is larger than {MAX_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "allow: [{hosts: [api.example.com], ports: [443], methods: [GET], namespaces: [shop]}]\n\
                          allowAddresses: [127.0.0.0/8]";

    #[test]
    fn changed_file_is_taken_and_an_invalid_one_leaves_the_old_policy() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("egress.yaml");
        std::fs::write(&path, POLICY).unwrap();
        let policy = EgressPolicy::load(&path).unwrap();
        let before = policy.current();
        assert!(!policy.reload().unwrap());

        std::fs::write(&path, "allow: nonsense").unwrap();
        assert!(policy.reload().is_err());
        assert!(Arc::ptr_eq(&before, &policy.current()));

        std::fs::write(&path, "allow: []").unwrap();
        assert!(policy.reload().unwrap());
        assert!(
            policy
                .current()
                .check_request("shop", "api.example.com", 443, "GET")
                .is_err()
        );
        assert!(!policy.current().allows_address("127.0.0.1".parse().unwrap()));

        std::fs::remove_file(&path).unwrap();
        assert!(policy.reload().is_err());
        assert!(matches!(EgressPolicy::load(&path), Err(PolicyError::Read { .. })));
    }

    #[test]
    fn without_a_policy_nothing_is_allowed_and_an_open_one_allows_all() {
        assert!(
            EgressPolicy::deny_all()
                .current()
                .check_request("a", "example.com", 443, "GET")
                .is_err()
        );
        assert!(
            EgressPolicy::open()
                .current()
                .check_request("a", "localhost", 1, "GET")
                .is_ok()
        );
        assert!(
            EgressPolicy::open()
                .current()
                .allows_address("10.0.0.1".parse().unwrap())
        );
    }
}
