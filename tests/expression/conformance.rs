//! The public conformance data of CEL, less what is left out for a reason that stands here.

use everstep::expression::{Program, Scope};
use serde_json::Value as Json;

const DATA: &str = include_str!("../data/cel/conformance.jsonl");

/// Tests with a name that begins like this are not run, because.
const LEFT_OUT: [(&str, &str); 32] = [
    (
        "basic/functions/unbound_is_runtime_error",
        "an unknown function is found when compiling",
    ),
    ("comparisons/lt_literal/lt_dyn_int_big_uint", BIG),
    ("comparisons/lt_literal/not_lt_dyn_int_big_lossy_double", EXACT),
    ("comparisons/lt_literal/not_lt_dyn_big_uint_int", BIG),
    ("comparisons/lt_literal/not_lt_dyn_uint_small_double", BIG),
    ("comparisons/lt_literal/lt_dyn_uint_big_double", BIG),
    ("comparisons/lt_literal/not_lt_dyn_big_double_uint", BIG),
    ("comparisons/gt_literal/not_gt_dyn_int_big_uint", BIG),
    ("comparisons/gt_literal/gt_dyn_big_uint_int", BIG),
    ("comparisons/gt_literal/not_gt_dyn_uint_big_double", BIG),
    ("comparisons/gt_literal/gt_dyn_big_double_uint", BIG),
    ("comparisons/gt_literal/not_gt_dyn_big_double_int", EXACT),
    ("comparisons/lte_literal/lte_dyn_int_big_uint", BIG),
    ("comparisons/lte_literal/not_lte_dyn_big_uint_int", BIG),
    ("comparisons/lte_literal/not_lte_dyn_uint_small_double", BIG),
    ("comparisons/lte_literal/lte_dyn_uint_big_double", BIG),
    ("comparisons/lte_literal/not_lte_dyn_big_double_uint", BIG),
    ("comparisons/lte_literal/lte_dyn_big_double_int", EXACT),
    ("comparisons/gte_literal/not_gte_dyn_int_big_uint", BIG),
    ("comparisons/gte_literal/gte_dyn_int_big_lossy_double", EXACT),
    ("comparisons/gte_literal/gte_dyn_big_uint_int", BIG),
    ("comparisons/gte_literal/not_gte_dyn_uint_big_double", BIG),
    ("comparisons/gte_literal/gte_dyn_big_double_uint", BIG),
    ("conversions/double/uint_range", BIG),
    ("conversions/type/eq_diff", UNSIGNED),
    (
        "fields/qualified_identifier_resolution",
        "names of variables have no dots",
    ),
    ("integer_math/int64_math/unary_minus_no_overload", UNSIGNED),
    ("integer_math/int64_math/uint64_overflow_negative", UNSIGNED),
    ("integer_math/uint64_math/negative_no_overload", UNSIGNED),
    (
        "math_ext/",
        "rounding takes integers too, and there are no numbers beyond 64 signed bits",
    ),
    (
        "parse/receiver_function_names",
        "an unknown function is found when compiling",
    ),
    (
        "timestamps/timestamp_range/sub_time_duration_",
        "any two timestamps have a distance",
    ),
];
const BIG: &str = "integer literals have 64 signed bits";
const EXACT: &str = "numbers are compared exactly, also where the double is rounded";
const UNSIGNED: &str = "there is one type of integers";

#[test]
fn the_conformance_data_holds() {
    let (mut held, mut failures, mut used) = (0, Vec::new(), [false; LEFT_OUT.len()]);
    for line in DATA.lines() {
        let test: Json = serde_json::from_str(line).expect("a JSON object a line");
        let name = test["name"].as_str().expect("a name");
        let result = holds(&test);
        match (LEFT_OUT.iter().position(|(prefix, _)| name.starts_with(prefix)), result) {
            (_, Ok(())) => held += 1,
            (Some(row), Err(_)) => used[row] = true,
            (None, Err(message)) => failures.push(format!("{name}: {} {message}", test["expr"])),
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
    let unused: Vec<_> = LEFT_OUT
        .iter()
        .zip(used)
        .filter(|(_, used)| !used)
        .map(|(row, _)| row.0)
        .collect();
    assert!(unused.is_empty(), "left out without need: {unused:?}");
    println!("{held} conformance tests hold");
    assert!(held >= HELD, "only {held} tests held");
}

/// So that a damaged file cannot pass.
const HELD: usize = 1150;

fn holds(test: &Json) -> Result<(), String> {
    let mut scope = Scope::new();
    for (name, value) in test["bindings"].as_object().into_iter().flatten() {
        scope.bind(name, value);
    }
    let source = test["expr"].as_str().expect("an expression");
    let result = Program::compile(source).map_err(|e| e.to_string());
    let result = result.and_then(|program| program.evaluate(&scope).map_err(|e| e.to_string()));
    match (test.get("value"), result) {
        (None, Err(_)) => Ok(()),
        (Some(expected), Ok(value)) if same(expected, &value) => Ok(()),
        (expected, result) => Err(format!("must be {expected:?}, is {result:?}")),
    }
}

/// Doubles were written as decimals, and may be read back one unit off.
fn same(expected: &Json, value: &Json) -> bool {
    match (expected, value) {
        (Json::Number(a), Json::Number(b)) if a.is_f64() && b.is_f64() => {
            let (a, b) = (a.as_f64().unwrap_or(0.0), b.as_f64().unwrap_or(1.0));
            (a - b).abs() <= a.abs() * 1e-15
        }
        _ => expected == value,
    }
}
