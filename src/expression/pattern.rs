//! Regular expressions: literals only, compiled with the program, so that matching costs what can be known beforehand.

use regex::{Regex, RegexBuilder};

use super::error::{EvaluationError, SyntaxError};
use super::limits::{Budget, PATTERN_BYTES};

/// Compiled sizes that are told apart, in bytes; a pattern that needs more than the last is refused.
const SIZES: [usize; 4] = [4 * 1024, 16 * 1024, 64 * 1024, 256 * 1024];
/// Memory for states that are built while matching.
const CACHE_BYTES: usize = 256 * 1024;
/// A pattern of this compiled size costs as much as any other scan.
const PLAIN_SIZE: usize = 4 * 1024;

/// A compiled regular expression with its price.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// An upper bound of the compiled size, in bytes.
    pub(super) size: usize,
}

impl Pattern {
    /// Compiles a pattern that stands at `offset`.
    pub(super) fn compile(pattern: &str, offset: usize) -> Result<Self, SyntaxError> {
        if pattern.len() > PATTERN_BYTES {
            let message = format!("the regular expression is longer than {PATTERN_BYTES} bytes");
            return Err(SyntaxError::new(offset, message));
        }
        for size in SIZES {
            match RegexBuilder::new(pattern)
                .size_limit(size)
                .dfa_size_limit(CACHE_BYTES)
                .nest_limit(32)
                .build()
            {
                Ok(regex) => return Ok(Pattern { regex, size }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(_) => {
                    return Err(SyntaxError::new(
                        offset,
                        "the regular expression is not valid (RE2 syntax)",
                    ));
                }
            }
        }
        Err(SyntaxError::new(
            offset,
            "the regular expression is too large: use fewer or smaller repetitions",
        ))
    }

    /// Whether the pattern is found anywhere in the text. In the worst case each byte visits the whole program,
    /// so the price is the product of both.
    pub(super) fn is_match(&self, text: &str, budget: &mut Budget) -> Result<bool, EvaluationError> {
        let weight = self.size / PLAIN_SIZE;
        budget.step(weight)?;
        budget.scan(text.len().saturating_mul(weight))?;
        Ok(self.regex.is_match(text))
    }
}
