//! The table of runs.

use jiff::Timestamp;

use super::{Cell, Paint, Palette, Table, age};
use crate::store::RunRow;

/// What is shown of runs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Columns {
    /// Their namespaces: of more than one.
    pub namespace: bool,
    /// Everything else that there is.
    pub wide: bool,
}

/// The runs as a table, at `now`.
pub fn runs(rows: &[RunRow], columns: Columns, now: Timestamp, palette: Palette) -> String {
    let mut head = vec![
        "ID", "WORKFLOW", "OBJECT", "PHASE", "STEP", "WAITING", "PROGRESS", "AGE",
    ];
    if columns.namespace {
        head.insert(0, "NAMESPACE");
    }
    if columns.wide {
        head.extend(["TRIGGER", "ATTEMPTS", "TOOK", "ERROR"]);
    }
    let mut table = Table::new(&head);
    for row in rows {
        table.row(cells(row, columns, now));
    }
    table.text(palette)
}

fn cells(row: &RunRow, columns: Columns, now: Timestamp) -> Vec<Cell> {
    let text = |text: &Option<String>| Cell::from(text.clone().unwrap_or_default());
    let mut cells = vec![
        row.id.to_string().into(),
        row.workflow.clone().into(),
        object(row).into(),
        Cell::new(row.phase.clone(), Paint::of(&row.phase)),
        text(&row.step),
        text(&row.waiting_for),
        text(&row.progress),
        age(row.created_at, now).into(),
    ];
    if columns.namespace {
        cells.insert(0, row.namespace.clone().into());
    }
    if columns.wide {
        let took = row
            .started_at
            .map(|started| super::span(row.finished_at.unwrap_or(now).duration_since(started)));
        cells.extend([
            row.trigger.clone().into(),
            row.attempts
                .map(|attempts| attempts.to_string())
                .unwrap_or_default()
                .into(),
            took.unwrap_or_default().into(),
            row.error.as_ref().map(problem).unwrap_or_default().into(),
        ]);
    }
    cells
}

/// The object that the run belongs to, as kubectl takes it; none of a run that SQL started.
pub(super) fn object(row: &RunRow) -> String {
    match (row.owner_kind.as_deref(), &row.owner_name) {
        (Some("WorkflowRun"), Some(name)) => format!("erun/{name}"),
        (Some("Workflow"), Some(name)) => format!("ewf/{name}"),
        (_, Some(name)) => name.clone(),
        (_, None) => String::new(),
    }
}

/// `step: CODE: message` of a summary's error.
pub fn problem(error: &serde_json::Value) -> String {
    let part = |name: &str| error[name].as_str().filter(|text| !text.is_empty());
    let parts = [part("step"), part("code"), part("message")];
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(in crate::show) fn row() -> RunRow {
        RunRow {
            id: "0192f3c4-7d1e-7aaa-8000-000000000001".parse().unwrap(),
            namespace: "shop".to_owned(),
            workflow: "order".to_owned(),
            owner_kind: Some("WorkflowRun".to_owned()),
            owner_name: Some("order-7".to_owned()),
            start_key: "k".to_owned(),
            trigger: "Run".to_owned(),
            phase: "Failed".to_owned(),
            reason: Some("DECLINED".to_owned()),
            step: Some("charge".to_owned()),
            waiting_for: None,
            progress: Some("2/5".to_owned()),
            attempts: Some(3),
            error: Some(json!({"step": "charge", "code": "DECLINED", "message": "no money"})),
            output: None,
            deadline: None,
            created_at: "2026-11-21T11:55:00Z".parse().unwrap(),
            started_at: Some("2026-11-21T11:55:01Z".parse().unwrap()),
            finished_at: Some("2026-11-21T11:55:03.5Z".parse().unwrap()),
        }
    }

    fn now() -> Timestamp {
        "2026-11-21T12:00:00Z".parse().unwrap()
    }

    fn by_sql() -> RunRow {
        RunRow {
            id: "0192f3c4-7d1e-7aaa-8000-000000000000".parse().unwrap(),
            owner_kind: None,
            owner_name: None,
            phase: "Waiting".to_owned(),
            step: Some("approval".to_owned()),
            waiting_for: Some("signal approve".to_owned()),
            attempts: None,
            error: None,
            finished_at: None,
            ..row()
        }
    }

    #[test]
    fn a_run_is_a_line() {
        let text = runs(&[row(), by_sql()], Columns::default(), now(), Palette::Plain);
        assert_eq!(
            text,
            "ID                                     WORKFLOW   OBJECT         PHASE     STEP       WAITING          PROGRESS   AGE\n\
             0192f3c4-7d1e-7aaa-8000-000000000001   order      erun/order-7   Failed    charge                      2/5        5m\n\
             0192f3c4-7d1e-7aaa-8000-000000000000   order                     Waiting   approval   signal approve   2/5        5m\n"
        );
    }

    #[test]
    fn wide_says_why_and_how_long_and_all_namespaces_say_where() {
        let columns = Columns {
            namespace: true,
            wide: true,
        };
        let text = runs(&[row(), by_sql()], columns, now(), Palette::Plain);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("NAMESPACE   ID "), "{text}");
        assert!(lines[0].ends_with("TRIGGER   ATTEMPTS   TOOK     ERROR"), "{text}");
        assert!(
            lines[1].starts_with("shop        0192")
                && lines[1].ends_with("Run       3          2.500s   charge: DECLINED: no money"),
            "{text}"
        );
        // Of one that goes on, until now.
        assert!(lines[2].ends_with("Run                  4m59s"), "{text}");
    }

    #[test]
    fn phases_have_colours() {
        let text = runs(&[row()], Columns::default(), now(), Palette::Terminal);
        assert!(text.contains("\u{1b}[31mFailed\u{1b}[0m"), "{text:?}");
    }
}
