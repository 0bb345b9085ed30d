//! The order of a list: what each step depends on, directly and indirectly. A cycle is named.

/// A step of a list, as far as the order matters.
#[derive(Debug)]
pub(super) struct Ordered<'a> {
    pub(super) name: &'a str,
    /// `needs` as written: name and path of each; without it the step depends on the one above.
    pub(super) needs: Option<&'a [(String, String)]>,
    /// Where violations of the whole step's order are reported.
    pub(super) path: &'a str,
}

/// The order of one list; positions are those in the list.
#[derive(Debug)]
pub(super) struct Order {
    /// What each step needs itself.
    pub(super) direct: Vec<Vec<usize>>,
    /// What each step needs directly or not; everything for a step on or behind a cycle.
    pub(super) all: Vec<Set>,
}

/// Resolves the order of a list. `elsewhere` knows the names of the other list.
pub(super) fn resolve(
    steps: &[Ordered<'_>],
    elsewhere: impl Fn(&str) -> bool,
    report: &mut impl FnMut(&str, String),
) -> Order {
    let position = |name: &str| steps.iter().position(|step| step.name == name);
    let mut direct = Vec::with_capacity(steps.len());
    for (i, step) in steps.iter().enumerate() {
        let Some(needs) = step.needs else {
            direct.push(i.checked_sub(1).into_iter().collect());
            continue;
        };
        let mut positions: Vec<usize> = Vec::with_capacity(needs.len());
        for (name, path) in needs {
            match position(name) {
                Some(found) if found == i => report(path, "a step cannot need itself".to_owned()),
                Some(found) if positions.contains(&found) => report(path, format!("`{name}` is named twice")),
                Some(found) => positions.push(found),
                None if elsewhere(name) => {
                    report(
                        path,
                        format!("`{name}` is not in the same list; a step can need only steps of its own list"),
                    );
                }
                None => report(path, format!("there is no step `{name}`")),
            }
        }
        direct.push(positions);
    }
    let all = close(steps, &direct, report);
    Order { direct, all }
}

/// Walks the steps in an order in which each comes after its needs; what remains lies on or behind a cycle.
fn close(steps: &[Ordered<'_>], direct: &[Vec<usize>], report: &mut impl FnMut(&str, String)) -> Vec<Set> {
    let mut missing: Vec<usize> = direct.iter().map(Vec::len).collect();
    let mut dependants = vec![Vec::new(); steps.len()];
    for (i, needs) in direct.iter().enumerate() {
        needs.iter().for_each(|&need| dependants[need].push(i));
    }
    let mut all: Vec<Set> = vec![Set::empty(steps.len()); steps.len()];
    let mut ready: Vec<usize> = (0..steps.len()).filter(|&i| missing[i] == 0).collect();
    let mut settled = vec![false; steps.len()];
    while let Some(i) = ready.pop() {
        settled[i] = true;
        let mut set = Set::empty(steps.len());
        for &need in &direct[i] {
            set.insert(need);
            set.unite(&all[need]);
        }
        all[i] = set;
        for &dependant in &dependants[i] {
            missing[dependant] -= 1;
            if missing[dependant] == 0 {
                ready.push(dependant);
            }
        }
    }
    report_cycles(steps, direct, &settled, report);
    for i in (0..steps.len()).filter(|&i| !settled[i]) {
        (0..steps.len()).for_each(|other| all[i].insert(other));
    }
    all
}

/// Every unsettled step has an unsettled need; following them leads into a cycle. Each cycle is reported once.
fn report_cycles(
    steps: &[Ordered<'_>],
    direct: &[Vec<usize>],
    settled: &[bool],
    report: &mut impl FnMut(&str, String),
) {
    let mut seen = settled.to_vec();
    for start in 0..steps.len() {
        let mut walk: Vec<usize> = Vec::new();
        let mut here = start;
        while !seen[here] {
            seen[here] = true;
            walk.push(here);
            let Some(&next) = direct[here].iter().find(|&&need| !settled[need]) else {
                break;
            };
            if let Some(begin) = walk.iter().position(|&step| step == next) {
                let mut names: Vec<&str> = walk[begin..].iter().map(|&step| steps[step].name).collect();
                names.push(steps[next].name);
                report(
                    steps[next].path,
                    format!("`needs` form a cycle: {}", names.join(" needs ")),
                );
                break;
            }
            here = next;
        }
    }
}

/// A set of positions.
#[derive(Debug, Clone)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn empty(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    fn insert(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }

    fn unite(&mut self, other: &Self) {
        self.0.iter_mut().zip(&other.0).for_each(|(word, other)| *word |= other);
    }

    pub(super) fn contains(&self, i: usize) -> bool {
        self.0.get(i / 64).is_some_and(|word| word & (1 << (i % 64)) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `a: b c` is step `a` with `needs: [b, c]`; `a` alone has none written.
    fn order(lines: &[&str]) -> (Order, Vec<String>) {
        let parsed: Vec<(String, Option<Vec<(String, String)>>)> = lines
            .iter()
            .map(|line| match line.split_once(':') {
                None => ((*line).to_owned(), None),
                Some((name, needs)) => {
                    let needs = needs
                        .split_whitespace()
                        .map(|need| (need.to_owned(), format!("{name}.{need}")));
                    (name.to_owned(), Some(needs.collect()))
                }
            })
            .collect();
        let steps: Vec<Ordered<'_>> = parsed
            .iter()
            .map(|(name, needs)| Ordered {
                name,
                needs: needs.as_deref(),
                path: name,
            })
            .collect();
        let mut reports = Vec::new();
        let order = resolve(&steps, |name| name == "other", &mut |path: &str, message| {
            reports.push(format!("{path}: {message}"))
        });
        (order, reports)
    }

    #[test]
    fn a_list_is_a_sequence_and_needs_replace_that() {
        let (order, reports) = order(&["a", "b", "c:", "d: b c", "e"]);
        assert_eq!(reports, [""; 0]);
        assert_eq!(order.direct, [vec![], vec![0], vec![], vec![1, 2], vec![3]]);
        let all: Vec<Vec<usize>> = order
            .all
            .iter()
            .map(|set| (0..5).filter(|&i| set.contains(i)).collect())
            .collect();
        assert_eq!(all, [vec![], vec![0], vec![], vec![0, 1, 2], vec![0, 1, 2, 3]]);
    }

    #[test]
    fn wrong_needs_are_named_where_they_stand() {
        let (_, reports) = order(&["a: a", "b: x other", "c: b b"]);
        assert_eq!(
            reports,
            [
                "a.a: a step cannot need itself",
                "b.x: there is no step `x`",
                "b.other: `other` is not in the same list; a step can need only steps of its own list",
                "c.b: `b` is named twice",
            ]
        );
    }

    #[test]
    fn each_cycle_is_named_once_and_what_lies_behind_it_is_not() {
        let (_, reports) = order(&["a: c", "b: a", "c: b", "behind: a", "x: y", "y: x", "fine:"]);
        assert_eq!(
            reports,
            [
                "a: `needs` form a cycle: a needs c needs b needs a",
                "x: `needs` form a cycle: x needs y needs x"
            ]
        );
    }
}
