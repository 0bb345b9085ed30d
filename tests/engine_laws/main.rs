//! The laws of the engine, for random definitions (`plans`) under random inputs (`walk`).

#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

mod plans;
mod walk;

use everstep::engine::{Definition, Input, Run, apply, decide, effects, summary};
use plans::body;
use proptest::prelude::*;
use serde_json::Value;
use walk::{Walk, happening, origin};

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_law_holds_for_random_runs(body in body(), happenings in proptest::collection::vec(happening(), 0..40)) {
        let mut walk = Walk::new(&body);
        happenings.iter().for_each(|happening| walk.happen(happening));
        walk.finish();
    }

    #[test]
    fn nothing_panics_on_events_out_of_order(body in body(), happenings in proptest::collection::vec(happening(), 0..40), skip in any::<u64>()) {
        let mut walk = Walk::new(&body);
        happenings.iter().for_each(|happening| walk.happen(happening));
        let mut broken = Run::new(origin());
        for (i, event) in walk.journal.iter().enumerate() {
            if skip >> (i % 64) & 1 == 0 {
                apply(&mut broken, event);
            }
        }
        let _ = effects(&broken, &walk.def);
        let _ = summary(&broken, &walk.def);
        let _ = decide(&broken, &walk.def, Input::TimersDue, walk.now);
        let _ = Run::restore(origin(), &broken.snapshot(&walk.def)).unwrap();
    }

    #[test]
    fn a_body_that_is_changed_at_random_compiles_or_is_explained(body in body(), at in any::<prop::sample::Index>(), with in 0..8u8) {
        let text = body.to_string();
        let mut broken = text.clone();
        let start = (0..=at.index(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
        let replacement = ["null", "0", "[]", "{}", "\"=\"", "\"x\"", "-1", "true"][usize::from(with)];
        if let Some(colon) = text[start..].find(':') {
            let value = start + colon + 1;
            let end = text[value..].find([',', '}', ']']).map_or(text.len(), |end| value + end);
            broken.replace_range(value..end, replacement);
        }
        if let Ok(body) = serde_json::from_str::<Value>(&broken)
            && let Err(violations) = Definition::compile(&body)
        {
            prop_assert!(!violations.is_empty());
            prop_assert!(violations.iter().all(|violation| violation.path.starts_with("spec") && !violation.message.is_empty()));
        }
    }
}

proptest! {
    // Each case is two walks.
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_law_holds_for_a_run_that_takes_up_another(
        body in body(),
        happenings in proptest::collection::vec(happening(), 0..40),
        later in proptest::collection::vec(happening(), 0..40),
    ) {
        let mut walk = Walk::new(&body);
        happenings.iter().for_each(|happening| walk.happen(happening));
        walk.finish();
        if let Some(mut again) = walk.again(&body) {
            later.iter().for_each(|happening| again.happen(happening));
            again.finish();
        }
    }
}
