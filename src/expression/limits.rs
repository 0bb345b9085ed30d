//! How much an expression may cost: limits on its text, and the [`Budget`] of one evaluation.
//! Everything is counted, nothing is timed, so that the same expression fails at the same place on every machine.

use super::error::{Code, EvaluationError};

/// Bytes of source text.
pub(super) const SOURCE_BYTES: usize = 4096;
/// Brackets, calls and conditionals inside one another.
pub(super) const NESTING: usize = 64;
/// Height of the tree; `1 + 1 + 1` has height three, so chains count. Bounds the evaluator's recursion.
pub(super) const HEIGHT: usize = 96;
/// Nodes of the tree.
pub(super) const NODES: usize = 2500;
/// Macros inside one another, which is also the number of macro variables in scope.
pub(super) const MACROS: usize = 16;
/// Bytes of one regular expression.
pub(super) const PATTERN_BYTES: usize = 256;
/// Bytes of all compiled regular expressions of one program.
pub(super) const PATTERNS_COMPILED: usize = 512 * 1024;
/// Lists and maps inside one another, in data that is compared or handed out. Bounds recursion over data.
pub(super) const DEPTH: usize = 256;
/// Evaluation steps.
pub(super) const STEPS: usize = 10_000;
/// Bytes of computed values, result included.
pub(super) const ALLOCATED: usize = 1024 * 1024;

const SCANNED_PER_STEP: usize = 64;
const ALLOCATED_PER_STEP: usize = 256;

/// What is left to one evaluation. Every operation charges it before it works or allocates.
#[derive(Debug)]
pub(super) struct Budget {
    steps: usize,
    bytes: usize,
}

impl Budget {
    pub(super) fn new() -> Self {
        Budget {
            steps: STEPS,
            bytes: ALLOCATED,
        }
    }

    /// The next expression of a template: its own steps, the same memory.
    pub(super) fn renew_steps(&mut self) {
        self.steps = STEPS;
    }

    pub(super) fn steps_used(&self) -> usize {
        STEPS - self.steps
    }

    pub(super) fn bytes_used(&self) -> usize {
        ALLOCATED - self.bytes
    }

    /// Charges nodes, look-ups and compared elements.
    #[inline]
    pub(super) fn step(&mut self, count: usize) -> Result<(), EvaluationError> {
        match self.steps.checked_sub(count) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(out_of_steps()),
        }
    }

    /// Charges bytes that will be read.
    #[inline]
    pub(super) fn scan(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        self.step(bytes / SCANNED_PER_STEP)
    }

    /// Charges bytes that will be allocated.
    #[inline]
    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), EvaluationError> {
        match self.bytes.checked_sub(bytes) {
            Some(left) => self.bytes = left,
            None => return Err(out_of_memory()),
        }
        self.step(bytes / ALLOCATED_PER_STEP)
    }

    /// Checks how deep a walk over data has gone.
    #[inline]
    pub(super) fn descend(&self, depth: usize) -> Result<(), EvaluationError> {
        if depth <= DEPTH {
            return Ok(());
        }
        Err(EvaluationError::new(
            Code::Budget,
            format!("a value is nested deeper than {DEPTH} levels"),
        ))
    }
}

#[cold]
fn out_of_steps() -> EvaluationError {
    EvaluationError::new(
        Code::Budget,
        format!("the expression takes more than {STEPS} evaluation steps"),
    )
}

#[cold]
fn out_of_memory() -> EvaluationError {
    EvaluationError::new(
        Code::Budget,
        format!("the expression makes more than {ALLOCATED} bytes of values"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_step_is_granted_and_the_next_is_not() {
        let mut budget = Budget::new();
        assert!(budget.step(STEPS).is_ok());
        assert_eq!(budget.step(1).map_err(|e| e.code), Err(Code::Budget));
        assert_eq!(budget.steps_used(), STEPS);
    }

    #[test]
    fn memory_is_charged_once_in_bytes_and_once_in_steps() {
        let mut budget = Budget::new();
        assert!(budget.allocate(ALLOCATED).is_ok());
        assert_eq!((budget.bytes_used(), budget.steps_used()), (ALLOCATED, 4096));
        assert_eq!(budget.allocate(1).map_err(|e| e.code), Err(Code::Budget));
        budget.renew_steps();
        assert_eq!((budget.bytes_used(), budget.steps_used()), (ALLOCATED, 0));
    }
}
