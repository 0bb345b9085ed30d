//! What differs from the specification, or goes beyond it.

use everstep::expression::{Code, Program, Scope};
use serde_json::{Value as Json, json};

fn evaluate(source: &str) -> Result<Json, Code> {
    let input = json!({"n": 1, "big": u64::MAX, "none": null, "l": [1, 2.5], "m": {"b": 1, "a": 2}});
    let mut scope = Scope::new();
    scope.bind("input", &input);
    Program::compile(source)
        .expect(source)
        .evaluate(&scope)
        .map_err(|error| error.code)
}

#[test]
fn values_are_those_of_the_manual() {
    for (source, value) in [
        ("input.n + 1", json!(2)),
        ("input.n + 0.5", json!(1.5)),
        ("1 == 1.0 && 1 in [1.0] && 1u == 1", json!(true)),
        ("input.big", json!(u64::MAX)),
        ("input.big > 9223372036854775807", json!(true)),
        ("input.none == null && has(input.none)", json!(true)),
        ("input.m.map(k, k)", json!(["a", "b"])),
        ("sum(input.l)", json!(3.5)),
        ("[min(3, 1, 2), max([1, 2])]", json!([1, 2])),
        ("round(2.345, 2)", json!(2.35)),
        ("['a', 'b'].join('-').split('-')", json!(["a", "b"])),
        (
            "timestamp('2026-03-01T12:00:00+01:00') - duration('1d')",
            json!("2026-02-28T11:00:00Z"),
        ),
        ("duration('1h30m')", json!("5400s")),
        ("input.absent || true", json!(true)),
        ("input.`n`", json!(1)),
    ] {
        assert_eq!(evaluate(source), Ok(value), "{source}");
    }
}

#[test]
fn errors_have_their_codes() {
    for (source, code) in [
        ("nobody", Code::UnknownVariable),
        ("input.absent", Code::NoSuchKey),
        ("input.l[2]", Code::IndexOutOfBounds),
        ("has(input.absent.a)", Code::NoSuchKey),
        ("'a' + 1", Code::Type),
        ("input.none.a", Code::Type),
        ("b'a'", Code::Type),
        ("{1: 2}", Code::Type),
        ("9223372036854775807 + 1", Code::Overflow),
        ("1.0 / 0.0", Code::Overflow),
        ("1 / 0", Code::DivideByZero),
        ("timestamp('yesterday')", Code::Invalid),
        ("min([])", Code::Invalid),
    ] {
        assert_eq!(evaluate(source), Err(code), "{source}");
    }
    let condition = Program::compile("1")
        .expect("it is valid")
        .evaluate_condition(&Scope::new());
    assert_eq!(condition.map_err(|error| error.code), Err(Code::Type));
}
