//! Which run a person means: reading what was typed, and choosing among what was found. Pure.

use uuid::Uuid;

use crate::store::RunRow;

/// The fewest characters of an id that are taken for one.
const PREFIX: usize = 8;

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// A run's id.
    Id(Uuid),
    /// The run of a WorkflowRun.
    Object(String),
    /// The current run of a Workflow.
    Workflow(String),
    /// Either, or the beginning of an id.
    Name(String),
}

/// Why no run was chosen.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum NoChoice {
    /// There is none.
    None,
    /// More than one has not ended; some of them.
    Many(Vec<RunRow>),
}

impl Target {
    /// # Errors
    /// What is wrong, for people.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        if text.len() == 36
            && let Ok(id) = Uuid::try_parse(text)
        {
            return Ok(Self::Id(id));
        }
        let (kind, name) = match text.split_once('/') {
            Some((kind, name)) => (Some(kind), name),
            None => (None, text),
        };
        let fits = (1..=253).contains(&name.len())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
        if !fits {
            return Err(format!(
                "{text:?} names no run: give its id, NAME, erun/NAME (a WorkflowRun) or ewf/NAME (a Workflow)"
            ));
        }
        let name = name.to_owned();
        match kind.map(|kind| kind.strip_suffix(".everstep.dev").unwrap_or(kind)) {
            None => Ok(Self::Name(name)),
            Some("erun" | "workflowrun" | "workflowruns") => Ok(Self::Object(name)),
            Some("ewf" | "workflow" | "workflows") => Ok(Self::Workflow(name)),
            Some(other) => Err(format!(
                "{other:?} is no kind that has runs: it is erun (WorkflowRun) or ewf (Workflow). A namespace is given by -n"
            )),
        }
    }
}

/// The ids that begin so; none when that is too short for one, or no id begins so.
pub(super) fn ids_from(text: &str) -> Option<(Uuid, Uuid)> {
    let digits: String = text.chars().filter(|&c| c != '-').collect();
    let fits = (PREFIX..=32).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
    // Hyphens where ids have them.
    let placed = text
        .char_indices()
        .all(|(at, c)| (c == '-') == [8, 13, 18, 23].contains(&at));
    if !fits || !placed {
        return None;
    }
    let filled = |digit: &str| Uuid::try_parse(&format!("{digits}{}", digit.repeat(32 - digits.len()))).ok();
    Some((filled("0")?, filled("f")?))
}

/// Of several, the one that has not ended, else the newest. They come with those that have not ended first, then the
/// newest.
pub(super) fn choose(mut found: Vec<RunRow>) -> Result<RunRow, NoChoice> {
    let live = found.iter().filter(|run| run.finished_at.is_none()).count();
    match live {
        0 if found.is_empty() => Err(NoChoice::None),
        0 | 1 => Ok(found.swap_remove(0)),
        _ => {
            found.truncate(live);
            Err(NoChoice::Many(found))
        }
    }
}

/// The runs that a person has to choose from, a line each.
pub(super) fn listed(runs: &[RunRow]) -> String {
    let line = |run: &RunRow| {
        let step = run
            .step
            .as_deref()
            .map_or_else(String::new, |step| format!(" at {step}"));
        format!("\n  {}  {}/{} {}{step}", run.id, run.namespace, run.workflow, run.phase)
    };
    runs.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_read_as_people_mean_it() {
        let id = "0192f3c4-7d1e-7aaa-8000-000000000001";
        assert_eq!(Target::parse(id), Ok(Target::Id(id.parse().unwrap())));
        let run = || Ok(Target::Object("a-7".to_owned()));
        for text in [
            "erun/a-7",
            "workflowrun/a-7",
            "workflowruns/a-7",
            "workflowrun.everstep.dev/a-7",
            "workflowruns.everstep.dev/a-7",
        ] {
            assert_eq!(Target::parse(text), run(), "{text}");
        }
        for text in ["ewf/a", "workflow/a", "workflow.everstep.dev/a"] {
            assert_eq!(Target::parse(text), Ok(Target::Workflow("a".to_owned())), "{text}");
        }
        assert_eq!(Target::parse("order-1042"), Ok(Target::Name("order-1042".to_owned())));
        for text in ["", "Order", "a b", "a/b/c", "erun/", "pod/a", "../x", "a\n"] {
            assert!(Target::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn eight_characters_of_an_id_are_a_range_of_ids() {
        let range = |text| ids_from(text).map(|(first, last)| format!("{first} {last}"));
        assert_eq!(
            range("0192f3c4-7d1e").as_deref(),
            Some("0192f3c4-7d1e-0000-0000-000000000000 0192f3c4-7d1e-ffff-ffff-ffffffffffff")
        );
        for text in ["0192f3c", "0192f3cg", "order-1042", "0192-f3c47d1e", "0192f3c47d1e"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    fn run(id: u128, live: bool) -> RunRow {
        RunRow {
            id: Uuid::from_u128(id),
            namespace: "shop".to_owned(),
            workflow: "order".to_owned(),
            owner_kind: None,
            owner_name: None,
            start_key: String::new(),
            trigger: "SQL".to_owned(),
            phase: if live { "Running" } else { "Failed" }.to_owned(),
            reason: None,
            step: live.then(|| "charge".to_owned()),
            waiting_for: None,
            progress: None,
            attempts: None,
            error: None,
            output: None,
            deadline: None,
            created_at: jiff::Timestamp::UNIX_EPOCH,
            started_at: None,
            finished_at: (!live).then_some(jiff::Timestamp::UNIX_EPOCH),
        }
    }

    #[test]
    fn the_one_that_goes_on_is_meant_else_the_newest() {
        assert_eq!(choose(vec![]), Err(NoChoice::None));
        assert_eq!(choose(vec![run(1, true), run(9, false)]).unwrap().id.as_u128(), 1);
        assert_eq!(choose(vec![run(9, false), run(1, false)]).unwrap().id.as_u128(), 9);
    }

    #[test]
    fn two_that_go_on_have_to_be_told_apart_by_their_ids() {
        let Err(NoChoice::Many(runs)) = choose(vec![run(2, true), run(1, true), run(9, false)]) else {
            panic!("one was chosen")
        };
        assert_eq!(
            listed(&runs),
            "\n  00000000-0000-0000-0000-000000000002  shop/order Running at charge\
             \n  00000000-0000-0000-0000-000000000001  shop/order Running at charge"
        );
    }
}
