//! `everstep runs`.

use jiff::Timestamp;
use serde_json::json;
use uuid::Uuid;

use super::{super::Failure, Format, palette, print, print_document, reach, say};
use crate::{
    cli::people::{self, ListOutput},
    engine::Phase,
    show,
    store::{RunFilter, RunRow},
};

/// Lists runs, newest first, a page at a time.
pub(in crate::app) async fn runs(options: people::Runs) -> Result<(), Failure> {
    let namespace = if options.all_namespaces {
        None
    } else {
        Some(reach::namespace(&options.place.cluster).await?)
    };
    let filter = RunFilter {
        namespace: namespace.clone(),
        workflow: options.workflow.clone(),
        phases: phases(&options.phase)?,
        before: options.go_on.as_deref().map(token).transpose()?,
    };
    let mut surface = reach::surface(&options.place.database).await?;
    let limit = i64::from(options.limit);
    // One more tells whether there is another page.
    let mut rows = surface.runs(&filter, limit + 1).await?;
    let more = i64::try_from(rows.len()).is_ok_and(|count| count > limit);
    if more {
        rows.pop();
    }
    let next = rows.last().filter(|_| more).map(|row| row.id);
    match options.output {
        Some(ListOutput::Json) => print_document(&document(&rows, next), Format::Json),
        Some(ListOutput::Yaml) => print_document(&document(&rows, next), Format::Yaml),
        Some(ListOutput::Name) => {
            print(&rows.iter().map(|row| format!("{}\n", row.id)).collect::<String>())?;
            go_on(next);
            Ok(())
        }
        None | Some(ListOutput::Wide) => {
            if rows.is_empty() {
                let place = namespace.map_or_else(|| "any namespace".to_owned(), |name| format!("namespace {name}"));
                say(&format!("No runs found in {place} that your database role may see."));
                return Ok(());
            }
            let columns = show::Columns {
                namespace: options.all_namespaces,
                wide: options.output.is_some(),
            };
            print(&show::runs(&rows, columns, Timestamp::now(), palette()))?;
            go_on(next);
            Ok(())
        }
    }
}

fn document(rows: &[RunRow], next: Option<Uuid>) -> serde_json::Value {
    json!({"items": rows, "continue": next})
}

fn go_on(next: Option<Uuid>) {
    if let Some(token) = next {
        say(&format!("There are more: --continue {token}"));
    }
}

fn token(text: &str) -> Result<Uuid, Failure> {
    Uuid::try_parse(text).map_err(|_| {
        Failure::Configuration(format!(
            "--continue {text}: not a token; it is what the page before ended with"
        ))
    })
}

fn phases(names: &[String]) -> Result<Vec<String>, Failure> {
    let known = |name: &String| {
        Phase::ALL
            .into_iter()
            .find(|phase| phase.as_str().eq_ignore_ascii_case(name.trim()))
            .map(|phase| phase.as_str().to_owned())
            .ok_or_else(|| {
                let all = Phase::ALL.map(Phase::as_str).join(", ");
                Failure::Configuration(format!("--phase {name}: there is no such phase; there are {all}"))
            })
    };
    names.iter().map(known).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_those_that_there_are() {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert_eq!(
            phases(&names(&["failed", " TimedOut"])).unwrap(),
            ["Failed", "TimedOut"]
        );
        let problem = phases(&names(&["Broken"])).unwrap_err().to_string();
        assert!(
            problem.contains("--phase Broken") && problem.contains("Compensating"),
            "{problem}"
        );
    }

    #[test]
    fn a_token_that_is_none_is_refused() {
        assert!(token("0192f3c4-7d1e-7aaa-8000-000000000001").is_ok());
        assert!(token("page-2").unwrap_err().to_string().contains("page-2"));
    }
}
