//! Which steps an expression can read, from where it stands: those that have certainly ended by then.

use super::{
    List,
    needs::Order,
    reader::Sink,
    scope::{self, Sight},
    step::Draft,
};

/// Checks the references of every step of both lists.
pub(super) fn check_steps(drafts: &[Vec<Draft>; 2], orders: &[Order; 2], sink: &Sink) {
    for (list, (own, order)) in [List::Main, List::Finally].into_iter().zip(drafts.iter().zip(orders)) {
        for (i, draft) in own.iter().enumerate() {
            let from = FromStep {
                list,
                own,
                i,
                order,
                drafts,
                undoes: false,
            };
            scope::check(&draft.uses, &from, sink);
            if let (List::Finally, Some(path)) = (list, &draft.undo_path) {
                sink.report(
                    path.as_str(),
                    "a step of `finally` is never undone; remove it, or move the step to `steps`",
                );
            }
            let from = FromStep { undoes: true, ..from };
            scope::check(&draft.undo_uses, &from, sink);
        }
    }
}

/// What a step sees: the steps of its list that it depends on; in `finally`, the whole main list too.
struct FromStep<'a> {
    list: List,
    own: &'a [Draft],
    i: usize,
    order: &'a Order,
    drafts: &'a [Vec<Draft>; 2],
    /// The step's compensation looks: the step has succeeded by then.
    undoes: bool,
}

impl Sight for FromStep<'_> {
    fn hidden(&self, step: &str) -> Option<String> {
        if self.list == List::Finally && find(&self.drafts[0], step).is_some() {
            return None;
        }
        let me = self.own[self.i].name.as_deref().unwrap_or("this step");
        match find(self.own, step) {
            Some(found) if found == self.i && self.undoes => None,
            Some(found) if found == self.i => Some(format!("`{me}` cannot read itself; its answer is `result`")),
            Some(found) if self.order.all[self.i].contains(found) => None,
            Some(_) => Some(format!(
                "`steps.{step}` is not available here: `{me}` does not depend on `{step}`; add it to `needs`"
            )),
            None if find(&self.drafts[1], step).is_some() => Some(format!(
                "`steps.{step}` is not available here: `finally` runs after this step"
            )),
            None => Some(format!("there is no step `{step}`")),
        }
    }

    fn after_the_end(&self) -> bool {
        self.list == List::Finally
    }
}

/// What `spec.output` sees: the whole main list.
pub(super) struct Everywhere<'a> {
    pub(super) main: &'a [Draft],
}

impl Sight for Everywhere<'_> {
    fn hidden(&self, step: &str) -> Option<String> {
        find(self.main, step)
            .is_none()
            .then(|| format!("there is no step `{step}` in `steps`"))
    }

    fn after_the_end(&self) -> bool {
        false
    }
}

/// The position of a step in its list.
pub(super) fn find(list: &[Draft], name: &str) -> Option<usize> {
    list.iter().position(|draft| draft.name.as_deref() == Some(name))
}
