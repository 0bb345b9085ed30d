//! A run's history: one line an event.

use super::{Cell, Paint, Palette, Table, event};
use crate::store::HistoryRow;

/// The events as a table.
pub fn history(rows: &[HistoryRow], palette: Palette) -> String {
    let mut table = Table::new(&["AT", "SEQ", "STEP", "EVENT"]);
    for row in rows {
        let (step, words) = event::told(row);
        table.row(vec![
            Cell::new(row.at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(), Paint::Dim),
            row.seq.to_string().into(),
            step.into(),
            Cell::new(words, paint(&row.event)),
        ]);
    }
    table.text(palette)
}

fn paint(event: &str) -> Paint {
    match event {
        "StepSucceeded" => Paint::Good,
        "StepFailed" | "AttemptFailed" | "SignalRejected" | "RetryRefused" => Paint::Bad,
        "RunParked" | "RunPaused" | "CancelRequested" | "TerminateRequested" | "TakenOver" | "StepTimedOut" => {
            Paint::Warn
        }
        "StepSkipped" | "StepReused" => Paint::Dim,
        _ => Paint::Plain,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(seq: i32, event: &str, detail: Option<Value>) -> HistoryRow {
        HistoryRow {
            seq,
            place: 1,
            at: "2026-11-21T11:55:03.5Z".parse().unwrap(),
            event: event.to_owned(),
            detail,
        }
    }

    #[test]
    fn an_event_is_a_line_in_words() {
        let rows = [
            row(1, "RunStarted", Some(json!({"at": "2026-11-21T11:55:03Z"}))),
            row(
                2,
                "StepFailed",
                Some(json!({"step": "charge", "error": {"kind": "Sql", "code": "23505", "message": "twice"}})),
            ),
            row(3, "CompensationEnded", None),
            row(4, "RunFinished", Some(json!({"at": "2026-11-21T11:55:03Z"}))),
        ];
        let expected = "\
AT                         SEQ   STEP     EVENT
2026-11-21T11:55:03.500Z   1              started
2026-11-21T11:55:03.500Z   2     charge   failed: Sql 23505: twice
2026-11-21T11:55:03.500Z   3              compensation ended
2026-11-21T11:55:03.500Z   4              finished
";
        assert_eq!(history(&rows, Palette::Plain), expected);
    }

    #[test]
    fn an_event_that_this_release_does_not_know_is_named() {
        let rows = [row(1, "StepDreamed", Some(json!({"step": "s", "of": "sheep"})))];
        let text = history(&rows, Palette::Plain);
        assert!(text.contains("s      StepDreamed"), "{text}");
    }
}
