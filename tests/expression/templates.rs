//! Values of a manifest with expressions in them.

use everstep::expression::{Code, Scope, Segment, Template};
use serde_json::json;

#[test]
fn strings_with_an_equals_sign_are_replaced_by_values_of_any_type() {
    let input = json!({"id": "7", "n": [1, 2]});
    let mut scope = Scope::new();
    scope.bind("input", &input);
    let value =
        json!({"id": "=input.id", "list": ["a", "=input.n", 1.5, null], "==key": "==x", "plain": "x=1", "eq": "=='a'"});
    let template = Template::compile(&value).expect("it is valid");
    assert!(!template.is_literal());
    let expected = json!({"id": "7", "list": ["a", [1, 2], 1.5, null], "==key": "=x", "plain": "x=1", "eq": "='a'"});
    assert_eq!(template.evaluate(&scope), Ok(expected));
}

#[test]
fn a_value_without_expressions_is_literal_and_unescaped() {
    let template = Template::compile(&json!([{"a": "==b"}, 1])).expect("it is valid");
    assert!(template.is_literal());
    assert_eq!(template.evaluate(&Scope::new()), Ok(json!([{"a": "=b"}, 1])));
}

#[test]
fn all_syntax_errors_are_found_with_their_places() {
    let value = json!({"a": {"b": "=1 +"}, "c": ["x", {"d e": "=(", "ok": "=1"}], "f": "="});
    let errors = Template::compile(&value).map(|_| ()).expect_err("three are wrong");
    let places: Vec<_> = errors
        .iter()
        .map(|(place, error)| (place.as_str(), error.offset))
        .collect();
    assert_eq!(places, [(".a.b", 3), (".c[1][\"d e\"]", 1), (".f", 0)]);
    assert_eq!(Template::compile(&json!("=)")).map(|_| ()).expect_err("wrong")[0].0, "");
}

#[test]
fn references_carry_their_place() {
    let template = Template::compile(&json!({"a": ["=steps.x.output"], "b": "='n' + input.n"})).expect("it is valid");
    let found: Vec<_> = template
        .references()
        .map(|(place, r)| (place, r.path.len(), r.offset))
        .collect();
    assert_eq!(found, [(".a[0]".to_owned(), 3, 0), (".b".to_owned(), 2, 6)]);
    let first = template.references().next().map(|(_, r)| r.path[0].clone());
    assert_eq!(first, Some(Segment::Key("steps".into())));
}

#[test]
fn an_error_says_where_it_happened() {
    let template = Template::compile(&json!({"a": [1, "=x.y"]})).expect("it is valid");
    let error = template.evaluate(&Scope::new()).expect_err("there is no x");
    assert_eq!(
        (error.code, error.message.as_str()),
        (Code::UnknownVariable, "at .a[1]: there is no variable `x`")
    );
}

#[test]
fn memory_is_shared_by_all_expressions_and_steps_are_not() {
    let input = json!({"text": "x".repeat(300 * 1024), "list": (0..900).collect::<Vec<i32>>()});
    let mut scope = Scope::new();
    scope.bind("input", &input);
    let thrice = Template::compile(&json!(["=input.text", "=input.text", "=input.text"])).expect("it is valid");
    assert!(thrice.evaluate(&scope).is_ok());
    let four = Template::compile(&json!({"a": ["=input.text", "=input.text", "=input.text", "=input.text"]}))
        .expect("it is valid");
    let error = four.evaluate(&scope).expect_err("1.2 MB");
    assert_eq!(error.code, Code::Budget);
    assert!(error.message.starts_with("at .a[3]: "), "{error}");
    let many = Template::compile(&json!(vec!["=sum(input.list.map(x, x * 2))"; 8])).expect("it is valid");
    let (result, cost) = many.measure(&scope);
    assert!(result.is_ok(), "{result:?}");
    assert!(cost.steps > 10_000 / 8, "{cost:?}");
}
