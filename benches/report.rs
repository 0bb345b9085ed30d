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
    /// `steps`: of one step, from the decision that began it to the one that settled it. `idle`, `signal`: from commit to effect.
    /// `start`: from the call to the run's first decision.
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    /// Steps per second that the hand-written script reaches; `start`: rows per second, into a table with a run's columns.
    pub(crate) yardstick_per_second: Option<f64>,
    /// `steps_per_second`, or `starts_per_second`, over `yardstick_per_second`.
    pub(crate) ratio: Option<f64>,
    /// Runs started per second by SQL.
    pub(crate) starts_per_second: Option<f64>,
    /// `start`: how the clients speak to PostgreSQL.
    pub(crate) protocol: Option<&'static str>,
    /// Rows per second into a table with an id and a payload.
    pub(crate) payloads_per_second: Option<f64>,
    /// Of the runs started, the share that had finished two seconds after the last start.
    pub(crate) finished: Option<f64>,
}

/// The table's head.
pub(crate) fn head() -> String {
    format!(
        "{:<9}{:<7}{:>10}{:>7}{:>14}{:>10}{:>10}{:>14}{:>8}{:>10}{:>10}",
        "scenario",
        "flush",
        "in flight",
        "steps",
        "steps/s",
        "p50 ms",
        "p99 ms",
        "yardstick/s",
        "ratio",
        "starts/s",
        "finished"
    )
}

impl Row {
    /// One line of the table.
    pub(crate) fn line(&self) -> String {
        let whole = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.0}"));
        let share = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.2}"));
        format!(
            "{:<9}{:<7}{:>10}{:>7}{:>14}{:>10.2}{:>10.2}{:>14}{:>8}{:>10}{:>10}",
            self.scenario,
            self.flush,
            self.in_flight,
            self.steps_per_run,
            whole(self.steps_per_second),
            self.p50_ms,
            self.p99_ms,
            whole(self.yardstick_per_second),
            share(self.ratio),
            whole(self.starts_per_second),
            share(self.finished)
        )
    }
}

/// Of several measurements the one in the middle: by steps per second, where there are none by the ratio, and where there
/// is none by the median latency.
pub(crate) fn median(mut rows: Vec<Row>) -> Option<Row> {
    rows.sort_by(|a, b| {
        let key = |row: &Row| row.steps_per_second.or(row.ratio).unwrap_or(row.p50_ms);
        key(a).total_cmp(&key(b))
    });
    let middle = rows.len() / 2;
    rows.into_iter().nth(middle)
}

/// The value below which `share` of the sorted figures lie.
pub(crate) fn percentile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index within the slice"
    )]
    let index = ((sorted.len() as f64 * share).ceil() as usize)
        .saturating_sub(1)
        .min(last);
    sorted.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(steps_per_second: Option<f64>, p50_ms: f64) -> Row {
        Row {
            scenario: "steps",
            flush: "none",
            in_flight: 16,
            steps_per_run: 3,
            steps_per_second,
            p50_ms,
            p99_ms: 2.0,
            yardstick_per_second: None,
            ratio: None,
            starts_per_second: None,
            protocol: None,
            payloads_per_second: None,
            finished: None,
        }
    }

    #[test]
    fn median_is_one_of_the_measurements() {
        let rows = [3.0, 1.0, 2.0].map(|figure| row(Some(figure * 1000.0), figure));
        let middle = median(rows.to_vec()).unwrap();
        assert_eq!((middle.steps_per_second, middle.p50_ms), (Some(2000.0), 2.0));

        let idle = [9.0, 7.0, 8.0].map(|figure| row(None, figure));
        assert_eq!(median(idle.to_vec()).unwrap().p50_ms, 8.0);
        assert!(median(Vec::new()).is_none());
    }

    #[test]
    fn json_has_the_agreed_fields_and_lines_are_as_wide_as_the_head() {
        let row = row(Some(1234.5), 1.0);
        let json = serde_json::to_value(&row).unwrap();
        let fields: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut agreed = [
            "scenario",
            "flush",
            "in_flight",
            "steps_per_run",
            "steps_per_second",
            "p50_ms",
            "p99_ms",
            "yardstick_per_second",
            "ratio",
            "starts_per_second",
            "protocol",
            "payloads_per_second",
            "finished",
        ];
        agreed.sort_unstable();
        let mut fields = fields;
        fields.sort_unstable();
        assert_eq!(fields, agreed);
        assert_eq!(row.line().len(), head().len());
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let figures: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&figures, 0.5), 50.0);
        assert_eq!(percentile(&figures, 0.99), 99.0);
        assert_eq!(percentile(&[7.0], 0.99), 7.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
