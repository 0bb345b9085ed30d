//! Which paths are read, and that nothing else is.

use everstep::expression::{Program, Scope, Segment};
use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

/// The references as texts: `a.b[0]@offset`.
fn paths(source: &str) -> Vec<String> {
    let program = Program::compile(source).expect(source);
    let shown = program.references().iter().map(|reference| {
        let mut text = String::new();
        for segment in &reference.path {
            match segment {
                Segment::Key(key) => text += &format!(".{key}"),
                Segment::Index(index) => text += &format!("[{index}]"),
            }
        }
        format!("{}@{}", &text[1..], reference.offset)
    });
    shown.collect()
}

#[test]
fn paths_end_where_the_way_is_computed() {
    assert_eq!(paths("steps.a.output.x + 1"), ["steps.a.output.x@0"]);
    assert_eq!(paths("'é' + steps['a'][0].b"), ["steps.a[0].b@6"]);
    assert_eq!(paths("steps[input.name].output"), ["steps@0", "input.name@6"]);
    assert_eq!(paths("has(input.a.b) || input.c"), ["input.a.b@4", "input.c@18"]);
    assert_eq!(paths("size(input.l)"), ["input.l@5"]);
    assert_eq!(paths("1 + 2"), Vec::<String>::new());
    assert_eq!(paths("x.y == x.y"), ["x.y@0", "x.y@7"]);
    assert_eq!(paths("math.least(math, 1)"), ["math@11"]);
}

#[test]
fn variables_of_macros_are_no_references() {
    assert_eq!(paths("input.l.map(x, x.y + z.w)"), ["input.l@0", "z.w@21"]);
    assert_eq!(paths("x.filter(x, x.a)"), ["x@0"]);
    assert_eq!(paths("[1].all(x, x > 0) && x"), ["x@21"]);
    assert_eq!(paths("[1].map(x, .x.y)"), ["x.y@11"]);
    assert_eq!(paths("a.map(x, x.map(y, y + x.z)).b"), ["a@0"]);
}

/// What of a value lies on the paths; lists are kept whole below a position that is named.
fn pruned(value: &Json, paths: &[&[Segment]]) -> Json {
    if paths.iter().any(|path| path.is_empty()) {
        return value.clone();
    }
    match value {
        Json::Object(map) => {
            let mut kept = Map::new();
            for (key, value) in map {
                let below: Vec<&[Segment]> = paths
                    .iter()
                    .filter(|path| matches!(&path[0], Segment::Key(segment) if segment == key))
                    .map(|path| &path[1..])
                    .collect();
                if !below.is_empty() {
                    kept.insert(key.clone(), pruned(value, &below));
                }
            }
            Json::Object(kept)
        }
        other => other.clone(),
    }
}

fn expression() -> impl Strategy<Value = String> {
    let path = prop::sample::select(vec![
        "s.a",
        "s.a.b",
        "s.l",
        "s.l[1]",
        "s['a']",
        "s[s.k]",
        "s.a[s.k]",
        "s.none",
        "s.a.none.x",
        "s",
        "t.x",
        "t",
        "s.l[9]",
    ]);
    let leaf = prop_oneof![
        path.prop_map(str::to_owned),
        Just("1".to_owned()),
        Just("'b'".to_owned())
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (
                inner.clone(),
                prop::sample::select(vec!["+", "==", "||", "&&", "<", "in"]),
                inner.clone()
            )
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("size({a})")),
            inner.clone().prop_map(|a| format!("type({a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("[{a}, {b}].exists(x, x == s.a)")),
            inner.clone().prop_map(|a| format!("s.l.map(x, [x, {a}])")),
            inner.clone().prop_map(|a| format!("(has(s.a.b) ? {a} : s.l)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("{{'k': {a}, 'm': {b}}}.k")),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_not_referred_to_cannot_change_the_result(source in expression()) {
        let scope_value = json!({"s": {"a": {"b": 1, "c": [2]}, "l": [3, {"d": 4}], "k": "b", "other": 5}, "t": {"x": true, "y": 0}});
        let program = Program::compile(&source).map_err(|e| TestCaseError::fail(format!("{source}: {e}")))?;
        let paths: Vec<&[Segment]> = program.references().iter().map(|r| r.path.as_slice()).collect();
        let kept = pruned(&scope_value, &paths);
        let evaluate = |variables: &Json| {
            let mut scope = Scope::new();
            for (name, value) in variables.as_object().into_iter().flatten() {
                scope.bind(name, value);
            }
            program.evaluate(&scope)
        };
        prop_assert_eq!(evaluate(&scope_value), evaluate(&kept), "{}", source);
    }

    #[test]
    fn errors_commute(a in expression(), b in expression()) {
        let data = json!({"a": {"b": 1}, "l": [3, 4], "k": "b"});
        let mut scope = Scope::new();
        scope.bind("s", &data);
        for operator in ["||", "&&"] {
            let value = |x: &str, y: &str| {
                let program = Program::compile(&format!("({x}) {operator} ({y})")).expect("both are valid");
                program.evaluate_condition(&scope).ok()
            };
            prop_assert_eq!(value(&a, &b), value(&b, &a));
        }
    }
}
