//! The variables of one evaluation: names bound to borrowed JSON.

use serde_json::Value as Json;

const INLINE: usize = 8;

/// Names and the values that they stand for. Looked up one by one: a scope has a handful of names.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    inline: [Option<(&'a str, &'a Json)>; INLINE],
    more: Vec<(&'a str, &'a Json)>,
}

impl<'a> Scope<'a> {
    /// A scope without variables. Does not allocate; neither do the first eight names.
    pub fn new() -> Self {
        Scope::default()
    }

    /// Binds a name; a name that is bound already gets the new value.
    pub fn bind(&mut self, name: &'a str, value: &'a Json) {
        for slot in &mut self.inline {
            match slot {
                Some((bound, _)) if *bound != name => {}
                _ => {
                    *slot = Some((name, value));
                    return;
                }
            }
        }
        match self.more.iter_mut().find(|(bound, _)| *bound == name) {
            Some(slot) => slot.1 = value,
            None => self.more.push((name, value)),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&'a Json> {
        let inline = self.inline.iter().map_while(|slot| slot.as_ref());
        inline
            .chain(&self.more)
            .find(|(bound, _)| *bound == name)
            .map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_names_than_fit_inline_are_found_and_rebound() {
        let names: Vec<String> = (0..12).map(|i| format!("v{i}")).collect();
        let values: Vec<Json> = (0..12).map(Json::from).collect();
        let other = Json::from("other");
        let mut scope = Scope::new();
        for (name, value) in names.iter().zip(&values) {
            scope.bind(name, value);
        }
        scope.bind("v3", &other);
        scope.bind("v11", &other);
        assert_eq!(scope.get("v0"), Some(&values[0]));
        assert_eq!(scope.get("v10"), Some(&values[10]));
        assert_eq!(
            (scope.get("v3"), scope.get("v11"), scope.get("v12")),
            (Some(&other), Some(&other), None)
        );
    }
}
