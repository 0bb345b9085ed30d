//! Figures: one row a measurement, as a table for people and as JSON for programs.

use serde::Serialize;

/// One measurement. What a scenario does not have is null.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) flush: &'static str,
    pub(crate) in_flight: u32,
    pub(crate) steps_per_run: u32,
    /// Steps settled per second.
    pub(crate) steps_per_second: Option<f64>,
    /// `steps`: of one step, from its decision to the next one of its run. `idle`: from commit to first effect.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Steps per second that the hand-written script reaches.
    pub(crate) yardstick_per_second: Option<f64>,
    /// `steps_per_second / yardstick_per_second`.
    pub(crate) ratio: Option<f64>,
}

/// The table's head.
pub(crate) fn head() -> String {
    format!(
        "{:<9}{:<7}{:>10}{:>7}{:>14}{:>10}{:>10}{:>14}{:>8}",
        "scenario", "flush", "in flight", "steps", "steps/s", "p50 ms", "p99 ms", "yardstick/s", "ratio"
    )
}

impl Row {
    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let whole = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.0}"));
        let ratio = self.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"));
        format!(
            "{:<9}{:<7}{:>10}{:>7}{:>14}{:>10.2}{:>10.2}{:>14}{:>8}",
            self.scenario,
            self.flush,
            self.in_flight,
            self.steps_per_run,
            whole(self.steps_per_second),
            self.p50_ms,
            self.p99_ms,
            whole(self.yardstick_per_second),
            ratio
        )
    }
}

/// The value below which `share` of the sorted figures lie.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index within the slice")]
    let index = ((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1).min(last);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let figures: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.5), 50.0);
        assert_eq!(percentile(&figures, 0.99), 99.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
