//! Small texts that would take for ever, or all memory, or the whole stack.

use everstep::expression::{Code, EvaluationError, Program, Scope, Template};
use serde_json::{Value as Json, json};

const STEPS: usize = 10_000;
const BYTES: usize = 1024 * 1024;

/// The code with which an expression ends over a scope with one variable, and a proof that it stayed in its budget.
/// Runs on a stack as small as any that may be met in practice.
fn code(source: String, input: Json) -> Option<Code> {
    let run = move || {
        let program = Program::compile(&source).unwrap_or_else(|error| panic!("{source:.60}: {error}"));
        let mut scope = Scope::new();
        scope.bind("input", &input);
        let (result, cost) = program.measure(&scope);
        assert!(cost.steps <= STEPS && cost.bytes <= BYTES, "{source:.60}: {cost:?}");
        let code = result.err().map(|error| error.code);
        // Dropping data this deep would overflow this small stack, which is not what is tested.
        std::mem::forget(input);
        code
    };
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(run);
    thread.expect("a thread").join().expect("no panic")
}

fn refused(source: &str) -> String {
    match Program::compile(source) {
        Ok(_) => panic!("{source:.60} is accepted"),
        Err(error) => error.message,
    }
}

#[test]
fn long_chains_and_deep_nests_are_syntax_errors() {
    let many = 1500;
    for source in [
        vec!["1"; 2048].join("+"),
        vec!["a"; many].join("."),
        vec!["true"; 700].join("||"),
        "!".repeat(4000) + "true",
        "-".repeat(4000) + "a",
        "(".repeat(many) + "1" + &")".repeat(many),
        "[".repeat(many) + &"]".repeat(many),
        "{1:".repeat(900) + "1" + &"}".repeat(900),
        "a[".repeat(many) + "0" + &"]".repeat(many),
        "a".to_owned() + &"[0]".repeat(many - 300),
        "true?1:".repeat(500) + "1",
        "size(".repeat(600) + "a" + &")".repeat(600),
        "[1].map(x,".repeat(17) + "x" + &")".repeat(17),
        "(".repeat(4096),
        format!("'{}'", "a".repeat(4095)),
        format!("[{}]", vec!["-1"; 1300].join(",-")),
    ] {
        refused(&source);
    }
}

#[test]
fn what_reaches_every_limit_of_shape_runs_on_a_small_stack() {
    assert_eq!(code(vec!["1"; 96].join("+"), Json::Null), None);
    assert_eq!(code("(".repeat(63) + "1" + &")".repeat(63), Json::Null), None);
    assert_eq!(code("[".repeat(63) + "1" + &"]".repeat(63), Json::Null), None);
    assert_eq!(code("[1].map(x,".repeat(16) + "x" + &")".repeat(16), Json::Null), None);
    assert_eq!(code("!".repeat(95) + "true", Json::Null), None);
    assert_eq!(code("true?1:".repeat(63) + "1", Json::Null), None);
    assert_eq!(code(format!("[{}]", vec!["1"; 2000].join(",")), Json::Null), None);
}

#[test]
fn nested_macros_run_out_of_steps() {
    let ten = "[0,1,2,3,4,5,6,7,8,9]";
    for quantifier in ["map", "filter", "all", "exists", "exists_one"] {
        let body = if quantifier == "map" {
            "x"
        } else if quantifier == "exists" {
            "x > 99"
        } else {
            "x < 99"
        };
        // A condition must be a bool; a list in its place would end the evaluation too early.
        let nested = match quantifier {
            "filter" => format!(
                "{ten}.filter(a, {ten}.filter(b, {ten}.filter(c, {ten}.filter(x, {body}).size() > 0).size() > 0).size() > 0)"
            ),
            other => format!("{ten}.{other}(a, {ten}.{other}(b, {ten}.{other}(c, {ten}.{other}(x, {body}))))"),
        };
        let expected = if quantifier == "exists_one" {
            None
        } else {
            Some(Code::Budget)
        };
        let code = code(nested, Json::Null);
        assert!(code == Some(Code::Budget) || code == expected, "{quantifier}: {code:?}");
    }
}

#[test]
fn running_out_is_absorbed_by_nothing() {
    let bomb = "[0,1,2,3,4,5,6,7,8,9].map(a,[0,1,2,3,4,5,6,7,8,9].map(b,[0,1,2,3,4,5,6,7,8,9].map(c,[0,1,2,3,4,5,6,7,8,9])))==1";
    for source in [
        format!("{bomb} || true"),
        format!("true && ({bomb} || true)"),
        format!("{bomb} && false"),
        format!("[1,2].exists(x, x == 2 || {bomb})"),
        format!("[1,2].all(x, x == 3 && {bomb} || {bomb})"),
        format!("[1, 2].exists(x, x == 1 ? {bomb} : true)"),
        format!("[1, 2].all(x, x == 1 ? {bomb} : false)"),
    ] {
        assert_eq!(code(source.clone(), Json::Null), Some(Code::Budget), "{source}");
    }
}

#[test]
fn texts_that_grow_run_out_of_memory_before_they_are_made() {
    let nested = |times: usize| {
        let mut source = "'aaaaaaaaaa'".to_owned();
        for _ in 0..times {
            source += ".replace('a','aaaaaaaaaa')";
        }
        source
    };
    assert_eq!(code(nested(3), Json::Null), None);
    assert_eq!(code(nested(9), Json::Null), Some(Code::Budget));
    assert_eq!(code("'aaaaaaaaaaaaaaaa'.replace('','aaaaaaaaaaaaaaaa').replace('','aaaaaaaaaaaaaaaaaaaaaaa').replace('','aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa').replace('','aaaaaaaaaaaaa')".into(), Json::Null), Some(Code::Budget));
    let big = json!("x".repeat(256 * 1024));
    assert_eq!(
        code("input + input + input + input".into(), big.clone()),
        Some(Code::Budget)
    );
    assert_eq!(
        code("[input, input, input, input, input]".into(), big.clone()),
        Some(Code::Budget)
    );
    assert_eq!(code("input.split('')".into(), big.clone()), Some(Code::Budget));
    assert_eq!(
        code("[input,input,input,input,input].join()".into(), big.clone()),
        Some(Code::Budget)
    );
    assert_eq!(
        code("{input: 1, input + 'a': 2, input + 'b': 3}".into(), big.clone()),
        Some(Code::Budget)
    );
    assert_eq!(code("input".into(), big), None);
    assert_eq!(
        code(
            format!(
                "[0,1,2,3,4,5,6,7,8,9].map(a,[0,1,2,3,4,5,6,7,8,9].map(b,[0,1,2,3,4,5,6,7,8,9].map(c, b'{}')))",
                "x".repeat(3000)
            ),
            Json::Null
        ),
        Some(Code::Budget)
    );
}

#[test]
fn long_data_is_charged_where_it_is_read() {
    let list = Json::from((0..20_000).collect::<Vec<i32>>());
    for source in [
        "-1 in input",
        "input == input",
        "sum(input)",
        "max(input)",
        "input.map(x, x)",
        "input + input",
        "input.exists(x, x < 0)",
    ] {
        assert_eq!(code(source.into(), list.clone()), Some(Code::Budget), "{source}");
    }
    assert_eq!(code("input.size() + input[19999]".into(), list), None);
    let text = json!("x".repeat(1024 * 1024));
    for source in [
        "input.size()",
        "input.contains('y')",
        "input == input",
        "input < input",
        "input.indexOf('y')",
        "input.trim()",
        "input.charAt(1000000)",
        "input.matches('y')",
    ] {
        assert_eq!(code(source.into(), text.clone()), Some(Code::Budget), "{source}");
    }
    assert_eq!(code("input.startsWith('x') && input.endsWith('x')".into(), text), None);
}

#[test]
fn patterns_are_small_literals_and_pay_for_their_size() {
    refused("'a'.matches(input)");
    refused("'a'.matches('a' + 'b')");
    refused("'a'.matches('(((a{100}){100}){100})')");
    refused("'a'.matches('(')");
    refused(&format!("'a'.matches('{}')", "a".repeat(257)));
    refused(&format!("[{}]", vec![r"a.matches('\\w{9}')"; 150].join(",")));
    let text = json!("ab".repeat(32 * 1024));
    assert_eq!(code("input.matches('^(ab)*$')".into(), text.clone()), None);
    assert_eq!(
        code(r"input.matches('^([a-z]|[ab]c?){40}x[a-z0-9]{30}$')".into(), text),
        Some(Code::Budget)
    );
}

#[test]
fn data_that_is_nested_too_deeply_is_refused_and_not_walked() {
    let deep = |levels: usize, map: bool| {
        (0..levels).fold(json!(1), |inner, _| {
            if map {
                Json::Object([("a".to_owned(), inner)].into_iter().collect())
            } else {
                Json::Array(vec![inner])
            }
        })
    };
    for map in [false, true] {
        for source in [
            "input",
            "input == input",
            "[input]",
            "input in [input]",
            "{'a': input} == {'a': input}",
        ] {
            assert_eq!(code(source.into(), deep(10_000, map)), Some(Code::Budget), "{source}");
        }
        assert_eq!(code("input".into(), deep(200, map)), None);
    }
    let run = || {
        let value = deep(10_000, false);
        let errors = Template::compile(&value).map(|_| ()).map_err(|errors| errors.len());
        std::mem::forget(value);
        errors
    };
    assert_eq!(run(), Err(1));
}

#[test]
fn data_of_an_allowed_size_always_passes() {
    const OUTPUT: usize = 256 * 1024;
    for element in ["1", "{}", "[]", "\"\"", "{\"\":0}", "null", "{\"id\":1,\"n\":\"x\"}"] {
        let count = (OUTPUT - 1) / (element.len() + 1);
        let text = format!("[{}]", vec![element; count].join(","));
        assert!(text.len() <= OUTPUT);
        let data: Json = serde_json::from_str(&text).expect("JSON");
        assert_eq!(code("input".into(), data), None, "{element}");
    }
}

#[test]
fn costs_are_the_documented_ones() {
    let input = json!({"a": {"b": "x"}, "l": [1, 2, 3], "t": "y".repeat(640)});
    let mut scope = Scope::new();
    scope.bind("input", &input);
    let cost = |source: &str| {
        let (result, cost) = Program::compile(source).expect(source).measure(&scope);
        result.expect(source);
        (cost.steps, cost.bytes)
    };
    assert_eq!(cost("true"), (1, 8), "a node, and a result of one value");
    assert_eq!(
        cost("input.a.b"),
        (5, 9),
        "three nodes, two look-ups, a text of one byte"
    );
    assert_eq!(
        cost("2 in input.l"),
        (7, 8),
        "four nodes, one look-up, two compared elements"
    );
    assert_eq!(
        cost("input.t.size()"),
        (14, 8),
        "three nodes, one look-up, 640 bytes read"
    );
    assert_eq!(cost("[1, 2].size()").0, 4, "four nodes");
}

#[test]
fn every_bomb_names_the_budget() {
    let bomb = Program::compile("[1,2,3].map(a,[1,2,3,4,5].map(b, 'a'.replace('a','aaaaaaaaaa').replace('a','aaaaaaaaaa').replace('a','aaaaaaaaaaa').replace('a','aaaaaaaaaaa').replace('a','aaaaaaaaaa')))").expect("it is short");
    let error: EvaluationError = bomb.evaluate(&Scope::new()).expect_err("too large");
    assert_eq!(error.code.as_str(), "ExpressionBudget");
    assert!(error.message.contains("1048576 bytes"), "{error}");
}
